import { DNS_MAP, DnsNode, DnsNode_SIZE, DnsZone } from "../generated/dns-layout";

/**
 * Names of the zone by their folded octets: a hash table of eight-byte slots (tag, address of the node), linear probing, deletion by
 * shifting back. The host places nodes; a node that is in the table never moves.
 */
export class Names {
  /** First byte of the program's region. */
  static base: u32 = 0;

  @inline static get zone(): DnsZone {
    return changetype<DnsZone>(<usize>Names.base);
  }

  @inline static node(at: u32): DnsNode {
    return changetype<DnsNode>(<usize>at);
  }

  /** Of `length` octets at `at`; octets behind them, to a multiple of eight, must be zero. */
  @inline static hash(at: usize, length: u32): u64 {
    let h = Names.zone.seed ^ <u64>length;
    for (let i: u32 = 0; i < length; i += 8) {
      h = (h ^ load<u64>(at + i)) * 0x9e3779b97f4a7c15;
      h ^= h >> 32;
    }
    h *= 0xd6e8feb86659fd93;
    return h ^ (h >> 32);
  }

  /** The node of a name, or 0. Octets behind the name, to a multiple of eight, must be zero. */
  static find(at: usize, length: u32): u32 {
    const zone = Names.zone;
    const hash = Names.hash(at, length);
    const tag = <u32>(hash >> 32);
    let slot = <u32>hash & zone.slotMask;
    let node: u32;
    for (;;) {
      const entry = <usize>(zone.slots + (slot << 3));
      node = load<u32>(entry, 4);
      if (node == 0 || (load<u32>(entry) == tag && Names.isNamed(node, at, length))) break;
      slot = (slot + 1) & zone.slotMask;
    }
    return node;
  }

  @inline static isNamed(node: u32, at: usize, length: u32): bool {
    if (<u32>Names.node(node).length != length) return false;
    const name = <usize>(node + DnsNode_SIZE);
    for (let i: u32 = 0; i < length; i += 8) if (load<u64>(name + i) != load<u64>(at + i)) return false;
    return true;
  }

  /** Enters a node that the host filled in and whose name is not there yet. */
  static enter(node: u32): void {
    const zone = Names.zone;
    Names.place(node);
    zone.nodes++;
  }

  static place(node: u32): void {
    const zone = Names.zone;
    const hash = Names.hash(<usize>(node + DnsNode_SIZE), Names.node(node).length);
    let slot = <u32>hash & zone.slotMask;
    while (load<u32>(<usize>(zone.slots + (slot << 3)), 4) != 0) slot = (slot + 1) & zone.slotMask;
    const entry = <usize>(zone.slots + (slot << 3));
    store<u32>(entry, <u32>(hash >> 32));
    store<u32>(entry, node, 4);
  }

  /** Takes a node out. False when it is not there. */
  static remove(node: u32): bool {
    const zone = Names.zone;
    const mask = zone.slotMask;
    let slot = <u32>Names.hash(<usize>(node + DnsNode_SIZE), Names.node(node).length) & mask;
    for (;;) {
      const found = load<u32>(<usize>(zone.slots + (slot << 3)), 4);
      if (found == 0) return false;
      if (found == node) break;
      slot = (slot + 1) & mask;
    }
    // What was pushed past the hole moves into it, so that no search ends too early.
    let hole = slot;
    for (;;) {
      slot = (slot + 1) & mask;
      const entry = <usize>(zone.slots + (slot << 3));
      const other = load<u32>(entry, 4);
      if (other == 0) break;
      const home = <u32>Names.hash(<usize>(other + DnsNode_SIZE), Names.node(other).length) & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      store<u64>(<usize>(zone.slots + (hole << 3)), load<u64>(entry));
      hole = slot;
    }
    store<u64>(<usize>(zone.slots + (hole << 3)), 0);
    zone.nodes--;
    return true;
  }

  /** Moves the slots to zeroed memory of another size. */
  static move(slots: u32, count: u32): void {
    const zone = Names.zone;
    const before = zone.slots;
    const beforeCount = zone.slotMask + 1;
    zone.slots = slots;
    zone.slotMask = count - 1;
    if (before == 0) return;
    for (let i: u32 = 0; i < beforeCount; i++) {
      const node = load<u32>(<usize>(before + (i << 3)), 4);
      if (node != 0) Names.place(node);
    }
  }
}
