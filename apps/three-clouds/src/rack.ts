import { createFakeClock } from "@portolan/client/testing";
import type { EndpointSlice, Service } from "@portolan/core";
import { createDataplane, type Dataplane } from "@portolan/dataplane";
import {
  createCallContext,
  type FlowPolicy,
  type LoadBalancerProvider,
  type NodeReference,
  ProviderError,
} from "@portolan/lb";
import { type Appliance, createAppliance } from "@portolan/lb-appliance";
import { packet, parsePacket } from "@portolan/net";
import { compileServicePorts } from "@portolan/proxy";

/** What was seen of one Service behind one cloud's load balancer. */
export interface Observation {
  readonly cloud: string;
  readonly scheme: string;
  readonly policy: "Cluster" | "Local";
  readonly address: string;
  readonly healthCheck: string;
  /** What a node sees as destination. */
  readonly destination: string;
  /** Who the pods saw as source. */
  readonly source: string;
  /** Share of the flows that each node got. */
  readonly spread: string;
  /** What happened after a node with a pod went away. */
  readonly failure: string;
}

const nodeNames = ["node1", "node2", "node3"] as const;
const podOf: Readonly<Record<string, string>> = { node1: "10.244.1.10", node2: "10.244.2.10" };
const client = "198.51.100.7";

const nodes: readonly NodeReference[] = nodeNames.map((name, index) => ({
  name,
  providerID: `cloud:///zone-${"abc"[index]}/${name}`,
  addresses: [`172.18.0.${index + 2}`],
  zone: `zone-${"abc"[index]}`,
  labels: {},
}));

function serviceFor(annotations: Readonly<Record<string, string>>, policy: "Cluster" | "Local"): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      namespace: "default",
      name: "web-lb",
      uid: "8f4e5d21-6c7b-4a89-9e10-123456789abc",
      annotations: { ...annotations },
    },
    spec: {
      type: "LoadBalancer",
      selector: { app: "web" },
      clusterIP: "10.96.0.80",
      clusterIPs: ["10.96.0.80"],
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      sessionAffinity: "None",
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: policy,
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: 8080, nodePort: 30080 }],
      ...(policy === "Local" ? { healthCheckNodePort: 31234 } : {}),
    },
  };
}

const slice: EndpointSlice = {
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { namespace: "default", name: "web-lb-1", labels: { "kubernetes.io/service-name": "web-lb" } },
  addressType: "IPv4",
  ports: [{ name: "http", protocol: "TCP", port: 8080 }],
  endpoints: Object.entries(podOf).map(([nodeName, address]) => ({
    addresses: [address],
    nodeName,
    conditions: { ready: true, serving: true, terminating: false },
  })),
};

/** What the cloud makes of a Service: address and policy. Passes until the cloud is through, on its clock. */
async function ensure(
  provider: LoadBalancerProvider,
  service: Service,
): Promise<{ address: string; ipMode: string; policy: FlowPolicy }> {
  const { namespace = "", name = "", uid = "" } = service.metadata;
  const clock = createFakeClock();
  for (let attempt = 0; attempt < 100; attempt++) {
    const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: uid, clock });
    const turning = setInterval(() => void clock.advance(1000), 1);
    try {
      const observed = await provider.observe(context, { namespace, name, uid });
      const plan = provider.plan({ service, nodes, observed, endpointSlices: [slice] });
      const { ingress } = await provider.apply(context, plan);
      const [first] = ingress;
      if (first !== undefined) {
        const policy = provider.flowPolicy?.(service);
        if (policy === undefined) throw new Error(`provider ${provider.id} does not say what it does to packets`);
        return { address: first.ip ?? first.hostname ?? "", ipMode: first.ipMode ?? "VIP", policy };
      }
    } catch (error) {
      if (!(error instanceof ProviderError) || !["NotReady", "Throttled", "Concurrency"].includes(error.code))
        throw error;
    } finally {
      clearInterval(turning);
    }
  }
  throw new Error(`provider ${provider.id} gave no address`);
}

/** Nodes as kube-proxy would have set them up: the Service with its load-balancer address. */
function buildNodes(service: Service, ip: string | undefined): Map<string, Dataplane> {
  const withStatus: Service =
    ip === undefined ? service : { ...service, status: { loadBalancer: { ingress: [{ ip, ipMode: "VIP" }] } } };
  return new Map(
    nodes.map((node, index) => {
      const dataplane = createDataplane({ seed: index + 1, capacity: { connections: 4096, maglevSlots: 65_536 } });
      dataplane.configureNode({ addresses: node.addresses, clusterCIDRs: ["10.244.0.0/16"] });
      const compiled = compileServicePorts(withStatus, [slice], { nodeName: node.name, zone: node.zone ?? "" });
      dataplane.replaceServicePorts(compiled.map(({ spec }) => spec));
      return [node.name, dataplane];
    }),
  );
}

function syn(destination: string, sourcePort: number): Uint8Array {
  return packet().ipv4({ source: client, destination }).tcp({ sourcePort, destinationPort: 80, flags: "S" }).build();
}

/** A flow from the client through the balancer and a node to a pod; undefined where a packet was dropped. */
function follow(
  appliance: Appliance,
  dataplanes: ReadonlyMap<string, Dataplane>,
  address: string,
  sourcePort: number,
): { node: string; pod?: string; source?: string; destination: string } | undefined {
  const { node, packet: sent } = appliance.process(syn(address, sourcePort));
  if (node === undefined || sent === undefined) return undefined;
  const arrived = parsePacket(sent);
  const destination = `${arrived.destination}:${arrived.tcp?.destinationPort}`;
  const { packet: translated } = dataplanes.get(node)!.process(sent, { now: 0 });
  if (translated === undefined) return { node, destination };
  const { destination: pod, source } = parsePacket(translated);
  return { node, destination, ...(pod === undefined ? {} : { pod }), ...(source === undefined ? {} : { source }) };
}

/** Puts one Service behind one cloud's load balancer, sends flows, and takes a node away. */
export async function observe(
  cloud: string,
  provider: LoadBalancerProvider,
  annotations: Readonly<Record<string, string>>,
  externalTrafficPolicy: "Cluster" | "Local",
): Promise<Observation> {
  const service = serviceFor(annotations, externalTrafficPolicy);
  const { address, ipMode, policy } = await ensure(provider, service);
  const isName = !/^[\d.]+$/.test(address);
  // A host name is resolved by the cloud's DNS; here the balancer stands behind an address of documentation.
  const ip = isName ? "203.0.113.80" : address;
  const dataplanes = buildNodes(service, ipMode === "VIP" ? ip : undefined);
  const clock = createFakeClock();
  const gone = new Set<string>();
  const appliance = createAppliance({
    policy,
    addresses: [ip],
    ownAddresses: ["172.18.0.250"],
    nodes,
    clock,
    seed: 1,
    probe: async (node, check) => {
      if (gone.has(node.name)) return false;
      // The health-check node port says yes where there is a pod; other ports answer on every node.
      return check.port === 31234 ? podOf[node.name] !== undefined : true;
    },
  });
  const stop = new AbortController();
  const run = appliance.run(stop.signal);
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) await clock.advance(1000);
  };
  await pass(120);

  const counts = new Map<string, number>();
  const sources = new Set<string>();
  const destinations = new Set<string>();
  const total = 300;
  let lost = 0;
  let kept: { port: number; node: string } | undefined;
  for (let index = 0; index < total; index++) {
    const port = 20_000 + index * 13;
    const flow = follow(appliance, dataplanes, ip, port);
    if (flow?.pod === undefined) {
      lost += 1;
      continue;
    }
    counts.set(flow.node, (counts.get(flow.node) ?? 0) + 1);
    sources.add(flow.source === client ? "client" : flow.source === "172.18.0.250" ? "balancer" : "node");
    destinations.add(flow.destination);
    if (flow.node === "node1") kept = { port, node: flow.node };
  }

  gone.add("node2");
  let seconds = 0;
  const serves = (name: string): boolean => [...(appliance.health().get(name)?.values() ?? [])].some(Boolean);
  while (serves("node2") && seconds < 600) {
    await pass(1);
    seconds += 1;
  }
  let misdirected = 0;
  for (let index = 0; index < total; index++) {
    if (follow(appliance, dataplanes, ip, 40_000 + index * 7)?.node === "node2") misdirected += 1;
  }
  const stays = kept !== undefined && follow(appliance, dataplanes, ip, kept.port)?.node === kept.node;
  stop.abort();
  await run;
  const [{ healthCheck } = { healthCheck: undefined }] = policy.ports;
  return {
    cloud,
    scheme: policy.scheme,
    policy: externalTrafficPolicy,
    address,
    healthCheck:
      healthCheck === undefined
        ? "none"
        : `${healthCheck.protocol} ${healthCheck.port === "traffic-port" ? policy.ports[0]!.targetPort : healthCheck.port}${healthCheck.path ?? ""} every ${healthCheck.intervalSeconds} s`,
    destination: [...destinations].some((each) => each.startsWith(`${ip}:`)) ? "balancer's" : "node's, node port",
    source: [...sources].sort().join(", ") || "nobody",
    spread: nodeNames.map((name) => counts.get(name) ?? 0).join("/") + (lost > 0 ? `, ${lost} lost` : ""),
    failure:
      `new flows move after ${seconds} s${misdirected > 0 ? ` (${misdirected} still go there)` : ""}` +
      (kept === undefined ? "" : stays ? "; others stay" : "; others move as well"),
  };
}
