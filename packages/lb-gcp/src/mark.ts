import type { ServiceKey } from "@portolan/lb";

/** What the description of an object says about who made it. */
export interface Mark {
  /** The cluster, as its hash. */
  readonly cluster: string;
  /** Absent on objects that load balancers share. */
  readonly key?: ServiceKey;
}

const serviceName = "kubernetes.io/service-name";
const clusterMember = "portolan.dev/cluster";
const uidMember = "portolan.dev/uid";

/** The description of an object: JSON in the form of Google's controllers, with the cluster and the Service's UID beside. */
export function describe(mark: Mark): string {
  return JSON.stringify({
    ...(mark.key === undefined ? {} : { [serviceName]: `${mark.key.namespace}/${mark.key.name}` }),
    [clusterMember]: mark.cluster,
    ...(mark.key === undefined ? {} : { [uidMember]: mark.key.uid }),
  });
}

function keyOf(members: Record<string, unknown>): ServiceKey | undefined {
  const name = members[serviceName];
  if (typeof name !== "string") return undefined;
  const slash = name.indexOf("/");
  if (slash < 0) return undefined;
  const uid = members[uidMember];
  return {
    namespace: name.slice(0, slash),
    name: name.slice(slash + 1),
    uid: typeof uid === "string" ? uid : "",
  };
}

/** Namespace and name of the Service that a controller of Google's made an object for; it says neither cluster nor UID. */
export function readGkeMark(description: unknown): Pick<ServiceKey, "namespace" | "name"> | undefined {
  const members = parse(description);
  return members === undefined || clusterMember in members ? undefined : keyOf(members);
}

function parse(description: unknown): Record<string, unknown> | undefined {
  if (typeof description !== "string" || !description.startsWith("{")) return undefined;
  try {
    return JSON.parse(description) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** The mark in a description, or undefined if the object is not of a cluster of ours. */
export function readMark(description: unknown): Mark | undefined {
  const members = parse(description);
  const cluster = members?.[clusterMember];
  if (members === undefined || typeof cluster !== "string") return undefined;
  const key = keyOf(members);
  return { cluster, ...(key === undefined ? {} : { key }) };
}
