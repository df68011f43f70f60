import { type Capability, probe } from "@portolan/netio-linux";
import type { FrameInterface } from "./netns/index.ts";

/**
 * How pods and packets are made: `netns` (Linux, root: namespaces and frames), `gateway` (anywhere: processes on loopback and
 * sockets), `none` (objects only).
 */
export type ClusterMode = "netns" | "gateway" | "none";

/** A mode that cannot be had on this machine. */
export class ModeError extends Error {
  override readonly name = "ModeError";
  readonly code = "mode";
}

/** The mode of a cluster, and in mode `netns` how frames come into the nodes. */
export interface ChosenMode {
  readonly mode: ClusterMode;
  readonly frames?: FrameInterface;
  /** One sentence why. */
  readonly reason: string;
}

/** What a way of frames is called in sentences. */
export const frameInterfaceNames: Readonly<Record<FrameInterface, string>> = {
  "af-xdp": "AF_XDP",
  packet: "packet sockets",
  segments: "packet sockets with segments",
};

/**
 * Chooses the mode: the one asked for, or with `auto` the best that this machine allows. Frames go through AF_XDP where the machine has
 * it, else through packet sockets.
 *
 * @param frames the way of frames that mode `netns` must have
 * @throws ModeError when `netns` is asked for and cannot be had; the message says what is missing
 */
export function chooseMode(wanted: ClusterMode | "auto", frames: FrameInterface | "auto" = "auto"): ChosenMode {
  if (wanted === "gateway" || wanted === "none") return { mode: wanted, reason: "asked for" };
  const { namespaces, launcher, xdp, packets } = probe();
  const ways: Readonly<Record<FrameInterface, Capability>> = { "af-xdp": xdp, packet: packets, segments: packets };
  const way = frames !== "auto" ? frames : xdp.available ? "af-xdp" : "packet";
  const missing = [namespaces, ways[way], launcher].find((capability) => !capability.available);
  if (missing === undefined) {
    const found = `this machine has namespaces and ${frameInterfaceNames[way]}, and we are root`;
    const instead = frames === "auto" && way !== "af-xdp" ? `; no AF_XDP: ${xdp.reason}` : "";
    return { mode: "netns", frames: way, reason: `${wanted === "netns" ? "asked for" : found}${instead}` };
  }
  if (wanted === "netns") {
    throw new ModeError(`mode netns cannot be had: ${missing.reason}; use --mode gateway, which needs nothing`);
  }
  return { mode: "gateway", reason: `mode netns cannot be had: ${missing.reason}` };
}
