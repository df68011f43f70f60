import { createHash, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { hostname, networkInterfaces } from "node:os";
import { performance } from "node:perf_hooks";
import type { KubernetesApi } from "@portolan/client";
import { createDnsProgram, type DnsAnswers } from "@portolan/dataplane/dns";
import { canonicalAddress } from "@portolan/net";
import { type DomainName, equalNames, labelsOf, nameFromLabels, nameFromText, nameToText } from "../message/name.ts";
import { recordTypes } from "../message/record-type.ts";
import type { ClusterZone } from "../zone/cluster-zone.ts";
import type { AnswerCache } from "./answer-cache.ts";
import { type Assembly, assembleBlocks } from "./assembly.ts";
import {
  endpointFromText,
  type HttpEndpoint,
  readServerConfiguration,
  type ServerBlockConfiguration,
  type UpstreamAddress,
} from "./configuration.ts";
import { type DataplaneFeed, type FeedSchedule, feedDataplane } from "./dataplane-feed.ts";
import { type OpenHttpEndpoint, openHttpEndpoint } from "./http-endpoint.ts";
import { type Listener, type ListenerLimits, listenTcp, listenUdp } from "./listener.ts";
import type { Admission, QueryHandler, QueryReport } from "./query-handler.ts";
import { createQueryLog } from "./query-log.ts";
import type { Resolver } from "./resolver.ts";
import { createServerMetrics } from "./server-metrics.ts";
import { createSocketUpstream } from "./upstream-socket.ts";
import { watchZone, type ZoneWatch } from "./zone-watch.ts";

/** Options of {@link startDnsServer}. */
export interface DnsServerOptions {
  /** Endpoints, each over UDP and TCP; port 0 takes a free one, the same for both. Default: those of the Corefile, else 127.0.0.1:0. */
  readonly listen?: readonly { readonly host: string; readonly port: number }[];
  /** Where Services, EndpointSlices, Namespaces and, if verified, Pods are watched. Without it the zone is fed by the caller. */
  readonly api?: KubernetesApi;
  /** A zone made by the caller, used instead of the one that the configuration describes. */
  readonly zone?: ClusterZone;
  /** Cluster domain when there is no Corefile. Default `cluster.local`. */
  readonly domain?: string;
  /** Text of a Corefile. Without one: the cluster's names as kubeadm sets them up, and `upstreams`. */
  readonly corefile?: string;
  /** Name of the Corefile for messages. */
  readonly corefileName?: string;
  /** Values of `{$NAME}` in the Corefile. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** `HOST` or `HOST:PORT` of servers for all other names, instead of those of the Corefile. */
  readonly upstreams?: readonly string[];
  /** Answers all other names instead of upstreams. */
  readonly resolver?: Resolver;
  /** Addresses that this server is reached at, for NS records. Default: those it listens on, or all of the machine. */
  readonly localAddresses?: readonly string[];
  /** HTTP endpoints instead of those of the Corefile. */
  readonly endpoints?: {
    readonly health?: HttpEndpoint;
    readonly ready?: HttpEndpoint;
    readonly metrics?: HttpEndpoint;
  };
  readonly limits?: ListenerLimits;
  /**
   * Other processes, workers of `node:cluster`, listen on the same endpoints: with sockets of their own where Node can share ports
   * (`reusePort`), else on the first process's.
   */
  readonly shared?: boolean;
  /** Cookies and limits of rates; see `createAdmission`. */
  readonly admission?: Admission;
  /** Milliseconds for questions under way when closing. Default 5000. */
  readonly grace?: number;
  /** Called for every query after its reply is known; see `createQueryLog`. Must be quick. */
  readonly onQuery?: (report: QueryReport) => void;
  /** Takes lines of the query log where the Corefile has `log`. Default: nothing is logged. */
  readonly log?: (line: string) => void;
  /** Told about what goes wrong in the background. Default: nothing. */
  readonly onError?: (error: unknown) => void;
}

/** A running server. */
export interface DnsServer {
  /** Where it listens, with the real ports. */
  readonly addresses: readonly { readonly host: string; readonly port: number; readonly transport: "udp" | "tcp" }[];
  /** HTTP endpoints that are open. */
  readonly endpoints: readonly {
    readonly name: "health" | "ready" | "metrics";
    readonly host: string;
    readonly port: number;
  }[];
  /** The cluster's zone. */
  readonly zone: ClusterZone;
  /** Resolves when the zone has every object of the API; at once without one. */
  readonly ready: Promise<void>;
  /** Names of what is not ready; empty when all is. */
  unready(): readonly string[];
  /** Prometheus text. */
  metrics(): string;
  /**
   * Keeps the map of a DNS program, such as that of a node's dataplane, equal to what this server answers, until the returned function
   * is called. It stays empty where more than the zone decides about answers.
   */
  feed(answers: DnsAnswers): () => void;
  /**
   * Takes another Corefile while running. Resolves when it is in force; rejects with {@link CorefileError}, or {@link DnsServerError}
   * `listen`, and goes on with the old one when it cannot be.
   */
  reload(corefile: string): Promise<void>;
  /**
   * Says 503 on `/ready` at once, goes on answering for `lameduck` milliseconds (default: what the Corefile says), finishes what is
   * under way, and ends.
   */
  close(options?: { readonly lameduck?: number }): Promise<void>;
}

/** Why a server cannot run. */
export class DnsServerError extends Error {
  override readonly name = "DnsServerError";
  readonly code: "listen" | "upstream" | "no-zone" | "loop";

  constructor(code: DnsServerError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

const version = "0.1.0";

const schedule: FeedSchedule = { soon: queueMicrotask, later: setImmediate, now: () => performance.now() };

interface Instance extends Omit<Assembly, "zone"> {
  readonly zone: ClusterZone;
  /** The zone's name as metrics call it, when its questions may be answered from the map. */
  readonly mappedZone: string | undefined;
  readonly watch: ZoneWatch | undefined;
  readonly startupTimeout: number;
  readonly lameduck: number;
  stop(): void;
}

function wildcard(host: string): boolean {
  return host === "" || host === "0.0.0.0" || host === "::";
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .map(({ address }) => address);
}

/** `nameserver` lines of a file in resolv.conf form. */
function nameserversOf(path: string): UpstreamAddress[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new DnsServerError("upstream", `${path} cannot be read: ${(error as Error).message}`, error);
  }
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => ({
    host: match[1]!.replace(/%.*$/, ""),
    port: 53,
  }));
}

/** Starts a DNS server for a cluster. Rejects with {@link DnsServerError} or {@link CorefileError}; then nothing stays open. */
export async function startDnsServer(options: DnsServerOptions = {}): Promise<DnsServer> {
  const onError = options.onError ?? (() => undefined);
  const domain = options.domain ?? "cluster.local";
  const metrics = createServerMetrics("dns://:53", version);
  const now = (): number => performance.now();
  let openConnections = 0;
  let localAddresses: readonly string[] = options.localAddresses ?? [];
  let closing = false;

  function configurationOf(corefile: string | undefined): ServerBlockConfiguration[] {
    if (corefile !== undefined)
      return readServerConfiguration(corefile, {
        file: options.corefileName ?? "Corefile",
        environment: options.environment ?? {},
      });
    const onward = options.resolver !== undefined || (options.upstreams ?? []).length > 0;
    return readServerConfiguration(`${onward ? "." : `${domain} in-addr.arpa ip6.arpa`} {
      errors
      kubernetes ${domain} in-addr.arpa ip6.arpa {
        pods insecure
        ttl 30
        ${onward ? "fallthrough in-addr.arpa ip6.arpa" : ""}
      }
      ${onward ? "cache 30" : ""}
      loadbalance
    }`);
  }

  const hashOf = (corefile: string | undefined): string | undefined =>
    corefile === undefined ? undefined : createHash("sha512").update(corefile).digest("hex");
  let corefileHash = hashOf(options.corefile);
  let caches: readonly AnswerCache[] = [];
  metrics.registry.gauges("coredns_cache_entries", "Entries of the cache.", ["server", "type", "zones", "view"], () => [
    [["dns://:53", "success", ".", ""], caches.reduce((sum, cache) => sum + cache.positiveSize, 0)],
    [["dns://:53", "denial", ".", ""], caches.reduce((sum, cache) => sum + cache.negativeSize, 0)],
  ]);
  metrics.registry.gauges(
    "coredns_cache_evictions_total",
    "Entries of the cache that had to go for others.",
    ["server", "type", "zones", "view"],
    () => [
      [["dns://:53", "success", ".", ""], caches.reduce((sum, cache) => sum + cache.evictions.positive, 0)],
      [["dns://:53", "denial", ".", ""], caches.reduce((sum, cache) => sum + cache.evictions.negative, 0)],
    ],
    "counter",
  );
  metrics.registry.gauges(
    "coredns_plugin_enabled",
    "Directives of the configuration in force.",
    ["server", "zone", "view", "name"],
    () =>
      configuration.flatMap((block) =>
        block.origins.flatMap((origin) =>
          block.directives.map((name): [string[], number] => [
            ["dns://:53", nameToText(nameFromText(origin)), "", name],
            1,
          ]),
        ),
      ),
  );
  metrics.registry.gauges("coredns_reload_version_info", "Hash of the Corefile in force.", ["hash", "value"], () =>
    corefileHash === undefined ? [] : [[["sha512", corefileHash], 1]],
  );
  metrics.registry.gauge("portolan_dns_tcp_connections", "Open TCP connections.", () => openConnections);

  /** The upstreams of the options in place of those of every block. */
  function withUpstreams(block: ServerBlockConfiguration): ServerBlockConfiguration {
    const given = options.upstreams ?? [];
    if (given.length === 0) return block;
    const to = given.map((text) => {
      const address = endpointFromText(text, 53);
      if (address === undefined) throw new DnsServerError("upstream", `"${text}" is no address with a port`);
      return address;
    });
    const forward = block.forward[0] ?? readServerConfiguration(". {\n forward . 127.0.0.1\n}")[0]!.forward[0]!;
    return { ...block, forward: [{ ...forward, from: ".", files: [], to }] };
  }

  function assemble(configuration: readonly ServerBlockConfiguration[]): Instance {
    const write = options.log;
    const log = write !== undefined && configuration.some((block) => block.log) ? createQueryLog({ write }) : undefined;
    const probes: { name: DomainName; seen: number }[] = [];
    const assembly = assembleBlocks(configuration.map(withUpstreams), {
      ...(options.resolver === undefined ? {} : { resolver: options.resolver }),
      ...(options.zone === undefined ? {} : { zone: options.zone }),
      ...(options.admission === undefined ? {} : { admission: options.admission }),
      ...(options.limits?.idleTimeout === undefined ? {} : { tcpIdleTimeout: options.limits.idleTimeout }),
      localAddresses,
      hostname: hostname(),
      upstream: ({ host, port }, { sourceAddress }) =>
        createSocketUpstream({ host, port, ...(sourceAddress === undefined ? {} : { sourceAddress }) }),
      nameservers: nameserversOf,
      randomId: () => randomInt(0x10000),
      now,
      later: (task, delay) => {
        const timer = setTimeout(task, delay);
        timer.unref();
        return () => clearTimeout(timer);
      },
      observeForward: metrics.forward,
      observe: (report) => {
        metrics.query(report);
        options.onQuery?.(report);
        log?.(report);
      },
    });
    const { zone } = assembly;
    if (zone === undefined)
      throw new DnsServerError("no-zone", 'no block has "kubernetes"; a cluster DNS server needs one');
    caches = assembly.caches;
    for (const { block, forwarder } of assembly.forwarders) {
      if (!block.loop) continue;
      const origin = labelsOf(nameFromText(block.origins[0]!));
      const name = nameFromLabels([String(randomInt(2 ** 47)), String(randomInt(2 ** 47)), ...origin]);
      probes.push({ name, seen: 0 });
      const how = { transport: "udp", recursionDesired: true, checkingDisabled: false, dnssecOk: false } as const;
      forwarder.resolve({ name, type: recordTypes.HINFO, class: 1 }, how).catch(() => undefined);
    }
    const watch = options.api === undefined ? undefined : watchZone(options.api, zone, onError, metrics.programming);
    const observed = options.onQuery !== undefined || log !== undefined;
    return {
      ...assembly,
      zone,
      mappedZone: observed ? undefined : assembly.handler.plainZone(zone.domain)?.label,
      watch,
      startupTimeout: Math.max(0, ...configuration.map(({ kubernetes }) => kubernetes?.startupTimeout ?? 0)),
      lameduck: Math.max(0, ...configuration.map(({ health }) => health?.lameduck ?? 0)),
      handler: {
        ...assembly.handler,
        handle(request, client) {
          for (const probe of probes) {
            const end = 12 + probe.name.length;
            if (request.length < end || !equalNames(request.subarray(12, end), probe.name)) continue;
            // A forwarder that comes back to us would go round until every port is in use.
            if (++probe.seen > 2)
              onError(
                new DnsServerError(
                  "loop",
                  "an upstream forwards to this server; look at its address and at the resolv.conf that is used",
                ),
              );
          }
          return assembly.handler.handle(request, client);
        },
      },
      stop() {
        watch?.stop();
        assembly.close();
      },
    };
  }

  let configuration = configurationOf(options.corefile);
  // A socket on :: serves both families; machines without IPv6 have no such socket.
  const hasIPv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ family }) => family === "IPv6"));
  const places = (blocks: readonly ServerBlockConfiguration[]): { host: string; port: number }[] => {
    const list = new Map<string, { host: string; port: number }>();
    for (const { bind, port } of blocks)
      for (const host of bind.length > 0 ? bind : [hasIPv6 ? "::" : "0.0.0.0"])
        list.set(`${host} ${port}`, { host, port });
    return [...list.values()];
  };
  const listen =
    options.listen ?? (options.corefile === undefined ? [{ host: "127.0.0.1", port: 0 }] : places(configuration));
  if (options.localAddresses === undefined)
    localAddresses = listen.some(({ host }) => wildcard(host))
      ? ownAddresses()
      : listen.map(({ host }) => canonicalAddress(host) ?? host);

  let assembly = assemble(configuration);
  const program = createDnsProgram();
  const fed = new Map<DnsAnswers, DataplaneFeed | undefined>();
  const feed = (answers: DnsAnswers): void => {
    fed.get(answers)?.close();
    fed.set(answers, feedDataplane(assembly.handler, assembly.zone, answers, schedule));
  };
  feed(program);
  // Plain questions about the cluster's names are answered by the program that answers them in a node's dataplane, too.
  const current: Pick<QueryHandler, "handle"> = {
    handle(request, client) {
      const { mappedZone } = assembly;
      if (mappedZone === undefined) return assembly.handler.handle(request, client);
      const started = performance.now();
      const reply = program.answer(request, client.transport === "tcp");
      if (reply === undefined) return assembly.handler.handle(request, client);
      const { lastType, lastDnssecOk } = program;
      metrics.mapped(mappedZone, client, lastType, lastDnssecOk, request, reply, performance.now() - started);
      return reply;
    },
  };
  const listeners: Listener[] = [];
  const endpoints: (OpenHttpEndpoint & { name: "health" | "ready" | "metrics" })[] = [];

  async function closeAll(grace: number): Promise<void> {
    await Promise.all([
      ...listeners.map((listener) => listener.close(grace)),
      ...endpoints.map((endpoint) => endpoint.close()),
    ]);
    for (const one of fed.values()) one?.close();
    assembly.stop();
  }
  const unready = (): readonly string[] => {
    if (closing) return ["shutdown"];
    return assembly.watch === undefined
      ? assembly.zone.synced
        ? []
        : ["kubernetes"]
      : assembly.watch.pending().length > 0
        ? ["kubernetes"]
        : [];
  };

  try {
    if (assembly.watch !== undefined && assembly.startupTimeout > 0 && options.corefile !== undefined) {
      // A server that answers before it knows anything makes clients remember failures.
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        assembly.watch.synced.catch(() => undefined),
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, assembly.startupTimeout);
        }),
      ]);
      clearTimeout(timer);
    }
    const timeouts = configuration.find((block) => block.timeouts !== undefined)?.timeouts;
    const limits: ListenerLimits = {
      ...(timeouts?.read === undefined ? {} : { readTimeout: timeouts.read }),
      ...(timeouts?.idle === undefined ? {} : { idleTimeout: timeouts.idle }),
      ...(timeouts?.maximumQueries === undefined ? {} : { maximumQueries: timeouts.maximumQueries }),
      ...options.limits,
    };
    for (const { host, port } of listen) {
      try {
        // A free TCP port may be taken for UDP already; another one is not.
        for (let attempt = 0; ; attempt++) {
          const counted = (open: number): void => {
            openConnections = open;
          };
          const tcp = await listenTcp(host, port, current, onError, limits, counted, options.shared);
          try {
            listeners.push(await listenUdp(host, tcp.port, current, onError, options.shared));
            listeners.push(tcp);
            break;
          } catch (error) {
            await tcp.close(0);
            if (port !== 0 || attempt === 9) throw error;
          }
        }
      } catch (error) {
        throw new DnsServerError(
          "listen",
          `cannot listen on ${host}, port ${port}: ${(error as Error).message}`,
          error,
        );
      }
    }
    const first = <T>(pick: (block: ServerBlockConfiguration) => T | undefined): T | undefined =>
      configuration.map(pick).find((value) => value !== undefined);
    const wanted =
      options.endpoints ??
      (options.corefile === undefined
        ? {}
        : {
            health: first(({ health }) => health),
            ready: first(({ ready }) => ready),
            metrics: first(({ prometheus }) => prometheus),
          });
    const pages = {
      health: { "/health": () => ({ status: 200, body: "OK" }) },
      ready: {
        "/ready": () => {
          const names = unready();
          return names.length === 0 ? { status: 200, body: "OK" } : { status: 503, body: names.join(",") };
        },
      },
      metrics: {
        "/metrics": () => ({
          status: 200,
          contentType: "text/plain; version=0.0.4; charset=utf-8",
          body: metrics.registry.text(),
        }),
      },
    };
    for (const name of ["health", "ready", "metrics"] as const) {
      const place = wanted[name];
      if (place === undefined) continue;
      try {
        endpoints.push({ ...(await openHttpEndpoint(place.host, place.port, pages[name])), name });
      } catch (error) {
        throw new DnsServerError(
          "listen",
          `cannot serve ${name} on ${place.host}:${place.port}: ${(error as Error).message}`,
          error,
        );
      }
    }
  } catch (error) {
    await closeAll(0);
    throw error;
  }
  const health = endpoints.find(({ name }) => name === "health");
  const looking = health === undefined ? undefined : setInterval(() => lookAtHealth(health), 1000).unref();

  /** Asks the own endpoint, as whoever restarts this process would. */
  function lookAtHealth({ host, port }: OpenHttpEndpoint): void {
    const started = performance.now();
    const own = wildcard(host) ? (host === "::" ? "::1" : "127.0.0.1") : host;
    const request = get({ host: own, port, path: "/health", timeout: 5000, agent: false }, (response) => {
      response.resume();
      metrics.healthDuration.observe((performance.now() - started) / 1000);
      if (response.statusCode !== 200) metrics.healthFailures.increment();
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", () => {
      if (closed === undefined) metrics.healthFailures.increment();
    });
  }

  let closed: Promise<void> | undefined;
  return {
    addresses: listeners.map(({ address, port, transport }) => ({ host: address, port, transport })),
    endpoints: endpoints.map(({ name, host, port }) => ({ name, host, port })),
    get zone() {
      return assembly.zone;
    },
    get ready() {
      return assembly.watch?.synced ?? Promise.resolve();
    },
    unready,
    feed(answers) {
      feed(answers);
      return () => {
        fed.get(answers)?.close();
        fed.delete(answers);
      };
    },
    metrics: () => metrics.registry.text(),
    async reload(corefile) {
      try {
        const wanted = configurationOf(corefile);
        if (options.listen === undefined && JSON.stringify(places(wanted)) !== JSON.stringify(places(configuration)))
          throw new DnsServerError("listen", "ports and addresses cannot change while running; start the server anew");
        const fresh = assemble(wanted);
        // The old zone answers until the new one knows as much.
        await fresh.watch?.synced;
        const old = assembly;
        assembly = fresh;
        configuration = wanted;
        corefileHash = hashOf(corefile);
        for (const answers of fed.keys()) feed(answers);
        old.stop();
      } catch (error) {
        metrics.reloadFailures.increment();
        throw error;
      }
    },
    close(how = {}) {
      closed ??= (async () => {
        closing = true;
        clearInterval(looking);
        const lameduck = how.lameduck ?? assembly.lameduck;
        if (lameduck > 0) await new Promise((resolve) => setTimeout(resolve, lameduck));
        await closeAll(options.grace ?? 5000);
      })();
      return closed;
    },
  };
}
