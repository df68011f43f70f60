import { parseLabelSelector } from "@portolan/core";
import { parsePrefix } from "@portolan/net";
import { nameFromText } from "../message/name.ts";
import { responseCodes } from "../message/record-type.ts";
import { type ClusterZoneOptions, createClusterZone, type PodMode } from "../zone/cluster-zone.ts";
import type { AnswerCacheOptions } from "./answer-cache.ts";
import { type CorefileDirective, CorefileError, type CorefileOptions, parseCorefile } from "./corefile.ts";
import type { ForwardPolicy } from "./forwarder.ts";

/** An upstream as it stands in the configuration. */
export interface UpstreamAddress {
  readonly host: string;
  readonly port: number;
}

/** `forward`. Times in milliseconds. */
export interface ForwardConfiguration {
  /** Zone that is forwarded. */
  readonly from: string;
  readonly to: readonly UpstreamAddress[];
  /** Files in resolv.conf form whose name servers are upstreams as well. */
  readonly files: readonly string[];
  readonly except: readonly string[];
  readonly policy: ForwardPolicy;
  readonly maximumFailures: number;
  readonly maximumConcurrent: number;
  readonly healthCheckInterval: number;
  readonly healthCheckDomain: string;
  readonly healthCheckRecursionDesired: boolean;
  readonly forceTcp: boolean;
  readonly preferUdp: boolean;
  readonly failFast: boolean;
  readonly failover: readonly number[];
  readonly maximumAttempts?: number;
  readonly sourceAddress?: string;
}

/** An endpoint for HTTP: `health`, `ready`, `prometheus`. */
export interface HttpEndpoint {
  readonly host: string;
  readonly port: number;
}

/** One server block. */
export interface ServerBlockConfiguration {
  /** Zones whose questions come here; `.` for all. */
  readonly origins: readonly string[];
  readonly port: number;
  /** Addresses to listen on; empty: all. */
  readonly bind: readonly string[];
  readonly kubernetes?: {
    readonly zone: ClusterZoneOptions;
    /** Absent: off. Empty: all zones. */
    readonly fallthrough?: readonly string[];
    /** Milliseconds to wait for the first lists before answering. */
    readonly startupTimeout: number;
    readonly kubeconfig?: { readonly path: string; readonly context?: string };
  };
  readonly forward: readonly ForwardConfiguration[];
  /** Without `now`. `staleTtl` and the like in seconds. */
  readonly cache?: Omit<AnswerCacheOptions, "now">;
  /** Milliseconds for which a new answer is waited for before a stale one is given; absent: not at all. */
  readonly staleVerify?: number;
  readonly errors: boolean;
  readonly log: boolean;
  readonly loop: boolean;
  readonly loadbalance: boolean;
  readonly any: boolean;
  readonly autopath: boolean;
  readonly udpPayloadSize?: number;
  readonly chaos?: { readonly version: string; readonly authors: readonly string[] };
  /** Clients that may fetch whole zones; `*` for all. */
  readonly transfer?: readonly string[];
  readonly health?: HttpEndpoint & { /** Milliseconds. */ readonly lameduck: number };
  readonly ready?: HttpEndpoint;
  readonly prometheus?: HttpEndpoint;
  /** Milliseconds after which a question that others have to answer has failed. */
  readonly cancel?: number;
  /** Limits of TCP connections, milliseconds. */
  readonly timeouts?: { readonly read?: number; readonly idle?: number; readonly maximumQueries?: number };
  /** Milliseconds between looks at the file. */
  readonly reload?: { readonly interval: number; readonly jitter: number };
  readonly acl: readonly AccessRule[];
  /** Names of what stands in the block, each once, in order. */
  readonly directives: readonly string[];
}

/** `acl`: the first rule that fits decides. */
export interface AccessRule {
  readonly action: "allow" | "block" | "filter" | "drop";
  readonly networks: readonly string[];
  /** Names of types; empty: all. */
  readonly types: readonly string[];
}

/** The block of kubeadm's ConfigMap, what a server without a Corefile does. */
export function defaultCorefile(domain = "cluster.local"): string {
  return `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes ${domain} in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`;
}

const durationUnits: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration in Go's form, `1h30m`, `500ms`; a bare number counts seconds. Undefined when it is none. */
export function durationFromText(text: string): number | undefined {
  if (/^[0-9]+$/.test(text)) return Number(text) * 1000;
  if (!/^(?:[0-9.]+(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9.]+)(ns|us|µs|ms|s|m|h)/g))
    sum += Number(amount) * durationUnits[unit!]!;
  return Number.isFinite(sum) ? sum : undefined;
}

/** Splits `HOST:PORT`, `[V6]:PORT`, `:PORT`, `HOST`. Undefined when the port is none. */
export function endpointFromText(text: string, defaultPort: number): UpstreamAddress | undefined {
  const bracket = /^\[([^\]]+)\](?::([0-9]+))?$/.exec(text);
  const plain = /^([^:]*):([0-9]+)$/.exec(text);
  const [host, port] =
    bracket !== null ? [bracket[1]!, bracket[2]] : plain !== null ? [plain[1]!, plain[2]] : [text, undefined];
  const number = port === undefined ? defaultPort : Number(port);
  if (number > 65535) return undefined;
  return { host: host.replace(/%.*$/, ""), port: number };
}

/** Reads a Corefile into blocks. Throws {@link CorefileError}: nothing unknown is skipped, so nothing is silently not done. */
export function readServerConfiguration(text: string, options: CorefileOptions = {}): ServerBlockConfiguration[] {
  const file = options.file ?? "Corefile";
  return parseCorefile(text, options).map(({ keys, directives, line }) => {
    const wrong = (directive: CorefileDirective, message: string): CorefileError =>
      new CorefileError("argument", file, directive.line, `${directive.name}: ${message}`);
    const unknown = (directive: CorefileDirective, property: CorefileDirective): CorefileError =>
      new CorefileError(
        "unknown-property",
        file,
        property.line,
        `${directive.name}: unknown property "${property.name}"`,
      );
    const one = (directive: CorefileDirective): string => {
      if (directive.arguments.length !== 1) throw wrong(directive, "takes exactly one argument");
      return directive.arguments[0]!;
    };
    const none = (directive: CorefileDirective): void => {
      if (directive.arguments.length > 0 || directive.body.length > 0) throw wrong(directive, "takes no arguments");
    };
    const numberOf = (directive: CorefileDirective, value: string, low: number, high: number): number => {
      const number = Number(value);
      if (!/^[0-9]+$/.test(value) || number < low || number > high)
        throw wrong(directive, `"${value}" is no number from ${low} to ${high}`);
      return number;
    };
    const duration = (directive: CorefileDirective, value: string): number => {
      const milliseconds = durationFromText(value);
      if (milliseconds === undefined) throw wrong(directive, `"${value}" is no duration such as 5s`);
      return milliseconds;
    };
    const endpoint = (directive: CorefileDirective, value: string, port: number): UpstreamAddress => {
      const found = endpointFromText(value, port);
      if (found === undefined) throw wrong(directive, `"${value}" is no address with a port`);
      return found;
    };

    const origins: string[] = [];
    let port: number | undefined;
    for (const key of keys) {
      const match = /^(?:(\w+):\/\/)?(\[[^\]]*\]|[^:]*)(?::([0-9]+))?$/.exec(key);
      if (match === null) throw new CorefileError("syntax", file, line, `"${key}" is no zone`);
      if (match[1] !== undefined && match[1] !== "dns")
        throw new CorefileError("argument", file, line, `${match[1]}:// is not served; only dns:// is`);
      const number = match[3] === undefined ? 53 : Number(match[3]);
      if (port !== undefined && port !== number)
        throw new CorefileError("argument", file, line, "zones of one block must have the same port; write two blocks");
      port = number;
      const origin = match[2] === "" ? "." : match[2]!;
      try {
        nameFromText(origin);
      } catch (error) {
        throw new CorefileError("argument", file, line, `"${origin}" is no zone: ${(error as Error).message}`);
      }
      origins.push(origin);
    }

    const seen = new Set<string>();
    let external: ClusterZoneOptions["external"];
    const block: { -readonly [Key in keyof ServerBlockConfiguration]: ServerBlockConfiguration[Key] } = {
      origins,
      port: port ?? 53,
      bind: [],
      forward: [],
      errors: false,
      log: false,
      loop: false,
      loadbalance: false,
      any: false,
      autopath: false,
      acl: [],
      directives: [],
    };
    for (const directive of directives) {
      const { name, arguments: words, body } = directive;
      if (seen.has(name) && name !== "forward" && name !== "acl" && name !== "bind")
        throw new CorefileError("argument", file, directive.line, `${name} stands twice in this block`);
      seen.add(name);
      switch (name) {
        case "errors":
          for (const property of body)
            if (property.name !== "consolidate" && property.name !== "stacktrace") throw unknown(directive, property);
          block.errors = true;
          break;
        case "debug":
          none(directive);
          break;
        case "log":
          for (const property of body) if (property.name !== "class") throw unknown(directive, property);
          block.log = true;
          break;
        case "loop":
          none(directive);
          block.loop = true;
          break;
        case "any":
          none(directive);
          block.any = true;
          break;
        case "autopath":
          if (words.at(-1) !== "@kubernetes") throw wrong(directive, "only the search list of @kubernetes is known");
          block.autopath = true;
          break;
        case "k8s_external": {
          if (words.length === 0) throw wrong(directive, "takes at least one zone");
          let headless = false;
          let ttl = 5;
          for (const property of body) {
            if (property.name === "headless") headless = true;
            else if (property.name === "ttl") ttl = numberOf(property, one(property), 0, 3600);
            else throw unknown(directive, property);
          }
          external = { zones: words, headless, ttl };
          break;
        }
        case "loadbalance":
          if (words.length > 0 && words[0] !== "round_robin")
            throw wrong(directive, `policy "${words[0]}" is not supported; round_robin is`);
          if (body.length > 0) throw unknown(directive, body[0]!);
          block.loadbalance = true;
          break;
        case "bind":
          for (const property of body) throw unknown(directive, property);
          if (words.length === 0) throw wrong(directive, "takes at least one address");
          block.bind = [...block.bind, ...words];
          break;
        case "bufsize":
          block.udpPayloadSize = words.length === 0 ? 1232 : numberOf(directive, one(directive), 512, 4096);
          break;
        case "chaos":
          block.chaos = { version: words[0] ?? "Portolan", authors: words.length > 1 ? words.slice(1) : ["Portolan"] };
          break;
        case "transfer": {
          const to: string[] = [];
          for (const property of body) {
            if (property.name !== "to") throw unknown(directive, property);
            to.push(...property.arguments);
          }
          if (to.length === 0) throw wrong(directive, 'needs "to" with at least one address or *');
          block.transfer = to;
          break;
        }
        case "acl": {
          const rules: AccessRule[] = [];
          for (const property of body) {
            const action = property.name;
            if (action !== "allow" && action !== "block" && action !== "filter" && action !== "drop")
              throw unknown(directive, property);
            const types: string[] = [];
            const networks: string[] = [];
            let list = networks;
            for (const word of property.arguments) {
              if (word === "type") list = types;
              else if (word === "net") list = networks;
              else list.push(word);
            }
            for (const network of networks)
              if (
                network !== "*" &&
                parsePrefix(network.includes("/") ? network : `${network}/${network.includes(":") ? 128 : 32}`) ===
                  undefined
              )
                throw wrong(directive, `"${network}" is no block of addresses`);
            rules.push({
              action,
              types: types.filter((type) => type !== "*"),
              networks: networks.filter((one) => one !== "*"),
            });
          }
          block.acl = [...block.acl, ...rules];
          break;
        }
        case "health": {
          let lameduck = 0;
          for (const property of body) {
            if (property.name !== "lameduck") throw unknown(directive, property);
            lameduck = duration(directive, one(property));
          }
          block.health = { ...endpoint(directive, words[0] ?? ":8080", 8080), lameduck };
          break;
        }
        case "ready":
          for (const property of body) if (property.name !== "monitor") throw unknown(directive, property);
          block.ready = endpoint(directive, words[0] ?? ":8181", 8181);
          break;
        case "prometheus":
          for (const property of body) throw unknown(directive, property);
          block.prometheus = endpoint(directive, words[0] ?? "localhost:9153", 9153);
          break;
        case "reload":
          if (words[0] === "off") break;
          block.reload = {
            interval: words[0] === undefined ? 30_000 : duration(directive, words[0]),
            jitter: words[1] === undefined ? 15_000 : duration(directive, words[1]),
          };
          break;
        case "cancel":
          for (const property of body) throw unknown(directive, property);
          block.cancel = words.length === 0 ? 5001 : duration(directive, one(directive));
          if (block.cancel <= 0) throw wrong(directive, "a question needs some time");
          break;
        case "timeouts": {
          if (words.length > 0) throw wrong(directive, "takes no arguments, only a block");
          const timeouts: { read?: number; idle?: number; maximumQueries?: number } = {};
          for (const property of body) {
            if (property.name === "read") timeouts.read = duration(property, one(property));
            else if (property.name === "idle") timeouts.idle = duration(property, one(property));
            else if (property.name === "maxtcpqueries")
              timeouts.maximumQueries = numberOf(property, one(property), 0, 0x7fffffff);
            // Nothing waits for a write here: a client that does not read is not read from either.
            else if (property.name === "write") duration(property, one(property));
            else throw unknown(directive, property);
          }
          block.timeouts = timeouts;
          break;
        }
        case "cache":
          block.cache = readCache(directive);
          break;
        case "forward":
          block.forward = [...block.forward, readForward(directive)];
          break;
        case "kubernetes":
          block.kubernetes = readKubernetes(directive, origins);
          break;
        default:
          throw new CorefileError("unknown-directive", file, directive.line, `unknown directive "${name}"`);
      }
    }
    block.directives = [...seen];
    if (external !== undefined) {
      if (block.kubernetes === undefined)
        throw new CorefileError("argument", file, line, "k8s_external needs kubernetes in the same block");
      block.kubernetes = { ...block.kubernetes, zone: { ...block.kubernetes.zone, external } };
    }
    if (block.autopath && block.kubernetes?.zone.podMode !== "verified")
      throw new CorefileError("argument", file, line, "autopath needs kubernetes with pods verified in the same block");
    return block;

    function readCache(directive: CorefileDirective): Omit<AnswerCacheOptions, "now"> {
      const cache: { -readonly [Key in keyof AnswerCacheOptions]?: AnswerCacheOptions[Key] } = {};
      let words = directive.arguments;
      if (words.length > 0 && /^[0-9]+$/.test(words[0]!)) {
        const ttl = numberOf(directive, words[0]!, 1, 0x7fffffff);
        cache.positiveMaximumTtl = ttl;
        cache.negativeMaximumTtl = ttl;
        words = words.slice(1);
      }
      for (const { name, arguments: values } of directive.body.map((property) => property)) {
        const property = directive.body.find((other) => other.name === name)!;
        if (name === "success" || name === "denial") {
          const capacity = numberOf(property, values[0] ?? "", 1, 0x7fffffff);
          const ttl = values[1] === undefined ? undefined : numberOf(property, values[1], 1, 0x7fffffff);
          if (name === "success") {
            cache.positiveCapacity = capacity;
            if (ttl !== undefined) cache.positiveMaximumTtl = ttl;
          } else {
            cache.negativeCapacity = capacity;
            if (ttl !== undefined) cache.negativeMaximumTtl = ttl;
          }
          if (values[2] !== undefined) cache.minimumTtl = numberOf(property, values[2], 0, 3600);
        } else if (name === "prefetch") {
          cache.prefetchAmount = numberOf(property, values[0] ?? "", 0, 0x7fffffff);
          if (values[1] !== undefined) cache.prefetchWindow = duration(property, values[1]) / 1000;
          if (values[2] !== undefined) cache.prefetchShare = Number(values[2].replace("%", "")) / 100;
        } else if (name === "serve_stale") {
          cache.staleTtl = values[0] === undefined ? 3600 : duration(property, values[0]) / 1000;
          if (values[1] !== undefined && values[1] !== "immediate" && values[1] !== "verify")
            throw wrong(property, `"${values[1]}" is no way to refresh; immediate and verify are`);
          // Without a time of its own, an upstream is waited for as long as for any question.
          if (values[1] === "verify")
            block.staleVerify = values[2] === undefined ? 5000 : duration(property, values[2]);
        } else if (name === "servfail") cache.failureTtl = duration(property, values[0] ?? "") / 1000;
        else throw unknown(directive, property);
      }
      return cache;
    }

    function readForward(directive: CorefileDirective): ForwardConfiguration {
      const [from, ...targets] = directive.arguments;
      if (from === undefined || targets.length === 0) throw wrong(directive, "takes a zone and at least one upstream");
      const to: UpstreamAddress[] = [];
      const files: string[] = [];
      for (const target of targets) {
        if (target.startsWith("/")) files.push(target);
        else if (target.startsWith("tls://") || target.startsWith("https://"))
          throw wrong(directive, `"${target}": only plain DNS upstreams are supported`);
        else to.push(endpoint(directive, target.replace(/^dns:\/\//, ""), 53));
      }
      if (to.length > 15) throw wrong(directive, "at most 15 upstreams are allowed");
      const forward: { -readonly [Key in keyof ForwardConfiguration]: ForwardConfiguration[Key] } = {
        from,
        to,
        files,
        except: [],
        policy: "random",
        maximumFailures: 2,
        maximumConcurrent: 0,
        healthCheckInterval: 500,
        healthCheckDomain: ".",
        healthCheckRecursionDesired: true,
        forceTcp: false,
        preferUdp: false,
        failFast: false,
        failover: [],
      };
      for (const property of directive.body) {
        const values = property.arguments;
        switch (property.name) {
          case "except":
            forward.except = [...forward.except, ...values];
            break;
          case "policy":
            if (values[0] !== "random" && values[0] !== "round_robin" && values[0] !== "sequential")
              throw wrong(property, `"${values[0] ?? ""}" is no policy; random, round_robin and sequential are`);
            forward.policy = values[0];
            break;
          case "max_fails":
            forward.maximumFailures = numberOf(property, one(property), 0, 0x7fffffff);
            break;
          case "max_concurrent":
            forward.maximumConcurrent = numberOf(property, one(property), 0, 0x7fffffff);
            break;
          case "max_connect_attempts":
            forward.maximumAttempts = numberOf(property, one(property), 0, 0x7fffffff);
            break;
          case "health_check":
            forward.healthCheckInterval = duration(property, values[0] ?? "");
            if (values.includes("no_rec")) forward.healthCheckRecursionDesired = false;
            if (values.includes("domain")) forward.healthCheckDomain = values[values.indexOf("domain") + 1] ?? ".";
            break;
          case "force_tcp":
            forward.forceTcp = true;
            break;
          case "prefer_udp":
            forward.preferUdp = true;
            break;
          case "failfast_all_unhealthy_upstreams":
            forward.failFast = true;
            break;
          case "failover":
            forward.failover = values.map((value) => {
              const code = responseCodes[value.toUpperCase() as keyof typeof responseCodes];
              if (code === undefined || code === responseCodes.NOERROR)
                throw wrong(property, `"${value}" cannot fail over`);
              return code;
            });
            break;
          case "source_address":
            forward.sourceAddress = one(property);
            break;
          // Connections are not kept between queries, so there is nothing for these to limit.
          case "expire":
          case "max_idle_conns":
          case "max_age":
            break;
          default:
            throw unknown(directive, property);
        }
      }
      return forward;
    }

    function readKubernetes(
      directive: CorefileDirective,
      blockOrigins: readonly string[],
    ): NonNullable<ServerBlockConfiguration["kubernetes"]> {
      const zone: { -readonly [Key in keyof ClusterZoneOptions]: ClusterZoneOptions[Key] } = {
        zones: directive.arguments.length > 0 ? directive.arguments : blockOrigins,
      };
      let fallthrough: readonly string[] | undefined;
      let startupTimeout = 5000;
      let kubeconfig: { path: string; context?: string } | undefined;
      for (const property of directive.body) {
        const values = property.arguments;
        switch (property.name) {
          case "pods":
            if (!["disabled", "insecure", "verified"].includes(one(property)))
              throw wrong(property, `"${values[0]}" is no mode; disabled, insecure and verified are`);
            zone.podMode = values[0] as PodMode;
            break;
          case "ttl":
            zone.ttl = numberOf(property, one(property), 0, 3600);
            break;
          case "namespaces":
            if (values.length === 0) throw wrong(property, "takes at least one namespace");
            zone.namespaces = values;
            break;
          case "namespace_labels":
          case "labels": {
            const text = values.join(" ");
            try {
              parseLabelSelector(text);
            } catch (error) {
              throw wrong(property, (error as Error).message);
            }
            if (property.name === "labels") zone.labels = text;
            else zone.namespaceLabels = text;
            break;
          }
          case "endpoint_pod_names":
            zone.endpointPodNames = true;
            break;
          case "noendpoints":
            zone.noEndpoints = true;
            break;
          case "ignore":
            if (one(property) !== "empty_service") throw wrong(property, `only "empty_service" can be ignored`);
            zone.ignoreEmptyService = true;
            break;
          case "fallthrough":
            fallthrough = values;
            break;
          case "multicluster":
            zone.multiclusterZones = values;
            break;
          case "zonal":
            zone.zonal = true;
            break;
          case "startup_timeout":
            startupTimeout = duration(property, one(property));
            break;
          case "kubeconfig":
            if (values[0] === undefined) throw wrong(property, "takes a file and a context");
            kubeconfig = { path: values[0], ...(values[1] === undefined ? {} : { context: values[1] }) };
            break;
          // Where the API is comes from the server's options; rates of requests are the client's own.
          case "endpoint":
          case "tls":
          case "apiserver_qps":
          case "apiserver_burst":
          case "apiserver_max_inflight":
            break;
          default:
            throw unknown(directive, property);
        }
      }
      try {
        createClusterZone(zone);
      } catch (error) {
        throw wrong(directive, (error as Error).message);
      }
      return {
        zone,
        startupTimeout,
        ...(fallthrough === undefined ? {} : { fallthrough }),
        ...(kubeconfig === undefined ? {} : { kubeconfig }),
      };
    }
  });
}
