/**
 * The Service dataplane: AssemblyScript programs and maps in WebAssembly with a typed host API.
 *
 * @packageDocumentation
 */
export * from "./service-port.ts";
