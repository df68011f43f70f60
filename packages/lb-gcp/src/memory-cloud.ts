import { nameOfLink, plainAddress, resourcePath } from "./forwarding-rule.ts";
import { type Body, collections } from "./resources.ts";
import { groupDialect, zoneOfPath } from "./rest.ts";

/** A request as the API gets it. */
export interface CloudRequest {
  readonly method: string;
  /** From `projects/` on, without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body?: Body;
}

/** What the API answers. */
export interface CloudAnswer {
  readonly status: number;
  readonly body: Body;
  readonly headers?: Readonly<Record<string, string>>;
  /** The request had its effect, but the connection breaks before the answer is sent. */
  readonly lost?: boolean;
}

/** What goes wrong with a request. */
export interface CloudFault {
  /** Which requests; default: the next. */
  readonly when?: (request: CloudRequest) => boolean;
  /** How many of them. Default 1. */
  readonly times?: number;
  /** Answer instead of having an effect; or lose the answer, after the effect. */
  readonly answer:
    | {
        readonly status: number;
        readonly reason: string;
        readonly message?: string;
        readonly retryAfterSeconds?: number;
      }
    | "lost";
}

/** Options of {@link createMemoryCloud}. */
export interface MemoryCloudOptions {
  /** Requests until an operation is done. Default 2: the one that asks for it sees it done. */
  readonly operationRequests?: number;
  /** Objects of a page, at most. Default 500. */
  readonly pageSize?: number;
  /** Whether new objects are seen before their operation is done. Default false. */
  readonly visibleEarly?: boolean;
  /** Requests until a change shows in lists. Default 0. */
  readonly listLag?: number;
  /** Most objects of a collection (`addresses`, …). Default: no limit. */
  readonly quotas?: Readonly<Record<string, number>>;
  /** Names of subnets that exist. Default: any. */
  readonly subnetworks?: readonly string[];
  /** Instances that exist, as `ZONE/NAME`. Default: any. */
  readonly instances?: readonly string[];
  /** Paths whose change is forbidden. */
  readonly forbidden?: (request: CloudRequest) => boolean;
}

interface StoredObject {
  readonly path: string;
  body: Record<string, unknown>;
  /** Operation that makes it; until it is done the object is not seen. */
  pending?: string;
  since: number;
}

interface StoredOperation {
  readonly path: string;
  readonly target: string;
  readonly due: number;
  finished: boolean;
  finish(): { code: string; message: string; status: number } | undefined;
  error?: { code: string; message: string; status: number };
}

/** Stops the handling of a request. */
class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** A project in memory that answers requests of the Compute Engine API for objects of load balancers. */
export interface MemoryCloud {
  handle(request: CloudRequest): CloudAnswer;
  /** All objects by path. */
  objects(): ReadonlyMap<string, Body>;
  /** Members of a group or pool, as `ZONE/NAME`, ascending. */
  members(path: string): readonly string[];
  /** Puts an object there without a request, or changes one. */
  put(path: string, body: Body): void;
  /** Takes an object away without a request, whatever refers to it. */
  remove(path: string): void;
  fail(fault: CloudFault): void;
  /** Requests so far. */
  readonly requests: readonly CloudRequest[];
}

const host = "https://www.googleapis.com/compute/v1/";
const kindNames: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(collections).map(([kind, collection]) => [collection, kind]),
);
const kindsOfMembers = /^(networkEndpointGroups|instanceGroups|targetPools)$/;

const collectionOf = (path: string): string => path.split("/").at(-2) ?? "";

/** Makes a {@link MemoryCloud}. Nothing in it depends on time: operations are done after so many requests. */
export function createMemoryCloud(options: MemoryCloudOptions = {}): MemoryCloud {
  const { operationRequests = 2, pageSize = 500, visibleEarly = false, listLag = 0 } = options;
  const objects = new Map<string, StoredObject>();
  const memberSets = new Map<string, Set<string>>();
  const operations = new Map<string, StoredOperation>();
  const faults: { fault: CloudFault; left: number }[] = [];
  const requests: CloudRequest[] = [];
  let counter = 0;
  const next = { EXTERNAL: 1, INTERNAL: 1, IPv6: 1 };

  const isSeen = (stored: StoredObject): boolean => visibleEarly || stored.pending === undefined;
  const seen = (): StoredObject[] => [...objects.values()].filter(isSeen);
  const fingerprint = (): string => Buffer.from(`fingerprint-${++counter}`).toString("base64");

  function notFound(path: string): Refusal {
    return new Refusal(404, "notFound", `The resource '${path}' was not found`);
  }

  function existing(path: string): StoredObject {
    const found = objects.get(path);
    if (found === undefined || !isSeen(found)) throw notFound(path);
    return found;
  }

  /** Objects that refer to a path. */
  function usersOf(path: string): StoredObject[] {
    const names = (body: Record<string, unknown>): string[] => [
      ...((body["healthChecks"] as string[] | undefined) ?? []),
      ...((body["backends"] as { group: string }[] | undefined) ?? []).map((entry) => entry.group),
      ...["backendService", "target"].flatMap((member) => (body[member] as string | undefined) ?? []),
    ];
    return [...objects.values()].filter(({ body }) => names(body).some((link) => resourcePath(link) === path));
  }

  function assignAddress(body: Record<string, unknown>, scheme: string): string {
    if (body["ipVersion"] === "IPV6") return `2600:1900:0:${(next.IPv6++).toString(16)}::`;
    const number = next[scheme === "INTERNAL" ? "INTERNAL" : "EXTERNAL"]++;
    return scheme === "INTERNAL" ? `10.132.${number >> 8}.${number & 255}` : `34.76.${number >> 8}.${number & 255}`;
  }

  /** Every link as the cloud writes it: absolute. */
  function absolute(value: unknown): unknown {
    if (typeof value === "string") return value.startsWith("projects/") ? host + value : value;
    if (Array.isArray(value)) return value.map(absolute);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, absolute(member)]));
  }

  function requireReferences(body: Record<string, unknown>): void {
    const links = [
      ...((body["healthChecks"] as string[] | undefined) ?? []),
      ...((body["backends"] as { group: string }[] | undefined) ?? []).map((entry) => entry.group),
      ...["backendService", "target"].flatMap((member) => (body[member] as string | undefined) || []),
    ];
    for (const link of links) {
      const path = resourcePath(link);
      const found = objects.get(path);
      if (found === undefined) throw notFound(path);
      if (found.pending !== undefined) {
        throw new Refusal(400, "resourceNotReady", `The resource '${path}' is not ready`);
      }
    }
    const subnetwork = body["subnetwork"];
    if (typeof subnetwork === "string" && options.subnetworks?.includes(nameOfLink(subnetwork)) === false) {
      throw notFound(resourcePath(subnetwork));
    }
  }

  function portsOf(body: Record<string, unknown>): [number, number][] {
    if (body["allPorts"] || body["IPProtocol"] === "L3_DEFAULT") return [[1, 65_535]];
    const texts = [...((body["ports"] as string[] | undefined) ?? [])];
    if (typeof body["portRange"] === "string") texts.push(body["portRange"]);
    return texts.map((text) => {
      const [from = 0, to = from] = text.split("-").map(Number);
      return [from, to];
    });
  }

  function checkRule(path: string, body: Record<string, unknown>): void {
    const scheme = String(body["loadBalancingScheme"] ?? "EXTERNAL");
    const ports = (body["ports"] as string[] | undefined) ?? [];
    if (ports.length > 5)
      throw new Refusal(400, "invalid", "Invalid value for field 'resource.ports': more than 5 ports");
    if (portsOf(body).length === 0)
      throw new Refusal(400, "invalid", "Invalid value for field 'resource.ports': none given");
    const service = body["backendService"];
    if (typeof service === "string" && service !== "") {
      const backend = objects.get(resourcePath(service))!.body;
      if (backend["loadBalancingScheme"] !== scheme) {
        throw new Refusal(400, "invalid", "The load balancing schemes of rule and backend service differ");
      }
      const protocol = backend["protocol"];
      const same = protocol === body["IPProtocol"] || protocol === "UNSPECIFIED";
      if (!same) throw new Refusal(400, "invalid", `The protocol of the backend service is ${protocol}`);
    }
    const wanted = body["IPAddress"] as string | undefined;
    if (!wanted) return;
    const reservation = seen().find(
      (stored) => collectionOf(stored.path) === "addresses" && stored.body["address"] === plainAddress(wanted),
    );
    const tier = body["networkTier"] ?? "PREMIUM";
    if (scheme === "EXTERNAL" && reservation === undefined && !objects.has(path)) {
      throw new Refusal(400, "invalid", `The external IP address ${wanted} is not reserved in this project`);
    }
    if (scheme === "EXTERNAL" && reservation !== undefined && (reservation.body["networkTier"] ?? "PREMIUM") !== tier) {
      throw new Refusal(
        400,
        "invalid",
        `The network tier of external IP address is ${reservation.body["networkTier"]}, that of the rule must be the same.`,
      );
    }
    for (const other of objects.values()) {
      if (collectionOf(other.path) !== "forwardingRules" || other.path === path) continue;
      if (plainAddress(String(other.body["IPAddress"])) !== plainAddress(wanted)) continue;
      const protocols = [other.body["IPProtocol"], body["IPProtocol"]];
      if (protocols[0] !== protocols[1] && !protocols.includes("L3_DEFAULT")) continue;
      const clash = portsOf(other.body).some(([from, to]) =>
        portsOf(body).some(([first, last]) => first <= to && from <= last),
      );
      if (clash) {
        throw new Refusal(400, "invalid", "Specified IP address is in-use and would result in a conflict.");
      }
    }
  }

  function checkFirewall(body: Record<string, unknown>): void {
    const ranges = (body["sourceRanges"] as string[] | undefined) ?? [];
    const entries = [body["allowed"], body["denied"]].flatMap(
      (list) => (list as { ports?: string[] }[] | undefined) ?? [],
    );
    if (ranges.length > 256)
      throw new Refusal(400, "invalid", "Invalid value for field 'resource.sourceRanges': more than 256");
    if (entries.some((entry) => (entry.ports ?? []).length > 100)) {
      throw new Refusal(400, "invalid", "Invalid value for field 'resource.allowed[].ports': more than 100");
    }
  }

  /** A firewall rule as the cloud gives it back. */
  function normalizeFirewall(body: Record<string, unknown>): void {
    body["priority"] ??= 1000;
    for (const list of ["allowed", "denied"]) {
      const entries = body[list] as { IPProtocol: string }[] | undefined;
      if (entries === undefined) continue;
      body[list] = entries.map((entry) => ({ ...entry, IPProtocol: entry.IPProtocol.toLowerCase() }));
    }
  }

  function start(target: string, finish: StoredOperation["finish"], verb: string): CloudAnswer {
    const scope = target.split("/").slice(0, -2).join("/");
    const path = `${scope}/operations/operation-${++counter}`;
    operations.set(path, { path, target, due: requests.length + operationRequests - 1, finished: false, finish });
    return { status: 200, body: operationBody(operations.get(path)!, verb) };
  }

  function operationBody(operation: StoredOperation, verb = "operation"): Body {
    return {
      kind: "compute#operation",
      id: `${++counter}`,
      name: nameOfLink(operation.path),
      operationType: verb,
      status: operation.finished ? "DONE" : "RUNNING",
      progress: operation.finished ? 100 : 0,
      targetLink: host + operation.target,
      selfLink: host + operation.path,
      ...(operation.error === undefined
        ? {}
        : {
            error: { errors: [{ code: operation.error.code, message: operation.error.message }] },
            httpErrorStatusCode: operation.error.status,
            httpErrorMessage: operation.error.code,
          }),
    };
  }

  /** Finishes what is due, oldest first. */
  function work(): void {
    for (const operation of operations.values()) {
      if (operation.finished || operation.due > requests.length) continue;
      operation.finished = true;
      const error = operation.finish();
      if (error !== undefined) operation.error = error;
    }
  }

  function insert(collection: string, given: Body): CloudAnswer {
    const name = String(given["name"] ?? "");
    if (!/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
      throw new Refusal(400, "invalid", `Invalid value for field 'resource.name': '${name}'`);
    }
    const path = `${collection}/${name}`;
    if (objects.has(path)) throw new Refusal(409, "alreadyExists", `The resource '${path}' already exists`);
    const kind = nameOfLink(collection);
    const body = absolute(given) as Record<string, unknown>;
    requireReferences(body);
    if (kind === "forwardingRules") checkRule(path, body);
    if (kind === "firewalls") checkFirewall(body);
    if (kind === "addresses" && typeof body["address"] === "string") {
      const taken = [...objects.values()].some(
        (stored) => collectionOf(stored.path) === "addresses" && stored.body["address"] === body["address"],
      );
      if (taken) throw new Refusal(400, "invalid", "Specified IP address is already reserved.");
    }
    const limit = options.quotas?.[kind];
    const count = [...objects.values()].filter((stored) => collectionOf(stored.path) === kind).length;
    const members = kindsOfMembers.test(kind);
    if (limit === undefined || count < limit) {
      objects.set(path, {
        path,
        since: requests.length,
        pending: "",
        body: {
          kind: `compute#${kindNames[kind] ?? kind}`,
          id: `${++counter}`,
          creationTimestamp: "2026-01-01T00:00:00.000-00:00",
          ...body,
          selfLink: host + path,
          ...(/backendServices|forwardingRules/.test(kind) ? { fingerprint: fingerprint() } : {}),
          ...(kind === "forwardingRules" || kind === "addresses" ? { labelFingerprint: "42WmSpB8rSM=" } : {}),
        },
      });
      if (members) memberSets.set(path, new Set());
    }
    return start(
      path,
      () => {
        const stored = objects.get(path);
        if (stored === undefined) {
          return {
            code: "QUOTA_EXCEEDED",
            status: 403,
            message: `Quota '${kind.toUpperCase()}' exceeded.  Limit: ${limit}.0 in region.`,
          };
        }
        delete stored.pending;
        stored.since = requests.length;
        if (kind === "forwardingRules") {
          stored.body["loadBalancingScheme"] ??= "EXTERNAL";
          const scheme = String(stored.body["loadBalancingScheme"]);
          const address = stored.body["IPAddress"] || assignAddress(stored.body, scheme);
          const six = String(address).includes(":");
          stored.body["IPAddress"] = six && !String(address).includes("/") ? `${address}/96` : address;
          if (scheme === "EXTERNAL") stored.body["networkTier"] ??= "PREMIUM";
        }
        if (kind === "addresses") {
          stored.body["addressType"] ??= "EXTERNAL";
          const scheme = String(stored.body["addressType"]);
          stored.body["address"] ||= assignAddress(stored.body, scheme);
          stored.body["status"] = "RESERVED";
          if (scheme === "EXTERNAL") stored.body["networkTier"] ??= "PREMIUM";
        }
        if (kind === "firewalls") normalizeFirewall(stored.body);
        return undefined;
      },
      "insert",
    );
  }

  function patch(path: string, given: Body): CloudAnswer {
    const stored = existing(path);
    const { fingerprint: based, ...changes } = absolute(given) as Record<string, unknown>;
    const { fingerprint: current } = stored.body;
    if (current !== undefined && based !== current) {
      throw new Refusal(412, "conditionNotMet", "Supplied fingerprint does not match current metadata fingerprint.");
    }
    const body: Record<string, unknown> = { ...stored.body, ...changes };
    for (const [name, value] of Object.entries(changes)) if (value === null) delete body[name];
    requireReferences(body);
    if (collectionOf(path) === "firewalls") checkFirewall(body);
    const rules = usersOf(path).filter((user) => collectionOf(user.path) === "forwardingRules");
    if (collectionOf(path) === "backendServices" && rules.length > 0 && body["protocol"] !== stored.body["protocol"]) {
      throw new Refusal(400, "invalid", "The protocol cannot change while a forwarding rule refers to it");
    }
    if (collectionOf(path) === "firewalls") normalizeFirewall(body);
    if (current !== undefined) body["fingerprint"] = fingerprint();
    stored.body = body;
    return start(path, () => undefined, "patch");
  }

  function remove(path: string): CloudAnswer {
    const stored = existing(path);
    const [user] = usersOf(path);
    if (user !== undefined) {
      throw new Refusal(
        400,
        "resourceInUseByAnotherResource",
        `The resource '${path}' is already being used by '${user.path}'`,
      );
    }
    return start(
      path,
      () => {
        // Made anew since, under the same name.
        if (objects.get(path) === stored) {
          objects.delete(path);
          memberSets.delete(path);
        }
        return undefined;
      },
      "delete",
    );
  }

  function membersAction(path: string, verb: string, request: CloudRequest): CloudAnswer {
    const stored = existing(path);
    const dialect = groupDialect(path);
    const zone = zoneOfPath(path);
    const set = memberSets.get(path)!;
    const { body = {} } = request;
    if (verb === dialect.list) {
      const all = [...set].sort();
      return page(
        all.map((member) =>
          dialect.list === "listNetworkEndpoints"
            ? { networkEndpoint: { instance: nameOfLink(member) } }
            : { instance: `${host}${instanceLink(path, member)}`, status: "RUNNING" },
        ),
        request,
      );
    }
    const given = (body["networkEndpoints"] ?? body["instances"] ?? []) as Record<string, unknown>[];
    const read = (item: Record<string, unknown>): string =>
      dialect.read("instances" in body ? item : { networkEndpoint: item }, zone);
    const wanted = given.map(read);
    if (wanted.length > 1000) throw new Refusal(400, "invalid", "too many members in one request");
    const missing = options.instances && wanted.find((member) => !options.instances!.includes(member));
    if (missing && verb === dialect.add) throw notFound(instanceLink(path, missing));
    if (verb === dialect.add && collectionOf(path) === "instanceGroups" && wanted.some((member) => set.has(member))) {
      throw new Refusal(400, "memberAlreadyExists", "An instance is already a member");
    }
    for (const member of wanted) {
      if (verb === dialect.add) set.add(member);
      else set.delete(member);
    }
    stored.body["size"] = set.size;
    if (collectionOf(path) === "targetPools") {
      stored.body["instances"] = [...set].sort().map((member) => host + instanceLink(path, member));
    }
    return start(path, () => undefined, verb);
  }

  function instanceLink(group: string, member: string): string {
    const [zone, name] = member.split("/");
    return `projects/${group.split("/")[1]}/zones/${zone}/instances/${name}`;
  }

  function page(
    items: readonly unknown[],
    { query }: CloudRequest,
    shape = (part: readonly unknown[]): unknown => part,
  ): CloudAnswer {
    const from = Number(query["pageToken"] ?? 0);
    const size = Math.min(pageSize, Number(query["maxResults"] ?? pageSize));
    const part = items.slice(from, from + size);
    const more = from + size < items.length;
    return {
      status: 200,
      body: {
        ...(part.length > 0 ? { items: shape(part) } : {}),
        ...(more ? { nextPageToken: `${from + size}` } : {}),
      },
    };
  }

  function list(path: string, request: CloudRequest): CloudAnswer {
    const aggregated = /^(projects\/[^/]+)\/aggregated\/(\w+)$/.exec(path);
    const filter = /^name\s*(?:=|eq)\s*"?([^"\s]+)"?$/.exec(request.query["filter"] ?? "")?.[1];
    const found = seen()
      .filter((stored) => stored.since + listLag <= requests.length)
      .filter((stored) =>
        aggregated
          ? stored.path.startsWith(`${aggregated[1]}/`) && collectionOf(stored.path) === aggregated[2]
          : stored.path.slice(0, stored.path.lastIndexOf("/")) === path,
      )
      .filter((stored) => filter === undefined || stored.body["name"] === filter)
      .sort((a, b) => (a.path < b.path ? -1 : 1));
    if (!aggregated)
      return page(
        found.map((stored) => stored.body),
        request,
      );
    return page(found, request, (part) => {
      const scopes: Record<string, Record<string, unknown[]>> = {};
      for (const stored of part as StoredObject[]) {
        const scope = stored.path.split("/").slice(2, -2).join("/");
        const bodies = scopes[scope]?.[aggregated[2]!] ?? [];
        scopes[scope] = { [aggregated[2]!]: [...bodies, stored.body] };
      }
      return scopes;
    });
  }

  function route(request: CloudRequest): CloudAnswer {
    const { method, path, body = {} } = request;
    const parts = path.split("/");
    const operation = operations.get(path.replace(/\/wait$/, ""));
    if (operation !== undefined) return { status: 200, body: operationBody(operation) };
    const isObject = /^projects\/[^/]+\/(global|regions\/[^/]+|zones\/[^/]+)\/\w+\/[^/]+$/.test(path);
    const isCollection = /^projects\/[^/]+\/(global|regions\/[^/]+|zones\/[^/]+|aggregated)\/\w+$/.test(path);
    if (options.forbidden?.(request) && method !== "GET") {
      throw new Refusal(
        403,
        "forbidden",
        `Required 'compute.${parts.at(isObject ? -2 : -1)}' permission for '${path}'`,
      );
    }
    if (isCollection && method === "GET") return list(path, request);
    if (isCollection && method === "POST") return insert(path, body);
    if (isObject && method === "GET") return { status: 200, body: existing(path).body };
    if (isObject && (method === "PATCH" || method === "PUT")) return patch(path, body);
    if (isObject && method === "DELETE") return remove(path);
    if (method === "POST") return membersAction(parts.slice(0, -1).join("/"), parts.at(-1)!, request);
    throw new Refusal(404, "notFound", `no such method: ${method} ${path}`);
  }

  const refused = (status: number, reason: string, message: string, headers?: Record<string, string>): CloudAnswer => ({
    status,
    body: { error: { code: status, message, errors: [{ domain: "global", reason, message }] } },
    ...(headers === undefined ? {} : { headers }),
  });

  return {
    requests,
    handle(request) {
      requests.push(request);
      const at = faults.findIndex(({ fault }) => fault.when?.(request) ?? true);
      const fault = faults[at];
      if (fault !== undefined && --fault.left <= 0) faults.splice(at, 1);
      if (fault !== undefined && fault.fault.answer !== "lost") {
        const { status, reason, message = reason, retryAfterSeconds } = fault.fault.answer;
        return refused(
          status,
          reason,
          message,
          retryAfterSeconds === undefined ? undefined : { "retry-after": `${retryAfterSeconds}` },
        );
      }
      work();
      let answer: CloudAnswer;
      try {
        answer = route(request);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        answer = refused(error.status, error.reason, error.message);
      }
      work();
      return fault === undefined ? structuredClone(answer) : { ...answer, lost: true };
    },
    objects: () => new Map(seen().map((stored) => [stored.path, structuredClone(stored.body)])),
    members: (path) => [...(memberSets.get(path) ?? [])].sort(),
    put(path, body) {
      const before = objects.get(path)?.body ?? {};
      objects.set(path, {
        path,
        since: 0,
        body: { ...before, name: nameOfLink(path), selfLink: host + path, ...body },
      });
      if (kindsOfMembers.test(collectionOf(path)) && !memberSets.has(path)) memberSets.set(path, new Set());
    },
    remove(path) {
      objects.delete(path);
      memberSets.delete(path);
    },
    fail(fault) {
      faults.push({ fault, left: fault.times ?? 1 });
    },
  };
}
