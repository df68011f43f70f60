import { probe } from "@portolan/netio-linux";
import { test } from "vitest";
import type { FrameInterface } from "../src/netns/index.ts";

const { namespaces, launcher, xdp, packets } = probe();

/** The ways of frames that this machine has, for tests that run with each; says what it has not, and that such tests are skipped. */
export function frameInterfaces(what: string): readonly FrameInterface[] {
  const ways = Object.entries({ "af-xdp": xdp, packet: packets, segments: packets }).filter(([way, capability]) => {
    const missing = [namespaces, capability, launcher].find(({ available }) => !available);
    if (missing !== undefined) console.log(`skipped: ${what}, frames by ${way}: ${missing.reason}`);
    return missing === undefined;
  });
  // A file without any test is a failure.
  if (ways.length === 0) test.skip(what, () => undefined);
  return ways.map(([way]) => way as FrameInterface);
}
