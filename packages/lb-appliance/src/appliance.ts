import { type Clock, systemClock } from "@portolan/client";
import {
  type ConnectResult,
  createDataplane,
  type Dataplane,
  type DataplaneEvent,
  type DropReason,
  type SchedulerName,
  type ServicePortSpec,
  type VerdictName,
} from "@portolan/dataplane";
import type { FlowPolicy, FlowPort, NodeReference } from "@portolan/lb";
import { familyOf, type IPFamily, parsePacket } from "@portolan/net";
import { type Probe, type TargetState, watchTarget } from "./target-health.ts";

/** Options of {@link createAppliance}. */
export interface ApplianceOptions {
  readonly policy: FlowPolicy;
  /** What clients dial: at most one address of each family. */
  readonly addresses: readonly string[];
  /** Its own addresses towards the nodes, at most one of each family: the source that nodes see where the client's is replaced. */
  readonly ownAddresses: readonly string[];
  readonly nodes: readonly NodeReference[];
  /** Zone that it stands in: without cross-zone balancing only nodes of this zone get its traffic. */
  readonly zone?: string;
  /** Asks a node; without it all nodes count as healthy. */
  readonly probe?: Probe;
  readonly clock?: Clock;
  /** Seed of the dataplane. */
  readonly seed?: number;
}

/** What became of a packet. */
export interface ApplianceResult {
  readonly verdict: VerdictName;
  readonly reason?: DropReason;
  /** Name of the node that it goes to; absent for packets to clients. */
  readonly node?: string;
  /** The packet as it leaves. */
  readonly packet?: Uint8Array;
}

/** A load balancer in front of nodes. */
export interface Appliance {
  /** Takes one IP packet of a client or of a node. */
  process(packet: Uint8Array): ApplianceResult;
  /** Chooses a node for a connection that a relay opens; `release` its handle when the connection is over. */
  connect(source: string, sourcePort: number, port: FlowPort): ConnectResult & { readonly node?: string };
  release(handle: number): void;
  setNodes(nodes: readonly NodeReference[]): void;
  /** By node and port (`PROTOCOL/port`). */
  health(): ReadonlyMap<string, ReadonlyMap<string, boolean>>;
  /** What the dataplane saw since it was asked last. */
  events(): readonly DataplaneEvent[];
  /** Checks the nodes until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
}

/** The scheduler that spreads flows over the parts of a packet that a policy names. */
function schedulerOf(policy: FlowPolicy): SchedulerName {
  return policy.hash.includes("source-port") ? "mh" : "sh";
}

const portKey = (port: { readonly protocol: string; readonly port: number }): string => `${port.protocol}/${port.port}`;

/**
 * Makes a load balancer that treats packets as a policy says. Which node a flow goes to is decided by a dataplane of its own, the
 * same program that runs on nodes: here the nodes are its endpoints.
 *
 * Where the policy keeps the destination, the packet goes to the chosen node as it came, and the answer passes it by (direct
 * server return). Elsewhere the node's address and port take its place, and answers come back through the appliance.
 */
export function createAppliance(options: ApplianceOptions): Appliance {
  const { policy, addresses, ownAddresses, clock = systemClock } = options;
  const replaced = policy.clientAddress === "replaced";
  const dataplane: Dataplane = createDataplane({
    capacity: { servicePorts: 256, backends: 8192, frontends: 512, connections: 65_536 },
    timeouts: {
      tcpEstablished: policy.idleTimeoutSeconds.tcp,
      udp: policy.idleTimeoutSeconds.udp,
      udpStream: policy.idleTimeoutSeconds.udp,
    },
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  });
  dataplane.configureNode({
    addresses: ownAddresses,
    clusterCIDRs: [],
    nodePortAddresses: [],
    masqueradeAll: replaced,
  });
  const families = [...new Set(addresses.map((address) => familyOf(address)!))];
  const states = new Map<string, TargetState>();
  const now = (): number => clock.now() / 1000;
  let nodes = options.nodes;

  const stateKey = (node: string, port: FlowPort): string => `${node} ${portKey(port)}`;
  const addressOf = (node: NodeReference, family: IPFamily): string | undefined =>
    node.addresses.find((address) => familyOf(address) === family);

  function usable(node: NodeReference, port: FlowPort): boolean {
    if (!policy.crossZone && options.zone !== undefined && node.zone !== options.zone) return false;
    return options.probe === undefined || (states.get(stateKey(node.name, port))?.healthy ?? false);
  }

  function specOf(port: FlowPort, family: IPFamily): ServicePortSpec {
    const backends = nodes
      .filter((node) => usable(node, port))
      .flatMap((node) => {
        const address = addressOf(node, family);
        // A node that keeps the destination sees the port that the client dialled.
        const to = policy.destination === "keep" ? port.port : port.targetPort;
        return address === undefined ? [] : [{ address, port: to, name: node.name, local: true }];
      });
    const sourceRanges = policy.sourceRanges.filter((range) => range.includes(":") === (family === "IPv6"));
    const open = sourceRanges.some((range) => range === "0.0.0.0/0" || range === "::/0");
    return {
      id: `${portKey(port)}/${family}`,
      family,
      protocol: port.protocol,
      frontends: addresses
        .filter((address) => familyOf(address) === family)
        .map((address) => ({ kind: "LoadBalancer", address, port: port.port })),
      cluster: backends,
      local: backends,
      hasAny: backends.length > 0,
      internalTrafficPolicy: "Cluster",
      // Policy Local keeps the source, Cluster masquerades it.
      externalTrafficPolicy: replaced ? "Cluster" : "Local",
      scheduler: schedulerOf(policy),
      ...(policy.affinitySeconds === undefined ? {} : { affinitySeconds: Math.min(policy.affinitySeconds, 86_400) }),
      ...(open || sourceRanges.length === 0 ? {} : { sourceRanges }),
    };
  }

  function build(): void {
    dataplane.replaceServicePorts(families.flatMap((family) => policy.ports.map((port) => specOf(port, family))));
  }
  build();

  const nameOf = (address: string | undefined): string | undefined =>
    nodes.find((node) => address !== undefined && node.addresses.includes(address))?.name;

  const watched = new Map<string, AbortController>();
  let running: AbortSignal | undefined;

  function watch(): void {
    const { probe } = options;
    if (running === undefined || probe === undefined) return;
    const wanted = new Set<string>();
    for (const node of nodes) {
      for (const port of policy.ports) {
        const key = stateKey(node.name, port);
        wanted.add(key);
        if (watched.has(key)) continue;
        const stop = new AbortController();
        watched.set(key, stop);
        const { healthCheck } = port;
        void watchTarget({
          node,
          probe,
          clock,
          signal: stop.signal,
          check: { ...healthCheck, port: healthCheck.port === "traffic-port" ? port.targetPort : healthCheck.port },
          changed(state) {
            states.set(key, state);
            build();
          },
        });
      }
    }
    for (const [key, stop] of watched) {
      if (wanted.has(key)) continue;
      stop.abort();
      watched.delete(key);
      states.delete(key);
    }
  }

  return {
    process(packet) {
      const result = dataplane.process(packet, { now: now() });
      const verdict = result.verdict;
      const reason = result.reason === undefined ? {} : { reason: result.reason };
      if (result.packet === undefined) return { verdict, ...reason };
      const node = nameOf(parsePacket(result.packet).destination);
      if (node === undefined) return { verdict, ...reason, packet: result.packet };
      // The decision is the dataplane's; a packet whose destination is kept goes there as it came.
      return { verdict, ...reason, node, packet: policy.destination === "keep" ? packet : result.packet };
    },
    connect(source, sourcePort, port) {
      const family = familyOf(source)!;
      const destination = addresses.find((address) => familyOf(address) === family) ?? "";
      const { protocol, port: destinationPort } = port;
      const result = dataplane.connect({ protocol, source, sourcePort, destination, destinationPort, now: now() });
      const node = nameOf(result.backend?.address);
      return { ...result, ...(node === undefined ? {} : { node }) };
    },
    release: (handle) => dataplane.release(handle),
    setNodes(next) {
      nodes = next;
      watch();
      build();
    },
    health() {
      const out = new Map<string, Map<string, boolean>>();
      for (const node of nodes) {
        const ports = new Map<string, boolean>();
        for (const port of policy.ports) {
          ports.set(
            portKey(port),
            options.probe === undefined || (states.get(stateKey(node.name, port))?.healthy ?? false),
          );
        }
        out.set(node.name, ports);
      }
      return out;
    },
    events: () => dataplane.events(),
    async run(signal) {
      running = signal;
      watch();
      if (!signal.aborted) {
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      }
      running = undefined;
      for (const stop of watched.values()) stop.abort();
      watched.clear();
    },
  };
}
