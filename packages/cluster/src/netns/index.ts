/** The embedded cluster's network on Linux: see `createNetnsFabric`. */
export { type Door, openDoor } from "./door.ts";
export { createNetnsFabric, type ExternalHostOptions, type FabricOptions, type NetnsFabric } from "./fabric.ts";
export { ForwarderError } from "./forwarder-thread.ts";
export type {
  ForwarderFault,
  NetnsNode,
  NetnsNodeOptions,
  NetworkPlace,
  PodNamespace,
  PodOptions,
  RunOptions,
} from "./node.ts";
export { gatewayOf } from "./node.ts";
export type { ForwarderCounters, FrameInterface, PortCounters } from "./protocol.ts";
