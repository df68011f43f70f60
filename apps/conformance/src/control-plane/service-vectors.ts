/** Vectors about Services: requests through the order of a server's work, and the single steps of it. */
import {
  addressProblems,
  ageOf,
  applyDefaults,
  conflictStatus,
  defaultServiceOnRead,
  dropTypeDependentFields,
  endpointAddressProblems,
  fieldErrorCause,
  formatAge,
  ipAllocationRange,
  ipBandOffset,
  type KubernetesObject,
  needsLoadBalancerCleanup,
  needsLoadBalancerUpdate,
  nodePortBands,
  normalizeClusterIPs,
  notFoundStatus,
  objectWarnings,
  parseFieldSelector,
  patchAllocatedValues,
  prefixProblems,
  resources,
  type Service,
  type Status,
  StatusError,
  serviceEnvironment,
  serviceVariables,
  unsupportedFieldLabel,
  validateObject,
} from "@portolan/core";
import { addressFromBigInt, addressToBigInt, formatAddress, parseAddress, parsePrefix } from "@portolan/net";
import { Comparison, type MatchContext, valueAt } from "./expectation.ts";
import { type ClusterSettings, ServiceRegistry } from "./service-registry.ts";
import { notImplemented, type Vector, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };

interface Answer {
  readonly code: number;
  readonly object?: Service;
  readonly status?: Status;
}

function answerOf(successCode: number, handle: () => Service): Answer {
  try {
    return { code: successCode, object: handle() };
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    return { code: error.code, status: error.status };
  }
}

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
  const spec = answer.object?.spec;
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
  const registry = new ServiceRegistry(cluster);
  const answer = answerOf(201, () => registry.create(request.body).service);
  return compareAnswer(vector, answer, contextOf(cluster));
};

const runUpdate: VectorRunner = (vector) => {
  const { cluster, create, update, beforeUpdate } = vector.input;
  const registry = new ServiceRegistry(cluster);
  const created = registry.create(create).service;
  registry.occupy(beforeUpdate?.allocateClusterIPs ?? [], beforeUpdate?.allocateNodePorts ?? []);
  const answer = answerOf(200, () => registry.update(created, update.body).service);
  return compareAnswer(vector, answer, contextOf(cluster, created));
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

const runWarnings: VectorRunner = ({ input, expected }) => {
  const object = structuredClone(input.body) as KubernetesObject;
  let warnings: readonly string[];
  if (object.kind === "Service") warnings = new ServiceRegistry(input.cluster).create(object as Service).warnings;
  else warnings = objectWarnings(applyDefaults(object));
  return new Comparison(noContext).equal(expected.warnings, warnings, "warnings").result;
};

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

const runObjectValidation: VectorRunner = ({ input, expected }) => {
  const prepare = (body: unknown): KubernetesObject => {
    const object = generated(structuredClone(body)) as KubernetesObject;
    object.metadata = { namespace: "default", ...object.metadata };
    return applyDefaults(object);
  };
  const old = input.old === undefined ? undefined : prepare(input.old);
  const errors = validateObject(prepare(input.body ?? input.update), old);
  const comparison = new Comparison(noContext);
  const code = errors.length > 0 ? 422 : old === undefined ? 201 : 200;
  if (expected.httpStatus !== undefined) comparison.equal(expected.httpStatus, code, "HTTP status");
  if (expected.numCauses !== undefined) comparison.equal(expected.numCauses, errors.length, "number of causes");
  if (expected.causes !== undefined) compareCauses(comparison, expected.causes, errors.map(fieldErrorCause));
  else if (code === 422 && expected.httpStatus !== 422) comparison.differences.push(JSON.stringify(errors));
  return comparison.result;
};

const runServiceStatus: VectorRunner = ({ input, expected }) => {
  const registry = new ServiceRegistry(input.cluster);
  const stored = registry.create({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "x" },
    spec: input.service.spec,
  }).service;
  const old = input.service.oldIngress ?? input.service.status?.loadBalancer?.ingress ?? [];
  stored.status = { loadBalancer: old.length === 0 ? {} : { ingress: structuredClone(old) } };
  const { request } = input;
  const body = structuredClone(stored);
  if (request.body !== undefined) {
    if (request.body.spec !== undefined) body.spec = { ...body.spec, ...request.body.spec };
    if (request.body.status !== undefined) body.status = request.body.status;
  }
  if (request.bodySpecChange !== undefined) body.spec = { ...body.spec, ...request.bodySpecChange };
  if (request.bodyStatusChange !== undefined) body.status = request.bodyStatusChange;
  if (request.ingress !== undefined) body.status = { loadBalancer: { ingress: structuredClone(request.ingress) } };
  const toStatus = String(request.verb).includes("/status");
  const answer = answerOf(200, () =>
    toStatus ? registry.updateStatus(stored, body) : registry.update(stored, body).service,
  );
  const comparison = new Comparison(noContext).equal(expected.httpStatus, answer.code, "HTTP status");
  if (expected.causes !== undefined) compareCauses(comparison, expected.causes, answer.status?.details?.causes ?? []);
  if (expected.ingress !== undefined) {
    comparison.equal(
      expected.ingress,
      answer.object?.status?.loadBalancer?.ingress ?? [],
      "status.loadBalancer.ingress",
    );
  }
  if (expected["status.loadBalancer"] !== undefined) {
    comparison.equal(expected["status.loadBalancer"], answer.object?.status?.loadBalancer ?? {}, "status.loadBalancer");
  }
  if (expected.specUnchanged === true) comparison.equal(stored.spec, answer.object?.spec, "spec");
  return comparison.result;
};

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

const runIPAllocator: VectorRunner = ({ input, expected }) => {
  if (input.create !== undefined) {
    const registry = new ServiceRegistry({
      serviceCIDRs: input.serviceCIDRs,
      existing: { allocatedClusterIPs: input.allocatedClusterIPs ?? [] },
    });
    const answer = answerOf(201, () => registry.create(input.create).service);
    return new Comparison(noContext)
      .equal(expected.httpStatus, answer.code, "HTTP status")
      .equal(expected.reason, answer.status?.reason, "reason")
      .equal(expected.message, answer.status?.message, "message").result;
  }
  const range = ipAllocationRange(input.cidr);
  if (range === undefined) return "no range";
  const comparison = new Comparison(noContext);
  if (expected.free !== undefined) comparison.equal(expected.free, Number(range.capacity), "free");
  const isIn = (text: string) => {
    const address = parseAddress(text);
    const value = address === undefined ? -1n : addressToBigInt(address);
    return (
      address?.family === range.family && value >= addressToBigInt(range.first) && value <= addressToBigInt(range.last)
    );
  };
  for (const text of expected.rejected ?? []) comparison.equal(false, isIn(text), text);
  for (const text of expected.accepted ?? []) comparison.equal(true, isIn(text), text);
  return comparison.result;
};

const runEnvironment: VectorRunner = ({ input, expected }) => {
  const service = serviceOf({ clusterIP: input.service.clusterIP, ports: input.service.ports });
  service.metadata.name = input.service.name;
  return new Comparison(noContext).equal(expected.orderedEnv, serviceVariables(service), "environment").result;
};

const runEnvironmentVisibility: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (input.services === undefined) return notImplemented(vector);
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
  const name = expected.status?.details?.name ?? "";
  const type = Object.values(resources).find((resource) => resource.resource === expected.status?.details?.kind);
  const missing = /^GET \/(?:api|apis)\/.*\/([^/]+)\/([^/]+)$/.exec(input.request);
  let answer: Status | undefined;
  if (expected.status?.reason === "NotFound" && missing !== null) {
    const asked = Object.values(resources).find((resource) => resource.resource === missing[1]);
    if (asked !== undefined) answer = notFoundStatus(asked, missing[2]!).status;
  } else if (expected.status?.reason === "Conflict" && type !== undefined) answer = conflictStatus(type, name).status;
  if (answer === undefined) return notImplemented(vector);
  return new Comparison(noContext)
    .equal(expected.httpStatus, answer.code, "HTTP status")
    .subset(expected.status, answer).result;
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
  "endpoints-validation": runObjectValidation,
  "endpointslice-validation": runObjectValidation,
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
