import type { ServiceKey } from "@portolan/lb";
import type { Tags } from "./port.ts";

/** What an object is within the objects of its Service. */
export type Resource = "LoadBalancer" | "ManagedLBSecurityGroup" | (string & {});

const clusterTag = "elbv2.k8s.aws/cluster";
const stackTag = "service.k8s.aws/stack";
const resourceTag = "service.k8s.aws/resource";
const uidTag = "portolan.dev/service-uid";
const inTreeServiceTag = "kubernetes.io/service-name";

/** Tags that mark objects of a Service, those of the AWS Load Balancer Controller and the Service's UID. */
export function ownerTags(cluster: string, key: ServiceKey, resource: Resource): Record<string, string> {
  return {
    [clusterTag]: cluster,
    [stackTag]: `${key.namespace}/${key.name}`,
    [resourceTag]: resource,
    [uidTag]: key.uid,
  };
}

/** Tags that mark objects of a Service as the in-tree provider does, and the Service's UID. */
export function inTreeOwnerTags(cluster: string, key: ServiceKey): Record<string, string> {
  return {
    [inTreeServiceTag]: `${key.namespace}/${key.name}`,
    [`kubernetes.io/cluster/${cluster}`]: "owned",
    [uidTag]: key.uid,
  };
}

/** Whose an object is by its tags, if it is of this cluster at all. A UID is empty where another controller made the object. */
export function ownerOf(cluster: string, tags: Tags): ServiceKey | undefined {
  const isInTree = tags[`kubernetes.io/cluster/${cluster}`] === "owned";
  const service = tags[clusterTag] === cluster ? tags[stackTag] : isInTree ? tags[inTreeServiceTag] : undefined;
  const slash = service?.indexOf("/") ?? -1;
  if (service === undefined || slash < 0) return undefined;
  return { namespace: service.slice(0, slash), name: service.slice(slash + 1), uid: tags[uidTag] ?? "" };
}

/** Whether tags mark an object of that Service. */
export function isOwnedBy(cluster: string, tags: Tags, key: ServiceKey): boolean {
  const owner = ownerOf(cluster, tags);
  return (
    owner !== undefined &&
    owner.namespace === key.namespace &&
    owner.name === key.name &&
    (owner.uid === "" || owner.uid === key.uid)
  );
}

/** Description that marks a rule of a Service in a security group. */
export function ruleMark(cluster: string, key: ServiceKey): string {
  return `portolan/${cluster}/${key.namespace}/${key.name}`;
}

/** Description of rules that all Services of a cluster need: no Service takes them away. */
export function sharedRuleMark(cluster: string): string {
  return `portolan/${cluster}/shared`;
}
