/** One acceptance vector. `input` and `expected` differ by area. */
export interface Vector {
  readonly id: string;
  readonly area: string;
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the area's own; a wrong one shows as a failed case.
  readonly input: any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly expected: any;
}

/** Decides one vector: what differs, or `undefined` when nothing does. May throw; that is a difference too. */
export type VectorRunner = (vector: Vector) => string | undefined | Promise<string | undefined>;

/** The difference of a vector that nothing decides yet. */
export function notImplemented(vector: Vector): string {
  return `not implemented (${vector.area})`;
}

/** Thrown where this machine cannot decide a vector. */
export class NotDecidableError extends Error {
  readonly code = "not-decidable";
}

/** Ends a vector that this machine cannot decide, with the reason. */
export function notDecidable(reason: string): never {
  throw new NotDecidableError(reason);
}
