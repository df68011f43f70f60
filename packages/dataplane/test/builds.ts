import { createDataplane, type Dataplane, type DataplaneOptions } from "@portolan/dataplane";
import { debug, scalar } from "../build/oracles.ts";

interface WebAssemblyNamespace {
  readonly Module: new (bytes: Uint8Array) => object;
}
const { Module } = (globalThis as unknown as { WebAssembly: WebAssemblyNamespace }).WebAssembly;

const modules = {
  scalar: new Module(Buffer.from(scalar, "base64")),
  debug: new Module(Buffer.from(debug, "base64")),
};

/** The builds of the module: the one that ships and its two oracles. */
export const builds = ["release", "scalar", "debug"] as const;
export type Build = (typeof builds)[number];

/** Small tables, so that eviction, overflow and reuse happen within a test. */
export const small = {
  connections: 256,
  servicePorts: 64,
  backends: 256,
  frontends: 128,
  sourceRanges: 64,
  maglevSlots: 65_536,
  addresses: 256,
  prefixes: 64,
  affinity: 64,
  fragments: 16,
  ports: 8,
  neighbors: 16,
  events: 64,
  frames: 16,
} as const;

export function dataplaneOf(build: Build, options: DataplaneOptions = {}): Dataplane {
  return createDataplane({
    seed: 42,
    capacity: small,
    ...options,
    ...(build === "release" ? {} : { module: modules[build] }),
  });
}
