import { probe } from "@portolan/netio-linux";

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

/**
 * Chooses the mode: the one asked for, or with `auto` the best that this machine allows.
 *
 * @returns the mode, and one sentence why
 * @throws ModeError when `netns` is asked for and cannot be had; the message says what is missing
 */
export function chooseMode(wanted: ClusterMode | "auto"): { readonly mode: ClusterMode; readonly reason: string } {
  if (wanted === "gateway" || wanted === "none") return { mode: wanted, reason: "asked for" };
  const found = probe();
  const missing = [found.namespaces, found.xdp, found.launcher].find((capability) => !capability.available);
  if (missing === undefined) {
    return {
      mode: "netns",
      reason: wanted === "netns" ? "asked for" : "this machine has namespaces and AF_XDP, and we are root",
    };
  }
  if (wanted === "netns") {
    throw new ModeError(`mode netns cannot be had: ${missing.reason}; use --mode gateway, which needs nothing`);
  }
  return { mode: "gateway", reason: `mode netns cannot be had: ${missing.reason}` };
}
