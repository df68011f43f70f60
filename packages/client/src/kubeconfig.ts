import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { parse } from "yaml";
import { createHttpTransport, type HttpTransport, type HttpTransportOptions } from "./http-transport.ts";

/** What is wrong with a kubeconfig. `code` is stable. */
export class KubeconfigError extends Error {
  override readonly name: string = "KubeconfigError";
  /**
   * `not-found`: no file; `invalid`: not a kubeconfig; `no-context`: the context, or what it names, is missing; `needs-client-node`:
   * credentials that only `@kubernetes/client-node` can get.
   */
  readonly code: "not-found" | "invalid" | "no-context" | "needs-client-node";

  constructor(code: KubeconfigError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Options of {@link transportFromKubeconfig}. */
export interface KubeconfigOptions {
  /** Instead of the file's `current-context`. */
  readonly context?: string;
  /** Options of the transport that a kubeconfig does not have: time limits, headers. */
  readonly transport?: Partial<HttpTransportOptions>;
  /** Default `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

interface NamedEntry {
  name?: string;
  folder: string;
}

interface Cluster extends NamedEntry {
  cluster?: {
    server?: string;
    "certificate-authority"?: string;
    "certificate-authority-data"?: string;
    "insecure-skip-tls-verify"?: boolean;
    "tls-server-name"?: string;
    "proxy-url"?: string;
  };
}

interface User extends NamedEntry {
  user?: {
    "client-certificate"?: string;
    "client-certificate-data"?: string;
    "client-key"?: string;
    "client-key-data"?: string;
    token?: string;
    tokenFile?: string;
    username?: string;
    password?: string;
    exec?: unknown;
    "auth-provider"?: unknown;
    as?: string;
    "as-groups"?: string[];
    "as-uid"?: string;
  };
}

interface Context extends NamedEntry {
  context?: { cluster?: string; user?: string; namespace?: string };
}

interface Kubeconfig {
  "current-context"?: string;
  clusters: Cluster[];
  users: User[];
  contexts: Context[];
}

/** What a kubeconfig says about one context. */
export interface KubeconfigContext {
  readonly name: string;
  /** Namespace of the context, `default` when it names none. */
  readonly namespace: string;
  readonly server: string;
}

function kubeconfigPaths(
  path: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  if (path !== undefined) return [path];
  const list = environment["KUBECONFIG"]?.split(delimiter).filter((entry) => entry !== "") ?? [];
  return list.length > 0 ? list : [join(environment["HOME"] ?? homedir(), ".kube", "config")];
}

/** Merges files as kubectl does: of entries with one name the first counts. */
function readKubeconfig(
  path: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Kubeconfig {
  const merged: Kubeconfig = { clusters: [], users: [], contexts: [] };
  const paths = kubeconfigPaths(path, environment);
  let found = false;
  for (const file of paths) {
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT" && path === undefined) continue;
      throw new KubeconfigError("not-found", `cannot read kubeconfig ${file}: ${(error as Error).message}`, error);
    }
    found = true;
    let document: unknown;
    try {
      document = parse(text);
    } catch (error) {
      throw new KubeconfigError("invalid", `${file} is no YAML: ${(error as Error).message}`, error);
    }
    if (document === null || typeof document !== "object" || Array.isArray(document))
      throw new KubeconfigError("invalid", `${file} is no kubeconfig: it has no clusters, users and contexts`);
    const config = document as Partial<Kubeconfig>;
    const folder = dirname(resolve(file));
    merged["current-context"] ||= config["current-context"] ?? "";
    const take = <E extends NamedEntry>(into: E[], from: readonly E[] | undefined): void => {
      for (const entry of from ?? [])
        if (!into.some((known) => known.name === entry.name)) into.push({ ...entry, folder });
    };
    take(merged.clusters, config.clusters);
    take(merged.users, config.users);
    take(merged.contexts, config.contexts);
  }
  if (!found)
    throw new KubeconfigError(
      "not-found",
      `there is no kubeconfig at ${paths.join(", ")}: name one, or set KUBECONFIG`,
    );
  return merged;
}

function entryOf<E extends NamedEntry>(kind: string, entries: readonly E[], name: string | undefined): E {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  const known = entries.map((candidate) => `"${candidate.name}"`).join(", ");
  throw new KubeconfigError(
    "no-context",
    `the kubeconfig has no ${kind} "${name ?? ""}"; it has ${known === "" ? "none" : known}`,
  );
}

function select(
  config: Kubeconfig,
  name: string | undefined,
): { context: Context; cluster: Cluster; user: User | undefined } {
  const wanted = name ?? config["current-context"];
  if (wanted === undefined || wanted === "")
    throw new KubeconfigError("no-context", "the kubeconfig has no current-context: set it, or name a context");
  const context = entryOf("context", config.contexts, wanted);
  const cluster = entryOf("cluster", config.clusters, context.context?.cluster);
  const user = context.context?.user ? entryOf("user", config.users, context.context.user) : undefined;
  return { context, cluster, user };
}

/** Inline base64, or the content of a file relative to the kubeconfig; undefined when neither is given. */
function material(folder: string, data: string | undefined, file: string | undefined): Buffer | undefined {
  if (data !== undefined && data !== "") return Buffer.from(data, "base64");
  if (file === undefined || file === "") return undefined;
  const path = isAbsolute(file) ? file : join(folder, file);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new KubeconfigError("invalid", `the kubeconfig names ${path}: ${(error as Error).message}`, error);
  }
}

/** The part of `@kubernetes/client-node` used for credentials that need a program or a cloud's SDK. */
interface ClientNode {
  KubeConfig: new () => {
    loadFromFile(path: string): void;
    mergeConfig(other: unknown): void;
    loadFromDefault(): void;
    setCurrentContext(name: string): void;
    applyToHTTPSOptions(options: Record<string, unknown>): Promise<void>;
  };
}

async function delegatedOptions(
  path: string | undefined,
  environment: NodeJS.ProcessEnv,
  context: string,
  why: string,
): Promise<Partial<HttpTransportOptions>> {
  let library: ClientNode;
  const specifier = "@kubernetes/client-node";
  try {
    library = (await import(specifier)) as ClientNode;
  } catch (error) {
    const message = `the kubeconfig's user has ${why}: install @kubernetes/client-node to use it (npm install @kubernetes/client-node), or give a token or a client certificate`;
    throw new KubeconfigError("needs-client-node", message, error);
  }
  const config = new library.KubeConfig();
  const named = (environment["KUBECONFIG"] ?? "").split(delimiter).filter((file) => file !== "" && existsSync(file));
  const [first, ...more] = path !== undefined ? [path] : named;
  if (first === undefined) config.loadFromDefault();
  else config.loadFromFile(first);
  for (const file of more) {
    const other = new library.KubeConfig();
    other.loadFromFile(file);
    config.mergeConfig(other);
  }
  config.setCurrentContext(context);
  const pemOf = (value: unknown): { pem: string | Uint8Array } | undefined =>
    typeof value === "string" || value instanceof Uint8Array ? { pem: value } : undefined;
  const authorize = async (): Promise<Record<string, unknown>> => {
    const options: Record<string, unknown> = { headers: {} };
    await config.applyToHTTPSOptions(options);
    return options;
  };
  const credentials = await authorize();
  const cert = pemOf(credentials["cert"]);
  const key = pemOf(credentials["key"]);
  const bearer = (options: Record<string, unknown>): string => {
    const headers = options["headers"] as Record<string, unknown> | undefined;
    const value = String(headers?.["Authorization"] ?? headers?.["authorization"] ?? "");
    return value.replace(/^Bearer /i, "");
  };
  return {
    ...(cert === undefined ? {} : { cert: cert.pem }),
    ...(key === undefined ? {} : { key: key.pem }),
    // Asked anew for each request: the library caches the token and renews it before it expires.
    ...(bearer(credentials) === "" ? {} : { token: async () => bearer(await authorize()) }),
  };
}

/** A token read from a file again at most once a minute, because the kubelet replaces it. */
function tokenFrom(path: string): () => string {
  let token = "";
  let readAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (Date.now() - readAt > 60_000) {
      token = readFileSync(path, "utf8").trim();
      readAt = Date.now();
    }
    return token;
  };
}

/**
 * What the kubeconfig says about a context, without connecting. `path` as in {@link transportFromKubeconfig}.
 *
 * @throws KubeconfigError
 */
export function readKubeconfigContext(path?: string, options: KubeconfigOptions = {}): KubeconfigContext {
  const { context, cluster } = select(readKubeconfig(path, options.environment ?? process.env), options.context);
  return {
    name: context.name ?? "",
    namespace: context.context?.namespace ?? "default",
    server: cluster.cluster?.server ?? "",
  };
}

/**
 * A transport to the cluster of a kubeconfig's context. Without `path`: the files of `KUBECONFIG`, else `~/.kube/config`.
 * Certificates and tokens, inline or in files, and basic authentication are read here; `exec` plugins and auth providers are left to
 * `@kubernetes/client-node`, which is only needed, and only loaded, for those. Close the transport when done.
 *
 * @throws KubeconfigError (rejects)
 */
export async function transportFromKubeconfig(path?: string, options: KubeconfigOptions = {}): Promise<HttpTransport> {
  const { context, cluster, user } = select(readKubeconfig(path, options.environment ?? process.env), options.context);
  const server = cluster.cluster?.server;
  if (server === undefined || server === "")
    throw new KubeconfigError("invalid", `cluster "${cluster.name}" of the kubeconfig has no server`);
  if (cluster.cluster?.["proxy-url"])
    throw new KubeconfigError("invalid", `cluster "${cluster.name}" has a proxy-url, which is not supported`);
  const ca = material(
    cluster.folder,
    cluster.cluster?.["certificate-authority-data"],
    cluster.cluster?.["certificate-authority"],
  );
  const credentials = user?.user ?? {};
  const folder = user?.folder ?? "";
  const cert = material(folder, credentials["client-certificate-data"], credentials["client-certificate"]);
  const key = material(folder, credentials["client-key-data"], credentials["client-key"]);
  const tokenFile = credentials.tokenFile;
  const token = tokenFile
    ? tokenFrom(isAbsolute(tokenFile) ? tokenFile : join(folder, tokenFile))
    : credentials.token || undefined;
  const delegated =
    token === undefined &&
    cert === undefined &&
    (credentials.exec !== undefined || credentials["auth-provider"] !== undefined)
      ? await delegatedOptions(
          path,
          options.environment ?? process.env,
          context.name ?? "",
          credentials.exec === undefined ? "an auth provider" : "an exec plugin",
        )
      : {};
  const impersonation: Record<string, string | readonly string[]> = {
    ...(credentials.as ? { "impersonate-user": credentials.as } : {}),
    ...(credentials["as-uid"] ? { "impersonate-uid": credentials["as-uid"] } : {}),
    ...(credentials["as-groups"]?.length ? { "impersonate-group": credentials["as-groups"] } : {}),
  };
  return createHttpTransport({
    url: server,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(token === undefined ? {} : { token }),
    ...(credentials.username ? { username: credentials.username, password: credentials.password ?? "" } : {}),
    ...(cluster.cluster?.["tls-server-name"] ? { serverName: cluster.cluster["tls-server-name"] } : {}),
    ...(cluster.cluster?.["insecure-skip-tls-verify"] ? { insecureSkipTlsVerify: true } : {}),
    ...delegated,
    ...options.transport,
    headers: { ...impersonation, ...options.transport?.headers },
  });
}

const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * A transport from inside a pod, by its service account: `KUBERNETES_SERVICE_HOST` and `_PORT`, mounted CA and token.
 *
 * @throws KubeconfigError with code `not-found` when this process is not in a pod with a service account
 */
export function transportFromServiceAccount(options: KubeconfigOptions = {}): HttpTransport {
  const environment = options.environment ?? process.env;
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"];
  if (host === undefined || port === undefined)
    throw new KubeconfigError(
      "not-found",
      "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
    );
  const ca = material(serviceAccountFolder, undefined, "ca.crt");
  return createHttpTransport({
    url: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    ...(ca === undefined ? {} : { ca }),
    token: tokenFrom(join(serviceAccountFolder, "token")),
    ...options.transport,
  });
}
