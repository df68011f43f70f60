/** IP protocol numbers that this library has names for (IANA "Assigned Internet Protocol Numbers"). */
export const ipProtocols: Readonly<Record<IPProtocolName, number>> = {
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ICMPv6: 58,
  SCTP: 132,
};

/** Names of {@link ipProtocols}. */
export type IPProtocolName = "ICMP" | "TCP" | "UDP" | "ICMPv6" | "SCTP";

/** EtherTypes that this library understands. */
export const etherTypes: Readonly<Record<"IPv4" | "ARP" | "IPv6", number>> = {
  IPv4: 0x0800,
  ARP: 0x0806,
  IPv6: 0x86dd,
};

/** Flags of TCP in the order of their bits from the least: FIN is 1, CWR 128. */
export type TcpFlag = "F" | "S" | "R" | "P" | "A" | "U" | "E" | "C";

const letters = "FSRPAUEC";

/** Bits of a string of flag letters, such as `"SA"`; unknown letters count as nothing. */
export function tcpFlagBits(flags: string): number {
  let bits = 0;
  for (const letter of flags) {
    const bit = letters.indexOf(letter);
    if (bit >= 0) bits |= 1 << bit;
  }
  return bits;
}

/** Letters of flag bits, from FIN up: SYN and ACK are `"SA"`. */
export function tcpFlagLetters(bits: number): string {
  let text = "";
  for (let i = 0; i < 8; i++) if (bits & (1 << i)) text += letters[i];
  return text;
}

/** A link-layer address: six octets as `aa:bb:cc:dd:ee:ff`. */
export function parseMacAddress(text: string): Uint8Array | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}

/** Text of six octets. */
export function formatMacAddress(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
