/** Vectors about Services and the API server: requests to a server in this process, and single decisions of `@portolan/core`. */
import {
  addressProblems,
  ageOf,
  applyDefaults,
  defaultServiceOnRead,
  dropTypeDependentFields,
  endpointAddressProblems,
  formatAge,
  ipAllocationRange,
  ipBandOffset,
  type KubernetesObject,
  needsLoadBalancerCleanup,
  needsLoadBalancerUpdate,
  nodePortBands,
  normalizeClusterIPs,
  parseFieldSelector,
  patchAllocatedValues,
  prefixProblems,
  resources,
  type Service,
  type Status,
  serviceEnvironment,
  serviceVariables,
  unsupportedFieldLabel,
} from "@portolan/core";
import { addressFromBigInt, formatAddress, parsePrefix } from "@portolan/net";
import { Comparison, type MatchContext, valueAt } from "./expectation.ts";
import { runLaterService } from "./kubelet-vectors.ts";
import { type Answer, type ClusterSettings, withServer } from "./server-fixture.ts";
import { notImplemented, type Vector, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };

/** Texts agree; tokens stand for whatever was allocated. */
function textAgrees(expected: string, actual: unknown): boolean {
  const pattern = expected
    .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
    .replaceAll("<ALLOCATED_IP>", "[0-9a-f.:]+")
    .replaceAll("<ALLOCATED_NODEPORT>", "[0-9]+");
  return new RegExp(`^${pattern}$`).test(String(actual));
}

function compareCauses(
  comparison: Comparison,
  expected: readonly Record<string, string>[],
  actual: readonly { reason?: string; message?: string; field?: string }[],
): void {
  if (expected.length !== actual.length) {
    comparison.differences.push(`causes: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
    return;
  }
  for (const [index, cause] of expected.entries()) {
    const got = actual[index]!;
    comparison.equal(cause["reason"], got.reason, `causes[${index}].reason`);
    comparison.equal(cause["field"], got.field, `causes[${index}].field`);
    if (cause["message"] !== undefined && !textAgrees(cause["message"], got.message)) {
      comparison.equal(cause["message"], got.message, `causes[${index}].message`);
    }
  }
}

function compareStatus(comparison: Comparison, expected: Record<string, unknown>, actual: Status | undefined): void {
  const { message, details, ...rest } = expected;
  comparison.subset(rest, actual, "status");
  if (typeof message === "string" && !textAgrees(message, actual?.message)) {
    comparison.equal(message, actual?.message, "status.message");
  }
  if (typeof details === "object" && details !== null) {
    const { causes, ...names } = details as Record<string, unknown>;
    comparison.subset(names, actual?.details, "status.details");
    if (Array.isArray(causes))
      compareCauses(comparison, causes as Record<string, string>[], actual?.details?.causes ?? []);
  }
}

function contextOf(cluster: ClusterSettings | undefined, created?: unknown): MatchContext {
  const bands = nodePortBands(cluster?.nodePortRange ?? "30000-32767")!;
  return {
    serviceCIDRs: cluster?.serviceCIDRs ?? ["10.96.0.0/16"],
    nodePorts: [bands.first, bands.last],
    ...(created === undefined ? {} : { created }),
  };
}

function compareAnswer(vector: Vector, answer: Answer, context: MatchContext): string | undefined {
  const { expected } = vector;
  const comparison = new Comparison(context);
  comparison.equal(expected.httpStatus, answer.code, "HTTP status");
  if (comparison.result !== undefined && answer.status !== undefined) {
    comparison.differences.push(`message: ${answer.status.message}`);
  }
  if (expected.object !== undefined) comparison.subset(expected.object, answer.object);
  if (expected.absent !== undefined) comparison.absent(expected.absent, answer.object);
  if (expected.status !== undefined) compareStatus(comparison, expected.status, answer.status);
  const spec = (answer.object as Service | undefined)?.spec;
  for (const field of ["ipFamilyPolicy", "ipFamilies"] as const) {
    if (expected[field] !== undefined) comparison.equal(expected[field], spec?.[field], field);
  }
  const headless = spec?.clusterIPs?.[0] === "None";
  if (expected.headless !== undefined) comparison.equal(expected.headless, headless, "headless");
  if (expected.numClusterIPs !== undefined) {
    comparison.equal(expected.numClusterIPs, headless ? 0 : (spec?.clusterIPs ?? []).length, "number of cluster IPs");
  }
  return comparison.result;
}

const runCreate: VectorRunner = (vector) => {
  const { cluster, request } = vector.input;
  return withServer(cluster, async (server) =>
    compareAnswer(vector, await server.create(request.body), contextOf(cluster)),
  );
};

const runUpdate: VectorRunner = (vector) => {
  const { cluster, create, update, beforeUpdate } = vector.input;
  return withServer(cluster, async (server) => {
    const created = await server.create(create);
    if (created.object === undefined) return `creation failed: ${created.status?.message}`;
    await server.occupy(beforeUpdate?.allocateClusterIPs ?? [], beforeUpdate?.allocateNodePorts);
    return compareAnswer(vector, await server.replace(update.body), contextOf(cluster, created.object));
  });
};

function serviceOf(spec: unknown): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "x", namespace: "default" },
    spec: structuredClone(spec) as object,
  };
}

const runDefaulting: VectorRunner = ({ input, expected }) => {
  const object = applyDefaults(structuredClone(input.object) as KubernetesObject);
  const comparison = new Comparison(noContext);
  for (const [path, value] of Object.entries(expected.fields)) comparison.subset(value, valueAt(object, path), path);
  return comparison.absent(expected.absent ?? [], object).result;
};

const runNormalize: VectorRunner = ({ input, expected }) => {
  const service = serviceOf(input.new);
  normalizeClusterIPs(service, input.old === null ? undefined : serviceOf(input.old));
  return new Comparison(noContext)
    .equal(expected.clusterIP, service.spec?.clusterIP ?? "", "clusterIP")
    .equal(expected.clusterIPs, service.spec?.clusterIPs ?? [], "clusterIPs").result;
};

const runPatchAllocated: VectorRunner = ({ input, expected }) => {
  const service = serviceOf(input.new);
  patchAllocatedValues(service, serviceOf(input.old));
  return new Comparison(noContext)
    .equal(expected.clusterIP, service.spec?.clusterIP ?? "", "clusterIP")
    .equal(expected.clusterIPs, service.spec?.clusterIPs ?? [], "clusterIPs")
    .equal(
      expected.nodePorts,
      (service.spec?.ports ?? []).map((port) => port.nodePort ?? 0),
      "nodePorts",
    )
    .equal(expected.healthCheckNodePort, service.spec?.healthCheckNodePort ?? 0, "healthCheckNodePort").result;
};

const runDropFields: VectorRunner = ({ input, expected }) => {
  const service = serviceOf(input.new);
  dropTypeDependentFields(service, serviceOf(input.old));
  const { nodePorts, ...fields } = expected.fields;
  const comparison = new Comparison(noContext).subset(fields, service.spec);
  if (nodePorts !== undefined) {
    const actual = (service.spec?.ports ?? []).map((port) => port.nodePort ?? 0);
    comparison.equal(nodePorts ?? [], nodePorts === null ? actual.filter((port) => port !== 0) : actual, "nodePorts");
  }
  return comparison.result;
};

const runDefaultOnRead: VectorRunner = ({ input, expected }) => {
  const service = serviceOf(input.storedSpec);
  defaultServiceOnRead(service, input.cluster.families);
  return new Comparison(noContext).subset(expected.spec, service.spec).result;
};

const runWarnings: VectorRunner = ({ input, expected }) =>
  withServer(input.cluster ?? { serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"] }, async (server) => {
    const { code, warnings, status } = await server.create(input.body);
    if (code !== 201) return `HTTP status ${code}: ${status?.message}`;
    return new Comparison(noContext).equal(expected.warnings, warnings, "warnings").result;
  });

/** Distinct valid items for `$generate`, as a list; other values stay. */
function generated(value: unknown, path = ""): unknown {
  if (Array.isArray(value)) {
    return value.flatMap((item) => {
      const count = valueAt(item, "$generate");
      if (typeof count !== "number") return [generated(item, path)];
      return Array.from({ length: count }, (_, index) => generatedItem(path, index));
    });
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const count = valueAt(item, "$generate");
      if (typeof count === "number")
        return [key, Array.from({ length: count }, (_, index) => generatedItem(key, index))];
      return [key, generated(item, key)];
    }),
  );
}

function generatedItem(path: string, index: number): unknown {
  switch (path) {
    case "addresses":
      return formatAddress(addressFromBigInt(BigInt(0x0a000001 + index), "IPv4"));
    case "endpoints":
      return { addresses: [formatAddress(addressFromBigInt(BigInt(0x0a000001 + index), "IPv4"))] };
    case "ports":
      return { name: `port-${index}`, protocol: "TCP", port: 1 + (index % 65535) };
    case "forZones":
    case "forNodes":
      return { name: `item-${index}` };
    default:
      throw new Error(`cannot generate items of ${path}`);
  }
}

const runCreateOrReplace: VectorRunner = ({ input, expected }) =>
  withServer(input.cluster, async (server) => {
    let answer: Answer;
    if (input.old === undefined) answer = await server.create(generated(input.body) as KubernetesObject);
    else {
      const created = await server.create(generated(input.old) as KubernetesObject);
      if (created.object === undefined) return `creation failed: ${created.status?.message}`;
      const changed = generated(input.update) as KubernetesObject;
      changed.metadata = { ...changed.metadata, ...created.object.metadata };
      answer = await server.request("PUT", server.pathOf(changed), changed);
    }
    const causes = answer.status?.details?.causes ?? [];
    const comparison = new Comparison(noContext);
    if (expected.httpStatus !== undefined) comparison.equal(expected.httpStatus, answer.code, "HTTP status");
    if (expected.numCauses !== undefined) comparison.equal(expected.numCauses, causes.length, "number of causes");
    if (expected.causes !== undefined) compareCauses(comparison, expected.causes, causes);
    if (comparison.result !== undefined) comparison.differences.push(`message: ${answer.status?.message}`);
    return comparison.result;
  });

const runServiceStatus: VectorRunner = ({ input, expected }) =>
  withServer(input.cluster, async (server) => {
    const created = await server.create({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "x" },
      ...input.service,
      oldIngress: undefined,
    } as Service);
    if (created.object === undefined) return `creation failed: ${created.status?.message}`;
    let stored = created.object as Service;
    const old = input.service.oldIngress ?? input.service.status?.loadBalancer?.ingress ?? [];
    if (old.length > 0) {
      const written = await server.replace(
        { ...stored, status: { loadBalancer: { ingress: old } } } as Service,
        "status",
      );
      if (written.object === undefined) return `writing the old status failed: ${written.status?.message}`;
      stored = written.object as Service;
    }
    const { request } = input;
    const toStatus = String(request.verb).includes("/status");
    let answer: Answer;
    if (String(request.verb).startsWith("PATCH")) {
      answer = await server.request("PATCH", server.pathOf(stored, toStatus ? "status" : ""), request.body, {
        "content-type": "application/merge-patch+json",
      });
    } else {
      const body = structuredClone(stored);
      if (request.bodySpecChange !== undefined) body.spec = { ...body.spec, ...request.bodySpecChange };
      if (request.bodyStatusChange !== undefined) body.status = request.bodyStatusChange;
      if (request.ingress !== undefined) body.status = { loadBalancer: { ingress: request.ingress } };
      answer = await server.replace(body, toStatus ? "status" : "");
    }
    const after = answer.object as Service | undefined;
    const comparison = new Comparison(noContext).equal(expected.httpStatus, answer.code, "HTTP status");
    if (expected.causes !== undefined) compareCauses(comparison, expected.causes, answer.status?.details?.causes ?? []);
    if (expected.ingress !== undefined) {
      comparison.equal(expected.ingress, after?.status?.loadBalancer?.ingress ?? [], "status.loadBalancer.ingress");
    }
    if (expected["status.loadBalancer"] !== undefined) {
      comparison.equal(expected["status.loadBalancer"], after?.status?.loadBalancer ?? {}, "status.loadBalancer");
    }
    if (expected.specUnchanged === true) comparison.equal(stored.spec, after?.spec, "spec");
    if (comparison.result !== undefined && answer.status !== undefined)
      comparison.differences.push(`message: ${answer.status.message}`);
    return comparison.result;
  });

const runAddressProblems: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext)
    .equal(expected.strictErrors, addressProblems(input.value), "strict")
    .equal(expected.legacyErrors, addressProblems(input.value, false), "legacy").result;

const runPrefixProblems: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext)
    .equal(expected.strictErrors, prefixProblems(input.value), "strict")
    .equal(expected.legacyErrors, prefixProblems(input.value, false), "legacy").result;

const runEndpointAddress: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(expected.errors, endpointAddressProblems(input.value), "errors").result;

const runIPBand: VectorRunner = ({ input, expected }) => {
  const range = ipAllocationRange(input.cidr);
  const prefix = parsePrefix(input.cidr);
  if (prefix === undefined) return "not a CIDR";
  const size = 1n << BigInt(prefix.address.bytes.length * 8 - prefix.length);
  const comparison = new Comparison(noContext).equal(expected.bandOffset, ipBandOffset(size), "bandOffset");
  const edges = {
    firstUsable: "first",
    staticBandLast: "staticLast",
    dynamicBandFirst: "dynamicFirst",
    dynamicBandLast: "last",
  } as const;
  for (const [name, field] of Object.entries(edges) as [keyof typeof edges, (typeof edges)[keyof typeof edges]][]) {
    if (expected[name] === undefined) continue;
    const address = range?.[field];
    comparison.equal(expected[name], address === undefined ? null : formatAddress(address), name);
  }
  return comparison.result;
};

const runNodePortBand: VectorRunner = ({ input, expected }) => {
  const bands = nodePortBands(input.range ?? `${input.base}+${input.size}`);
  return new Comparison(noContext).subset(expected, bands).result;
};

const web: Service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web" },
  spec: { selector: { app: "web" }, ports: [{ port: 80 }] },
};

const runIPAllocator: VectorRunner = ({ input, expected }) => {
  if (input.create !== undefined) {
    const { serviceCIDRs, allocatedClusterIPs } = input;
    return withServer({ serviceCIDRs, allocatedClusterIPs }, async (server) => {
      const answer = await server.create(input.create);
      return new Comparison(noContext)
        .equal(expected.httpStatus, answer.code, "HTTP status")
        .equal(expected.reason, answer.status?.reason, "reason")
        .equal(expected.message, answer.status?.message, "message").result;
    });
  }
  const range = ipAllocationRange(input.cidr);
  if (range === undefined) return "no range";
  const comparison = new Comparison(noContext);
  if (expected.free !== undefined) comparison.equal(expected.free, Number(range.capacity), "free");
  return withServer({ serviceCIDRs: [input.cidr] }, async (server) => {
    const take = async (clusterIP: string, index: number) =>
      (
        await server.create({
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: `s${index}` },
          spec: { clusterIP, ports: [{ port: 1 }] },
        } as Service)
      ).code;
    for (const [index, text] of (expected.rejected ?? []).entries())
      comparison.equal(422, await take(text, index), text);
    for (const [index, text] of (expected.accepted ?? []).entries())
      comparison.equal(201, await take(text, 1000 + index), text);
    if (expected.whenOnlyFree !== undefined) {
      const holders = new Map<string, string>();
      for (let index = 0; ; index++) {
        const name = `fill-${index}`;
        const { object } = await server.create({ ...web, metadata: { name } });
        if (object === undefined) break;
        holders.set((object as Service).spec?.clusterIP ?? "", name);
      }
      const { release, nextAllocated } = expected.whenOnlyFree;
      const holder = holders.get(release);
      if (holder === undefined) return `${release} was not allocated`;
      await server.request("DELETE", server.pathOf({ ...web, metadata: { name: holder } }));
      const { object } = await server.create({ ...web, metadata: { name: "last" } });
      comparison.equal(nextAllocated, (object as Service | undefined)?.spec?.clusterIP, "next allocated");
    }
    return comparison.result;
  });
};

const runNodePortAllocator: VectorRunner = ({ input, expected }) =>
  withServer({ nodePortRange: input.range }, async (server) => {
    const comparison = new Comparison(noContext);
    if (expected.free !== undefined) comparison.equal(expected.free, nodePortBands(input.range)?.size, "free");
    let count = 0;
    const take = async (nodePort?: number) =>
      server.create({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: `s${count++}` },
        spec: { type: "NodePort", ports: [{ port: 1, ...(nodePort === undefined ? {} : { nodePort }) }] },
      } as Service);
    for (const port of expected.rejectedNotInRange ?? []) {
      const { status } = await take(port);
      comparison.equal(
        `Invalid value: ${port}: ${expected.notInRangeError}`,
        status?.details?.causes?.[0]?.message,
        String(port),
      );
    }
    const first = nodePortBands(input.range)!.first;
    comparison.equal(201, (await take(first)).code, "first");
    if (expected.allocatedError !== undefined) {
      const { status } = await take(first);
      comparison.equal(
        `Invalid value: ${first}: ${expected.allocatedError}`,
        status?.details?.causes?.[0]?.message,
        "taken",
      );
    }
    if (expected.fullError !== undefined) {
      for (let index = 1; index < (expected.free ?? 0); index++) {
        const { code, status } = await take();
        if (code !== 201) return `port ${index + 1} of ${expected.free}: ${status?.message}`;
      }
      const { status } = await take();
      if (!String(status?.message).endsWith(expected.fullError))
        comparison.equal(expected.fullError, status?.message, "full");
    }
    return comparison.result;
  });

const runDryRun: VectorRunner = ({ input, expected }) =>
  withServer(input.cluster, async (server) => {
    const before = server.server.store.revision;
    const answer = await server.create(input.request.body, input.request.query);
    const comparison = new Comparison(contextOf(input.cluster)).equal(expected.httpStatus, answer.code, "HTTP status");
    for (const [path, value] of Object.entries(expected)) {
      if (path.startsWith("spec.")) comparison.subset(value, valueAt(answer.object, path), path);
    }
    if (expected.nothingAllocated === true) comparison.equal(before, server.server.store.revision, "store revision");
    return comparison.result;
  });

const runDelete: VectorRunner = (vector) =>
  withServer(vector.input.cluster, async (server) => {
    const { expected } = vector;
    const known = ["httpStatus", "body.kind", "endpointsDeletedSynchronously", "endpointSlicesDeletedBy"];
    if (Object.keys(expected).some((key) => !known.includes(key))) return notImplemented(vector);
    await server.create(web);
    await server.create({ apiVersion: "v1", kind: "Endpoints", metadata: { name: "web" } });
    const answer = await server.request("DELETE", server.pathOf(web));
    const comparison = new Comparison(noContext).equal(expected.httpStatus ?? 200, answer.code, "HTTP status");
    if (expected["body.kind"] !== undefined) comparison.equal(expected["body.kind"], answer.object?.kind, "body.kind");
    if (expected.endpointsDeletedSynchronously !== undefined) {
      const { code } = await server.request("GET", "/api/v1/namespaces/default/endpoints/web");
      comparison.equal(expected.endpointsDeletedSynchronously, code === 404, "endpointsDeletedSynchronously");
    }
    return comparison.result;
  });

const runSliceGeneration: VectorRunner = (vector) =>
  withServer(undefined, async (server) => {
    const changes: Record<string, unknown> = {
      none: {},
      "metadata.annotations": { metadata: { annotations: { a: "b" } } },
      "metadata.labels": { metadata: { labels: { a: "b" } } },
      endpoints: { endpoints: [{ addresses: ["10.1.2.4"] }] },
      ports: { ports: [{ name: "http", protocol: "TCP", port: 81 }] },
    };
    const { changed } = vector.input;
    if (!Object.hasOwn(changes, changed)) return `${notImplemented(vector)}: change of ${changed}`;
    const slice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "web" },
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.1.2.3"] }],
      ports: [{ name: "http", protocol: "TCP", port: 80 }],
    } as KubernetesObject;
    await server.create(slice);
    const answer = await server.request("PATCH", server.pathOf(slice), changes[changed], {
      "content-type": "application/merge-patch+json",
    });
    return new Comparison(noContext).equal(
      vector.expected.generation,
      answer.object?.metadata?.generation,
      "generation",
    ).result;
  });

const runTableColumns: VectorRunner = ({ input, expected }) =>
  withServer(undefined, async (server) => {
    const type = Object.values(resources).find((resource) => resource.resource === input.resource);
    if (type === undefined) return `unknown resource ${input.resource}`;
    const object: KubernetesObject = { kind: type.kind, metadata: { name: "x" } };
    const table = await server.table(server.pathOf(object).replace(/\/x$/, ""));
    const columns = table.columnDefinitions.map((column) => [column["name"], column["priority"]]);
    return new Comparison(noContext).equal(expected.columns, columns, "columns").result;
  });

const runTableRow: VectorRunner = ({ input, expected }) =>
  withServer(undefined, async (server) => {
    const object = { kind: input.kind, ...structuredClone(input.object) } as KubernetesObject;
    server.store(object);
    server.advance(input.ageSeconds ?? 0);
    const table = await server.table(server.pathOf(object));
    return new Comparison(noContext).equal(expected.cells, table.rows[0]?.cells, "cells").result;
  });

const runListOptions: VectorRunner = (vector) => {
  const { input, expected } = vector;
  return withServer({ featureGates: { WatchList: input.watchListEnabled !== false } }, async (server) => {
    const abort = new AbortController();
    const response = await server.server.transport({
      method: "GET",
      path: `/api/v1/namespaces/default/services?${input.query}`,
      headers: { accept: "application/json" },
      signal: abort.signal,
    });
    abort.abort();
    const comparison = new Comparison(noContext);
    if (expected.valid === true) return comparison.equal(200, response.status, "HTTP status").result;
    const status = JSON.parse(String(response.body)) as Status;
    if (expected.httpStatus !== undefined) comparison.equal(expected.httpStatus, response.status, "HTTP status");
    if (expected["status.reason"] !== undefined) comparison.equal(expected["status.reason"], status.reason, "reason");
    const prefix = expected["status.messagePrefix"];
    if (prefix !== undefined && !status.message?.startsWith(prefix))
      comparison.equal(prefix, status.message, "message");
    if (expected.causes !== undefined) compareCauses(comparison, expected.causes, status.details?.causes ?? []);
    return comparison.result;
  });
};

const runGenerateName: VectorRunner = (vector) => {
  const { input, expected } = vector;
  const known = ["name", "generateName"];
  if (
    Object.keys(input).some((key) => !known.includes(key)) ||
    Object.keys(expected).some((key) => !["name", "pattern"].includes(key))
  ) {
    return notImplemented(vector);
  }
  return withServer(undefined, async (server) => {
    const answer = await server.create({ ...web, metadata: { ...input } });
    const name = answer.object?.metadata?.name;
    const comparison = new Comparison(noContext);
    if (expected.name !== undefined) comparison.equal(expected.name, name, "name");
    if (expected.pattern !== undefined && !new RegExp(expected.pattern).test(String(name)))
      comparison.equal(expected.pattern, name, "name");
    return comparison.result;
  });
};

const runEnvironment: VectorRunner = ({ input, expected }) => {
  const service = serviceOf({ clusterIP: input.service.clusterIP, ports: input.service.ports });
  service.metadata.name = input.service.name;
  return new Comparison(noContext).equal(expected.orderedEnv, serviceVariables(service), "environment").result;
};

const runEnvironmentVisibility: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (input.services === undefined) return runLaterService(vector);
  const services = (input.services as Record<string, unknown>[]).map((entry) => {
    const service = serviceOf({ clusterIP: entry["clusterIP"], ports: [{ port: entry["port"], protocol: "TCP" }] });
    service.metadata.name = entry["name"] as string;
    service.metadata.namespace = entry["namespace"] as string;
    return service;
  });
  const hosts = serviceEnvironment(services, input.podNamespace, input.enableServiceLinks ?? true)
    .filter((variable) => variable.name.endsWith("_SERVICE_HOST"))
    .map((variable): [string, string] => [variable.name, variable.value]);
  const sorted = (entries: readonly (readonly [string, unknown])[]) =>
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Comparison(noContext).equal(sorted(Object.entries(expected.serviceHostVars)), sorted(hosts), "hosts")
    .result;
};

const runFieldSelector: VectorRunner = ({ input, expected }) => {
  const type = Object.values(resources).find((resource) => resource.resource === input.resource);
  if (type === undefined) return `unknown resource ${input.resource}`;
  const problem = unsupportedFieldLabel(type.kind, parseFieldSelector(input.fieldSelector));
  const comparison = new Comparison(noContext);
  const supported = expected.supported ?? expected.httpStatus === undefined;
  comparison.equal(supported, problem === undefined, "supported");
  if (expected.message !== undefined) comparison.equal(expected.message, problem, "message");
  return comparison.result;
};

const runStatusError: VectorRunner = (vector) => {
  const { input, expected } = vector;
  return withServer(undefined, async (server) => {
    const request = String(input.request);
    const get = /^GET (\/\S+)$/.exec(request);
    let answer: Answer;
    if (get !== null) answer = await server.request("GET", get[1]!);
    else if (request === "PUT with stale resourceVersion") {
      const created = await server.create(web);
      const stale = structuredClone(created.object!);
      await server.request(
        "PATCH",
        server.pathOf(web),
        { metadata: { labels: { a: "b" } } },
        { "content-type": "application/merge-patch+json" },
      );
      answer = await server.request("PUT", server.pathOf(web), stale);
    } else if (request === "POST services?fieldValidation=Strict with spec.foo") {
      answer = await server.create({ ...web, spec: { ...web.spec, foo: 1 } } as Service, "fieldValidation=Strict");
    } else if (request.startsWith("POST /api/v1/namespaces/a/services with metadata.namespace=b")) {
      answer = await server.create({ ...web, metadata: { name: "web", namespace: "b" } }, "", "a");
    } else return notImplemented(vector);
    const comparison = new Comparison(noContext).equal(expected.httpStatus, answer.code, "HTTP status");
    if (expected.status !== undefined) compareStatus(comparison, expected.status, answer.status);
    return comparison.result;
  });
};

const runLoadBalancerUpdate: VectorRunner = ({ input, expected }) => {
  const service = (fields: Record<string, unknown>): Service => {
    const { annotations, labels, uid, ...spec } = fields;
    const out = serviceOf(spec);
    Object.assign(out.metadata, {
      ...(annotations ? { annotations } : {}),
      ...(labels ? { labels } : {}),
      ...(uid ? { uid } : {}),
    });
    return out;
  };
  const changed = needsLoadBalancerUpdate(service(input.old), service(input.new));
  return new Comparison(noContext).equal(expected.needsUpdate, changed, "needsUpdate").result;
};

const runLoadBalancerCleanup: VectorRunner = ({ input, expected }) => {
  const { finalizers, deletionTimestamp, ...spec } = input.service;
  const service = serviceOf({ type: "LoadBalancer", ...spec });
  Object.assign(service.metadata, {
    ...(finalizers === undefined ? {} : { finalizers }),
    ...(deletionTimestamp ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
  });
  return new Comparison(noContext).equal(expected.needsCleanup, needsLoadBalancerCleanup(service), "needsCleanup")
    .result;
};

const runHumanDuration: VectorRunner = ({ input, expected }) => {
  if (input.seconds === undefined) {
    return new Comparison(noContext).equal(expected.text, ageOf(input.timestamp ?? null, 0), "text").result;
  }
  return new Comparison(noContext).equal(expected.text, formatAge(input.seconds), "text").result;
};

/** Areas decided by `@portolan/core`. */
export const serviceRunners: Readonly<Record<string, VectorRunner>> = {
  defaulting: runDefaulting,
  "service-create": runCreate,
  "service-create-ipfamily": runCreate,
  "service-create-nodeport": runCreate,
  "service-update": runUpdate,
  "service-normalize-clusterips": runNormalize,
  "service-patch-allocated": runPatchAllocated,
  "service-drop-type-fields": runDropFields,
  "service-default-on-read": runDefaultOnRead,
  "service-warnings": runWarnings,
  "service-status": runServiceStatus,
  "service-dryrun": runDryRun,
  "service-delete": runDelete,
  "endpoints-validation": runCreateOrReplace,
  "endpointslice-validation": runCreateOrReplace,
  "endpointslice-generation": runSliceGeneration,
  "nodeport-allocator": runNodePortAllocator,
  "table-columns": runTableColumns,
  "table-row": runTableRow,
  "list-options": runListOptions,
  "generate-name": runGenerateName,
  "ip-validation": runAddressProblems,
  "cidr-validation": runPrefixProblems,
  "endpoint-ip-validation": runEndpointAddress,
  "ip-band": runIPBand,
  "nodeport-band": runNodePortBand,
  "ip-allocator": runIPAllocator,
  "env-vars": runEnvironment,
  "env-vars-visibility": runEnvironmentVisibility,
  "field-selectors": runFieldSelector,
  "status-errors": runStatusError,
  "cloud-needs-update": runLoadBalancerUpdate,
  "cloud-needs-cleanup": runLoadBalancerCleanup,
  "human-duration": runHumanDuration,
};
