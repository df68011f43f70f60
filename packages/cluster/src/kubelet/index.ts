/** Runs the pods of a node as processes of this machine. */
export { createKubelet, type Kubelet, type KubeletOptions, type NodeRegistration } from "./kubelet.ts";
export { createLoopbackRuntime, type LoopbackRuntime, type LoopbackRuntimeOptions } from "./loopback-runtime.ts";
export { createNetnsRuntime, type NetnsRuntimeOptions } from "./netns-runtime.ts";
export type {
  PodMount,
  PodRuntime,
  PodSandbox,
  SandboxCommand,
  SandboxCommandOptions,
  SandboxOptions,
} from "./pod-runtime.ts";
export {
  formatResolverConfiguration,
  type PodResolver,
  parseResolverConfiguration,
  podResolver,
  type ResolverConfiguration,
  type ResolverSources,
} from "./resolver-configuration.ts";
