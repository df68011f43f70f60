import {
  DNS_AUTHORITY,
  DNS_FOLDED,
  DNS_LABELS,
  DNS_LARGEST_QUERY,
  DNS_LARGEST_REPLY,
  DNS_ZONE_NAME,
  DnsBlock,
  DnsBlock_SIZE,
  DnsFlag,
  DnsNode,
  DnsNodeFlag,
  DnsOutcome,
  DnsPass,
  DnsState,
  DnsZone,
} from "../generated/dns-layout";
import { Names } from "./names";

/** `DnsBlock.turn` of records with letters of the question in them. */
const EXACT: u32 = 0xffff;

/**
 * A question becomes its answer where it lies. Only plain questions (RFC 1035, at most an OPT record behind them) for A, AAAA and SRV are
 * answered, only from the map, and only when the map proves the answer; everything else is left untouched for the server.
 */
export class Message {
  /** Counts a question that is left to the server. */
  static pass(reason: u32): u32 {
    const at = changetype<usize>(Names.zone) + ((<usize>reason) << 3);
    store<u64>(at, load<u64>(at, offsetof<DnsZone>("passed0")) + 1, offsetof<DnsZone>("passed0"));
    return 0;
  }

  /** Letters A to Z of eight octets to lower case, everything else as it is (RFC 4343). */
  @inline static fold(octets: u64): u64 {
    const seven = octets & 0x7f7f7f7f7f7f7f7f;
    const fromA = seven + 0x3f3f3f3f3f3f3f3f;
    const pastZ = seven + 0x2525252525252525;
    return octets | ((fromA & ~pastZ & ~octets & 0x8080808080808080) >> 2);
  }

  /**
   * Answers the message of `length` octets at `m`. There must be room for 1232 octets and eight more.
   *
   * @param stream 1 for a message that came by TCP, whose reply may have any length
   * @returns octets of the reply, 0 when the message is the server's
   */
  static answer(m: u32, length: u32, stream: u32): u32 {
    const zone = Names.zone;
    const base = <usize>Names.base;
    if (!(zone.flags & DnsFlag.ENABLED)) return Message.pass(DnsPass.DISABLED);
    const header = <usize>m;
    // Opcode QUERY, one question, nothing in answer and authority, at most one additional record.
    if (
      length < 17 ||
      length > DNS_LARGEST_QUERY ||
      (load<u8>(header, 2) & 0xf8) != 0 ||
      load<u16>(header, 4) != 0x0100 ||
      load<u32>(header, 6) != 0 ||
      (load<u16>(header, 10) & 0xfeff) != 0
    )
      return Message.pass(DnsPass.MESSAGE);
    const end = m + length;
    const name = m + 12;
    const starts = base + DNS_LABELS;
    let at = name;
    let labels: u32 = 0;
    for (;;) {
      if (at + 5 > end) return Message.pass(DnsPass.MESSAGE);
      const octets = <u32>load<u8>(<usize>at);
      if (octets == 0) break;
      if (octets > 63) return Message.pass(DnsPass.MESSAGE);
      store<u8>(starts + labels, <u8>(at - name));
      labels++;
      at += octets + 1;
      if (at - name > 254) return Message.pass(DnsPass.MESSAGE);
    }
    at++;
    const nameLength = at - name;
    const questionEnd = at + 4;
    if (load<u16>(<usize>at, 2) != 0x0100) return Message.pass(DnsPass.MESSAGE);
    let opt: u32 = 0;
    let dnssec: u32 = 0;
    let limit: u32 = 512;
    if (load<u16>(header, 10) != 0) {
      const o = <usize>questionEnd;
      if (questionEnd + 11 > end || load<u8>(o) != 0 || load<u16>(o, 1) != 0x2900 || load<u8>(o, 6) != 0)
        return Message.pass(DnsPass.MESSAGE);
      const options = <u32>bswap<u16>(load<u16>(o, 9));
      const optionsEnd = questionEnd + 11 + options;
      // Options ask for nothing by UDP, but must be whole; by TCP they may.
      if (optionsEnd > end || (options != 0 && stream != 0)) return Message.pass(DnsPass.MESSAGE);
      let option = questionEnd + 11;
      while (option < optionsEnd) {
        if (option + 4 > optionsEnd) return Message.pass(DnsPass.MESSAGE);
        option += 4 + <u32>bswap<u16>(load<u16>(<usize>option, 2));
      }
      if (option != optionsEnd) return Message.pass(DnsPass.MESSAGE);
      dnssec = load<u8>(o, 7) & 0x80;
      limit = max<u32>(512, min<u32>(<u32>bswap<u16>(load<u16>(o, 3)), min<u32>(zone.payloadSize, DNS_LARGEST_REPLY)));
      opt = 11;
    }
    if (stream) limit = 0xffff;

    const code = <u32>bswap<u16>(load<u16>(<usize>at));
    let type: u32;
    if (code == 1) type = 0;
    else if (code == 28) type = 1;
    else if (code == 33) type = 2;
    else return Message.pass(DnsPass.TYPE);
    zone.lastType = type;
    zone.lastDnssecOk = dnssec;

    // The zone must be the end of the name, from the start of a label on.
    const front = nameLength - zone.nameLength;
    if (nameLength < zone.nameLength || labels < zone.labels) return Message.pass(DnsPass.ZONE);
    const own = labels - zone.labels;
    if (own != 0 || front != 0) {
      if (own == 0 || <u32>load<u8>(starts + own) != front) return Message.pass(DnsPass.ZONE);
    }
    const folded = base + DNS_FOLDED;
    let letters: u64 = 0;
    for (let i: u32 = 0; i < nameLength; i += 8) {
      const octets = load<u64>(<usize>(name + i));
      const lower = Message.fold(octets);
      letters |= octets ^ lower;
      store<u64>(folded + i, lower);
    }
    store<u64>(folded + nameLength, 0);
    for (let i: u32 = 0; i < zone.nameLength; i += 8)
      if (load<u64>(folded + front + i) != load<u64>(base + DNS_ZONE_NAME + i)) return Message.pass(DnsPass.ZONE);
    store<u64>(folded + front, 0);

    const node = Names.find(folded, front);
    if (node == 0) {
      if (!(zone.flags & DnsFlag.NEGATIVE) || own == 0) return Message.pass(DnsPass.NAME);
      // The name does not exist if the first missing one on the way down hangs below a closed one; the zone itself is closed.
      for (let i = own - 1; i > 0; i--) {
        const start = <u32>load<u8>(starts + i);
        const above = Names.find(folded + start, front - start);
        if (above == 0) break;
        if (!(Names.node(above).flags & <u16>DnsNodeFlag.CLOSED)) return Message.pass(DnsPass.NAME);
      }
      return Message.negative(m, questionEnd, front, type, DnsOutcome.NAME_ERROR, opt, dnssec, limit);
    }
    const state = load<u32>(<usize>(node + (type << 2)), offsetof<DnsNode>("a"));
    if (state == DnsState.PASS) return Message.pass(DnsPass.STATE);
    if (state == DnsState.NO_DATA)
      return Message.negative(m, questionEnd, front, type, DnsOutcome.NO_DATA, opt, dnssec, limit);

    const block = changetype<DnsBlock>(<usize>state);
    const octets = <u32>block.length;
    const total = questionEnd - m + octets + opt;
    if (total > limit) return Message.pass(DnsPass.SIZE);
    const turn = <u32>block.turn;
    if (turn == EXACT && letters != 0) return Message.pass(DnsPass.CASE);
    const records = <usize>(state + DnsBlock_SIZE);
    let split: u32 = 0;
    if (turn != 0 && turn != EXACT && block.answers > 1 && (zone.flags & DnsFlag.ROTATE) != 0)
      split = turn * Message.random(block.answers);
    Message.copy(questionEnd, records + split, octets - split);
    if (split != 0) Message.copy(questionEnd + octets - split, records, split);
    Message.head(m, 0, block.answers, 0, <u32>block.additionals, opt);
    if (opt) Message.option(questionEnd + octets, dnssec);
    Message.count(type, DnsOutcome.ANSWER);
    return total;
  }

  /** NODATA or NXDOMAIN: the zone's SOA record, its names ending in pointers to the zone in the question. */
  static negative(m: u32, at: u32, front: u32, type: u32, outcome: u32, opt: u32, dnssec: u32, limit: u32): u32 {
    const zone = Names.zone;
    const octets = zone.authorityLength;
    const total = at - m + octets + opt;
    if (octets == 0) return Message.pass(DnsPass.NAME);
    if (total > limit) return Message.pass(DnsPass.SIZE);
    Message.copy(at, <usize>(Names.base + DNS_AUTHORITY), octets);
    const pointer = bswap<u16>(<u16>(0xc000 | (12 + front)));
    store<u16>(<usize>at, pointer);
    store<u16>(<usize>(at + zone.authorityServer), pointer);
    store<u16>(<usize>(at + zone.authorityMailbox), pointer);
    Message.head(m, outcome == DnsOutcome.NAME_ERROR ? 3 : 0, 0, 1, 0, opt);
    if (opt) Message.option(at + octets, dnssec);
    Message.count(type, outcome);
    return total;
  }

  /** QR and AA; RD and CD as in the question; the counts. */
  @inline static head(m: u32, code: u32, answers: u32, authorities: u32, additionals: u32, opt: u32): void {
    const h = <usize>m;
    store<u8>(h, <u8>(0x84 | (load<u8>(h, 2) & 1)), 2);
    store<u8>(h, <u8>((load<u8>(h, 3) & 0x10) | code), 3);
    store<u16>(h, bswap<u16>(<u16>answers), 6);
    store<u16>(h, bswap<u16>(<u16>authorities), 8);
    store<u16>(h, bswap<u16>(<u16>(additionals + (opt != 0 ? 1 : 0))), 10);
  }

  /** The OPT record (RFC 6891): own size, version 0, DO as asked, no options. */
  @inline static option(at: u32, dnssec: u32): void {
    const o = <usize>at;
    store<u8>(o, 0);
    store<u16>(o, 0x2900, 1);
    store<u16>(o, bswap<u16>(<u16>Names.zone.payloadSize), 3);
    store<u16>(o, 0, 5);
    store<u16>(o, <u16>dnssec, 7);
    store<u16>(o, 0, 9);
  }

  /** Copies whole words: up to seven octets more than asked. */
  @inline static copy(to: u32, from: usize, octets: u32): void {
    for (let i: u32 = 0; i < octets; i += 8) store<u64>(<usize>(to + i), load<u64>(from + i));
  }

  @inline static count(type: u32, outcome: u32): void {
    const at = changetype<usize>(Names.zone) + ((<usize>(type * 3 + outcome)) << 3);
    store<u64>(at, load<u64>(at, offsetof<DnsZone>("answers0")) + 1, offsetof<DnsZone>("answers0"));
  }

  /** A number below `n` (xorshift; order of records is no secret). */
  @inline static random(n: u32): u32 {
    let s = Names.zone.random;
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    Names.zone.random = s;
    return <u32>(((s >> 32) * <u64>n) >> 32);
  }
}
