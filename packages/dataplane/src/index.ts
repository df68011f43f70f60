/**
 * Kubernetes Service networking as one small WebAssembly module: packets in, verdicts and translated packets out, with the reason
 * for each. It decides as kube-proxy does, tracks connections as Linux does, and can forward between links.
 *
 * ```ts
 * import { createDataplane } from "@portolan/dataplane";
 *
 * const dataplane = createDataplane();
 * dataplane.setServicePort(spec); // a Service port with its frontends and endpoints
 * const { verdict, reason, packet } = dataplane.process(bytes, { now: 0 });
 * for (const step of dataplane.trace(bytes)) console.log(step.text);
 * ```
 *
 * The module imports its memory and nothing else, because on Linux that memory is also the UMEM of AF_XDP sockets.
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
