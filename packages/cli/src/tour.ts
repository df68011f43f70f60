import type { KubernetesApi } from "@portolan/client";
import {
  type Deployment,
  type EndpointSlice,
  type Pod,
  resources,
  type Service,
  type StatefulSet,
} from "@portolan/core";
import type { ProbeAnswer, Prober } from "./probe.ts";

/** One stop of the tour: a Service, from where it is asked, and what has to come back. */
export interface TourStop {
  readonly service: string;
  /** What is dialled, as the table shows it. */
  readonly address: string;
  readonly prober: Prober;
  readonly kind: "http" | "tcp" | "dns";
  readonly host: string;
  readonly port: number;
  readonly count: number;
  /** `all`: several endpoints must have answered; `one`: always the same one; a name: that one. */
  readonly expect: "all" | "one" | { readonly name: string };
}

/** What the dataplanes of all nodes counted for one Service. */
export interface ServiceActivity {
  readonly connections: number;
  readonly masqueraded: number;
  readonly affinityHits: number;
}

/** A row of the table. */
export interface TourResult {
  readonly stop: TourStop;
  readonly type: string;
  /** Who answered how often. */
  readonly answered: ReadonlyMap<string, number>;
  /** Client addresses that the pods saw. */
  readonly clients: readonly string[];
  readonly activity: ServiceActivity | undefined;
  readonly failures: readonly string[];
}

/**
 * Who answered and whom it saw, from the text of our programs: JSON with `pod` and `client`, or `pod=NAME … client=ADDRESS:PORT`.
 */
export function readAnswer(text: string): { readonly who: string; readonly client: string } | undefined {
  const plain = /\bpod=(\S+).*\bclient=(\S+):\d+/.exec(text);
  if (plain !== null) return { who: plain[1]!, client: plain[2]! };
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const who = value["pod"];
    return typeof who === "string" ? { who, client: String(value["client"] ?? "") } : undefined;
  } catch {
    return undefined;
  }
}

function difference(after: ServiceActivity, before: ServiceActivity | undefined): ServiceActivity {
  return {
    connections: after.connections - (before?.connections ?? 0),
    masqueraded: after.masqueraded - (before?.masqueraded ?? 0),
    affinityHits: after.affinityHits - (before?.affinityHits ?? 0),
  };
}

async function endpointNames(api: KubernetesApi, name: string): Promise<ReadonlySet<string>> {
  const slices = await api.list<EndpointSlice>(resources.endpointSlices, {
    namespace: "default",
    labelSelector: `kubernetes.io/service-name=${name}`,
  });
  const endpoints = slices.items
    .flatMap((slice) => slice.endpoints ?? [])
    .filter((endpoint) => endpoint.conditions?.ready ?? true);
  // Endpoints that are no pods have no name that an answer could be compared with.
  if (endpoints.some((endpoint) => endpoint.targetRef === undefined)) return new Set();
  return new Set(endpoints.map((endpoint) => endpoint.targetRef?.name ?? ""));
}

/**
 * Makes the requests of one stop and judges the answers: each must come from an endpoint that the API lists for the Service.
 *
 * @param activity counts of the Service's entries in all dataplanes
 */
export async function visit(
  api: KubernetesApi,
  stop: TourStop,
  activity: (service: string) => Promise<ServiceActivity | undefined>,
): Promise<TourResult> {
  const service = await api.get<Service>(resources.services, { name: stop.service, namespace: "default" });
  const before = await activity(stop.service);
  const answers: readonly ProbeAnswer[] = await stop.prober.request(stop);
  const after = await activity(stop.service);
  const answered = new Map<string, number>();
  const clients = new Set<string>();
  const failures: string[] = [];
  const allowed = await endpointNames(api, stop.service);
  for (const answer of answers) {
    if (answer.error !== undefined) {
      failures.push(`${answer.error}: ${answer.text}`);
      continue;
    }
    const read = stop.kind === "dns" ? { who: answer.text, client: "" } : readAnswer(answer.text);
    if (read === undefined) {
      failures.push(`an answer that names nobody: ${JSON.stringify(answer.text.slice(0, 80))}`);
      continue;
    }
    answered.set(read.who, (answered.get(read.who) ?? 0) + 1);
    if (read.client !== "") clients.add(read.client);
    if (stop.kind !== "dns" && typeof stop.expect !== "object" && allowed.size > 0 && !allowed.has(read.who)) {
      failures.push(`${read.who} answered, which is no endpoint of ${stop.service}`);
    }
  }
  if (stop.expect === "all" && answered.size < Math.min(2, allowed.size)) {
    failures.push(`only ${[...answered.keys()].join(", ") || "nobody"} answered, of ${[...allowed].join(", ")}`);
  }
  if (stop.expect === "one" && answered.size !== 1) failures.push(`${answered.size} endpoints answered, not one`);
  if (typeof stop.expect === "object" && !answered.has(stop.expect.name)) {
    failures.push(`${stop.expect.name} did not answer`);
  }
  return {
    stop,
    type: service.spec?.clusterIP === "None" ? "headless" : (service.spec?.type ?? "ClusterIP"),
    answered,
    clients: [...clients],
    activity: after === undefined ? undefined : difference(after, before),
    failures: [...new Set(failures)],
  };
}

function hasReady(object: {
  spec?: { replicas?: number };
  status?: { readyReplicas?: number; replicas?: number };
}): boolean {
  const wanted = object.spec?.replicas ?? 1;
  return (object.status?.readyReplicas ?? 0) === wanted && (object.status?.replicas ?? 0) === wanted;
}

/** What is not ready yet, by name and with the reason where there is one: workloads, pods, load balancers without an address. */
export async function notReady(api: KubernetesApi): Promise<readonly string[]> {
  const scope = { namespace: "default" };
  const [pods, deployments, sets, services] = await Promise.all([
    api.list<Pod>(resources.pods),
    api.list<Deployment>(resources.deployments, scope),
    api.list<StatefulSet>(resources.statefulSets, scope),
    api.list<Service>(resources.services, scope),
  ]);
  const out: string[] = [];
  for (const pod of pods.items) {
    if (pod.status?.conditions?.some((entry) => entry.type === "Ready" && entry.status === "True")) continue;
    const waiting = pod.status?.containerStatuses?.[0]?.state?.waiting;
    out.push(`pod ${pod.metadata.name} (${waiting?.reason ?? pod.status?.phase ?? "Pending"})`);
  }
  for (const each of deployments.items) if (!hasReady(each)) out.push(`Deployment ${each.metadata.name}`);
  for (const each of sets.items) if (!hasReady(each)) out.push(`StatefulSet ${each.metadata.name}`);
  for (const service of services.items) {
    if (service.spec?.type !== "LoadBalancer" || service.status?.loadBalancer?.ingress?.length) continue;
    out.push(`Service ${service.metadata.name} (no address)`);
  }
  return out;
}

/** The cells of a row. */
export function tourRow(result: TourResult): string[] {
  const { stop, activity } = result;
  const did: string[] = [];
  if (activity !== undefined && activity.connections > 0) did.push(`DNAT ${activity.connections}`);
  if (activity !== undefined && activity.masqueraded > 0) did.push(`SNAT ${activity.masqueraded}`);
  if (activity !== undefined && activity.affinityHits > 0) did.push(`affinity hit ${activity.affinityHits}`);
  if (result.type === "ExternalName") did.push("CNAME to another name");
  else if (did.length === 0) did.push(stop.kind === "dns" ? "answered by DNS" : "direct to the pod");
  const answered = [...result.answered]
    .sort()
    .map(([name, count]) => (stop.kind === "dns" ? name : `${name} ×${count}`));
  return [
    stop.service,
    result.type,
    stop.address,
    stop.prober.from,
    [...answered, ...result.failures.map((failure) => `FAILED ${failure}`)].join("\n"),
    result.clients.join("\n") || "-",
    did.join(", "),
  ];
}

/** Titles of {@link tourRow}. */
export const tourHeader: readonly string[] = [
  "SERVICE",
  "TYPE",
  "ADDRESS",
  "FROM",
  "ANSWERED",
  "CLIENT SEEN",
  "DATAPLANE",
];
