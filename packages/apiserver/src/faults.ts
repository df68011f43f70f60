import type { Clock } from "@portolan/client";
import { sleep } from "@portolan/client";
import { internalErrorStatus, StatusError, tooManyRequestsStatus } from "@portolan/core";

/** Which requests a fault concerns: all that match every given field. */
export interface FaultMatch {
  readonly method?: string;
  /** Plural name of the resource, as in the URL. */
  readonly resource?: string;
  readonly verb?: string;
}

/** A fault of requests. */
export interface RequestFault extends FaultMatch {
  /** Answers this instead: 409 Conflict, 429 TooManyRequests or 500 InternalError. */
  readonly status?: 409 | 429 | 500;
  /** Waits first, in milliseconds. */
  readonly delay?: number;
  /**
   * Number of requests that it hits.
   *
   * @default 1
   */
  readonly times?: number;
}

/** Ways to make the server misbehave as real ones do, for tests of clients and controllers. */
export interface Faults {
  /** Breaks open watches: all, or those of one collection (`services`, `endpointslices.discovery.k8s.io`). */
  cutWatches(collection?: string): void;
  /** Lets coming requests fail or wait. */
  inject(fault: RequestFault): void;
  /** Forgets the history, so that watches from old revisions are answered 410. */
  compact(): void;
  /** Takes back what has been injected and not hit yet. */
  clear(): void;
}

/** The side of faults that the server asks. */
export class FaultInjector {
  readonly #clock: Clock;
  #pending: { readonly fault: RequestFault; left: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  inject(fault: RequestFault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#pending = [];
  }

  /**
   * Applies the first fault that matches.
   *
   * @throws StatusError when it says so
   */
  async apply(
    request: { readonly method: string; readonly resource: string; readonly name: string; readonly verb: string },
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#pending.length === 0) return;
    const index = this.#pending.findIndex(
      ({ fault }) =>
        (fault.method === undefined || fault.method === request.method) &&
        (fault.resource === undefined || fault.resource === request.resource) &&
        (fault.verb === undefined || fault.verb === request.verb),
    );
    const entry = this.#pending[index];
    if (entry === undefined) return;
    entry.left--;
    if (entry.left <= 0) this.#pending.splice(index, 1);
    const { delay, status } = entry.fault;
    if (delay !== undefined) await sleep(this.#clock, delay, signal);
    if (status === 500) throw internalErrorStatus("injected fault");
    if (status === 429) throw tooManyRequestsStatus("Too many requests, please try again later.", 1);
    if (status === 409) {
      throw new StatusError({
        kind: "Status",
        apiVersion: "v1",
        metadata: {},
        status: "Failure",
        message: `Operation cannot be fulfilled on ${request.resource} ${JSON.stringify(request.name)}: the object has been modified; please apply your changes to the latest version and try again`,
        reason: "Conflict",
        details: { name: request.name, kind: request.resource },
        code: 409,
      });
    }
  }
}
