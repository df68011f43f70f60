import { FrontendKind, Reason, type ReasonName, Scheduler, SctpState, TcpState, Verdict } from "./generated/layout.ts";
import type { FrontendKind as FrontendKindName, SchedulerName, TransportProtocol } from "./service-port.ts";

/** What becomes of a packet. `TX` goes back out of the port it came in on, `REDIRECT` out of another, `PASS` on to the node's stack. */
export type VerdictName = "ABORTED" | "DROP" | "PASS" | "TX" | "REDIRECT" | "REJECT";

/** Why a packet was dropped or rejected; stable names. */
export type DropReason = ReasonName;

const reasons: readonly (readonly [number: number, name: DropReason])[] = Object.entries(Reason)
  .filter(([, number]) => number !== Reason.NONE)
  .map(([key, number]) => [number, key.toLowerCase().replaceAll("_", "-") as DropReason]);

const reasonNames: ReadonlyMap<number, DropReason> = new Map(reasons);

/** All reasons with their numbers, for tables and metrics. */
export const dropReasons: readonly (readonly [number: number, name: DropReason])[] = reasons;

/** Name of a reason number; `undefined` for none. */
export function reasonName(number: number): DropReason | undefined {
  return reasonNames.get(number);
}

const verdicts: readonly VerdictName[] = ["ABORTED", "DROP", "PASS", "TX", "REDIRECT", "REJECT"];

/** Reasons whose ICMP error means that the Service refused the packet. */
const refusals: ReadonlySet<number> = new Set([
  Reason.NO_ENDPOINTS,
  Reason.NO_SCHEDULABLE_ENDPOINT,
  Reason.CLUSTER_IP_PORT,
]);

/** Name of a verdict; an answer that carries a refusal is a REJECT. */
export function verdictName(verdict: number, reason: number): VerdictName {
  if (verdict === Verdict.TX && refusals.has(reason)) return "REJECT";
  return verdicts[verdict] ?? "ABORTED";
}

export const frontendKindNumbers: Readonly<Record<FrontendKindName, number>> = {
  ClusterIP: FrontendKind.CLUSTER_IP,
  ExternalIP: FrontendKind.EXTERNAL_IP,
  LoadBalancer: FrontendKind.LOAD_BALANCER,
  NodePort: FrontendKind.NODE_PORT,
};

export const frontendKindNames: readonly (FrontendKindName | undefined)[] = [
  undefined,
  "ClusterIP",
  "ExternalIP",
  "LoadBalancer",
  "NodePort",
];

export const schedulerNumbers: Readonly<Record<SchedulerName, number>> = {
  random: Scheduler.RANDOM,
  rr: Scheduler.RR,
  wrr: Scheduler.WRR,
  lc: Scheduler.LC,
  wlc: Scheduler.WLC,
  sh: Scheduler.SH,
  dh: Scheduler.DH,
  sed: Scheduler.SED,
  nq: Scheduler.NQ,
  mh: Scheduler.MH,
  fo: Scheduler.FO,
  ovf: Scheduler.OVF,
};

export const schedulerNames: readonly SchedulerName[] = Object.keys(schedulerNumbers) as SchedulerName[];

export const protocolNumbers: Readonly<Record<TransportProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** Name of an IP protocol; numbers that have none here stay numbers. */
export function protocolName(number: number): string {
  switch (number) {
    case 1:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 58:
      return "ICMPv6";
    case 132:
      return "SCTP";
    default:
      return String(number);
  }
}

const tcpStates = Object.fromEntries(Object.entries(TcpState).map(([name, value]) => [value, name]));
const sctpStates = Object.fromEntries(Object.entries(SctpState).map(([name, value]) => [value, name]));

/** Name of a connection's state, as `conntrack -L` prints it; empty for protocols without states. */
export function stateName(protocol: number, state: number): string {
  if (protocol === 6) return tcpStates[state] ?? "";
  if (protocol === 132) return sctpStates[state] ?? "";
  return "";
}
