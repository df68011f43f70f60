import type { Condition, EndpointSlice, LoadBalancerIngress, Node, Service } from "@portolan/core";
import type { AnnotationRegistry } from "./annotations.ts";
import type { FlowPolicy } from "./flow-policy.ts";

/** What identifies a Service to a provider, also after the object is gone. */
export interface ServiceKey {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A node as a target of a load balancer. */
export interface NodeReference {
  readonly name: string;
  readonly providerID?: string;
  /** InternalIP and ExternalIP addresses, in the order of the Node object. */
  readonly addresses: readonly string[];
  /** `topology.kubernetes.io/zone`, if the node says it. */
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Whether a provider is responsible for a Service: `elsewhere` means that another component answers for it on purpose. */
export type Claim = "mine" | "not-mine" | "elsewhere";

/** A finding about a Service, before any call to a cloud. */
export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** Stable, upper camel case: `UnknownAnnotation`, `AddressNotInPool`, … */
  readonly code: string;
  readonly message: string;
  /** JSON path of the field or annotation that is wrong. */
  readonly field?: string;
}

/** What a change does to clients that are connected, or will be. */
export type Disruption = "none" | "brief" | "outage" | "ip-change";

/** One step of a plan. */
export interface Change {
  readonly id: string;
  readonly action: "create" | "update" | "replace" | "delete" | "adopt";
  readonly resource: { readonly kind: string; readonly name: string; readonly cloudId?: string };
  /** `[path, before, after]` of each field that differs. */
  readonly fields: readonly (readonly [string, unknown, unknown])[];
  readonly disruptive: Disruption;
  /** Why, in the words of the Service: `annotation X changed`. */
  readonly because: string;
  /** Ids of changes that must be done first. */
  readonly dependsOn: readonly string[];
  /** The Service itself names the new address or asks for the other network, so that losing the old address is its wish. */
  readonly requested?: true;
}

/** What has to be true, and what must change for it. */
export interface Plan<D> {
  readonly key: ServiceKey;
  readonly desired: D;
  readonly changes: readonly Change[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Input of {@link LoadBalancerProvider.plan}. The objects must not be changed. */
export interface PlanInput<O> {
  readonly service: Service;
  readonly nodes: readonly NodeReference[];
  readonly observed: O;
  /** Slices of the Service, for providers whose targets are pods; only they get them. */
  readonly endpointSlices?: readonly EndpointSlice[];
}

/** What an applied plan leads to. */
export interface ApplyOutcome {
  /** Only what clients can use now. */
  readonly ingress: readonly LoadBalancerIngress[];
  readonly conditions?: readonly Condition[];
  /** Ports that could not be opened though the others could: Service port and a CamelCase reason for the status. */
  readonly portErrors?: readonly { readonly port: number; readonly protocol: string; readonly error: string }[];
  /** Ask again after so many milliseconds. */
  readonly requeueAfter?: number;
}

/** A resource that carries a provider's ownership mark. */
export interface OwnedResource {
  readonly kind: string;
  readonly id: string;
  readonly key: ServiceKey;
  /** Whether it is this Service's, where the mark is not a whole key (a name cut short, no namespace). Default: by key. */
  owns?(service: Service): boolean;
}

/** What every call that may touch the outside gets. */
export interface CallContext {
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Records an event on the Service. */
  report(type: "Normal" | "Warning", reason: string, message: string): void;
  /** Waits so many milliseconds of the injected clock; rejects when the signal aborts. */
  sleep(milliseconds: number): Promise<void>;
  /**
   * Runs one piece of work at a time per scope: for cloud objects that several Services share. The scope names the object:
   * `azure/loadBalancer/kubernetes`. Not re-entrant.
   */
  lock<T>(scope: string, work: () => Promise<T>): Promise<T>;
  /** Same text for each retry of the same change: for clouds that recognise repeated requests by it. */
  readonly idempotencyKey: string;
  /** Time (as by `now`) at which a call should have returned: later it throws `NotReady` with its progress saved. */
  readonly deadline: number;
}

/** What a provider can do; declared, not discovered. */
export interface Capabilities {
  readonly protocols: readonly ("TCP" | "UDP" | "SCTP")[];
  /** What traffic is sent to: nodes, pods, or either by annotation. */
  readonly targets: "node" | "pod" | "both";
  readonly mixedProtocol: "none" | "same-port-merge" | "full";
  readonly status: "ip" | "hostname";
  readonly ipMode: "VIP" | "Proxy";
  readonly dualStack: boolean;
  readonly requestedIP: "none" | "preallocated" | "any";
  readonly sourceRanges: "enforced" | "ignored" | "partial";
  readonly sharedFrontend: boolean;
  readonly needsNodePorts: boolean;
  /** Whether an internal and an external load balancer can be told apart. */
  readonly internal: boolean;
  readonly sessionAffinity: boolean;
  /** Ports per load balancer, nodes per load balancer, source ranges: what the cloud allows; absent: no limit of its own. */
  readonly maximum?: { readonly ports?: number; readonly nodes?: number; readonly sourceRanges?: number };
  /** Cloud reads that one sync of a Service may cost when nothing changed; the conformance kit holds the provider to it. */
  readonly callBudget: { readonly steadyReads: number };
}

/**
 * A load-balancer provider: a pure planner (`claim`, `validate`, `plan`) and an executor (`observe`, `apply`, `destroy`). The
 * controller calls `observe → plan → apply`; doing so twice must change nothing the second time. `destroy` succeeds when there
 * is nothing left, finds what it owns by its marks, and never touches what it does not own.
 *
 * @typeParam D the provider's desired model
 * @typeParam O what it observes
 */
export interface LoadBalancerProvider<D = unknown, O = unknown> {
  /** Version of this contract. */
  readonly apiVersion: 1;
  readonly id: string;
  /** Values of `spec.loadBalancerClass` that it answers to. */
  readonly classes: readonly string[];
  /** True when it also serves Services without a class. */
  readonly default: boolean;
  readonly capabilities: Capabilities;
  readonly annotations: AnnotationRegistry;
  claim(service: Service): Claim;
  /**
   * Names of the cloud objects of a Service, by kind. Pure and total; different keys have different names; within the cloud's
   * limits of length and characters.
   */
  nameFor(key: ServiceKey): Readonly<Record<string, string>>;
  /** Errors stop the Service before any call; warnings are shown and do not. */
  validate(service: Service): readonly Diagnostic[];
  observe(context: CallContext, key: ServiceKey): Promise<O>;
  plan(input: PlanInput<O>): Plan<D>;
  apply(context: CallContext, plan: Plan<D>): Promise<ApplyOutcome>;
  /** What its load balancer does to packets, for an appliance that behaves like it. Pure. */
  flowPolicy?(service: Service): FlowPolicy;
  /** Called when only the set of nodes changed; without it the full sequence runs. */
  updateNodes?(context: CallContext, key: ServiceKey, nodes: readonly NodeReference[]): Promise<void>;
  destroy(context: CallContext, key: ServiceKey): Promise<void>;
  listOwned(context: CallContext): AsyncIterable<OwnedResource>;
  /** Called once, before any other call, with all Services that exist: what is in use must not be given to others. */
  restore?(services: readonly Service[]): void;
  close?(): Promise<void>;
}

/** Classes of provider errors; the controller's reaction depends on them. */
export type ProviderErrorCode =
  | "UserConfig"
  | "ImmutableField"
  | "Unsupported"
  | "Conflict"
  | "Concurrency"
  | "NotReady"
  | "Throttled"
  | "Quota"
  | "Auth"
  | "Transient"
  | "Bug";

/** A classified failure of a provider. `retryAfter` (ms) replaces the back-off. */
export class ProviderError extends Error {
  override readonly name = "ProviderError";
  readonly code: ProviderErrorCode;
  readonly retryAfter?: number;

  constructor(code: ProviderErrorCode, message: string, options: { retryAfter?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.retryAfter !== undefined) this.retryAfter = options.retryAfter;
  }
}

const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";
const falsy: ReadonlySet<string> = new Set(["0", "f", "F", "FALSE", "False", "false"]);

/** Whether a node carries the exclusion label; a value that reads as false lifts it. */
export function isExcludedFromLoadBalancers(node: Node): boolean {
  const label = node.metadata.labels?.[excludeLabel];
  return label !== undefined && !falsy.has(label);
}

/**
 * Whether a node may be a target. Readiness is not asked: the load balancer's own health check decides (KEP-3458).
 * Source: cloud-provider's service controller.
 */
export function isLoadBalancerTarget(node: Node): boolean {
  if (node.metadata.deletionTimestamp !== undefined) return false;
  if (isExcludedFromLoadBalancers(node)) return false;
  return !(node.spec?.taints ?? []).some((taint) => taint.key === "ToBeDeletedByClusterAutoscaler");
}

/** The reference of a node that providers get. */
export function nodeReference(node: Node): NodeReference {
  const zone = node.metadata.labels?.["topology.kubernetes.io/zone"];
  return {
    name: node.metadata.name ?? "",
    ...(node.spec?.providerID ? { providerID: node.spec.providerID } : {}),
    addresses: (node.status?.addresses ?? [])
      .filter((entry) => entry.type === "InternalIP" || entry.type === "ExternalIP")
      .map((entry) => entry.address),
    ...(zone === undefined ? {} : { zone }),
    ...(node.metadata.labels === undefined ? {} : { labels: node.metadata.labels }),
  };
}

/** Name that classic cloud providers give a load balancer: `a` and the UID without dashes, 32 characters at most. */
export function defaultLoadBalancerName(uid: string): string {
  return `a${uid.replaceAll("-", "")}`.slice(0, 32);
}
