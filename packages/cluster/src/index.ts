/**
 * The embedded cluster: API server, controllers, nodes, pods, DNS and dataplane composed.
 *
 * `startCluster` starts all of it in one process. Real programs talk to it by the kubeconfig that it writes, by its DNS server and
 * by its gateway, all on 127.0.0.1.
 *
 * @packageDocumentation
 */
export {
  type Cluster,
  type ClusterNode,
  type ClusterOptions,
  type Place,
  type PlacedProgram,
  type ServiceActivity,
  type ServiceDoor,
  startCluster,
} from "./cluster.ts";
export * from "./fake-kubelet/index.ts";
export * from "./images/index.ts";
export * from "./kubelet/index.ts";
export { applyManifests, ManifestError, readManifests, resourceTypeOf } from "./manifests.ts";
export { type ChosenMode, type ClusterMode, chooseMode, ModeError } from "./mode.ts";
export * from "./netns/index.ts";
export * from "./scheduler/index.ts";
export * from "./workloads/index.ts";
