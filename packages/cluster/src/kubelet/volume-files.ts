import type { Clock, KubernetesApi } from "@portolan/client";
import {
  type ConfigMap,
  type EnvVarSource,
  type KubernetesObject,
  type Pod,
  resources,
  type Secret,
} from "@portolan/core";
import { ContainerConfigurationError, containerEnvironment, type EnvironmentSources } from "./container-environment.ts";

/** What the files of volumes come from. */
export interface VolumeSources extends EnvironmentSources {
  /** A bearer token for the pod's service account. */
  token(expirationSeconds: number, audience: string | undefined): Promise<string>;
}

/** Contents by path below the volume. */
export type VolumeFiles = Readonly<Record<string, string | Uint8Array>>;

interface KeyToPath {
  readonly key: string;
  readonly path: string;
  readonly mode?: number;
}

interface DownwardItem {
  readonly path: string;
  readonly mode?: number;
  readonly fieldRef?: { readonly fieldPath: string };
  readonly resourceFieldRef?: NonNullable<EnvVarSource["resourceFieldRef"]>;
}

/** A source of a projected volume; other volumes have one of the first three, with `secretName` for `name`. */
interface Projection {
  readonly configMap?: { readonly name?: string; readonly items?: readonly KeyToPath[]; readonly optional?: boolean };
  readonly secret?: {
    readonly name?: string;
    readonly secretName?: string;
    readonly items?: readonly KeyToPath[];
    readonly optional?: boolean;
  };
  readonly downwardAPI?: { readonly items?: readonly DownwardItem[] };
  readonly serviceAccountToken?: {
    readonly path: string;
    readonly expirationSeconds?: number;
    readonly audience?: string;
  };
}

const decoded = (values: Readonly<Record<string, string>> | undefined): [string, Uint8Array][] =>
  Object.entries(values ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64")]);

async function objectFiles(
  kind: "ConfigMap" | "Secret",
  source: NonNullable<Projection["configMap"] & Projection["secret"]>,
  sources: VolumeSources,
): Promise<VolumeFiles> {
  const name = source.secretName ?? source.name ?? "";
  const object: ConfigMap | Secret | undefined =
    kind === "ConfigMap" ? await sources.configMap(name) : await sources.secret(name);
  if (object === undefined) {
    if (source.optional === true) return {};
    throw new ContainerConfigurationError(`${kind.toLowerCase()} "${name}" not found`);
  }
  const { binaryData } = object as { binaryData?: Record<string, string> };
  const files = new Map<string, string | Uint8Array>(
    kind === "ConfigMap" ? [...Object.entries(object.data ?? {}), ...decoded(binaryData)] : decoded(object.data),
  );
  if (source.items === undefined) return Object.fromEntries(files);
  const chosen: Record<string, string | Uint8Array> = {};
  for (const { key, path } of source.items) {
    const content = files.get(key);
    if (content !== undefined) chosen[path] = content;
    else if (source.optional !== true) {
      throw new ContainerConfigurationError(`references non-existent ${kind.toLowerCase()} key: ${key}`);
    }
  }
  return chosen;
}

async function projectionFiles(projection: Projection, sources: VolumeSources): Promise<VolumeFiles> {
  const { configMap, secret, downwardAPI, serviceAccountToken } = projection;
  if (configMap !== undefined) return objectFiles("ConfigMap", configMap, sources);
  if (secret !== undefined) return objectFiles("Secret", secret, sources);
  if (downwardAPI !== undefined) {
    const env = (downwardAPI.items ?? []).map(({ path, fieldRef, resourceFieldRef }) => ({
      name: path,
      valueFrom: {
        ...(fieldRef === undefined ? {} : { fieldRef }),
        ...(resourceFieldRef === undefined ? {} : { resourceFieldRef }),
      },
    }));
    return containerEnvironment({ name: "", env }, {}, sources);
  }
  if (serviceAccountToken !== undefined) {
    const { path, expirationSeconds = 3600, audience } = serviceAccountToken;
    return { [path]: await sources.token(expirationSeconds, audience) };
  }
  return {};
}

/**
 * The files of a volume from ConfigMaps, Secrets, fields of the pod and tokens; undefined for other kinds of volumes.
 *
 * @throws ContainerConfigurationError when an object or key that is not optional is missing
 */
export async function volumeFiles(
  volume: { readonly name: string } & Record<string, unknown>,
  sources: VolumeSources,
): Promise<VolumeFiles | undefined> {
  const projected = volume["projected"] as { sources?: readonly Projection[] } | undefined;
  if (projected !== undefined) {
    const parts = await Promise.all(
      (projected.sources ?? []).map((projection) => projectionFiles(projection, sources)),
    );
    return Object.assign({}, ...parts) as VolumeFiles;
  }
  const projection = volume as Projection;
  if (projection.configMap ?? projection.secret ?? projection.downwardAPI) return projectionFiles(projection, sources);
  return undefined;
}

/** The permissions of a volume's files by their path: those of their item, else the volume's, else 0644. */
export function fileModes(volume: Readonly<Record<string, unknown>>): (path: string) => number {
  const kinds = ["configMap", "secret", "downwardAPI", "projected"].flatMap((kind) => volume[kind] ?? []) as {
    readonly defaultMode?: number;
    readonly sources?: readonly Projection[];
  }[];
  const projections = [volume as Projection, ...kinds.flatMap(({ sources }) => sources ?? [])];
  const modes = new Map<string, number>();
  for (const { configMap, secret, downwardAPI } of projections) {
    for (const { path, mode } of [configMap, secret, downwardAPI].flatMap((source) => source?.items ?? [])) {
      if (mode !== undefined) modes.set(path, mode);
    }
  }
  const usual = kinds.find(({ defaultMode }) => defaultMode !== undefined)?.defaultMode ?? 0o644;
  return (path) => modes.get(path) ?? usual;
}

interface TokenRequest extends KubernetesObject {
  readonly spec: { readonly expirationSeconds: number; readonly audiences?: readonly string[] };
  readonly status?: { readonly token: string };
}

/** Tokens of the pods of a node, each asked for again when four fifths of its time are over, as kubelets do. */
export function createTokens(
  api: KubernetesApi,
  clock: Clock,
): { of(pod: Pod): VolumeSources["token"]; forget(uid: string): void } {
  const known = new Map<string, Map<string, { readonly token: string; readonly renewAt: number }>>();
  return {
    of: (pod) => async (expirationSeconds, audience) => {
      const { uid = "", namespace = "default", name = "" } = pod.metadata;
      const own = known.get(uid) ?? new Map();
      known.set(uid, own);
      const key = `${expirationSeconds} ${audience ?? ""}`;
      const present = own.get(key);
      if (present !== undefined && clock.now() < present.renewAt) return present.token;
      const request: TokenRequest = {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        metadata: { namespace, name: pod.spec?.serviceAccountName ?? "default" },
        spec: {
          expirationSeconds,
          ...(audience === undefined ? {} : { audiences: [audience] }),
          ...{ boundObjectRef: { apiVersion: "v1", kind: "Pod", name, uid } },
        },
      };
      const { status } = await api.create(resources.serviceAccounts, request, { subresource: "token" });
      const token = status?.token ?? "";
      own.set(key, { token, renewAt: clock.now() + expirationSeconds * 800 });
      return token;
    },
    forget: (uid) => void known.delete(uid),
  };
}
