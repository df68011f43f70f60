import type { EndpointSlice, Node, Service } from "@portolan/core";
import { createDataplane, type Dataplane, type ProcessResult } from "@portolan/dataplane";
import { canonicalAddress, familyOf, type IPFamily, packet, parsePacket } from "@portolan/net";
import {
  type CompiledServicePort,
  compileNodeSpec,
  compileServicePorts,
  type HealthResponse,
  healthCheckAddresses,
  healthCheckResponse,
  isNodeEligible,
  localReadyEndpoints,
  type ProxyConfiguration,
  proxyConfigz,
  proxyHealthResponse,
  proxyMetricsResponse,
} from "@portolan/proxy";
import { type Area, type CaseResult, jsonLines } from "../area.ts";

interface Topology {
  readonly nodes: Record<
    string,
    { ips: string[]; otherLocalAddresses?: string[]; primaryIPs?: string[]; zone?: string }
  >;
  readonly pods: Record<string, { ips: string[]; node: string }>;
  readonly external: Record<string, string[]>;
  readonly hostNetworkEndpoints: Record<string, string[]>;
  readonly serviceCIDRs: string[];
}

interface ModeOptions {
  readonly masqueradeAll?: boolean;
  readonly localhostNodePorts?: boolean;
}

interface RecordedConfiguration {
  readonly mode: "nftables" | "iptables";
  readonly clusterCIDR?: string;
  readonly detectLocalMode?: string;
  readonly nodePortAddresses?: string[];
  readonly nftables?: ModeOptions;
  readonly iptables?: ModeOptions;
}

interface Step {
  readonly do: string;
  readonly observed?: Record<string, unknown>;
  readonly establishedFlows?: Record<string, number>;
  readonly "/healthz"?: RecordedResponse;
  readonly "/livez"?: RecordedResponse;
  readonly healthCheckNodePort?: RecordedResponse;
  readonly response?: RecordedResponse;
  readonly newConnections?: { outcomes: Record<string, number>; endpoints: Record<string, number>; fate?: string };
  readonly endpointSlices?: EndpointSlice[];
  readonly services?: Service[];
}

interface ProxyRecord {
  readonly id: string;
  readonly kind: "decision" | "affinity" | "dynamic" | "health" | "metrics" | "distribution";
  readonly mode: "nftables" | "iptables";
  readonly verdict?: string;
  readonly services: Service[];
  readonly endpointSlices: EndpointSlice[];
  readonly node: { name: string; zone?: string; object: Node; proxyConfig: RecordedConfiguration };
  readonly topology: Topology;
  readonly client: { kind: string; ip?: string; family?: IPFamily };
  readonly packet: { dst: string; port?: number; proto: string; via?: string; http?: string };
  readonly endpoints: Record<string, number>;
  readonly sourceByEndpoint?: [string, string][];
  readonly source?: string;
  readonly sourcePortKept?: boolean;
  readonly n?: number;
  readonly steps?: Step[];
  readonly localVIPs?: string[];
  readonly nondeterministic?: unknown;
  readonly distinctEndpoints?: number;
  readonly sticky?: boolean;
  readonly stickyPerPort?: boolean;
  readonly sharedAcrossPorts?: boolean;
  readonly response?: RecordedResponse;
  readonly outcome: string;
}

const uplink = 0;
const host = 1;
const firstPod = 2;
const peerMac = "02:00:00:00:00:99";

/** node-a of a record: its dataplane, with the ports and routes of the recorded topology. */
class RecordedNode {
  readonly dataplane: Dataplane;
  readonly #record: ProxyRecord;
  readonly #podPorts = new Map<string, number>();
  readonly #names = new Map<string, string>();
  /** Every address of the node. */
  readonly local: ReadonlySet<string>;
  #installed: CompiledServicePort[] = [];
  #sourcePort = 20_000;

  constructor(record: ProxyRecord) {
    this.#record = record;
    this.dataplane = createDataplane({ seed: 1 });
    const { topology, node } = record;
    const own = topology.nodes[node.name]!;
    const vips = record.localVIPs ?? [];
    const localAddresses = [...own.ips, ...(own.otherLocalAddresses ?? []), ...vips].map(
      (text) => canonicalAddress(text)!,
    );
    this.local = new Set(localAddresses);
    const gateways = localAddresses.filter((address) => /^10\.244\.|^fd00:10:244:/.test(address));
    const dataplane = this.dataplane;
    dataplane.setPort(uplink, { mac: "02:00:00:00:00:01", kind: "uplink", addresses: own.ips });
    dataplane.setPort(host, { mac: "02:00:00:00:00:02", kind: "host", peerMac });
    let index = firstPod;
    for (const [name, pod] of Object.entries(topology.pods)) {
      for (const address of pod.ips) this.#names.set(canonicalAddress(address)!, name);
      if (pod.node !== node.name) continue;
      this.#podPorts.set(name, index);
      dataplane.setPort(index, {
        mac: `02:00:00:00:01:${index.toString(16).padStart(2, "0")}`,
        kind: "pod",
        addresses: gateways,
      });
      for (const address of pod.ips) dataplane.setRoute(address, { port: index, nextHopMac: peerMac });
      index++;
    }
    for (const [name, addresses] of Object.entries(topology.hostNetworkEndpoints)) {
      for (const address of addresses) this.#names.set(canonicalAddress(address)!, name);
    }
    for (const prefix of ["0.0.0.0/0", "::/0"]) dataplane.setRoute(prefix, { port: uplink, nextHopMac: peerMac });
    this.configure(node.object);
  }

  /** kube-proxy's configuration of the record, in our terms. */
  configuration(): ProxyConfiguration {
    const recorded = this.#record.node.proxyConfig;
    const mode = recorded[recorded.mode] ?? {};
    const podCIDRs = this.#record.node.object.spec?.podCIDRs ?? [];
    const detector = {
      ClusterCIDR: (recorded.clusterCIDR ?? "").split(",").filter((text) => text !== ""),
      NodeCIDR: podCIDRs,
      InterfaceNamePrefix: podCIDRs,
    }[recorded.detectLocalMode ?? "ClusterCIDR"];
    return {
      mode: recorded.mode,
      clusterCIDRs: detector ?? [],
      serviceCIDRs: this.#record.topology.serviceCIDRs,
      masqueradeAll: mode.masqueradeAll ?? false,
      ...(recorded.nodePortAddresses === undefined ? {} : { nodePortAddresses: recorded.nodePortAddresses }),
      ...(recorded.iptables?.localhostNodePorts === undefined
        ? {}
        : { localhostNodePorts: recorded.iptables.localhostNodePorts }),
    };
  }

  configure(node: Node): void {
    this.dataplane.configureNode(compileNodeSpec(node, this.configuration(), [...this.local]));
  }

  compile(
    services: readonly Service[],
    slices: readonly EndpointSlice[],
    zone: string | undefined,
  ): CompiledServicePort[] {
    const topology = { nodeName: this.#record.node.name, ...(zone === undefined ? {} : { zone }) };
    return services.flatMap((service) =>
      compileServicePorts(
        service,
        slices.filter(
          (slice) =>
            slice.metadata.namespace === service.metadata.namespace &&
            slice.metadata.labels?.["kubernetes.io/service-name"] === service.metadata.name,
        ),
        topology,
      ),
    );
  }

  /** Makes the tables equal to the objects, as a sync of the proxy does. */
  install(services: readonly Service[], slices: readonly EndpointSlice[], zone: string | undefined): void {
    const compiled = this.compile(services, slices, zone);
    const before = new Map(this.#installed.map((port) => [port.spec.id, JSON.stringify(port.spec)]));
    for (const { spec } of this.#installed) {
      if (!compiled.some((port) => port.spec.id === spec.id)) this.dataplane.removeServicePort(spec.id);
    }
    const changed = compiled.filter((port) => before.get(port.spec.id) !== JSON.stringify(port.spec));
    for (const { spec } of changed) this.dataplane.setServicePort(spec);
    for (const { spec, serving } of changed) {
      if (spec.protocol === "UDP" && serving.length > 0) this.dataplane.flushUdp(spec.frontends, spec.family, serving);
    }
    this.#installed = compiled;
  }

  isLocal(address: string): boolean {
    return this.local.has(address);
  }

  nameOf(address: string): string {
    return this.#names.get(address) ?? address;
  }

  /** The address of a client kind, of the family that it dials. */
  clientAddress(kind: string, family: IPFamily): string {
    const { topology } = this.#record;
    const addresses =
      kind === "node"
        ? topology.nodes[this.#record.node.name]!.ips
        : kind === "nodeb"
          ? topology.nodes["node-b"]!.ips
          : (topology.pods[kind]?.ips ?? topology.external[kind] ?? []);
    return addresses.find((address) => familyOf(address) === family) ?? "";
  }

  /** Sends the first packet of a new connection, or one of a known one when `sourcePort` is given. */
  send(
    kind: string,
    source: string,
    destination: string,
    port: number,
    protocol: string,
    options: { sourcePort?: number; flags?: string; now?: number } = {},
  ): Sent {
    const sourcePort = options.sourcePort ?? this.#sourcePort++;
    const family = familyOf(destination)!;
    const network = family === "IPv4" ? packet().ipv4({ source, destination }) : packet().ipv6({ source, destination });
    const bytes =
      protocol === "TCP"
        ? network.tcp({ sourcePort, destinationPort: port, flags: options.flags ?? "S" }).build()
        : protocol === "UDP"
          ? network.udp({ sourcePort, destinationPort: port }).payload("x").build()
          : network.icmp({ type: family === "IPv4" ? 8 : 128, identifier: sourcePort, sequence: 1 }).build();
    const ingress = kind === "node" ? host : (this.#podPorts.get(kind) ?? uplink);
    const result = this.dataplane.process(bytes, { ingress, now: options.now ?? 0 });
    return {
      sourcePort,
      source,
      destination: canonicalAddress(destination)!,
      port,
      ...this.#judge(result, canonicalAddress(destination)!, port, source, sourcePort),
    };
  }

  /** Sends what the endpoint of a connection answers, so that it counts as established. */
  answer(sent: Sent, protocol: string): void {
    if (sent.verdict !== "DNAT") return;
    const family = familyOf(sent.destination)!;
    const source = sent.endpointAddress!;
    const destination = sent.seenSource!;
    const network = family === "IPv4" ? packet().ipv4({ source, destination }) : packet().ipv6({ source, destination });
    const ports = { sourcePort: sent.targetPort!, destinationPort: sent.seenSourcePort! };
    const bytes =
      protocol === "TCP" ? network.tcp({ ...ports, flags: "SA" }).build() : network.udp(ports).payload("x").build();
    this.dataplane.process(bytes, { ingress: this.#podPorts.get(sent.endpoint!) ?? uplink, now: 0 });
  }

  #judge(result: ProcessResult, destination: string, port: number, source: string, sourcePort: number): Judgement {
    if (result.verdict === "REJECT") return { verdict: "REJECT" };
    if (result.verdict === "DROP" || result.verdict === "ABORTED") {
      return { verdict: "DROP", ...(result.reason === undefined ? {} : { reason: result.reason }) };
    }
    const out = parsePacket(result.packet ?? new Uint8Array());
    const transport = out.tcp ?? out.udp;
    if (
      out.destination === undefined ||
      (out.destination === destination && (transport === undefined || transport.destinationPort === port))
    ) {
      return { verdict: this.isLocal(destination) ? "LOCAL" : "PASS" };
    }
    return {
      verdict: "DNAT",
      endpoint: this.nameOf(out.destination),
      endpointAddress: out.destination,
      seenSourcePort: transport?.sourcePort ?? 0,
      targetPort: transport?.destinationPort ?? 0,
      seenSource: out.source ?? "",
      sourcePortKept: out.source === source && transport?.sourcePort === sourcePort,
    };
  }
}

interface Judgement {
  readonly verdict: "DNAT" | "REJECT" | "DROP" | "PASS" | "LOCAL";
  readonly reason?: string;
  readonly endpoint?: string;
  readonly endpointAddress?: string;
  readonly seenSourcePort?: number;
  readonly targetPort?: number;
  readonly seenSource?: string;
  readonly sourcePortKept?: boolean;
}

interface Sent extends Judgement {
  readonly sourcePort: number;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

const sorted = (values: Iterable<string>): string[] => [...new Set(values)].sort();

function differ(what: string, expected: unknown, got: unknown): string | undefined {
  const [a, b] = [JSON.stringify(expected), JSON.stringify(got)];
  return a === b ? undefined : `${what}: expected ${a}, got ${b}`;
}

/** Enough tries that an endpoint that is in the set is missed with a chance below one in a million. */
function tries(record: ProxyRecord): number {
  const members = Math.max(1, Object.keys(record.endpoints).length);
  return Math.max(40, Math.ceil(members * (Math.log(members) + 14)));
}

/**
 * What the client of a connection sees. A pod drops packets that come back to it with its own address as source, so a connection to
 * itself that nobody masquerades never opens.
 */
function observed(sent: Sent, client: string): string {
  const isItself = sent.verdict === "DNAT" && client.startsWith("pod") && sent.endpointAddress === sent.seenSource;
  return isItself ? "DROP" : sent.verdict;
}

function decision(record: ProxyRecord): string | undefined {
  const node = new RecordedNode(record);
  node.install(record.services, record.endpointSlices, record.node.zone);
  const family = familyOf(record.packet.dst)!;
  const source = record.client.ip ?? node.clientAddress(record.client.kind, family);
  const sent: Sent[] = [];
  for (let i = 0; i < tries(record); i++) {
    sent.push(node.send(record.client.kind, source, record.packet.dst, record.packet.port ?? 0, record.packet.proto));
  }
  const { kind } = record.client;
  const verdicts = sorted(sent.map((each) => observed(each, kind)));
  const verdict = verdicts.length === 1 ? verdicts[0] : "MIXED";
  const lost = verdict === "MIXED" ? sent.find((each) => each.verdict !== "DNAT") : undefined;
  const wrong = differ("verdict", record.verdict, verdict);
  if (wrong !== undefined) return `${wrong}${lost?.reason ? ` (${lost.reason})` : ""} ${JSON.stringify(sent[0])}`;
  if (verdict !== "DNAT" && verdict !== "MIXED") return undefined;
  // Endpoints that answered nothing (closed ports) were translated to all the same; which ones was not recorded.
  if (Object.keys(record.endpoints).length === 0) return undefined;
  const done = sent.filter((each) => observed(each, kind) === "DNAT");
  const endpoints = differ(
    "endpoints",
    sorted(Object.keys(record.endpoints)),
    sorted(done.map((each) => each.endpoint!)),
  );
  if (endpoints !== undefined) return endpoints;
  const expectedSources = sorted((record.sourceByEndpoint ?? []).map(([endpoint, seen]) => `${endpoint} from ${seen}`));
  const gotSources = sorted(done.map((each) => `${each.endpoint} from ${each.seenSource}`));
  return differ("sources", expectedSources, gotSources);
}

function distribution(record: ProxyRecord): string | undefined {
  const node = new RecordedNode(record);
  node.install(record.services, record.endpointSlices, record.node.zone);
  const family = familyOf(record.packet.dst)!;
  const source = node.clientAddress(record.client.kind, family);
  const n = record.n ?? 800;
  const counts = new Map<string, number>();
  for (let i = 0; i < n; i++) {
    const sent = node.send(record.client.kind, source, record.packet.dst, record.packet.port ?? 0, record.packet.proto);
    counts.set(sent.endpoint ?? sent.verdict, (counts.get(sent.endpoint ?? sent.verdict) ?? 0) + 1);
  }
  const wrong = differ("endpoints", sorted(Object.keys(record.endpoints)), sorted(counts.keys()));
  if (wrong !== undefined) return wrong;
  // Chi-square against the uniform distribution at 1e-6: kube-proxy picks uniformly per connection.
  const expected = n / counts.size;
  const statistic = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  const limit = [0, 23.9, 27.6, 30.7, 33.4][counts.size - 1] ?? 40;
  return statistic <= limit ? undefined : `not uniform: ${JSON.stringify(Object.fromEntries(counts))}`;
}

function affinity(record: ProxyRecord): string | undefined {
  const node = new RecordedNode(record);
  node.install(record.services, record.endpointSlices, record.node.zone);
  const service = record.services[0]!;
  const protocolOf = (name: string): string =>
    (service.spec?.ports ?? []).find((port) => (port.name ?? "") === name)?.protocol ?? "TCP";
  if (record.distinctEndpoints !== undefined) {
    const source = record.client.ip ?? node.clientAddress(record.client.kind, familyOf(record.packet.dst)!);
    const seen = new Set<string>();
    for (let i = 0; i < (record.n ?? 30); i++) {
      const sent = node.send(
        record.client.kind,
        source,
        record.packet.dst,
        record.packet.port ?? 0,
        record.packet.proto,
      );
      seen.add(sent.endpoint ?? sent.verdict);
    }
    return differ("distinct endpoints", record.distinctEndpoints, seen.size);
  }
  if (record.sticky !== undefined) {
    // A connection every 2.4 s for longer than the timeout of 4 s: each must renew the record.
    const kinds = record.client.kind.split(",");
    const sticky = kinds.every((kind) => {
      const source = node.clientAddress(kind, familyOf(record.packet.dst)!);
      const picks = Array.from(
        { length: 7 },
        (_, i) =>
          node.send(kind, source, record.packet.dst, record.packet.port ?? 0, record.packet.proto, { now: 2.4 * i })
            .endpoint,
      );
      return new Set(picks).size === 1;
    });
    return differ("sticky", record.sticky, sticky);
  }
  if (record.stickyPerPort !== undefined) {
    let stickyPerPort = true;
    let shared = true;
    const observed = (record.steps?.[0]?.observed ?? {}) as Record<string, Record<string, string[]>>;
    for (const [kind, ports] of Object.entries(observed)) {
      const picks: string[] = [];
      for (const name of Object.keys(ports)) {
        const port = (service.spec?.ports ?? []).find((each) => each.name === name);
        if (port === undefined) return `no port ${name}`;
        const source = node.clientAddress(kind, "IPv4");
        const seen = new Set(
          Array.from(
            { length: 6 },
            () => node.send(kind, source, service.spec?.clusterIP ?? "", port.port, protocolOf(name)).endpoint ?? "",
          ),
        );
        if (seen.size !== 1) stickyPerPort = false;
        picks.push([...seen][0]!);
      }
      if (new Set(picks).size !== 1) shared = false;
    }
    return (
      differ("sticky per port", record.stickyPerPort, stickyPerPort) ??
      differ("shared across ports", record.sharedAcrossPorts ?? false, shared)
    );
  }
  return dynamic(record);
}

const outcomes: Readonly<Record<string, readonly string[]>> = {
  connected: ["DNAT"],
  refused: ["REJECT", "LOCAL"],
  timeout: ["DROP", "PASS"],
};

/** Where a flow is, in the words of the records. */
function flowEnd(sent: Sent): string {
  if (sent.endpoint !== undefined) return sent.endpoint;
  return sent.verdict === "REJECT" ? "refused" : sent.verdict;
}

/** What a step did to the Services; the records tell it in words. */
function changedServices(step: Step, now: readonly Service[], recorded: readonly Service[]): readonly Service[] {
  const edit = (change: (spec: NonNullable<Service["spec"]>, service: Service) => void): Service[] =>
    structuredClone(recorded as Service[]).map((service) => {
      change(service.spec!, service);
      return service;
    });
  if (/^Service deleted/.test(step.do)) return [];
  if (/created again|changed back|ingress back|ranges removed|^back to/.test(step.do)) return recorded;
  const port = /service port (\d+) changed to (\d+)/.exec(step.do);
  if (port !== null) {
    return edit((spec) => {
      for (const each of spec.ports ?? []) if (each.port === Number(port[1])) each.port = Number(port[2]);
    });
  }
  if (/ingress emptied/.test(step.do)) {
    return edit((_spec, service) => {
      service.status = { loadBalancer: {} };
    });
  }
  if (/^loadBalancerSourceRanges set so that the client no longer matches/.test(step.do)) {
    return edit((spec) => {
      spec.loadBalancerSourceRanges = ["198.18.0.0/32"];
    });
  }
  if (/^externalTrafficPolicy -> (\w+)/.test(step.do)) {
    const policy = /-> (\w+)/.exec(step.do)![1] as "Cluster" | "Local";
    return edit((spec) => {
      spec.externalTrafficPolicy = policy;
    });
  }
  return now;
}

function zoneOf(step: Step): string | undefined | null {
  const found = /topology\.kubernetes\.io\/zone = (\S+)/.exec(step.do);
  if (found === null) return null;
  return found[1] === "None" ? undefined : found[1];
}

/** Changes under live flows: established ones must move or stay as recorded, new ones must see the new state. */
function dynamic(record: ProxyRecord): string | undefined {
  const node = new RecordedNode(record);
  let services: readonly Service[] = record.services;
  let slices = record.endpointSlices;
  let zone = record.node.zone;
  node.install(services, slices, zone);
  const kind = record.client.kind;
  const { dst, port = 0, proto } = record.packet;
  const source = record.client.ip ?? node.clientAddress(kind, familyOf(dst)!);
  const flows: { sourcePort: number; endpoint: string }[] = [];
  const hold = (count: number, want: ReadonlySet<string>): void => {
    const seen = new Set<string>();
    for (let i = 0; i < 400 && (flows.length < count || seen.size < want.size); i++) {
      const sent = node.send(kind, source, dst, port, proto);
      node.answer(sent, proto);
      seen.add(flowEnd(sent));
      flows.push({ sourcePort: sent.sourcePort, endpoint: flowEnd(sent) });
    }
  };
  for (const [index, step] of (record.steps ?? []).entries()) {
    const where = `step ${index + 1} (${step.do})`;
    const stepZone = zoneOf(step);
    if (stepZone !== null) zone = stepZone;
    services = changedServices(step, services, record.services);
    if (step.endpointSlices !== undefined) slices = step.endpointSlices;
    node.install(services, slices, zone);
    if (step.observed !== undefined && /open|flows/.test(step.do)) {
      const want = new Set(Object.keys(step.observed));
      hold(8, want);
      const got = differ(`${where} endpoints of new flows`, sorted(want), sorted(flows.map((flow) => flow.endpoint)));
      if (got !== undefined) return got;
    }
    if (step.establishedFlows !== undefined) {
      const moves = new Map<string, Set<string>>();
      for (const key of Object.keys(step.establishedFlows)) {
        const [from = "", to = ""] = key.split(" -> ");
        moves.set(from, (moves.get(from) ?? new Set()).add(to));
      }
      for (const flow of flows) {
        const sent = node.send(kind, source, dst, port, proto, { sourcePort: flow.sourcePort, flags: "A" });
        const now = flowEnd(sent);
        const allowed = moves.get(flow.endpoint);
        // A flow that was refused before is a new connection now: any endpoint of these is right.
        if (flow.endpoint === "refused") {
          for (const endpoint of Object.keys(step.newConnections?.endpoints ?? {})) allowed?.add(endpoint);
        }
        if (allowed !== undefined && !allowed.has(now)) {
          return `${where}: a flow at ${flow.endpoint} is now at ${now}, recorded ${JSON.stringify(step.establishedFlows)}`;
        }
        flow.endpoint = now;
      }
    }
    if (step.newConnections !== undefined) {
      const expected = step.newConnections;
      const sent = Array.from({ length: 80 }, () => node.send(kind, source, dst, port, proto));
      const allowedVerdicts = Object.keys(expected.outcomes).flatMap((outcome) => outcomes[outcome] ?? []);
      const stray = sent.find((each) => !allowedVerdicts.includes(each.verdict));
      if (stray !== undefined)
        return `${where}: new connection ${stray.verdict}, recorded ${JSON.stringify(expected.outcomes)}`;
      const endpoints = differ(
        `${where} endpoints of new connections`,
        sorted(Object.keys(expected.endpoints)),
        sorted(sent.flatMap((each) => (each.endpoint === undefined ? [] : [each.endpoint]))),
      );
      if (endpoints !== undefined) return endpoints;
    }
  }
  return undefined;
}

interface RecordedResponse {
  readonly status?: string | null;
  readonly headers?: string[];
  readonly body?: string;
  readonly bodyTopLevelKey?: string;
  /** Names of all fields in the body, at any depth. */
  readonly bodyKeys?: string[];
}

/** Names of all fields below the first level of a JSON text. */
function keysOf(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    Array.isArray(value) ? keysOf(inner) : [key, ...keysOf(inner)],
  );
}

/** Compares an HTTP answer with a recorded one; times are written `<time>` there. */
function differentAnswer(expected: RecordedResponse, got: HealthResponse | undefined): string | undefined {
  const status = Number(/ (\d{3}) /.exec(expected.status ?? "")?.[1] ?? 0);
  const body = got?.body.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>");
  const headers = (expected.headers ?? []).filter((line) => /^(Content-Type|X-)/.test(line));
  return (
    differ("status", status, got?.status ?? 0) ??
    (expected.body === undefined || got === undefined ? undefined : differ("body", expected.body, body)) ??
    (expected.bodyTopLevelKey === undefined || got === undefined
      ? undefined
      : differ("body's group", [expected.bodyTopLevelKey], Object.keys(JSON.parse(got.body) as object))) ??
    (expected.bodyKeys === undefined || got === undefined
      ? undefined
      : differ(
          "body's fields",
          expected.bodyKeys,
          sorted(Object.values(JSON.parse(got.body) as object).flatMap((group) => keysOf(group))),
        )) ??
    (headers.length === 0
      ? undefined
      : differ(
          "headers",
          headers,
          Object.entries(got?.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
        ))
  );
}

/** What node-a answers on a health-check node port, `undefined` when nobody listens there. */
function serviceHealth(
  record: ProxyRecord,
  node: RecordedNode,
  services: readonly Service[],
  port: number | undefined,
): HealthResponse | undefined {
  const service = services.find(
    (each) => each.spec?.healthCheckNodePort === port && each.spec?.externalTrafficPolicy === "Local",
  );
  const addresses = [...node.local];
  const spec = compileNodeSpec(record.node.object, node.configuration(), addresses);
  const primary = [spec.primaryIPv4, spec.primaryIPv6].filter((address) => address !== undefined);
  const listens = healthCheckAddresses([...new Set([...spec.addresses, ...node.local])], primary, node.configuration());
  if (service === undefined || !listens.includes(canonicalAddress(record.packet.dst)!)) return undefined;
  const localEndpoints = localReadyEndpoints(service, record.endpointSlices, {
    nodeName: record.node.name,
    ...(record.node.zone === undefined ? {} : { zone: record.node.zone }),
  });
  const { namespace = "", name = "" } = service.metadata;
  return healthCheckResponse({ namespace, name, port: port ?? 0, localEndpoints }, true);
}

function health(record: ProxyRecord): string | undefined {
  const node = new RecordedNode(record);
  const { port, http = "" } = record.packet;
  const path = http.split(" ")[1] ?? "/";
  const proxyHealth = { now: Date.UTC(2026, 0, 1), lastUpdated: Date.UTC(2026, 0, 1), timeout: 60_000 };
  const own = (at: string, object: Node): HealthResponse =>
    proxyHealthResponse(at, proxyHealth, { eligible: isNodeEligible(object) }, ["IPv4", "IPv6"]);
  let services: readonly Service[] = record.services;
  for (const step of record.steps ?? []) {
    services = changedServices(step, services, record.services);
    const object = structuredClone(record.node.object);
    const taint = /ToBeDeletedByClusterAutoscaler/.test(step.do) && !/removed/.test(step.do);
    if (taint)
      object.spec = { ...object.spec, taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] };
    for (const at of ["/healthz", "/livez"] as const) {
      const expected = step[at];
      const wrong = expected === undefined ? undefined : differentAnswer(expected, own(at, object));
      if (wrong !== undefined) return `${step.do}: ${at}: ${wrong}`;
    }
    const healthPort = services.find((each) => each.spec?.healthCheckNodePort)?.spec?.healthCheckNodePort;
    const expected = step.healthCheckNodePort ?? step.response;
    const wrong =
      expected === undefined
        ? undefined
        : differentAnswer(
            expected,
            serviceHealth(record, node, services, step.response === undefined ? healthPort : port),
          );
    if (wrong !== undefined) return `${step.do}: ${wrong}`;
  }
  if (record.steps !== undefined) return undefined;
  if (port === 10256) return differentAnswer(record.response ?? {}, own(path, record.node.object));
  if (port === 10249) {
    return differentAnswer(
      record.response ?? {},
      proxyMetricsResponse(path, {
        mode: record.mode,
        renderMetrics: () => "",
        renderConfiguration: () => proxyConfigz(node.configuration(), { minSyncPeriod: 200, syncPeriod: 30_000 }),
      }),
    );
  }
  return differentAnswer(record.response ?? {}, serviceHealth(record, node, services, port));
}

function judge(record: ProxyRecord): string | undefined {
  switch (record.kind) {
    case "decision":
      return decision(record);
    case "distribution":
      return distribution(record);
    case "affinity":
      return affinity(record);
    case "dynamic":
      return dynamic(record);
    case "health":
    case "metrics":
      return health(record);
    default:
      return `records of kind ${record.kind} cannot be run yet`;
  }
}

/** Decisions of a real kube-proxy, recorded with real packets (golden/proxy-README.md), against our tables and dataplane. */
export const area: Area = {
  name: "proxy",
  async *run(files, only): AsyncGenerator<CaseResult> {
    for (const file of files) {
      for (const record of jsonLines(file) as ProxyRecord[]) {
        if (!only(record.id)) continue;
        if (record.nondeterministic !== undefined) {
          yield { id: record.id, outcome: "skipped", difference: "the real one's answer differs between runs" };
          continue;
        }
        let difference: string | undefined;
        try {
          difference = judge(record);
        } catch (error) {
          difference = `threw: ${(error as Error).message}`;
        }
        yield difference === undefined
          ? { id: record.id, outcome: "passed" }
          : { id: record.id, outcome: "failed", difference };
      }
    }
  },
};
