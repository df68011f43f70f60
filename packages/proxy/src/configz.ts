import type { ProxyConfiguration } from "./node-spec.ts";

/** When a proxy syncs, in milliseconds. */
export interface ProxyTiming {
  readonly minSyncPeriod: number;
  readonly syncPeriod: number;
}

/** A duration as Go prints it: `1h0m0s`, `30s`, `200ms`. */
export function goDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  if (milliseconds < 1000) return `${milliseconds}ms`;
  const seconds = milliseconds / 1000;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = `${Number((seconds % 60).toFixed(3))}s`;
  return hours > 0 ? `${hours}h${minutes}m${rest}` : minutes > 0 ? `${minutes}m${rest}` : rest;
}

/**
 * What `/configz` on the metrics port shows: the configuration in effect as a `KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1)
 * under the name of its group. What Portolan has no setting for stands there with kube-proxy's default.
 */
export function proxyConfigz(configuration: ProxyConfiguration, timing: ProxyTiming): string {
  const { clusterCIDRs = [], localhostNodePorts = true, masqueradeAll = false, mode = "nftables" } = configuration;
  const periods = { syncPeriod: goDuration(timing.syncPeriod), minSyncPeriod: goDuration(timing.minSyncPeriod) };
  return JSON.stringify({
    "kubeproxy.config.k8s.io": {
      kind: "KubeProxyConfiguration",
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      clientConnection: {
        kubeconfig: "",
        acceptContentTypes: "",
        contentType: "application/vnd.kubernetes.protobuf",
        qps: 5,
        burst: 10,
      },
      logging: {
        format: "text",
        flushFrequency: "5s",
        verbosity: 0,
        options: { text: { infoBufferSize: "0" }, json: { infoBufferSize: "0" } },
      },
      hostnameOverride: "",
      bindAddress: "0.0.0.0",
      healthzBindAddress: "0.0.0.0:10256",
      metricsBindAddress: "127.0.0.1:10249",
      bindAddressHardFail: false,
      enableProfiling: false,
      showHiddenMetricsForVersion: "",
      mode,
      iptables: { masqueradeBit: 14, masqueradeAll, localhostNodePorts, ...periods },
      ipvs: {
        ...periods,
        scheduler: "",
        excludeCIDRs: null,
        strictARP: false,
        tcpTimeout: "0s",
        tcpFinTimeout: "0s",
        udpTimeout: "0s",
      },
      nftables: { masqueradeBit: 14, masqueradeAll, ...periods },
      winkernel: {
        networkName: "",
        sourceVip: "",
        enableDSR: false,
        rootHnsEndpointName: "",
        forwardHealthCheckVip: false,
      },
      detectLocalMode: "ClusterCIDR",
      detectLocal: { bridgeInterface: "", interfaceNamePrefix: "" },
      clusterCIDR: clusterCIDRs.join(","),
      nodePortAddresses: configuration.nodePortAddresses ?? null,
      oomScoreAdj: -999,
      conntrack: {
        maxPerCore: 32_768,
        min: 131_072,
        tcpEstablishedTimeout: "24h0m0s",
        tcpCloseWaitTimeout: "1h0m0s",
        tcpBeLiberal: false,
        udpTimeout: "0s",
        udpStreamTimeout: "0s",
      },
      configSyncPeriod: "15m0s",
      portRange: "",
    },
  });
}
