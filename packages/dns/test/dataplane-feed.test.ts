import type { KubernetesObject } from "@portolan/core";
import { createDnsProgram, type DnsProgram } from "@portolan/dataplane/dns";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createQueryHandler, type DataplaneFeed, feedDataplane, type QueryHandler } from "../src/index.ts";
import { decodeMessage, encodeMessage, nameFromText, queryMessage, recordTypes } from "../src/message/index.ts";
import { type ClusterZone, createClusterZone } from "../src/zone/index.ts";

const client = { address: "10.244.0.9", port: 40000, transport: "udp" } as const;
const schedule = { soon: () => undefined, later: () => undefined, now: () => 0 };

interface Subject {
  readonly zone: ClusterZone;
  readonly handler: QueryHandler;
  readonly program: DnsProgram;
  readonly feed: DataplaneFeed;
}

const shared = createDnsProgram({ seed: 1, octets: 1 << 20 });

function subject(options: { synced?: boolean; loadbalance?: boolean; elsewhere?: string } = {}): Subject {
  const zone = createClusterZone({
    podMode: "insecure",
    ttl: 30,
    synced: options.synced ?? true,
    now: () => 1_700_000_000_000,
  });
  const others = options.elsewhere === undefined ? [] : [{ origins: [nameFromText(options.elsewhere)] }];
  const handler = createQueryHandler({
    blocks: [{ origins: zone.zones, zone, loadbalance: options.loadbalance ?? false }, ...others],
  });
  const feed = feedDataplane(handler, zone, shared, schedule);
  if (feed === undefined) throw new Error("the zone is not plain");
  return { zone, handler, program: shared, feed };
}

function query(name: string, type: number, more: Parameters<typeof queryMessage>[2] = {}): Uint8Array {
  return encodeMessage(queryMessage(4711, { name: nameFromText(name), type, class: 1 }, more));
}

const hex = (octets: Uint8Array | undefined): string =>
  octets === undefined ? "" : Buffer.from(octets).toString("hex");

/** The program's answer, after it was found equal to the server's; undefined when it has none. */
function both({ handler, program }: Subject, request: Uint8Array): Uint8Array | undefined {
  const mapped = program.answer(request)?.slice();
  if (mapped === undefined) return undefined;
  expect(hex(mapped)).toBe(hex(handler.handle(request, client) as Uint8Array));
  return mapped;
}

const namespaces = ["default", "kube-system"];
const services = ["web", "db", "com", "svc", "away", "empty", "dual", "large"];
const addressOf = (n: number): string => `10.${n >> 8}.${n & 255}.7`;

const anyService = fc
  .record({
    name: fc.constantFrom(...services),
    namespace: fc.constantFrom(...namespaces),
    kind: fc.constantFrom("cluster", "dual", "dual", "headless", "external", "unallocated"),
    address: fc.nat(1000),
    ports: fc.subarray(["http", "https", "", "dns", "metrics"]),
  })
  .map(({ name, namespace, kind, address, ports }): KubernetesObject => {
    const clusterIPs = {
      cluster: [addressOf(address)],
      dual: [addressOf(address), `2001:db8::${address.toString(16)}`],
      headless: ["None"],
      external: undefined,
      unallocated: [],
    }[kind];
    const spec = {
      ...(kind === "external"
        ? { type: "ExternalName", externalName: "web.default.svc.cluster.local" }
        : { clusterIPs }),
      ports: ports.map((port, index) => ({ name: port, port: 80 + index, protocol: port === "dns" ? "UDP" : "TCP" })),
    };
    return { kind: "Service", metadata: { name, namespace }, spec } as KubernetesObject;
  });

const anySlice = fc
  .record({
    name: fc.constantFrom("one", "two", "three"),
    service: fc.constantFrom(...services),
    namespace: fc.constantFrom(...namespaces),
    addresses: fc.array(fc.nat(300), { maxLength: 90, size: "max" }),
    hostname: fc.boolean(),
    ports: fc.subarray(["http", "", "dns"]),
  })
  .map(
    ({ name, service, namespace, addresses, hostname, ports }): KubernetesObject =>
      ({
        kind: "EndpointSlice",
        metadata: { name, namespace, labels: { "kubernetes.io/service-name": service } },
        addressType: "IPv4",
        endpoints: addresses.map((n) => ({
          addresses: [addressOf(n)],
          conditions: { ready: n % 7 !== 0 },
          ...(hostname ? { hostname: `${service}-${n}` } : {}),
        })),
        ports: ports.map((port, index) => ({ name: port, port: 8080 + index, protocol: "TCP" })),
      }) as KubernetesObject,
  );

const anyEvent = fc.oneof(
  { weight: 6, arbitrary: anyService.map((object) => ({ object, gone: false })) },
  { weight: 4, arbitrary: anySlice.map((object) => ({ object, gone: false })) },
  { weight: 2, arbitrary: fc.oneof(anyService, anySlice).map((object) => ({ object, gone: true })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...namespaces), fc.boolean())
      .map(([name, gone]) => ({ object: { kind: "Namespace", metadata: { name } } as KubernetesObject, gone })),
  },
);

const pieced = fc
  .tuple(
    fc.array(
      fc.constantFrom(
        ...services,
        ...[
          "_http",
          "_tcp",
          "_udp",
          "http",
          "tcp",
          "_",
          "_dns",
          "web-3",
          "db-5",
          "10-0-5-7",
          "1-2-3-4",
          "www",
          "local",
        ],
        ...["dns-version", "dns", "ns", "hostmaster", "a\\.b", "x".repeat(63)],
      ),
      { maxLength: 3 },
    ),
    fc.constantFrom(
      "",
      "svc",
      "pod",
      "default",
      "default.svc",
      "kube-system.svc",
      "web.default.svc",
      "other.svc",
      "default.pod",
    ),
    fc.constantFrom(
      "cluster.local",
      "cluster.local",
      "cluster.local",
      "CLUSTER.local",
      "xcluster.local",
      "local",
      "example.com",
    ),
    fc.constantFrom(false, false, true),
  )
  .map(([front, middle, zone, upper]) => {
    const text = [...front, middle, zone].filter((part) => part !== "").join(".");
    return upper ? text.toUpperCase() : text;
  });

const serviceName = fc
  .tuple(fc.constantFrom("", "", "_http._tcp.", "_tcp."), fc.constantFrom(...services), fc.constantFrom(...namespaces))
  .map(([front, service, namespace]) => `${front}${service}.${namespace}.svc.cluster.local`);

const anyName = fc.oneof(pieced, serviceName);

const anyType = fc.constantFrom(1, 28, 33, 1, 28, 33, 5, 6, 12, 15, 16, 65, 255, 43, 252);

const anyQuestion = fc.record({
  name: anyName,
  type: anyType,
  size: fc.constantFrom(undefined, 0, 512, 1232, 4096),
  dnssecOk: fc.boolean(),
  recursionDesired: fc.boolean(),
  checkingDisabled: fc.boolean(),
  option: fc.constantFrom(undefined, 10, 3),
});

const ednsOf = (size: number, dnssecOk: boolean, option: number | undefined) => ({
  udpPayloadSize: size,
  version: 0,
  dnssecOk,
  reservedFlags: 0,
  options: option === undefined ? [] : [{ code: option, data: new Uint8Array(8) }],
});

describe("the DNS program", () => {
  it("says octet for octet what the server says, through any history", () => {
    const before = shared.counters().answered;
    fc.assert(
      fc.property(
        fc.array(anyEvent, { maxLength: 50, size: "max" }),
        fc.array(anyQuestion, { minLength: 60, maxLength: 60 }),
        (events, questions) => {
          const one = subject({ elsewhere: "dns.kube-system.svc.cluster.local" });
          for (const name of namespaces) one.zone.apply({ kind: "Namespace", metadata: { name } });
          for (const [index, { name, type, size, option, dnssecOk, ...flags }] of questions.entries()) {
            const event = events[index];
            if (event?.gone === true) one.zone.remove(event.object);
            else if (event !== undefined) one.zone.apply(event.object);
            one.feed.flush();
            const edns = size === undefined ? {} : { edns: ednsOf(size, dnssecOk, option) };
            both(one, query(`${name}.`, type, { ...flags, ...edns }));
          }
          one.feed.close();
        },
      ),
      { numRuns: 50 },
    );
    // It would be equal, too, if it never said anything.
    const after = shared.counters().answered;
    for (const type of ["A", "AAAA", "SRV"] as const)
      for (const outcome of ["answer", "noData", "nameError"] as const)
        expect(after[type][outcome] - before[type][outcome], `${type} ${outcome}`).toBeGreaterThan(0);
  }, 60_000);

  it("answers existing names, and denies what a search list asks for, without the server", () => {
    const one = subject();
    one.zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    one.zone.apply({
      kind: "Service",
      metadata: { name: "web", namespace: "default" },
      spec: { clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80 }] },
    } as KubernetesObject);
    one.feed.flush();
    const outcome = (name: string, type: keyof typeof recordTypes): string => {
      const reply = both(one, query(name, recordTypes[type]));
      if (reply === undefined) return "server";
      const { rcode, answers, additionals } = decodeMessage(reply);
      return `${rcode} ${answers.length} ${additionals.length}`;
    };
    expect(outcome("web.default.svc.cluster.local.", "A")).toBe("0 1 0");
    expect(outcome("Web.Default.svc.Cluster.LOCAL.", "A")).toBe("0 1 0");
    expect(outcome("web.default.svc.cluster.local.", "AAAA")).toBe("0 0 0");
    expect(outcome("_http._tcp.web.default.svc.cluster.local.", "SRV")).toBe("0 1 1");
    expect(outcome("web.default.svc.cluster.local.", "SRV")).toBe("0 1 1");
    expect(outcome("_tcp.web.default.svc.cluster.local.", "SRV")).toBe("0 0 0");
    expect(outcome("default.svc.cluster.local.", "A")).toBe("0 0 0");
    expect(outcome("cluster.local.", "AAAA")).toBe("0 0 0");
    for (const name of [
      "www.example.com.default.svc",
      "www.example.com.svc",
      "www.example.com",
      "no.default.svc",
      "a.b.svc",
    ])
      expect(outcome(`${name}.cluster.local.`, "A")).toBe("3 0 0");
    // The server knows more about these.
    for (const name of ["1-2-3-4.default.pod", "x.web.default.svc", "ns.dns", "x.hostmaster"])
      expect(outcome(`${name}.cluster.local.`, "A")).toBe("server");
    expect(outcome("_HTTP._tcp.web.default.svc.cluster.local.", "SRV")).toBe("server");
    expect(outcome("web.default.svc.cluster.local.", "TXT")).toBe("server");
    expect(outcome("www.example.com.", "A")).toBe("server");
    one.feed.close();
    expect(one.program.answer(query("web.default.svc.cluster.local.", 1))).toBeUndefined();
  });

  it("says nothing old: from an event on until it has been computed, everything is the server's", () => {
    const one = subject();
    one.zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    one.feed.flush();
    const web = query("web.default.svc.cluster.local.", recordTypes.A);
    expect(decodeMessage(both(one, web)!).rcode).toBe(3);
    one.zone.apply({
      kind: "Service",
      metadata: { name: "web", namespace: "default" },
      spec: { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] },
    } as KubernetesObject);
    expect(one.program.answer(web)).toBeUndefined();
    one.feed.flush();
    expect(decodeMessage(both(one, web)!).rcode).toBe(0);
    one.feed.close();
  });

  it("denies nothing before the lists are complete", () => {
    const one = subject({ synced: false });
    one.zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    one.feed.flush();
    const missing = query("no.default.svc.cluster.local.", recordTypes.A);
    expect(one.program.answer(missing)).toBeUndefined();
    one.zone.synced = true;
    one.feed.flush();
    expect(decodeMessage(both(one, missing)!).rcode).toBe(3);
    one.feed.close();
  });

  it("gives every address the first place, and all of them always", () => {
    const one = subject({ loadbalance: true });
    one.zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    one.zone.apply({
      kind: "Service",
      metadata: { name: "db", namespace: "default" },
      spec: { clusterIPs: ["None"], ports: [{ port: 80 }] },
    } as KubernetesObject);
    const addresses = Array.from({ length: 5 }, (_, index) => `10.2.0.${index + 1}`);
    one.zone.apply({
      kind: "EndpointSlice",
      metadata: { name: "db-1", namespace: "default", labels: { "kubernetes.io/service-name": "db" } },
      addressType: "IPv4",
      endpoints: addresses.map((address) => ({ addresses: [address] })),
      ports: [{ port: 80 }],
    } as KubernetesObject);
    one.feed.flush();
    const first = new Set<string>();
    for (let turn = 0; turn < 200; turn++) {
      const octets = one.program.answer(query("db.default.svc.cluster.local.", recordTypes.A))!;
      const found = decodeMessage(octets).answers.map(({ data }) => data.join("."));
      expect([...found].sort()).toEqual(addresses);
      first.add(found[0]!);
    }
    expect(first.size).toBe(5);
    one.feed.close();
  });

  it("is not fed where more than the zone decides", () => {
    const zone = createClusterZone();
    const block = { origins: zone.zones, zone };
    const feeds = [
      createQueryHandler({ blocks: [{ ...block, access: () => "allow" }] }),
      createQueryHandler({ blocks: [block], admission: { admit: () => ({}) } }),
    ].map((handler) => feedDataplane(handler, zone, shared, schedule));
    expect(feeds).toEqual([undefined, undefined]);
    const falling = createQueryHandler({
      blocks: [{ ...block, fallthrough: [], next: { resolve: () => Promise.reject(new Error()) } }],
    });
    const feed = feedDataplane(falling, zone, shared, schedule)!;
    feed.flush();
    expect(shared.answer(query("no.default.svc.cluster.local.", 1))).toBeUndefined();
    feed.close();
  });

  it("denies nothing while a name found no room, and again when it has", () => {
    const program = createDnsProgram({ seed: 1, octets: 220 * 1024 });
    const zone = createClusterZone();
    const handler = createQueryHandler({ blocks: [{ origins: zone.zones, zone }] });
    const feed = feedDataplane(handler, zone, program, schedule)!;
    zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    const service = (index: number): KubernetesObject =>
      ({
        kind: "Service",
        metadata: { name: `web-${index}`, namespace: "default" },
        spec: { clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80 }] },
      }) as KubernetesObject;
    for (let index = 0; index < 400; index++) zone.apply(service(index));
    feed.flush();
    expect(program.size().refused).toBeGreaterThan(0);
    const missing = query("no.default.svc.cluster.local.", 1);
    expect(program.answer(missing)).toBeUndefined();
    for (let index = 0; index < 400; index++) {
      const request = query(`web-${index}.default.svc.cluster.local.`, 1);
      const reply = program.answer(request);
      if (reply !== undefined) expect(hex(reply)).toBe(hex(handler.handle(request, client) as Uint8Array));
    }
    for (let index = 20; index < 400; index++) zone.remove(service(index));
    feed.flush();
    expect(program.size().refused).toBe(0);
    expect(decodeMessage(program.answer(missing)!).rcode).toBe(3);
  });
});
