/**
 * IP addresses and prefixes, the Internet checksum, packets and capture files. No dependency, no I/O; runs everywhere.
 *
 * Packets come in two forms. A *view* (`IPv4View`, `TcpView`, …) reads the fields of bytes that it was given, after one check that
 * they are all there. A *builder* makes bytes, with lengths and checksums filled in:
 *
 * ```ts
 * import { packet, parsePacket } from "@portolan/net";
 *
 * const syn = packet()
 *   .ipv4({ source: "10.0.0.2", destination: "10.96.0.10" })
 *   .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
 *   .build();
 * parsePacket(syn).tcp?.flags; // "S"
 * ```
 *
 * @packageDocumentation
 */
export {
  addressFromBigInt,
  addressToBigInt,
  canonicalAddress,
  compareAddresses,
  equalAddresses,
  familyOf,
  formatAddress,
  formatPrefix,
  type IPAddress,
  type IPFamily,
  type IPPrefix,
  isIPv4Mapped,
  maskAddress,
  parseAddress,
  parsePrefix,
  prefixContains,
} from "./address.ts";
export { crc32c, internetChecksum, pseudoHeaderSum, sumWords, updateChecksum } from "./checksum.ts";
export {
  type ArpFields,
  type EthernetFields,
  type IcmpFields,
  type IPv4Fields,
  type IPv6Fields,
  type PacketBuilder,
  type ParsedPacket,
  packet,
  parsePacket,
  type SctpFields,
  type TcpFields,
  type UdpFields,
} from "./packet.ts";
export { ArpView, EthernetView, IcmpView, IPv4View, IPv6View, SctpView, TcpView, UdpView } from "./packet-views.ts";
export { type Capture, type CapturedPacket, linkTypes, PcapError, readPcap, writePcap } from "./pcap.ts";
export {
  type CaptureInterface,
  type InterfaceCapture,
  type InterfacePacket,
  readCapture,
  readPcapng,
  writePcapng,
} from "./pcapng.ts";
export {
  etherTypes,
  formatMacAddress,
  type IPProtocolName,
  ipProtocols,
  parseMacAddress,
  type TcpFlag,
  tcpFlagBits,
  tcpFlagLetters,
} from "./protocol.ts";
