/**
 * Looking into a dataplane from tests: load of backends, Maglev tables, the module's own arithmetic. Nothing here is part of the
 * dataplane's contract.
 *
 * @packageDocumentation
 */
import { encodeAddress, endpointKey, foldAddress } from "./address-codec.ts";
import { backendText } from "./backend-table.ts";
import { type Dataplane, internalsOf } from "./dataplane.ts";
import { Backend, BackendFlag, NONE, ServicePort, ServicePortExtension } from "./generated/layout.ts";

/** What a scheduler sees of a backend besides its weight. */
export interface BackendLoad {
  readonly active?: number;
  readonly inactive?: number;
  /** Above its upper threshold: no scheduler picks it. */
  readonly overloaded?: boolean;
}

function slotOf(dataplane: Dataplane, servicePort: string, address: string, port: number): number {
  const wanted = encodeAddress(address);
  const { tables } = internalsOf(dataplane);
  const found = tables.backendSlots(servicePort).find(({ spec }) => {
    const encoded = encodeAddress(spec.address);
    if (encoded === undefined || wanted === undefined) return false;
    return endpointKey(encoded, spec.port) === endpointKey(wanted, port);
  });
  if (found === undefined) throw new TypeError(`${servicePort} has no backend ${address}:${port}`);
  return found.slot;
}

/** Sets the connection counts and the overload mark of a backend. */
export function setBackendLoad(
  dataplane: Dataplane,
  servicePort: string,
  address: string,
  port: number,
  load: BackendLoad,
): void {
  const { view, layout } = internalsOf(dataplane).machine;
  const at = layout.regions.backends.address + slotOf(dataplane, servicePort, address, port) * Backend.SIZE;
  if (load.active !== undefined) view.setUint32(at + Backend.active, load.active, true);
  if (load.inactive !== undefined) view.setUint32(at + Backend.inactive, load.inactive, true);
  if (load.overloaded !== undefined) {
    const flags = view.getUint8(at + Backend.flags) & ~BackendFlag.OVERLOADED;
    view.setUint8(at + Backend.flags, flags | (load.overloaded ? BackendFlag.OVERLOADED : 0));
  }
}

/** Offset and skip of a backend's Maglev permutation in a table of `size` slots. */
export function maglevPermutation(
  dataplane: Dataplane,
  address: string,
  port: number,
  size: number,
): { offset: number; skip: number } {
  const { machine } = internalsOf(dataplane);
  machine.exports.maglevPermutation(0, foldedAddress(address), port, size);
  const at = machine.layout.regions.scratch.address >> 2;
  return { offset: machine.u32[at]!, skip: machine.u32[at + 1]! };
}

/** Slot that a client falls into. Port 0: the address alone. */
export function maglevSlot(dataplane: Dataplane, client: string, port: number, size: number): number {
  return internalsOf(dataplane).machine.exports.maglevSlot((foldedAddress(client) + port) >>> 0, size);
}

/** The table that given permutations fill: indices into them. Turns default to one each. */
export function maglevFill(
  dataplane: Dataplane,
  permutations: readonly { readonly offset: number; readonly skip: number; readonly turns?: number }[],
  size: number,
): number[] {
  const { machine } = internalsOf(dataplane);
  const { scratch, packet } = machine.layout.regions;
  const turns = scratch.address + scratch.length - permutations.length * 4;
  permutations.forEach(({ offset, skip, turns: count }, i) => {
    machine.u32[(scratch.address >> 2) + 2 * i] = offset;
    machine.u32[(scratch.address >> 2) + 2 * i + 1] = skip;
    machine.u32[(turns >> 2) + i] = count ?? 1;
  });
  if (size * 4 > packet.length) throw new RangeError(`a table of ${size} slots does not fit into the packet buffer`);
  machine.exports.maglevFill(packet.address, size, permutations.length, turns);
  return Array.from(machine.u32.subarray(packet.address >> 2, (packet.address >> 2) + size));
}

/** The Maglev table of a Service port's cluster set, as `address:port` per slot. */
export function maglevTable(dataplane: Dataplane, servicePort: string): string[] {
  const { machine, tables } = internalsOf(dataplane);
  const entry = [...tables.servicePorts()].find((one) => one.id === servicePort);
  if (entry === undefined) return [];
  const { extensions, lookup, servicePorts } = machine.layout.regions;
  const record = servicePorts.address + entry.index * ServicePort.SIZE;
  const extension = machine.view.getUint32(record + ServicePort.extension, true);
  if (extension === NONE) return [];
  const at = extensions.address + extension * ServicePortExtension.SIZE;
  const from = (lookup.address >> 2) + machine.view.getUint32(at + ServicePortExtension.clusterLookup, true);
  const size = machine.view.getUint32(at + ServicePortExtension.clusterLookupSize, true);
  return Array.from(machine.u32.subarray(from, from + size), (slot) => {
    const { address, port } = backendText(machine, slot);
    return `${address}:${port}`;
  });
}

/** The module's incremental checksum (RFC 1624) over bytes of even length. */
export function checksumUpdate(dataplane: Dataplane, checksum: number, before: Uint8Array, after: Uint8Array): number {
  const { machine } = internalsOf(dataplane);
  const { packet } = machine.layout.regions;
  machine.u8.set(before, packet.address);
  machine.u8.set(after, packet.address + before.length);
  const raw = ((checksum & 0xff) << 8) | (checksum >> 8);
  const result = machine.exports.checksumUpdate(raw, packet.address, packet.address + before.length, before.length);
  return ((result & 0xff) << 8) | (result >> 8);
}

function foldedAddress(text: string): number {
  const address = encodeAddress(text);
  if (address === undefined) throw new TypeError(`"${text}" is not an IP address`);
  return foldAddress(address);
}
