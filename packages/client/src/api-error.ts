import type { Status, StatusCause } from "@portolan/core";

/**
 * What kind of failure an {@link ApiError} is.
 *
 * - `status`: the server answered with an error; `statusCode`, `reason` and `status` say which
 * - `connection`: there was no answer, or it broke off; the request may or may not have been carried out
 * - `timeout`: a deadline of the client passed; the request may or may not have been carried out
 * - `aborted`: the caller's `AbortSignal` fired
 * - `response`: the answer was no Kubernetes JSON (a proxy's page, a cut document)
 */
export type ApiErrorCode = "status" | "connection" | "timeout" | "aborted" | "response";

/** What an {@link ApiError} is made from. */
export interface ApiErrorInit {
  readonly code: ApiErrorCode;
  readonly message: string;
  readonly status?: Status;
  readonly cause?: unknown;
}

/**
 * Every failure of a {@link KubernetesApi}. `code` is stable and says what happened; for `status` the server's own words are in
 * `status`, its HTTP code in `statusCode` (404, 409, 422, …) and its `reason` (`NotFound`, `Conflict`, …).
 */
export class ApiError extends Error {
  override readonly name: string = "ApiError";
  readonly code: ApiErrorCode;
  /** The server's `Status`; a made-up one (kind `Status`, reason empty) when it answered something else. */
  readonly status: Status | undefined;
  /** HTTP status code, 0 when there was no answer. */
  readonly statusCode: number;
  /** `Status.reason`, empty when there is none. */
  readonly reason: string;

  constructor(init: ApiErrorInit) {
    super(init.message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.status = init.status;
    this.statusCode = init.status?.code ?? 0;
    this.reason = init.status?.reason ?? "";
  }

  /** `Status.details.causes`, empty when there are none. */
  get causes(): readonly StatusCause[] {
    return this.status?.details?.causes ?? [];
  }

  /** Milliseconds that the server asks to wait before the next try, or undefined. */
  get retryAfter(): number | undefined {
    const seconds = this.status?.details?.retryAfterSeconds;
    return seconds === undefined ? undefined : seconds * 1000;
  }
}

/** An {@link ApiError} from the server's `Status`. */
export function apiErrorOf(status: Status): ApiError {
  return new ApiError({ code: "status", message: status.message ?? status.reason ?? `status ${status.code}`, status });
}

function hasStatus(error: unknown, statusCode: number, reason: string): error is ApiError {
  return (
    error instanceof ApiError && (error.reason === reason || (error.reason === "" && error.statusCode === statusCode))
  );
}

/** 404: the object, or its namespace, does not exist. */
export function isNotFound(error: unknown): error is ApiError {
  return hasStatus(error, 404, "NotFound");
}

/** 409 AlreadyExists: an object of that name exists. */
export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.reason === "AlreadyExists";
}

/** 409 Conflict: the resourceVersion was not the latest, or an apply met another manager's fields. */
export function isConflict(error: unknown): error is ApiError {
  return hasStatus(error, 409, "Conflict");
}

/** 410: the resourceVersion or the continue token is too old; list again. */
export function isExpired(error: unknown): error is ApiError {
  return (
    error instanceof ApiError && (error.statusCode === 410 || error.reason === "Expired" || error.reason === "Gone")
  );
}

/** 422: the object is invalid; `causes` has one entry per field. */
export function isInvalid(error: unknown): error is ApiError {
  return hasStatus(error, 422, "Invalid");
}

/** 403: not allowed. */
export function isForbidden(error: unknown): error is ApiError {
  return hasStatus(error, 403, "Forbidden");
}

/** 403 because the namespace is being deleted: nothing can be created in it any more, and retrying is of no use. */
export function isNamespaceTerminating(error: unknown): error is ApiError {
  return isForbidden(error) && error.causes.some((cause) => cause.reason === "NamespaceTerminating");
}

/** 429: too many requests; `retryAfter` may say when to come back. */
export function isTooManyRequests(error: unknown): error is ApiError {
  return hasStatus(error, 429, "TooManyRequests");
}

/** 504 because a resourceVersion lies in the server's future, as after a restore from a backup. */
export function isResourceVersionTooLarge(error: unknown): error is ApiError {
  return error instanceof ApiError && error.causes.some((cause) => cause.reason === "ResourceVersionTooLarge");
}

/** No answer, or a broken one: `connection` or `timeout`. */
export function isConnectionError(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.code === "connection" || error.code === "timeout");
}

/** The caller's own signal ended the request. */
export function isAborted(error: unknown): error is ApiError {
  return error instanceof ApiError && error.code === "aborted";
}
