import { decodeAddress } from "./address-codec.ts";
import { backendText } from "./backend-table.ts";
import {
  AffinityResult,
  MasqueradeReason,
  NONE,
  SetReason,
  Step,
  TRACE,
  TraceStep as TraceStepLayout,
} from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import {
  type DropReason,
  frontendKindNames,
  protocolName,
  reasonName,
  schedulerNames,
  stateName,
  type VerdictName,
  verdictName,
} from "./names.ts";
import type { FrontendKind, SchedulerName } from "./service-port.ts";
import type { DataplaneServiceTables } from "./service-tables.ts";

/** A backend as a trace names it. */
export interface TracedBackend {
  readonly address: string;
  readonly port: number;
  /** Who it is, as the tables were told. */
  readonly name?: string;
}

/** Why a packet was given its set of endpoints. */
export type EndpointSetReason =
  | "internal-cluster"
  | "internal-local"
  | "external-cluster"
  | "pod-short-circuit"
  | "node-short-circuit"
  | "external-local"
  | "local-fallback";

/** Why a source is rewritten, or is not. */
export type MasqueradeReasonName =
  | "no"
  | "masquerade-all"
  | "source-not-pod"
  | "external-policy-cluster"
  | "node-short-circuit"
  | "hairpin"
  | "backend-on-host"
  | "egress"
  | "source-port-collision";

/** One decision about a packet, in the order in which they are made. `text` says the same in a sentence. */
export type TraceStep = { readonly text: string } & (
  | {
      readonly step: "parsed";
      readonly family: "IPv4" | "IPv6" | undefined;
      readonly protocol: string;
      readonly reason?: DropReason;
    }
  | { readonly step: "connection"; readonly found: false }
  | {
      readonly step: "connection";
      readonly found: true;
      readonly direction: "original" | "reply";
      readonly state: string;
      readonly outcome: "accept" | "invalid" | "restart";
    }
  | { readonly step: "frontend"; readonly servicePort: string; readonly kind?: FrontendKind }
  | { readonly step: "no-frontend" }
  | { readonly step: "source-range"; readonly allowed: boolean; readonly ranges: number }
  | {
      readonly step: "endpoint-set";
      readonly set: "cluster" | "local";
      readonly because: EndpointSetReason;
      readonly size: number;
    }
  | {
      readonly step: "affinity";
      readonly result: "hit" | "miss" | "expired" | "unusable";
      readonly backend?: TracedBackend;
    }
  | {
      readonly step: "scheduled";
      readonly scheduler: SchedulerName;
      readonly backend?: TracedBackend;
      readonly among: number;
    }
  | { readonly step: "masquerade"; readonly because: MasqueradeReasonName }
  | { readonly step: "dnat"; readonly direction: "original" | "reply"; readonly backend?: TracedBackend }
  | { readonly step: "snat"; readonly direction: "original" | "reply"; readonly port: number }
  | { readonly step: "route"; readonly port?: number; readonly local: boolean }
  | { readonly step: "icmp-error"; readonly direction: "original" | "reply" }
  | { readonly step: "fragment"; readonly tracked: boolean }
  | { readonly step: "verdict"; readonly verdict: VerdictName; readonly reason?: DropReason }
);

const setReasonTable: Record<number, EndpointSetReason> = {
  [SetReason.INTERNAL_CLUSTER]: "internal-cluster",
  [SetReason.INTERNAL_LOCAL]: "internal-local",
  [SetReason.EXTERNAL_CLUSTER]: "external-cluster",
  [SetReason.POD_SHORT_CIRCUIT]: "pod-short-circuit",
  [SetReason.NODE_SHORT_CIRCUIT]: "node-short-circuit",
  [SetReason.EXTERNAL_LOCAL]: "external-local",
  [SetReason.LOCAL_FALLBACK]: "local-fallback",
};

const setSentences: Readonly<Record<EndpointSetReason, string>> = {
  "internal-cluster": "internalTrafficPolicy Cluster: all endpoints",
  "internal-local": "internalTrafficPolicy Local: endpoints on this node",
  "external-cluster": "externalTrafficPolicy Cluster: all endpoints",
  "pod-short-circuit": "externalTrafficPolicy Local, but the source is a pod: all endpoints",
  "node-short-circuit": "externalTrafficPolicy Local, but the source is this node: all endpoints",
  "external-local": "externalTrafficPolicy Local: endpoints on this node",
  "local-fallback": "policy Local without endpoints here: all endpoints, as ipvs does",
};

const masqueradeTable: Record<number, MasqueradeReasonName> = {
  [MasqueradeReason.NO]: "no",
  [MasqueradeReason.MASQUERADE_ALL]: "masquerade-all",
  [MasqueradeReason.SOURCE_NOT_POD]: "source-not-pod",
  [MasqueradeReason.EXTERNAL_POLICY_CLUSTER]: "external-policy-cluster",
  [MasqueradeReason.NODE_SHORT_CIRCUIT]: "node-short-circuit",
  [MasqueradeReason.HAIRPIN]: "hairpin",
  [MasqueradeReason.BACKEND_ON_HOST]: "backend-on-host",
  [MasqueradeReason.EGRESS]: "egress",
  [MasqueradeReason.SOURCE_PORT_COLLISION]: "source-port-collision",
};

const masqueradeSentences: Readonly<Record<MasqueradeReasonName, string>> = {
  no: "the source is kept",
  "masquerade-all": "the source is masqueraded: masqueradeAll",
  "source-not-pod": "the source is masqueraded: it is not a pod",
  "external-policy-cluster": "the source is masqueraded: externalTrafficPolicy Cluster",
  "node-short-circuit": "the source is masqueraded: this node talks to itself",
  hairpin: "the source is masqueraded: the endpoint is the client itself",
  "backend-on-host": "the source is kept: the endpoint is this node",
  egress: "the source is masqueraded: a pod leaves the cluster",
  "source-port-collision": "the source port changes: another connection holds the reply tuple",
};

const affinityTable: Record<number, "hit" | "miss" | "expired" | "unusable"> = {
  [AffinityResult.HIT]: "hit",
  [AffinityResult.MISS]: "miss",
  [AffinityResult.EXPIRED]: "expired",
  [AffinityResult.UNUSABLE]: "unusable",
};

const outcomes = ["accept", "invalid", "restart"] as const;

/** Decodes the steps that lie in memory after a trace. */
export function decodeTrace(machine: Machine, tables: DataplaneServiceTables, count: number): TraceStep[] {
  const steps: TraceStep[] = [];
  for (let i = 0; i < count; i++) {
    const at = (TRACE + i * TraceStepLayout.SIZE) >> 2;
    const [step, a, b, c] = machine.u32.subarray(at, at + 4) as unknown as [number, number, number, number];
    const decoded = decodeStep(tables, machine, step, a, b, c);
    if (decoded !== undefined) steps.push(decoded);
  }
  return steps;
}

function decodeStep(
  tables: DataplaneServiceTables,
  machine: Machine,
  step: number,
  a: number,
  b: number,
  c: number,
): TraceStep | undefined {
  const direction = (value: number) => ((value & 1) === 0 ? ("original" as const) : ("reply" as const));
  const backend = (slot: number): TracedBackend | undefined => {
    if (slot === NONE) return undefined;
    const name = tables.backendAt(slot)?.name;
    return { ...backendText(machine, slot), ...(name === undefined ? {} : { name }) };
  };
  const text = (one: TracedBackend | undefined) =>
    one === undefined ? "nobody" : `${endpointText(one)}${one.name === undefined ? "" : ` (${one.name})`}`;
  switch (step) {
    case Step.PARSED: {
      const reason = reasonName(a);
      const family = b >> 8 === 4 ? "IPv4" : b >> 8 === 6 ? "IPv6" : undefined;
      const protocol = b === 0 ? "none" : protocolName(b & 0xff);
      return {
        step: "parsed",
        family,
        protocol,
        ...(reason === undefined ? {} : { reason }),
        text:
          reason === undefined ? `a well-formed ${family ?? "link-layer"} packet, ${protocol}` : `malformed: ${reason}`,
      };
    }
    case Step.CONNTRACK_MISS:
      return { step: "connection", found: false, text: "no connection has this tuple" };
    case Step.CONNTRACK_HIT: {
      const at = machine.layout.regions.connections.address + a * 128;
      const protocol = machine.u8[at + 36]!;
      const state = stateName(protocol, c);
      const outcome = outcomes[b >> 8] ?? "accept";
      return {
        step: "connection",
        found: true,
        direction: direction(b),
        state,
        outcome,
        text: `belongs to a connection of ${decodeAddress(machine.u8, at, machine.u8[at + 37]!)}, ${direction(b)} direction${state === "" ? "" : `, ${state}`}: ${outcome}`,
      };
    }
    case Step.REOPENED:
      return undefined;
    case Step.FRONTEND: {
      const servicePort = tables.servicePortAt(a)?.id ?? `(removed Service port ${a})`;
      const kind = frontendKindNames[b];
      return {
        step: "frontend",
        servicePort,
        ...(kind === undefined ? {} : { kind }),
        text:
          kind === undefined
            ? `the connection is one of ${servicePort}`
            : `the destination is the ${kind} of ${servicePort}`,
      };
    }
    case Step.NO_FRONTEND:
      return { step: "no-frontend", text: "no Service port has this address, protocol and port" };
    case Step.SOURCE_RANGE:
      return {
        step: "source-range",
        allowed: a === 1,
        ranges: b,
        text:
          a === 1 ? "loadBalancerSourceRanges admit the source" : "loadBalancerSourceRanges do not admit the source",
      };
    case Step.ENDPOINT_SET: {
      const because = setReasonTable[b] ?? "internal-cluster";
      return {
        step: "endpoint-set",
        set: a === 0 ? "cluster" : "local",
        because,
        size: c,
        text: `${setSentences[because]} (${c})`,
      };
    }
    case Step.AFFINITY: {
      const result = affinityTable[a] ?? "miss";
      const one = backend(b);
      const sentence = {
        hit: `session affinity: this client stays with ${text(one)}`,
        miss: "session affinity: this client is new",
        expired: "session affinity: the record has expired",
        unusable: "session affinity: the recorded endpoint is not in the set",
      }[result];
      return { step: "affinity", result, ...(one === undefined ? {} : { backend: one }), text: sentence };
    }
    case Step.SCHEDULED: {
      const scheduler = schedulerNames[a] ?? "random";
      const one = backend(b);
      return {
        step: "scheduled",
        scheduler,
        ...(one === undefined ? {} : { backend: one }),
        among: c,
        text: `scheduler ${scheduler} picks ${text(one)}`,
      };
    }
    case Step.MASQUERADE: {
      const because = masqueradeTable[a] ?? "no";
      return { step: "masquerade", because, text: masqueradeSentences[because] };
    }
    case Step.DNAT: {
      const one = backend(a);
      return {
        step: "dnat",
        direction: direction(b),
        ...(one === undefined ? {} : { backend: one }),
        text:
          direction(b) === "original"
            ? `the destination becomes ${text(one)}`
            : `the source ${text(one)} becomes the Service's address again`,
      };
    }
    case Step.SNAT:
      return {
        step: "snat",
        direction: direction(b),
        port: a,
        text:
          direction(b) === "original"
            ? `the source becomes the node's, port ${a}`
            : "the destination becomes the client's again",
      };
    case Step.ROUTE: {
      const port = a === NONE ? undefined : a;
      return {
        step: "route",
        ...(port === undefined ? {} : { port }),
        local: b === 1,
        text: b === 1 ? "to the node itself" : port === undefined ? "no route" : `out of port ${port}`,
      };
    }
    case Step.ICMP_ERROR:
      return {
        step: "icmp-error",
        direction: direction(b),
        text: "an ICMP error about a tracked connection: its quote is put back too",
      };
    case Step.FRAGMENT:
      return {
        step: "fragment",
        tracked: a !== NONE,
        text: a === NONE ? "a later fragment of an untranslated datagram" : "a later fragment of a translated datagram",
      };
    case Step.VERDICT: {
      const verdict = verdictName(a, b);
      const reason = reasonName(b);
      return {
        step: "verdict",
        verdict,
        ...(reason === undefined ? {} : { reason }),
        text: reason === undefined ? verdict : `${verdict}: ${reason}`,
      };
    }
    default:
      return undefined;
  }
}

/** `address:port`, IPv6 in brackets. */
export function endpointText(endpoint: { readonly address: string; readonly port: number }): string {
  return endpoint.address.includes(":")
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}
