import type { IPFamily } from "@portolan/net";
import { encodeAddress, familyNumber, rawPort, writeAddress } from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import type { Machine } from "./memory.ts";
import type { FrontendSpec } from "./service-port.ts";

/** Removes UDP connections as `ServiceTables.flushUdp` says. Returns how many. */
export function flushUdp(
  machine: Machine,
  frontends: readonly FrontendSpec[],
  family: IPFamily,
  keep: readonly string[],
): number {
  if (keep.length === 0 || frontends.length === 0) return 0;
  const { layout, u8, u32, view, exports } = machine;
  // The scratch area holds both lists; more than it has room for goes in several calls, which is the same.
  const area = layout.regions.scratch;
  const kept = keep.map((text) => encodeAddress(text)).filter((address) => address !== undefined);
  if (kept.length * 16 > area.length / 2) {
    throw new DataplaneError("MAP_FULL", `flushUdp: ${kept.length} addresses to keep are more than fit`);
  }
  const keepAt = area.address;
  kept.forEach((address, i) => {
    writeAddress(u32, (keepAt + i * 16) >> 2, address);
  });
  const listAt = area.address + area.length / 2;
  const most = Math.floor(area.length / 2 / 24);
  let removed = 0;
  for (let from = 0; from < frontends.length; from += most) {
    const part = frontends.slice(from, from + most);
    let count = 0;
    for (const frontend of part) {
      const at = listAt + count * 24;
      const address = frontend.address === undefined ? undefined : encodeAddress(frontend.address);
      if (frontend.address !== undefined && address === undefined) continue;
      u8.fill(0, at, at + 16);
      if (address !== undefined) writeAddress(u32, at >> 2, address);
      view.setUint32(at + 16, rawPort(frontend.port), true);
      view.setUint32(at + 20, address === undefined ? 1 : 0, true);
      count++;
    }
    removed += exports.flushUdp(familyNumber(family), listAt, count, keepAt, kept.length);
  }
  return removed;
}
