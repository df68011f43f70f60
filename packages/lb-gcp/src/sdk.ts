/**
 * The cloud over the official client library, `@google-cloud/compute`, which is loaded when the first call is made. It is large
 * (about 145 MB installed) and has no legacy health checks, so no target pools; the REST client has neither fault.
 *
 * @packageDocumentation
 */
import { ProviderError } from "@portolan/lb";
import { nameOfLink } from "./forwarding-rule.ts";
import { GcpApiError, type GcpPort, type Operation } from "./port.ts";
import type { Body } from "./resources.ts";
import { groupDialect, readOperation, withoutNulls, zoneOfPath } from "./rest.ts";

/** One client of the library, as far as it is used. */
type Client = Record<string, (request: Body, options?: unknown) => Promise<unknown[]> & AsyncIterable<unknown>>;

/** The library: classes of clients by name. */
type Library = Record<string, new (options: Readonly<Record<string, unknown>>) => Client>;

/** Options of {@link sdkPort}. */
export interface SdkOptions {
  /**
   * Options of every client: `authClient`, `credentials`, … Default: application default credentials. To reach a server of one's own:
   * `{ apiEndpoint: "127.0.0.1", port, protocol: "http", authClient }`.
   */
  readonly clientOptions?: Readonly<Record<string, unknown>>;
  /** The library, where it is loaded already: the module `@google-cloud/compute`. */
  readonly library?: unknown;
}

/** Where a path is: which client serves it, and what names it there. */
interface Route {
  readonly client: string;
  /** Project, and region or zone. */
  readonly scope: Body;
  /** Parameter that names an object; with `Resource` after it, the one that holds a body. */
  readonly parameter: string;
  readonly name: string;
}

const parameters: Readonly<Record<string, string>> = {
  forwardingRules: "forwardingRule",
  backendServices: "backendService",
  healthChecks: "healthCheck",
  firewalls: "firewall",
  addresses: "address",
  networkEndpointGroups: "networkEndpointGroup",
  instanceGroups: "instanceGroup",
  targetPools: "targetPool",
  operations: "operation",
};

const upper = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Clients of collections that exist both in regions and everywhere say so in their names; these do not. */
const regionalOnly = /^(forwardingRules|addresses|targetPools)$/;

function routeOf(path: string, isCollection = false): Route {
  const parts = path.split("/");
  const [, project = "", place = "", ...rest] = parts;
  const where = place === "regions" ? { region: rest.shift()! } : place === "zones" ? { zone: rest.shift()! } : {};
  const [collection = "", name = ""] = isCollection ? [rest[0]!, ""] : rest;
  const parameter = parameters[collection];
  if (parameter === undefined) {
    throw new GcpApiError(0, "unsupported", `@google-cloud/compute has no ${collection}; use the REST client for them`);
  }
  const prefix =
    collection === "operations"
      ? place === "regions"
        ? "Region"
        : place === "zones"
          ? "Zone"
          : "Global"
      : place === "regions" && !regionalOnly.test(collection)
        ? "Region"
        : "";
  return { client: `${prefix}${upper(collection)}Client`, scope: { project, ...where }, parameter, name };
}

/** What the library adds to answers and the API does not have: companions of members, and members without content. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const out: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (name.startsWith("_") || member === null) continue;
    const inner = plain(member);
    if (typeof inner === "object" && Object.keys(inner as object).length === 0) continue;
    out[name] = inner;
  }
  return out;
}

/** The library throws what the HTTP client under it does: the answer's text is the message. */
function apiError(error: unknown, what: string): unknown {
  if (error instanceof ProviderError || error instanceof GcpApiError) return error;
  const { code, message = "" } = error as { code?: unknown; message?: string };
  const status = Number(code);
  if (!Number.isInteger(status) || status < 100) {
    return new GcpApiError(0, "noAnswer", `${what}: ${message}`, { cause: error });
  }
  let reason = "";
  let text = message;
  try {
    const parsed = JSON.parse(message) as {
      error?: { message?: string; errors?: { reason?: string; message?: string }[] };
    };
    const first = parsed.error?.errors?.[0];
    reason = first?.reason ?? "";
    text = first?.message ?? parsed.error?.message ?? message;
  } catch {
    // Not every server answers in JSON.
  }
  return new GcpApiError(status, reason, text, { cause: error });
}

/** Names of the request bodies of changes of groups: `networkEndpointGroupsAttachEndpointsRequestResource`, … */
function requestName(collection: string, verb: string): string {
  return `${collection}${upper(verb).replace("NetworkEndpoints", "Endpoints")}RequestResource`;
}

/** The cloud over the official client library. Members of objects cannot be taken away with it, only set. */
export function sdkPort(options: SdkOptions = {}): GcpPort {
  // A name that the compiler cannot follow: it is an optional peer.
  const packageName: string = "@google-cloud/compute";
  const clients = new Map<string, Promise<Client>>();
  let library: Promise<Library> | undefined;

  async function load(): Promise<Library> {
    const loaded = (options.library ??
      (await import(packageName).catch((cause: unknown) => {
        throw new ProviderError("Unsupported", `${packageName} is not installed; run: npm install ${packageName}`, {
          cause,
        });
      }))) as { default?: Library };
    return loaded.default ?? (loaded as Library);
  }

  function client(name: string): Promise<Client> {
    library ??= load();
    let found = clients.get(name);
    if (found === undefined) {
      found = library.then((classes) => new classes[name]!(options.clientOptions ?? {}));
      clients.set(name, found);
    }
    return found;
  }

  async function call<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw apiError(error, what);
    }
  }

  async function send(path: string, method: string, request: (route: Route) => Body): Promise<unknown> {
    const route = routeOf(path);
    return await call(`${method} ${path}`, async () => {
      const target = await client(route.client);
      const [answer] = await target[method]!({ ...route.scope, [route.parameter]: route.name, ...request(route) });
      return answer;
    });
  }

  /** The library answers changes with an object that holds the operation, but waits for nothing. */
  function operationOf(answer: unknown): Operation {
    const { latestResponse = answer } = answer as { latestResponse?: unknown };
    const body = plain(latestResponse) as Parameters<typeof readOperation>[0];
    return readOperation(body);
  }

  async function orNothing<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof GcpApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  async function collect(path: string, method: string, request: Body, name: string): Promise<unknown[]> {
    return await call(`${method} ${path}`, async () => {
      const target = await client(name);
      const out: unknown[] = [];
      for await (const item of target[method]!(request, { autoPaginate: false })) out.push(item);
      return out;
    });
  }

  async function changeMembers(group: string, verb: string, members: readonly string[]): Promise<Operation> {
    const dialect = groupDialect(group);
    const collection = group.split("/").at(-2)!;
    const body = dialect.request(members, group.split("/")[1]!);
    return operationOf(await send(group, verb, () => ({ [requestName(collection, verb)]: body })));
  }

  return {
    async get(path) {
      const found = await orNothing(send(path, "get", () => ({})));
      return found === undefined ? undefined : (plain(found) as Body);
    },
    async list(collection) {
      // Nobody can have made any.
      if (nameOfLink(collection) === "httpHealthChecks") return [];
      const { client: name, scope } = routeOf(collection, true);
      return (await collect(collection, "listAsync", scope, name)).map((item) => plain(item) as Body);
    },
    async listAggregated(collection) {
      const kind = nameOfLink(collection);
      const scopes = await collect(
        collection,
        "aggregatedListAsync",
        { project: collection.split("/")[1]! },
        `${upper(kind)}Client`,
      );
      return scopes.flatMap((entry) => {
        const [, scope] = entry as [string, Record<string, unknown[]>];
        return (scope[kind] ?? []).map((item) => plain(item) as Body);
      });
    },
    async listMembers(group) {
      const { list, read } = groupDialect(group);
      const zone = zoneOfPath(group);
      if (list === "") {
        const pool = (await this.get(group)) ?? {};
        return ((pool["instances"] as string[] | undefined) ?? []).map((instance) => read({ instance }, zone));
      }
      const { client: name, scope, parameter, name: groupName } = routeOf(group);
      const collection = group.split("/").at(-2)!;
      const request = { ...scope, [parameter]: groupName, [requestName(collection, list)]: {} };
      const items = await collect(group, `${list}Async`, request, name);
      return items.map((item) => read(plain(item) as Record<string, unknown>, zone));
    },
    async insert(collection, body) {
      const { client: name, scope, parameter } = routeOf(collection, true);
      return await call(`insert ${collection}`, async () => {
        const target = await client(name);
        const [answer] = await target["insert"]!({ ...scope, [`${parameter}Resource`]: withoutNulls(body) });
        return operationOf(answer);
      });
    },
    async patch(path, body) {
      const gone = Object.keys(body).find((member) => body[member] === null);
      if (gone !== undefined) {
        throw new GcpApiError(
          0,
          "unsupported",
          `@google-cloud/compute cannot take away ${gone} of ${path}; use the REST client`,
        );
      }
      return operationOf(await send(path, "patch", ({ parameter }) => ({ [`${parameter}Resource`]: body })));
    },
    async delete(path) {
      const answer = await orNothing(send(path, "delete", () => ({})));
      return answer === undefined ? undefined : operationOf(answer);
    },
    addMembers: (group, members) => changeMembers(group, groupDialect(group).add, members),
    removeMembers: (group, members) => changeMembers(group, groupDialect(group).remove, members),
    async getOperation(path) {
      return operationOf(await send(path, "get", () => ({})));
    },
  };
}
