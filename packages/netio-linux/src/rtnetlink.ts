/**
 * Links, addresses, routes and neighbours over a routing socket (rtnetlink(7)). The kernel answers each request before
 * `send` returns, so every method is synchronous and costs two system calls.
 *
 * A request (all fields in host order):
 *
 * ```text
 *  0        4      6      8        12       16                 16+f
 * ┌────────┬──────┬──────┬────────┬────────┬──────────────────┬──────┬──────┬─────────┬───
 * │ length │ type │flags │sequence│ port 0 │ family's header f│length│ type │ value…  │ …
 * └────────┴──────┴──────┴────────┴────────┴──────────────────┴──────┴──────┴─────────┴───
 *                                                              attributes, padded to 4
 * ```
 */
import { parseAddress, parsePrefix } from "@portolan/net";
import { checked, closeDescriptor, libc, SystemCallError } from "./libc.ts";

const AF_NETLINK = 16;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLM_F_REPLACE = 0x100;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  NEWROUTE: 24,
  DELROUTE: 25,
  NEWNEIGH: 28,
  NEWRULE: 32,
  DELRULE: 33,
};
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  TXQLEN: 13,
  LINKINFO: 18,
  AF_SPEC: 26,
  NET_NS_FD: 28,
  NUM_TX_QUEUES: 31,
  NUM_RX_QUEUES: 32,
};
const IFF_UP = 1;
const ENODEV = 19;
const ESRCH = 3;

/** What to change on a link; absent fields stay. */
export interface LinkSettings {
  readonly up?: boolean;
  /** Octets of the largest IP packet. */
  readonly mtu?: number;
  /** `02:00:00:00:00:01`. */
  readonly mac?: string;
  /** Name of a bridge in the same namespace. */
  readonly master?: string;
}

/** One end of a veth pair. */
export interface VethEnd {
  /** At most 15 characters. */
  readonly name: string;
  /** `02:00:00:00:00:01`; the kernel invents one when absent. */
  readonly mac?: string;
  /** Octets of the largest IP packet. Default 1500. */
  readonly mtu?: number;
}

/** A route. */
export interface RouteSettings {
  /** `10.0.0.0/8`, `::/0`. */
  readonly destination: string;
  /** Next hop; absent for on-link. */
  readonly gateway?: string;
  /** Link name. */
  readonly link: string;
  /** Preferred source address of local packets. */
  readonly source?: string;
  /** Routing table, 1–252 or a well-known one (254 main, 255 local). Default 254. */
  readonly table?: number;
}

/** A rule of the policy database: which routing table answers for a packet (ip-rule(8)). */
export interface RuleSettings {
  readonly family: "IPv4" | "IPv6";
  /** Rules are asked in this order, from 0. */
  readonly priority: number;
  /** Routing table. */
  readonly table: number;
  /** Only packets that came in on this link; absent for all. `lo` means packets of local programs. */
  readonly incomingLink?: string;
}

/** A link as the kernel lists it. */
export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
}

/** A routing socket. Requests act in the namespace in which it was opened, whichever thread makes them. */
export interface Rtnetlink {
  /**
   * Makes a veth pair.
   *
   * @param peerNamespaceFd where the second end goes; the same namespace when absent
   */
  addVeth(end: VethEnd, peer: VethEnd, peerNamespaceFd?: number): void;
  addBridge(name: string): void;
  setLink(name: string, settings: LinkSettings): void;
  /** Removes a link, and with it the other end of a veth pair; a missing link is no error. */
  deleteLink(name: string): void;
  /** Adds or replaces an address (`10.0.0.1/32`); IPv6 without duplicate address detection. */
  addAddress(link: string, address: string): void;
  /** A missing address is an error. */
  deleteAddress(link: string, address: string): void;
  /** Adds or replaces a route. */
  setRoute(route: RouteSettings): void;
  /** A missing route is no error. */
  deleteRoute(route: RouteSettings): void;
  addRule(rule: RuleSettings): void;
  deleteRule(rule: RuleSettings): void;
  /** Adds or replaces a permanent neighbour entry. */
  setNeighbour(link: string, address: string, mac: string): void;
  /** @throws {@link SystemCallError} `ERR_ENODEV` for an unknown name */
  linkIndex(name: string): number;
  listLinks(): LinkInfo[];
  close(): void;
}

function attribute(type: number, value: Buffer): Buffer {
  const out = Buffer.alloc((4 + value.length + 3) & ~3);
  out.writeUInt16LE(4 + value.length, 0);
  out.writeUInt16LE(type, 2);
  value.copy(out, 4);
  return out;
}

const NESTED = 0x8000;
const nested = (type: number, ...inner: Buffer[]): Buffer => attribute(type | NESTED, Buffer.concat(inner));
const text = (type: number, value: string): Buffer => attribute(type, Buffer.from(`${value}\0`));
function u32(type: number, value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return attribute(type, buffer);
}

function interfaceHeader(index: number, flags: number, change: number): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

/** Six octets of a colon-separated hardware address. @throws {@link RangeError} when it is none */
export function parseMac(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac))
    throw new RangeError(`"${mac}" is not a hardware address; write 02:00:00:00:00:01`);
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

function parsedAddress(value: string): { family: number; bytes: Buffer } {
  const address = parseAddress(value);
  if (address === undefined) throw new RangeError(`"${value}" is not an IP address`);
  return { family: address.family === "IPv4" ? AF_INET : AF_INET6, bytes: Buffer.from(address.bytes) };
}

function parsedPrefix(value: string): { family: number; bytes: Buffer; length: number } {
  const prefix = parsePrefix(value);
  if (prefix === undefined) throw new RangeError(`"${value}" is not an address and prefix length`);
  return {
    family: prefix.address.family === "IPv4" ? AF_INET : AF_INET6,
    bytes: Buffer.from(prefix.address.bytes),
    length: prefix.length,
  };
}

// One transmit and one receive queue: an AF_XDP socket serves a single queue.
const singleQueue = (): Buffer[] => [u32(IFLA.NUM_TX_QUEUES, 1), u32(IFLA.NUM_RX_QUEUES, 1)];

// No link-local address of the kernel's choosing: the only addresses are those given.
const IFLA_INET6_ADDR_GEN_MODE = 8;
const withoutGeneratedAddress = (): Buffer =>
  nested(IFLA.AF_SPEC, nested(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, Buffer.from([1]))));

/** Opens a routing socket in the calling thread's network namespace. `context` begins its error messages. */
export function createRtnetlink(context: string): Rtnetlink {
  const fd = checked(libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC, 0), "socket(AF_NETLINK)", context);
  const receiveBuffer = Buffer.alloc(64 * 1024);
  let sequence = 0;

  const request = (
    call: string,
    what: string,
    type: number,
    flags: number,
    body: Buffer[],
    onMessage?: (type: number, body: Buffer) => void,
  ): void => {
    const payload = Buffer.concat(body);
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + payload.length, 0);
    header.writeUInt16LE(type, 4);
    header.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | flags, 6);
    header.writeUInt32LE(++sequence, 8);
    const message = Buffer.concat([header, payload]);
    checked(libc().send(fd, message, message.length, 0), call, `${context}: ${what}`);
    for (;;) {
      const n = checked(libc().recv(fd, receiveBuffer, receiveBuffer.length, 0), call, `${context}: ${what}`);
      for (let at = 0; at + 16 <= n; ) {
        const length = receiveBuffer.readUInt32LE(at);
        if (length < 16) break;
        const kind = receiveBuffer.readUInt16LE(at + 4);
        if (receiveBuffer.readUInt32LE(at + 8) === sequence) {
          if (kind === NLMSG_DONE) return;
          if (kind === NLMSG_ERROR) {
            const code = -receiveBuffer.readInt32LE(at + 16);
            if (code === 0) return;
            throw new SystemCallError(call, code, `${context}: ${what}`);
          }
          onMessage?.(kind, receiveBuffer.subarray(at + 16, at + length));
        }
        at += (length + 3) & ~3;
      }
    }
  };

  const listLinks = (): LinkInfo[] => {
    const links: LinkInfo[] = [];
    request("RTM_GETLINK", "list links", RTM.GETLINK, NLM_F_DUMP, [interfaceHeader(0, 0, 0)], (kind, body) => {
      if (kind !== RTM.NEWLINK) return;
      let name = "";
      let mac = "";
      for (let at = 16; at + 4 <= body.length; ) {
        const length = body.readUInt16LE(at);
        if (length < 4) break;
        const value = body.subarray(at + 4, at + length);
        const type = body.readUInt16LE(at + 2) & 0x3fff;
        if (type === IFLA.IFNAME) name = value.subarray(0, -1).toString();
        if (type === IFLA.ADDRESS) mac = [...value].map((octet) => octet.toString(16).padStart(2, "0")).join(":");
        at += (length + 3) & ~3;
      }
      links.push({ index: body.readInt32LE(4), name, mac, up: (body.readUInt32LE(8) & IFF_UP) !== 0 });
    });
    return links;
  };

  const linkIndex = (name: string): number => {
    let index = 0;
    request(
      "RTM_GETLINK",
      `link ${name}`,
      RTM.GETLINK,
      0,
      [interfaceHeader(0, 0, 0), text(IFLA.IFNAME, name)],
      (_, body) => {
        index = body.readInt32LE(4);
      },
    );
    if (index === 0) throw new SystemCallError("RTM_GETLINK", ENODEV, `${context}: link ${name}`);
    return index;
  };

  const endAttributes = (end: VethEnd): Buffer[] => [
    text(IFLA.IFNAME, end.name),
    ...(end.mac === undefined ? [] : [attribute(IFLA.ADDRESS, parseMac(end.mac))]),
    u32(IFLA.MTU, end.mtu ?? 1500),
    u32(IFLA.TXQLEN, 10000),
    ...singleQueue(),
  ];

  const addressRequest = (type: number, flags: number, link: string, value: string): void => {
    const prefix = parsedPrefix(value);
    const header = Buffer.alloc(8);
    header[0] = prefix.family;
    header[1] = prefix.length;
    header[2] = prefix.family === AF_INET6 ? 2 : 0;
    header.writeUInt32LE(linkIndex(link), 4);
    const [IFA_ADDRESS, IFA_LOCAL] = [1, 2];
    request(type === RTM.NEWADDR ? "RTM_NEWADDR" : "RTM_DELADDR", `address ${value} on ${link}`, type, flags, [
      header,
      attribute(IFA_LOCAL, prefix.bytes),
      attribute(IFA_ADDRESS, prefix.bytes),
    ]);
  };

  const routeRequest = (type: number, flags: number, route: RouteSettings): void => {
    const prefix = parsedPrefix(route.destination);
    const [RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC] = [1, 4, 5, 7];
    const TABLE_MAIN = 254;
    const [PROTOCOL_STATIC, SCOPE_UNIVERSE, SCOPE_LINK, TYPE_UNICAST] = [4, 0, 253, 1];
    const scope = route.gateway === undefined && prefix.family === AF_INET ? SCOPE_LINK : SCOPE_UNIVERSE;
    const header = Buffer.from([
      prefix.family,
      prefix.length,
      0,
      0,
      route.table ?? TABLE_MAIN,
      PROTOCOL_STATIC,
      scope,
      TYPE_UNICAST,
      0,
      0,
      0,
      0,
    ]);
    const attributes = [u32(RTA_OIF, linkIndex(route.link))];
    if (prefix.length > 0) attributes.push(attribute(RTA_DST, prefix.bytes));
    if (route.gateway !== undefined) attributes.push(attribute(RTA_GATEWAY, parsedAddress(route.gateway).bytes));
    if (route.source !== undefined) attributes.push(attribute(RTA_PREFSRC, parsedAddress(route.source).bytes));
    const call = type === RTM.NEWROUTE ? "RTM_NEWROUTE" : "RTM_DELROUTE";
    request(call, `route ${route.destination} on ${route.link}`, type, flags, [header, ...attributes]);
  };

  const ruleRequest = (type: number, flags: number, rule: RuleSettings): void => {
    const [FRA_IIFNAME, FRA_PRIORITY, ACTION_TO_TABLE] = [3, 6, 1];
    const header = Buffer.alloc(12);
    header[0] = rule.family === "IPv4" ? AF_INET : AF_INET6;
    header[4] = rule.table;
    header[7] = ACTION_TO_TABLE;
    const attributes = [u32(FRA_PRIORITY, rule.priority)];
    if (rule.incomingLink !== undefined) attributes.push(text(FRA_IIFNAME, rule.incomingLink));
    const call = type === RTM.NEWRULE ? "RTM_NEWRULE" : "RTM_DELRULE";
    request(call, `rule ${rule.priority} for table ${rule.table}`, type, flags, [header, ...attributes]);
  };

  return {
    addVeth(end, peer, peerNamespaceFd): void {
      const VETH_INFO_PEER = 1;
      const peerAttributes = [interfaceHeader(0, 0, 0), ...endAttributes(peer)];
      if (peerNamespaceFd !== undefined) peerAttributes.push(u32(IFLA.NET_NS_FD, peerNamespaceFd));
      const [IFLA_INFO_KIND, IFLA_INFO_DATA] = [1, 2];
      request("RTM_NEWLINK", `veth pair ${end.name}, ${peer.name}`, RTM.NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [
        interfaceHeader(0, 0, 0),
        ...endAttributes(end),
        nested(
          IFLA.LINKINFO,
          text(IFLA_INFO_KIND, "veth"),
          nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, ...peerAttributes)),
        ),
      ]);
    },
    addBridge(name): void {
      request("RTM_NEWLINK", `bridge ${name}`, RTM.NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [
        interfaceHeader(0, 0, 0),
        text(IFLA.IFNAME, name),
        nested(IFLA.LINKINFO, text(1, "bridge")),
      ]);
      request("RTM_NEWLINK", `bridge ${name}`, RTM.NEWLINK, 0, [
        interfaceHeader(linkIndex(name), 0, 0),
        withoutGeneratedAddress(),
      ]);
    },
    setLink(name, settings): void {
      const attributes: Buffer[] = [];
      if (settings.mtu !== undefined) attributes.push(u32(IFLA.MTU, settings.mtu));
      if (settings.mac !== undefined) attributes.push(attribute(IFLA.ADDRESS, parseMac(settings.mac)));
      if (settings.master !== undefined) attributes.push(u32(IFLA.MASTER, linkIndex(settings.master)));
      const flags = settings.up === true ? IFF_UP : 0;
      const change = settings.up === undefined ? 0 : IFF_UP;
      const header = interfaceHeader(linkIndex(name), flags, change);
      request("RTM_NEWLINK", `link ${name}`, RTM.NEWLINK, 0, [header, ...attributes]);
    },
    deleteLink(name): void {
      try {
        request("RTM_DELLINK", `link ${name}`, RTM.DELLINK, 0, [interfaceHeader(linkIndex(name), 0, 0)]);
      } catch (error) {
        if (!(error instanceof SystemCallError && error.errno === ENODEV)) throw error;
      }
    },
    addAddress(link, address): void {
      addressRequest(RTM.NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, link, address);
    },
    deleteAddress(link, address): void {
      addressRequest(RTM.DELADDR, 0, link, address);
    },
    setRoute(route): void {
      routeRequest(RTM.NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
    },
    deleteRoute(route): void {
      try {
        routeRequest(RTM.DELROUTE, 0, route);
      } catch (error) {
        if (!(error instanceof SystemCallError && (error.errno === ESRCH || error.errno === ENODEV))) throw error;
      }
    },
    addRule(rule): void {
      ruleRequest(RTM.NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
    },
    deleteRule(rule): void {
      ruleRequest(RTM.DELRULE, 0, rule);
    },
    setNeighbour(link, address, mac): void {
      const { family, bytes } = parsedAddress(address);
      const NUD_PERMANENT = 0x80;
      const [NDA_DST, NDA_LLADDR] = [1, 2];
      const header = Buffer.alloc(12);
      header[0] = family;
      header.writeInt32LE(linkIndex(link), 4);
      header.writeUInt16LE(NUD_PERMANENT, 8);
      request("RTM_NEWNEIGH", `neighbour ${address} on ${link}`, RTM.NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, [
        header,
        attribute(NDA_DST, bytes),
        attribute(NDA_LLADDR, parseMac(mac)),
      ]);
    },
    linkIndex,
    listLinks,
    close(): void {
      closeDescriptor(fd);
    },
  };
}
