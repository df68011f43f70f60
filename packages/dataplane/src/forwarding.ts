import { parsePrefix } from "@portolan/net";
import type { AddressBook } from "./address-book.ts";
import {
  type EncodedAddress,
  encodeAddress,
  familyNumber,
  maskEncoded,
  parseMac,
  writeAddress,
} from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { ARGUMENTS, CONTROL, Control, NONE, Port, PortKind, PrefixScope, RouteFlag } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import type { PrefixTable } from "./prefix-table.ts";

/** A port of the forwarder: a link that frames come in on and go out of. */
export interface PortSpec {
  /** The dataplane's own address on the link, `aa:bb:cc:dd:ee:ff`: source of what it sends, answer to ARP. */
  readonly mac: string;
  /** `pod`: a pod's link; `uplink`: the network of nodes; `host`: the node's own stack. At most one port is `host`. */
  readonly kind: "pod" | "uplink" | "host";
  /** Largest IP packet in bytes. Default 1500. */
  readonly mtu?: number;
  /**
   * The node's addresses on this link, at most one of each family: it answers ARP and neighbour solicitations for them, they are the
   * source of masquerades and ICMP errors towards this link, and packets to them are the node's own.
   */
  readonly addresses?: readonly string[];
  /** `host` only: whom frames to the node's stack are sent to. Default: the port's own address. */
  readonly peerMac?: string;
  /** Answer ARP and neighbour solicitations for every address that routes out of another port. Default false. */
  readonly proxyArp?: boolean;
}

/** Where packets to a prefix go. */
export interface RouteSpec {
  /** Index of the egress port. */
  readonly port: number;
  /** Link-layer address of the next hop, when it is known: nothing is resolved then. */
  readonly nextHopMac?: string;
  /** Next hop's IP address, resolved by ARP or neighbour discovery. Without it and `nextHopMac`, the destination itself is resolved. */
  readonly neighbor?: string;
  /** Pods' packets to destinations outside of the cluster CIDRs take the node's address when they leave by this route. Default false. */
  readonly masquerade?: boolean;
}

interface PortState {
  readonly spec: PortSpec;
  readonly addresses: readonly EncodedAddress[];
}

/** The forwarder's side of the maps: ports, routes and neighbours. */
export class Forwarding {
  readonly #machine: Machine;
  readonly #addresses: AddressBook;
  readonly #prefixes: PrefixTable;
  readonly #ports = new Map<number, PortState>();

  constructor(machine: Machine, addresses: AddressBook, prefixes: PrefixTable) {
    this.#machine = machine;
    this.#addresses = addresses;
    this.#prefixes = prefixes;
    machine.view.setUint32(CONTROL + Control.hostPort, NONE, true);
  }

  get active(): boolean {
    return this.#ports.size > 0;
  }

  setPort(index: number, spec: PortSpec): void {
    const { layout, u8, u32, view } = this.#machine;
    const invalid = (message: string): never => {
      throw new DataplaneError("INVALID_PORT", `port ${index}: ${message}`);
    };
    if (!Number.isInteger(index) || index < 0 || index >= layout.capacity.ports) {
      invalid(`the index must be in 0–${layout.capacity.ports - 1} (capacity.ports)`);
    }
    const mac = parseMac(spec.mac) ?? invalid(`"${spec.mac}" is not a link-layer address`);
    const peer =
      spec.peerMac === undefined
        ? undefined
        : (parseMac(spec.peerMac) ?? invalid(`"${spec.peerMac}" is not a link-layer address`));
    const kind =
      { pod: PortKind.POD, uplink: PortKind.UPLINK, host: PortKind.HOST }[spec.kind] ??
      invalid(`unknown kind "${spec.kind}"`);
    const mtu = spec.mtu ?? 1500;
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65535) invalid(`mtu ${mtu} is not in 68–65535`);
    const addresses = (spec.addresses ?? []).map(
      (text) => encodeAddress(text) ?? invalid(`"${text}" is not an IP address`),
    );
    for (const family of [4, 6]) {
      if (addresses.filter((address) => address.family === family).length > 1) {
        invalid(`a port has at most one IPv${family} address; give further ones to configureNode`);
      }
    }
    for (const [other, state] of this.#ports) {
      if (other !== index && spec.kind === "host" && state.spec.kind === "host")
        invalid(`port ${other} is the host port already`);
    }
    this.#addresses.requireRoom(addresses.length);

    const before = this.#ports.get(index);
    for (const address of addresses) this.#addresses.add(address, "local");
    for (const address of before?.addresses ?? []) this.#addresses.remove(address, "local");
    const at = layout.regions.ports.address + index * Port.SIZE;
    u8.fill(0, at, at + Port.SIZE);
    view.setUint32(at + Port.mtu, mtu, true);
    u8.set(mac, at + Port.macLow);
    if (peer !== undefined) {
      u8.set(peer, at + Port.peerMacLow);
      view.setUint32(at + Port.hasPeerMac, 1, true);
    }
    view.setUint32(at + Port.proxyArp, spec.proxyArp ? 1 : 0, true);
    for (const address of addresses) {
      if (address.family === 4) {
        view.setUint32(at + Port.addressV4, address.word2, true);
        view.setUint32(at + Port.addressV4 + 4, address.word3, true);
      } else writeAddress(u32, (at + Port.addressV6High) >> 2, address);
    }
    view.setUint32(at + Port.kind, kind, true);
    this.#ports.set(index, { spec, addresses });
    this.#publish();
  }

  removePort(index: number): void {
    const state = this.#ports.get(index);
    if (state === undefined) return;
    const { layout, u8, u32, exports } = this.#machine;
    const at = layout.regions.ports.address + index * Port.SIZE;
    u8.fill(0, at, at + Port.SIZE);
    this.#ports.delete(index);
    for (const address of state.addresses) {
      this.#addresses.remove(address, "local");
      if (this.#addresses.isLocal(address)) continue;
      writeAddress(u32, ARGUMENTS >> 2, address);
      exports.flushMasqueraded();
    }
    this.#publish();
  }

  setRoute(prefix: string, route: RouteSpec): void {
    const invalid = (message: string): never => {
      throw new DataplaneError("INVALID_ROUTE", `route ${prefix}: ${message}`);
    };
    const { address, length } = parseRoutePrefix(prefix) ?? invalid("not a CIDR or address");
    if (!Number.isInteger(route.port) || route.port < 0 || route.port >= this.#machine.layout.capacity.ports) {
      invalid(`port ${route.port} does not exist`);
    }
    const mac =
      route.nextHopMac === undefined
        ? undefined
        : (parseMac(route.nextHopMac) ?? invalid(`"${route.nextHopMac}" is not a link-layer address`));
    const neighbor =
      route.neighbor === undefined
        ? undefined
        : (encodeAddress(route.neighbor) ?? invalid(`"${route.neighbor}" is not an IP address`));
    if (neighbor !== undefined && neighbor.family !== address.family)
      invalid(`neighbour ${route.neighbor} is of the other family`);
    this.#prefixes.requireRoom(1);
    this.#prefixes.set(PrefixScope.ROUTE, address, length, {
      flags:
        (mac === undefined ? 0 : RouteFlag.NEXT_HOP_MAC) |
        (neighbor === undefined ? 0 : RouteFlag.NEIGHBOR) |
        (route.masquerade ? RouteFlag.MASQUERADE : 0),
      port: route.port,
      ...(mac === undefined ? {} : { mac }),
      ...(neighbor === undefined ? {} : { neighbor }),
    });
  }

  removeRoute(prefix: string): void {
    const parsed = parseRoutePrefix(prefix);
    if (parsed !== undefined) this.#prefixes.remove(PrefixScope.ROUTE, parsed.address, parsed.length);
  }

  learnNeighbor(port: number, address: string, mac: string): void {
    const encoded = encodeAddress(address);
    const bytes = parseMac(mac);
    if (encoded === undefined || bytes === undefined) {
      throw new DataplaneError(
        "INVALID_ROUTE",
        `neighbour ${address} at ${mac}: not an IP address and a link-layer address`,
      );
    }
    const view = new DataView(bytes.buffer);
    writeAddress(this.#machine.u32, ARGUMENTS >> 2, encoded);
    this.#machine.exports.learnNeighbor(port, view.getUint32(0, true), view.getUint16(4, true));
  }

  announceAddress(text: string, port: number | undefined): void {
    const address = encodeAddress(text);
    if (address === undefined) throw new DataplaneError("INVALID_ROUTE", `"${text}" is not an IP address`);
    if (port !== undefined && (!Number.isInteger(port) || port < 0 || port >= this.#machine.layout.capacity.ports)) {
      throw new DataplaneError("INVALID_ROUTE", `${text}: port ${port} does not exist`);
    }
    this.#addresses.requireRoom(1);
    this.#addresses.announce(address, port);
  }

  withdrawAddress(text: string): void {
    const address = encodeAddress(text);
    if (address !== undefined) this.#addresses.withdraw(address);
  }

  #publish(): void {
    const { view } = this.#machine;
    let host: number = NONE;
    for (const [index, state] of this.#ports) if (state.spec.kind === "host") host = index;
    view.setUint32(CONTROL + Control.hostPort, host, true);
    view.setUint32(CONTROL + Control.routeEpoch, view.getUint32(CONTROL + Control.routeEpoch, true) + 1, true);
    view.setUint32(CONTROL + Control.forwarding, this.#ports.size > 0 ? 1 : 0, true);
  }
}

function parseRoutePrefix(text: string): { address: EncodedAddress; length: number } | undefined {
  const withLength = text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`;
  const prefix = parsePrefix(withLength);
  const address = encodeAddress(withLength.slice(0, withLength.lastIndexOf("/")));
  if (prefix === undefined || address === undefined) return undefined;
  const length = familyNumber(prefix.address.family) === 4 ? prefix.length + 96 : prefix.length;
  return { address: maskEncoded(address, length), length };
}
