import { createHash } from "node:crypto";
import type { Status } from "@portolan/core";
import type { ResourceDefinition, SubresourceDefinition } from "../resource-definition.ts";
import { admits, type MediaType, parseAccept } from "./media-type.ts";

export { builtinResources } from "./builtin-resources.ts";

/** What `/version` says, and `kubectl version` shows. */
export interface VersionInfo {
  readonly major: string;
  readonly minor: string;
  readonly emulationMajor?: string;
  readonly emulationMinor?: string;
  readonly minCompatibilityMajor?: string;
  readonly minCompatibilityMinor?: string;
  /** `v1.36.2`; kubectl compares its own version with it. */
  readonly gitVersion: string;
  readonly gitCommit: string;
  readonly gitTreeState: string;
  /** RFC 3339. */
  readonly buildDate: string;
  readonly goVersion: string;
  readonly compiler: string;
  readonly platform: string;
}

/** An answer that is ready to be sent. */
export interface DocumentResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** What discovery needs to know beside the kinds. */
export interface DiscoveryOptions {
  /** Address and port that `/api` advertises to clients of every network. */
  readonly serverAddress?: string;
}

const aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/** Groups in the order in which a real server lists them; others follow by name. */
const groupOrder: readonly string[] = [
  "apiregistration.k8s.io",
  "apps",
  "events.k8s.io",
  "authentication.k8s.io",
  "authorization.k8s.io",
  "autoscaling",
  "batch",
  "certificates.k8s.io",
  "networking.k8s.io",
  "policy",
  "rbac.authorization.k8s.io",
  "storage.k8s.io",
  "admissionregistration.k8s.io",
  "apiextensions.k8s.io",
  "scheduling.k8s.io",
  "coordination.k8s.io",
  "node.k8s.io",
  "discovery.k8s.io",
  "resource.k8s.io",
  "flowcontrol.apiserver.k8s.io",
];

/** Kinds that are stored as another one: `events.k8s.io` is a view of the events of the core group. */
const storedAs: Readonly<Record<string, string>> = { "events.k8s.io/v1/Event": "/v1/Event" };

function groups(registry: readonly ResourceDefinition[]): string[] {
  const rank = (group: string): number => {
    const index = groupOrder.indexOf(group);
    return index < 0 ? groupOrder.length : index;
  };
  return [...new Set(registry.map(({ group }) => group))]
    .filter((group) => group !== "")
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

/** Maturity first, then number: v2 before v1 before v1beta1 (KEP: version priority of custom resources). */
function compareVersions(a: string, b: string): number {
  const parse = (version: string): [number, number, number] | undefined => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (match === null) return undefined;
    return [match[2] === undefined ? 2 : match[2] === "beta" ? 1 : 0, Number(match[1]), Number(match[3] ?? 0)];
  };
  const left = parse(a);
  const right = parse(b);
  if (left === undefined || right === undefined) return left === right ? (a < b ? -1 : 1) : left === undefined ? 1 : -1;
  return right[0] - left[0] || right[1] - left[1] || right[2] - left[2];
}

function versions(registry: readonly ResourceDefinition[], group: string): string[] {
  const names = registry.filter((definition) => definition.group === group).map(({ version }) => version);
  return [...new Set(names)].sort(compareVersions);
}

function groupVersion(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** Names the encoding in which a kind is stored: the first eight bytes of SHA-256 over `group/version/kind`, in base64. */
function storageVersionHash(definition: ResourceDefinition): string {
  const version = definition.custom?.storageVersion ?? definition.version;
  const key = `${definition.group}/${version}/${definition.kind}`;
  return createHash("sha256")
    .update(storedAs[key] ?? key)
    .digest()
    .subarray(0, 8)
    .toString("base64");
}

function sorted(definitions: readonly ResourceDefinition[]): ResourceDefinition[] {
  return [...definitions].sort((a, b) => (a.resource < b.resource ? -1 : 1));
}

function resourceList(registry: readonly ResourceDefinition[], group: string, version: string): object | undefined {
  const definitions = sorted(
    registry.filter((definition) => definition.group === group && definition.version === version),
  );
  if (definitions.length === 0) return undefined;
  const resources = definitions.flatMap((definition) => [
    {
      name: definition.resource,
      singularName: definition.singular,
      namespaced: definition.namespaced,
      kind: definition.kind,
      verbs: definition.verbs,
      ...(definition.shortNames === undefined ? {} : { shortNames: definition.shortNames }),
      ...(definition.categories === undefined ? {} : { categories: definition.categories }),
      // What cannot be read back is not stored.
      ...(definition.verbs.includes("get") ? { storageVersionHash: storageVersionHash(definition) } : {}),
    },
    ...(definition.subresources ?? []).map((subresource) => ({
      name: `${definition.resource}/${subresource.name}`,
      singularName: "",
      namespaced: definition.namespaced,
      ...(subresource.group === undefined ? {} : { group: subresource.group }),
      ...(subresource.version === undefined ? {} : { version: subresource.version }),
      kind: subresource.kind,
      verbs: subresource.verbs,
    })),
  ]);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: groupVersion(group, version), resources };
}

function groupDocument(registry: readonly ResourceDefinition[], group: string): object | undefined {
  const served = versions(registry, group).map((version) => ({ groupVersion: groupVersion(group, version), version }));
  return served.length === 0 ? undefined : { name: group, versions: served, preferredVersion: served[0] };
}

function aggregatedResource(definition: ResourceDefinition): object {
  const { group, version } = definition;
  const scope = definition.namespaced ? "Namespaced" : "Cluster";
  const subresource = (each: SubresourceDefinition): object => ({
    subresource: each.name,
    responseKind: { group: each.group ?? group, version: each.version ?? version, kind: each.kind },
    verbs: each.verbs,
  });
  return {
    resource: definition.resource,
    responseKind: { group, version, kind: definition.kind },
    scope,
    singularResource: definition.singular,
    verbs: definition.verbs,
    ...(definition.shortNames === undefined ? {} : { shortNames: definition.shortNames }),
    ...(definition.categories === undefined ? {} : { categories: definition.categories }),
    ...(definition.subresources === undefined ? {} : { subresources: definition.subresources.map(subresource) }),
  };
}

function aggregated(registry: readonly ResourceDefinition[], names: readonly string[]): object {
  const items = names.map((group) => ({
    metadata: group === "" ? {} : { name: group },
    versions: versions(registry, group).map((version) => ({
      version,
      resources: sorted(
        registry.filter((definition) => definition.group === group && definition.version === version),
      ).map(aggregatedResource),
      freshness: "Current",
    })),
  }));
  return { kind: "APIGroupDiscoveryList", apiVersion: "apidiscovery.k8s.io/v2", metadata: {}, items };
}

function json(body: object): DocumentResponse {
  return { status: 200, contentType: "application/json", body: `${JSON.stringify(body)}\n` };
}

/** The answer to an Accept header that nothing fits. */
export function notAcceptable(accepted: readonly string[]): DocumentResponse {
  const status: Status = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: `only the following media types are accepted: ${accepted.join(", ")}`,
    reason: "NotAcceptable",
    code: 406,
  };
  return { status: 406, contentType: "application/json", body: `${JSON.stringify(status)}\n` };
}

type Form = "plain" | "aggregated";

/** The first form that the client accepts and the server has. Aggregated discovery of v2beta1 is gone since v1.35. */
function negotiate(accept: string, forms: readonly Form[]): Form | undefined {
  const formOf = (entry: MediaType): Form | undefined => {
    if (!admits(entry, "application/json")) return undefined;
    const as = entry.parameters.get("as");
    if (as === undefined) return "plain";
    const { parameters } = entry;
    const isAggregated =
      as === "APIGroupDiscoveryList" && parameters.get("g") === "apidiscovery.k8s.io" && parameters.get("v") === "v2";
    return isAggregated ? "aggregated" : undefined;
  };
  return parseAccept(accept)
    .map(formOf)
    .find((form) => form !== undefined && forms.includes(form));
}

/**
 * Answers a GET of `/version`, `/api`, `/api/V`, `/apis`, `/apis/G` and `/apis/G/V`; `undefined` for every other path, and for
 * groups and versions that nothing is served of.
 *
 * `/api` and `/apis` have two forms: the classic one, and the aggregated one with all resources of all groups
 * (`apidiscovery.k8s.io/v2`, KEP-3352), by which kubectl since 1.27 learns everything from two requests.
 *
 * @param accept the Accept header; 406 when neither form is acceptable
 */
export function discoveryResponse(
  path: string,
  accept: string,
  registry: readonly ResourceDefinition[],
  version: VersionInfo,
  options: DiscoveryOptions = {},
): DocumentResponse | undefined {
  const segments = path.split("/").filter((segment) => segment !== "");
  const [root, first, second] = segments;
  if (segments.length === 1 && root === "version") {
    return { status: 200, contentType: "application/json", body: JSON.stringify(version, undefined, 2) };
  }
  if (root !== "api" && root !== "apis") return undefined;

  let documents: { readonly plain: object | undefined; readonly aggregated?: () => object };
  if (segments.length === 1) {
    const names = root === "api" ? [""] : groups(registry);
    const plain =
      root === "api"
        ? {
            kind: "APIVersions",
            versions: versions(registry, ""),
            serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: options.serverAddress ?? "" }],
          }
        : { kind: "APIGroupList", apiVersion: "v1", groups: names.map((group) => groupDocument(registry, group)) };
    documents = { plain, aggregated: () => aggregated(registry, names) };
  } else if (root === "api" && segments.length === 2 && first !== undefined) {
    documents = { plain: resourceList(registry, "", first) };
  } else if (root === "apis" && segments.length === 2 && first !== undefined) {
    const group = groupDocument(registry, first);
    documents = { plain: group === undefined ? undefined : { kind: "APIGroup", apiVersion: "v1", ...group } };
  } else if (root === "apis" && segments.length === 3 && first !== undefined && second !== undefined) {
    documents = { plain: resourceList(registry, first, second) };
  } else return undefined;
  if (documents.plain === undefined) return undefined;

  const form = negotiate(accept, documents.aggregated === undefined ? ["plain"] : ["aggregated", "plain"]);
  if (form === undefined)
    return notAcceptable(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]);
  if (form === "aggregated" && documents.aggregated !== undefined) {
    return { ...json(documents.aggregated()), contentType: aggregatedType };
  }
  return json(documents.plain);
}
