import type { LoadBalancerIngress, Service } from "@portolan/core";
import type { AnnotationRegistry } from "./annotations.ts";
import {
  type CallContext,
  type Capabilities,
  defaultLoadBalancerName,
  type LoadBalancerProvider,
  type NodeReference,
  type OwnedResource,
  type ServiceKey,
} from "./provider.ts";

/** Four functions in the shape of cloud-provider's `LoadBalancer` interface: enough for a provider without plans. */
export interface ClassicLoadBalancer {
  /** What exists for a Service, or undefined. */
  get(context: CallContext, key: ServiceKey): Promise<readonly LoadBalancerIngress[] | undefined>;
  /** Creates or updates; idempotent. */
  ensure(
    context: CallContext,
    service: Service,
    nodes: readonly NodeReference[],
  ): Promise<readonly LoadBalancerIngress[]>;
  updateNodes?(context: CallContext, key: ServiceKey, nodes: readonly NodeReference[]): Promise<void>;
  /** Removes all there is; succeeds if there is nothing. */
  delete(context: CallContext, key: ServiceKey): Promise<void>;
  /** Name of the load balancer. Default: `a` and the UID. */
  name?(key: ServiceKey): string;
  /** What carries this provider's mark; without it orphans are not found. */
  list?(context: CallContext): AsyncIterable<OwnedResource>;
}

/** What {@link fromClassic} has to know beside the functions. */
export interface ClassicOptions {
  readonly id: string;
  readonly classes?: readonly string[];
  /** Default: true if there are no classes. */
  readonly default?: boolean;
  readonly capabilities: Capabilities;
  readonly annotations?: AnnotationRegistry;
}

/** What a classic provider wants: the Service itself, for nothing is planned before the call. */
export interface ClassicModel {
  readonly service: Service;
  readonly nodes: readonly NodeReference[];
}

/**
 * Makes a provider of four functions. Its plan is one opaque change, made anew at every sync, because nothing tells what `ensure`
 * would do.
 */
export function fromClassic(
  balancer: ClassicLoadBalancer,
  options: ClassicOptions,
): LoadBalancerProvider<ClassicModel, readonly LoadBalancerIngress[] | undefined> {
  const classes = options.classes ?? [];
  const nameOf = balancer.name ?? ((key: ServiceKey) => defaultLoadBalancerName(key.uid));
  const byDefault = options.default ?? classes.length === 0;
  const { updateNodes } = balancer;
  return {
    apiVersion: 1,
    id: options.id,
    classes,
    default: byDefault,
    capabilities: options.capabilities,
    annotations: options.annotations ?? { prefixes: [], rows: [] },
    claim(service) {
      const wanted = service.spec?.loadBalancerClass;
      return (wanted === undefined ? byDefault : classes.includes(wanted)) ? "mine" : "not-mine";
    },
    nameFor: (key) => ({ LoadBalancer: nameOf(key) }),
    validate: () => [],
    observe: (context, key) => balancer.get(context, key),
    plan({ service, nodes, observed }) {
      const key = {
        namespace: service.metadata.namespace ?? "",
        name: service.metadata.name ?? "",
        uid: service.metadata.uid ?? "",
      };
      return {
        key,
        desired: { service, nodes },
        diagnostics: [],
        changes: [
          {
            id: "load-balancer",
            action: observed === undefined ? "create" : "update",
            resource: { kind: "LoadBalancer", name: nameOf(key) },
            fields: [],
            disruptive: "none",
            because: observed === undefined ? "there is none yet" : "a classic provider does not tell what differs",
            dependsOn: [],
          },
        ],
      };
    },
    apply: async (context, plan) => ({
      ingress: await balancer.ensure(context, plan.desired.service, plan.desired.nodes),
    }),
    ...(updateNodes === undefined
      ? {}
      : { updateNodes: (context, key, nodes) => updateNodes.call(balancer, context, key, nodes) }),
    destroy: (context, key) => balancer.delete(context, key),
    async *listOwned(context) {
      if (balancer.list !== undefined) yield* balancer.list(context);
    },
  };
}
