import {
  badRequestStatus,
  type FieldError,
  forbidden,
  invalid,
  invalidStatus,
  notSupported,
  required,
} from "@portolan/core";
import type { FeatureGates } from "../feature-gates.ts";
import { isTrue } from "./request-info.ts";

/** Options of a list or watch. */
export interface ListOptions {
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly watch: boolean;
  readonly allowWatchBookmarks: boolean;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
  readonly timeoutSeconds: number | undefined;
  readonly limit: number;
  readonly continueToken: string;
  readonly sendInitialEvents: boolean | undefined;
}

/** Options of a create, update or patch. */
export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly fieldValidation: "Ignore" | "Warn" | "Strict";
  readonly force: boolean | undefined;
}

/** Options of a delete, from body and query. */
export interface DeleteOptions {
  readonly dryRun: boolean;
  readonly gracePeriodSeconds: number | undefined;
  readonly propagationPolicy: "Orphan" | "Background" | "Foreground" | undefined;
  readonly orphanDependents: boolean | undefined;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!/^[+-]?\d+$/.test(text))
    throw badRequestStatus(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  const value = Number(text);
  if (Math.abs(value) >= 2 ** 63)
    throw badRequestStatus(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  return value;
}

function optionsInvalid(kind: string, errors: readonly FieldError[]): void {
  if (errors.length > 0) throw invalidStatus({ group: "meta.k8s.io", kind }, "", errors);
}

/**
 * Reads the query of a list or watch.
 *
 * @throws StatusError 400 and 422
 */
export function readListOptions(query: URLSearchParams, isWatch: boolean, gates: FeatureGates = {}): ListOptions {
  const sendInitialEvents = query.get("sendInitialEvents");
  const options: ListOptions = {
    labelSelector: query.get("labelSelector") ?? "",
    fieldSelector: query.get("fieldSelector") ?? "",
    watch: isWatch,
    allowWatchBookmarks: isTrue(query.get("allowWatchBookmarks")),
    resourceVersion: query.get("resourceVersion") ?? "",
    resourceVersionMatch: query.get("resourceVersionMatch") ?? "",
    timeoutSeconds: integer(query, "timeoutSeconds"),
    limit: integer(query, "limit") ?? 0,
    continueToken: query.get("continue") ?? "",
    sendInitialEvents: sendInitialEvents === null ? undefined : isTrue(sendInitialEvents),
  };
  optionsInvalid("ListOptions", listOptionErrors(options, gates));
  return options;
}

const matches = ["Exact", "NotOlderThan"];

/** Source: `apimachinery/pkg/apis/meta/internalversion/validation`. */
function listOptionErrors(options: ListOptions, gates: FeatureGates): FieldError[] {
  const { resourceVersionMatch: match, resourceVersion, continueToken } = options;
  if (options.watch) {
    const errors: FieldError[] = [];
    if (options.sendInitialEvents !== undefined) {
      if (gates.WatchList === false) {
        const detail = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return [forbidden("sendInitialEvents", detail)];
      }
      if (match === "") {
        errors.push(
          forbidden("resourceVersionMatch", `sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`),
        );
      } else if (match !== "NotOlderThan") {
        errors.push(
          forbidden("resourceVersionMatch", `sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`),
        );
      }
      if (continueToken !== "") errors.push(forbidden("continue", "continue is forbidden for watch"));
      return errors;
    }
    if (match !== "")
      errors.push(
        forbidden(
          "resourceVersionMatch",
          "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
      );
    return errors;
  }
  const errors: FieldError[] = [];
  if (options.sendInitialEvents !== undefined)
    errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
  if (match !== "") {
    if (resourceVersion === "")
      errors.push(
        forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
      );
    if (continueToken !== "")
      errors.push(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"));
    if (!matches.includes(match)) errors.push(notSupported("resourceVersionMatch", match, [...matches, ""]));
    if (match === "Exact" && resourceVersion === "0") {
      errors.push(
        forbidden("resourceVersionMatch", `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`),
      );
    }
  }
  return errors;
}

function dryRunErrors(values: readonly string[]): FieldError[] {
  return values.some((value) => value !== "All") ? [notSupported("dryRun", values, ["All"])] : [];
}

const fieldValidations = ["Ignore", "Strict", "Warn"];

function fieldManagerErrors(manager: string): FieldError[] {
  if (manager.length > 128)
    return [
      {
        ...invalid("fieldManager", manager, ""),
        type: "FieldValueTooLong",
        detail: "may not be more than 128 bytes",
      } as FieldError,
    ];
  const errors: FieldError[] = [];
  let index = 0;
  for (const character of manager) {
    if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Co}]/u.test(character)) {
      errors.push(
        invalid(
          "fieldManager",
          manager,
          `invalid character U+${(character.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0")} (at position ${index})`,
        ),
      );
      break;
    }
    index++;
  }
  return errors;
}

/**
 * Reads the query of a create, update or patch.
 *
 * @param kind `CreateOptions`, `UpdateOptions` or `PatchOptions`, for messages
 * @throws StatusError 422
 */
export function readWriteOptions(
  query: URLSearchParams,
  kind: "CreateOptions" | "UpdateOptions" | "PatchOptions",
  isApply = false,
): WriteOptions {
  const dryRun = query.getAll("dryRun");
  const fieldManager = query.get("fieldManager") ?? "";
  const fieldValidation = query.get("fieldValidation") ?? "";
  const force = query.get("force");
  const errors: FieldError[] = [];
  if (kind === "PatchOptions") {
    if (!isApply) {
      if (force !== null) errors.push(forbidden("force", "may not be specified for non-apply patch"));
    } else if (fieldManager === "") {
      // Upstream forgets the separator between its two sentences no more; one cause is enough.
      errors.push(required("fieldManager", "is required for apply patch"));
    }
  }
  errors.push(...fieldManagerErrors(fieldManager), ...dryRunErrors(dryRun));
  if (fieldValidation !== "" && !fieldValidations.includes(fieldValidation))
    errors.push(notSupported("fieldValidation", fieldValidation, fieldValidations));
  optionsInvalid(kind, errors);
  return {
    dryRun: dryRun.length > 0,
    fieldManager,
    fieldValidation: fieldValidation === "" ? "Warn" : (fieldValidation as "Ignore"),
    force: force === null ? undefined : isTrue(force),
  };
}

const policies = ["Background", "Foreground", "Orphan"];

/**
 * Reads options of a delete: the body wins over the query.
 *
 * @param body decoded `DeleteOptions`, absent when there is none
 * @throws StatusError 422
 */
export function readDeleteOptions(
  query: URLSearchParams,
  body: Readonly<Record<string, unknown>> | undefined,
): DeleteOptions {
  const preconditions = body?.["preconditions"] as { uid?: string; resourceVersion?: string } | undefined;
  const orphan = query.get("orphanDependents");
  const source =
    body === undefined
      ? {
          dryRun: query.getAll("dryRun"),
          grace: integer(query, "gracePeriodSeconds"),
          policy: query.get("propagationPolicy") ?? undefined,
          orphan: orphan === null ? undefined : isTrue(orphan),
        }
      : {
          dryRun: (body["dryRun"] as string[] | undefined) ?? [],
          grace: body["gracePeriodSeconds"] as number | undefined,
          policy: body["propagationPolicy"] as string | undefined,
          orphan: body["orphanDependents"] as boolean | undefined,
        };
  const errors: FieldError[] = [];
  if (source.orphan !== undefined && source.policy !== undefined) {
    errors.push(
      invalid("propagationPolicy", source.policy, "orphanDependents and deletionPropagation cannot be both set"),
    );
  }
  if (source.policy !== undefined && !policies.includes(source.policy))
    errors.push(notSupported("propagationPolicy", source.policy, [...policies, "nil"]));
  errors.push(...dryRunErrors(source.dryRun));
  optionsInvalid("DeleteOptions", errors);
  return {
    dryRun: source.dryRun.length > 0,
    gracePeriodSeconds: source.grace === undefined ? undefined : Math.max(source.grace, source.grace < 0 ? 1 : 0),
    propagationPolicy: source.policy as DeleteOptions["propagationPolicy"],
    orphanDependents: source.orphan,
    uid: preconditions?.uid,
    resourceVersion: preconditions?.resourceVersion,
  };
}
