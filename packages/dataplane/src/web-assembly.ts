/**
 * The few parts of the WebAssembly API that this package needs, typed here because not every target has them in its library
 * (`lib.dom.d.ts`); structurally equal to the standard ones.
 */

/** A `WebAssembly.Module`. */
export type WebAssemblyModule = object;

/** A `WebAssembly.Memory`. */
export interface WebAssemblyMemory {
  readonly buffer: ArrayBufferLike;
}

/** A `WebAssembly.Table` of functions. */
export interface WebAssemblyTable {
  readonly length: number;
  grow(by: number): number;
  set(index: number, value: ((context: number) => number) | null): void;
}

interface WebAssemblyNamespace {
  /** What a trap throws. */
  readonly RuntimeError: new () => Error;
  readonly Module: new (bytes: Uint8Array) => WebAssemblyModule;
  readonly Instance: new (module: WebAssemblyModule, imports: object) => { readonly exports: object };
  readonly Memory: new (descriptor: { initial: number; maximum: number }) => WebAssemblyMemory;
}

interface Globals {
  readonly WebAssembly: WebAssemblyNamespace;
  readonly Uint8Array: { fromBase64?(text: string): Uint8Array };
  readonly Buffer?: { from(text: string, encoding: "base64"): Uint8Array };
  readonly atob: (text: string) => string;
  readonly crypto?: { getRandomValues<T extends ArrayBufferView>(array: T): T };
}

/** The global object, as far as this package looks at it. */
export const globals: Globals = globalThis as unknown as Globals;

/** Decodes base64 by the fastest means of the environment. */
export function decodeBase64(text: string): Uint8Array {
  if (globals.Uint8Array.fromBase64 !== undefined) return globals.Uint8Array.fromBase64(text);
  if (globals.Buffer !== undefined) return globals.Buffer.from(text, "base64");
  const binary = globals.atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
