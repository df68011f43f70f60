/**
 * kube-proxy's role: Services and EndpointSlices compiled to dataplane maps.
 *
 * `compileServicePorts` is the pure half: objects in, dataplane entries out. `createProxy` watches an API, embedded or real, and
 * keeps one node's dataplane equal to it.
 *
 * @packageDocumentation
 */
export { type ProxyTiming, proxyConfigz } from "./configz.ts";
export {
  type EndpointSets,
  endpointSets,
  endpointsOf,
  isProxied,
  type NodeTopology,
  type ProxyEndpoint,
  type SetPolicies,
} from "./endpoint-sets.ts";
export {
  createHealthCheckServer,
  createProxyServers,
  type HealthCheck,
  type HealthCheckServer,
  type HealthResponse,
  healthCheckResponse,
  isNodeEligible,
  isProxyHealthy,
  type MetricsSource,
  type OpenPort,
  type ProxyHealth,
  type ProxyServerOptions,
  proxyHealthResponse,
  proxyMetricsResponse,
} from "./health.ts";
export type { ProxyMetrics } from "./metrics.ts";
export { compileNodeSpec, healthCheckAddresses, nodePortAddresses, type ProxyConfiguration } from "./node-spec.ts";
export { createProxy, type ProxyOptions, type ServiceProxy, type SyncReport } from "./proxy.ts";
export {
  type CompiledServicePort,
  type CompileOptions,
  compileServicePorts,
  localReadyEndpoints,
  schedulerAnnotation,
} from "./service-ports.ts";
