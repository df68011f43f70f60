/**
 * The seam between clients and API servers: one HTTP-shaped request, one response. An embedded server implements it in-process,
 * a kubeconfig gives one over TLS; everything above cannot tell them apart.
 */

/** One request. `path` starts with `/` and includes the query string. Header names are lower case. */
export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Already encoded; JSON text in nearly all cases. */
  readonly body?: string | Uint8Array;
  /** Ends the request, and a streamed response body with it. */
  readonly signal?: AbortSignal;
}

/** One response. Exactly one of `body` and `stream` is present (neither on an empty answer). */
export interface ApiResponse {
  readonly status: number;
  /** Lower-case names; `warning` may repeat and is then a list. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Uint8Array;
  /** Chunks of a watch or of followed logs, not aligned to lines. Ends when the server ends it; throws when the connection breaks. */
  readonly stream?: AsyncIterable<string | Uint8Array>;
}

/** Sends one request. Rejects only when no response could be had (connection refused, aborted); an error status is a response. */
export type Transport = (request: ApiRequest) => Promise<ApiResponse>;
