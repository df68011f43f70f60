import type { IPAddress } from "./address.ts";
import { crc32c, internetChecksum, pseudoHeaderSum } from "./checksum.ts";
import { formatMacAddress, tcpFlagLetters } from "./protocol.ts";

/*
 * Views of headers. The contract of the whole family: `X.of(bytes)` checks once that every field of the header, and what its own
 * lengths promise, lies inside the bytes, and gives `undefined` otherwise; after that no accessor can fail. A view reads the bytes
 * that it was made of and never copies; numbers are in host order. To make packets use `packet()`; to take them apart at once,
 * `parsePacket`.
 */

abstract class View {
  readonly bytes: Uint8Array;

  protected constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  protected u16(at: number): number {
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }
  protected u32(at: number): number {
    return (
      ((this.bytes[at]! << 24) | (this.bytes[at + 1]! << 16) | (this.bytes[at + 2]! << 8) | this.bytes[at + 3]!) >>> 0
    );
  }
  protected ip(at: number, length: 4 | 16): IPAddress {
    return { family: length === 4 ? "IPv4" : "IPv6", bytes: this.bytes.subarray(at, at + length) };
  }
}

/** An Ethernet II frame. */
export class EthernetView extends View {
  static of(bytes: Uint8Array): EthernetView | undefined {
    return bytes.length < 14 ? undefined : new EthernetView(bytes);
  }
  get destination(): string {
    return formatMacAddress(this.bytes);
  }
  get source(): string {
    return formatMacAddress(this.bytes.subarray(6));
  }
  get etherType(): number {
    return this.u16(12);
  }
  /** What follows the header, trailing padding included. */
  get payload(): Uint8Array {
    return this.bytes.subarray(14);
  }
}

/** An ARP packet for IPv4 over Ethernet (RFC 826). */
export class ArpView extends View {
  static of(bytes: Uint8Array): ArpView | undefined {
    const view = new ArpView(bytes);
    const fits = bytes.length >= 28 && view.u16(0) === 1 && view.u16(2) === 0x0800 && bytes[4] === 6 && bytes[5] === 4;
    return fits ? view : undefined;
  }
  /** 1 asks, 2 answers. */
  get operation(): number {
    return this.u16(6);
  }
  get senderMac(): string {
    return formatMacAddress(this.bytes.subarray(8));
  }
  get sender(): IPAddress {
    return this.ip(14, 4);
  }
  get targetMac(): string {
    return formatMacAddress(this.bytes.subarray(18));
  }
  get target(): IPAddress {
    return this.ip(24, 4);
  }
}

/** An IPv4 packet (RFC 791). */
export class IPv4View extends View {
  static of(bytes: Uint8Array): IPv4View | undefined {
    if (bytes.length < 20 || bytes[0]! >> 4 !== 4) return undefined;
    const view = new IPv4View(bytes);
    const fits = view.headerLength >= 20 && view.totalLength >= view.headerLength && view.totalLength <= bytes.length;
    return fits ? view : undefined;
  }
  /** Bytes of the header, options included. */
  get headerLength(): number {
    return (this.bytes[0]! & 15) * 4;
  }
  get typeOfService(): number {
    return this.bytes[1]!;
  }
  get totalLength(): number {
    return this.u16(2);
  }
  get identification(): number {
    return this.u16(4);
  }
  get dontFragment(): boolean {
    return (this.bytes[6]! & 0x40) !== 0;
  }
  get moreFragments(): boolean {
    return (this.bytes[6]! & 0x20) !== 0;
  }
  /** Bytes. */
  get fragmentOffset(): number {
    return (this.u16(6) & 0x1fff) * 8;
  }
  get ttl(): number {
    return this.bytes[8]!;
  }
  get protocol(): number {
    return this.bytes[9]!;
  }
  get checksum(): number {
    return this.u16(10);
  }
  get isChecksumRight(): boolean {
    return internetChecksum(this.bytes.subarray(0, this.headerLength)) === 0;
  }
  get source(): IPAddress {
    return this.ip(12, 4);
  }
  get destination(): IPAddress {
    return this.ip(16, 4);
  }
  get options(): Uint8Array {
    return this.bytes.subarray(20, this.headerLength);
  }
  get payload(): Uint8Array {
    return this.bytes.subarray(this.headerLength, this.totalLength);
  }
}

/** An IPv6 packet (RFC 8200) with its extension headers. */
export class IPv6View extends View {
  /** Protocol after the extension headers. */
  readonly protocol: number;
  /** Offset of what follows the extension headers. */
  readonly payloadOffset: number;
  /** Present when there is a fragment header. */
  readonly fragment: { readonly offset: number; readonly more: boolean; readonly identification: number } | undefined;

  private constructor(bytes: Uint8Array, protocol: number, payloadOffset: number, fragment: IPv6View["fragment"]) {
    super(bytes);
    this.protocol = protocol;
    this.payloadOffset = payloadOffset;
    this.fragment = fragment;
  }
  static of(bytes: Uint8Array): IPv6View | undefined {
    if (bytes.length < 40 || bytes[0]! >> 4 !== 6) return undefined;
    const end = 40 + ((bytes[4]! << 8) | bytes[5]!);
    if (end > bytes.length) return undefined;
    let next = bytes[6]!;
    let at = 40;
    let fragment: IPv6View["fragment"];
    while (next === 0 || next === 43 || next === 44 || next === 51 || next === 60) {
      if (at + 8 > end) return undefined;
      const size = next === 44 ? 8 : next === 51 ? (bytes[at + 1]! + 2) * 4 : (bytes[at + 1]! + 1) * 8;
      if (at + size > end) return undefined;
      if (next === 44) {
        const field = (bytes[at + 2]! << 8) | bytes[at + 3]!;
        const identification = new DataView(bytes.buffer, bytes.byteOffset + at + 4, 4).getUint32(0);
        fragment = { offset: field & 0xfff8, more: (field & 1) !== 0, identification };
      }
      next = bytes[at]!;
      at += size;
      // Behind a later fragment's header there is payload, not headers.
      if (fragment !== undefined && fragment.offset !== 0) break;
    }
    return new IPv6View(bytes, next, at, fragment);
  }
  get trafficClass(): number {
    return (this.u16(0) >> 4) & 0xff;
  }
  get flowLabel(): number {
    return this.u32(0) & 0xfffff;
  }
  get payloadLength(): number {
    return this.u16(4);
  }
  get hopLimit(): number {
    return this.bytes[7]!;
  }
  get source(): IPAddress {
    return this.ip(8, 16);
  }
  get destination(): IPAddress {
    return this.ip(24, 16);
  }
  get payload(): Uint8Array {
    return this.bytes.subarray(this.payloadOffset, 40 + this.payloadLength);
  }
}

/** A TCP segment (RFC 9293). */
export class TcpView extends View {
  static of(bytes: Uint8Array): TcpView | undefined {
    if (bytes.length < 20) return undefined;
    const view = new TcpView(bytes);
    return view.headerLength >= 20 && view.headerLength <= bytes.length ? view : undefined;
  }
  get sourcePort(): number {
    return this.u16(0);
  }
  get destinationPort(): number {
    return this.u16(2);
  }
  get sequence(): number {
    return this.u32(4);
  }
  get acknowledgement(): number {
    return this.u32(8);
  }
  get headerLength(): number {
    return (this.bytes[12]! >> 4) * 4;
  }
  /** Letters of the flags set: `"S"`, `"SA"`, `"PA"`. */
  get flags(): string {
    return tcpFlagLetters(this.bytes[13]!);
  }
  get window(): number {
    return this.u16(14);
  }
  get checksum(): number {
    return this.u16(16);
  }
  get options(): Uint8Array {
    return this.bytes.subarray(20, this.headerLength);
  }
  get payload(): Uint8Array {
    return this.bytes.subarray(this.headerLength);
  }
  isChecksumRight(source: IPAddress, destination: IPAddress): boolean {
    return internetChecksum(this.bytes, pseudoHeaderSum(source, destination, 6, this.bytes.length)) === 0;
  }
}

/** A UDP datagram (RFC 768). */
export class UdpView extends View {
  static of(bytes: Uint8Array): UdpView | undefined {
    if (bytes.length < 8) return undefined;
    const view = new UdpView(bytes);
    return view.length >= 8 && view.length <= bytes.length ? view : undefined;
  }
  get sourcePort(): number {
    return this.u16(0);
  }
  get destinationPort(): number {
    return this.u16(2);
  }
  get length(): number {
    return this.u16(4);
  }
  /** 0 means that the sender computed none. */
  get checksum(): number {
    return this.u16(6);
  }
  get payload(): Uint8Array {
    return this.bytes.subarray(8, this.length);
  }
  isChecksumRight(source: IPAddress, destination: IPAddress): boolean {
    if (this.checksum === 0) return source.family === "IPv4";
    const datagram = this.bytes.subarray(0, this.length);
    return internetChecksum(datagram, pseudoHeaderSum(source, destination, 17, this.length)) === 0;
  }
}

/** An SCTP packet's common header (RFC 9260). */
export class SctpView extends View {
  static of(bytes: Uint8Array): SctpView | undefined {
    return bytes.length < 12 ? undefined : new SctpView(bytes);
  }
  get sourcePort(): number {
    return this.u16(0);
  }
  get destinationPort(): number {
    return this.u16(2);
  }
  get verificationTag(): number {
    return this.u32(4);
  }
  /** As stored: little-endian CRC-32C. */
  get checksum(): number {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + 8, 4).getUint32(0, true);
  }
  get isChecksumRight(): boolean {
    const copy = this.bytes.slice();
    copy.fill(0, 8, 12);
    return crc32c(copy) === this.checksum;
  }
  /** Chunks. */
  get payload(): Uint8Array {
    return this.bytes.subarray(12);
  }
}

/** An ICMP or ICMPv6 message (RFC 792, RFC 4443). */
export class IcmpView extends View {
  static of(bytes: Uint8Array): IcmpView | undefined {
    return bytes.length < 8 ? undefined : new IcmpView(bytes);
  }
  get type(): number {
    return this.bytes[0]!;
  }
  get code(): number {
    return this.bytes[1]!;
  }
  get checksum(): number {
    return this.u16(2);
  }
  /** Bytes 4 to 7: identifier and sequence number of queries, next-hop MTU of errors. */
  get rest(): number {
    return this.u32(4);
  }
  get identifier(): number {
    return this.u16(4);
  }
  get sequence(): number {
    return this.u16(6);
  }
  /** Data of a query; the quoted packet of an error. */
  get payload(): Uint8Array {
    return this.bytes.subarray(8);
  }
  get isChecksumRight(): boolean {
    return internetChecksum(this.bytes) === 0;
  }
  /** ICMPv6 has a pseudo header. */
  isChecksumRightV6(source: IPAddress, destination: IPAddress): boolean {
    return internetChecksum(this.bytes, pseudoHeaderSum(source, destination, 58, this.bytes.length)) === 0;
  }
}
