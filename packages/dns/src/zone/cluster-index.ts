import {
  type EndpointSlice,
  type KubernetesObject,
  type LabelRequirement,
  matchLabelRequirements,
  type Namespace,
  type Pod,
  type Service,
} from "@portolan/core";
import { equalAddresses, formatAddress, type IPAddress, parseAddress } from "@portolan/net";
import { type DomainName, nameFromText } from "../message/name.ts";
import { labelFromAddress } from "./pod-name.ts";
import { addressKey, reverseLabels } from "./reverse-name.ts";

/** A port as DNS sees it. `number` -1: the object has none, so no SRV record comes of it. */
export interface PortEntry {
  /** Lower case; empty for an unnamed port. */
  readonly name: string;
  /** Lower case. */
  readonly protocol: string;
  readonly number: number;
}

/** One ready address of a slice. */
export interface EndpointEntry {
  /** First label of the endpoint's name. With `podNames` it may contain dots, which then separate labels. */
  readonly label: string;
  /** Absent for slices of type FQDN. */
  readonly address?: IPAddress;
  /** Of slices of type FQDN. */
  readonly target?: DomainName;
  readonly topologyZone: string;
}

/** One EndpointSlice, reduced to its ready endpoints. */
export interface SliceEntry {
  readonly key: string;
  readonly service: ServiceEntry;
  readonly endpoints: readonly EndpointEntry[];
  readonly ports: readonly PortEntry[];
  /** Cluster that a slice was imported from (KEP-1645); empty for slices of this cluster. */
  readonly cluster: string;
  /** Whether its addresses have reverse names: not without the name of a Service, and not when imported. */
  readonly named: boolean;
}

/** A Service, or a name that slices speak of without there being a Service. */
export interface ServiceEntry {
  readonly namespace: string;
  readonly name: string;
  /** Imported from a cluster set (KEP-1645). */
  readonly imported: boolean;
  exists: boolean;
  externalName: DomainName | undefined;
  /** Type ExternalName. When its target is no host name (an IP literal), `externalName` is absent and the name does not exist. */
  isExternal: boolean;
  headless: boolean;
  clusterIPs: readonly IPAddress[];
  ports: readonly PortEntry[];
  /** Addresses of the load balancer, host names of it, and external IPs, for the external zone. */
  externalAddresses: readonly IPAddress[];
  externalHosts: readonly DomainName[];
  readonly slices: Map<string, SliceEntry>;
  /** Counts changes of this Service and its slices. */
  generation: number;
}

interface NamespaceEntry {
  exposed: boolean;
}

/** What of the configuration the index needs. */
export interface ClusterIndexOptions {
  readonly namespaces: ReadonlySet<string> | undefined;
  readonly namespaceLabels: readonly LabelRequirement[] | undefined;
  readonly labels: readonly LabelRequirement[] | undefined;
  readonly podNames: boolean;
  readonly endpoints: boolean;
  readonly pods: boolean;
  /** Told which Service, or which namespace as a whole (`name` empty), may have other names or answers than before. */
  readonly onChange?: (namespace: string, name: string) => void;
}

const serviceNameLabel = "kubernetes.io/service-name";
const importedServiceNameLabel = "multicluster.kubernetes.io/service-name";
const sourceClusterLabel = "multicluster.kubernetes.io/source-cluster";
const unnumbered: readonly PortEntry[] = [{ name: "", protocol: "", number: -1 }];

/** A `ServiceImport` (KEP-1645), as far as DNS reads it. */
interface ServiceImport extends KubernetesObject {
  spec?: {
    type?: "ClusterSetIP" | "Headless";
    ips?: string[];
    ports?: { name?: string; protocol?: string; port: number }[];
  };
}

function addressesOf(texts: readonly (string | undefined)[]): IPAddress[] {
  return texts
    .map((text) => (text === undefined || text === "None" ? undefined : parseAddress(text)))
    .filter((address) => address !== undefined);
}

function hostName(text: string | undefined): DomainName | undefined {
  if (text === undefined || text === "" || text === "." || parseAddress(text.replace(/\.$/, "")) !== undefined)
    return undefined;
  try {
    return nameFromText(text);
  } catch {
    return undefined;
  }
}

function portsOf(
  ports: readonly { name?: string | null; protocol?: string | null; port?: number | null }[] | null | undefined,
): readonly PortEntry[] {
  if (ports === null || ports === undefined || ports.length === 0) return unnumbered;
  return ports.map(({ name, protocol, port }) => ({
    name: (name ?? "").toLowerCase(),
    protocol: (protocol ?? "TCP").toLowerCase(),
    number: port ?? -1,
  }));
}

/** An entry of one address: nearly always one, so no list is made for it. */
type Many<T> = T | T[];

function addTo<T extends object>(map: Map<string, Many<T>>, key: string, value: T): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, value);
  else if (Array.isArray(known)) known.push(value);
  else map.set(key, [known, value]);
}

function removeFrom<T extends object>(map: Map<string, Many<T>>, key: string, value: T): void {
  const known = map.get(key);
  if (known === value) map.delete(key);
  else if (Array.isArray(known)) {
    const index = known.indexOf(value);
    if (index >= 0) known.splice(index, 1);
    if (known.length === 0) map.delete(key);
  }
}

function listOf<T extends object>(many: Many<T> | undefined): readonly T[] {
  return many === undefined ? [] : Array.isArray(many) ? many : [many];
}

/** The objects of a cluster in the shape that questions come in. Every lookup is a few map accesses; every event touches its own entries only. */
export class ClusterIndex {
  private readonly options: ClusterIndexOptions;
  private readonly namespaces = new Map<string, NamespaceEntry>();
  private readonly services = new Map<string, ServiceEntry>();
  private readonly imports = new Map<string, ServiceEntry>();
  private readonly servicesByAddress = new Map<string, Many<ServiceEntry>>();
  private readonly slices = new Map<string, SliceEntry>();
  private readonly slicesByAddress = new Map<string, Many<SliceEntry>>();
  private readonly pods = new Map<string, { namespace: string; address: string }>();
  private readonly podsByAddress = new Map<string, Set<string>>();
  private sortedAddresses: string[] | undefined;
  /** Counts changes of namespaces, of the set of Services, and of anything else that makes or unmakes names. */
  generation = 0;

  constructor(options: ClusterIndexOptions) {
    this.options = options;
  }

  /** Takes in the new state of an object. True when DNS content may have changed. Objects of other kinds are ignored. */
  apply(object: KubernetesObject, kind: string | undefined = object.kind): boolean {
    switch (kind) {
      case "Namespace":
        return this.applyNamespace(object as Namespace);
      case "Service":
        return this.applyService(object as Service);
      case "EndpointSlice":
        return this.applySlice(object as EndpointSlice);
      case "Pod":
        return this.applyPod(object as Pod);
      case "ServiceImport":
        return this.applyServiceImport(object as ServiceImport);
      default:
        return false;
    }
  }

  /** Forgets an object. Unknown ones are ignored. */
  remove(kind: string, namespace: string, name: string): boolean {
    const key = `${namespace}/${name}`;
    switch (kind) {
      case "Namespace": {
        this.generation++;
        this.options.onChange?.(name, "");
        return this.namespaces.delete(name);
      }
      case "Service":
        return this.removeService(this.services.get(key));
      case "ServiceImport":
        return this.removeService(this.imports.get(key));
      case "EndpointSlice":
        return this.removeSlice(key);
      case "Pod":
        return this.removePod(key);
      default:
        return false;
    }
  }

  /** Names of known objects of a kind as `namespace/name`, for replacing a list. */
  known(kind: string): string[] {
    switch (kind) {
      case "Namespace":
        return [...this.namespaces.keys()].map((name) => `/${name}`);
      case "Service":
        return [...this.services].filter(([, { exists }]) => exists).map(([key]) => key);
      case "ServiceImport":
        return [...this.imports].filter(([, { exists }]) => exists).map(([key]) => key);
      case "EndpointSlice":
        return [...this.slices.keys()];
      case "Pod":
        return [...this.pods.keys()];
      default:
        return [];
    }
  }

  /** Whether names of a namespace may be answered. */
  exposes(namespace: string): boolean {
    return this.namespaces.get(namespace)?.exposed === true;
  }

  /** The Service, or ServiceImport, of a name; undefined when there is none. */
  service(namespace: string, name: string, imported: boolean): ServiceEntry | undefined {
    const entry = (imported ? this.imports : this.services).get(`${namespace}/${name}`);
    return entry?.exists === true ? entry : undefined;
  }

  /** Names of exposed namespaces. */
  exposedNamespaces(): string[] {
    return [...this.namespaces].filter(([, { exposed }]) => exposed).map(([name]) => name);
  }

  /** Services in the order of their names, for transfers. */
  allServices(): ServiceEntry[] {
    return [...this.services.values()]
      .filter((entry) => entry.exists)
      .sort((a, b) => (a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.name < b.name ? -1 : 1));
  }

  servicesAt(address: IPAddress): readonly ServiceEntry[] {
    return listOf(this.servicesByAddress.get(addressKey(address.bytes)));
  }

  slicesAt(address: IPAddress): readonly SliceEntry[] {
    return listOf(this.slicesByAddress.get(addressKey(address.bytes)));
  }

  /** Services of exposed namespaces that the world reaches at an address. Looks at every Service: external addresses are few and asked for rarely. */
  externalOwners(address: IPAddress): ServiceEntry[] {
    return this.allServices().filter(
      (service) =>
        this.exposes(service.namespace) &&
        service.externalAddresses.some((external) => equalAddresses(external, address)),
    );
  }

  /** Whether a live pod with this address, given in canonical text, is in the namespace. */
  hasPod(namespace: string, address: string): boolean {
    for (const key of this.podsByAddress.get(address) ?? [])
      if (this.pods.get(key)?.namespace === namespace) return true;
    return false;
  }

  /** The namespace of the pod with this address, given in canonical text. */
  namespaceOfPod(address: string): string | undefined {
    for (const key of this.podsByAddress.get(address) ?? []) return this.pods.get(key)?.namespace;
    return undefined;
  }

  /** Whether some known address of the family starts with these bits. */
  hasAddressWithin(family: "IPv4" | "IPv6", digits: readonly string[]): boolean {
    // The list is made on the first such question and kept in order from then on.
    this.sortedAddresses ??= [...new Set([...this.servicesByAddress.keys(), ...this.slicesByAddress.keys()])].sort();
    const octets = family === "IPv4" ? digits.length : digits.length >> 1;
    let start = "";
    for (let index = 0; index < octets; index++)
      start += String.fromCharCode(
        family === "IPv4" ? Number(digits[index]) : Number.parseInt(digits[2 * index]! + digits[2 * index + 1]!, 16),
      );
    const half = family === "IPv6" && digits.length % 2 === 1 ? Number.parseInt(digits.at(-1)!, 16) : -1;
    const length = family === "IPv4" ? 4 : 16;
    const list = this.sortedAddresses;
    const from = half < 0 ? start : start + String.fromCharCode(half << 4);
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle]! < from) low = middle + 1;
      else high = middle;
    }
    for (; low < list.length && list[low]!.startsWith(start); low++) {
      if (half >= 0 && list[low]!.charCodeAt(octets) >> 4 !== half) return false;
      if (list[low]!.length === length) return true;
    }
    return false;
  }

  /** Every address of a Service or an endpoint whose reverse name lies in a zone, given by its labels. */
  allAddresses(zone: readonly string[]): IPAddress[] {
    const keys = [...new Set([...this.servicesByAddress.keys(), ...this.slicesByAddress.keys()])].sort();
    return keys
      .map((key): IPAddress => {
        const bytes = Uint8Array.from(key, (character) => character.charCodeAt(0));
        return { family: bytes.length === 4 ? "IPv4" : "IPv6", bytes };
      })
      .filter((address) => {
        const labels = [...reverseLabels(address), address.family === "IPv4" ? "in-addr" : "ip6", "arpa"];
        return zone.every((label, index) => labels[labels.length - zone.length + index] === label);
      });
  }

  private noteAddress(key: string): void {
    const list = this.sortedAddresses;
    if (list === undefined) return;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle]! < key) low = middle + 1;
      else high = middle;
    }
    const known = this.servicesByAddress.has(key) || this.slicesByAddress.has(key);
    if (known && list[low] !== key) list.splice(low, 0, key);
    else if (!known && list[low] === key) list.splice(low, 1);
  }

  private applyNamespace(namespace: Namespace): boolean {
    const name = namespace.metadata?.name ?? "";
    const { namespaces, namespaceLabels } = this.options;
    const exposed =
      (namespaces === undefined || namespaces.has(name)) &&
      (namespaceLabels === undefined || matchLabelRequirements(namespaceLabels, namespace.metadata?.labels));
    const known = this.namespaces.get(name);
    if (known?.exposed === exposed) return false;
    this.namespaces.set(name, { exposed });
    this.generation++;
    this.options.onChange?.(name, "");
    return true;
  }

  private entry(namespace: string, name: string, imported: boolean): ServiceEntry {
    const key = `${namespace}/${name}`;
    const services = imported ? this.imports : this.services;
    let entry = services.get(key);
    if (entry === undefined) {
      entry = {
        namespace,
        name,
        imported,
        exists: false,
        externalName: undefined,
        isExternal: false,
        headless: false,
        clusterIPs: [],
        ports: [],
        externalAddresses: [],
        externalHosts: [],
        slices: new Map(),
        generation: 0,
      };
      services.set(key, entry);
    }
    return entry;
  }

  private setClusterIPs(entry: ServiceEntry, addresses: readonly IPAddress[]): void {
    for (const address of entry.clusterIPs) {
      const key = addressKey(address.bytes);
      removeFrom(this.servicesByAddress, key, entry);
      this.noteAddress(key);
    }
    entry.clusterIPs = addresses;
    for (const address of addresses) {
      const key = addressKey(address.bytes);
      addTo(this.servicesByAddress, key, entry);
      this.noteAddress(key);
    }
  }

  private applyService(service: Service): boolean {
    const name = service.metadata?.name ?? "";
    const namespace = service.metadata?.namespace ?? "";
    if (this.options.labels !== undefined && !matchLabelRequirements(this.options.labels, service.metadata?.labels))
      return this.removeService(this.services.get(`${namespace}/${name}`));
    const entry = this.entry(namespace, name, false);
    const spec = service.spec ?? {};
    const isNew = !entry.exists;
    const before = isNew ? "" : serviceContent(entry);
    entry.exists = true;
    entry.isExternal = spec.type === "ExternalName";
    entry.externalName = entry.isExternal ? hostName(spec.externalName) : undefined;
    const clusterIPs = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]);
    entry.headless = !entry.isExternal && clusterIPs[0] === "None";
    this.setClusterIPs(entry, entry.isExternal ? [] : addressesOf(clusterIPs));
    entry.ports = portsOf(spec.ports);
    const ingress = service.status?.loadBalancer?.ingress ?? [];
    entry.externalAddresses = addressesOf([...(spec.externalIPs ?? []), ...ingress.map(({ ip }) => ip)]);
    entry.externalHosts = ingress.map(({ hostname }) => hostName(hostname)).filter((host) => host !== undefined);
    if (isNew) this.generation++;
    else if (before === serviceContent(entry)) return false;
    this.touch(entry);
    return true;
  }

  private applyServiceImport(service: ServiceImport): boolean {
    const entry = this.entry(service.metadata?.namespace ?? "", service.metadata?.name ?? "", true);
    const isNew = !entry.exists;
    entry.exists = true;
    entry.headless = service.spec?.type === "Headless";
    // An imported address belongs to the cluster set, and its reverse name to whoever serves that.
    entry.clusterIPs = addressesOf(service.spec?.ips ?? []);
    entry.ports = portsOf(service.spec?.ports);
    if (isNew) this.generation++;
    this.touch(entry);
    return true;
  }

  private removeService(entry: ServiceEntry | undefined): boolean {
    if (entry === undefined || !entry.exists) return false;
    entry.exists = false;
    if (entry.imported) entry.clusterIPs = [];
    else this.setClusterIPs(entry, []);
    this.touch(entry);
    this.generation++;
    this.forget(entry);
    return true;
  }

  private touch(entry: ServiceEntry): void {
    entry.generation++;
    if (!entry.imported) this.options.onChange?.(entry.namespace, entry.name);
  }

  private forget(entry: ServiceEntry): void {
    if (entry.exists || entry.slices.size > 0) return;
    (entry.imported ? this.imports : this.services).delete(`${entry.namespace}/${entry.name}`);
  }

  private applySlice(slice: EndpointSlice): boolean {
    if (!this.options.endpoints) return false;
    const namespace = slice.metadata?.namespace ?? "";
    const key = `${namespace}/${slice.metadata?.name ?? ""}`;
    const labels = slice.metadata?.labels ?? {};
    const importedName = labels[importedServiceNameLabel];
    const name = importedName ?? labels[serviceNameLabel] ?? "";
    const before = this.slices.get(key);
    const service = this.entry(namespace, name, importedName !== undefined);
    const endpoints: EndpointEntry[] = [];
    for (const endpoint of slice.endpoints ?? []) {
      // Absent means ready; serving and terminating do not matter (CoreDNS plugin/kubernetes/object/endpoint.go).
      if (endpoint.conditions?.ready === false) continue;
      for (const text of endpoint.addresses ?? []) {
        const podName = this.options.podNames ? endpoint.targetRef?.name : undefined;
        const topologyZone = (endpoint.zone ?? "").toLowerCase();
        const own = endpoint.hostname || (podName !== undefined && podName.length < 64 ? podName : "");
        if (slice.addressType === "FQDN") {
          const target = hostName(text);
          if (target !== undefined) endpoints.push({ label: own || text.replaceAll(".", "-"), target, topologyZone });
          continue;
        }
        const address = parseAddress(text);
        if (address === undefined || address.family !== slice.addressType) continue;
        endpoints.push({ label: (own || labelFromAddress(address)).toLowerCase(), address, topologyZone });
      }
    }
    const entry: SliceEntry = {
      key,
      service,
      endpoints,
      ports: portsOf(slice.ports),
      cluster: (labels[sourceClusterLabel] ?? "").toLowerCase(),
      named: name !== "" && importedName === undefined,
    };
    if (before !== undefined && before.service === service && sameSlice(before, entry)) return false;
    if (before !== undefined) this.dropSlice(before);
    this.slices.set(key, entry);
    service.slices.set(key, entry);
    this.touch(service);
    if (entry.named)
      for (const address of distinctAddresses(entry)) {
        addTo(this.slicesByAddress, address, entry);
        this.noteAddress(address);
      }
    // Slices of another name may have been the only thing that kept that name.
    if (before !== undefined && before.service !== service) this.generation++;
    return true;
  }

  private dropSlice(slice: SliceEntry): void {
    this.slices.delete(slice.key);
    slice.service.slices.delete(slice.key);
    this.touch(slice.service);
    if (slice.named)
      for (const address of distinctAddresses(slice)) {
        removeFrom(this.slicesByAddress, address, slice);
        this.noteAddress(address);
      }
    this.forget(slice.service);
  }

  private removeSlice(key: string): boolean {
    const slice = this.slices.get(key);
    if (slice === undefined) return false;
    this.dropSlice(slice);
    return true;
  }

  private applyPod(pod: Pod): boolean {
    if (!this.options.pods) return false;
    const namespace = pod.metadata?.namespace ?? "";
    const key = `${namespace}/${pod.metadata?.name ?? ""}`;
    const phase = pod.status?.phase;
    const address = pod.status?.podIP === undefined ? undefined : parseAddress(pod.status.podIP);
    const live =
      address !== undefined &&
      pod.metadata?.deletionTimestamp === undefined &&
      phase !== "Succeeded" &&
      phase !== "Failed" &&
      phase !== "Unknown";
    const text = live ? formatAddress(address) : undefined;
    if (this.pods.get(key)?.address === text) return false;
    this.removePod(key);
    if (text === undefined) return true;
    this.pods.set(key, { namespace, address: text });
    const keys = this.podsByAddress.get(text) ?? new Set();
    keys.add(key);
    this.podsByAddress.set(text, keys);
    this.generation++;
    return true;
  }

  private removePod(key: string): boolean {
    const pod = this.pods.get(key);
    if (pod === undefined) return false;
    this.pods.delete(key);
    const keys = this.podsByAddress.get(pod.address);
    keys?.delete(key);
    if (keys?.size === 0) this.podsByAddress.delete(pod.address);
    this.generation++;
    return true;
  }
}

function serviceContent(entry: ServiceEntry): string {
  return JSON.stringify([
    entry.headless,
    entry.isExternal,
    entry.externalName === undefined ? "" : addressKey(entry.externalName),
    entry.clusterIPs.map(formatAddress),
    entry.ports,
    entry.externalAddresses.map(formatAddress),
    entry.externalHosts.map(addressKey),
  ]);
}

function distinctAddresses(slice: SliceEntry): Set<string> {
  const keys = new Set<string>();
  for (const { address } of slice.endpoints) if (address !== undefined) keys.add(addressKey(address.bytes));
  return keys;
}

function sameSlice(a: SliceEntry, b: SliceEntry): boolean {
  if (a.endpoints.length !== b.endpoints.length || a.ports.length !== b.ports.length || a.cluster !== b.cluster)
    return false;
  for (let index = 0; index < a.ports.length; index++) {
    const one = a.ports[index]!;
    const other = b.ports[index]!;
    if (one.name !== other.name || one.number !== other.number || one.protocol !== other.protocol) return false;
  }
  for (let index = 0; index < a.endpoints.length; index++) {
    const one = a.endpoints[index]!;
    const other = b.endpoints[index]!;
    if (one.label !== other.label || one.topologyZone !== other.topologyZone) return false;
    if (one.address !== undefined && other.address !== undefined) {
      if (!equalAddresses(one.address, other.address)) return false;
    } else if (one.address !== other.address || addressKey(one.target!) !== addressKey(other.target!)) return false;
  }
  return true;
}
