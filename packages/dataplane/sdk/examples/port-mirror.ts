/**
 * A port mirror, after the dataplane: copies of all packets to or from one TCP or UDP port, as they leave, for the host to read
 * (`readRing`). The host writes the port into the first word of the program's memory; the ring follows at 64.
 */
import { contextOf, Frame, NONE, Ring } from "../index";

const RING: u32 = 64;

export function initialize(memory: usize, length: u32): void {
  Ring.initialize(memory + RING, 512);
}

export function program(address: usize): u32 {
  const context = contextOf(address);
  const verdict = context.verdict;
  const network = Frame.network(context);
  if (network == NONE) return verdict;
  const protocol = Frame.protocol(context, network);
  if (protocol != 6 && protocol != 17) return verdict;
  const transport = Frame.transport(context, network);
  if (transport == NONE) return verdict;
  const port = load<u32>(<usize>context.memory);
  if (Frame.sourcePort(context, transport) != port && Frame.destinationPort(context, transport) != port) return verdict;
  Ring.output(context, <usize>(context.memory + RING), context.memoryLength - RING);
  return verdict;
}
