import type { Status, StatusCause } from "./types/meta.ts";
import { type FieldError, fieldErrorCause, formatFieldErrors } from "./validation/field-error.ts";

/**
 * A failure that an API server answers: the HTTP status `code` and the {@link Status} body. Thrown by request handling, and by clients
 * that receive such an answer (apimachinery `api/errors`).
 */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly status: Status;
  /** HTTP status. */
  readonly code: number;

  constructor(status: Status, options?: ErrorOptions) {
    super(status.message ?? status.reason ?? "unknown failure", options);
    this.status = status;
    this.code = status.code ?? 500;
  }

  /** `status.reason`, `""` when there is none. */
  get reason(): string {
    return this.status.reason ?? "";
  }
}

/** Names a REST resource in messages; `ResourceType` is one. */
export interface StatusResource {
  readonly group: string;
  /** Plural, as in the URL. */
  readonly resource: string;
}

/** Names a kind in messages of validation; `ResourceType` is one. */
export interface StatusKind {
  readonly group: string;
  readonly kind: string;
}

type Details = NonNullable<Status["details"]>;

function failure(code: number, reason: string | undefined, message: string, details?: Details): StatusError {
  return new StatusError({
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    ...(reason === undefined ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  });
}

function qualified(name: string, group: string): string {
  return group === "" ? name : `${name}.${group}`;
}

function detailsOf(
  name: string,
  group: string,
  kind: string,
  causes?: readonly StatusCause[],
  retryAfterSeconds?: number,
): Details {
  return {
    ...(name === "" ? {} : { name }),
    ...(group === "" ? {} : { group }),
    ...(kind === "" ? {} : { kind }),
    ...(causes === undefined || causes.length === 0 ? {} : { causes: [...causes] }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  };
}

/** 422 Invalid: `Service "a" is invalid: spec.type: …`, one cause per error. */
export function invalidStatus(kind: StatusKind, name: string, errors: readonly FieldError[]): StatusError {
  const text = formatFieldErrors(errors);
  const message = `${qualified(kind.kind, kind.group)} "${name}" is invalid${text === "" ? "" : `: ${text}`}`;
  return failure(422, "Invalid", message, detailsOf(name, kind.group, kind.kind, errors.map(fieldErrorCause)));
}

/** 404 NotFound of an object: `services "a" not found`. */
export function notFoundStatus(resource: StatusResource, name: string): StatusError {
  return failure(
    404,
    "NotFound",
    `${qualified(resource.resource, resource.group)} "${name}" not found`,
    detailsOf(name, resource.group, resource.resource),
  );
}

/** 404 NotFound of a path that no resource serves. */
export function resourceNotFoundStatus(): StatusError {
  return failure(404, "NotFound", "the server could not find the requested resource", {});
}

/** 409 AlreadyExists: `services "a" already exists`. */
export function alreadyExistsStatus(resource: StatusResource, name: string): StatusError {
  return failure(
    409,
    "AlreadyExists",
    `${qualified(resource.resource, resource.group)} "${name}" already exists`,
    detailsOf(name, resource.group, resource.resource),
  );
}

/** 409 AlreadyExists after all attempts with a generated name collided. */
export function generateNameConflictStatus(resource: StatusResource, name: string): StatusError {
  const subject = qualified(resource.resource, resource.group);
  return failure(
    409,
    "AlreadyExists",
    `${subject} "${name}" already exists, the server was not able to generate a unique name for the object`,
    detailsOf(name, resource.group, resource.resource, undefined, 1),
  );
}

/** The detail of a conflict by resourceVersion. */
export const optimisticLockDetail =
  "the object has been modified; please apply your changes to the latest version and try again";

/**
 * 409 Conflict: `Operation cannot be fulfilled on services "a": <detail>`. Preconditions of deletes name the kind instead of the
 * resource; pass `{ group, resource: kind }` there.
 */
export function conflictStatus(
  resource: StatusResource,
  name: string,
  detail: string = optimisticLockDetail,
): StatusError {
  return failure(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(resource.resource, resource.group)} "${name}": ${detail}`,
    detailsOf(name, resource.group, resource.resource),
  );
}

/** One field that an apply may not take. */
export interface ApplyConflict {
  /** Who owns it, as printed: `"creator" using v1`. */
  readonly owner: string;
  /** Path in the syntax of managed fields: `.spec.selector`. */
  readonly field: string;
}

/** 409 Conflict of server-side apply: fields owned by other managers. */
export function applyConflictStatus(conflicts: readonly ApplyConflict[]): StatusError {
  const only = conflicts.length === 1 ? conflicts[0] : undefined;
  const lines: string[] = [];
  for (const owner of [...new Set(conflicts.map((conflict) => conflict.owner))].sort()) {
    lines.push(`conflicts with ${owner}:`);
    for (const conflict of conflicts) if (conflict.owner === owner) lines.push(`- ${conflict.field}`);
  }
  const message =
    only === undefined
      ? `Apply failed with ${conflicts.length} conflicts: ${lines.join("\n")}`
      : `Apply failed with 1 conflict: conflict with ${only.owner}: ${only.field}`;
  return failure(409, "Conflict", message, {
    causes: conflicts.map(({ owner, field }) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${owner}`,
      field,
    })),
  });
}

/** 400 BadRequest. */
export function badRequestStatus(message: string): StatusError {
  return failure(400, "BadRequest", message);
}

/** 401 Unauthorized. */
export function unauthorizedStatus(message = "Unauthorized"): StatusError {
  return failure(401, "Unauthorized", message);
}

/**
 * 403 Forbidden: `services "a" is forbidden: <detail>`, `nodes is forbidden: <detail>` without a name, `forbidden: <detail>` without a
 * resource (paths that are no resource).
 */
export function forbiddenStatus(
  resource: StatusResource | undefined,
  name: string,
  detail: string,
  causes: readonly StatusCause[] = [],
): StatusError {
  const subject =
    resource === undefined || resource.resource === "" ? "" : qualified(resource.resource, resource.group);
  const message =
    subject === ""
      ? `forbidden: ${detail}`
      : name === ""
        ? `${subject} is forbidden: ${detail}`
        : `${subject} "${name}" is forbidden: ${detail}`;
  return failure(403, "Forbidden", message, detailsOf(name, resource?.group ?? "", resource?.resource ?? "", causes));
}

/** 403 for creation in a namespace that is being deleted. */
export function namespaceTerminatingStatus(resource: StatusResource, name: string, namespace: string): StatusError {
  return forbiddenStatus(
    resource,
    name,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    [
      {
        reason: "NamespaceTerminating",
        message: `namespace ${namespace} is being terminated`,
        field: "metadata.namespace",
      },
    ],
  );
}

/** 405 MethodNotAllowed; with a resource, `<action> is not supported on resources of kind "<resource>"`. */
export function methodNotAllowedStatus(resource?: StatusResource, action?: string): StatusError {
  if (resource === undefined || action === undefined) {
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {});
  }
  return failure(
    405,
    "MethodNotAllowed",
    `${action} is not supported on resources of kind "${qualified(resource.resource, resource.group)}"`,
    detailsOf("", resource.group, resource.resource),
  );
}

/** 406 NotAcceptable. `accepted` are the media types that the server can produce. */
export function notAcceptableStatus(accepted: readonly string[]): StatusError {
  return failure(406, "NotAcceptable", `only the following media types are accepted: ${accepted.join(", ")}`);
}

/** 410 Expired: the requested revision or continue token is too old. */
export function expiredStatus(message: string): StatusError {
  return failure(410, "Expired", message);
}

/** 410 Expired for a watch or list from a compacted revision. */
export function tooOldResourceVersionStatus(
  requested: string | number | bigint,
  oldest: string | number | bigint,
): StatusError {
  return expiredStatus(`too old resource version: ${requested} (${oldest})`);
}

/** 413 RequestEntityTooLarge. */
export function requestEntityTooLargeStatus(message: string): StatusError {
  return failure(413, "RequestEntityTooLarge", `Request entity is too large: ${message}`);
}

/** 415 UnsupportedMediaType. */
export function unsupportedMediaTypeStatus(accepted: readonly string[]): StatusError {
  return failure(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );
}

/** 429 TooManyRequests. */
export function tooManyRequestsStatus(message: string, retryAfterSeconds: number): StatusError {
  return failure(429, "TooManyRequests", message, { retryAfterSeconds });
}

/** 500 InternalError: `Internal error occurred: <message>`. */
export function internalErrorStatus(message: string): StatusError {
  return failure(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] });
}

/** 500 without a reason and with the raw message, as the server answers errors that are no Status. */
export function unknownErrorStatus(message: string): StatusError {
  return failure(500, undefined, message);
}

/** 503 ServiceUnavailable. */
export function serviceUnavailableStatus(message: string): StatusError {
  return failure(503, "ServiceUnavailable", message);
}

/** 504 Timeout: `Timeout: <message>`. */
export function timeoutStatus(message: string, retryAfterSeconds?: number): StatusError {
  return failure(504, "Timeout", `Timeout: ${message}`, detailsOf("", "", "", undefined, retryAfterSeconds));
}

/** 504 Timeout for a resourceVersion that the server has not reached. */
export function tooLargeResourceVersionStatus(
  requested: string | number | bigint,
  current: string | number | bigint,
): StatusError {
  return failure(504, "Timeout", `Timeout: Too large resource version: ${requested}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });
}

/** The Success Status that answers deletes of most resources. */
export function deletedStatus(resource: StatusResource, name: string, uid: string): Status {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: {
      ...(name === "" ? {} : { name }),
      ...(resource.group === "" ? {} : { group: resource.group }),
      kind: resource.resource,
      ...(uid === "" ? {} : { uid }),
    },
  };
}

/** The {@link StatusError} of anything thrown: itself, or a 500 with its message. */
export function statusErrorOf(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  const status = unknownErrorStatus(error instanceof Error ? error.message : String(error)).status;
  return new StatusError(status, { cause: error });
}
