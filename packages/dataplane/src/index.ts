/**
 * The Service dataplane: AssemblyScript programs and maps in WebAssembly with a typed host API.
 *
 * @packageDocumentation
 */
import { buildDataplane, type Dataplane, type DataplaneOptions } from "./dataplane.ts";
import { bytes } from "./generated/bytes.ts";
import { decodeBase64, globals, type WebAssemblyModule } from "./web-assembly.ts";

export * from "./entry.ts";

let compiled: WebAssemblyModule | undefined;

/** The module of this package, compiled once: it can be posted to workers and given to {@link createDataplane} there. */
export function dataplaneModule(): WebAssemblyModule {
  compiled ??= new globals.WebAssembly.Module(decodeBase64(bytes));
  return compiled;
}

/**
 * Creates a dataplane, synchronously: maps laid out, module instantiated, no Services, no ports. Costs about a millisecond; memory
 * is reserved for the capacities and touched as it fills.
 *
 * @throws DataplaneError `INVALID_OPTION`, `MEMORY_TOO_SMALL`
 */
export function createDataplane(options: DataplaneOptions = {}): Dataplane {
  return buildDataplane(dataplaneModule, options);
}
