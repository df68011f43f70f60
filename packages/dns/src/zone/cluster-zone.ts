import {
  type KubernetesObject,
  type LabelRequirement,
  type LabelSelector,
  labelSelectorRequirements,
  parseLabelSelector,
} from "@portolan/core";
import { formatAddress, type IPAddress, parseAddress } from "@portolan/net";
import {
  type DomainName,
  equalNames,
  isWithin,
  joinNames,
  labelsOf,
  nameFromLabels,
  nameFromText,
  nameKey,
  offsetOfZone,
} from "../message/name.ts";
import {
  addressRecord,
  authorityRecord,
  nameRecord,
  type ResourceRecord,
  serviceRecord,
  textRecord,
} from "../message/record.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";
import {
  ClusterIndex,
  type EndpointEntry,
  type PortEntry,
  type ServiceEntry,
  type SliceEntry,
} from "./cluster-index.ts";
import { createExternalZone } from "./external-zone.ts";
import { addressFromPodLabel } from "./pod-name.ts";
import { addressKey, readReverseName, reverseLabels, reverseZonesOfPrefix } from "./reverse-name.ts";

/** What names below `pod.` answer: nothing, any address in any existing namespace, or addresses of live Pods of the namespace only. */
export type PodMode = "disabled" | "insecure" | "verified";

/** Configuration of a zone; names follow the `kubernetes` block of a Corefile. */
export interface ClusterZoneOptions {
  /** The cluster's domain. Default `cluster.local`. */
  readonly domain?: string;
  /**
   * Everything that is served, in order: forward zones, reverse zones, and blocks such as `10.96.0.0/16` for their reverse zones. The first
   * forward zone is the one that reverse names point into. Default: {@link domain}, `in-addr.arpa`, `ip6.arpa`.
   */
  readonly zones?: readonly string[];
  /** Default `disabled`, as CoreDNS. */
  readonly podMode?: PodMode;
  /** Seconds, 0 to 3600. Default 5. */
  readonly ttl?: number;
  /** Namespaces to expose; absent: all. */
  readonly namespaces?: readonly string[];
  /** Namespaces to expose by label; text as in `team=blue,tier in (a,b)`. */
  readonly namespaceLabels?: LabelSelector | string;
  /** Services to know by label. */
  readonly labels?: LabelSelector | string;
  /** Endpoints without a host name are called after their Pod (`endpoint_pod_names`). */
  readonly endpointPodNames?: boolean;
  /** Neither endpoint names nor headless Services (`noendpoints`). */
  readonly noEndpoints?: boolean;
  /** A ClusterIP Service without a ready endpoint does not exist (`ignore empty_service`). */
  readonly ignoreEmptyService?: boolean;
  /** Zones that answer from ServiceImports (KEP-1645). */
  readonly multiclusterZones?: readonly string[];
  /** Zone-aware names of headless Services, `ZONE.pin._zone.SERVICE…` (CoreDNS 1.14.7). */
  readonly zonal?: boolean;
  /** Zones with the addresses by which the world reaches Services (`k8s_external`); `ttl` in seconds, default 5. */
  readonly external?: { readonly zones: readonly string[]; readonly headless?: boolean; readonly ttl?: number };
  /** Addresses that the server itself has, for the NS records. */
  readonly localAddresses?: readonly string[];
  /** Whether every list is complete from the start. Default true; a server that watches begins with false. */
  readonly synced?: boolean;
  /** Milliseconds since 1970, for the serial number. */
  readonly now?: () => number;
}

/** Wrong options of a zone. */
export class ClusterZoneError extends Error {
  override readonly name = "ClusterZoneError";
  readonly code: "zone-name" | "ttl" | "namespaces" | "labels" | "address";

  constructor(code: ClusterZoneError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * What a zone says to a question. Records of the answer have the name as it was asked, letter for letter.
 */
export interface ZoneAnswer {
  /** A response code: NOERROR, NXDOMAIN, REFUSED, or SERVFAIL for a name that is not there before the first lists are complete. */
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
  /** The zone that answered, as it stood in the question. */
  readonly zone: DomainName;
  /** Nothing of that name and, among reverse names, type: what `fallthrough` hands to the next in line. */
  readonly miss: boolean;
  /** The last CNAME points here, out of all zones: resolve it with the question's type and append what comes. */
  readonly chase?: DomainName;
  /** The Service that the whole answer depends on; with {@link ClusterZone.generation} it tells a cache when to forget. */
  readonly source?: { readonly generation: number };
}

/** Cluster DNS as data: objects in, answers out. No I/O, no clock of its own, safe in browsers. */
export interface ClusterZone {
  readonly domain: DomainName;
  /** Served zones, longest first. */
  readonly zones: readonly DomainName[];
  readonly ttl: number;
  readonly podMode: PodMode;
  /**
   * Takes the new state of a Namespace, Service, EndpointSlice, Pod or ServiceImport; `kind` for objects out of a list, which carry none.
   * Atomic; true when answers may differ.
   */
  apply<Type extends KubernetesObject>(object: Type, kind?: string): boolean;
  /** Takes note that an object is gone. */
  remove(object: KubernetesObject, kind?: string): boolean;
  /** Takes a fresh list of one kind: what is not in it is gone. */
  replace(kind: string, objects: readonly KubernetesObject[]): void;
  /** False: names that are not there answer SERVFAIL, not NXDOMAIN (spec of `/ready`). */
  synced: boolean;
  /** Addresses of the server for NS records; a server sets them when it knows them. */
  setLocalAddresses(addresses: readonly string[]): void;
  /** The answer, or undefined when the name is in no served zone. Cost: a few map lookups and the records themselves. */
  answer(name: DomainName, type: number): ZoneAnswer | undefined;
  /** All records of a zone for a transfer, SOA first and last (RFC 5936); undefined when `name` is no zone of ours. */
  transfer(name: DomainName): ResourceRecord[] | undefined;
  /** SOA serial: seconds since 1970 of the last change of content, never going back. */
  readonly serial: number;
  /** Counts changes that make or unmake names. */
  readonly generation: number;
  /** Counts all changes that any answer may show. */
  readonly revision: number;
  /** {@link domain} answers from ServiceImports, not from Services (KEP-1645). */
  readonly imports: boolean;
  /** Names of exposed namespaces, and Services as `namespace/name`. */
  contents(): { readonly namespaces: readonly string[]; readonly services: readonly string[] };
  /**
   * Names that a Service has in {@link domain}, as labels in front of it, the Service's own first; undefined when it does not exist. Names
   * that are not listed may exist below the Service's.
   */
  namesOf(namespace: string, service: string): readonly (readonly string[])[] | undefined;
  /**
   * Calls back at every change that any answer may show: with a Service, with a namespace and an empty name when all of the namespace may
   * have come or gone, with two empty texts for the zone itself, its serial number above all. Returns a function that ends it.
   */
  watch(listener: (namespace: string, service: string) => void): () => void;
  /** Namespace of the live Pod with this address; only with {@link PodMode} `verified`. */
  namespaceOfPod(address: string): string | undefined;
}

/** One thing behind a name: an address or another name, with the port that makes a SRV record of it. */
interface Item {
  readonly address?: IPAddress;
  readonly alias?: DomainName;
  readonly port: number;
  /** Labels of the SRV target in front of the zone. */
  readonly owner: readonly string[];
}

type Found =
  | { readonly kind: "missing" }
  /** The name is there, or something below it is, without data. `shared`: others may know more of it, as of reverse names. */
  | { readonly kind: "empty"; readonly shared?: boolean }
  | {
      readonly kind: "items";
      readonly items: readonly Item[];
      readonly pod?: boolean;
      readonly source?: ServiceEntry;
    };

const missing: Found = { kind: "missing" };
const empty: Found = { kind: "empty" };
const sharedEmpty: Found = { kind: "empty", shared: true };

/** CNAMEs of the zone itself that are followed from a question (CoreDNS plugin/backend_lookup.go). */
const maximumChain = 11;
/** Endpoints of a Service whose own names {@link ClusterZone.namesOf} lists; finding all of them takes time in the square of it. */
const maximumEndpointNames = 64;
const primaryPrefix = nameFromText("ns.dns.");
const mailboxPrefix = nameFromText("hostmaster.");
const schemaVersion = "1.1.0";
const schemaVersionTtl = 28800;

interface ServedZone {
  readonly name: DomainName;
  readonly labels: readonly string[];
  readonly reverse: boolean;
  readonly imported: boolean;
}

function zoneName(text: string): DomainName {
  try {
    return nameFromText(text);
  } catch (error) {
    throw new ClusterZoneError("zone-name", `"${text}" is no zone: ${(error as Error).message}`);
  }
}

function requirements(selector: LabelSelector | string | undefined): readonly LabelRequirement[] | undefined {
  if (selector === undefined) return undefined;
  try {
    return typeof selector === "string" ? parseLabelSelector(selector) : labelSelectorRequirements(selector);
  } catch (error) {
    throw new ClusterZoneError("labels", (error as Error).message);
  }
}

function foldedLabels(name: DomainName): string[] {
  return labelsOf(name).map((label) => nameKey(label));
}

/** The zone (CoreDNS plugin/kubernetes and the Kubernetes DNS specification 1.1.0). Throws {@link ClusterZoneError}. */
export function createClusterZone(options: ClusterZoneOptions = {}): ClusterZone {
  const ttl = options.ttl ?? 5;
  if (!(Number.isInteger(ttl) && ttl >= 0 && ttl <= 3600))
    throw new ClusterZoneError("ttl", `ttl must be a whole number from 0 to 3600, not ${ttl}`);
  if (options.namespaces !== undefined && options.namespaceLabels !== undefined)
    throw new ClusterZoneError("namespaces", "namespaces and namespace_labels exclude each other; drop one");
  const podMode = options.podMode ?? "disabled";
  const now = options.now ?? Date.now;
  const imported = new Set((options.multiclusterZones ?? []).map((zone) => nameKey(zoneName(zone))));
  const texts = options.zones ?? [options.domain ?? "cluster.local", "in-addr.arpa", "ip6.arpa"];
  const names = texts.flatMap((text) => {
    if (!text.includes("/")) return [zoneName(text)];
    const zones = reverseZonesOfPrefix(text);
    if (zones === undefined) throw new ClusterZoneError("zone-name", `"${text}" is no block of addresses`);
    return zones;
  });
  const arpa = [zoneName("in-addr.arpa"), zoneName("ip6.arpa")];
  const served: ServedZone[] = names
    .map((name) => ({
      name,
      labels: foldedLabels(name),
      reverse: arpa.some((zone) => isWithin(name, zone)),
      imported: imported.has(nameKey(name)),
    }))
    .sort((a, b) => b.name.length - a.name.length);
  const domain =
    options.domain !== undefined
      ? zoneName(options.domain)
      : names.find((name) => !served.find((zone) => zone.name === name)!.reverse);
  if (domain === undefined)
    throw new ClusterZoneError("zone-name", "there is no forward zone that reverse names could point into");

  const index = new ClusterIndex({
    namespaces: options.namespaces === undefined ? undefined : new Set(options.namespaces),
    namespaceLabels: requirements(options.namespaceLabels),
    labels: requirements(options.labels),
    podNames: options.endpointPodNames ?? false,
    endpoints: !(options.noEndpoints ?? false),
    pods: podMode === "verified",
    onChange: tell,
  });
  const external =
    options.external === undefined || options.external.zones.length === 0
      ? undefined
      : createExternalZone(
          {
            zones: options.external.zones.map(zoneName),
            headless: options.external.headless ?? false,
            ttl: options.external.ttl ?? 5,
          },
          { index, serial: () => serial, localAddresses: () => localAddresses },
        );
  let localAddresses: IPAddress[] = [];
  let synced = options.synced ?? true;
  let serial = Math.floor(now() / 1000);
  let localGeneration = 0;
  const listeners = new Set<(namespace: string, service: string) => void>();

  function tell(namespace: string, service: string): void {
    for (const listener of listeners) listener(namespace, service);
  }

  function setLocalAddresses(addresses: readonly string[]): void {
    localAddresses = addresses.map((text) => {
      const address = parseAddress(text);
      if (address === undefined) throw new ClusterZoneError("address", `"${text}" is no address`);
      return address;
    });
    localGeneration++;
    tell("", "");
  }
  setLocalAddresses(options.localAddresses ?? []);

  let revision = 0;
  /** Items of headless Services under their own names, until something about them changes. */
  const headless = new WeakMap<ServiceEntry, { generation: number; items: readonly Item[] }>();
  /** Distinct addresses of one family in items that are kept. */
  const distinct = new WeakMap<readonly Item[], { four?: readonly Uint8Array[]; six?: readonly Uint8Array[] }>();

  function distinctAddresses(items: readonly Item[], length: number): readonly Uint8Array[] {
    let known = distinct.get(items);
    if (known === undefined) {
      known = {};
      distinct.set(items, known);
    }
    const family = length === 4 ? "four" : "six";
    let list = known[family];
    if (list === undefined) {
      const byKey = new Map<string, Uint8Array>();
      for (const { address } of items)
        if (address?.bytes.length === length) byKey.set(addressKey(address.bytes), address.bytes);
      list = [...byKey.values()];
      known[family] = list;
    }
    return list;
  }

  function changed(yes: boolean): boolean {
    if (!yes) return false;
    revision++;
    serial = Math.max(serial, Math.floor(now() / 1000));
    tell("", "");
    return true;
  }

  function zoneOf(name: DomainName): { zone: ServedZone; offset: number } | undefined {
    for (const zone of served) {
      const offset = offsetOfZone(name, zone.name);
      if (offset >= 0) return { zone, offset };
    }
    return undefined;
  }

  function endpointOwner(slice: SliceEntry, endpoint: EndpointEntry): string[] {
    const { name, namespace, imported: fromSet } = slice.service;
    const labels = endpoint.label.split(".");
    return fromSet ? [...labels, slice.cluster, name, namespace, "svc"] : [...labels, name, namespace, "svc"];
  }

  function endpointItems(
    service: ServiceEntry,
    accepts: (endpoint: EndpointEntry, slice: SliceEntry) => boolean,
    acceptsPort: (port: PortEntry) => boolean,
  ): Item[] {
    const items: Item[] = [];
    for (const slice of service.slices.values()) {
      for (const endpoint of slice.endpoints) {
        if (!accepts(endpoint, slice)) continue;
        let owner: string[] | undefined;
        for (const port of slice.ports) {
          if (!acceptsPort(port)) continue;
          owner ??= endpointOwner(slice, endpoint);
          if (endpoint.address !== undefined) items.push({ address: endpoint.address, port: port.number, owner });
          else items.push({ alias: endpoint.target!, port: port.number, owner });
        }
      }
    }
    return items;
  }

  function hasReadyEndpoint(service: ServiceEntry): boolean {
    for (const slice of service.slices.values()) if (slice.endpoints.length > 0) return true;
    return false;
  }

  /** `labels` are those in front of `NAMESPACE.svc`, folded, leftmost first, at least one. */
  function findService(labels: readonly string[], namespace: string, fromSet: boolean): Found {
    const service = index.service(namespace, labels.at(-1)!, fromSet);
    if (service === undefined) return missing;
    const extra = labels.length - 1;
    const anyPort = (): boolean => true;
    const found = (items: readonly Item[]): Found =>
      items.length === 0 ? missing : { kind: "items", items, source: service };

    if (service.isExternal) {
      if (extra > 0 || service.externalName === undefined) return missing;
      return found([{ alias: service.externalName, port: -1, owner: [service.name, namespace, "svc"] }]);
    }
    if (options.ignoreEmptyService === true && !service.headless && !hasReadyEndpoint(service)) return missing;

    if (options.zonal === true && extra >= 3 && labels[extra - 1] === "_zone" && !fromSet) {
      const rule = labels[extra - 2];
      if ((rule !== "pin" && rule !== "prefer") || !service.headless) return missing;
      const topologyZone = labels.slice(0, extra - 2).join(".");
      const all = endpointItems(service, () => true, anyPort);
      if (all.length === 0) return missing;
      const near = endpointItems(service, (endpoint) => endpoint.topologyZone === topologyZone, anyPort);
      if (near.length > 0) return found(near);
      return rule === "prefer" ? found(all) : empty;
    }
    if (extra > 2) return missing;
    let acceptsPort = anyPort as (port: PortEntry) => boolean;
    if (extra === 1) {
      const label = labels[0]!;
      if (label === "_tcp" || label === "_udp" || label === "_sctp") {
        const protocol = label.slice(1);
        const ports = service.headless
          ? [...service.slices.values()].filter((s) => s.endpoints.length > 0).flatMap((s) => s.ports)
          : service.ports;
        return ports.some((port) => port.name !== "" && port.protocol === protocol) ? empty : missing;
      }
      if (fromSet) return missing;
      // A label with a dot in it is one label; the dots of a Pod's name separate labels.
      if (label.includes(".")) return missing;
      return found(endpointItems(service, (endpoint) => endpoint.label === label, anyPort));
    }
    if (extra === 2) {
      const [first, second] = labels as [string, string];
      if (fromSet && !first.startsWith("_") && !second.startsWith("_"))
        return found(
          endpointItems(service, (endpoint, slice) => endpoint.label === first && slice.cluster === second, anyPort),
        );
      // Underscores may be missing and an empty word fits everything: clients of CoreDNS have come to rely on it.
      const name = first.startsWith("_") ? first.slice(1) : first;
      const protocol = second.startsWith("_") ? second.slice(1) : second;
      acceptsPort = (port) => (name === "" || port.name === name) && (protocol === "" || port.protocol === protocol);
    }
    if (service.headless) {
      if (extra > 0) return found(endpointItems(service, () => true, acceptsPort));
      let compiled = headless.get(service);
      if (compiled?.generation !== service.generation) {
        compiled = { generation: service.generation, items: endpointItems(service, () => true, anyPort) };
        headless.set(service, compiled);
      }
      return found(compiled.items);
    }
    const owner = [service.name, namespace, "svc"];
    const items: Item[] = [];
    for (const port of service.ports)
      if (acceptsPort(port))
        for (const address of service.clusterIPs) items.push({ address, port: port.number, owner });
    return found(items);
  }

  function findPod(label: string, namespace: string): Found {
    const address = addressFromPodLabel(label);
    if (address === undefined) return missing;
    if (podMode === "verified") {
      const text = label.replaceAll("-", address.family === "IPv4" ? "." : ":");
      if (!index.hasPod(namespace, text)) return missing;
    }
    return { kind: "items", items: [{ address, port: -1, owner: [label, namespace, "pod"] }], pod: true };
  }

  function serverItems(zone: ServedZone): Item[] {
    const items: Item[] = [];
    const seen = new Set<string>();
    const add = (address: IPAddress, owner: readonly string[]): void => {
      const key = `${owner.join(".")} ${formatAddress(address)}`;
      if (seen.has(key)) return;
      seen.add(key);
      items.push({ address, port: -1, owner });
    };
    for (const local of localAddresses) {
      for (const slice of index.slicesAt(local)) {
        const { service } = slice;
        if (!service.exists || service.isExternal) continue;
        if (!service.headless)
          for (const address of service.clusterIPs) add(address, [service.name, service.namespace, "svc"]);
        else
          for (const endpoint of slice.endpoints)
            if (endpoint.address !== undefined && formatAddress(endpoint.address) === formatAddress(local))
              add(local, endpointOwner(slice, endpoint));
      }
    }
    if (items.length === 0 && !zone.reverse) for (const local of localAddresses) add(local, ["ns", "dns"]);
    return items;
  }

  function find(labels: readonly string[], zone: ServedZone): Found {
    const count = labels.length;
    if (count === 0) return empty;
    const last = labels[count - 1]!;
    if (last === "dns") {
      if (count === 1) return empty;
      if (count === 2 && labels[0] === "ns")
        return {
          kind: "items",
          items:
            serverItems(zone).length > 0
              ? serverItems(zone)
              : localAddresses.map((address) => ({ address, port: -1, owner: ["ns", "dns"] })),
          pod: true,
        };
      return missing;
    }
    if (last === "dns-version" && count === 1) return empty;
    if (zone.reverse) {
      if (count === 1 && (last === "svc" || last === "pod")) return empty;
      const reverse = readReverseName([...labels, ...zone.labels]);
      if (reverse === undefined) return missing;
      const known =
        reverse.kind === "address"
          ? pointers(reverse.address).length > 0
          : index.hasAddressWithin(reverse.family, reverse.digits);
      return known ? sharedEmpty : missing;
    }
    if (last !== "svc" && last !== "pod") return missing;
    if (count === 1) return empty;
    const namespace = labels[count - 2]!;
    if (!index.exposes(namespace)) return missing;
    if (last === "pod") {
      if (podMode === "disabled") return missing;
      // Labels further left do not matter, as in CoreDNS.
      return count === 2 ? empty : findPod(labels[count - 3]!, namespace);
    }
    return count === 2 ? empty : findService(labels.slice(0, count - 2), namespace, zone.imported);
  }

  function pointers(address: IPAddress): string[][] {
    for (const service of index.servicesAt(address))
      if (index.exposes(service.namespace)) return [[service.name, service.namespace, "svc"]];
    const owners = new Map<string, string[]>();
    for (const slice of index.slicesAt(address)) {
      if (!index.exposes(slice.service.namespace)) continue;
      for (const endpoint of slice.endpoints) {
        if (endpoint.address === undefined || formatAddress(endpoint.address) !== formatAddress(address)) continue;
        const owner = endpointOwner(slice, endpoint);
        owners.set(owner.join("."), owner);
      }
    }
    // Names that somebody chose come first: peers read their own name from here.
    return [...owners.values()].sort((a, b) => Number(/^[0-9a-f]+-/.test(a[0]!)) - Number(/^[0-9a-f]+-/.test(b[0]!)));
  }

  function qualified(labels: readonly string[], zone: DomainName): DomainName {
    return nameFromLabels([...labels, ...labelsOf(zone)]);
  }

  function authority(zone: DomainName): ResourceRecord {
    return authorityRecord(zone, Math.min(ttl, 300), {
      primary: joinNames(primaryPrefix, zone),
      mailbox: joinNames(mailboxPrefix, zone),
      serial,
      refresh: 7200,
      retry: 1800,
      expire: 86400,
      minimum: ttl,
    });
  }

  /** Address records of items, each address once. */
  function addresses(name: DomainName, items: readonly Item[], type: number): ResourceRecord[] {
    const length = type === recordTypes.A ? 4 : 16;
    const records: ResourceRecord[] = [];
    if (items.length === 1) {
      const { address } = items[0]!;
      if (address?.bytes.length === length) records.push(addressRecord(name, ttl, address.bytes));
      return records;
    }
    for (const bytes of distinctAddresses(items, length)) records.push(addressRecord(name, ttl, bytes));
    return records;
  }

  function services(
    name: DomainName,
    items: readonly Item[],
    zone: DomainName,
  ): { answers: ResourceRecord[]; additionals: ResourceRecord[] } {
    const answers: ResourceRecord[] = [];
    const additionals: ResourceRecord[] = [];
    // The weight counts items before duplicates go (CoreDNS plugin/backend_lookup.go).
    const weight = Math.max(1, Math.floor(100 / items.length));
    const targets = new Map<string, DomainName>();
    const seen = new Set<string>();
    for (const { address, port, owner } of items) {
      if (port < 0 || address === undefined) continue;
      const text = owner.join(".");
      let target = targets.get(text);
      if (target === undefined) {
        target = qualified(owner, zone);
        targets.set(text, target);
      }
      if (!seen.has(`${text}:${port}`)) {
        seen.add(`${text}:${port}`);
        answers.push(serviceRecord(name, ttl, { priority: 0, weight, port, target }));
      }
      const glue = `${text} ${String.fromCharCode(...address.bytes)}`;
      if (!seen.has(glue)) {
        seen.add(glue);
        additionals.push(addressRecord(target, ttl, address.bytes));
      }
    }
    return { answers, additionals };
  }

  /** Follows aliases inside our zones. `out` is where they leave them. */
  function chase(
    name: DomainName,
    type: number,
    first: Extract<Found, { kind: "items" }>,
  ): { answers: ResourceRecord[]; rcode: number; loop: boolean; zone?: DomainName; out?: DomainName } {
    const answers: ResourceRecord[] = [];
    let owner = name;
    let found: Found = first;
    for (let step = 0; ; step++) {
      if (found.kind !== "items") {
        const place = zoneOf(owner)!;
        return {
          answers,
          rcode: found.kind === "missing" ? responseCodes.NXDOMAIN : responseCodes.NOERROR,
          loop: false,
          zone: owner.subarray(place.offset),
        };
      }
      const alias = found.items.find((item) => item.alias !== undefined)?.alias;
      if (alias === undefined) {
        const records = addresses(owner, found.items, type);
        answers.push(...records);
        const place = zoneOf(owner)!;
        return {
          answers,
          rcode: responseCodes.NOERROR,
          loop: false,
          ...(records.length === 0 ? { zone: owner.subarray(place.offset) } : {}),
        };
      }
      // A target at or below its own name, or one that was there before, leads nowhere.
      if (step >= maximumChain || isWithin(alias, owner) || answers.some((record) => equalNames(record.data, alias)))
        return { answers: [], rcode: responseCodes.NOERROR, loop: true };
      answers.push(nameRecord(owner, recordTypes.CNAME, ttl, alias));
      const place = zoneOf(alias);
      if (place === undefined) return { answers, rcode: responseCodes.NOERROR, loop: false, out: alias };
      owner = alias;
      found = find(foldedLabels(alias).slice(0, labelsOf(alias).length - place.zone.labels.length), place.zone);
    }
  }

  function answer(name: DomainName, type: number): ZoneAnswer | undefined {
    const place = zoneOf(name);
    if (place === undefined) return external?.(name, type);
    const { zone, offset } = place;
    const zoneAsAsked = name.subarray(offset);
    const base = {
      rcode: responseCodes.NOERROR as number,
      authoritative: true,
      answers: [] as readonly ResourceRecord[],
      authorities: [] as readonly ResourceRecord[],
      additionals: [] as readonly ResourceRecord[],
      zone: zoneAsAsked,
      miss: false,
    };
    if (type === recordTypes.AXFR || type === recordTypes.IXFR)
      return { ...base, rcode: responseCodes.REFUSED, authoritative: false };
    const noData = (): ZoneAnswer => ({ ...base, authorities: [authority(zoneAsAsked)] });

    if (offset === 0) {
      if (type === recordTypes.SOA) return { ...base, answers: [authority(zoneAsAsked)] };
      if (type === recordTypes.NS) {
        let items: readonly Item[] = serverItems(zone);
        const own = items.length > 0 && items[0]!.owner[0] !== "ns";
        if (items.length === 0) items = localAddresses.map((address) => ({ address, port: -1, owner: ["ns", "dns"] }));
        // The names of the server lie in the forward zone, whatever zone is asked about.
        const home = zone.reverse && own ? domain! : zoneAsAsked;
        const targets = new Map<string, DomainName>();
        for (const { owner } of items)
          if (!targets.has(owner.join("."))) targets.set(owner.join("."), qualified(owner, home));
        if (targets.size === 0) return noData();
        return {
          ...base,
          answers: [...targets.values()].map((target) => nameRecord(name, recordTypes.NS, ttl, target)),
          additionals: items.map(({ owner, address }) =>
            addressRecord(targets.get(owner.join("."))!, ttl, address!.bytes),
          ),
        };
      }
      return noData();
    }

    const labels: string[] = [];
    for (let at = 0; at < offset; at += 1 + name[at]!) labels.push(nameKey(name, at + 1, at + 1 + name[at]!));

    if (labels.length === 1 && labels[0] === "dns-version" && type === recordTypes.TXT)
      return { ...base, answers: [textRecord(name, recordTypes.TXT, schemaVersionTtl, [schemaVersion])] };
    if (zone.reverse && type === recordTypes.PTR) {
      const reverse = readReverseName([...labels, ...zone.labels]);
      if (reverse?.kind === "address") {
        const owners = pointers(reverse.address);
        if (owners.length > 0)
          return {
            ...base,
            answers: owners.map((owner) => nameRecord(name, recordTypes.PTR, ttl, qualified(owner, domain!))),
          };
      }
    }

    const found = find(labels, zone);
    if (found.kind === "missing") {
      if (!synced) return { ...noData(), rcode: responseCodes.SERVFAIL, miss: true };
      return { ...noData(), rcode: responseCodes.NXDOMAIN, miss: true };
    }
    if (found.kind === "empty") return found.shared === true ? { ...noData(), miss: true } : noData();
    const source = found.source === undefined ? {} : { source: found.source };
    const alias = found.items.find((item) => item.alias !== undefined)?.alias;
    if (alias !== undefined) {
      if (type === recordTypes.CNAME) return { ...base, ...source, answers: [nameRecord(name, type, ttl, alias)] };
      if (type !== recordTypes.A && type !== recordTypes.AAAA) return { ...noData(), ...source };
      const { answers, rcode, loop, zone: negative, out } = chase(name, type, found);
      if (loop) return noData();
      if (out !== undefined) return { ...base, answers, chase: out };
      const final = rcode === responseCodes.NXDOMAIN && !synced ? responseCodes.SERVFAIL : rcode;
      return { ...base, answers, rcode: final, authorities: negative === undefined ? [] : [authority(negative)] };
    }
    if (type === recordTypes.A || type === recordTypes.AAAA) {
      const answers = addresses(name, found.items, type);
      return answers.length === 0 ? { ...noData(), ...source } : { ...base, ...source, answers };
    }
    if (type === recordTypes.SRV && found.pod !== true) {
      const records = services(name, found.items, zoneAsAsked);
      return records.answers.length === 0 ? { ...noData(), ...source } : { ...base, ...source, ...records };
    }
    return { ...noData(), ...source };
  }

  function namesOf(namespace: string, name: string): readonly (readonly string[])[] | undefined {
    const service = index.service(namespace, name, false);
    if (service === undefined || !index.exposes(namespace)) return undefined;
    const own = [name, namespace, "svc"];
    const names = new Map<string, readonly string[]>();
    const add = (...labels: readonly string[]): void => {
      names.set(labels.join("."), [...labels, ...own]);
    };
    add();
    if (service.isExternal) return [...names.values()];
    const slices = [...service.slices.values()];
    for (const port of service.headless ? slices.flatMap(({ ports }) => ports) : service.ports) {
      if (port.name === "") continue;
      add(`_${port.protocol}`);
      add(`_${port.name}`, `_${port.protocol}`);
    }
    const endpoints = service.headless ? slices.flatMap(({ endpoints: some }) => some) : [];
    if (endpoints.length <= maximumEndpointNames)
      for (const { label } of endpoints) if (!label.includes(".")) add(label);
    return [...names.values()];
  }

  function transfer(name: DomainName): ResourceRecord[] | undefined {
    const place = zoneOf(name);
    if (place === undefined || place.offset !== 0) return undefined;
    const { zone } = place;
    const soa = authority(name);
    const records: ResourceRecord[] = [];
    const seen = new Set<string>();
    const add = (record: ResourceRecord): void => {
      const key = `${nameKey(record.name)} ${String.fromCharCode(record.type, ...record.data)}`;
      if (seen.has(key)) return;
      seen.add(key);
      records.push(record);
    };
    const servers = answer(name, recordTypes.NS)!;
    for (const record of servers.answers) add(record);
    for (const record of servers.additionals) if (isWithin(record.name, name)) add(record);
    if (zone.reverse) {
      for (const address of index.allAddresses(zone.labels)) {
        const owner = nameFromLabels(
          reverseLabels(address).concat(address.family === "IPv4" ? "in-addr" : "ip6", "arpa"),
        );
        for (const target of pointers(address))
          add(nameRecord(owner, recordTypes.PTR, ttl, qualified(target, domain!)));
      }
      return [soa, ...records, soa];
    }
    const portName = (port: PortEntry, base: DomainName): DomainName =>
      qualified([`_${port.name}`, `_${port.protocol}`], base);
    for (const service of index.allServices()) {
      if (!index.exposes(service.namespace)) continue;
      const base = qualified([service.name, service.namespace, "svc"], name);
      if (service.isExternal) {
        if (service.externalName !== undefined) add(nameRecord(base, recordTypes.CNAME, ttl, service.externalName));
        continue;
      }
      if (!service.headless) {
        for (const { bytes } of service.clusterIPs) add(addressRecord(base, ttl, bytes));
        for (const port of service.ports) {
          if (port.number < 0) continue;
          const data = { priority: 0, weight: 100, port: port.number, target: base };
          add(serviceRecord(base, ttl, data));
          if (port.name !== "") add(serviceRecord(portName(port, base), ttl, data));
        }
        continue;
      }
      for (const slice of service.slices.values()) {
        const weight = Math.max(1, Math.floor(100 / Math.max(1, slice.endpoints.length)));
        for (const endpoint of slice.endpoints) {
          const target = qualified(endpointOwner(slice, endpoint), name);
          if (endpoint.address === undefined) {
            add(nameRecord(target, recordTypes.CNAME, ttl, endpoint.target!));
            continue;
          }
          add(addressRecord(base, ttl, endpoint.address.bytes));
          add(addressRecord(target, ttl, endpoint.address.bytes));
          for (const port of slice.ports)
            if (port.name !== "" && port.number >= 0)
              add(serviceRecord(portName(port, base), ttl, { priority: 0, weight, port: port.number, target }));
        }
      }
    }
    return [soa, ...records, soa];
  }

  return {
    domain,
    zones: [...served.map(({ name }) => name), ...(options.external?.zones ?? []).map(zoneName)],
    ttl,
    podMode,
    apply: (object, kind) => changed(index.apply(object, kind)),
    remove: (object, kind) =>
      changed(index.remove(kind ?? object.kind ?? "", object.metadata?.namespace ?? "", object.metadata?.name ?? "")),
    replace(kind, objects) {
      const kept = new Set(objects.map(({ metadata }) => `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`));
      let any = false;
      for (const key of index.known(kind)) {
        if (kept.has(key)) continue;
        const slash = key.indexOf("/");
        any = index.remove(kind, key.slice(0, slash), key.slice(slash + 1)) || any;
      }
      for (const object of objects) any = index.apply(object, kind) || any;
      changed(any);
    },
    get synced() {
      return synced;
    },
    set synced(value) {
      synced = value;
      localGeneration++;
      tell("", "");
    },
    setLocalAddresses,
    answer,
    transfer,
    imports: imported.has(nameKey(domain)),
    contents: () => ({
      namespaces: index.exposedNamespaces(),
      services: index.allServices().map(({ namespace, name }) => `${namespace}/${name}`),
    }),
    namesOf,
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    get serial() {
      return serial;
    },
    get revision() {
      return revision + localGeneration;
    },
    get generation() {
      return index.generation + localGeneration;
    },
    namespaceOfPod: (address) => {
      const parsed = parseAddress(address);
      return parsed === undefined ? undefined : index.namespaceOfPod(formatAddress(parsed));
    },
  };
}
