import type { Message, Question } from "../message/message.ts";

/** How a question reached us, as far as whoever answers it must know. */
export interface ResolveOptions {
  /** Transport of the client; forwarding follows it unless told otherwise. */
  readonly transport: "udp" | "tcp";
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly dnssecOk: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Answers what a zone does not: an upstream, a cache in front of one, a test. Rejects with {@link ResolveError} when nothing could be had;
 * a negative or failing response is a message.
 */
export interface Resolver {
  resolve(question: Question, options: ResolveOptions): Promise<Message>;
}

/** Why there is no response. */
export class ResolveError extends Error {
  override readonly name = "ResolveError";
  readonly code: "timeout" | "network" | "no-upstream" | "overloaded" | "aborted" | "loop";

  constructor(code: ResolveError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
