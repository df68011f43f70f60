import {
  type ConfigMap,
  type Container,
  type EnvVarSource,
  expandVariables,
  type Pod,
  type Secret,
} from "@portolan/core";
import { parseQuantity } from "../scheduler/resource-requests.ts";

/** Why a container cannot be started as it is configured; its waiting reason is `CreateContainerConfigError`. */
export class ContainerConfigurationError extends Error {
  override readonly name: string = "ContainerConfigurationError";
  readonly code: string = "CreateContainerConfigError";
}

/** What the values of variables come from. */
export interface EnvironmentSources {
  readonly pod: Pod;
  readonly podAddresses: readonly string[];
  readonly nodeName: string;
  readonly nodeAddresses: readonly string[];
  /** The node's, by resource. */
  readonly capacity: Readonly<Record<string, string>>;
  /** Undefined when there is none of that name. */
  configMap(name: string): Promise<ConfigMap | undefined>;
  secret(name: string): Promise<Secret | undefined>;
}

function fieldValue(path: string, sources: EnvironmentSources): string {
  const { pod } = sources;
  const mapped = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (mapped !== null) return pod.metadata[mapped[1] as "labels" | "annotations"]?.[mapped[2] ?? ""] ?? "";
  switch (path) {
    case "metadata.labels":
    case "metadata.annotations":
      return formatMap(pod.metadata[path === "metadata.labels" ? "labels" : "annotations"] ?? {});
    case "metadata.name":
      return pod.metadata.name ?? "";
    case "metadata.namespace":
      return pod.metadata.namespace ?? "";
    case "metadata.uid":
      return pod.metadata.uid ?? "";
    case "spec.nodeName":
      return sources.nodeName;
    case "spec.serviceAccountName":
      return pod.spec?.serviceAccountName ?? "default";
    case "status.podIP":
      return sources.podAddresses[0] ?? "";
    case "status.podIPs":
      return sources.podAddresses.join(",");
    case "status.hostIP":
      return sources.nodeAddresses[0] ?? "";
    case "status.hostIPs":
      return sources.nodeAddresses.join(",");
    default:
      throw new ContainerConfigurationError(`field path "${path}" is not supported`);
  }
}

/** Lines `key="value"`, in order of the keys. Source: pkg/fieldpath, FormatMap. */
function formatMap(values: Readonly<Record<string, string>>): string {
  return Object.keys(values)
    .sort()
    .map((key) => `${key}=${JSON.stringify(values[key])}`)
    .join("\n");
}

/** Rounded up to whole divisors; a limit that is not set is what the node has. Source: pkg/api/v1/resource, ExtractContainerResourceValue. */
function resourceValue(
  reference: NonNullable<EnvVarSource["resourceFieldRef"]> & { readonly divisor?: string },
  { pod, capacity }: EnvironmentSources,
  own: Container,
): string {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const container = containers.find(({ name }) => name === reference.containerName) ?? own;
  const [kind, resource = ""] = reference.resource.split(".", 2) as ["limits" | "requests", string?];
  const amount = container.resources?.[kind]?.[resource] ?? (kind === "limits" ? capacity[resource] : undefined) ?? "0";
  const divisor = parseQuantity(reference.divisor ?? "1") || 1;
  return String(Math.ceil(parseQuantity(amount) / divisor));
}

async function keyValue(
  source: { name?: string; key: string; optional?: boolean },
  kind: "ConfigMap" | "Secret",
  sources: EnvironmentSources,
): Promise<string | undefined> {
  const name = source.name ?? "";
  const object = kind === "ConfigMap" ? await sources.configMap(name) : await sources.secret(name);
  if (object === undefined) {
    if (source.optional === true) return undefined;
    throw new ContainerConfigurationError(`${kind.toLowerCase()} "${name}" not found`);
  }
  const value = dataOf(object, kind)[source.key];
  if (value !== undefined || source.optional === true) return value;
  const { namespace } = sources.pod.metadata;
  throw new ContainerConfigurationError(`couldn't find key ${source.key} in ${kind} ${namespace}/${name}`);
}

/** The texts of a ConfigMap or, decoded, of a Secret. */
function dataOf(object: ConfigMap | Secret, kind: "ConfigMap" | "Secret"): Record<string, string> {
  const entries = Object.entries(object.data ?? {});
  if (kind === "ConfigMap") return Object.fromEntries(entries);
  return Object.fromEntries(entries.map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]));
}

/**
 * The variables that a container declares: `envFrom` in order, then `env` in order, whose values may refer to earlier ones and to
 * `serviceVariables`. The result includes `serviceVariables`, which anything declared overrides.
 *
 * @throws ContainerConfigurationError when a ConfigMap, Secret, key or field that is not optional is missing
 */
export async function containerEnvironment(
  container: Container,
  serviceVariables: Readonly<Record<string, string>>,
  sources: EnvironmentSources,
): Promise<Record<string, string>> {
  const result: Record<string, string> = { ...serviceVariables };
  for (const source of container.envFrom ?? []) {
    for (const kind of ["ConfigMap", "Secret"] as const) {
      const reference = kind === "ConfigMap" ? source.configMapRef : source.secretRef;
      if (reference === undefined) continue;
      const name = reference.name ?? "";
      const object = kind === "ConfigMap" ? await sources.configMap(name) : await sources.secret(name);
      if (object === undefined) {
        if (reference.optional === true) continue;
        throw new ContainerConfigurationError(`${kind.toLowerCase()} "${name}" not found`);
      }
      for (const [key, value] of Object.entries(dataOf(object, kind))) result[`${source.prefix ?? ""}${key}`] = value;
    }
  }
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom === undefined) {
      result[name] = expandVariables(value ?? "", new Map(Object.entries(result)));
      continue;
    }
    let found: string | undefined;
    if (valueFrom.fieldRef !== undefined) found = fieldValue(valueFrom.fieldRef.fieldPath, sources);
    else if (valueFrom.resourceFieldRef !== undefined) {
      found = resourceValue(valueFrom.resourceFieldRef, sources, container);
    } else if (valueFrom.configMapKeyRef !== undefined) {
      found = await keyValue(valueFrom.configMapKeyRef, "ConfigMap", sources);
    } else if (valueFrom.secretKeyRef !== undefined) found = await keyValue(valueFrom.secretKeyRef, "Secret", sources);
    if (found !== undefined) result[name] = found;
  }
  return result;
}
