/**
 * Frames and namespaces of Linux for Node: AF_XDP and packet sockets whose memory is a WebAssembly memory, TAP devices, network
 * namespaces that leave nothing behind, and the routing socket. The only package of this project that calls native code
 * (through `koffi`); it needs root.
 *
 * @packageDocumentation
 */
export { createDescriptorLedger, type DescriptorLedger, keepDescriptorLedger } from "./descriptor-ledger.ts";
export { createEventCounter, type EventCounter, eventCounterAt } from "./event-counter.ts";
export { SystemCallError } from "./libc.ts";
export {
  createMemoryFile,
  keepInMemoryFile,
  type MemoryFile,
  type MemoryRange,
  readMemoryFile,
} from "./memory-file.ts";
export {
  type BindMount,
  type DirectoryAddition,
  type NamespaceCommand,
  type NamespaceCommandOptions,
  namespaceCommand,
} from "./namespace-command.ts";
export { createNetworkNamespace, enterNetworkNamespace, type NetworkNamespace } from "./network-namespace.ts";
export { type Offloads, setOffloads } from "./offloads.ts";
export {
  createPacketSocket,
  nativeAddress,
  type PacketSocket,
  type PacketSocketOptions,
  type PacketStatistics,
  SEGMENT_HEADER_LENGTH,
  withholdFrames,
} from "./packet-socket.ts";
export { createPoller, type Poller } from "./poller.ts";
export { type Capability, type NetworkCapabilities, probe } from "./probe.ts";
export type { LinkInfo, LinkSettings, RouteSettings, Rtnetlink, RuleSettings, VethEnd } from "./rtnetlink.ts";
export { createTapDevice, type TapDevice, type TapDeviceOptions } from "./tap.ts";
export { hastenThread, sleepMicroseconds } from "./thread.ts";
export {
  createXdpSocket,
  type FrameMemory,
  type LinearMemory,
  type RingLayout,
  type RingLayouts,
  ringMemorySize,
  type XdpSocket,
  type XdpSocketOptions,
  type XdpStatistics,
} from "./xdp-socket.ts";
