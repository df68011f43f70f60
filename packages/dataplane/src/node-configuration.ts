import { parsePrefix } from "@portolan/net";
import type { AddressBook } from "./address-book.ts";
import {
  addressKey,
  type EncodedAddress,
  encodeAddress,
  familyNumber,
  maskEncoded,
  writeAddress,
} from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { ARGUMENTS, CONTROL, Control, Mode, PrefixFlag, PrefixScope } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import type { PrefixTable } from "./prefix-table.ts";
import type { NodeSpec } from "./service-port.ts";

const loopbackPrefix = "127.";

/**
 * What the dataplane knows of its node: the addresses and prefixes that were entered for it, and the settings in the control block. A
 * specification is checked whole and must fit before anything changes; what the last one entered and this one does not is taken out.
 */
export class NodeConfiguration {
  readonly #machine: Machine;
  readonly #addresses: AddressBook;
  readonly #prefixes: PrefixTable;
  /** Addresses that the last specification made the node's own. */
  #own: EncodedAddress[] = [];
  /** Those that it lets accept node ports. */
  #accepting: EncodedAddress[] = [];
  /** Prefixes that it entered. */
  #blocks: { address: EncodedAddress; length: number }[] = [];

  constructor(machine: Machine, addresses: AddressBook, prefixes: PrefixTable) {
    this.#machine = machine;
    this.#addresses = addresses;
    this.#prefixes = prefixes;
  }

  /** @throws DataplaneError `INVALID_NODE`, `MAP_FULL`; nothing has changed then */
  configure(node: NodeSpec): void {
    const invalid = (message: string): never => {
      throw new DataplaneError("INVALID_NODE", message);
    };
    const address = (text: string, field: string): EncodedAddress =>
      encodeAddress(text) ?? invalid(`${field}: "${text}" is not an IP address`);
    const addresses = node.addresses.map((text) => address(text, "addresses"));
    const first = (family: 4 | 6) => addresses.find((candidate) => candidate.family === family);
    const primaryOf = (text: string | undefined, family: 4 | 6, field: string): EncodedAddress | undefined => {
      if (text === undefined) return first(family);
      const primary = address(text, field);
      return primary.family === family ? primary : invalid(`${field}: "${text}" is of the other family`);
    };
    const primaryV4 = primaryOf(node.primaryIPv4, 4, "primaryIPv4");
    const primaryV6 = primaryOf(node.primaryIPv6, 6, "primaryIPv6");
    const nodePort =
      node.nodePortAddresses?.map((text) => address(text, "nodePortAddresses")) ??
      [primaryV4, primaryV6].filter((candidate) => candidate !== undefined);
    const prefix = (text: string, field: string, flag: number) => {
      const parsed = parsePrefix(text) ?? invalid(`${field}: "${text}" is not a CIDR`);
      const family = familyNumber(parsed.address.family);
      const length = family === 4 ? parsed.length + 96 : parsed.length;
      const encoded = encodeAddress(text.slice(0, text.lastIndexOf("/")))!;
      return { address: maskEncoded(encoded, length), length, flag };
    };
    const prefixes = [
      ...node.clusterCIDRs.map((text) => prefix(text, "clusterCIDRs", PrefixFlag.CLUSTER_CIDR)),
      ...(node.serviceCIDRs ?? []).map((text) => prefix(text, "serviceCIDRs", PrefixFlag.SERVICE_CIDR)),
    ];
    this.#addresses.requireRoom(addresses.length + nodePort.length);
    this.#prefixes.requireRoom(prefixes.length);

    const before = this.#own;
    for (const own of addresses) this.#addresses.add(own, "local");
    for (const own of before) this.#addresses.remove(own, "local");
    const isLoopback = (candidate: EncodedAddress) => candidate.family === 4 && (candidate.word3 & 0xff) === 127;
    const accepting = nodePort.filter((candidate) => !isLoopback(candidate));
    for (const own of accepting) this.#addresses.add(own, "nodePort");
    for (const own of this.#accepting) this.#addresses.remove(own, "nodePort");
    this.#own = addresses;
    this.#accepting = accepting;

    for (const old of this.#blocks) this.#prefixes.remove(PrefixScope.NODE, old.address, old.length);
    this.#blocks = [];
    for (const one of prefixes) {
      // The longest match answers alone, so that it carries what the blocks around it are.
      let flags = 0;
      for (const other of prefixes) {
        const inside =
          other.address.family === one.address.family &&
          other.length <= one.length &&
          addressKey(maskEncoded(one.address, other.length)) === addressKey(other.address);
        if (inside) flags |= other.flag;
      }
      if (this.#prefixes.set(PrefixScope.NODE, one.address, one.length, { flags })) this.#blocks.push(one);
    }

    const { view, u8, u32, exports } = this.#machine;
    const put = (field: keyof typeof Control, value: number) => view.setUint32(CONTROL + Control[field], value, true);
    put("mode", { nftables: Mode.NFTABLES, iptables: Mode.IPTABLES, ipvs: Mode.IPVS }[node.mode ?? "nftables"]);
    put("masqueradeAll", node.masqueradeAll ? 1 : 0);
    put("detector", node.clusterCIDRs.length > 0 ? 1 : 0);
    put("loopbackNodePorts", (node.nodePortAddresses ?? []).some((text) => text.startsWith(loopbackPrefix)) ? 1 : 0);
    u8.fill(0, CONTROL + Control.primaryV4, CONTROL + Control.primaryV4 + 24);
    if (primaryV4 !== undefined) {
      view.setUint32(CONTROL + Control.primaryV4, primaryV4.word2, true);
      view.setUint32(CONTROL + Control.primaryV4 + 4, primaryV4.word3, true);
    }
    if (primaryV6 !== undefined) writeAddress(u32, (CONTROL + Control.primaryV6High) >> 2, primaryV6);
    // Connections that are masqueraded to an address the node lost can only black-hole.
    for (const old of before) {
      if (this.#addresses.isLocal(old)) continue;
      writeAddress(u32, ARGUMENTS >> 2, old);
      exports.flushMasqueraded();
    }
  }
}
