/** A node of the fabric: a network namespace whose every packet goes through one dataplane. */
import type {
  ConnectionEntry,
  FrontendSpec,
  NodeSpec,
  ServicePortSpec,
  ServiceTables,
  TraceStep,
} from "@portolan/dataplane";
import type { DnsAnswers } from "@portolan/dataplane/dns";
import {
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  formatAddress,
  type IPFamily,
  maskAddress,
  parsePrefix,
} from "@portolan/net";
import {
  createNetworkNamespace,
  type NamespaceCommand,
  type NamespaceCommandOptions,
  type NetworkNamespace,
  namespaceCommand,
  setOffloads,
  withholdFrames,
} from "@portolan/netio-linux";
import { superviseForwarder } from "./forwarder-supervisor.ts";
import type { ForwarderError, ForwarderThread } from "./forwarder-thread.ts";
import { hardwareAddress } from "./hardware-address.ts";
import type { ForwarderCounters, ForwarderRoute, FrameInterface } from "./protocol.ts";

/** What to know of a node to make it. */
export interface NetnsNodeOptions {
  /** The Kubernetes name. */
  readonly name: string;
  /** The node's addresses, one or two (a family each). */
  readonly addresses: readonly string[];
  /** Blocks of the node's pods, a family each: `10.244.1.0/24`. Their first address is the pods' gateway. */
  readonly podCIDRs: readonly string[];
  /** Addresses of the cluster's DNS: questions to them are answered from their frames, as far as {@link NetnsNode.names} was told. */
  readonly dnsAddresses?: readonly string[];
}

/** What to know of a pod to make its namespace. */
export interface PodOptions {
  /** For messages. */
  readonly name: string;
  /** The pod's addresses, a family each. */
  readonly addresses: readonly string[];
  /** Hardware address; one is made up when absent. */
  readonly mac?: string;
}

/** How to run a program somewhere: see `namespaceCommand` of `@portolan/netio-linux`. */
export type RunOptions = Omit<NamespaceCommandOptions, "netns" | "argv">;

/** A place where programs run: a network namespace and its addresses. */
export interface NetworkPlace {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly namespace: NetworkNamespace;
  /** The command line that runs a program there. */
  command(argv: readonly string[], options?: RunOptions): NamespaceCommand;
}

/** A pod's network namespace: `eth0` with the pod's addresses, and a default route through the node's dataplane. */
export interface PodNamespace extends NetworkPlace {
  /** Link of the node's end, for captures. */
  readonly nodeLink: string;
}

/** How a forwarder can end. */
export type ForwarderFault = "error" | "memory" | "terminate";

/** A node of the fabric. Service tables go to its dataplane in the order of the calls, each between two batches. */
export interface NetnsNode extends ServiceTables, NetworkPlace {
  readonly podCIDRs: readonly string[];
  /** Takes what the node answers to questions for names of the cluster, from their frames. */
  readonly names: DnsAnswers;
  /** Resolves when every call made before has taken effect. */
  synchronize(): Promise<void>;
  /** Makes a pod's namespace and lets packets through. */
  addPod(options: PodOptions): Promise<PodNamespace>;
  /** Cuts a pod off and lets its namespace go; its programs are the caller's to end. */
  removePod(name: string): Promise<void>;
  /** Answers ARP and neighbour solicitations for an address on the uplink, and tells everyone there that it moved here. */
  announce(address: string): Promise<void>;
  /** Stops to answer. */
  withdraw(address: string): Promise<void>;
  /** Cost: proportional to the Service ports. */
  counters(): Promise<ForwarderCounters>;
  /** Nanoseconds of a processor that the forwarder's thread used, system calls included. */
  processorNanoseconds(): Promise<number>;
  connections(): Promise<readonly ConnectionEntry[]>;
  /**
   * Where would this IP packet go, and why? Decided by the node's dataplane with the state of this moment; nothing changes.
   *
   * @param from name of the node's pod that sends it; absent: it comes in on the uplink
   */
  trace(packet: Uint8Array, from?: string): Promise<readonly TraceStep[]>;
  /**
   * Makes the node's forwarder fail, and another one takes its place. Its connections live on; what was under way is lost.
   *
   * @param fault `error`: an exception of its own; `memory`: its heap runs over; `terminate`: its thread is ended from outside
   */
  failForwarder(fault: ForwarderFault): void;
  /** Removes the node, its pods and its links. */
  close(): Promise<void>;
}

/** What the fabric gives a node. */
export interface NodeSurroundings {
  /** Number of the node in the fabric: goes into hardware addresses. */
  readonly index: number;
  /** Where the other end of the uplink goes. */
  readonly fabric: NetworkNamespace;
  /** Bridge in there. */
  readonly bridge: string;
  readonly mtu: number;
  readonly frames: FrameInterface;
  /** Prefixes that the uplink's link holds. */
  readonly onLink: readonly string[];
  readonly onError: (error: ForwarderError) => void;
  readonly onClose: (node: InternalNode) => void;
}

/** A node, with what the fabric needs of it. */
export interface InternalNode extends NetnsNode {
  readonly uplinkMac: string;
  setPeerRoute(route: Omit<ForwarderRoute, "port">): Promise<void>;
  removePeerRoute(prefix: string): Promise<void>;
}

const UPLINK = 0;
const HOST = 1;
const FIRST_POD = 2;
/** Most pods of a node. */
const POD_LIMIT = 110;
const LINK_LOCAL: Readonly<Record<IPFamily, string>> = { IPv4: "169.254.1.1", IPv6: "fe80::1" };

/** The first address of a block, which its pods use as gateway. @throws {@link RangeError} when it is no block */
export function gatewayOf(podCIDR: string): string {
  const prefix = parsePrefix(podCIDR);
  if (prefix === undefined) throw new RangeError(`"${podCIDR}" is not an address block; write 10.244.1.0/24`);
  const network = maskAddress(prefix.address, prefix.length);
  return formatAddress(addressFromBigInt(addressToBigInt(network) + 1n, network.family));
}

/** An address as a block of its own. @throws {@link RangeError} when it is no address */
export function hostPrefix(address: string): string {
  const family = familyOf(address);
  if (family === undefined) throw new RangeError(`"${address}" is not an IP address`);
  return `${address}/${family === "IPv4" ? 32 : 128}`;
}

const everything: Readonly<Record<IPFamily, string>> = { IPv4: "0.0.0.0/0", IPv6: "::/0" };

/** Settings of a namespace's stack before its first link is up. */
export function quietStack(namespace: NetworkNamespace): void {
  for (const scope of ["all", "default"]) {
    namespace.setSysctl(`ipv4/conf/${scope}/rp_filter`, 0);
    namespace.setSysctl(`ipv6/conf/${scope}/accept_dad`, 0);
    namespace.setSysctl(`ipv6/conf/${scope}/accept_ra`, 0);
    namespace.setSysctl(`ipv6/conf/${scope}/disable_ipv6`, 0);
  }
  // Only what is given: a generated link-local address would be a second source that nothing routes to.
  namespace.setSysctl("ipv6/conf/default/addr_gen_mode", 1);
  namespace.setSysctl("ipv4/ping_group_range", "0 2147483647");
}

/**
 * Lets a link's stack make complete frames, where the forwarder must have them so: with checksums, and no longer than the MTU.
 *
 * @param gro whether the stack puts received segments together; a link with it takes what AF_XDP sends
 */
export function completeFrames(namespace: NetworkNamespace, link: string, frames: FrameInterface, gro: boolean): void {
  const offloads = frames === "segments" ? { gro } : { tx: false, tso: false, gso: false, gro };
  namespace.run(() => setOffloads(link, offloads));
}

/** Gives a link of a namespace its addresses and a default route through a gateway that needs no resolution. */
export function connectStack(
  namespace: NetworkNamespace,
  link: string,
  addresses: readonly string[],
  gateway: (family: IPFamily) => string,
  gatewayMac: string,
  frames: FrameInterface,
): void {
  completeFrames(namespace, link, frames, true);
  for (const address of addresses) namespace.links.addAddress(link, hostPrefix(address));
  namespace.links.setLink(link, { up: true });
  for (const address of addresses) {
    const family = familyOf(address)!;
    const via = gateway(family);
    namespace.links.setNeighbour(link, via, gatewayMac);
    namespace.links.setRoute({ destination: hostPrefix(via), link });
    namespace.links.setRoute({ destination: everything[family], gateway: via, link, source: address });
  }
}

/** Makes a node: namespace, uplink, host port, forwarder. Nothing is left when it fails. */
export async function createNode(options: NetnsNodeOptions, surroundings: NodeSurroundings): Promise<InternalNode> {
  const { name, addresses, podCIDRs } = options;
  const { index, mtu, fabric, frames } = surroundings;
  const gateways = new Map(podCIDRs.map((cidr) => [familyOf(gatewayOf(cidr))!, gatewayOf(cidr)]));
  const gatewayFor = (family: IPFamily): string => gateways.get(family) ?? LINK_LOCAL[family];
  const namespace = createNetworkNamespace(name);
  const { links } = namespace;
  const uplinkMac = hardwareAddress("uplink", index);
  const fabricLink = `node${index}`;
  const pods = new Map<
    string,
    { readonly index: number; readonly addresses: readonly string[]; readonly place: PodNamespace }
  >();
  const podNames = new Set<string>();
  const ports = new Set<number>();
  let forwarder: ForwarderThread | undefined;
  let closed: Promise<void> | undefined;

  const removeLinks = (): void => {
    for (const pod of pods.values()) pod.place.namespace.close();
    pods.clear();
    links.deleteLink("uplink");
    links.deleteLink("host0");
    for (const port of ports) links.deleteLink(`pod${port}`);
    namespace.close();
  };

  // A link of which only the forwarder takes frames: the node's own stack must not speak on it.
  const openForwarderLink = (link: string): void => {
    namespace.setSysctl(`ipv6/conf/${link}/disable_ipv6`, 1);
    if (frames !== "af-xdp") withholdFrames(links, link);
    links.setLink(link, { up: true });
  };

  try {
    quietStack(namespace);
    links.addVeth({ name: "uplink", mac: uplinkMac, mtu }, { name: fabricLink, mtu }, fabric.fd);
    fabric.setSysctl(`ipv6/conf/${fabricLink}/disable_ipv6`, 1);
    fabric.links.setLink(fabricLink, { master: surroundings.bridge });
    fabric.links.setLink(fabricLink, { up: true });
    openForwarderLink("uplink");

    const hostMac = hardwareAddress("host", index);
    const hostPortMac = hardwareAddress("hostPort", index);
    links.addVeth({ name: "host0", mac: hostMac, mtu }, { name: "hostport", mac: hostPortMac, mtu });
    openForwarderLink("hostport");
    const own = [...addresses, ...gateways.values()];
    connectStack(namespace, "host0", addresses, (family) => LINK_LOCAL[family], hostPortMac, frames);
    for (const gateway of gateways.values()) links.addAddress("host0", hostPrefix(gateway));
    routeOwnAddresses(namespace, own);

    forwarder = await superviseForwarder(namespace, surroundings.onError, {
      frames,
      dnsAddresses: options.dnsAddresses ?? [],
    });
    const { call } = forwarder;
    await call("openPort", {
      index: HOST,
      kind: "host",
      link: "hostport",
      mac: hostPortMac,
      addresses: [],
      peerMac: hostMac,
      mtu,
    });
    await call("openPort", { index: UPLINK, kind: "uplink", link: "uplink", mac: uplinkMac, addresses, mtu });
    await call("configureNode", { addresses: own, clusterCIDRs: [] });
    for (const prefix of surroundings.onLink) await call("setRoute", { prefix, port: UPLINK });
  } catch (error) {
    await forwarder?.close();
    removeLinks();
    throw error;
  }
  const thread = forwarder;

  const disconnectPod = async (port: number, podAddresses: readonly string[]): Promise<void> => {
    for (const address of podAddresses) await thread.call("removeRoute", hostPrefix(address));
    await thread.call("closePort", port);
    links.deleteLink(`pod${port}`);
    ports.delete(port);
  };

  const node: InternalNode = {
    name,
    addresses,
    podCIDRs,
    namespace,
    uplinkMac,
    names: {
      clear: () => thread.post("clearNames"),
      setZone: (zone) => thread.post("setZone", zone),
      setNames: (group, names) => thread.post("setNames", group, names),
    },
    command: (argv, run) => namespaceCommand({ ...run, netns: namespace, argv }),

    configureNode(spec: NodeSpec): void {
      thread.post("configureNode", { ...spec, addresses: [...new Set([...spec.addresses, ...gateways.values()])] });
    },
    setServicePort(spec: ServicePortSpec): void {
      thread.post("setServicePort", spec);
    },
    removeServicePort(id: string): void {
      thread.post("removeServicePort", id);
    },
    replaceServicePorts(specs: readonly ServicePortSpec[]): void {
      thread.post("replaceServicePorts", specs);
    },
    flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): undefined {
      thread.post("flushUdp", frontends, family, keep);
    },
    synchronize: () => thread.call("synchronize"),

    async addPod(pod: PodOptions): Promise<PodNamespace> {
      if (podNames.has(pod.name)) throw new RangeError(`${name} already has a pod ${pod.name}`);
      let port = FIRST_POD;
      while (ports.has(port)) port++;
      if (port >= FIRST_POD + POD_LIMIT) throw new RangeError(`${name} has ${POD_LIMIT} pods, its limit`);
      ports.add(port);
      podNames.add(pod.name);
      const podNamespace = createNetworkNamespace(pod.name);
      const mac = pod.mac ?? hardwareAddress("pod", index, port);
      const portMac = hardwareAddress("podPort", index, port);
      const link = `pod${port}`;
      const place: PodNamespace = {
        name: pod.name,
        addresses: pod.addresses,
        namespace: podNamespace,
        nodeLink: link,
        command: (argv, run) => namespaceCommand({ ...run, netns: podNamespace, argv }),
      };
      try {
        quietStack(podNamespace);
        links.addVeth({ name: link, mac: portMac, mtu }, { name: "eth0", mac, mtu }, podNamespace.fd);
        openForwarderLink(link);
        connectStack(podNamespace, "eth0", pod.addresses, gatewayFor, portMac, frames);
        const own = [...new Set(pod.addresses.map((address) => gatewayFor(familyOf(address)!)))];
        await thread.call("openPort", { index: port, kind: "pod", link, mac: portMac, addresses: own, mtu });
        for (const address of pod.addresses) await thread.call("setRoute", { prefix: hostPrefix(address), port, mac });
        pods.set(pod.name, { index: port, addresses: pod.addresses, place });
        return place;
      } catch (error) {
        podNames.delete(pod.name);
        podNamespace.close();
        await disconnectPod(port, pod.addresses).catch(() => links.deleteLink(link));
        throw error;
      }
    },
    async removePod(podName: string): Promise<void> {
      const pod = pods.get(podName);
      if (pod === undefined) return;
      pods.delete(podName);
      podNames.delete(podName);
      await disconnectPod(pod.index, pod.addresses);
      pod.place.namespace.close();
    },

    announce: (address) => thread.call("announce", address, UPLINK),
    withdraw: (address) => thread.call("withdraw", address, UPLINK),
    counters: () => thread.call("counters"),
    processorNanoseconds: () => thread.call("processorNanoseconds"),
    connections: () => thread.call("connections"),
    trace: (packet, from) => thread.call("trace", packet, from === undefined ? UPLINK : pods.get(from)?.index),
    failForwarder: (fault) => (fault === "terminate" ? thread.terminate() : thread.post("fail", fault)),
    setPeerRoute: (route) => thread.call("setRoute", { ...route, port: UPLINK }),
    removePeerRoute: (prefix) => thread.call("removeRoute", prefix),
    close(): Promise<void> {
      closed ??= (async () => {
        surroundings.onClose(node);
        await thread.close();
        removeLinks();
      })();
      return closed;
    },
  };
  return node;
}

/**
 * Lets the node speak to its own addresses through the dataplane, as kube-proxy's OUTPUT chain sees such packets: a local
 * program's packet to the node's address leaves by `host0`, and only what comes in there is delivered locally.
 */
function routeOwnAddresses(namespace: NetworkNamespace, addresses: readonly string[]): void {
  const { links } = namespace;
  const [LOCAL_TABLE, OWN_TABLE] = [255, 100];
  namespace.setSysctl("ipv4/conf/host0/accept_local", 1);
  for (const address of addresses) {
    const family = familyOf(address)!;
    const destination = hostPrefix(address);
    links.setRoute({ destination, gateway: LINK_LOCAL[family], link: "host0", source: address, table: OWN_TABLE });
  }
  for (const family of new Set(addresses.map((address) => familyOf(address)!))) {
    links.addRule({ family, priority: 1, table: LOCAL_TABLE, incomingLink: "host0" });
    links.addRule({ family, priority: 2, table: OWN_TABLE });
    links.addRule({ family, priority: 3, table: LOCAL_TABLE });
    links.deleteRule({ family, priority: 0, table: LOCAL_TABLE });
  }
}
