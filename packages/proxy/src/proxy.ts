import type { InformerFactory } from "@portolan/client";
import { type EndpointSlice, type Node, resources, type Service } from "@portolan/core";
import type { SchedulerName, ServicePortSpec, ServiceTables } from "@portolan/dataplane";
import type { IPFamily } from "@portolan/net";
import { proxyConfigz } from "./configz.ts";
import {
  type HealthCheck,
  type HealthCheckServer,
  isNodeEligible,
  isProxyHealthy,
  type ProxyHealth,
} from "./health.ts";
import { createProxyMetrics, families, type ProxyMetrics } from "./metrics.ts";
import { compileNodeSpec, type ProxyConfiguration } from "./node-spec.ts";
import { type CompiledServicePort, compileServicePorts, localReadyEndpoints } from "./service-ports.ts";

/** Options of {@link createProxy}. */
export interface ProxyOptions {
  /** Shared informers; the proxy uses those of Services, EndpointSlices and Nodes. */
  readonly informers: InformerFactory;
  readonly nodeName: string;
  /** The dataplane whose maps are kept equal to the objects. Errors that it throws are retried after `syncPeriod`. */
  readonly tables: ServiceTables;
  readonly configuration?: ProxyConfiguration;
  /** Addresses on the node's interfaces beside those in the Node object, such as pod gateways. */
  readonly localAddresses?: readonly string[];
  /** Scheduler of Services that choose none. Default `random`, and `rr` in mode `ipvs`. */
  readonly scheduler?: SchedulerName;
  /** Shortest time between two syncs in ms; changes in between are applied together. Default 0. */
  readonly minSyncPeriod?: number;
  /** Time after which a failed sync is tried again, in ms. Default 30,000. */
  readonly syncPeriod?: number;
  /** Time after which everything is compiled and installed anew, in ms, whatever was lost on the way. Default one hour; 0: never. */
  readonly fullSyncPeriod?: number;
  readonly healthChecks?: HealthCheckServer;
  /** Called after each sync that changed something. */
  readonly onSync?: (change: SyncReport) => void;
  /** Called with what a failed sync threw. */
  readonly onError?: (error: Error) => void;
  readonly now?: () => number;
}

/** What a sync did. */
export interface SyncReport {
  /** True for the first sync, after node changes and once in a full-sync period; false when only changed Services were compiled. */
  readonly full: boolean;
  /** Services that were compiled. */
  readonly services: number;
  /** Dataplane entries written and removed. */
  readonly set: number;
  readonly removed: number;
  /** Entries that the dataplane refused; they are tried again. */
  readonly refused: number;
}

/** A running proxy. */
export interface ServiceProxy {
  /** Runs until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves after the first sync. */
  synced(): Promise<void>;
  health(): ProxyHealth;
  nodeEligible(): boolean;
  /** Entries as they are in the dataplane, by id. */
  servicePorts(): ReadonlyMap<string, ServicePortSpec>;
  /** JSON of `/configz`. */
  renderConfiguration(): string;
  readonly metrics: ProxyMetrics;
}

/** Service ports without endpoints on this node, by family and policy, while they are counted. */
type NoLocalCounts = Record<IPFamily, { internal: number; external: number }>;

function noneWithoutLocal(): NoLocalCounts {
  return { IPv4: { internal: 0, external: 0 }, IPv6: { internal: 0, external: 0 } };
}

const serviceNameLabel = "kubernetes.io/service-name";

function keyOf(object: { metadata: { namespace?: string; name?: string } }): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name ?? ""}`;
}

function sliceOwner(slice: EndpointSlice): string | undefined {
  const name = slice.metadata.labels?.[serviceNameLabel];
  return name ? `${slice.metadata.namespace ?? ""}/${name}` : undefined;
}

/**
 * kube-proxy's role on one node: watches Services, EndpointSlices and the Node, and keeps a dataplane's maps equal to them.
 * A change costs in proportion to the Services it touches; nothing is rebuilt but on the first sync, when the node changes, and once
 * in a full-sync period.
 */
export function createProxy(options: ProxyOptions): ServiceProxy {
  const { informers, nodeName, tables } = options;
  const now = options.now ?? Date.now;
  const configuration = options.configuration ?? {};
  const syncPeriod = options.syncPeriod ?? 30_000;
  const minSyncPeriod = options.minSyncPeriod ?? 0;
  const scheduler = options.scheduler ?? (configuration.mode === "ipvs" ? "rr" : "random");
  const services = informers.informer<Service>(resources.services);
  const slices = informers.informer<EndpointSlice>(resources.endpointSlices);
  const nodes = informers.informer<Node>(resources.nodes);
  const fullSyncPeriod = options.fullSyncPeriod ?? 3_600_000;
  const metrics = createProxyMetrics(now, configuration.mode);

  const slicesByService = new Map<string, Map<string, EndpointSlice>>();
  const dirty = new Set<string>();
  const installed = new Map<string, { text: string; spec: ServicePortSpec }>();
  const idsByService = new Map<string, readonly string[]>();
  const healthChecks = new Map<string, HealthCheck>();
  const noLocalEndpoints = new Map<string, NoLocalCounts>();
  const withoutLocal = noneWithoutLocal();
  const triggers = new Map<string, { readonly family: IPFamily; readonly time: number }>();
  /** Families that changes since the last sync were about. */
  const concerned = new Set<IPFamily>();
  let healthChecksChanged = true;
  let isFullSyncDue = true;
  let nodeChanged = true;
  let nodeText = "";
  let oldestPending: number | undefined;
  let lastUpdated: number | undefined;
  let lastSync = Number.NEGATIVE_INFINITY;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let timerDue = 0;
  let fullSyncTimer: ReturnType<typeof setTimeout> | undefined;
  let running = false;
  let firstSync: () => void = () => {};
  const first = new Promise<void>((resolve) => {
    firstSync = resolve;
  });

  const health = (): ProxyHealth => ({
    ...(oldestPending === undefined ? {} : { oldestPending }),
    ...(lastUpdated === undefined ? {} : { lastUpdated }),
    now: now(),
    timeout: 2 * syncPeriod,
  });

  /** Syncs after a delay, or sooner when that was asked for already; never before the shortest time has passed. */
  function schedule(delay: number): void {
    if (!running) return;
    const due = Math.max(now() + delay, lastSync + minSyncPeriod);
    if (timer !== undefined && timerDue <= due) return;
    clearTimeout(timer);
    timerDue = due;
    timer = setTimeout(
      () => {
        timer = undefined;
        sync();
      },
      Math.max(due - now(), 0),
    );
  }

  function queue(about: readonly IPFamily[]): void {
    if (oldestPending === undefined) oldestPending = now();
    for (const family of about) concerned.add(family);
    metrics.queued(about);
    schedule(0);
  }

  function markService(service: Service): void {
    dirty.add(keyOf(service));
    metrics.serviceChanges.pending++;
    metrics.serviceChanges.total++;
    queue(families);
  }

  function markSlice(slice: EndpointSlice, owner: string): void {
    dirty.add(owner);
    const trigger = Date.parse(slice.metadata.annotations?.["endpoints.kubernetes.io/last-change-trigger-time"] ?? "");
    const about = families.filter((family) => family === slice.addressType);
    const [family] = about;
    if (!Number.isNaN(trigger) && lastUpdated !== undefined && family !== undefined)
      triggers.set(keyOf(slice), { family, time: trigger });
    metrics.endpointChanges.pending++;
    metrics.endpointChanges.total++;
    queue(about);
  }

  function putSlice(slice: EndpointSlice): void {
    const owner = sliceOwner(slice);
    if (owner === undefined) return;
    let ofService = slicesByService.get(owner);
    if (ofService === undefined) {
      ofService = new Map();
      slicesByService.set(owner, ofService);
    }
    ofService.set(keyOf(slice), slice);
    markSlice(slice, owner);
  }

  function dropSlice(slice: EndpointSlice): void {
    const owner = sliceOwner(slice);
    if (owner === undefined) return;
    const ofService = slicesByService.get(owner);
    if (ofService?.delete(keyOf(slice)) !== true) return;
    if (ofService.size === 0) slicesByService.delete(owner);
    markSlice(slice, owner);
  }

  services.addHandler({
    add: markService,
    update: (_old, service) => markService(service),
    delete: markService,
  });
  slices.addHandler({
    add: putSlice,
    update(old, slice) {
      if (sliceOwner(old) !== sliceOwner(slice)) dropSlice(old);
      putSlice(slice);
    },
    delete: dropSlice,
  });
  const onNode = (node: Node): void => {
    if (node.metadata.name !== nodeName) return;
    nodeChanged = true;
    queue(families);
  };
  nodes.addHandler({ add: onNode, update: (_old, node) => onNode(node), delete: onNode });

  function compileAll(key: string, zone: string | undefined): CompiledServicePort[] {
    const slash = key.indexOf("/");
    const service = services.lister.get(key.slice(0, slash), key.slice(slash + 1));
    const topology = { nodeName, ...(zone === undefined ? {} : { zone }) };
    if (service === undefined) {
      healthChecksChanged = healthChecks.delete(key) || healthChecksChanged;
      countWithoutLocal(key, undefined);
      return [];
    }
    const ofService = [...(slicesByService.get(key)?.values() ?? [])];
    const compiled = compileServicePorts(service, ofService, { ...topology, scheduler });
    const port = service.spec?.healthCheckNodePort;
    if (port && service.spec?.type === "LoadBalancer" && service.spec.externalTrafficPolicy === "Local") {
      healthChecksChanged = true;
      healthChecks.set(key, {
        namespace: service.metadata.namespace ?? "",
        name: service.metadata.name ?? "",
        port,
        localEndpoints: localReadyEndpoints(service, ofService, topology),
      });
    } else {
      healthChecksChanged = healthChecks.delete(key) || healthChecksChanged;
    }
    const without = noneWithoutLocal();
    for (const { spec } of compiled) {
      if (!spec.hasAny || spec.local.length > 0) continue;
      if (spec.internalTrafficPolicy === "Local") without[spec.family].internal++;
      if (spec.externalTrafficPolicy === "Local") without[spec.family].external++;
    }
    countWithoutLocal(key, without);
    return compiled;
  }

  /** Keeps the totals of all Services without walking over them. */
  function countWithoutLocal(key: string, now: NoLocalCounts | undefined): void {
    const before = noLocalEndpoints.get(key);
    let any = false;
    for (const family of families) {
      for (const policy of ["internal", "external"] as const) {
        withoutLocal[family][policy] += (now?.[family][policy] ?? 0) - (before?.[family][policy] ?? 0);
        if (now !== undefined && now[family][policy] > 0) any = true;
      }
    }
    if (now === undefined || !any) noLocalEndpoints.delete(key);
    else noLocalEndpoints.set(key, now);
  }

  /**
   * Writes entries one by one, so that one that is refused does not hold up the others.
   *
   * @returns those that the dataplane took
   */
  function writeEach(ports: readonly CompiledServicePort[], refused: Map<string, Error>): CompiledServicePort[] {
    const taken: CompiledServicePort[] = [];
    for (const port of ports) {
      try {
        tables.setServicePort(port.spec);
        taken.push(port);
      } catch (error) {
        refused.set(port.spec.id, error as Error);
      }
    }
    return taken;
  }

  /** Applies everything that is pending. A failure keeps it pending and is tried again after the sync period. */
  function sync(): void {
    if (!running) return;
    const started = now();
    lastSync = started;
    const node = nodes.lister.get(undefined, nodeName);
    const zone = node?.metadata.labels?.["topology.kubernetes.io/zone"];
    try {
      let full = false;
      if (nodeChanged) {
        const spec = compileNodeSpec(node ?? { metadata: { name: nodeName } }, configuration, options.localAddresses);
        const text = JSON.stringify([spec, zone]);
        if (text !== nodeText) {
          tables.configureNode(spec);
          nodeText = text;
          full = true;
          for (const service of services.lister.list()) dirty.add(keyOf(service));
        }
        nodeChanged = false;
      }
      const whole = isFullSyncDue;
      if (whole) for (const service of services.lister.list()) dirty.add(keyOf(service));
      const compiled: CompiledServicePort[] = [];
      const removed: string[] = [];
      const keys = [...dirty];
      const ids = new Map<string, readonly string[]>();
      for (const key of keys) {
        const ports = compileAll(key, zone);
        const own = ports.map((port) => port.spec.id);
        ids.set(key, own);
        for (const id of idsByService.get(key) ?? []) if (!own.includes(id)) removed.push(id);
        for (const port of ports) {
          if (whole || installed.get(port.spec.id)?.text !== JSON.stringify(port.spec)) compiled.push(port);
        }
      }
      const refused = new Map<string, Error>();
      let written: CompiledServicePort[] = compiled;
      if (whole) {
        try {
          tables.replaceServicePorts(compiled.map((port) => port.spec));
        } catch {
          // Not all of it fits or is right: then as much as possible.
          for (const id of [...removed, ...installed.keys()]) tables.removeServicePort(id);
          installed.clear();
          written = writeEach(compiled, refused);
        }
      } else {
        // Removals first: an address that moves from one Service to another must not be refused as taken.
        for (const id of removed) tables.removeServicePort(id);
        written = writeEach(compiled, refused);
      }
      for (const id of removed) installed.delete(id);
      for (const { spec } of written) installed.set(spec.id, { text: JSON.stringify(spec), spec });
      dirty.clear();
      for (const [key, own] of ids) {
        if (own.length > 0) idsByService.set(key, own);
        else idsByService.delete(key);
        if (own.some((id) => refused.has(id))) dirty.add(key);
      }
      if (whole) {
        isFullSyncDue = false;
        scheduleFullSync();
      }
      // After the publication: a packet in between would make the stale entry anew.
      for (const family of families) flushStale(family, written);
      const [failure] = refused.values();
      if (failure === undefined) oldestPending = undefined;
      lastUpdated = now();
      if (healthChecksChanged) options.healthChecks?.sync([...healthChecks.values()], () => isProxyHealthy(health()));
      healthChecksChanged = false;
      metrics.synced({
        started,
        full: full || whole,
        families: full || whole ? families : concerned,
        noLocalEndpoints: withoutLocal,
        triggers: triggers.values(),
      });
      triggers.clear();
      concerned.clear();
      if (written.length > 0 || removed.length > 0 || refused.size > 0 || whole) {
        options.onSync?.({
          full: full || whole,
          services: keys.length,
          set: written.length,
          removed: removed.length,
          refused: refused.size,
        });
      }
      firstSync();
      if (failure !== undefined) {
        const about = families.filter((family) =>
          compiled.some(({ spec }) => spec.family === family && refused.has(spec.id)),
        );
        fail(failure, about, full || whole);
      }
    } catch (error) {
      // How far it came is not known.
      const full = isFullSyncDue;
      isFullSyncDue = true;
      fail(error as Error, families, full);
    }
  }

  /** Removes UDP flows of entries that were written to endpoints that they no longer have. */
  function flushStale(family: IPFamily, written: readonly CompiledServicePort[]): void {
    const started = now();
    let flushes = 0;
    let deleted: number | undefined = 0;
    for (const { spec, serving } of written) {
      if (spec.protocol !== "UDP" || spec.family !== family || serving.length === 0) continue;
      const removed = tables.flushUdp(spec.frontends, family, serving);
      deleted = deleted === undefined || removed === undefined ? undefined : deleted + removed;
      flushes++;
    }
    if (flushes > 0) metrics.flushed(family, now() - started, deleted);
  }

  function fail(error: Error, about: readonly IPFamily[], full: boolean): void {
    metrics.failed(about, full);
    options.onError?.(error);
    schedule(syncPeriod);
  }

  function scheduleFullSync(): void {
    clearTimeout(fullSyncTimer);
    if (fullSyncPeriod <= 0) return;
    fullSyncTimer = setTimeout(() => {
      isFullSyncDue = true;
      queue(families);
    }, fullSyncPeriod);
  }

  return {
    metrics,
    renderConfiguration: () => proxyConfigz(configuration, { minSyncPeriod, syncPeriod }),
    health,
    nodeEligible: () => isNodeEligible(nodes.lister.get(undefined, nodeName)),
    servicePorts: () => new Map([...installed].map(([id, entry]) => [id, entry.spec])),
    synced: () => first,
    async run(signal) {
      await Promise.all([services.synced(signal), slices.synced(signal), nodes.synced(signal)]);
      if (signal.aborted) return;
      running = true;
      queue(families);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      running = false;
      clearTimeout(timer);
      clearTimeout(fullSyncTimer);
      await options.healthChecks?.close();
    },
  };
}
