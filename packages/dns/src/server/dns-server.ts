import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { performance } from "node:perf_hooks";
import type { KubernetesApi } from "@portolan/client";
import { canonicalAddress, parseAddress, parsePrefix, prefixContains } from "@portolan/net";
import { equalNames, nameFromLabels, nameFromText } from "../message/name.ts";
import { recordTypeFromName, recordTypes } from "../message/record-type.ts";
import { type ClusterZone, createClusterZone } from "../zone/cluster-zone.ts";
import { createAnswerCache } from "./answer-cache.ts";
import {
  type AccessRule,
  endpointFromText,
  type ForwardConfiguration,
  type HttpEndpoint,
  readServerConfiguration,
  type ServerBlockConfiguration,
  type UpstreamAddress,
} from "./configuration.ts";
import { createForwarder, type Forwarder } from "./forwarder.ts";
import { type OpenHttpEndpoint, openHttpEndpoint } from "./http-endpoint.ts";
import { type Listener, type ListenerLimits, listenTcp, listenUdp } from "./listener.ts";
import {
  type Admission,
  createQueryHandler,
  type HandlerBlock,
  type QueryHandler,
  type QueryReport,
} from "./query-handler.ts";
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
  /** Cookies and limits of rates; see `createAdmission`. */
  readonly admission?: Admission;
  /** Milliseconds for questions under way when closing. Default 5000. */
  readonly grace?: number;
  /** Called for every query, after its reply is known; `seconds` is how long it took. For logs; must be quick. */
  readonly onQuery?: (report: QueryReport, seconds: number) => void;
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

interface Assembly {
  readonly handler: QueryHandler;
  readonly zone: ClusterZone;
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

function accessOf(rules: readonly AccessRule[]): HandlerBlock["access"] {
  if (rules.length === 0) return undefined;
  const compiled = rules.map((rule) => ({
    action: rule.action,
    types: new Set(rule.types.map((type) => recordTypeFromName(type) ?? -1)),
    networks: rule.networks.map(
      (network) => parsePrefix(network.includes("/") ? network : `${network}/${network.includes(":") ? 128 : 32}`)!,
    ),
  }));
  return (address, type) => {
    const parsed = parseAddress(address);
    for (const { action, types, networks } of compiled) {
      if (types.size > 0 && !types.has(type)) continue;
      if (networks.length > 0 && !(parsed !== undefined && networks.some((network) => prefixContains(network, parsed))))
        continue;
      return action;
    }
    return "allow";
  };
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

  function forwarderOf(block: ServerBlockConfiguration, forward: ForwardConfiguration): Forwarder {
    const upstreams = [...forward.to, ...forward.files.flatMap(nameserversOf)];
    if (upstreams.length === 0)
      throw new DnsServerError("upstream", `${forward.files.join(", ")} names no server; give one in "forward"`);
    const cache = block.cache === undefined ? undefined : createAnswerCache({ ...block.cache, now });
    if (cache !== undefined) caches.push(cache);
    return createForwarder({
      ...forward,
      upstreams: upstreams.map(({ host, port }) =>
        createSocketUpstream({
          host,
          port,
          ...(forward.sourceAddress === undefined ? {} : { sourceAddress: forward.sourceAddress }),
        }),
      ),
      ...(cache === undefined ? {} : { cache }),
      randomId: () => randomInt(0x10000),
      now,
      later: (task, delay) => {
        const timer = setTimeout(task, delay);
        timer.unref();
        return () => clearTimeout(timer);
      },
      observe: metrics.forward,
    });
  }
  const caches: { readonly positiveSize: number; readonly negativeSize: number }[] = [];
  metrics.registry.gauges("coredns_cache_entries", "Entries of the cache.", ["server", "type", "zones", "view"], () => [
    [["dns://:53", "success", ".", ""], caches.reduce((sum, cache) => sum + cache.positiveSize, 0)],
    [["dns://:53", "denial", ".", ""], caches.reduce((sum, cache) => sum + cache.negativeSize, 0)],
  ]);
  metrics.registry.gauge("portolan_dns_tcp_connections", "Open TCP connections.", () => openConnections);

  function assemble(configuration: readonly ServerBlockConfiguration[]): Assembly {
    caches.length = 0;
    const forwarders: Forwarder[] = [];
    let zone: ClusterZone | undefined;
    let startupTimeout = 0;
    let lameduck = 0;
    const probes: { name: Uint8Array; seen: number }[] = [];
    const blocks: HandlerBlock[] = configuration.map((block) => {
      let next = options.resolver;
      let except: readonly string[] = [];
      const given = options.upstreams ?? [];
      const forward =
        given.length > 0
          ? {
              ...(block.forward[0] ?? readServerConfiguration(". {\n forward . 127.0.0.1\n}")[0]!.forward[0]!),
              files: [],
              to: given.map((text) => {
                const address = endpointFromText(text, 53);
                if (address === undefined) throw new DnsServerError("upstream", `"${text}" is no address with a port`);
                return address;
              }),
            }
          : (block.forward.find(({ from }) => from === ".") ?? block.forward[0]);
      if (next === undefined && forward !== undefined) {
        const forwarder = forwarderOf(block, forward);
        forwarders.push(forwarder);
        next = forwarder;
        except = forward.except;
        if (block.loop) {
          const name = nameFromLabels([
            String(randomInt(2 ** 47)),
            String(randomInt(2 ** 47)),
            ...(block.origins[0] === "." ? [] : block.origins[0]!.replace(/\.$/, "").split(".")),
          ]);
          probes.push({ name, seen: 0 });
          forwarder
            .resolve(
              { name, type: recordTypes.HINFO, class: 1 },
              { transport: "udp", recursionDesired: true, checkingDisabled: false, dnssecOk: false },
            )
            .catch(() => undefined);
        }
      }
      let own: ClusterZone | undefined;
      if (block.kubernetes !== undefined) {
        own = zone ??= options.zone ?? createClusterZone({ ...block.kubernetes.zone, localAddresses });
        startupTimeout = Math.max(startupTimeout, block.kubernetes.startupTimeout);
      }
      lameduck = Math.max(lameduck, block.health?.lameduck ?? 0);
      const access = accessOf(block.acl);
      return {
        origins: block.origins.map((origin) => nameFromText(origin)),
        ...(own === undefined ? {} : { zone: own }),
        ...(block.kubernetes?.fallthrough === undefined
          ? {}
          : { fallthrough: block.kubernetes.fallthrough.map((text) => nameFromText(text)) }),
        ...(next === undefined ? {} : { next }),
        except: except.map((text) => nameFromText(text)),
        udpPayloadSize: block.udpPayloadSize ?? 1232,
        minimalAny: block.any,
        ...(block.chaos === undefined ? {} : { chaos: { ...block.chaos, hostname: hostname() } }),
        loadbalance: block.loadbalance,
        ...(block.transfer === undefined
          ? {}
          : {
              transfer: {
                allows: (address: string) => block.transfer!.includes("*") || block.transfer!.includes(address),
              },
            }),
        ...(block.cache?.positiveMaximumTtl === undefined ? {} : { maximumTtl: block.cache.positiveMaximumTtl }),
        ...(access === undefined ? {} : { access }),
      };
    });
    if (zone === undefined) {
      if (options.zone !== undefined) zone = options.zone;
      else throw new DnsServerError("no-zone", 'no block has "kubernetes"; a cluster DNS server needs one');
    }
    const watch = options.api === undefined ? undefined : watchZone(options.api, zone, onError);
    let started = 0;
    const inner = createQueryHandler({
      blocks,
      ...(options.admission === undefined ? {} : { admission: options.admission }),
      observe: (report) => {
        const seconds = (now() - started) / 1000;
        metrics.query(report, seconds);
        options.onQuery?.(report, seconds);
      },
    });
    const handler: QueryHandler = {
      handle(request, client) {
        started = now();
        for (const probe of probes) {
          const end = 12 + probe.name.length;
          if (request.length < end || !equalNames(request.subarray(12, end), probe.name)) continue;
          // A forwarder that comes back to us would go round until every port is in use.
          if (++probe.seen > 2)
            onError(
              new DnsServerError(
                "loop",
                "an upstream forwards to this server; look at its address and at the resolv.conf used",
              ),
            );
        }
        return inner.handle(request, client);
      },
    };
    return {
      handler,
      zone,
      watch,
      startupTimeout,
      lameduck,
      stop() {
        watch?.stop();
        for (const forwarder of forwarders) forwarder.close();
      },
    };
  }

  let configuration = configurationOf(options.corefile);
  const places = (blocks: readonly ServerBlockConfiguration[]): { host: string; port: number }[] => {
    const list = new Map<string, { host: string; port: number }>();
    for (const { bind, port } of blocks)
      for (const host of bind.length > 0 ? bind : ["::"]) list.set(`${host} ${port}`, { host, port });
    return [...list.values()];
  };
  const listen =
    options.listen ?? (options.corefile === undefined ? [{ host: "127.0.0.1", port: 0 }] : places(configuration));
  if (options.localAddresses === undefined)
    localAddresses = listen.some(({ host }) => wildcard(host))
      ? ownAddresses()
      : listen.map(({ host }) => canonicalAddress(host) ?? host);

  let assembly = assemble(configuration);
  const current: QueryHandler = { handle: (request, client) => assembly.handler.handle(request, client) };
  const listeners: Listener[] = [];
  const endpoints: (OpenHttpEndpoint & { name: "health" | "ready" | "metrics" })[] = [];

  async function closeAll(grace: number): Promise<void> {
    await Promise.all([
      ...listeners.map((listener) => listener.close(grace)),
      ...endpoints.map((endpoint) => endpoint.close()),
    ]);
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
    for (const { host, port } of listen) {
      try {
        // A free TCP port may be taken for UDP already; another one is not.
        for (let attempt = 0; ; attempt++) {
          const tcp = await listenTcp(host, port, current, onError, options.limits, (open) => {
            openConnections = open;
          });
          try {
            listeners.push(await listenUdp(host, tcp.port, current, onError));
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
        old.stop();
      } catch (error) {
        metrics.reloadFailures.increment();
        throw error;
      }
    },
    close(how = {}) {
      closed ??= (async () => {
        closing = true;
        const lameduck = how.lameduck ?? assembly.lameduck;
        if (lameduck > 0) await new Promise((resolve) => setTimeout(resolve, lameduck));
        await closeAll(options.grace ?? 5000);
      })();
      return closed;
    },
  };
}
