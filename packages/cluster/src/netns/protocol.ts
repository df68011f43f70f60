/** What the main thread and a node's forwarder say to each other. */

import type { MessagePort } from "node:worker_threads";
import type {
  ConnectionEntry,
  DataplaneCounters,
  FrontendSpec,
  NodeSpec,
  ServicePortSpec,
  TraceStep,
} from "@portolan/dataplane";
import type { DnsAnswers, DnsProgramCounters } from "@portolan/dataplane/dns";
import type { IPFamily } from "@portolan/net";

/**
 * How a node's frames come into its dataplane: `af-xdp`, the fast way, without a copy in this process; `packet`, by packet sockets,
 * on any Linux; `segments`, by packet sockets too, and frames of many segments and without checksums stay so on their way through nodes.
 */
export type FrameInterface = "af-xdp" | "packet" | "segments";

/** A port of the forwarder: a link of the node's namespace whose frames go through the dataplane. */
export interface ForwarderPort {
  readonly index: number;
  readonly kind: "pod" | "uplink" | "host";
  /** Link name in the node's namespace. */
  readonly link: string;
  readonly mac: string;
  /** Our addresses on the link: source of masquerades and ICMP errors there. */
  readonly addresses: readonly string[];
  /** Host port: hardware address of the node's own stack. */
  readonly peerMac?: string;
  /** Octets. */
  readonly mtu: number;
}

/** A route of the forwarder. */
export interface ForwarderRoute {
  readonly prefix: string;
  readonly port: number;
  /** Hardware address of the next hop; absent: asked for on the link. */
  readonly mac?: string;
}

/** Counters of a port. */
export interface PortCounters {
  readonly link: string;
  /** Frames that came in and found no room, or could not be read. */
  readonly receiveDropped: number;
}

/** What a node's forwarder counted since it started. */
export interface ForwarderCounters {
  /** Frames received. */
  readonly frames: number;
  readonly batches: number;
  /** Frames that the kernel did not take, or that found a transmit ring full. */
  readonly transmitRefused: number;
  /** Frames that no ring and no batch holds. */
  readonly freeFrames: number;
  readonly ports: readonly PortCounters[];
  readonly dataplane: DataplaneCounters;
  /** Questions that were answered from their frames, and left to the DNS server. */
  readonly names: DnsProgramCounters;
}

/** Calls of the forwarder by name: arguments and result. */
export interface ForwarderCalls {
  configureNode(node: NodeSpec): void;
  setServicePort(spec: ServicePortSpec): void;
  removeServicePort(id: string): void;
  replaceServicePorts(specs: readonly ServicePortSpec[]): void;
  flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): void;
  openPort(port: ForwarderPort): void;
  closePort(index: number): void;
  setRoute(route: ForwarderRoute): void;
  removeRoute(prefix: string): void;
  /** Answers ARP and neighbour solicitations for an address on a port, and announces it there. */
  announce(address: string, port: number): void;
  withdraw(address: string, port: number): void;
  /** What the node answers to questions for names of the cluster that go to {@link ForwarderData.dnsAddresses}. */
  clearNames(): void;
  setZone(zone: Parameters<DnsAnswers["setZone"]>[0]): void;
  setNames(...parameters: Parameters<DnsAnswers["setNames"]>): void;
  counters(): ForwarderCounters;
  processorNanoseconds(): number;
  connections(): readonly ConnectionEntry[];
  trace(packet: Uint8Array, ingress?: number): readonly TraceStep[];
  /** Does nothing; its reply says that everything before it took effect. */
  synchronize(): void;
  /** Ends the forwarder with an error, or lets it take memory until the engine ends it. */
  fail(fault: "error" | "memory"): void;
  close(): void;
}

/** A call on its way to the forwarder. `id` 0 expects no reply. */
export interface ForwarderRequest {
  readonly id: number;
  readonly call: keyof ForwarderCalls;
  readonly arguments: readonly unknown[];
  /** `replaceServicePorts` only: the list goes on in the next request, so that no packet waits for all of it to be read. */
  readonly more?: true;
}

/** What comes back. `id` 0 with an error: a call without a reply failed. */
export interface ForwarderReply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly name: string; readonly message: string; readonly code?: string };
}

/** What a forwarder's thread is given at birth. */
export interface ForwarderData {
  readonly name: string;
  /** Descriptor of the node's network namespace. */
  readonly namespace: number;
  /** Descriptor of an eventfd that says: there are requests. */
  readonly wake: number;
  /** Descriptor of the memory file in which its connections survive it. */
  readonly connections: number;
  /** The same of its predecessor, whose connections it takes over. */
  readonly earlierConnections?: number;
  /** Where it writes down the descriptors it has open: `keepDescriptorLedger`. */
  readonly descriptors: SharedArrayBuffer;
  readonly frames: FrameInterface;
  /** Addresses of the cluster's DNS Service. */
  readonly dnsAddresses: readonly string[];
  readonly port: MessagePort;
}
