import type { Body } from "./resources.ts";

/** A change that the cloud works on. */
export interface Operation {
  /** Path of the operation, from `projects/` on. */
  readonly path: string;
  readonly done: boolean;
  /** Set when it is done and failed. */
  readonly error?: GcpApiError;
}

/** A refusal of the API, by a request or by an operation. */
export class GcpApiError extends Error {
  override readonly name = "GcpApiError";
  /** Status of HTTP; 0 where no answer came. */
  readonly status: number;
  /** The cloud's code: `alreadyExists`, `RESOURCE_IN_USE_BY_ANOTHER_RESOURCE`, … */
  readonly reason: string;
  /** Milliseconds that the cloud asks to wait. */
  readonly retryAfter?: number;

  constructor(status: number, reason: string, message: string, options: { retryAfter?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.reason = reason;
    if (options.retryAfter !== undefined) this.retryAfter = options.retryAfter;
  }
}

/**
 * Everything that the provider asks of the cloud. Paths go from `projects/` on; bodies are those of the Compute Engine API, v1.
 * Methods reject with a {@link GcpApiError}; that an object is not there is no error.
 */
export interface GcpPort {
  /** The object, or undefined. */
  get(path: string): Promise<Body | undefined>;
  /** All objects of a collection, over all pages. */
  list(collection: string): Promise<readonly Body[]>;
  /** All objects of a kind in all zones of a project: `projects/PROJECT/aggregated/KIND`. */
  listAggregated(collection: string): Promise<readonly Body[]>;
  /** Instances of a group, as `ZONE/NAME`. */
  listMembers(group: string): Promise<readonly string[]>;
  insert(collection: string, body: Body): Promise<Operation>;
  /** Sets the members that the body has; null takes one away. */
  patch(path: string, body: Body): Promise<Operation>;
  /** Undefined if it is not there. */
  delete(path: string): Promise<Operation | undefined>;
  addMembers(group: string, members: readonly string[]): Promise<Operation>;
  removeMembers(group: string, members: readonly string[]): Promise<Operation>;
  getOperation(path: string): Promise<Operation>;
}
