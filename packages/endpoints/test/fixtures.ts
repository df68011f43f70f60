import type { EndpointSlice, Node, Pod, Service, ServiceSpec } from "@portolan/core";
import type { EndpointSliceChanges, MirroredSliceChanges } from "../src/index.ts";

export function service(spec: ServiceSpec = {}, metadata: Service["metadata"] = {}): Service {
  return {
    metadata: { name: "web", namespace: "default", uid: "service-uid", ...metadata },
    spec: {
      type: "ClusterIP",
      clusterIP: "10.96.0.10",
      ipFamilies: ["IPv4"],
      selector: { app: "web" },
      ports: [{ port: 80, protocol: "TCP", targetPort: 8080 }],
      ...spec,
    },
  };
}

export function node(name: string, zone?: string, cpu = "4"): Node {
  return {
    metadata: { name, ...(zone === undefined ? {} : { labels: { "topology.kubernetes.io/zone": zone } }) },
    status: { allocatable: { cpu }, conditions: [{ type: "Ready", status: "True" }] },
  };
}

export interface PodOptions {
  readonly name?: string;
  readonly ips?: readonly string[];
  readonly ready?: boolean;
  readonly phase?: "Pending" | "Running" | "Succeeded" | "Failed";
  readonly terminating?: boolean;
  readonly nodeName?: string;
  readonly port?: number;
  readonly hostname?: string;
  readonly labels?: Record<string, string>;
}

/** Pod number `index`, with an address of its own, on `node1`. */
export function pod(index: number, options: PodOptions = {}): Pod {
  const { ips = [`10.244.${index >> 8}.${index & 255}`] } = options;
  const name = options.name ?? `web-${index}`;
  return {
    metadata: {
      name,
      namespace: "default",
      uid: `uid-${name}`,
      labels: options.labels ?? { app: "web" },
      ...(options.terminating ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    spec: {
      nodeName: options.nodeName ?? "node1",
      ...(options.hostname === undefined ? {} : { hostname: options.hostname, subdomain: "web" }),
      containers: [{ name: "main", ports: [{ name: "http", containerPort: options.port ?? 8080, protocol: "TCP" }] }],
    },
    status: {
      phase: options.phase ?? "Running",
      conditions: [{ type: "Ready", status: (options.ready ?? true) ? "True" : "False" }],
      ...(ips[0] === undefined ? {} : { podIP: ips[0] }),
      podIPs: ips.map((ip) => ({ ip })),
    },
  };
}

let names = 0;

/** The slices after the changes, as a server would keep them: named, and with null for empty lists. */
export function applied(
  slices: readonly EndpointSlice[],
  changes: Pick<EndpointSliceChanges | MirroredSliceChanges, "create" | "update" | "delete">,
): EndpointSlice[] {
  const stored = (slice: EndpointSlice): EndpointSlice => ({
    ...slice,
    endpoints: slice.endpoints?.length ? slice.endpoints : null,
    ports: slice.ports?.length ? slice.ports : null,
  });
  const byName = new Map(slices.map((slice) => [slice.metadata.name!, slice]));
  for (const slice of changes.update) {
    if (!byName.has(slice.metadata.name!))
      throw new Error(`update of a slice that does not exist: ${slice.metadata.name}`);
    byName.set(slice.metadata.name!, stored(slice));
  }
  for (const slice of changes.create) {
    const name = `${slice.metadata.generateName}${names++}`;
    byName.set(name, stored({ ...slice, metadata: { ...slice.metadata, name, uid: `uid-${name}` } }));
  }
  for (const slice of changes.delete) {
    if (!byName.delete(slice.metadata.name!))
      throw new Error(`deletion of a slice that does not exist: ${slice.metadata.name}`);
  }
  return [...byName.values()];
}

export function writes(changes: Pick<EndpointSliceChanges, "create" | "update" | "delete">): number {
  return changes.create.length + changes.update.length + changes.delete.length;
}

export function sizes(slices: readonly EndpointSlice[]): number[] {
  return slices.map((slice) => slice.endpoints?.length ?? 0).sort((a, b) => b - a);
}
