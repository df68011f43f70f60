/** Vectors about endpoints, decided by `@portolan/endpoints`, `@portolan/lb` and `@portolan/proxy`. */
import type {
  Endpoint,
  EndpointSlice,
  EndpointSubset,
  Endpoints,
  Node,
  Pod,
  Service,
  ServicePort,
} from "@portolan/core";
import {
  addressTypesOf,
  allocateZones,
  applyHints,
  applyTopologyHints,
  balanceZones,
  distributionHints,
  endpointOf,
  endpointSubsetsOf,
  findPort,
  hasServiceHostname,
  isPodEndpoint,
  reconcileEndpointSlices,
  reconcileEndpoints,
  reconcileMirroredSlices,
  repackSubsets,
  sliceLabels,
  topologyModeEnabled,
  truncateSubsets,
} from "@portolan/endpoints";
import { isLoadBalancerTarget } from "@portolan/lb";
import { healthCheckResponse } from "@portolan/proxy";
import { Comparison, type MatchContext, valueAt } from "./expectation.ts";
import { runEndpointsOfService } from "./seed-vectors.ts";
import { notImplemented, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };
const namespace = "ns";

type Fields = Record<string, unknown>;

function serviceOf(fields: Fields): Service {
  const { name = "web", namespace: home = namespace, labels, annotations, finalizers, ...spec } = fields;
  const ports = (spec["ports"] as ServicePort[] | undefined)?.map((port) => ({ protocol: "TCP" as const, ...port }));
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: name as string,
      namespace: home as string,
      uid: "service-uid",
      ...(labels === undefined ? {} : { labels: labels as Record<string, string> }),
      ...(annotations === undefined ? {} : { annotations: annotations as Record<string, string> }),
    },
    spec: { type: "ClusterIP", ...spec, ...(ports === undefined ? {} : { ports }) } as NonNullable<Service["spec"]>,
  };
}

function podOf(fields: Fields, index = 0): Pod {
  const addresses =
    (fields["podIPs"] as string[] | undefined) ?? (fields["podIP"] === undefined ? [] : [fields["podIP"] as string]);
  const namedPorts = Object.entries((fields["namedPorts"] as Record<string, number> | undefined) ?? {});
  const ready = fields["readyCondition"];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `pod-${index}`,
      namespace: (fields["namespace"] as string | undefined) ?? namespace,
      uid: `pod-uid-${index}`,
      labels: { a: "b" },
      ...(fields["terminating"] === true ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    spec: {
      containers: [
        {
          name: "c",
          ports: namedPorts.map(([name, containerPort]) => ({ name, containerPort, protocol: "TCP" as const })),
        },
      ],
      ...(fields["nodeName"] === undefined ? {} : { nodeName: fields["nodeName"] as string }),
      ...(fields["hostname"] === undefined ? {} : { hostname: fields["hostname"] as string }),
      ...(fields["subdomain"] === undefined ? {} : { subdomain: fields["subdomain"] as string }),
      ...(fields["restartPolicy"] === undefined ? {} : { restartPolicy: fields["restartPolicy"] as "Always" }),
    },
    status: {
      phase: (fields["phase"] as "Running" | undefined) ?? "Running",
      podIPs: addresses.map((ip) => ({ ip })),
      ...(addresses[0] === undefined ? {} : { podIP: addresses[0] }),
      ...(ready === undefined ? {} : { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] }),
    },
  };
}

const runPodInEndpoints: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    expected.included,
    isPodEndpoint(podOf(input), input.includeTerminating ?? false),
    "included",
  ).result;

const runHostname: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    expected.setHostname,
    hasServiceHostname(podOf(input.pod), serviceOf(input.service)),
    "setHostname",
  ).result;

const runFindPort: VectorRunner = ({ input, expected }) => {
  const pod = podOf({});
  Object.assign(pod.spec!, { containers: input.containers, initContainers: input.initContainers });
  const port = findPort(pod, { port: 1, ...input.servicePort });
  return expected.error === true
    ? new Comparison(noContext).equal(null, port ?? null, "port").result
    : new Comparison(noContext).equal(expected.port, port, "port").result;
};

/** Subsets in an order of their own: addresses by text, ports and subsets by JSON. */
function sortedSubsets(subsets: readonly EndpointSubset[]): unknown[] {
  const text = (value: unknown) => JSON.stringify(value);
  const sorted = (list: readonly unknown[]) => [...list].sort((a, b) => (text(a) < text(b) ? -1 : 1));
  return sorted(
    subsets.map((subset) => ({
      addresses: sorted(subset.addresses ?? []),
      notReadyAddresses: sorted(subset.notReadyAddresses ?? []),
      ports: sorted(
        (subset.ports ?? []).map((port) => ({
          name: port.name ?? "",
          port: port.port,
          protocol: port.protocol ?? "TCP",
        })),
      ),
    })),
  );
}

/** Subsets whose addresses are texts. */
function addressTexts(subsets: readonly EndpointSubset[]): EndpointSubset[] {
  return subsets.map((subset) => ({
    ...(subset.addresses === undefined ? {} : { addresses: subset.addresses.map((address) => address.ip) as never }),
    ...(subset.notReadyAddresses === undefined
      ? {}
      : { notReadyAddresses: subset.notReadyAddresses.map((a) => a.ip) as never }),
    ...(subset.ports === undefined ? {} : { ports: subset.ports }),
  }));
}

const runEndpointsController: VectorRunner = (vector) => {
  const { input, expected } = vector;
  // Which Services are looked at is decided by the running controller, before the pure part.
  if (input.service?.type === "ExternalName" && expected.writes !== undefined) return runEndpointsOfService(vector);
  const service = serviceOf({ selector: { a: "b" }, ipFamilies: ["IPv4"], clusterIP: "10.96.0.1", ...input.service });
  const pods = ((input.pods ?? []) as Fields[]).map(podOf);
  const change = reconcileEndpoints({ service, pods });
  const endpoints = change.action === "none" ? undefined : change.endpoints;
  const subsets = change.action === "none" ? endpointSubsetsOf(service, pods) : (endpoints?.subsets ?? []);
  const count = (field: "addresses" | "notReadyAddresses") =>
    subsets.reduce((sum, subset) => sum + (subset[field]?.length ?? 0), 0);
  const comparison = new Comparison(noContext);
  if (expected.numAddresses !== undefined) comparison.equal(expected.numAddresses, count("addresses"), "addresses");
  if (expected.numNotReadyAddresses !== undefined) {
    comparison.equal(expected.numNotReadyAddresses, count("notReadyAddresses"), "notReadyAddresses");
  }
  if (expected.labels !== undefined) comparison.subset(expected.labels, endpoints?.metadata.labels, "labels");
  if (expected.writes !== undefined) comparison.equal(expected.writes, change.action === "none" ? 0 : 1, "writes");
  const wanted = expected.subsets ?? expected.subsetsUnordered;
  if (wanted !== undefined) {
    comparison.equal(sortedSubsets(wanted), sortedSubsets(addressTexts(subsets)), "subsets");
  }
  return comparison.result;
};

function manyPods(ready: number, notReady: number): Pod[] {
  return Array.from({ length: ready + notReady }, (_, index) =>
    podOf({ podIP: `10.${1 + (index >> 8)}.0.${index & 255}`, readyCondition: index < ready }, index),
  );
}

const overCapacity = "endpoints.kubernetes.io/over-capacity";

const runOverCapacity: VectorRunner = ({ input, expected }) => {
  const service = serviceOf({
    selector: { a: "b" },
    ipFamilies: ["IPv4"],
    clusterIP: "10.96.0.1",
    ports: [{ port: 80 }],
  });
  const existing: Endpoints = {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name: "web",
      namespace,
      ...(input.startingAnnotation === null ? {} : { annotations: { [overCapacity]: input.startingAnnotation } }),
    },
    subsets: [],
  };
  const change = reconcileEndpoints({ service, pods: manyPods(input.readyPods, input.notReadyPods), existing });
  const endpoints = change.action === "none" ? existing : change.endpoints;
  const count = (field: "addresses" | "notReadyAddresses") =>
    (endpoints.subsets ?? []).reduce((sum, subset) => sum + (subset[field]?.length ?? 0), 0);
  return new Comparison(noContext)
    .equal(expected.numAddresses, count("addresses"), "addresses")
    .equal(expected.numNotReadyAddresses, count("notReadyAddresses"), "notReadyAddresses")
    .equal(expected[`annotation ${overCapacity}`], endpoints.metadata.annotations?.[overCapacity] ?? null, "annotation")
    .result;
};

const runTruncate: VectorRunner = ({ input, expected }) => {
  const addresses = (count: number, subset: number, block: number) =>
    Array.from({ length: count }, (_, index) => ({ ip: `10.${block}.${subset}.${index}` }));
  const subsets: EndpointSubset[] = (input.subsetsReady as number[]).map((ready, index) => ({
    addresses: addresses(ready, index, 1),
    notReadyAddresses: addresses(input.subsetsNotReady[index] ?? 0, index, 2),
    ports: [{ port: 80 + index, protocol: "TCP" }],
  }));
  const cut = truncateSubsets(subsets).subsets;
  const counts = (field: "addresses" | "notReadyAddresses") => cut.map((subset) => subset[field]?.length ?? 0);
  return new Comparison(noContext)
    .equal(expected.ready, counts("addresses"), "ready")
    .equal(expected.notReady, counts("notReadyAddresses"), "notReady").result;
};

const runRepack: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    sortedSubsets(expected.subsets),
    sortedSubsets(repackSubsets(input.subsets)),
    "subsets",
  ).result;

const runSliceEndpoint: VectorRunner = ({ input, expected }) => {
  const node: Node = {
    metadata: {
      name: input.pod.nodeName ?? "node-1",
      ...(input.node?.zone === undefined ? {} : { labels: { "topology.kubernetes.io/zone": input.node.zone } }),
    },
  };
  const endpoint = endpointOf(podOf(input.pod), node, serviceOf(input.service), input.addressType);
  if (expected.error === true || expected === null) return endpoint === undefined ? undefined : "an endpoint came";
  return new Comparison(noContext).subset(expected, endpoint).result;
};

const runSliceLabels: VectorRunner = ({ input, expected }) => {
  const { labels, changed } = sliceLabels(serviceOf(input.service), input.sliceLabels);
  const entries = (map: Record<string, string>) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  const comparison = new Comparison(noContext).equal(entries(expected.labels), entries(labels), "labels");
  if (expected.countsAsLabelChange !== undefined)
    comparison.equal(expected.countsAsLabelChange, changed, "countsAsLabelChange");
  return comparison.result;
};

const runAddressTypes: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    [...expected.addressTypesUnordered].sort(),
    [...addressTypesOf(serviceOf(input.serviceSpec))].sort(),
    "address types",
  ).result;

const runHintsEnabled: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    expected.enabled,
    topologyModeEnabled(serviceOf({ annotations: input.annotations })),
    "enabled",
  ).result;

function sliceOf(endpoints: Endpoint[], index = 0): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `web-${index}`, namespace, labels: {} },
    addressType: "IPv4",
    endpoints,
    ports: [],
  };
}

const runDistribution: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (input.endpoints === undefined) return runHintPrecedence(vector);
  const endpoints = (input.endpoints as Fields[]).map((fields, index): Endpoint => {
    const zones = valueAt(fields["hints"], "forZones") as string[] | undefined;
    return {
      addresses: [`10.0.0.${index + 1}`],
      conditions: { ready: fields["ready"] as boolean },
      ...(fields["zone"] === undefined ? {} : { zone: fields["zone"] as string }),
      ...(fields["nodeName"] === undefined ? {} : { nodeName: fields["nodeName"] as string }),
      ...(zones === undefined ? {} : { hints: { forZones: zones.map((name) => ({ name })) } }),
    };
  });
  const packed = applyHints({ create: [], update: [], delete: [], unchanged: [sliceOf(endpoints)] }, (endpoint) =>
    distributionHints(input.trafficDistribution ?? undefined, endpoint),
  );
  const comparison = new Comparison(noContext);
  if (expected.sliceUpdated !== undefined)
    comparison.equal(expected.sliceUpdated, packed.update.length > 0, "sliceUpdated");
  if (expected.hints !== undefined) {
    const got = ([...packed.update, ...packed.unchanged][0]?.endpoints ?? []).map((endpoint) => endpoint.hints);
    const names = (list: { name: string }[] | undefined) => list?.map((entry) => entry.name);
    comparison.equal(
      (expected.hints as ({ forZones?: string[]; forNodes?: string[] } | null)[]).map((hints) => [
        hints?.forZones ?? [],
        hints?.forNodes ?? [],
      ]),
      got.map((hints) => [names(hints?.forZones) ?? [], names(hints?.forNodes) ?? []]),
      "hints",
    );
  }
  return comparison.result;
};

function nodesOf(list: readonly Fields[]): Node[] {
  return list.map((fields) => ({
    metadata: { name: fields["name"] as string, labels: { "topology.kubernetes.io/zone": fields["zone"] as string } },
    status: { allocatable: { cpu: fields["cpu"] as string }, conditions: [{ type: "Ready", status: "True" }] },
  }));
}

function milliCpus(node: Node): number {
  const text = node.status?.allocatable?.["cpu"] ?? "0";
  return text.endsWith("m") ? Number(text.slice(0, -1)) : Number(text) * 1000;
}

const runHintPrecedence: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (input.nodes === undefined || expected.zoneHintCounts === undefined) return notImplemented(vector);
  const nodes = nodesOf(input.nodes);
  let index = 0;
  const pods = Object.entries(input.podsPerNode as Record<string, number>).flatMap(([nodeName, count]) =>
    Array.from({ length: count }, () =>
      podOf({ podIP: `10.0.0.${index + 1}`, readyCondition: true, nodeName }, index++),
    ),
  );
  const annotation = input.topologyAwareHintsAnnotation as string | undefined;
  const service = serviceOf({
    selector: { a: "b" },
    ipFamilies: ["IPv4"],
    clusterIP: "10.96.0.1",
    ports: [{ port: 80, targetPort: 80 }],
    ...(input.trafficDistribution === null ? {} : { trafficDistribution: input.trafficDistribution }),
    ...(annotation ? { annotations: { "service.kubernetes.io/topology-mode": annotation } } : {}),
  });
  const total = nodes.reduce((sum, node) => sum + milliCpus(node), 0);
  const zoneShares = new Map<string, number>();
  for (const node of nodes) {
    const zone = node.metadata.labels!["topology.kubernetes.io/zone"]!;
    zoneShares.set(zone, (zoneShares.get(zone) ?? 0) + milliCpus(node) / total);
  }
  const changes = reconcileEndpointSlices({
    service,
    pods,
    node: (name) => nodes.find((node) => node.metadata.name === name),
    existing: [],
    zoneShares,
  });
  const counts: Record<string, number> = {};
  let elsewhere = 0;
  for (const endpoint of [...changes.create, ...changes.update].flatMap((slice) => slice.endpoints ?? [])) {
    const zone = endpoint.hints?.forZones?.[0]?.name ?? "";
    counts[zone] = (counts[zone] ?? 0) + 1;
    if (zone !== "" && zone !== endpoint.zone) elsewhere++;
  }
  const entries = (map: Record<string, number>) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Comparison(noContext)
    .equal(entries(expected.zoneHintCounts), entries(counts), "zoneHintCounts")
    .equal(expected.endpointsHintedToAnotherZone, elsewhere, "endpointsHintedToAnotherZone").result;
};

const runTopology: VectorRunner = (vector) => {
  const { input, expected } = vector;
  const comparison = new Comparison(noContext);
  const entries = (map: Iterable<[string, number]>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  if (expected.giving !== undefined) {
    const { giving, receiving } = balanceZones(
      new Map(Object.entries(input.desiredByZone as Record<string, number>)),
      new Map(Object.entries(input.allocatedHintsByZone as Record<string, number>)),
    );
    return comparison
      .equal(entries(Object.entries(expected.giving)), entries(giving), "giving")
      .equal(entries(Object.entries(expected.receiving)), entries(receiving), "receiving").result;
  }
  if (input.readyEndpointsByZone !== undefined) {
    const shares =
      input.cpuRatiosByZone === null
        ? undefined
        : new Map(Object.entries(input.cpuRatiosByZone as Record<string, number>));
    let index = 0;
    const endpoints = Object.entries(input.readyEndpointsByZone as Record<string, number>).flatMap(([zone, count]) =>
      Array.from(
        { length: count },
        (): Endpoint => ({ addresses: [`10.0.0.${++index}`], conditions: { ready: true }, zone }),
      ),
    );
    const result = applyTopologyHints(
      { create: [sliceOf(endpoints)], update: [], delete: [], unchanged: [] },
      shares,
      input.addressType,
      input.hintsEnabledBefore ?? false,
    );
    if (expected.events !== undefined) comparison.equal(expected.events, result.events, "events");
    if (expected.hints === null) {
      const hinted = result.slices.create
        .flatMap((slice) => slice.endpoints ?? [])
        .filter((endpoint) => endpoint.hints);
      comparison.equal(0, hinted.length, "hinted endpoints");
    } else if (expected.hints !== undefined) return notImplemented(vector);
    return comparison.result;
  }
  if (input.endpoints !== undefined && input.cpuRatiosByZone !== undefined && expected.allocations !== undefined) {
    const zones = allocateZones(
      new Map(Object.entries(input.cpuRatiosByZone as Record<string, number>)),
      input.endpoints,
    );
    return comparison.equal(
      expected.allocations,
      typeof zones === "string" ? zones : Object.fromEntries(zones),
      "allocations",
    ).result;
  }
  return notImplemented(vector);
};

const runMirroring: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (input.endpoints?.subsets === undefined || input.existing !== undefined) return notImplemented(vector);
  const endpoints: Endpoints = {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name: "web",
      namespace,
      uid: "endpoints-uid",
      ...(input.endpointsLabels === undefined ? {} : { labels: input.endpointsLabels }),
      ...(input.endpointsAnnotations === undefined ? {} : { annotations: input.endpointsAnnotations }),
      ...(input.endpointsDeletionPending === true ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    subsets: input.endpoints.subsets,
  };
  const service = input.service === null ? undefined : serviceOf({ clusterIP: "10.96.0.1", ...input.service });
  const changes = reconcileMirroredSlices({
    endpoints,
    service,
    existing: [],
    ...(input.maxEndpointsPerSubset === undefined ? {} : { maximumEndpointsPerSubset: input.maxEndpointsPerSubset }),
  });
  const comparison = new Comparison(noContext);
  if (expected.numSlices !== undefined) comparison.equal(expected.numSlices, changes.create.length, "slices");
  if (expected.writes !== undefined) {
    comparison.equal(expected.writes, changes.create.length + changes.update.length + changes.delete.length, "writes");
  }
  if (expected.events !== undefined) comparison.subset(expected.events, changes.events, "events");
  if (expected.slices !== undefined) comparison.subset(expected.slices, changes.create, "slices");
  return comparison.result;
};

const runPacking: VectorRunner = (vector) => {
  const { input, expected } = vector;
  const podsMissing = input.podsOnMissingNode ?? 0;
  const count = input.desired ?? input.pods;
  const existingLengths = input.existing as number[] | undefined;
  if (count === undefined || existingLengths === undefined) return notImplemented(vector);
  const known = [
    "desired",
    "pods",
    "existing",
    "allExistingDesired",
    "everySliceHasAChangedEndpoint",
    "change",
    "max",
    "existingOwnerUID",
    "podsOnMissingNode",
    "publishNotReadyAddresses",
  ];
  const unknown = Object.keys(input).find((key) => !known.includes(key));
  if (unknown !== undefined) return `${notImplemented(vector)}: input ${unknown}`;
  const change = (input.change as string | undefined) ?? "";
  const pods = Array.from({ length: count }, (_, index) =>
    podOf(
      {
        podIP: `10.${index >> 8}.1.${index & 255}`,
        readyCondition: true,
        nodeName: index < podsMissing ? "missing" : "node-1",
      },
      index,
    ),
  );
  const node: Node = { metadata: { name: "node-1" } };
  const before = serviceOf({
    selector: { a: "b" },
    ipFamilies: ["IPv4"],
    clusterIP: "10.96.0.1",
    ports: [{ port: 80, targetPort: 80 }],
    publishNotReadyAddresses: input.publishNotReadyAddresses ?? false,
  });
  const seed = (service: Service, members: Pod[], index: number): EndpointSlice[] =>
    reconcileEndpointSlices({
      service,
      pods: members,
      node: () => node,
      existing: [],
      maximumEndpointsPerSlice: 1000,
    }).create.map((slice) => ({
      ...slice,
      metadata: { ...slice.metadata, name: `web-${index}`, uid: `slice-${index}`, resourceVersion: "1" },
    }));
  let offset = 0;
  const existing = existingLengths.flatMap((length, index) => {
    const members = pods.slice(offset, offset + length);
    offset += length;
    const owner = structuredClone(before);
    if (input.existingOwnerUID === "different") owner.metadata.uid = "another-uid";
    return seed(owner, members, index);
  });
  if (offset > count) return `${notImplemented(vector)}: existing endpoints that are not desired`;
  if (input.everySliceHasAChangedEndpoint === true) {
    for (const slice of existing)
      slice.endpoints![0]!.conditions = { ready: false, serving: false, terminating: false };
  }
  const after = structuredClone(before);
  if (change.startsWith("targetPort")) after.spec!.ports![0]!.targetPort = Number(change.split("->")[1]);
  else if (change === "service given reserved slice labels") {
    after.metadata.labels = {
      "kubernetes.io/service-name": "other",
      "endpointslice.kubernetes.io/managed-by": "other",
      "service.kubernetes.io/headless": "other",
    };
  } else if (change !== "") return `${notImplemented(vector)}: change ${change}`;
  const changes = reconcileEndpointSlices({
    service: after,
    pods,
    node: (name) => (name === "node-1" ? node : undefined),
    existing,
    ...(input.max === undefined ? {} : { maximumEndpointsPerSlice: input.max }),
  });
  const comparison = new Comparison(noContext);
  if (expected.actions !== undefined) {
    comparison.equal(
      expected.actions,
      { create: changes.create.length, update: changes.update.length, delete: changes.delete.length },
      "actions",
    );
  }
  const gone = new Set([...changes.delete, ...changes.update].map((slice) => slice.metadata.name));
  const left = [...existing.filter((slice) => !gone.has(slice.metadata.name)), ...changes.update, ...changes.create];
  const descending = (lengths: number[]) => [...lengths].sort((a, b) => b - a);
  comparison.equal(
    descending(expected.lengths),
    descending(left.map((slice) => slice.endpoints?.length ?? 0)),
    "lengths",
  );
  if (expected.returnsError !== undefined)
    comparison.equal(expected.returnsError, changes.skipped.length > 0, "returnsError");
  return comparison.result;
};

const runNodePredicate: VectorRunner = ({ input, expected }) => {
  const { labels, taints, providerID } = input.node;
  const node: Node = {
    metadata: { name: "node-1", ...(labels === undefined ? {} : { labels }) },
    spec: {
      ...(providerID === undefined ? {} : { providerID }),
      ...(taints === undefined
        ? {}
        : { taints: (taints as string[]).map((key) => ({ key, effect: "NoSchedule" as const })) }),
    },
  };
  if (input.node.deleting === true) node.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";
  if (input.node.ready === false) node.status = { conditions: [{ type: "Ready", status: "False" }] };
  return new Comparison(noContext).equal(expected.includedInLoadBalancerNodes, isLoadBalancerTarget(node), "included")
    .result;
};

const runHealthCheck: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (typeof input.service !== "string" || input.localEndpoints === undefined) return notImplemented(vector);
  const [home, name] = input.service.split("/") as [string, string];
  const response = healthCheckResponse(
    { namespace: home, name, localEndpoints: input.localEndpoints } as Parameters<typeof healthCheckResponse>[0],
    input.proxyHealthy,
  );
  const comparison = new Comparison(noContext).equal(expected.httpStatus, response.status, "HTTP status");
  if (expected.headers !== undefined) comparison.subset(expected.headers, response.headers, "headers");
  if (expected.json !== undefined) comparison.subset(expected.json, JSON.parse(response.body), "body");
  return comparison.result;
};

/** Areas decided by the packages of controllers, load balancers and the proxy. */
export const endpointRunners: Readonly<Record<string, VectorRunner>> = {
  "pod-in-endpoints": runPodInEndpoints,
  "should-set-hostname": runHostname,
  "find-port": runFindPort,
  "endpoints-controller": runEndpointsController,
  "endpoints-over-capacity": runOverCapacity,
  "endpoints-truncate": runTruncate,
  "endpoints-repack": runRepack,
  "endpointslice-endpoint": runSliceEndpoint,
  "endpointslice-labels": runSliceLabels,
  "endpointslice-address-types": runAddressTypes,
  "endpointslice-packing": runPacking,
  "endpointslice-hints-enabled": runHintsEnabled,
  "endpointslice-trafficdist": runDistribution,
  "endpointslice-topology": runTopology,
  "endpointslice-mirroring": runMirroring,
  "cloud-node-predicates": runNodePredicate,
  "healthcheck-node-port": runHealthCheck,
};
