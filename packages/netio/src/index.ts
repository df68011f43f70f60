/**
 * Frame devices: the `Device` contract, a pair joined in memory, capture files, and what can be put in front of a device: faults,
 * a tracer. `createDataplanePump` hangs devices on the ports of a dataplane. Pure: it runs wherever the dataplane does.
 *
 * ```ts
 * import { createFaultInjector, createMemoryPair } from "@portolan/netio";
 *
 * const [left, right] = createMemoryPair();
 * const lossy = createFaultInjector(left, { seed: 1, loss: 0.1 });
 * lossy.transmit(new Uint8Array(60));
 * right.receive(); // the frame, nine times of ten
 * ```
 *
 * @packageDocumentation
 */
export { createDataplanePump, type DataplanePump } from "./dataplane-pump.ts";
export { type Device, ETHERNET_HEADER_LENGTH } from "./device.ts";
export {
  createFaultInjector,
  type FaultCounts,
  type FaultInjector,
  type FaultInjectorOptions,
  type Faults,
} from "./fault-injector.ts";
export { createMemoryPair, type MemoryPairOptions } from "./memory-pair.ts";
export { createPcapDevice, type PcapDevice, type PcapDeviceOptions } from "./pcap-device.ts";
export { type CaptureRecorder, createCaptureRecorder, createTracer, type TracedFrame } from "./tracer.ts";
