import type { Dataplane, DataplaneError, ServicePortSpec } from "@portolan/dataplane";
import { packet, parsePacket } from "@portolan/net";

const policy = { internalTrafficPolicy: "Cluster", externalTrafficPolicy: "Cluster" } as const;

/** A Service port with one cluster IP, port 80, and backends on port 8080. */
export function spec(
  id: string,
  clusterIP: string,
  backends: readonly string[],
  more: Partial<ServicePortSpec> = {},
): ServicePortSpec {
  return {
    id,
    family: "IPv4",
    protocol: "TCP",
    hasAny: backends.length > 0,
    ...policy,
    frontends: [{ kind: "ClusterIP", address: clusterIP, port: 80 }],
    cluster: backends.map((address) => ({ address, port: 8080 })),
    local: [],
    ...more,
  };
}

let sourcePort = 1024;
/** A first packet from a pod: where it goes, or the verdict and its reason. */
export function dial(
  dataplane: Dataplane,
  destination: string,
  options: {
    now?: number;
    source?: string;
    sourcePort?: number;
    protocol?: "TCP" | "UDP";
    flags?: string;
    port?: number;
  } = {},
): string {
  sourcePort = sourcePort >= 65000 ? 1024 : sourcePort + 1;
  const ports = { sourcePort: options.sourcePort ?? sourcePort, destinationPort: options.port ?? 80 };
  const source = options.source ?? "10.244.1.20";
  const base = destination.includes(":")
    ? packet().ipv6({ source, destination })
    : packet().ipv4({ source, destination });
  const bytes =
    options.protocol === "UDP" ? base.udp(ports).build() : base.tcp({ ...ports, flags: options.flags ?? "S" }).build();
  const result = dataplane.process(bytes, { now: options.now ?? 1 });
  if (result.reason !== undefined) return `${result.verdict} ${result.reason}`;
  return parsePacket(result.packet!).destination!;
}

/** The code of the error that a call throws. */
export function code(call: () => unknown): string | undefined {
  try {
    call();
  } catch (error) {
    return (error as DataplaneError).code;
  }
  return undefined;
}
