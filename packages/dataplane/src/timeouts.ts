/** Connection timeouts in seconds, named after Linux's `nf_conntrack_*_timeout_*`. */
export interface ConnectionTimeouts {
  readonly tcpSynSent: number;
  readonly tcpSynReceived: number;
  readonly tcpEstablished: number;
  readonly tcpFinWait: number;
  readonly tcpCloseWait: number;
  readonly tcpLastAck: number;
  readonly tcpTimeWait: number;
  readonly tcpClose: number;
  readonly tcpSynSent2: number;
  readonly udp: number;
  /** For conversations: replied, and older than two seconds. */
  readonly udpStream: number;
  readonly icmp: number;
  readonly icmpv6: number;
  readonly generic: number;
  readonly sctpClosed: number;
  readonly sctpCookieWait: number;
  readonly sctpCookieEchoed: number;
  readonly sctpEstablished: number;
  readonly sctpShutdownSent: number;
  readonly sctpShutdownReceived: number;
  readonly sctpShutdownAckSent: number;
  readonly sctpHeartbeatSent: number;
  readonly fragmentIPv4: number;
  readonly fragmentIPv6: number;
}

/** Linux's defaults (nf_conntrack-sysctl, kernels since 2023). */
export const linuxTimeouts: ConnectionTimeouts = {
  tcpSynSent: 120,
  tcpSynReceived: 60,
  tcpEstablished: 432_000,
  tcpFinWait: 120,
  tcpCloseWait: 60,
  tcpLastAck: 30,
  tcpTimeWait: 120,
  tcpClose: 10,
  tcpSynSent2: 120,
  udp: 30,
  udpStream: 120,
  icmp: 30,
  icmpv6: 30,
  generic: 600,
  sctpClosed: 10,
  sctpCookieWait: 3,
  sctpCookieEchoed: 3,
  sctpEstablished: 210,
  sctpShutdownSent: 3,
  sctpShutdownReceived: 3,
  sctpShutdownAckSent: 3,
  sctpHeartbeatSent: 30,
  fragmentIPv4: 30,
  fragmentIPv6: 60,
};

/** What kube-proxy makes of them: established connections live a day, half-closed ones an hour. */
export const kubeProxyTimeouts: ConnectionTimeouts = { ...linuxTimeouts, tcpEstablished: 86_400, tcpCloseWait: 3_600 };
