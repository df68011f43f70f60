import { nameOfLink, resourcePath } from "./forwarding-rule.ts";
import { GcpApiError, type GcpPort, type Operation } from "./port.ts";
import type { Body } from "./resources.ts";

/** Options of {@link restPort}. */
export interface RestOptions {
  /** An access token with the scope `https://www.googleapis.com/auth/compute`; asked for before each request. */
  token(): string | Promise<string>;
  /** Default `https://compute.googleapis.com`. */
  readonly endpoint?: string;
  /** Default: the engine's. */
  readonly fetch?: typeof globalThis.fetch;
  /** Milliseconds that one request may take. Default 30,000. */
  readonly timeout?: number;
}

interface ErrorBody {
  readonly error?: {
    readonly message?: string;
    readonly status?: string;
    readonly errors?: readonly { readonly reason?: string; readonly message?: string }[];
  };
}

interface OperationBody {
  readonly selfLink?: string;
  readonly name?: string;
  readonly status?: string;
  readonly httpErrorStatusCode?: number;
  readonly error?: { readonly errors?: readonly { readonly code?: string; readonly message?: string }[] };
}

/** Reads an operation. A failed one has HTTP status 200 and its error inside. */
export function readOperation(body: OperationBody): Operation {
  const path = resourcePath(body.selfLink ?? "");
  const done = body.status === "DONE";
  const first = body.error?.errors?.[0];
  if (!done || first === undefined) return { path, done };
  return {
    path,
    done,
    error: new GcpApiError(body.httpErrorStatusCode ?? 400, first.code ?? "", first.message ?? "the operation failed"),
  };
}

/** Verb, and member of the request, by which members of a group are named in the API. */
interface GroupDialect {
  readonly list: string;
  readonly add: string;
  readonly remove: string;
  request(members: readonly string[], project: string): Body;
  read(item: Record<string, unknown>, zone: string): string;
}

const instancePath = (project: string, member: string): string => {
  const [zone, name] = member.split("/");
  return `projects/${project}/zones/${zone}/instances/${name}`;
};
const memberOf = (link: string): string => /zones\/([^/]+)\/instances\/(.+)$/.exec(link)?.slice(1).join("/") ?? link;
const byInstance = {
  request: (members: readonly string[], project: string): Body => ({
    instances: members.map((member) => ({ instance: instancePath(project, member) })),
  }),
  read: (item: Record<string, unknown>): string => memberOf(String(item["instance"])),
};

const dialects: Readonly<Record<string, GroupDialect>> = {
  networkEndpointGroups: {
    list: "listNetworkEndpoints",
    add: "attachNetworkEndpoints",
    remove: "detachNetworkEndpoints",
    request: (members) => ({ networkEndpoints: members.map((member) => ({ instance: nameOfLink(member) })) }),
    read: (item, zone) =>
      `${zone}/${nameOfLink(String((item["networkEndpoint"] as { instance?: string } | undefined)?.instance ?? ""))}`,
  },
  instanceGroups: { list: "listInstances", add: "addInstances", remove: "removeInstances", ...byInstance },
  targetPools: { list: "", add: "addInstance", remove: "removeInstance", ...byInstance },
};

/** How members of the group at a path are listed and changed. */
export function groupDialect(path: string): GroupDialect {
  const collection = path.split("/").at(-2) ?? "";
  const found = dialects[collection];
  if (found === undefined) throw new GcpApiError(0, "invalid", `${path} is no group`);
  return found;
}

/** Zone in a path, or the empty text. */
export function zoneOfPath(path: string): string {
  return /zones\/([^/]+)/.exec(path)?.[1] ?? "";
}

/** A body without members that must not be set. */
export function withoutNulls(body: Body): Body {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== undefined));
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds * 1000 : undefined;
}

/** The cloud over REST. Nothing is retried here: what failed is told, and the controller comes again. */
export function restPort(options: RestOptions): GcpPort {
  const { endpoint = "https://compute.googleapis.com", fetch = globalThis.fetch, timeout = 30_000 } = options;
  const base = `${endpoint.replace(/\/$/, "")}/compute/v1/`;

  async function request(method: string, path: string, body?: Body): Promise<Record<string, unknown>> {
    const token = await options.token();
    let response: Response;
    let text: string;
    try {
      response = await fetch(base + path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(timeout),
      });
      text = await response.text();
    } catch (error) {
      const cause = (error as { cause?: Error }).cause;
      throw new GcpApiError(0, "noAnswer", `${method} ${path}: ${cause?.message ?? (error as Error).message}`, {
        cause: error,
      });
    }
    let answer: unknown;
    try {
      answer = text === "" ? {} : JSON.parse(text);
    } catch {
      answer = {};
    }
    if (response.ok) return answer as Record<string, unknown>;
    const { error } = answer as ErrorBody;
    const first = error?.errors?.[0];
    const retryAfter = retryAfterOf(response);
    throw new GcpApiError(
      response.status,
      first?.reason ?? error?.status ?? "",
      first?.message ?? error?.message ?? `${method} ${path}: status ${response.status}`,
      retryAfter === undefined ? {} : { retryAfter },
    );
  }

  async function* pages(method: string, path: string): AsyncGenerator<Record<string, unknown>> {
    for (let token = ""; ; ) {
      const query = `maxResults=500${token === "" ? "" : `&pageToken=${encodeURIComponent(token)}`}`;
      const page = await request(method, `${path}?${query}`);
      yield page;
      token = String(page["nextPageToken"] ?? "");
      if (token === "") return;
    }
  }

  async function orNothing<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof GcpApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  const projectOf = (path: string): string => path.split("/")[1] ?? "";

  return {
    async get(path) {
      return await orNothing(request("GET", path));
    },
    async list(collection) {
      const out: Body[] = [];
      for await (const page of pages("GET", collection)) out.push(...((page["items"] as Body[] | undefined) ?? []));
      return out;
    },
    async listAggregated(collection) {
      const kind = nameOfLink(collection);
      const out: Body[] = [];
      for await (const page of pages("GET", collection)) {
        for (const scope of Object.values((page["items"] as Record<string, Record<string, Body[]>>) ?? {})) {
          out.push(...(scope[kind] ?? []));
        }
      }
      return out;
    },
    async listMembers(group) {
      const { list, read } = groupDialect(group);
      const zone = zoneOfPath(group);
      if (list === "") {
        const pool = await request("GET", group);
        return ((pool["instances"] as string[] | undefined) ?? []).map(memberOf);
      }
      const out: string[] = [];
      for await (const page of pages("POST", `${group}/${list}`)) {
        out.push(...((page["items"] as Record<string, unknown>[] | undefined) ?? []).map((item) => read(item, zone)));
      }
      return out;
    },
    async insert(collection, body) {
      return readOperation(await request("POST", collection, withoutNulls(body)));
    },
    async patch(path, body) {
      return readOperation(await request("PATCH", path, body));
    },
    async delete(path) {
      const answer = await orNothing(request("DELETE", path));
      return answer === undefined ? undefined : readOperation(answer);
    },
    async addMembers(group, members) {
      const { add, request: bodyOf } = groupDialect(group);
      return readOperation(await request("POST", `${group}/${add}`, bodyOf(members, projectOf(group))));
    },
    async removeMembers(group, members) {
      const { remove, request: bodyOf } = groupDialect(group);
      return readOperation(await request("POST", `${group}/${remove}`, bodyOf(members, projectOf(group))));
    },
    async getOperation(path) {
      return readOperation(await request("GET", path));
    },
  };
}
