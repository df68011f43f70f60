import { ProviderError, type ProviderErrorCode } from "@portolan/lb";
import { GcpApiError } from "./port.ts";

const inUse = /being used by|already used by/i;

/** Whether an object could not be removed because another one uses it. */
export function isInUse(error: unknown): boolean {
  if (!(error instanceof GcpApiError)) return false;
  return /^resource_?in_?use/i.test(error.reason) || (error.status === 400 && inUse.test(error.message));
}

/** Whether an object of that name is there already. */
export function isAlreadyThere(error: unknown): boolean {
  return error instanceof GcpApiError && (error.status === 409 || /already_?exists/i.test(error.reason));
}

/** Messages of refusals that only a change of the Service mends. */
const userErrors: readonly RegExp[] = [
  /IP address is in-use/i,
  /conflicting port/i,
  /network tier/i,
  /outside the network\/subnetwork range/i,
  /external IP address.*not.*reserved/i,
  /IPv6/,
  /org policy|Constraint .* violated/i,
  /is not supported/i,
  /subnetworks\/[^']*' was not found/i,
  /quota.*address.*tier/i,
];

function codeOf({ status, reason, message }: GcpApiError): ProviderErrorCode {
  const code = reason.replaceAll("_", "").toLowerCase();
  if (code === "unsupported") return "Unsupported";
  if (status === 429 || /ratelimitexceeded/.test(code)) return "Throttled";
  if (/quotaexceeded|limitexceeded/.test(code)) return "Quota";
  if (status === 401) return "Auth";
  if (/resourceinuse|resourcenotready|operationinprogress/.test(code)) return "NotReady";
  if (userErrors.some((pattern) => pattern.test(message))) return "UserConfig";
  if (status === 403) return "Auth";
  if (status === 412 || /conditionnotmet/.test(code)) return "Concurrency";
  // What a request names has just gone, or is not seen yet.
  if (status === 404) return "NotReady";
  if (status === 0 || status >= 500) return "Transient";
  return "Bug";
}

const waits: Partial<Record<ProviderErrorCode, number>> = { NotReady: 5_000, Throttled: 10_000 };

/** Classifies what a call to the cloud failed with; errors of other kinds stay as they are. */
export function classified(error: unknown, what: string): unknown {
  if (!(error instanceof GcpApiError)) return error;
  const code = codeOf(error);
  const retryAfter = error.retryAfter ?? waits[code];
  const detail = [error.reason, error.status || ""].filter((part) => part !== "").join(", ");
  return new ProviderError(code, `${what}: ${error.message}${detail === "" ? "" : ` (${detail})`}`, {
    cause: error,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}
