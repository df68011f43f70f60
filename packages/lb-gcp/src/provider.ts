import type { Service } from "@portolan/core";
import {
  type Capabilities,
  type Diagnostic,
  defaultLoadBalancerName,
  type LoadBalancerProvider,
  ProviderError,
} from "@portolan/lb";
import { annotationKeys, gcpAnnotations, loadBalancerClasses } from "./annotations.ts";
import { wantsWeights } from "./backend-service.ts";
import type { GcpConfiguration, GcpFeatures } from "./configuration.ts";
import { execute, sharedLock } from "./execution.ts";
import { flowOf } from "./flow.ts";
import { createInventory } from "./inventory.ts";
import { type GcpModel, modelOf, type Variant, variantOf } from "./model.ts";
import { clusterHash, passthroughNames } from "./names.ts";
import { listResources, observationOf } from "./observation.ts";
import { heldByGke, wantsInternal } from "./ownership.ts";
import { establishedVariant, type GcpDesired, type GcpObserved, planOf } from "./plan.ts";
import type { GcpPort } from "./port.ts";
import { remove } from "./removal.ts";

/** What the provider turns on unless it is told otherwise. */
const defaultFeatures: GcpFeatures = { discretePorts: true, mixedProtocol: true };

/** Options of {@link gcpProvider}. */
export interface GcpProviderOptions {
  readonly port: GcpPort;
  /** `clusterId` may be left out where no load balancers of the in-tree controller are taken over. */
  readonly configuration: Omit<GcpConfiguration, "clusterId"> & { readonly clusterId?: string };
  /** Whether Services without a class are served. Default true. */
  readonly default?: boolean;
  /**
   * Also serve the classes of the in-tree controller, with target pools and instance groups as it makes them, and Services that a
   * controller of Google's holds by a finalizer: what that controller made for them is taken as it is. It must not run any more.
   * Default false: those Services are left alone.
   */
  readonly takeOver?: boolean;
  /**
   * Milliseconds for which what was read of the cloud counts, beside what is written here. With many Services it saves most reads;
   * what others change is seen that much later. Default 0: each pass reads.
   */
  readonly inventoryAge?: number;
}

function capabilitiesOf(features: GcpFeatures, takeOver: boolean): Capabilities {
  return {
    protocols: ["TCP", "UDP"],
    targets: "node",
    mixedProtocol: features.mixedProtocol ? "full" : "none",
    status: "ip",
    ipMode: "VIP",
    dualStack: true,
    requestedIP: "preallocated",
    sourceRanges: "enforced",
    sharedFrontend: false,
    needsNodePorts: false,
    internal: true,
    sessionAffinity: true,
    maximum: { nodes: 3000, sourceRanges: 256 },
    // Six collections, four more for the in-tree controller's, and the members of a group in each of up to six zones.
    callBudget: { steadyReads: takeOver ? 16 : 12 },
  };
}

/** Warnings about annotations that say something which has no effect here. */
function ineffective(service: Service, features: GcpFeatures): Diagnostic[] {
  const annotations = service.metadata.annotations ?? {};
  const internal = wantsInternal(service);
  const out: Diagnostic[] = [];
  const warn = (key: string, code: string, message: string): void => {
    if (annotations[key] === undefined) return;
    out.push({
      severity: "warning",
      code,
      field: `metadata.annotations[${key}]`,
      message: `annotation ${key} ${message}`,
    });
  };
  const wanted = service.spec?.loadBalancerClass;
  if (wanted !== undefined) {
    const says = annotations[annotationKeys.type] ?? annotations[annotationKeys.formerType];
    const key = annotations[annotationKeys.type] === undefined ? annotationKeys.formerType : annotationKeys.type;
    if (says !== undefined && (says.toLowerCase() === "internal") !== internal) {
      warn(key, "ConflictingConfiguration", `is "${says}", but spec.loadBalancerClass "${wanted}" decides`);
    }
  }
  for (const key of [annotationKeys.globalAccess, annotationKeys.internalSubnet]) {
    if (!internal) warn(key, "IneffectiveAnnotation", "has no effect on an external load balancer");
  }
  for (const key of [annotationKeys.networkTier, annotationKeys.strongAffinity, annotationKeys.ipv6Collection]) {
    if (internal) warn(key, "IneffectiveAnnotation", "has no effect on an internal load balancer");
  }
  for (const key of [annotationKeys.endpointGroups, annotationKeys.backendConfiguration]) {
    warn(key, "IneffectiveAnnotation", "is for application load balancers and has no effect here");
  }
  for (const key of [annotationKeys.loggingConfiguration, annotationKeys.customRule]) {
    warn(key, "IneffectiveAnnotation", "is not read here");
  }
  if (annotations[annotationKeys.weighted] !== undefined) {
    if (!wantsWeights(service)) {
      warn(annotationKeys.weighted, "IneffectiveAnnotation", "has an effect with externalTrafficPolicy Local only");
    } else if (!features.weightedLoadBalancing) {
      warn(annotationKeys.weighted, "IneffectiveAnnotation", "has no effect: the feature is not turned on");
    }
  }
  return out;
}

/**
 * A provider of passthrough network load balancers on Google Cloud: external ones with a regional backend service, internal ones
 * with the same and an address of the network. Packets reach nodes as clients sent them; nodes are behind endpoint groups.
 */
export function gcpProvider(options: GcpProviderOptions): LoadBalancerProvider<GcpDesired, GcpObserved> {
  const { takeOver = false, inventoryAge = 0 } = options;
  const features = { ...defaultFeatures, ...options.configuration.features };
  const configuration: GcpConfiguration = {
    clusterId: clusterHash(options.configuration.kubeSystemUID),
    ...options.configuration,
    features,
  };
  const cluster = clusterHash(configuration.kubeSystemUID);
  // What is taken over has to keep the names that it has.
  const cut = takeOver ? "hash" : "readable";
  const inventory = createInventory(options.port, configuration, { inTree: takeOver, maximumAge: inventoryAge });
  const { port } = inventory;
  const { external, internal, targetPool, instanceGroup } = loadBalancerClasses;
  const classes = [external, internal, ...(takeOver ? [targetPool, instanceGroup] : [])];

  /** Whatever failed may have failed because something is not as remembered. */
  async function orForget<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      inventory.forget();
      throw error;
    }
  }

  /** The model as far as it can be told without looking at the cloud. */
  function offlineModel(service: Service, variant?: Variant): GcpModel {
    const { loadBalancerIP: _address, ...spec } = service.spec ?? {};
    return modelOf({ service: { ...service, spec }, nodes: [{ name: "node", addresses: [] }], configuration }, variant);
  }

  return {
    apiVersion: 1,
    id: "gcp",
    classes,
    default: options.default ?? true,
    capabilities: capabilitiesOf(features, takeOver),
    annotations: gcpAnnotations,
    claim(service) {
      const { type, loadBalancerClass: wanted } = service.spec ?? {};
      if (type !== "LoadBalancer" && service.metadata.finalizers === undefined) return "not-mine";
      if (!takeOver && heldByGke(service)) return "elsewhere";
      if (wanted !== undefined) return classes.includes(wanted as (typeof classes)[number]) ? "mine" : "not-mine";
      return (options.default ?? true) ? "mine" : "not-mine";
    },
    nameFor(key) {
      const names = passthroughNames({ ...key, kubeSystemUID: configuration.kubeSystemUID }, cut);
      const loadBalancer = defaultLoadBalancerName(key.uid);
      return {
        forwardingRule: loadBalancer,
        internalForwardingRule: names.internalRule("TCP"),
        address: loadBalancer,
        backendService: names.backend,
        firewall: names.firewall,
        healthCheck: names.healthCheck(false),
        networkEndpointGroup: names.backend,
      };
    },
    validate(service) {
      const out = ineffective(service, features);
      try {
        offlineModel(service);
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        out.push({ severity: "error", code: error.code, message: error.message });
      }
      return out;
    },
    async observe(context, key) {
      const all = await inventory.all(context.now());
      return await observationOf(port, configuration, key, all, takeOver);
    },
    plan({ service, nodes, observed }) {
      const variant = takeOver ? establishedVariant(service, observed) : variantOf(service);
      return planOf({ service, nodes, observed, configuration, variant, cut });
    },
    async apply(context, plan) {
      // What load balancers share must not be removed between the look at it and its use.
      const shares = plan.changes.some(
        ({ resource }) => resource.kind === "backendService" || resource.kind === "healthCheck",
      );
      const work = (): ReturnType<typeof execute> => execute(context, port, configuration, plan);
      return await orForget(shares ? context.lock(sharedLock(configuration), work) : work());
    },
    async destroy(context, key) {
      // Read, not remembered: what is overlooked here nobody looks for again.
      const all = await listResources(port, configuration, true);
      await orForget(
        remove(context, port, configuration, await observationOf(port, configuration, key, all, takeOver)),
      );
    },
    async *listOwned() {
      for (const { kind, path, mark } of await listResources(port, configuration, true)) {
        if (mark?.cluster === cluster && mark.key !== undefined) yield { kind, id: path, key: mark.key };
      }
    },
    flowPolicy: (service) => flowOf(service, offlineModel(service), configuration),
  };
}
