import { parseAddress, parsePrefix, prefixContains } from "@portolan/net";
import { isWithin, nameFromText } from "../message/name.ts";
import { recordTypeFromName } from "../message/record-type.ts";
import { type ClusterZone, createClusterZone } from "../zone/cluster-zone.ts";
import { type AnswerCache, createAnswerCache } from "./answer-cache.ts";
import type { AccessRule, ForwardConfiguration, ServerBlockConfiguration, UpstreamAddress } from "./configuration.ts";
import { createForwarder, type Forwarder, type ForwarderOptions, type Upstream } from "./forwarder.ts";
import { createQueryHandler, type HandlerBlock, type QueryHandler, type QueryHandlerOptions } from "./query-handler.ts";
import { ResolveError, type Resolver } from "./resolver.ts";

/** What blocks of a configuration are put together with; nothing here does I/O by itself. */
export interface AssemblyOptions
  extends Pick<QueryHandlerOptions, "observe" | "admission" | "random" | "tcpIdleTimeout"> {
  /** Answers everything that is not the cluster's, instead of the configured upstreams. */
  readonly resolver?: Resolver;
  /** An upstream for an address of the configuration. */
  readonly upstream: (address: UpstreamAddress, forward: ForwardConfiguration) => Upstream;
  /** Servers named in a file in resolv.conf form. */
  readonly nameservers?: (path: string) => readonly UpstreamAddress[];
  /** A zone of the caller's, used instead of creating one. */
  readonly zone?: ClusterZone;
  readonly localAddresses?: readonly string[];
  /** Name of this machine, for `hostname.bind`. */
  readonly hostname?: string;
  readonly randomId: ForwarderOptions["randomId"];
  /** Monotonic milliseconds. */
  readonly now: ForwarderOptions["now"];
  readonly later: ForwarderOptions["later"];
  readonly observeForward?: NonNullable<ForwarderOptions["observe"]>;
}

/** Blocks that work together. */
export interface Assembly {
  readonly handler: QueryHandler;
  /** The cluster's zone; undefined when no block has one. */
  readonly zone: ClusterZone | undefined;
  /** One per block that forwards. */
  readonly forwarders: readonly { readonly block: ServerBlockConfiguration; readonly forwarder: Forwarder }[];
  readonly caches: readonly AnswerCache[];
  /** Ends probes of upstreams. */
  close(): void;
}

/** Rules of `acl` as a function of address and type; the first that fits decides, none means allow. */
export function accessOf(rules: readonly AccessRule[]): HandlerBlock["access"] {
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
      const within = parsed !== undefined && networks.some((network) => prefixContains(network, parsed));
      if (networks.length === 0 || within) return action;
    }
    return "allow";
  };
}

/** Puts server blocks together: zone, forwarders, caches, and the handler over all of them. Throws what zones and upstreams throw. */
export function assembleBlocks(configuration: readonly ServerBlockConfiguration[], options: AssemblyOptions): Assembly {
  const forwarders: { block: ServerBlockConfiguration; forwarder: Forwarder }[] = [];
  const caches: AnswerCache[] = [];
  let zone = options.zone;

  function forwarderOf(block: ServerBlockConfiguration, forward: ForwardConfiguration): Forwarder {
    const addresses = [...forward.to, ...forward.files.flatMap((path) => options.nameservers?.(path) ?? [])];
    let cache: AnswerCache | undefined;
    if (block.cache !== undefined) {
      cache = createAnswerCache({ ...block.cache, now: options.now });
      caches.push(cache);
    }
    const forwarder = createForwarder({
      ...forward,
      upstreams: addresses.map((address) => options.upstream(address, forward)),
      ...(cache === undefined ? {} : { cache }),
      randomId: options.randomId,
      ...(block.staleVerify === undefined ? {} : { staleVerify: block.staleVerify }),
      ...(block.cancel === undefined ? {} : { totalTimeout: block.cancel }),
      ...(options.random === undefined ? {} : { random: options.random }),
      now: options.now,
      later: options.later,
      ...(options.observeForward === undefined ? {} : { observe: options.observeForward }),
    });
    forwarders.push({ block, forwarder });
    return forwarder;
  }

  /** All `forward` of a block as one: the longest zone that a name is within takes it, unless it is an exception there. */
  function resolverOf(block: ServerBlockConfiguration): Resolver | undefined {
    if (block.forward.length === 0) return undefined;
    const routes = block.forward
      .map((forward) => ({
        from: nameFromText(forward.from),
        except: forward.except.map((text) => nameFromText(text)),
        forwarder: forwarderOf(block, forward),
      }))
      .sort((a, b) => b.from.length - a.from.length);
    return {
      async resolve(question, how) {
        const { name } = question;
        const route = routes.find(
          ({ from, except }) => isWithin(name, from) && !except.some((exception) => isWithin(name, exception)),
        );
        if (route === undefined) throw new ResolveError("no-upstream", "no forward takes this name");
        return route.forwarder.resolve(question, how);
      },
    };
  }

  const blocks = configuration.map((block): HandlerBlock => {
    const next = options.resolver ?? resolverOf(block);
    let own: ClusterZone | undefined;
    if (block.kubernetes !== undefined)
      own = zone ??= createClusterZone({ ...block.kubernetes.zone, localAddresses: options.localAddresses ?? [] });
    const access = accessOf(block.acl);
    const transfer = block.transfer;
    return {
      origins: block.origins.map((origin) => nameFromText(origin)),
      ...(own === undefined ? {} : { zone: own }),
      ...(block.kubernetes?.fallthrough === undefined
        ? {}
        : { fallthrough: block.kubernetes.fallthrough.map((text) => nameFromText(text)) }),
      ...(next === undefined ? {} : { next }),
      udpPayloadSize: block.udpPayloadSize ?? 1232,
      minimalAny: block.any,
      autopath: block.autopath,
      ...(block.chaos === undefined ? {} : { chaos: { ...block.chaos, hostname: options.hostname ?? "localhost" } }),
      loadbalance: block.loadbalance,
      ...(transfer === undefined
        ? {}
        : { transfer: { allows: (address: string) => transfer.includes("*") || transfer.includes(address) } }),
      ...(block.cache?.positiveMaximumTtl === undefined ? {} : { maximumTtl: block.cache.positiveMaximumTtl }),
      ...(block.cache === undefined ? {} : { maximumFailureTtl: block.cache.failureTtl ?? 5 }),
      ...(access === undefined ? {} : { access }),
    };
  });
  const handler = createQueryHandler({
    blocks,
    now: options.now,
    ...(options.tcpIdleTimeout === undefined ? {} : { tcpIdleTimeout: options.tcpIdleTimeout }),
    ...(options.random === undefined ? {} : { random: options.random }),
    ...(options.admission === undefined ? {} : { admission: options.admission }),
    ...(options.observe === undefined ? {} : { observe: options.observe }),
  });
  return {
    handler,
    zone,
    forwarders,
    caches,
    close() {
      for (const { forwarder } of forwarders) forwarder.close();
    },
  };
}
