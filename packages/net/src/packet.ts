import { formatAddress, type IPAddress, parseAddress } from "./address.ts";
import { crc32c, internetChecksum, pseudoHeaderSum } from "./checksum.ts";
import { ArpView, EthernetView, IcmpView, IPv4View, IPv6View, SctpView, TcpView, UdpView } from "./packet-views.ts";
import { etherTypes, parseMacAddress, tcpFlagBits } from "./protocol.ts";

/** Fields of an Ethernet header; the type follows from what is inside. */
export interface EthernetFields {
  readonly source?: string;
  readonly destination?: string;
  readonly etherType?: number;
}

/** Fields of an ARP packet. */
export interface ArpFields {
  readonly operation: "request" | "reply";
  readonly senderMac: string;
  readonly sender: string;
  /** Default all zeros. */
  readonly targetMac?: string;
  readonly target: string;
}

/** Fields of an IPv4 header. Lengths, protocol and checksum follow unless given. */
export interface IPv4Fields {
  readonly source: string;
  readonly destination: string;
  /** Default 64. */
  readonly ttl?: number;
  readonly typeOfService?: number;
  readonly identification?: number;
  /** Default true, unless it is a fragment. */
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** Bytes, a multiple of 8. */
  readonly fragmentOffset?: number;
  /** Padded with zeros to a multiple of four. */
  readonly options?: Uint8Array;
  readonly protocol?: number;
}

/** Fields of an IPv6 header. */
export interface IPv6Fields {
  readonly source: string;
  readonly destination: string;
  /** Default 64. */
  readonly hopLimit?: number;
  readonly trafficClass?: number;
  readonly flowLabel?: number;
  readonly protocol?: number;
  /** Extension headers before the transport, in order: type and bytes from the second on (first is the next header). */
  readonly extensions?: readonly { readonly type: number; readonly body: Uint8Array }[];
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly identification: number };
}

/** Fields of a TCP header. */
export interface TcpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Letters of F, S, R, P, A, U, E, C. Default `"A"`. */
  readonly flags?: string;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  /** Default 64240. */
  readonly window?: number;
  /** Padded with zeros to a multiple of four. */
  readonly options?: Uint8Array;
  /** Given: stored as it is, right or wrong. */
  readonly checksum?: number;
}

/** Fields of a UDP header. */
export interface UdpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Given: stored as it is; 0 is "none". */
  readonly checksum?: number;
}

/** Fields of an SCTP common header. */
export interface SctpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly verificationTag?: number;
}

/** Fields of an ICMP message. */
export interface IcmpFields {
  readonly type: number;
  readonly code?: number;
  readonly identifier?: number;
  readonly sequence?: number;
  /** Bytes 4 to 7 as one number, instead of identifier and sequence. */
  readonly rest?: number;
}

type Network =
  | { readonly version: 4; readonly fields: IPv4Fields }
  | { readonly version: 6; readonly fields: IPv6Fields };
type Transport =
  | { readonly kind: "tcp"; readonly fields: TcpFields }
  | { readonly kind: "udp"; readonly fields: UdpFields }
  | { readonly kind: "sctp"; readonly fields: SctpFields }
  | { readonly kind: "icmp"; readonly fields: IcmpFields };

interface Layers {
  readonly ethernet?: EthernetFields;
  readonly arp?: ArpFields;
  readonly network?: Network;
  readonly transport?: Transport;
  readonly payload?: Uint8Array;
}

/** A packet in the making. Every step gives a new builder; {@link PacketBuilder.build} computes lengths and checksums. */
export interface PacketBuilder {
  ethernet(fields: EthernetFields): PacketBuilder;
  arp(fields: ArpFields): PacketBuilder;
  ipv4(fields: IPv4Fields): PacketBuilder;
  ipv6(fields: IPv6Fields): PacketBuilder;
  tcp(fields: TcpFields): PacketBuilder;
  udp(fields: UdpFields): PacketBuilder;
  sctp(fields: SctpFields): PacketBuilder;
  /** ICMP over IPv4, ICMPv6 over IPv6. */
  icmp(fields: IcmpFields): PacketBuilder;
  /** Bytes, or text in UTF-8. */
  payload(data: Uint8Array | string): PacketBuilder;
  /** @throws TypeError for text that is no address, and for a transport without a network layer */
  build(): Uint8Array;
}

/**
 * Starts a packet: `packet().ipv4({ source, destination }).tcp({ sourcePort, destinationPort, flags: "S" }).build()`. Without
 * `ethernet` the result starts with the IP header.
 */
export function packet(): PacketBuilder {
  return builder({});
}

function builder(layers: Layers): PacketBuilder {
  const next = (more: Layers) => builder({ ...layers, ...more });
  return {
    ethernet: (fields) => next({ ethernet: fields }),
    arp: (fields) => next({ arp: fields }),
    ipv4: (fields) => next({ network: { version: 4, fields } }),
    ipv6: (fields) => next({ network: { version: 6, fields } }),
    tcp: (fields) => next({ transport: { kind: "tcp", fields } }),
    udp: (fields) => next({ transport: { kind: "udp", fields } }),
    sctp: (fields) => next({ transport: { kind: "sctp", fields } }),
    icmp: (fields) => next({ transport: { kind: "icmp", fields } }),
    payload: (data) => next({ payload: typeof data === "string" ? utf8(data) : data }),
    build: () => build(layers),
  };
}

function utf8(text: string): Uint8Array {
  const bytes: number[] = [];
  const escaped = encodeURIComponent(text);
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] === "%") {
      bytes.push(Number.parseInt(escaped.slice(i + 1, i + 3), 16));
      i += 2;
    } else bytes.push(escaped.charCodeAt(i));
  }
  return Uint8Array.from(bytes);
}

function addressOf(text: string): IPAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new TypeError(`packet: "${text}" is not an IP address`);
  return address;
}

function macOf(text: string | undefined): Uint8Array {
  const mac = parseMacAddress(text ?? "00:00:00:00:00:00");
  if (mac === undefined) throw new TypeError(`packet: "${text}" is not a link-layer address`);
  return mac;
}

function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function padded(bytes: Uint8Array | undefined, multiple: number): Uint8Array {
  if (bytes === undefined) return new Uint8Array(0);
  return concatenate(bytes, new Uint8Array((multiple - (bytes.length % multiple)) % multiple));
}

function build(layers: Layers): Uint8Array {
  const { ethernet, arp, network } = layers;
  let inner: Uint8Array;
  let etherType: number;
  if (arp !== undefined) {
    inner = buildArp(arp);
    etherType = etherTypes.ARP;
  } else if (network !== undefined) {
    inner = buildNetwork(network, layers);
    etherType = network.version === 4 ? etherTypes.IPv4 : etherTypes.IPv6;
  } else {
    if (layers.transport !== undefined) throw new TypeError("packet: a transport needs ipv4() or ipv6()");
    inner = layers.payload ?? new Uint8Array(0);
    etherType = 0xffff;
  }
  if (ethernet === undefined) return inner;
  const header = new Uint8Array(14);
  header.set(macOf(ethernet.destination));
  header.set(macOf(ethernet.source), 6);
  new DataView(header.buffer).setUint16(12, ethernet.etherType ?? etherType);
  return concatenate(header, inner);
}

function buildArp(fields: ArpFields): Uint8Array {
  const bytes = new Uint8Array(28);
  bytes.set([0, 1, 8, 0, 6, 4, 0, fields.operation === "request" ? 1 : 2]);
  bytes.set(macOf(fields.senderMac), 8);
  bytes.set(addressOf(fields.sender).bytes, 14);
  bytes.set(macOf(fields.targetMac), 18);
  bytes.set(addressOf(fields.target).bytes, 24);
  return bytes;
}

function buildNetwork(network: Network, layers: Layers): Uint8Array {
  const { source, destination } = network.fields;
  const from = addressOf(source);
  const to = addressOf(destination);
  const family = network.version === 4 ? "IPv4" : "IPv6";
  if (from.family !== family || to.family !== family)
    throw new TypeError(`packet: ${source} and ${destination} must both be ${family}`);
  const { protocol, bytes: payload } = buildTransport(layers, from, to);
  return network.version === 4
    ? buildIPv4(network.fields, from, to, protocol, payload)
    : buildIPv6(network.fields, from, to, protocol, payload);
}

function buildIPv4(
  fields: IPv4Fields,
  from: IPAddress,
  to: IPAddress,
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  const options = padded(fields.options, 4);
  const header = new Uint8Array(20 + options.length);
  const view = new DataView(header.buffer);
  const offset = fields.fragmentOffset ?? 0;
  const more = fields.moreFragments ?? false;
  const whole = fields.dontFragment ?? (offset === 0 && !more);
  header[0] = 0x40 | (header.length >> 2);
  header[1] = fields.typeOfService ?? 0;
  view.setUint16(2, header.length + payload.length);
  view.setUint16(4, fields.identification ?? 0);
  view.setUint16(6, (whole ? 0x4000 : 0) | (more ? 0x2000 : 0) | (offset >> 3));
  header[8] = fields.ttl ?? 64;
  header[9] = fields.protocol ?? protocol;
  header.set(from.bytes, 12);
  header.set(to.bytes, 16);
  header.set(options, 20);
  view.setUint16(10, internetChecksum(header));
  return concatenate(header, payload);
}

function buildIPv6(
  fields: IPv6Fields,
  from: IPAddress,
  to: IPAddress,
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  const extensions = [...(fields.extensions ?? [])];
  if (fields.fragment !== undefined) {
    const body = new Uint8Array(7);
    const view = new DataView(body.buffer);
    view.setUint16(1, (fields.fragment.offset & 0xfff8) | (fields.fragment.more ? 1 : 0));
    view.setUint32(3, fields.fragment.identification);
    extensions.push({ type: 44, body });
  }
  const final = fields.protocol ?? protocol;
  const headers = extensions.map(({ body }, i) => concatenate(Uint8Array.of(extensions[i + 1]?.type ?? final), body));
  const rest = concatenate(...headers, payload);
  const header = new Uint8Array(40);
  const view = new DataView(header.buffer);
  view.setUint32(0, ((6 << 28) | ((fields.trafficClass ?? 0) << 20) | (fields.flowLabel ?? 0)) >>> 0);
  view.setUint16(4, rest.length);
  header[6] = extensions[0]?.type ?? final;
  header[7] = fields.hopLimit ?? 64;
  header.set(from.bytes, 8);
  header.set(to.bytes, 24);
  return concatenate(header, rest);
}

function buildTransport(layers: Layers, from: IPAddress, to: IPAddress): { protocol: number; bytes: Uint8Array } {
  const payload = layers.payload ?? new Uint8Array(0);
  const transport = layers.transport;
  if (transport === undefined) return { protocol: 59, bytes: payload };
  if (transport.kind === "tcp") {
    const { fields } = transport;
    const options = padded(fields.options, 4);
    const bytes = concatenate(new Uint8Array(20), options, payload);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, fields.sourcePort);
    view.setUint16(2, fields.destinationPort);
    view.setUint32(4, fields.sequence ?? 0);
    view.setUint32(8, fields.acknowledgement ?? 0);
    bytes[12] = ((20 + options.length) >> 2) << 4;
    bytes[13] = tcpFlagBits(fields.flags ?? "A");
    view.setUint16(14, fields.window ?? 64240);
    view.setUint16(16, fields.checksum ?? internetChecksum(bytes, pseudoHeaderSum(from, to, 6, bytes.length)));
    return { protocol: 6, bytes };
  }
  if (transport.kind === "udp") {
    const { fields } = transport;
    const bytes = concatenate(new Uint8Array(8), payload);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, fields.sourcePort);
    view.setUint16(2, fields.destinationPort);
    view.setUint16(4, bytes.length);
    // RFC 768: a computed zero is sent as all ones.
    view.setUint16(
      6,
      fields.checksum ?? (internetChecksum(bytes, pseudoHeaderSum(from, to, 17, bytes.length)) || 0xffff),
    );
    return { protocol: 17, bytes };
  }
  if (transport.kind === "sctp") {
    const { fields } = transport;
    const bytes = concatenate(new Uint8Array(12), payload);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, fields.sourcePort);
    view.setUint16(2, fields.destinationPort);
    view.setUint32(4, fields.verificationTag ?? 0);
    view.setUint32(8, crc32c(bytes), true);
    return { protocol: 132, bytes };
  }
  const { fields } = transport;
  const bytes = concatenate(new Uint8Array(8), payload);
  const view = new DataView(bytes.buffer);
  bytes[0] = fields.type;
  bytes[1] = fields.code ?? 0;
  if (fields.rest !== undefined) view.setUint32(4, fields.rest);
  else {
    view.setUint16(4, fields.identifier ?? 0);
    view.setUint16(6, fields.sequence ?? 0);
  }
  const v6 = from.family === "IPv6";
  view.setUint16(2, internetChecksum(bytes, v6 ? pseudoHeaderSum(from, to, 58, bytes.length) : 0));
  return { protocol: v6 ? 58 : 1, bytes };
}

/** A packet taken apart. Layers that are absent or malformed are `undefined`; `payload` is what the innermost layer carries. */
export interface ParsedPacket {
  readonly ethernet?: EthernetView;
  readonly arp?: ArpView;
  readonly ipv4?: IPv4View;
  readonly ipv6?: IPv6View;
  /** Canonical text of the network layer's addresses. */
  readonly source?: string;
  readonly destination?: string;
  readonly tcp?: TcpView;
  readonly udp?: UdpView;
  readonly sctp?: SctpView;
  readonly icmp?: IcmpView;
  readonly payload: Uint8Array;
  /** Every checksum of the packet is right; those of fragments and unknown transports count as right. */
  readonly isIntact: boolean;
}

/** Takes an IP packet apart, or with `link: "ethernet"` a frame. Never throws. */
export function parsePacket(bytes: Uint8Array, options: { readonly link?: "none" | "ethernet" } = {}): ParsedPacket {
  if (options.link === "ethernet") {
    const ethernet = EthernetView.of(bytes);
    if (ethernet === undefined) return { payload: bytes, isIntact: false };
    if (ethernet.etherType === etherTypes.ARP) {
      const arp = ArpView.of(ethernet.payload);
      return {
        ethernet,
        ...(arp === undefined ? {} : { arp }),
        payload: ethernet.payload,
        isIntact: arp !== undefined,
      };
    }
    return { ethernet, ...parsePacket(ethernet.payload) };
  }
  const ipv4 = IPv4View.of(bytes);
  const ipv6 = ipv4 === undefined ? IPv6View.of(bytes) : undefined;
  const network = ipv4 ?? ipv6;
  if (network === undefined) return { payload: bytes, isIntact: false };
  const fragment = ipv4 === undefined ? ipv6!.fragment : { offset: ipv4.fragmentOffset, more: ipv4.moreFragments };
  const common = {
    ...(ipv4 === undefined ? { ipv6: ipv6! } : { ipv4 }),
    source: formatAddress(network.source),
    destination: formatAddress(network.destination),
  };
  const headerRight = ipv4?.isChecksumRight ?? true;
  const payload = network.payload;
  if (fragment !== undefined && fragment.offset !== 0) return { ...common, payload, isIntact: headerRight };
  const whole = fragment === undefined || !fragment.more;
  const { source, destination } = network;
  if (network.protocol === 6) {
    const tcp = TcpView.of(payload);
    if (tcp === undefined) return { ...common, payload, isIntact: false };
    return {
      ...common,
      tcp,
      payload: tcp.payload,
      isIntact: headerRight && (!whole || tcp.isChecksumRight(source, destination)),
    };
  }
  if (network.protocol === 17) {
    const udp = whole ? UdpView.of(payload) : undefined;
    if (udp === undefined) return { ...common, payload, isIntact: headerRight && !whole };
    return { ...common, udp, payload: udp.payload, isIntact: headerRight && udp.isChecksumRight(source, destination) };
  }
  if (network.protocol === 132) {
    const sctp = SctpView.of(payload);
    if (sctp === undefined) return { ...common, payload, isIntact: false };
    return { ...common, sctp, payload: sctp.payload, isIntact: headerRight && (!whole || sctp.isChecksumRight) };
  }
  if ((network.protocol === 1 && ipv4 !== undefined) || (network.protocol === 58 && ipv6 !== undefined)) {
    const icmp = IcmpView.of(payload);
    if (icmp === undefined) return { ...common, payload, isIntact: false };
    const right = ipv4 !== undefined ? icmp.isChecksumRight : icmp.isChecksumRightV6(source, destination);
    return { ...common, icmp, payload: icmp.payload, isIntact: headerRight && (!whole || right) };
  }
  return { ...common, payload, isIntact: headerRight };
}
