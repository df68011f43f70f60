import { ProviderError, type ProviderErrorCode } from "@portolan/lb";
import type { AzurePort, LoadBalancerResource, PublicIPResource, SecurityGroupResource } from "./port.ts";
import { ResourceIds } from "./port.ts";

/** What gives access tokens: that of `@azure/identity` and of every Azure SDK. */
export interface TokenCredential {
  getToken(scope: string): Promise<{ readonly token: string } | null>;
}

/** Options of {@link resourceManagerPort}. */
export interface ResourceManagerOptions {
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly credential: TokenCredential;
  /** Default: Azure's public cloud. */
  readonly endpoint?: string;
  /** Default: the engine's. */
  readonly fetch?: typeof fetch;
  /** Waits between polls. Default: by timer. */
  readonly sleep?: (milliseconds: number) => Promise<void>;
  /** Polls of one operation before it is left to the next pass. Default 30. */
  readonly polls?: number;
}

const apiVersion = "2024-05-01";

/** Classes of the codes that Azure Resource Manager answers with; those that are not here follow from the HTTP status. */
const classes: Readonly<Record<string, ProviderErrorCode>> = {
  PreconditionFailed: "Concurrency",
  AnotherOperationInProgress: "Concurrency",
  CanceledAndSupersededDueToAnotherOperation: "Concurrency",
  OperationPreempted: "Concurrency",
  ReferencedResourceNotProvisioned: "NotReady",
  PublicIPAddressCannotBeDeleted: "NotReady",
  InUseSubnetCannotBeDeleted: "NotReady",
  LoadBalancerInUseByVirtualMachineScaleSet: "NotReady",
  PublicIPCountLimitReached: "Quota",
  LoadBalancerRuleCountLimitReached: "Quota",
  SecurityRuleCountLimitReached: "Quota",
  DnsRecordInUse: "Conflict",
  AuthorizationFailed: "Auth",
  InvalidAuthenticationToken: "Auth",
  TooManyRequests: "Throttled",
};

function classOf(status: number, code: string, message: string): ProviderErrorCode {
  const known = classes[code];
  if (known !== undefined) return known;
  if (/preempted by a more recent operation/i.test(message)) return "Concurrency";
  if (/QuotaExceeded|LimitReached/.test(code)) return "Quota";
  if (status === 412 || status === 409) return "Concurrency";
  if (status === 429) return "Throttled";
  if (status === 401 || status === 403) return "Auth";
  if (status >= 500) return "Transient";
  return status >= 400 ? "UserConfig" : "Transient";
}

interface ErrorBody {
  readonly error?: { readonly code?: string; readonly message?: string };
}

/**
 * {@link AzurePort} over the REST interface of Azure Resource Manager: documents go as they are, with the members that are not known
 * here, and with the version that they replace in `If-Match`. Long operations are polled until they are done.
 */
export function resourceManagerPort(options: ResourceManagerOptions): AzurePort {
  const { subscription, credential } = options;
  const endpoint = (options.endpoint ?? "https://management.azure.com").replace(/\/$/, "");
  const request = options.fetch ?? fetch;
  const sleep = options.sleep ?? ((milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)));
  const ids = new ResourceIds(subscription, options.resourceGroup);

  function failure(
    status: number,
    body: ErrorBody,
    requestId: string | null,
    retryAfter: number | undefined,
  ): ProviderError {
    const code = body.error?.code ?? `HTTP${status}`;
    const message = body.error?.message ?? "no message";
    const suffix = requestId === null ? "" : ` (request ${requestId})`;
    return new ProviderError(classOf(status, code, message), `Azure: ${code}: ${message}${suffix}`, {
      ...(retryAfter === undefined ? {} : { retryAfter }),
    });
  }

  async function call(
    method: string,
    url: string,
    body?: unknown,
    condition: Readonly<Record<string, string>> = {},
  ): Promise<{ status: number; headers: Headers; body: unknown }> {
    const token = await credential.getToken("https://management.azure.com/.default");
    if (token === null) throw new ProviderError("Auth", "Azure: the credential gave no token");
    let response: Response;
    let text: string;
    try {
      response = await request(url, {
        method,
        headers: {
          authorization: `Bearer ${token.token}`,
          accept: "application/json",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...condition,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (error) {
      throw new ProviderError("Transient", `Azure: ${method} did not get through: ${(error as Error).message}`, {
        cause: error,
      });
    }
    let parsed: unknown = {};
    try {
      parsed = text === "" ? {} : JSON.parse(text);
    } catch {
      if (response.ok) throw new ProviderError("Bug", `Azure: the answer to ${method} is no JSON`);
    }
    if (!response.ok && response.status !== 404) {
      const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
      const retryAfter = Number.isFinite(seconds) ? seconds * 1000 : undefined;
      throw failure(response.status, parsed as ErrorBody, response.headers.get("x-ms-request-id"), retryAfter);
    }
    return { status: response.status, headers: response.headers, body: parsed };
  }

  const urlOf = (kind: string, name: string, group = options.resourceGroup): string =>
    `${endpoint}${ids.network(kind, encodeURIComponent(name), encodeURIComponent(group)).replace(/\/$/, "")}?api-version=${apiVersion}`;

  /** Waits for what a write began. Only addresses at the same endpoint are asked, for the token goes along. */
  async function settle(headers: Headers): Promise<void> {
    const operation = headers.get("azure-asyncoperation") ?? headers.get("location");
    if (operation === null || !operation.startsWith(`${endpoint}/`)) return;
    for (let poll = 0; poll < (options.polls ?? 30); poll++) {
      const { status, body } = await call("GET", operation);
      const state = (body as { status?: string } & ErrorBody).status;
      if (status === 202 || state === "InProgress" || state === "Accepted") {
        await sleep(1000);
        continue;
      }
      if (state === "Failed" || state === "Canceled") throw failure(0, body as ErrorBody, null, undefined);
      return;
    }
    throw new ProviderError("NotReady", "Azure: the operation is still in progress", { retryAfter: 10_000 });
  }

  async function get<T>(kind: string, name: string, group?: string): Promise<T | undefined> {
    const { status, body } = await call("GET", urlOf(kind, name, group));
    return status === 404 ? undefined : (body as T);
  }

  async function list<T>(kind: string, group?: string): Promise<T[]> {
    const out: T[] = [];
    let next: string | undefined = urlOf(kind, "", group);
    while (next !== undefined) {
      const { body } = await call("GET", next);
      const page = body as { value?: T[]; nextLink?: string };
      out.push(...(page.value ?? []));
      next = page.nextLink?.startsWith(`${endpoint}/`) ? page.nextLink : undefined;
    }
    return out;
  }

  async function put<T extends { readonly name: string; readonly etag?: string }>(
    kind: string,
    resource: T,
    group?: string,
  ): Promise<T> {
    const { etag, ...body } = resource;
    // Without a version it is a creation, which must not go over what somebody else has created meanwhile.
    const condition: Record<string, string> = etag === undefined ? { "if-none-match": "*" } : { "if-match": etag };
    const answer = await call("PUT", urlOf(kind, resource.name, group), body, condition);
    await settle(answer.headers);
    const after = await get<T>(kind, resource.name, group);
    if (after === undefined) throw new ProviderError("NotReady", `Azure: ${kind} ${resource.name} is not visible yet`);
    return after;
  }

  async function remove(kind: string, name: string, group?: string): Promise<void> {
    const { status, headers } = await call("DELETE", urlOf(kind, name, group));
    if (status !== 404 && status !== 204) await settle(headers);
  }

  return {
    listLoadBalancers: () => list<LoadBalancerResource>("loadBalancers"),
    getLoadBalancer: (name) => get<LoadBalancerResource>("loadBalancers", name),
    putLoadBalancer: (resource) => put("loadBalancers", resource),
    deleteLoadBalancer: (name) => remove("loadBalancers", name),
    listPublicIPAddresses: (group) => list<PublicIPResource>("publicIPAddresses", group),
    putPublicIPAddress: (group, resource) => put("publicIPAddresses", resource, group),
    deletePublicIPAddress: (group, name) => remove("publicIPAddresses", name, group),
    getSecurityGroup: (name) => get<SecurityGroupResource>("networkSecurityGroups", name),
    putSecurityGroup: (resource) => put("networkSecurityGroups", resource),
  };
}
