/** Frames that tell a link where an address lives now: gratuitous ARP and unsolicited neighbour advertisements. */
import { type IPAddress, parseAddress } from "@portolan/net";
import { hardwareAddressBytes } from "./hardware-address.ts";

/**
 * The announcement of an address by the port with that hardware address.
 *
 * ```text
 * IPv4  Ethernet (broadcast) │ ARP request, sender and target address both ours        RFC 5227 section 3
 * IPv6  Ethernet (33:33:0:0:0:1) │ IPv6 to ff02::1, hop limit 255 │ ICMPv6 136, override, target link-layer address   RFC 4861 section 7.2.6
 * ```
 *
 * @throws {@link RangeError} when the text is not an address
 */
export function announcementFrame(address: string, hardwareAddress: string): Uint8Array {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new RangeError(`"${address}" is not an IP address`);
  const mac = hardwareAddressBytes(hardwareAddress);
  return parsed.family === "IPv4" ? gratuitousArp(parsed, mac) : neighborAdvertisement(parsed, mac);
}

function gratuitousArp(address: IPAddress, mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(42);
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  frame.set([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1], 12);
  frame.set(mac, 22);
  frame.set(address.bytes, 28);
  frame.set(address.bytes, 38);
  return frame;
}

function neighborAdvertisement(address: IPAddress, mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(86);
  const view = new DataView(frame.buffer);
  frame.set([0x33, 0x33, 0, 0, 0, 1], 0);
  frame.set(mac, 6);
  view.setUint16(12, 0x86dd);
  view.setUint32(14, 0x60000000);
  view.setUint16(18, 32);
  frame[20] = 58;
  frame[21] = 255;
  frame.set(address.bytes, 22);
  frame.set([0xff, 2], 38);
  frame[53] = 1;
  frame[54] = 136;
  const OVERRIDE = 0x20000000;
  view.setUint32(58, OVERRIDE);
  frame.set(address.bytes, 62);
  frame.set([2, 1], 78);
  frame.set(mac, 80);
  // Pseudo header: both addresses, the length 32 and the protocol 58.
  let sum = 32 + 58;
  for (let at = 22; at < 86; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(56, ~sum & 0xffff);
  return frame;
}
