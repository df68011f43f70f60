import { Frontend, FrontendKind, FrontendMark, MAPPED } from "../generated/layout";
import { Hash } from "../hash";
import { LongAddresses } from "./long-addresses";
import { Tables } from "./tables";

/** Counts of a head stay where they are once they reach this. */
const STICKY: u32 = 0xffff;
/** What a head knows about others that are marked. */
const OTHERS: u32 = FrontendMark.CHANGING | FrontendMark.BORN_CLUSTER_IP | FrontendMark.DYING_CLUSTER_IP;

/**
 * Frontends: exact (address, port, protocol, family) to Service port, and node ports by direct index. A frontend that shares its
 * address with no other is found in the line that its address says. See `Frontend` for how the table is built; removal brings back
 * what overflowed, so that a line that is not full ends each search.
 */
export class Frontends {
  /** Address of the line that a hash says. */
  @inline static line(hash: u64): usize {
    const control = Tables.control;
    return <usize>(control.frontends + ((<u32>(((hash >> 32) * <u64>control.frontendLines) >> 32)) << 6));
  }

  static after(line: usize): usize {
    const control = Tables.control;
    const next = line + 64;
    return next == <usize>(control.frontends + (control.frontendLines << 6)) ? <usize>control.frontends : next;
  }

  /** Key word of a frontend: raw port, protocol and family. */
  @inline static key(port: u32, meta: u32): u32 {
    return port | ((meta & 0xff) << 16) | ((meta >> 8) << 24);
  }

  @inline static servicePort(frontend: usize): u32 {
    return changetype<Frontend>(frontend).owner & FrontendMark.ID;
  }

  @inline static kind(frontend: usize): u32 {
    return changetype<Frontend>(frontend).owner >> 29;
  }

  /** Address of the frontend that packets see, or 0. */
  static find(high: u64, low: u64, key: u32): usize {
    return Frontends.findFrom(Frontends.at(high, low), high, low, key);
  }

  /** Address of the line that an address says. */
  static at(high: u64, low: u64): usize {
    return Frontends.line(Hash.address(high, low, 0x6b79a4f5));
  }

  /** The head in the first place of that line, if it is this IPv4 frontend and packets see it; else 0, which says nothing. */
  @inline static first(line: usize, address: u32, key: u32): usize {
    const frontend = changetype<Frontend>(line);
    return frontend.address == address &&
      frontend.portAndMeta == key &&
      (frontend.owner & (Tables.control.frontendHidden | FrontendMark.HEAD)) == FrontendMark.HEAD
      ? line
      : 0;
  }

  /** Goes on from that line: where the frontend is, or 0. */
  static findFrom(line: usize, high: u64, low: u64, key: u32): usize {
    const head = Frontends.head(line, high, low, key >> 24);
    if (head == 0) return 0;
    const frontend = changetype<Frontend>(head);
    const hidden = Tables.control.frontendHidden;
    if (frontend.portAndMeta == key && (frontend.owner & hidden) == 0) return head;
    return Frontends.hasOthers(frontend) ? Frontends.other(frontend.address, key, hidden, 0) : 0;
  }

  static headOf(high: u64, low: u64, family: u32): usize {
    return Frontends.head(Frontends.at(high, low), high, low, family);
  }

  /** The head of an address, from its line on: 0 when no frontend has it. */
  static head(line: usize, high: u64, low: u64, family: u32): usize {
    const word = <u32>(low >> 32);
    while (true) {
      for (let at = line; at < line + 64; at += 16) {
        const frontend = changetype<Frontend>(at);
        const key = frontend.portAndMeta;
        if (key == 0) return 0;
        if (key >> 24 != family || (frontend.owner & FrontendMark.HEAD) == 0) continue;
        if (family == 4) {
          if (frontend.address == word) return at;
        } else {
          const address = Tables.longAddress(frontend.address);
          if (address.low == low && address.high == high) return at;
        }
      }
      line = Frontends.after(line);
    }
  }

  @inline static hasOthers(head: Frontend): bool {
    return (<u32>head.clusterIPs | <u32>head.services | (head.owner & OTHERS)) != 0;
  }

  static otherLine(address: u32, key: u32): usize {
    return Frontends.line(Hash.address(<u64>address, <u64>key, 0x2c1b3c6d));
  }

  /** A frontend that is no head, by its first two words and by what stands in these bits of `owner`; 0 for none. */
  static other(address: u32, key: u32, mask: u32, owner: u32): usize {
    let line = Frontends.otherLine(address, key);
    while (true) {
      for (let at = line; at < line + 64; at += 16) {
        const frontend = changetype<Frontend>(at);
        if (frontend.portAndMeta == 0) return 0;
        if (
          frontend.portAndMeta == key &&
          frontend.address == address &&
          (frontend.owner & (FrontendMark.HEAD | mask)) == owner
        )
          return at;
      }
      line = Frontends.after(line);
    }
  }

  /** Is an address in use by any frontend, also by one that packets do not see now? */
  @inline static hasAddress(high: u64, low: u64, family: u32): bool {
    return Frontends.headOf(high, low, family) != 0;
  }

  /** Is an address the cluster IP of a Service? */
  static isClusterIP(high: u64, low: u64, family: u32): bool {
    const head = Frontends.headOf(high, low, family);
    if (head == 0) return false;
    const frontend = changetype<Frontend>(head);
    if (frontend.clusterIPs != 0) return true;
    const hidden = Tables.control.frontendHidden;
    const others = hidden == FrontendMark.BORN ? FrontendMark.DYING_CLUSTER_IP : FrontendMark.BORN_CLUSTER_IP;
    if ((frontend.owner & others) != 0) return true;
    return frontend.owner >> 29 == FrontendKind.CLUSTER_IP && (frontend.owner & hidden) == 0;
  }

  /**
   * Enters a frontend, with a mark or 0, unless one that stays has it already: then false. The host keeps room in the table and in the
   * pool of addresses.
   */
  static claim(high: u64, low: u64, key: u32, servicePort: u32, kind: u32, mark: u32): bool {
    const owner = servicePort | mark | (kind << 29);
    const found = Frontends.headOf(high, low, key >> 24);
    if (found == 0) {
      const head = Frontends.enter(Frontends.at(high, low));
      head.address = key >> 24 == 4 ? <u32>(low >> 32) : LongAddresses.take(high, low);
      head.portAndMeta = key;
      head.owner = owner | FrontendMark.HEAD;
      // Destinations that the route cache knows as plain may be it no longer.
      Tables.control.routeEpoch++;
      return true;
    }
    const head = changetype<Frontend>(found);
    if (head.portAndMeta == key && (head.owner & FrontendMark.DYING) == 0) return false;
    if (Frontends.hasOthers(head) && Frontends.other(head.address, key, FrontendMark.DYING, 0) != 0) return false;
    if (Frontends.isVacant(head)) {
      head.portAndMeta = key;
      head.owner = owner | (head.owner & (FrontendMark.HEAD | OTHERS));
      return true;
    }
    const address = head.address;
    if (mark == 0) Frontends.count(head, kind, 1);
    else
      head.owner |=
        kind == FrontendKind.CLUSTER_IP ? FrontendMark.CHANGING | FrontendMark.BORN_CLUSTER_IP : FrontendMark.CHANGING;
    const other = Frontends.enter(Frontends.otherLine(address, key));
    other.address = address;
    other.portAndMeta = key;
    other.owner = owner;
    return true;
  }

  /** A head whose own frontend is gone. */
  @inline static isVacant(head: Frontend): bool {
    return (head.portAndMeta & 0xffffff) == 0;
  }

  static count(head: Frontend, kind: u32, by: i32): void {
    if (kind == FrontendKind.CLUSTER_IP) {
      if (head.clusterIPs != STICKY) head.clusterIPs += <u16>by;
    } else if (head.services != STICKY) head.services += <u16>by;
  }

  /** The frontend of that Service port with that mark or, for 0, without any; 0 for none. */
  static held(high: u64, low: u64, key: u32, servicePort: u32, mark: u32): usize {
    const head = Frontends.headOf(high, low, key >> 24);
    if (head == 0) return 0;
    const wanted = servicePort | mark;
    const relevant = FrontendMark.ID | FrontendMark.BORN | FrontendMark.DYING;
    const frontend = changetype<Frontend>(head);
    if (frontend.portAndMeta == key && (frontend.owner & relevant) == wanted) return head;
    return Frontends.hasOthers(frontend) ? Frontends.other(frontend.address, key, relevant, wanted) : 0;
  }

  /** Removes a frontend of that Service port that has that mark or, for 0, none; false when there is none. */
  static remove(high: u64, low: u64, key: u32, servicePort: u32, mark: u32): bool {
    const found = Frontends.held(high, low, key, servicePort, mark);
    if (found == 0) return false;
    const frontend = changetype<Frontend>(found);
    if ((frontend.owner & FrontendMark.HEAD) == 0) {
      const kind = Frontends.kind(found);
      Frontends.leave(found);
      const head = changetype<Frontend>(Frontends.headOf(high, low, key >> 24));
      if (mark == 0) Frontends.count(head, kind, -1);
      if (Frontends.isVacant(head) && !Frontends.hasOthers(head)) Frontends.removeHead(changetype<usize>(head));
      return true;
    }
    if (!Frontends.hasOthers(frontend)) {
      Frontends.removeHead(found);
      return true;
    }
    // A frontend that follows one of the same address and port takes its place.
    const heir = Frontends.other(frontend.address, key, 0, 0);
    if (heir == 0) {
      frontend.portAndMeta = key & 0xff000000;
      frontend.owner &= FrontendMark.HEAD | OTHERS;
      return true;
    }
    const owner = changetype<Frontend>(heir).owner;
    if ((owner & (FrontendMark.BORN | FrontendMark.DYING)) == 0) Frontends.count(frontend, owner >> 29, -1);
    frontend.owner = owner | (frontend.owner & (FrontendMark.HEAD | OTHERS));
    Frontends.leave(heir);
    return true;
  }

  static removeHead(at: usize): void {
    const frontend = changetype<Frontend>(at);
    if (frontend.portAndMeta >> 24 != 4) LongAddresses.give(frontend.address);
    Frontends.leave(at);
  }

  /** Marks a frontend of that Service port that has no mark as one that a staged change removes; false when there is none. */
  static doom(high: u64, low: u64, key: u32, servicePort: u32): bool {
    const found = Frontends.held(high, low, key, servicePort, 0);
    if (found == 0) return false;
    const frontend = changetype<Frontend>(found);
    frontend.owner |= FrontendMark.DYING;
    if ((frontend.owner & FrontendMark.HEAD) != 0) return true;
    const head = changetype<Frontend>(Frontends.headOf(high, low, key >> 24));
    const kind = Frontends.kind(found);
    Frontends.count(head, kind, -1);
    head.owner |=
      kind == FrontendKind.CLUSTER_IP ? FrontendMark.CHANGING | FrontendMark.DYING_CLUSTER_IP : FrontendMark.CHANGING;
    return true;
  }

  /** Takes a mark off a frontend of that Service port. */
  static settle(high: u64, low: u64, key: u32, servicePort: u32, mark: u32): void {
    const found = Frontends.held(high, low, key, servicePort, mark);
    if (found == 0) return;
    const frontend = changetype<Frontend>(found);
    frontend.owner &= ~mark;
    if ((frontend.owner & FrontendMark.HEAD) != 0) return;
    const head = changetype<Frontend>(Frontends.headOf(high, low, key >> 24));
    Frontends.count(head, Frontends.kind(found), 1);
  }

  /** Once no frontend of an address is marked any more, its head forgets that some were. */
  static forget(high: u64, low: u64, family: u32): void {
    const found = Frontends.headOf(high, low, family);
    if (found == 0) return;
    const head = changetype<Frontend>(found);
    head.owner &= ~OTHERS;
    if (Frontends.isVacant(head) && !Frontends.hasOthers(head)) Frontends.removeHead(found);
  }

  /** A free slot for what belongs into a line. */
  static enter(line: usize): Frontend {
    Tables.control.frontendCount++;
    while (load<u32>(line + 48, offsetof<Frontend>("portAndMeta")) != 0) line = Frontends.after(line);
    while (load<u32>(line, offsetof<Frontend>("portAndMeta")) != 0) line += 16;
    store<u64>(line, 0);
    store<u64>(line, 0, 8);
    return changetype<Frontend>(line);
  }

  /** Frees a slot: the last one of its line moves there, and from lines behind a full one comes what belongs there or before. */
  static leave(at: usize): void {
    Tables.control.frontendCount--;
    let line = at & ~(<usize>63);
    while (true) {
      let last = line + 48;
      const wasFull = load<u32>(last, offsetof<Frontend>("portAndMeta")) != 0;
      while (load<u32>(last, offsetof<Frontend>("portAndMeta")) == 0) last -= 16;
      memory.copy(at, last, 16);
      store<u32>(last, 0, offsetof<Frontend>("portAndMeta"));
      if (!wasFull) return;
      at = 0;
      let next = line;
      while (at == 0) {
        next = Frontends.after(next);
        for (let slot = next; slot < next + 64; slot += 16) {
          if (load<u32>(slot, offsetof<Frontend>("portAndMeta")) == 0) return;
          // It may go into the line unless it belongs behind it.
          const home = Frontends.home(changetype<Frontend>(slot));
          const behind = line < next ? home > line && home <= next : home > line || home <= next;
          if (behind) continue;
          memory.copy(last, slot, 16);
          at = slot;
          break;
        }
        if (next == line) return;
      }
      line = next;
    }
  }

  /** Where a frontend belongs. */
  static home(frontend: Frontend): usize {
    if ((frontend.owner & FrontendMark.HEAD) == 0) return Frontends.otherLine(frontend.address, frontend.portAndMeta);
    if (frontend.portAndMeta >> 24 == 4) return Frontends.at(0, ((<u64>frontend.address) << 32) | <u64>MAPPED);
    const address = Tables.longAddress(frontend.address);
    return Frontends.at(address.high, address.low);
  }

  /** Where the Service port of a node port is held. `port` is raw. */
  @inline static nodePortAt(port: u32, meta: u32): usize {
    const protocol = meta & 0xff;
    let row: u32 = protocol == 6 ? 0 : protocol == 17 ? 1 : 2;
    if (meta >> 8 == 6) row += 3;
    return <usize>(Tables.control.nodePorts + (((row << 16) | port) << 2));
  }

  /** Service port of a node port, or none; 0 in memory means none, so ids are held plus one. */
  @inline static nodePort(port: u32, meta: u32): u32 {
    return load<u32>(Frontends.nodePortAt(port, meta)) - 1;
  }
}
