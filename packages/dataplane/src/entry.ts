export {
  type BackendCounts,
  type BatchDescriptors,
  batchVerdicts,
  type ConnectionEntry,
  type ConnectRequest,
  type ConnectResult,
  type Dataplane,
  type DataplaneCounters,
  type DataplaneEvent,
  type DataplaneOptions,
  type DataplaneSize,
  type ProcessOptions,
  type ProcessResult,
  type ServicePortCounts,
  type Tuple,
} from "./dataplane.ts";
export { DataplaneError, type DataplaneErrorCode } from "./errors.ts";
export type { PortSpec, RouteSpec } from "./forwarding.ts";
export type { DataplaneExports } from "./generated/exports.ts";
export type { Capacity, Region } from "./memory.ts";
export { type DropReason, dropReasons, type VerdictName } from "./names.ts";
export type {
  BackendSpec,
  FrontendKind,
  FrontendSpec,
  NodeSpec,
  SchedulerName,
  ServicePortSpec,
  ServiceTables,
  TransportProtocol,
} from "./service-port.ts";
export type { ServicePortReplacement } from "./service-port-replacement.ts";
export { type ConnectionTimeouts, kubeProxyTimeouts, linuxTimeouts } from "./timeouts.ts";
export type { EndpointSetReason, MasqueradeReasonName, TracedBackend, TraceStep } from "./trace.ts";
export type { WebAssemblyMemory, WebAssemblyModule } from "./web-assembly.ts";
