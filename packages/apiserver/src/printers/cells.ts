import type {
  Condition,
  Container,
  ContainerStatus,
  Endpoint,
  EndpointPort,
  EndpointSlice,
  Endpoints,
  IPAddressObject,
  KubernetesObject,
  LabelSelector,
  LoadBalancerIngress,
  Node,
  Pod,
  PodTemplateSpec,
  RoleBinding,
  RoleSubject,
  Service,
  ServiceCIDR,
  StringMap,
} from "@portolan/core";
import { age, humanDuration } from "./human-duration.ts";

/** A cell of a Table. */
export type Cell = string | number | boolean | null;

/** Makes the cells of one object, as many as its kind has columns. */
export type CellPrinter = (object: KubernetesObject, now: Date) => Cell[];

const none = "<none>";
/** How many items a cell shows before it counts the rest. */
const shown = 3;

function name(object: KubernetesObject): string {
  return object.metadata?.name ?? "";
}

function created(object: KubernetesObject, now: Date): string {
  return age(object.metadata?.creationTimestamp, now);
}

function firstOf(list: readonly string[], count: number): string {
  const text = list.slice(0, shown).join(",");
  return count > shown ? `${text} + ${count - shown} more...` : text;
}

/** `k=v,k2=v2` in order of keys. */
function labels(map: StringMap | undefined): string {
  const entries = Object.entries(map ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? none : entries.map(([key, value]) => `${key}=${value}`).join(",");
}

/** A label selector in the form of a query; empty both when it selects everything and when it is not there. */
function selectorQuery(selector: LabelSelector | undefined): string {
  const requirements: [key: string, text: string][] = Object.entries(selector?.matchLabels ?? {}).map(
    ([key, value]) => [key, `${key}=${value}`],
  );
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const list = `(${[...(values ?? [])].sort().join(",")})`;
    const text = { In: `${key} in ${list}`, NotIn: `${key} notin ${list}`, Exists: key, DoesNotExist: `!${key}` }[
      operator
    ];
    requirements.push([key, text]);
  }
  return requirements
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, text]) => text)
    .join(",");
}

function selector(value: LabelSelector | undefined): string {
  return selectorQuery(value) || none;
}

function containersOf(template: PodTemplateSpec | undefined): [names: string, images: string] {
  const containers = template?.spec?.containers ?? [];
  return [
    containers.map((container) => container.name).join(","),
    containers.map((container) => container.image ?? "").join(","),
  ];
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** Addresses of a load balancer, or names where there are no addresses, each once and in order. */
function ingressPoints(ingress: readonly LoadBalancerIngress[] | undefined): string[] {
  const points = (ingress ?? []).map((point) => point.ip || point.hostname || "").filter((point) => point !== "");
  return [...new Set(points)].sort();
}

function externalAddresses(service: Service): string {
  const externalIPs = service.spec?.externalIPs ?? [];
  switch (service.spec?.type) {
    case "ClusterIP":
    case "NodePort":
      return externalIPs.join(",") || none;
    case "LoadBalancer":
      return [...ingressPoints(service.status?.loadBalancer?.ingress), ...externalIPs].join(",") || "<pending>";
    case "ExternalName":
      return service.spec.externalName ?? "";
    default:
      return "<unknown>";
  }
}

function printService(object: KubernetesObject, now: Date): Cell[] {
  const service = object as Service;
  const ports = (service.spec?.ports ?? []).map(({ port, nodePort, protocol }) =>
    nodePort === undefined || nodePort === 0 ? `${port}/${protocol}` : `${port}:${nodePort}/${protocol}`,
  );
  return [
    name(service),
    service.spec?.type ?? "",
    service.spec?.clusterIPs?.[0] || none,
    externalAddresses(service),
    ports.join(",") || none,
    created(service, now),
    labels(service.spec?.selector),
  ];
}

/** Ready addresses alone, so that the cell is empty when nothing but unready ones is there. */
function endpointsCell(endpoints: Endpoints): string {
  const subsets = endpoints.subsets ?? [];
  if (subsets.length === 0) return none;
  const list: string[] = [];
  for (const { addresses = [], ports = [] } of subsets) {
    if (ports.length === 0) list.push(...addresses.map(({ ip }) => ip));
    for (const { port } of ports) list.push(...addresses.map(({ ip }) => `${bracketed(ip)}:${port}`));
  }
  return firstOf(list, list.length);
}

function printEndpoints(object: KubernetesObject, now: Date): Cell[] {
  return [name(object), endpointsCell(object as Endpoints), created(object, now)];
}

function slicePorts(ports: readonly EndpointPort[]): string {
  const list = ports.map((port) =>
    port.port === undefined || port.port === null ? (port.name ?? "*") : String(port.port),
  );
  return firstOf(list, list.length) || "<unset>";
}

function sliceEndpoints(endpoints: readonly Endpoint[]): string {
  const list = endpoints.flatMap((endpoint) => endpoint.addresses);
  return firstOf(list, list.length) || "<unset>";
}

function printEndpointSlice(object: KubernetesObject, now: Date): Cell[] {
  const slice = object as EndpointSlice;
  return [
    name(slice),
    slice.addressType,
    slicePorts(slice.ports ?? []),
    sliceEndpoints(slice.endpoints ?? []),
    created(slice, now),
  ];
}

function hasCondition(conditions: readonly Condition[] | undefined, type: string): boolean {
  return conditions?.find((condition) => condition.type === type)?.status === "True";
}

function later(a: string | undefined, b: string | undefined): string | undefined {
  if (b === undefined) return a;
  return a === undefined || Date.parse(a) < Date.parse(b) ? b : a;
}

function endOf(status: ContainerStatus): string | undefined {
  return status.lastState?.terminated?.finishedAt;
}

function terminationReason(terminated: { reason?: string; signal?: number; exitCode: number }): string {
  if (terminated.reason) return terminated.reason;
  return terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}

interface PodSummary {
  ready: number;
  total: number;
  reason: string;
  restarts: number;
  lastRestart: string | undefined;
}

/** What `kubectl get pods` says about the containers of a pod, taken together. */
function summarize(pod: Pod): PodSummary {
  const initContainers = new Map<string, Container>((pod.spec?.initContainers ?? []).map((each) => [each.name, each]));
  const isSidecar = (containerName: string): boolean => initContainers.get(containerName)?.restartPolicy === "Always";
  const conditions = pod.status?.conditions;
  const summary: PodSummary = {
    ready: 0,
    total: (pod.spec?.containers ?? []).length + [...initContainers.keys()].filter(isSidecar).length,
    reason: pod.status?.reason || pod.status?.phase || "",
    restarts: 0,
    lastRestart: undefined,
  };
  if (conditions?.some((condition) => condition.type === "PodScheduled" && condition.reason === "SchedulingGated")) {
    summary.reason = "SchedulingGated";
  }

  let sidecarRestarts = 0;
  let lastSidecarRestart: string | undefined;
  let initializing = false;
  for (const [index, status] of (pod.status?.initContainerStatuses ?? []).entries()) {
    const { terminated, waiting } = status.state ?? {};
    summary.restarts += status.restartCount;
    summary.lastRestart = later(summary.lastRestart, endOf(status));
    if (isSidecar(status.name)) {
      sidecarRestarts += status.restartCount;
      lastSidecarRestart = later(lastSidecarRestart, endOf(status));
    }
    if (terminated?.exitCode === 0) continue;
    if (isSidecar(status.name) && status.started === true) {
      if (status.ready) summary.ready++;
      continue;
    }
    if (terminated !== undefined) summary.reason = `Init:${terminationReason(terminated)}`;
    else if (waiting?.reason && waiting.reason !== "PodInitializing") summary.reason = `Init:${waiting.reason}`;
    else summary.reason = `Init:${index}/${initContainers.size}`;
    initializing = true;
    break;
  }
  if (initializing && !hasCondition(conditions, "Initialized")) return summary;

  summary.restarts = sidecarRestarts;
  summary.lastRestart = lastSidecarRestart;
  let running = false;
  for (const status of [...(pod.status?.containerStatuses ?? [])].reverse()) {
    const state = status.state ?? {};
    summary.restarts += status.restartCount;
    summary.lastRestart = later(summary.lastRestart, endOf(status));
    if (state.waiting?.reason) summary.reason = state.waiting.reason;
    else if (state.terminated !== undefined) summary.reason = terminationReason(state.terminated);
    else if (status.ready && state.running !== undefined) {
      running = true;
      summary.ready++;
    }
  }
  // One container that has ended says "Completed" for the whole pod, although others still run.
  if (summary.reason === "Completed" && running)
    summary.reason = hasCondition(conditions, "Ready") ? "Running" : "NotReady";
  return summary;
}

function printPod(object: KubernetesObject, now: Date): Cell[] {
  const pod = object as Pod;
  const { ready, total, reason, restarts, lastRestart } = summarize(pod);
  let status = reason;
  if (pod.metadata.deletionTimestamp !== undefined) {
    if (pod.status?.reason === "NodeLost") status = "Unknown";
    else if (pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed") status = "Terminating";
  }
  const gates = pod.spec?.readinessGates ?? [];
  const passed = gates.filter((gate) => hasCondition(pod.status?.conditions, gate.conditionType));
  return [
    name(pod),
    `${ready}/${total}`,
    status,
    restarts !== 0 && lastRestart !== undefined ? `${restarts} (${age(lastRestart, now)} ago)` : String(restarts),
    created(pod, now),
    pod.status?.podIPs?.[0]?.ip || none,
    pod.spec?.nodeName || none,
    pod.status?.nominatedNodeName || none,
    gates.length === 0 ? none : `${passed.length}/${gates.length}`,
  ];
}

function nodeRoles(node: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(node.metadata.labels ?? {})) {
    if (key.startsWith("node-role.kubernetes.io/")) roles.add(key.slice("node-role.kubernetes.io/".length));
    if (key === "kubernetes.io/role") roles.add(value);
  }
  roles.delete("");
  return [...roles].sort().join(",") || none;
}

function printNode(object: KubernetesObject, now: Date): Cell[] {
  const node = object as Node;
  const ready = node.status?.conditions?.find((condition) => condition.type === "Ready");
  const status = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (node.spec?.unschedulable) status.push("SchedulingDisabled");
  const address = (type: string): string => node.status?.addresses?.find((each) => each.type === type)?.address ?? none;
  const info = (field: string): string => {
    const value = node.status?.nodeInfo?.[field];
    return typeof value === "string" ? value : "";
  };
  const kernel = info("kernelVersion");
  const architecture = info("architecture");
  return [
    name(node),
    status.join(","),
    nodeRoles(node),
    created(node, now),
    info("kubeletVersion"),
    address("InternalIP"),
    address("ExternalIP"),
    info("osImage") || "<unknown>",
    kernel === "" ? "<unknown>" : architecture === "" ? kernel : `${kernel} (${architecture})`,
    info("containerRuntimeVersion") || "<unknown>",
  ];
}

/** The fields of workloads that tables show. */
interface Workload extends KubernetesObject {
  spec?: {
    replicas?: number;
    completions?: number;
    parallelism?: number;
    selector?: LabelSelector;
    template?: PodTemplateSpec;
  };
  status?: {
    replicas?: number;
    readyReplicas?: number;
    updatedReplicas?: number;
    availableReplicas?: number;
    desiredNumberScheduled?: number;
    currentNumberScheduled?: number;
    numberReady?: number;
    updatedNumberScheduled?: number;
    numberAvailable?: number;
    succeeded?: number;
    startTime?: string;
    completionTime?: string;
    conditions?: Condition[];
  };
}

function printDeployment(object: KubernetesObject, now: Date): Cell[] {
  const { spec, status } = object as Workload;
  return [
    name(object),
    `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 1}`,
    status?.updatedReplicas ?? 0,
    status?.availableReplicas ?? 0,
    created(object, now),
    ...containersOf(spec?.template),
    selectorQuery(spec?.selector),
  ];
}

function printReplicaSet(object: KubernetesObject, now: Date): Cell[] {
  const { spec, status } = object as Workload;
  return [
    name(object),
    spec?.replicas ?? 1,
    status?.replicas ?? 0,
    status?.readyReplicas ?? 0,
    created(object, now),
    ...containersOf(spec?.template),
    selector(spec?.selector),
  ];
}

function printStatefulSet(object: KubernetesObject, now: Date): Cell[] {
  const { spec, status } = object as Workload;
  return [
    name(object),
    `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 1}`,
    created(object, now),
    ...containersOf(spec?.template),
  ];
}

function printDaemonSet(object: KubernetesObject, now: Date): Cell[] {
  const { spec, status } = object as Workload;
  return [
    name(object),
    status?.desiredNumberScheduled ?? 0,
    status?.currentNumberScheduled ?? 0,
    status?.numberReady ?? 0,
    status?.updatedNumberScheduled ?? 0,
    status?.numberAvailable ?? 0,
    labels(spec?.template?.spec?.nodeSelector),
    created(object, now),
    ...containersOf(spec?.template),
    selector(spec?.selector),
  ];
}

function jobStatus(job: Workload): string {
  const has = (type: string): boolean => hasCondition(job.status?.conditions, type);
  if (has("Complete")) return "Complete";
  if (has("Failed")) return "Failed";
  if (job.metadata?.deletionTimestamp !== undefined) return "Terminating";
  for (const type of ["Suspended", "FailureTarget", "SuccessCriteriaMet"]) if (has(type)) return type;
  return "Running";
}

function jobDuration({ status }: Workload, now: Date): string {
  if (status?.startTime === undefined) return "";
  const end = status.completionTime === undefined ? now.getTime() : Date.parse(status.completionTime);
  return humanDuration((end - Date.parse(status.startTime)) / 1000);
}

function printJob(object: KubernetesObject, now: Date): Cell[] {
  const job = object as Workload;
  const { spec, status } = job;
  const succeeded = status?.succeeded ?? 0;
  const parallelism = spec?.parallelism ?? 0;
  const goal = spec?.completions ?? (parallelism > 1 ? `1 of ${parallelism}` : "1");
  return [
    name(job),
    jobStatus(job),
    `${succeeded}/${goal}`,
    jobDuration(job, now),
    created(job, now),
    ...containersOf(spec?.template),
    selector(spec?.selector),
  ];
}

/** Fields of events that tables show, of the core group. */
interface Event extends KubernetesObject {
  type?: string;
  reason?: string;
  message?: string;
  count?: number;
  firstTimestamp?: string | null;
  lastTimestamp?: string | null;
  eventTime?: string | null;
  series?: { count?: number; lastObservedTime?: string };
  involvedObject?: { kind?: string; name?: string; fieldPath?: string };
  source?: { component?: string; host?: string };
  reportingComponent?: string;
  reportingInstance?: string;
}

function printEvent(object: KubernetesObject, now: Date): Cell[] {
  const event = object as Event;
  const first = age(event.firstTimestamp ?? event.eventTime, now);
  const last = event.series?.lastObservedTime ?? event.lastTimestamp;
  const kind = (event.involvedObject?.kind ?? "").toLowerCase();
  const source = [event.source?.component || event.reportingComponent, event.source?.host || event.reportingInstance];
  return [
    last === undefined || last === null ? first : age(last, now),
    event.type ?? "",
    event.reason ?? "",
    event.involvedObject?.name ? `${kind}/${event.involvedObject.name}` : kind,
    event.involvedObject?.fieldPath ?? "",
    source.filter(Boolean).join(", "),
    (event.message ?? "").trim(),
    first,
    event.series?.count ?? (event.count || 1),
    name(event),
  ];
}

/** The same event in the group `events.k8s.io` has other names for its fields. */
function printNewEvent(object: KubernetesObject, now: Date): Cell[] {
  const event = object as KubernetesObject & {
    regarding?: Event["involvedObject"];
    note?: string;
    reportingController?: string;
    reportingInstance?: string;
    deprecatedSource?: Event["source"];
    deprecatedFirstTimestamp?: string | null;
    deprecatedLastTimestamp?: string | null;
    deprecatedCount?: number;
  };
  const core: Record<string, unknown> = {
    ...event,
    involvedObject: event.regarding,
    message: event.note,
    reportingComponent: event.reportingController,
    source: event.deprecatedSource,
    firstTimestamp: event.deprecatedFirstTimestamp,
    lastTimestamp: event.deprecatedLastTimestamp,
    count: event.deprecatedCount,
  };
  return printEvent(core as KubernetesObject, now);
}

function printIPAddress(object: KubernetesObject, now: Date): Cell[] {
  const parent = (object as IPAddressObject).spec?.parentRef;
  let text = none;
  if (parent !== undefined) {
    const resource = parent.group ? `${parent.resource}.${parent.group}` : (parent.resource ?? "");
    text = [resource.toLowerCase(), ...(parent.namespace ? [parent.namespace] : []), parent.name].join("/");
  }
  // One cell more than there are columns, as the real server has it; kubectl does not show it.
  return [name(object), text, created(object, now)];
}

/** Fields of an Ingress that tables show. */
interface Ingress extends KubernetesObject {
  spec?: { ingressClassName?: string; rules?: { host?: string }[]; tls?: unknown[] };
  status?: { loadBalancer?: { ingress?: LoadBalancerIngress[] } };
}

function ingressHosts(rules: readonly { host?: string }[]): string {
  const hosts: string[] = [];
  let more = false;
  for (const { host } of rules) {
    if (hosts.length === shown) more = true;
    if (!more && host) hosts.push(host);
  }
  if (hosts.length === 0) return "*";
  return more ? `${hosts.join(",")} + ${rules.length - shown} more...` : hosts.join(",");
}

function printIngress(object: KubernetesObject, now: Date): Cell[] {
  const { spec, status } = object as Ingress;
  return [
    name(object),
    spec?.ingressClassName ?? none,
    ingressHosts(spec?.rules ?? []),
    ingressPoints(status?.loadBalancer?.ingress).join(","),
    (spec?.tls ?? []).length > 0 ? "80, 443" : "80",
    created(object, now),
  ];
}

function printIngressClass(object: KubernetesObject, now: Date): Cell[] {
  const { spec } = object as KubernetesObject & {
    spec?: { controller?: string; parameters?: { apiGroup?: string; kind: string; name: string } };
  };
  const parameters = spec?.parameters;
  const kind = parameters?.apiGroup ? `${parameters.kind}.${parameters.apiGroup}` : parameters?.kind;
  return [
    name(object),
    spec?.controller ?? "",
    parameters === undefined ? none : `${kind}/${parameters.name}`,
    created(object, now),
  ];
}

function size(value: object | undefined): number {
  return Object.keys(value ?? {}).length;
}

/** What a built-in kind without a printer of its own shows. */
export function printDefault(object: KubernetesObject): Cell[] {
  return [name(object), object.metadata?.creationTimestamp ?? ""];
}

/** What a custom resource shows. */
export function printCustom(object: KubernetesObject, now: Date): Cell[] {
  return [name(object), created(object, now)];
}

function printRoleBinding(object: KubernetesObject, now: Date): Cell[] {
  const { roleRef, subjects = [] } = object as Partial<RoleBinding>;
  const of = (kind: RoleSubject["kind"]): string =>
    subjects
      .filter((subject) => subject.kind === kind)
      .map((subject) => (kind === "ServiceAccount" ? `${subject.namespace ?? ""}/${subject.name}` : subject.name))
      .join(", ");
  const role = `${roleRef?.kind ?? ""}/${roleRef?.name ?? ""}`;
  return [name(object), role, created(object, now), of("User"), of("Group"), of("ServiceAccount")];
}

/** Printers by `kind.group`. */
export const printersByKind: Readonly<Record<string, CellPrinter>> = {
  "Service.": printService,
  "Endpoints.": printEndpoints,
  "EndpointSlice.discovery.k8s.io": printEndpointSlice,
  "Pod.": printPod,
  "Node.": printNode,
  "Deployment.apps": printDeployment,
  "Scale.autoscaling": (object, now) => {
    const { spec, status } = object as KubernetesObject & Record<"spec" | "status", { replicas?: number } | undefined>;
    return [name(object), spec?.replicas ?? 0, status?.replicas ?? 0, created(object, now)];
  },
  "ReplicaSet.apps": printReplicaSet,
  "StatefulSet.apps": printStatefulSet,
  "DaemonSet.apps": printDaemonSet,
  "Job.batch": printJob,
  "Namespace.": (object, now) => [
    name(object),
    (object as KubernetesObject & { status?: { phase?: string } }).status?.phase ?? "",
    created(object, now),
  ],
  "ConfigMap.": (object, now) => {
    const { data, binaryData } = object as KubernetesObject & { data?: StringMap; binaryData?: StringMap };
    return [name(object), size(data) + size(binaryData), created(object, now)];
  },
  "Secret.": (object, now) => {
    const { type, data } = object as KubernetesObject & { type?: string; data?: StringMap };
    return [name(object), type ?? "", size(data), created(object, now)];
  },
  "ServiceAccount.": (object, now) => {
    const { secrets } = object as KubernetesObject & { secrets?: unknown[] };
    return [name(object), secrets?.length ?? 0, created(object, now)];
  },
  "Event.": printEvent,
  "Event.events.k8s.io": printNewEvent,
  "RoleBinding.rbac.authorization.k8s.io": printRoleBinding,
  "ClusterRoleBinding.rbac.authorization.k8s.io": printRoleBinding,
  "Lease.coordination.k8s.io": (object, now) => [
    name(object),
    (object as KubernetesObject & { spec?: { holderIdentity?: string } }).spec?.holderIdentity ?? "",
    created(object, now),
  ],
  "ServiceCIDR.networking.k8s.io": (object, now) => [
    name(object),
    ((object as ServiceCIDR).spec?.cidrs ?? []).join(","),
    created(object, now),
  ],
  "IPAddress.networking.k8s.io": printIPAddress,
  "NetworkPolicy.networking.k8s.io": (object, now) => [
    name(object),
    selector((object as KubernetesObject & { spec?: { podSelector?: LabelSelector } }).spec?.podSelector),
    created(object, now),
  ],
  "Ingress.networking.k8s.io": printIngress,
  "IngressClass.networking.k8s.io": printIngressClass,
};
