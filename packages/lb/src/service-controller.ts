import {
  type Clock,
  createExponentialRateLimiter,
  createWorkQueue,
  type EventRecorder,
  type InformerFactory,
  isNotFound,
  type KubernetesApi,
  runController,
  systemClock,
} from "@portolan/client";
import {
  type Condition,
  type EndpointSlice,
  type LoadBalancerIngress,
  type Node,
  resources,
  type Service,
} from "@portolan/core";
import { allowAddressChangeAnnotation } from "./annotations.ts";
import { createCallContext, createLockTable } from "./call-context.ts";
import { conditionsFor, foreignConditions, type LoadBalancerState } from "./conditions.ts";
import { findingsOf } from "./findings.ts";
import {
  type ApplyOutcome,
  type CallContext,
  type Diagnostic,
  isLoadBalancerTarget,
  type LoadBalancerProvider,
  type NodeReference,
  nodeReference,
  type Plan,
  ProviderError,
  type ServiceKey,
} from "./provider.ts";
import { backoffBounds, requeueAfterFailure } from "./requeue.ts";
import {
  cleanupFinalizer,
  hasCleanupFinalizer,
  loadBalancerStatusEqual,
  needsCleanup,
  needsUpdate,
  nodeChangeTriggersSync,
  wantsLoadBalancer,
} from "./service-rules.ts";

/** Options of {@link createServiceController}. */
export interface ServiceControllerOptions {
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  /** Asked in order; the first whose `claim` is `mine` gets the Service. */
  readonly providers: readonly LoadBalancerProvider[];
  readonly events: EventRecorder;
  /** Default: the engine's clock. */
  readonly clock?: Clock;
  /** First and longest delay after failures that may pass by themselves, in ms. Defaults 5,000 and 300,000. */
  readonly backoff?: { readonly base: number; readonly max: number };
  /** Let every change give a load balancer another address. Default: only what the Service asks for or its annotation allows. */
  readonly allowAddressChange?: boolean;
  /** Services in work at the same time. Default 4. */
  readonly workers?: number;
  /** Milliseconds that one sync of a Service may take before its calls are aborted. Default 120,000. */
  readonly syncTimeout?: number;
  /** Looks at every Service again after so many ms, so that drift in the cloud is mended. Default 600,000; 0: never. */
  readonly resync?: number;
}

/** A service controller. */
export interface ServiceController {
  run(signal: AbortSignal): Promise<void>;
}

/** Immediate retries after somebody else changed what was being changed. */
const concurrencyRetries = 3;

function keyOf(service: Service): string {
  return `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`;
}

function identity(service: Service): ServiceKey {
  return {
    namespace: service.metadata.namespace ?? "",
    name: service.metadata.name ?? "",
    uid: service.metadata.uid ?? "",
  };
}

function portOf(service: Service, outcome: ApplyOutcome): NonNullable<LoadBalancerIngress["ports"]> {
  return (service.spec?.ports ?? []).map(({ port, protocol = "TCP" }) => {
    const failed = outcome.portErrors?.find((entry) => entry.port === port && entry.protocol === protocol);
    return { port, protocol, ...(failed === undefined ? {} : { error: failed.error }) };
  });
}

function refuseAddressChange(service: Service, plan: Plan<unknown>): void {
  if (service.metadata.annotations?.[allowAddressChangeAnnotation] === "true") return;
  const change = plan.changes.find((each) => each.disruptive === "ip-change" && !each.requested);
  if (change === undefined) return;
  throw new ProviderError(
    "ImmutableField",
    `${change.because}, and that would give the load balancer another address (${change.action} ${change.resource.kind} ` +
      `${change.resource.name}); undo it, or set annotation ${allowAddressChangeAnnotation} to "true" to accept a new address`,
  );
}

/**
 * Drives providers for `type: LoadBalancer`: finalizer first, then observe, plan and apply, then the status; on deletion the
 * provider first, the finalizer last. Whatever keeps a Service pending is said in an event and a condition on it.
 *
 * A change of the node set alone takes the provider's `updateNodes`, if it has one. A plan that would lose an address that the
 * Service did not ask to lose is refused before any call.
 */
export function createServiceController(options: ServiceControllerOptions): ServiceController {
  const { api, informers, providers, events, clock = systemClock, syncTimeout = 120_000, resync = 600_000 } = options;
  const locks = createLockTable();
  const services = informers.informer<Service>(resources.services);
  const nodes = informers.informer<Node>(resources.nodes);
  const slices = providers.some((provider) => provider.capabilities.targets !== "node")
    ? informers.informer<EndpointSlice>(resources.endpointSlices)
    : undefined;
  const queue = createWorkQueue({
    clock,
    rateLimiter: createExponentialRateLimiter({
      initial: options.backoff?.base ?? backoffBounds.minimum,
      maximum: options.backoff?.max ?? backoffBounds.maximum,
    }),
  });
  /** Which provider and UID a key was last given to: a Service that was deleted and made anew has another UID. */
  const owners = new Map<string, { provider: LoadBalancerProvider; key: ServiceKey }>();
  /** The Service as it was when its load balancer last became what it asks for. */
  const synced = new Map<string, Service>();
  /** Keys that are due because nodes changed. */
  const nodesChanged = new Set<string>();
  /** Last trouble told of a key, so that a retry does not tell it again. */
  const told = new Map<string, string>();
  const warned = new Map<string, ReadonlySet<string>>();
  /** Immediate retries of a key in a row. */
  const collisions = new Map<string, number>();

  function forget(key: string): void {
    for (const each of [owners, synced, told, warned, collisions]) each.delete(key);
    nodesChanged.delete(key);
  }

  const targets = (): NodeReference[] =>
    nodes.lister
      .list()
      .filter(isLoadBalancerTarget)
      .map(nodeReference)
      .sort((a, b) => (a.name < b.name ? -1 : 1));

  function event(service: Service, type: "Normal" | "Warning", reason: string, message: string): void {
    events.event(service, type, reason, message, resources.services);
  }

  /** Runs a provider's calls with a signal that ends them when they take too long. */
  async function withContext<T>(
    key: ServiceKey,
    service: Service | undefined,
    signal: AbortSignal,
    work: (context: CallContext) => Promise<T>,
  ): Promise<T> {
    const own = new AbortController();
    const stop = (): void => own.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const late = new ProviderError("Transient", `the provider did not answer within ${syncTimeout / 1000} s`);
    const cancel = clock.schedule(() => own.abort(late), syncTimeout);
    const context = createCallContext({
      signal: own.signal,
      clock,
      locks,
      budget: syncTimeout / 2,
      idempotencyKey: `${key.uid}-${service?.metadata.generation ?? 0}`,
      report: (type, reason, message) => {
        if (service !== undefined) event(service, type, reason, message);
      },
    });
    try {
      // A provider that does not look at its signal must not hold a worker for ever.
      return await new Promise<T>((resolve, reject) => {
        own.signal.addEventListener("abort", () => reject(own.signal.reason), { once: true });
        work(context).then(resolve, reject);
      });
    } finally {
      cancel();
      signal.removeEventListener("abort", stop);
    }
  }

  async function patch(service: Service, body: unknown): Promise<Service> {
    return await api.patch<Service>(
      resources.services,
      { name: service.metadata.name!, namespace: service.metadata.namespace!, subresource: "status" },
      body,
      { patchType: "application/merge-patch+json", fieldManager: "service-controller" },
    );
  }

  async function setFinalizer(service: Service, present: boolean): Promise<Service> {
    const others = (service.metadata.finalizers ?? []).filter((name) => name !== cleanupFinalizer);
    const finalizers = present ? [...others, cleanupFinalizer] : others;
    // The resourceVersion guards finalizers that others may add at the same time.
    return await patch(service, {
      metadata: {
        finalizers: finalizers.length > 0 ? finalizers : null,
        resourceVersion: service.metadata.resourceVersion,
      },
    });
  }

  async function writeStatus(
    service: Service,
    ingress: readonly LoadBalancerIngress[],
    conditions: readonly Condition[],
  ): Promise<void> {
    const same =
      loadBalancerStatusEqual(service.status?.loadBalancer, { ingress }) &&
      JSON.stringify(service.status?.conditions ?? []) === JSON.stringify(conditions);
    if (same) return;
    try {
      await patch(service, {
        status: {
          loadBalancer: { ingress: ingress.length > 0 ? ingress : null },
          conditions: conditions.length > 0 ? conditions : null,
        },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  const writeState = (service: Service, state: LoadBalancerState): Promise<void> =>
    writeStatus(service, service.status?.loadBalancer?.ingress ?? [], conditionsFor(service, state, clock.now()));

  async function cleanUp(service: Service, signal: AbortSignal): Promise<void> {
    // After a restart nobody knows who made it, and class and type may have changed since: then all are asked.
    const known = owners.get(keyOf(service))?.provider;
    event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer");
    const key = identity(service);
    for (const each of known === undefined ? providers : [known]) {
      await withContext(key, service, signal, (context) => each.destroy(context, key));
    }
    forget(keyOf(service));
    const current = await setFinalizer(service, false).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer");
    if (current !== undefined && current.metadata.deletionTimestamp === undefined) {
      await writeStatus(current, [], foreignConditions(current));
    }
  }

  /** Tells the warnings of one sync, those that the sync before had not. */
  function warn(service: Service, diagnostics: readonly Diagnostic[]): void {
    const before = warned.get(keyOf(service));
    const now = new Set<string>();
    for (const { severity, code, message } of diagnostics) {
      if (severity !== "warning" || now.has(message)) continue;
      now.add(message);
      if (!before?.has(message)) event(service, "Warning", code, message);
    }
    warned.set(keyOf(service), now);
  }

  function check(service: Service, provider: LoadBalancerProvider): readonly Diagnostic[] {
    const all = findingsOf(provider, service);
    const errors = all.filter((entry) => entry.severity === "error");
    if (errors.length === 0) return all;
    warn(service, all);
    throw new ProviderError("UserConfig", errors.map((entry) => entry.message).join("; "));
  }

  async function ensure(service: Service, provider: LoadBalancerProvider, signal: AbortSignal): Promise<void> {
    const key = keyOf(service);
    const id = identity(service);
    const diagnostics = check(service, provider);
    let current = service;
    const first = !hasCleanupFinalizer(service);
    if (first) {
      event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer");
      current = await setFinalizer(service, true);
    }
    const targetNodes = targets();
    if (targetNodes.length === 0) {
      event(service, "Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer");
    }
    owners.set(key, { provider, key: id });
    const { plan, outcome } = await withContext(id, service, signal, async (context) => {
      const observed = await provider.observe(context, id);
      const endpointSlices = slices?.lister
        .list(id.namespace)
        .filter((slice) => slice.metadata.labels?.["kubernetes.io/service-name"] === id.name);
      const made = provider.plan({
        service,
        nodes: targetNodes,
        observed,
        ...(endpointSlices === undefined ? {} : { endpointSlices }),
      });
      warn(service, [...diagnostics, ...made.diagnostics]);
      if (!options.allowAddressChange) refuseAddressChange(service, made);
      return { plan: made, outcome: await provider.apply(context, made) };
    });
    const ports = portOf(service, outcome);
    const ready = outcome.ingress.length > 0;
    const failed = outcome.portErrors ?? [];
    const state: LoadBalancerState = {
      ready,
      progressing: !ready,
      degraded: ready && failed.length > 0,
      reason: failed.length > 0 ? "PortsFailed" : ready ? "Provisioned" : "Provisioning",
      message:
        failed.length > 0
          ? failed.map((entry) => `port ${entry.port}/${entry.protocol}: ${entry.error}`).join("; ")
          : ready
            ? `served by ${provider.id}`
            : `${provider.id} has not given an address yet`,
    };
    await writeStatus(
      current,
      outcome.ingress.map((entry) => (entry.ports === undefined ? { ...entry, ports } : entry)),
      [...conditionsFor(current, state, clock.now()), ...(outcome.conditions ?? [])],
    );
    if (first || told.has(key) || plan.changes.length > 0) {
      event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
    }
    told.delete(key);
    if (ready) synced.set(key, service);
    const again = outcome.requeueAfter ?? (resync > 0 ? resync : undefined);
    if (again !== undefined) queue.addAfter(key, again);
  }

  async function updateNodes(service: Service, provider: LoadBalancerProvider, signal: AbortSignal): Promise<void> {
    const key = identity(service);
    const targetNodes = targets();
    if (targetNodes.length === 0) {
      event(service, "Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer");
    }
    await withContext(key, service, signal, (context) => provider.updateNodes!(context, key, targetNodes));
    event(service, "Normal", "UpdatedLoadBalancer", "Updated load balancer with new hosts");
    if (resync > 0) queue.addAfter(keyOf(service), resync);
  }

  async function destroyFormer(key: string, signal: AbortSignal): Promise<void> {
    const owner = owners.get(key)!;
    await withContext(owner.key, undefined, signal, (context) => owner.provider.destroy(context, owner.key));
    forget(key);
  }

  async function fail(service: Service, error: unknown, signal: AbortSignal, nodesOnly: boolean): Promise<void> {
    const key = keyOf(service);
    synced.delete(key);
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof ProviderError ? error.code : "Transient";
    if (code === "Concurrency") {
      const count = (collisions.get(key) ?? 0) + 1;
      collisions.set(key, count);
      if (count <= concurrencyRetries) return queue.add(key);
    }
    collisions.delete(key);
    // What a cloud still does, or delays, is no failure; the condition says what is waited for.
    const waiting = code === "NotReady" || code === "Throttled";
    if (told.get(key) !== message) {
      told.set(key, message);
      const wanted = wantsLoadBalancer(service);
      if (waiting) event(service, "Normal", "LoadBalancerProgressing", message);
      else if (nodesOnly) {
        event(
          service,
          "Warning",
          "UpdateLoadBalancerFailed",
          `Error updating load balancer with new hosts [${targets()
            .map((node) => node.name)
            .slice(0, 5)
            .join(" ")}]: ${message}`,
        );
      } else {
        event(
          service,
          "Warning",
          "SyncLoadBalancerFailed",
          `Error syncing load balancer: failed to ${wanted ? "ensure" : "delete"} load balancer: ${message}`,
        );
      }
    }
    const current = services.lister.get(service.metadata.namespace ?? "", service.metadata.name ?? "") ?? service;
    const serves = (current.status?.loadBalancer?.ingress ?? []).length > 0;
    // Written also while it is deleted: what holds a finalizer has to be seen.
    await writeState(current, {
      ready: serves && wantsLoadBalancer(service),
      progressing: waiting,
      degraded: serves && !waiting,
      reason: code,
      message,
    }).catch(() => {});
    if (signal.aborted) return;
    const requeue = requeueAfterFailure(error);
    if (requeue.kind === "exponential") throw error;
    queue.addAfter(key, requeue.delay);
  }

  function nobody(service: Service): Promise<void> | undefined {
    const key = keyOf(service);
    if (providers.some((provider) => provider.claim(service) === "elsewhere")) return undefined;
    const wanted = service.spec?.loadBalancerClass;
    const known = providers.flatMap((provider) => [...(provider.default ? ["(none)"] : []), ...provider.classes]);
    const message =
      (wanted === undefined
        ? "no load-balancer provider here serves Services without spec.loadBalancerClass"
        : `no load-balancer provider here answers to spec.loadBalancerClass "${wanted}"`) +
      `; known classes: ${known.join(", ") || "no provider is configured"}`;
    if (told.get(key) === message) return undefined;
    told.set(key, message);
    event(service, "Warning", "NoLoadBalancerProvider", message);
    // Another class may be another controller's, which writes conditions of its own.
    return wanted === undefined
      ? writeState(service, { ready: false, reason: "NoLoadBalancerProvider", message })
      : undefined;
  }

  async function reconcile(key: string, signal: AbortSignal): Promise<void> {
    const slash = key.indexOf("/");
    const service = services.lister.get(key.slice(0, slash), key.slice(slash + 1));
    const byNodes = nodesChanged.delete(key);
    let nodesOnly = false;
    try {
      // The Service vanished without its finalizer, or another one took its name.
      const owner = owners.get(key);
      if (owner !== undefined && service?.metadata.uid !== owner.key.uid) await destroyFormer(key, signal);
      if (service === undefined) return;
      if (!wantsLoadBalancer(service)) {
        if (needsCleanup(service)) await cleanUp(service, signal);
        return;
      }
      const provider = providers.find((each) => each.claim(service) === "mine");
      const former = owners.get(key)?.provider;
      if (former !== undefined && former !== provider) await destroyFormer(key, signal);
      if (provider === undefined) {
        await nobody(service);
        return;
      }
      const before = synced.get(key);
      nodesOnly =
        byNodes && provider.updateNodes !== undefined && before !== undefined && !needsUpdate(before, service);
      await (nodesOnly ? updateNodes(service, provider, signal) : ensure(service, provider, signal));
      collisions.delete(key);
    } catch (error) {
      if (signal.aborted) return;
      if (service === undefined) throw error;
      await fail(service, error, signal, nodesOnly);
    }
  }

  const concerns = (service: Service): boolean => service.spec?.type === "LoadBalancer" || hasCleanupFinalizer(service);
  services.addHandler({
    add(service) {
      if (concerns(service)) queue.add(keyOf(service));
    },
    update(old, service) {
      if ((concerns(old) || concerns(service)) && needsUpdate(old, service)) queue.add(keyOf(service));
    },
    delete: (service) => {
      if (owners.has(keyOf(service))) queue.add(keyOf(service));
      else forget(keyOf(service));
    },
  });
  const onNodes = (): void => {
    for (const service of services.lister.list()) {
      if (!wantsLoadBalancer(service)) continue;
      nodesChanged.add(keyOf(service));
      queue.add(keyOf(service));
    }
  };
  nodes.addHandler({
    add(node) {
      if (isLoadBalancerTarget(node)) onNodes();
    },
    update(old, node) {
      if (nodeChangeTriggersSync(old, node)) onNodes();
    },
    delete: onNodes,
  });
  const onSlice = (slice: EndpointSlice): void => {
    const key = `${slice.metadata.namespace}/${slice.metadata.labels?.["kubernetes.io/service-name"]}`;
    if (owners.get(key)?.provider.capabilities.targets === "node" || !owners.has(key)) return;
    synced.delete(key);
    queue.add(key);
  };
  slices?.addHandler({ add: onSlice, update: (_old, slice) => onSlice(slice), delete: onSlice });

  return {
    async run(signal) {
      await Promise.all([services.synced(signal), nodes.synced(signal), slices?.synced(signal)]);
      if (signal.aborted) return;
      for (const provider of providers) {
        provider.restore?.(services.lister.list().filter((service) => provider.claim(service) === "mine"));
      }
      await runController({ name: "service", queue, reconcile, workers: options.workers ?? 4, signal });
    },
  };
}
