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
import { type Condition, type LoadBalancerIngress, type Node, resources, type Service } from "@portolan/core";
import { createCallContext, createLockTable } from "./call-context.ts";
import {
  type CallContext,
  isLoadBalancerTarget,
  type LoadBalancerProvider,
  type NodeReference,
  nodeReference,
  ProviderError,
  type ServiceKey,
} from "./provider.ts";

/** The finalizer that keeps a Service until its load balancer is gone. */
export const cleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

/** Options of {@link createServiceController}. */
export interface ServiceControllerOptions {
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  /** Asked in order; the first whose `claim` is `mine` gets the Service. */
  readonly providers: readonly LoadBalancerProvider[];
  readonly events: EventRecorder;
  /** Default: the engine's clock. */
  readonly clock?: Clock;
  /** First and longest delay after failures, in ms. Defaults 5,000 and 300,000. */
  readonly backoff?: { readonly base: number; readonly max: number };
}

/** A service controller. */
export interface ServiceController {
  run(signal: AbortSignal): Promise<void>;
}

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

function hasFinalizer(service: Service): boolean {
  return service.metadata.finalizers?.includes(cleanupFinalizer) ?? false;
}

function wantsLoadBalancer(service: Service): boolean {
  return service.spec?.type === "LoadBalancer" && service.metadata.deletionTimestamp === undefined;
}

/** The fields whose change makes a load balancer's state questionable; labels and selectors are not among them. */
function relevant(service: Service): string {
  const spec = service.spec ?? {};
  return JSON.stringify([
    wantsLoadBalancer(service),
    service.metadata.uid,
    service.metadata.deletionTimestamp,
    service.metadata.annotations,
    spec.loadBalancerClass,
    spec.loadBalancerSourceRanges,
    spec.ports,
    spec.sessionAffinity,
    spec.sessionAffinityConfig,
    spec.loadBalancerIP,
    spec.externalIPs,
    spec.externalTrafficPolicy,
    spec.healthCheckNodePort,
    spec.ipFamilies,
    hasFinalizer(service),
  ]);
}

/**
 * Drives providers for `type: LoadBalancer`: finalizer first, then observe, plan and apply, then the status; on deletion the
 * reverse, the finalizer last. Whatever keeps a Service pending is said in an event and a condition on it.
 */
export function createServiceController(options: ServiceControllerOptions): ServiceController {
  const { api, informers, providers, events } = options;
  const clock = options.clock ?? systemClock;
  const locks = createLockTable();
  const services = informers.informer<Service>(resources.services);
  const nodes = informers.informer<Node>(resources.nodes);
  const queue = createWorkQueue({
    clock,
    rateLimiter: createExponentialRateLimiter({
      initial: options.backoff?.base ?? 5_000,
      maximum: options.backoff?.max ?? 300_000,
    }),
  });
  /** Which provider and UID a key was last given to: a Service that was deleted and made anew has another UID. */
  const owners = new Map<string, { provider: LoadBalancerProvider; key: ServiceKey }>();
  /** Last failure told, so that a retry does not tell it again. */
  const told = new Map<string, string>();
  let nodeText = "";

  function targets(): NodeReference[] {
    return nodes.lister
      .list()
      .filter(isLoadBalancerTarget)
      .map(nodeReference)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  function event(service: Service, type: "Normal" | "Warning", reason: string, message: string): void {
    events.event(service, type, reason, message, resources.services);
  }

  function context(service: Service, signal: AbortSignal): CallContext {
    return createCallContext({
      signal,
      clock,
      locks,
      idempotencyKey: `${service.metadata.uid ?? ""}-${service.metadata.generation ?? 0}`,
      report: (type, reason, message) => event(service, type, reason, message),
    });
  }

  async function patch(service: Service, body: unknown): Promise<Service> {
    return await api.patch<Service>(
      resources.services,
      { name: service.metadata.name!, namespace: service.metadata.namespace!, subresource: "status" },
      body,
      { patchType: "application/merge-patch+json", fieldManager: "service-controller" },
    );
  }

  async function setFinalizer(service: Service, present: boolean): Promise<void> {
    const others = (service.metadata.finalizers ?? []).filter((name) => name !== cleanupFinalizer);
    const finalizers = present ? [...others, cleanupFinalizer] : others;
    // The resourceVersion guards finalizers that others may add at the same time.
    await patch(service, {
      metadata: {
        finalizers: finalizers.length > 0 ? finalizers : null,
        resourceVersion: service.metadata.resourceVersion,
      },
    });
  }

  function condition(service: Service, ready: boolean, reason: string, message: string): Condition[] {
    const type = "LoadBalancerReady";
    const status = ready ? "True" : "False";
    const before = (service.status?.conditions ?? []).find((entry) => entry.type === type);
    const others = (service.status?.conditions ?? []).filter((entry) => entry.type !== type);
    const lastTransitionTime =
      before?.status === status && before.lastTransitionTime
        ? before.lastTransitionTime
        : new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
    return [...others, { type, status, reason, message, lastTransitionTime }];
  }

  async function writeStatus(
    service: Service,
    ingress: readonly LoadBalancerIngress[],
    conditions: readonly Condition[],
  ): Promise<void> {
    const before = JSON.stringify([service.status?.loadBalancer?.ingress ?? [], service.status?.conditions ?? []]);
    if (before === JSON.stringify([ingress, conditions])) return;
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

  async function cleanUp(service: Service, signal: AbortSignal): Promise<void> {
    // After a restart nobody knows who made it, and class and type may have changed since: then all are asked.
    const known = owners.get(keyOf(service))?.provider;
    event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer");
    // Asked even when nothing seems to exist: leftovers of a half-done creation are found by their marks.
    for (const each of known === undefined ? providers : [known]) {
      await each.destroy(context(service, signal), identity(service));
    }
    owners.delete(keyOf(service));
    told.delete(keyOf(service));
    const remaining = (service.status?.conditions ?? []).filter((entry) => entry.type !== "LoadBalancerReady");
    if (service.metadata.deletionTimestamp === undefined) await writeStatus(service, [], remaining);
    await setFinalizer(
      service.metadata.deletionTimestamp === undefined
        ? await api.get<Service>(resources.services, {
            name: service.metadata.name!,
            namespace: service.metadata.namespace!,
          })
        : service,
      false,
    );
    event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer");
  }

  async function ensure(
    service: Service,
    provider: LoadBalancerProvider,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const key = keyOf(service);
    const errors = provider.validate(service).filter((entry) => entry.severity === "error");
    if (errors.length > 0) throw new ProviderError("UserConfig", errors.map((entry) => entry.message).join("; "));
    const first = !hasFinalizer(service);
    if (first) {
      event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer");
      await setFinalizer(service, true);
    }
    const targetNodes = targets();
    if (targetNodes.length === 0) {
      event(service, "Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer");
    }
    const call = context(service, signal);
    const observed = await provider.observe(call, identity(service));
    const plan = provider.plan({ service, nodes: targetNodes, observed });
    owners.set(key, { provider, key: identity(service) });
    const outcome = await provider.apply(call, plan);
    const current = first
      ? await api.get<Service>(resources.services, {
          name: service.metadata.name!,
          namespace: service.metadata.namespace!,
        })
      : service;
    const conditions = condition(current, outcome.ingress.length > 0, "Provisioned", `served by ${provider.id}`);
    await writeStatus(current, outcome.ingress, [...conditions, ...(outcome.conditions ?? [])]);
    if (first || told.has(key) || plan.changes.length > 0) {
      event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
    }
    told.delete(key);
    return outcome.requeueAfter;
  }

  async function reconcile(key: string, signal: AbortSignal): Promise<void> {
    const slash = key.indexOf("/");
    const service = services.lister.get(key.slice(0, slash), key.slice(slash + 1));
    const owner = owners.get(key);
    if (owner !== undefined && service?.metadata.uid !== owner.key.uid) {
      // The Service vanished without its finalizer, or another one took its name.
      await owner.provider.destroy(
        createCallContext({ signal, clock, locks, idempotencyKey: owner.key.uid }),
        owner.key,
      );
      owners.delete(key);
      told.delete(key);
    }
    if (service === undefined) return;
    try {
      if (!wantsLoadBalancer(service)) {
        if (hasFinalizer(service)) await cleanUp(service, signal);
        return;
      }
      const provider = providers.find((each) => each.claim(service) === "mine");
      if (provider === undefined) return;
      const delay = await ensure(service, provider, signal);
      if (delay !== undefined) queue.addAfter(key, delay);
    } catch (error) {
      if (signal.aborted) return;
      const known = error instanceof ProviderError;
      const message = (error as Error).message;
      if (told.get(key) !== message) {
        told.set(key, message);
        event(
          service,
          "Warning",
          "SyncLoadBalancerFailed",
          `Error syncing load balancer: failed to ${wantsLoadBalancer(service) ? "ensure" : "delete"} load balancer: ${message}`,
        );
      }
      if (known && wantsLoadBalancer(service)) {
        const current = service.status?.loadBalancer?.ingress ?? [];
        await writeStatus(service, current, condition(service, false, error.code, message)).catch(() => {});
      }
      if (known && error.retryAfter !== undefined) {
        queue.addAfter(key, error.retryAfter);
        return;
      }
      // What the user wrote is wrong: retrying soon cannot help, a change of the object comes by itself.
      if (known && (error.code === "UserConfig" || error.code === "ImmutableField" || error.code === "Unsupported")) {
        queue.addAfter(key, 600_000);
        return;
      }
      throw error;
    }
  }

  const concerns = (service: Service): boolean => service.spec?.type === "LoadBalancer" || hasFinalizer(service);
  services.addHandler({
    add(service) {
      if (concerns(service)) queue.add(keyOf(service));
    },
    update(old, service) {
      if ((concerns(old) || concerns(service)) && relevant(old) !== relevant(service)) queue.add(keyOf(service));
    },
    delete: (service) => {
      if (owners.has(keyOf(service))) queue.add(keyOf(service));
    },
  });
  const onNodes = (): void => {
    const text = JSON.stringify(targets().map((node) => [node.name, node.providerID]));
    if (text === nodeText) return;
    nodeText = text;
    for (const service of services.lister.list()) if (wantsLoadBalancer(service)) queue.add(keyOf(service));
  };
  nodes.addHandler({ add: onNodes, update: onNodes, delete: onNodes });

  return {
    async run(signal) {
      await Promise.all([services.synced(signal), nodes.synced(signal)]);
      if (signal.aborted) return;
      for (const provider of providers) {
        provider.restore?.(services.lister.list().filter((service) => provider.claim(service) === "mine"));
      }
      await runController({ name: "service", queue, reconcile, workers: 4, signal });
    },
  };
}
