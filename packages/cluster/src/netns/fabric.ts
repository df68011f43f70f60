/**
 * The embedded cluster's network on Linux: nodes and pods are network namespaces, and every frame between them goes
 * through the dataplane of its node.
 *
 * ```text
 *   pod eth0   pod eth0          pod eth0                     client eth0
 *      │ veth     │ veth            │                              │
 *   ┌──┴──────────┴──────┐       ┌──┴─────────────────┐            │
 *   │ node-1: dataplane  │       │ node-2: dataplane  │            │
 *   │ host0 = node's own │       │                    │            │
 *   └─────────┬──────────┘       └─────────┬──────────┘            │
 *             │ uplink                     │ uplink                │
 *   ┌─────────┴────────────────────────────┴───────────────────────┴──┐
 *   │ fabric: a bridge, no address                                    │
 *   └─────────────────────────────────────────────────────────────────┘
 * ```
 *
 * No link leads to the machine's own namespace: none of these addresses can be reached from it, or reach out.
 */
import { familyOf, parsePrefix } from "@portolan/net";
import { createNetworkNamespace, type NetworkNamespace, namespaceCommand } from "@portolan/netio-linux";
import type { ForwarderError } from "./forwarder-thread.ts";
import { hardwareAddress } from "./hardware-address.ts";
import {
  completeFrames,
  createNode,
  hostPrefix,
  type InternalNode,
  type NetnsNode,
  type NetnsNodeOptions,
  type NetworkPlace,
  quietStack,
} from "./node.ts";
import type { FrameInterface } from "./protocol.ts";

/** How to make a fabric. */
export interface FabricOptions {
  /** Blocks that the nodes' link holds, a family each. Default `172.18.0.0/16` and `fd00:172:18::/64`. */
  readonly nodeCIDRs?: readonly string[];
  /** Addresses of the external client. Default `172.18.0.100` and `fd00:172:18::100`. */
  readonly clientAddresses?: readonly string[];
  /** Further blocks that are on the nodes' link, for load-balancer addresses outside of `nodeCIDRs`. */
  readonly loadBalancerCIDRs?: readonly string[];
  /** How frames come into the nodes' dataplanes. Default `af-xdp`. */
  readonly frames?: FrameInterface;
  /** Octets of the largest IP packet. Default 1500; at most 1500. */
  readonly mtu?: number;
  /** Failures that no call reports: a refused table entry, a forwarder that ended. Default: a warning of the process. */
  readonly onError?: (error: ForwarderError) => void;
}

/** A host on the nodes' link that is no node. */
export interface ExternalHostOptions {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** Nodes, a link between them, and hosts outside. */
export interface NetnsFabric {
  /** A host outside of the cluster, on the nodes' link; it reaches nodes, load-balancer addresses and, through the nodes, pods. */
  readonly client: NetworkPlace;
  readonly nodes: readonly NetnsNode[];
  addNode(options: NetnsNodeOptions): Promise<NetnsNode>;
  addExternalHost(options: ExternalHostOptions): NetworkPlace;
  /** Removes everything. Programs in the namespaces are the callers' to end; a namespace lives as long as its last program. */
  close(): Promise<void>;
}

const BRIDGE = "bridge0";

/**
 * Makes a fabric with its external client and no nodes. Needs root, and AF_XDP or packet sockets (see `probe` of
 * `@portolan/netio-linux`). The
 * kernel removes everything when the process ends, however it ends.
 *
 * @throws `SystemCallError` of `@portolan/netio-linux`: `ERR_EPERM` and the like
 */
export async function createNetnsFabric(options: FabricOptions = {}): Promise<NetnsFabric> {
  const { mtu = 1500, frames = "af-xdp" } = options;
  if (!Number.isInteger(mtu) || mtu < 1280 || mtu > 1500)
    throw new RangeError(`mtu ${mtu} is not between 1280 and 1500`);
  const nodeCIDRs = options.nodeCIDRs ?? ["172.18.0.0/16", "fd00:172:18::/64"];
  const onLink = [...nodeCIDRs, ...(options.loadBalancerCIDRs ?? [])];
  for (const cidr of onLink) {
    if (parsePrefix(cidr) === undefined) throw new RangeError(`"${cidr}" is not an address block; write 172.18.0.0/16`);
  }
  const onError =
    options.onError ?? ((error: ForwarderError): void => process.emitWarning(error.message, { code: error.code }));
  const fabric = createNetworkNamespace("fabric");
  const nodes: InternalNode[] = [];
  const externals: {
    readonly namespace: NetworkNamespace;
    readonly link: string;
    readonly addresses: readonly string[];
    readonly mac: string;
  }[] = [];
  let lastNode = 0;
  let closed: Promise<void> | undefined;
  // Nodes are added one after the other, so that each learns of all before it.
  let lastAddition: Promise<unknown> = Promise.resolve();

  // Both ends learn of each other: a host outside routes pods of its families through their node.
  const routePods = (namespace: NetworkNamespace, node: InternalNode, own: readonly string[]): void => {
    const families = new Set(own.map(familyOf));
    for (const cidr of node.podCIDRs) {
      if (!families.has(familyOf(cidr.slice(0, cidr.indexOf("/"))))) continue;
      const gateway = node.addresses.find(
        (address) => familyOf(address) === familyOf(cidr.slice(0, cidr.indexOf("/"))),
      );
      if (gateway !== undefined) namespace.links.setRoute({ destination: cidr, gateway, link: "eth0" });
    }
  };
  const prefixesOf = (node: InternalNode): string[] => [...node.addresses.map(hostPrefix), ...node.podCIDRs];

  const addExternalHost = ({ name, addresses }: ExternalHostOptions): NetworkPlace => {
    const namespace = createNetworkNamespace(name);
    const link = `external${externals.length}`;
    const mac = hardwareAddress("external", externals.length);
    try {
      quietStack(namespace);
      fabric.links.addVeth({ name: link, mtu }, { name: "eth0", mac, mtu }, namespace.fd);
      fabric.setSysctl(`ipv6/conf/${link}/disable_ipv6`, 1);
      fabric.links.setLink(link, { master: BRIDGE });
      fabric.links.setLink(link, { up: true });
      completeFrames(namespace, "eth0", frames, false);
      for (const address of addresses) namespace.links.addAddress("eth0", hostPrefix(address));
      namespace.links.setLink("eth0", { up: true });
      for (const destination of onLink) {
        const family = familyOf(destination.slice(0, destination.indexOf("/")));
        const source = addresses.find((address) => familyOf(address) === family);
        if (source !== undefined) namespace.links.setRoute({ destination, link: "eth0", source });
      }
      for (const node of nodes) {
        routePods(namespace, node, addresses);
        for (const address of addresses) node.setPeerRoute({ prefix: hostPrefix(address), mac }).catch(onError);
      }
    } catch (error) {
      namespace.close();
      fabric.links.deleteLink(link);
      throw error;
    }
    externals.push({ namespace, link, addresses, mac });
    return { name, addresses, namespace, command: (argv, run) => namespaceCommand({ ...run, netns: namespace, argv }) };
  };

  const removeNode = (node: InternalNode): void => {
    const at = nodes.indexOf(node);
    if (at < 0) return;
    nodes.splice(at, 1);
    for (const external of externals) {
      for (const cidr of node.podCIDRs) external.namespace.links.deleteRoute({ destination: cidr, link: "eth0" });
    }
    for (const other of nodes) {
      // A node that closes at the same time no longer answers, and needs no routes either.
      for (const prefix of prefixesOf(node)) other.removePeerRoute(prefix).catch(() => undefined);
    }
  };

  const addNode = async (nodeOptions: NetnsNodeOptions): Promise<NetnsNode> => {
    if (nodes.some((node) => node.name === nodeOptions.name))
      throw new RangeError(`there is a node ${nodeOptions.name}`);
    const node = await createNode(nodeOptions, {
      index: ++lastNode,
      fabric,
      bridge: BRIDGE,
      mtu,
      frames,
      onLink,
      onError,
      onClose: removeNode,
    });
    try {
      for (const { namespace, addresses, mac } of externals) {
        routePods(namespace, node, addresses);
        for (const address of addresses) await node.setPeerRoute({ prefix: hostPrefix(address), mac });
      }
      for (const other of nodes) {
        for (const prefix of prefixesOf(other)) await node.setPeerRoute({ prefix, mac: other.uplinkMac });
        for (const prefix of prefixesOf(node)) await other.setPeerRoute({ prefix, mac: node.uplinkMac });
      }
    } catch (error) {
      await node.close();
      throw error;
    }
    nodes.push(node);
    return node;
  };

  const close = async (): Promise<void> => {
    await Promise.allSettled([...nodes].map((node) => node.close()));
    for (const external of externals) {
      fabric.links.deleteLink(external.link);
      external.namespace.close();
    }
    fabric.links.deleteLink(BRIDGE);
    fabric.close();
  };

  let client: NetworkPlace;
  try {
    quietStack(fabric);
    fabric.setSysctl("ipv6/conf/default/disable_ipv6", 1);
    fabric.links.addBridge(BRIDGE);
    fabric.links.setLink(BRIDGE, { up: true, mtu });
    client = addExternalHost({
      name: "client",
      addresses: options.clientAddresses ?? ["172.18.0.100", "fd00:172:18::100"],
    });
  } catch (error) {
    await close();
    throw error;
  }

  return {
    client,
    get nodes(): readonly NetnsNode[] {
      return [...nodes];
    },
    addExternalHost,
    addNode(nodeOptions: NetnsNodeOptions): Promise<NetnsNode> {
      const added = lastAddition.then(() => addNode(nodeOptions));
      lastAddition = added.catch(() => undefined);
      return added;
    },
    close(): Promise<void> {
      closed ??= close();
      return closed;
    },
  };
}
