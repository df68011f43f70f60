import type { IPAddress } from "@portolan/net";
import { type DomainName, labelsOf, nameFromLabels, nameKey, offsetOfZone } from "../message/name.ts";
import { addressRecord, authorityRecord, nameRecord, type ResourceRecord, serviceRecord } from "../message/record.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";
import type { ClusterIndex, EndpointEntry, PortEntry, ServiceEntry } from "./cluster-index.ts";
import type { ZoneAnswer } from "./cluster-zone.ts";
import { readReverseName } from "./reverse-name.ts";

/** Options of an external zone (CoreDNS plugin/k8s_external). */
export interface ExternalZoneOptions {
  /** Zones in which `SERVICE.NAMESPACE` has the addresses by which the world reaches it. Reverse zones point into the first. */
  readonly zones: readonly DomainName[];
  /** Headless Services answer with their endpoints. */
  readonly headless: boolean;
  /** Seconds. */
  readonly ttl: number;
}

/** What an external zone needs of the cluster's. */
export interface ExternalZoneContext {
  readonly index: ClusterIndex;
  readonly serial: () => number;
  readonly localAddresses: () => readonly IPAddress[];
}

interface Item {
  readonly address?: IPAddress;
  readonly host?: DomainName;
  readonly port: number;
  readonly owner: readonly string[];
}

/** Answers for external addresses, host names of load balancers, and on demand headless endpoints; undefined outside its zones. */
export type ExternalZone = (name: DomainName, type: number) => ZoneAnswer | undefined;

/** Creates the zone over an index that somebody else feeds. */
export function createExternalZone(options: ExternalZoneOptions, context: ExternalZoneContext): ExternalZone {
  const { headless, ttl } = options;
  const zones = [...options.zones].sort((a, b) => b.length - a.length);
  const home = options.zones[0]!;

  function items(labels: readonly string[]): Item[] | "empty" | "missing" {
    const namespace = labels.at(-1)!;
    if (!context.index.exposes(namespace)) return "missing";
    if (labels.length === 1) return "empty";
    const service = context.index.service(namespace, labels.at(-2)!, false);
    const extra = labels.length - 2;
    if (service === undefined || extra > 2) return "missing";
    const bare = (label: string): string => label.replace(/^_/, "");
    const endpoint = extra === 1 ? bare(labels[0]!) : "";
    const [portName, protocol] = extra === 2 ? [bare(labels[0]!), bare(labels[1]!)] : ["", ""];
    const fits = (port: PortEntry): boolean =>
      (portName === "" || port.name === portName) && (protocol === "" || port.protocol === protocol);
    const list: Item[] = [];
    const hasExternal = service.externalAddresses.length > 0 || service.externalHosts.length > 0;
    if (headless && !hasExternal && (service.headless || endpoint !== "")) {
      for (const slice of service.slices.values())
        for (const one of slice.endpoints)
          if (endpoint === "" || one.label === endpoint) addEndpoint(list, service, one, slice.ports.filter(fits));
    } else if (extra !== 1) {
      const owner = [service.name, namespace];
      for (const port of service.ports.filter(fits)) {
        for (const address of service.externalAddresses) list.push({ address, port: port.number, owner });
        for (const host of service.externalHosts) list.push({ host, port: port.number, owner });
      }
    }
    return list.length === 0 ? "missing" : list;
  }

  function addEndpoint(
    list: Item[],
    service: ServiceEntry,
    endpoint: EndpointEntry,
    ports: readonly PortEntry[],
  ): void {
    if (endpoint.address === undefined) return;
    const owner = [...endpoint.label.split("."), service.name, service.namespace];
    for (const port of ports) list.push({ address: endpoint.address, port: port.number, owner });
  }

  return (name, type) => {
    const origin = zones.find((zone) => offsetOfZone(name, zone) >= 0);
    if (origin === undefined) return undefined;
    const zone = name.subarray(offsetOfZone(name, origin));
    const base = {
      rcode: responseCodes.NOERROR as number,
      authoritative: true,
      answers: [] as readonly ResourceRecord[],
      authorities: [] as readonly ResourceRecord[],
      additionals: [] as readonly ResourceRecord[],
      zone,
      miss: false,
    };
    const qualified = (labels: readonly string[], below: DomainName = zone): DomainName =>
      nameFromLabels([...labels, ...labelsOf(below)]);
    const authority = authorityRecord(zone, ttl, {
      primary: qualified(["ns1", "dns"]),
      mailbox: qualified(["hostmaster", "dns"]),
      serial: context.serial(),
      refresh: 7200,
      retry: 1800,
      expire: 86400,
      minimum: ttl,
    });
    const noData: ZoneAnswer = { ...base, authorities: [authority] };
    const missing: ZoneAnswer = { ...noData, rcode: responseCodes.NXDOMAIN, miss: true };
    const serverAddresses = (owner: DomainName): ResourceRecord[] =>
      context.localAddresses().map(({ bytes }) => addressRecord(owner, ttl, bytes));

    const labels: string[] = [];
    for (let at = 0; at < name.length - zone.length; at += 1 + name[at]!)
      labels.push(nameKey(name, at + 1, at + 1 + name[at]!));
    if (labels.length === 0) {
      if (type === recordTypes.SOA) return { ...base, answers: [authority] };
      const server = qualified(["ns1", "dns"]);
      if (type === recordTypes.NS)
        return {
          ...base,
          answers: [nameRecord(name, recordTypes.NS, ttl, server)],
          additionals: serverAddresses(server),
        };
      return noData;
    }
    if (labels.at(-1) === "dns") {
      if (labels.length === 1) return noData;
      if (labels.length > 2 || labels[0] !== "ns1") return missing;
      const answers = serverAddresses(name).filter((record) => record.type === type);
      return answers.length === 0 ? noData : { ...base, answers };
    }
    const reverse = readReverseName([...labels, ...labelsOf(origin).map((label) => nameKey(label))]);
    if (reverse?.kind === "address") {
      const owners = context.index.externalOwners(reverse.address);
      if (owners.length === 0) return missing;
      if (type !== recordTypes.PTR) return noData;
      return {
        ...base,
        answers: owners.map((owner) => nameRecord(name, type, ttl, qualified([owner.name, owner.namespace], home))),
      };
    }
    const found = items(labels);
    if (found === "missing") return missing;
    if (found === "empty") return noData;
    if (type === recordTypes.A || type === recordTypes.AAAA) {
      const length = type === recordTypes.A ? 4 : 16;
      const answers: ResourceRecord[] = [];
      const seen = new Set<string>();
      for (const { address, host } of found) {
        const key = String.fromCharCode(...(address?.bytes ?? host!));
        if (seen.has(key) || (address !== undefined && address.bytes.length !== length)) continue;
        seen.add(key);
        answers.push(
          address !== undefined
            ? addressRecord(name, ttl, address.bytes)
            : nameRecord(name, recordTypes.CNAME, ttl, host!),
        );
      }
      if (answers.length === 0) return noData;
      // An alias cannot stand beside other records (RFC 1034 3.6.2).
      const alias = answers.find((record) => record.type === recordTypes.CNAME);
      const addresses = answers.filter((record) => record.type === type);
      if (alias === undefined || addresses.length > 0) return { ...base, answers: addresses };
      return { ...base, answers: [alias], chase: alias.data };
    }
    if (type === recordTypes.SRV) {
      const weight = Math.max(1, Math.floor(100 / found.length));
      const answers = new Map<string, ResourceRecord>();
      const additionals = new Map<string, ResourceRecord>();
      for (const { address, host, port, owner } of found) {
        if (port < 0) continue;
        const target = host ?? qualified(owner);
        answers.set(`${nameKey(target)} ${port}`, serviceRecord(name, ttl, { priority: 0, weight, port, target }));
        if (address !== undefined)
          additionals.set(
            `${nameKey(target)} ${String.fromCharCode(...address.bytes)}`,
            addressRecord(target, ttl, address.bytes),
          );
      }
      return answers.size === 0
        ? noData
        : { ...base, answers: [...answers.values()], additionals: [...additionals.values()] };
    }
    return noData;
  };
}
