import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { ProviderError } from "@portolan/lb";
import type { LoadBalancerResource, PublicIPResource, SecurityGroupResource } from "../port.ts";
import type { AzureCloud } from "./azure-cloud.ts";

/** What goes wrong with one request, in order: `throttle` 429, `lose` does it and answers nothing, `unavailable` 503. */
export type EndpointFault = "throttle" | "lose" | "unavailable";

/** Options of {@link startAzureEndpoint}. */
export interface AzureEndpointOptions {
  /** Polls that an operation takes. Default 0: done at once. */
  readonly polls?: number;
  /** Entries of a page of a list. Default 50. */
  readonly pageSize?: number;
  /** The only token that is let in. Default: any. */
  readonly token?: string;
  /** Asked for each request. */
  readonly fault?: (method: string, path: string) => EndpointFault | undefined;
}

/** A running endpoint. */
export interface AzureEndpoint {
  readonly url: string;
  /** `METHOD path` of each request, without query. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

/** HTTP status of each code that the cloud in memory refuses with. */
const statuses: Readonly<Record<string, number>> = {
  PreconditionFailed: 412,
  PublicIPAddressCannotBeDeleted: 400,
  PublicIPCountLimitReached: 400,
  DnsRecordInUse: 400,
  InvalidResourceReference: 400,
};

/** Reads a body of at most 4 MiB, which is what Azure takes. */
async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > 4 * 1024 * 1024) throw new SyntaxError("the body is too large");
    chunks.push(chunk);
  }
  return size === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString());
}

/**
 * Azure Resource Manager on loopback, in front of a cloud in memory: PUT answers 201 or 200 and an `Azure-AsyncOperation` to poll,
 * DELETE 202 and a `Location`, lists come in pages, versions are checked, refusals have Azure's codes.
 */
export async function startAzureEndpoint(
  cloud: AzureCloud,
  options: AzureEndpointOptions = {},
): Promise<AzureEndpoint> {
  const requests: string[] = [];
  const operations = new Map<string, number>();
  let next = 1;
  let url = "";

  function send(response: ServerResponse, status: number, body?: unknown, headers: Record<string, string> = {}): void {
    response.writeHead(status, {
      "content-type": "application/json",
      "x-ms-request-id": `request-${next++}`,
      ...headers,
    });
    response.end(body === undefined ? "" : JSON.stringify(body));
  }

  const refuse = (response: ServerResponse, status: number, code: string, message: string): void =>
    send(response, status, { error: { code, message, details: [] } });

  function begin(): string {
    const id = String(next++);
    operations.set(id, options.polls ?? 0);
    return `${url}/operations/${id}`;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", url);
    const method = request.method ?? "GET";
    requests.push(`${method} ${pathname}`);
    const authorization = request.headers.authorization ?? "";
    if (
      !authorization.startsWith("Bearer ") ||
      (options.token !== undefined && authorization !== `Bearer ${options.token}`)
    ) {
      return refuse(response, 401, "InvalidAuthenticationToken", "The access token is missing or invalid.");
    }
    const fault = options.fault?.(method, pathname);
    if (fault === "throttle") {
      return send(
        response,
        429,
        { error: { code: "TooManyRequests", message: "Too many requests." } },
        { "retry-after": "1" },
      );
    }
    if (fault === "unavailable") return refuse(response, 503, "ServerTimeout", "The server is busy.");
    const operation = /^\/operations\/(\d+)$/.exec(pathname)?.[1];
    if (operation !== undefined) {
      const left = operations.get(operation) ?? 0;
      operations.set(operation, left - 1);
      return send(response, 200, { status: left > 0 ? "InProgress" : "Succeeded" });
    }
    if (searchParams.get("api-version") === null) {
      return refuse(response, 400, "MissingApiVersionParameter", "The api-version query parameter is required.");
    }
    const match =
      /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Network\/([^/]+)(?:\/([^/]+))?$/i.exec(
        pathname,
      );
    const [, , group = "", kind = "", name] = match ?? [];
    const maps: Readonly<Record<string, ReadonlyMap<string, { name: string }>>> = {
      loadbalancers: cloud.loadBalancers,
      publicipaddresses: cloud.publicIPs,
      networksecuritygroups: cloud.securityGroups,
    };
    const map = maps[kind.toLowerCase()];
    if (match === null || map === undefined) {
      return refuse(response, 404, "InvalidResourceType", `The resource type could not be found: ${pathname}`);
    }
    if (method === "GET" && name === undefined) {
      if (map === cloud.publicIPs) await cloud.listPublicIPAddresses(group);
      const all = [...map.values()];
      const from = Number(searchParams.get("$skiptoken") ?? 0);
      const to = from + (options.pageSize ?? 50);
      const nextLink = `${url}${pathname}?api-version=${searchParams.get("api-version")}&$skiptoken=${to}`;
      return send(response, 200, { value: all.slice(from, to), ...(to < all.length ? { nextLink } : {}) });
    }
    const existing = map.get((name ?? "").toLowerCase());
    if (method === "GET") {
      if (existing !== undefined) return send(response, 200, existing);
      return refuse(
        response,
        404,
        "ResourceNotFound",
        `The Resource 'Microsoft.Network/${kind}/${name}' was not found.`,
      );
    }
    if (method === "PUT" && name !== undefined) {
      // Without a condition a PUT goes over whatever is there.
      const unconditional =
        request.headers["if-none-match"] === "*" ? undefined : (existing as { etag?: string })?.etag;
      const etag = request.headers["if-match"] ?? unconditional;
      const resource = { ...((await bodyOf(request)) as object), name, ...(etag === undefined ? {} : { etag }) };
      const stored =
        map === cloud.loadBalancers
          ? await cloud.putLoadBalancer(resource as LoadBalancerResource)
          : map === cloud.publicIPs
            ? await cloud.putPublicIPAddress(group, resource as PublicIPResource)
            : await cloud.putSecurityGroup(resource as SecurityGroupResource);
      if (fault === "lose") return void response.destroy();
      const properties = { ...stored.properties, provisioningState: "Updating" };
      return send(
        response,
        existing === undefined ? 201 : 200,
        { ...stored, properties },
        { "azure-asyncoperation": begin() },
      );
    }
    if (method === "DELETE" && name !== undefined) {
      if (existing === undefined) return send(response, 204);
      if (map === cloud.loadBalancers) await cloud.deleteLoadBalancer(name);
      else if (map === cloud.publicIPs) await cloud.deletePublicIPAddress(group, name);
      else return refuse(response, 405, "MethodNotAllowed", "Security groups are not deleted here.");
      if (fault === "lose") return void response.destroy();
      return send(response, 202, undefined, { location: begin() });
    }
    refuse(response, 405, "MethodNotAllowed", `The method ${method} is not allowed.`);
  }

  const server: Server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (error instanceof ProviderError) {
        const [code = "", ...rest] = error.message.split(": ");
        refuse(response, statuses[code] ?? 400, code, rest.join(": "));
      } else if (error instanceof SyntaxError) {
        refuse(response, 400, "InvalidRequestContent", error.message);
      } else {
        refuse(response, 500, "InternalServerError", "An error occurred.");
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  return {
    url,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
