/**
 * Entry for Workers, where code may not be compiled at run time: the same API over a module that the bundler imports.
 *
 * @packageDocumentation
 */
// The file lies beside the bundle, in dist; wasm-modules.d.ts types it.

import { buildDataplane, type Dataplane, type DataplaneOptions } from "./dataplane.ts";
import module from "./dataplane.wasm";
import type { WebAssemblyModule } from "./web-assembly.ts";

export * from "./entry.ts";

/** The module of this package. */
export function dataplaneModule(): WebAssemblyModule {
  return module;
}

/** Creates a dataplane: see the default entry. */
export function createDataplane(options: DataplaneOptions = {}): Dataplane {
  return buildDataplane(dataplaneModule, options);
}
