/**
 * The DNS program: a module of its own from the same sources, for the same memory. Before the Service programs it answers questions about
 * the cluster's names from the frame itself; without frames it answers messages for a socket server. The host lays its region out
 * (dns/layout.mjs), gives its address once, and fills the map between batches.
 */
import { DnsNode_SIZE } from "../generated/dns-layout";
import { Frames } from "./frames";
import { Message } from "./message";
import { Names } from "./names";

/** Region of the program, 64-byte aligned. */
export function initialize(base: u32): void {
  Names.base = base;
}

/** Answers the questions among the first `count` descriptors; returns how many frames are left for `ingress`, the first ones. */
export function answerFrames(count: u32): u32 {
  return Frames.batch(min<u32>(count, 256));
}

/** Answers one message where it lies; returns octets of the reply, 0 for the server. `stream`: 1 for TCP. */
export function answerMessage(message: u32, length: u32, stream: u32): u32 {
  return Message.answer(message, length, stream);
}

/** Enters a node that the host filled in, unless its name is there already: then returns that node, else 0. */
export function enterNode(node: u32): u32 {
  const there = Names.find(<usize>(node + DnsNode_SIZE), Names.node(node).length);
  if (there != 0) return there;
  Names.enter(node);
  return 0;
}

/** Takes a node out of the map. */
export function removeNode(node: u32): u32 {
  return Names.remove(node) ? 1 : 0;
}

/** Moves the map's slots to zeroed memory for `count` of them, a power of two. */
export function moveSlots(slots: u32, count: u32): void {
  Names.move(slots, count);
}
