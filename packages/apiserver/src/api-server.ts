import { chmodSync, mkdirSync, rmSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { type Clock, systemClock, type Transport } from "@portolan/client";
import { type KubernetesObject, type Pod, unauthorizedStatus } from "@portolan/core";
import { type IPFamily, parsePrefix } from "@portolan/net";
import { createAccessControl } from "./access-control/access-control.ts";
import { authorize } from "./access-control/authorize.ts";
import { createNodePortRange } from "./allocators/node-port-range.ts";
import { createServiceAllocator } from "./allocators/service-allocator.ts";
import { adminUser, anonymousUser, serviceAccountUser, type User } from "./authorization.ts";
import { type AdvertisedAddress, writeInitialObjects } from "./bootstrap.ts";
import { builtinResources, type VersionInfo } from "./discovery/index.ts";
import { FaultInjector, type Faults } from "./faults.ts";
import type { FeatureGates } from "./feature-gates.ts";
import { createCertificates } from "./http/certificates.ts";
import { type Credentials, createCredentials, loadCredentials } from "./http/credentials.ts";
import { createHttpListener, type HttpListener } from "./http/http-listener.ts";
import { writeKubeconfig } from "./http/kubeconfig.ts";
import { createTokenIssuer, type TokenIssuer } from "./http/token-issuer.ts";
import { createRequestMetrics } from "./metrics.ts";
import type { PodStreams } from "./pod-streams.ts";
import { createRequestHandler, type RequestHandler } from "./request-handler.ts";
import { readRequestInfo } from "./requests/request-info.ts";
import type { ResourceDefinition } from "./resource-definition.ts";
import { createMemoryStore } from "./store/memory-store.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";
import type { Store } from "./store/store.ts";
import { createStreamingHandler } from "./streaming/index.ts";
import { createSubresources } from "./subresources.ts";
import { WatchHub } from "./watch/watch-hub.ts";

/** Settings of {@link createApiServer}. */
export interface ApiServerOptions {
  /**
   * Ranges of cluster addresses: one, or two of different families for dual stack; the first is the primary.
   *
   * @default ["10.96.0.0/16"]
   */
  readonly serviceCIDRs?: readonly string[];
  /** @default "30000-32767" */
  readonly nodePortRange?: string;
  /** Time and timers. The engine's own unless given. */
  readonly clock?: Clock;
  /** In [0, 1); chooses addresses, ports and generated names. */
  readonly random?: () => number;
  /** Where objects live; memory unless given. The caller closes it. */
  readonly store?: Store;
  /**
   * Folder in which objects, certificate authority and token key outlive the server, also when it is killed: an answered write is on the disk,
   * and a kubeconfig and tokens work again after a restart. Made when absent; one server at a time has it. Needs SQLite: Node 22.13 or newer, or
   * the optional dependency `@photostructure/sqlite`. Not together with `store`.
   */
  readonly dataDirectory?: string;
  /** Serves logs, exec, attach and port-forward. */
  readonly podStreams?: PodStreams;
  /** What `/version` says; v1.36.2 unless given. */
  readonly version?: VersionInfo;
  /**
   * Where the Service `kubernetes` leads.
   *
   * @default 192.0.2.1 (RFC 5737: leads nowhere), port 6443
   */
  readonly advertise?: AdvertisedAddress;
  /** Kinds that are served; all built-in ones unless given. */
  readonly resources?: readonly ResourceDefinition[];
  /** ConfigMaps that pods get mounted beside `kube-root-ca.crt`, as some distributions do. */
  readonly projectedConfigMaps?: readonly string[];
  /** Features that are switched off. */
  readonly featureGates?: FeatureGates;
}

/** Where a server listens. */
export interface ListenOptions {
  /** @default "127.0.0.1" */
  readonly host?: string;
  /** 0 for any free port. @default 0 */
  readonly port?: number;
  /** Folder of the kubeconfig. */
  readonly directory: string;
  /** Further names and addresses for the server's certificate. */
  readonly names?: readonly string[];
}

/** A listening server. */
export interface Listening {
  /** `https://127.0.0.1:6443` */
  readonly url: string;
  readonly port: number;
  /** File with the administrator's credentials, mode 0600. */
  readonly kubeconfigPath: string;
  /** Certificate authority, PEM. */
  readonly certificateAuthority: string;
}

/** An API server in this process. */
export interface ApiServer {
  /** Sends requests as cluster administrator, without a port. */
  readonly transport: Transport;
  /** Sends requests as somebody; as {@link anonymousUser} with a bearer token in the header, as the token's user. */
  transportFor(user: User): Transport;
  /** Listens over TLS and writes a kubeconfig. Each call opens a listener of its own; all have the server's authority. */
  listen(options: ListenOptions): Promise<Listening>;
  /**
   * Listens over plain HTTP on a UNIX socket; whoever can open it is administrator. Its folder is made with mode 0700.
   */
  listenUnix(path: string): Promise<void>;
  /** Makes a bearer token by which listeners know the user, as long as the server's key lasts. */
  issueToken(user: User): string;
  /** Says who runs pods, for servers that are made before their nodes. */
  setPodStreams(streams: PodStreams): void;
  readonly faults: Faults;
  readonly store: Store;
  /** Ends listeners and watches, and closes the store of a `dataDirectory`. */
  close(): Promise<void>;
}

const defaultVersion: VersionInfo = {
  major: "1",
  minor: "36",
  emulationMajor: "1",
  emulationMinor: "36",
  minCompatibilityMajor: "1",
  minCompatibilityMinor: "35",
  gitVersion: "v1.36.2",
  gitCommit: "portolan",
  gitTreeState: "clean",
  buildDate: "2026-06-16T00:00:00Z",
  goVersion: "none",
  compiler: "none",
  platform: "any",
};

function checkCIDRs(cidrs: readonly string[]): IPFamily[] {
  const families = cidrs.map((cidr) => {
    const prefix = parsePrefix(cidr);
    if (prefix === undefined)
      throw new RangeError(`serviceCIDRs: "${cidr}" is not a CIDR; give one such as 10.96.0.0/16`);
    return prefix.address.family;
  });
  if (families.length < 1 || families.length > 2 || (families.length === 2 && families[0] === families[1])) {
    throw new RangeError("serviceCIDRs: give one CIDR, or one of IPv4 and one of IPv6");
  }
  return families;
}

/**
 * Starts a Kubernetes API server in this process: no port is opened until `listen` is called.
 *
 * @throws RangeError for CIDRs and port ranges that are none
 * @throws Error when `dataDirectory` is in use, damaged, or SQLite not to be had
 */
export async function createApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const serviceCIDRs = options.serviceCIDRs ?? ["10.96.0.0/16"];
  const ipFamilies = checkCIDRs(serviceCIDRs);
  const nodePorts = createNodePortRange(options.nodePortRange ?? "30000-32767");
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  if (options.store !== undefined && options.dataDirectory !== undefined)
    throw new RangeError("give either a store or a dataDirectory, not both");
  const store =
    options.dataDirectory === undefined
      ? (options.store ?? createMemoryStore())
      : await openSqliteStore({ directory: options.dataDirectory });
  const advertise = options.advertise ?? { address: "192.0.2.1", port: 6443 };
  const registry = options.resources ?? builtinResources;
  let podStreams = options.podStreams;

  let loaded: Credentials | undefined;
  /** Made when somebody first needs them: servers without listeners and tokens start faster. */
  function credentials(): Credentials {
    loaded ??=
      options.dataDirectory === undefined
        ? createCredentials(Date.now())
        : loadCredentials(options.dataDirectory, Date.now());
    return loaded;
  }

  const allocator = createServiceAllocator({
    store,
    nodePorts,
    random,
    stamp: (object) => stampAddress(object, clock.now()),
  });
  allocator.repair();
  const hub = new WatchHub(store, clock);
  const faults = new FaultInjector(clock);
  let issuer: TokenIssuer | undefined;
  function tokens(): TokenIssuer {
    issuer ??= createTokenIssuer(credentials().tokenKey);
    return issuer;
  }
  const issueToken = (user: User, expires?: number): string => tokens().issue(user, clock.now(), expires);
  const accessControl = createAccessControl(store);

  /** Tokens of service accounts end with the account. */
  function userOfToken(token: string): User | undefined {
    const user = tokens().userOf(token, clock.now());
    const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user?.name ?? "") ?? [];
    if (namespace === undefined || name === undefined || user?.uid === undefined) return user;
    return store.get("serviceaccounts", namespace, name)?.object.metadata?.uid === user.uid ? user : undefined;
  }

  // Streams may come later than the server; the handler asks each time.
  const lateStreams: PodStreams = {
    logs: (pod, logOptions, signal) => required().logs(pod, logOptions, signal),
    exec: (pod, commandOptions, streams) => required().exec(pod, commandOptions, streams),
    attach: (pod, commandOptions, streams) => required().attach(pod, commandOptions, streams),
    portForward: (pod, port, signal) => required().portForward(pod, port, signal),
  };
  function required(): PodStreams {
    if (podStreams === undefined)
      throw new Error("no node of this cluster runs pods; give podStreams to createApiServer");
    return podStreams;
  }

  const handler: RequestHandler = createRequestHandler({
    store,
    registry,
    allocator,
    ipFamilies,
    projectedConfigMaps: options.projectedConfigMaps ?? [],
    gates: options.featureGates ?? {},
    accessControl,
    clock,
    random,
    version: options.version ?? defaultVersion,
    serverAddress: `${advertise.address}:${advertise.port}`,
    hub,
    faults,
    podStreams: lateStreams,
    subresources: createSubresources({
      podStreams: lateStreams,
      accessControl,
      userOfToken,
      issueToken(account, expirationSeconds) {
        const expires = clock.now() + expirationSeconds * 1000;
        const { namespace = "", name = "", uid } = account.metadata ?? {};
        const user = serviceAccountUser(namespace, name, uid);
        return {
          token: issueToken(user, expires),
          expirationTimestamp: new Date(expires).toISOString().replace(/\.\d+Z$/, "Z"),
        };
      },
    }),
    metrics: createRequestMetrics(() => ({
      apiserver_longrunning_requests: hub.size,
      apiserver_storage_revision: store.revision,
    })),
  });
  writeInitialObjects(handler, serviceCIDRs, ipFamilies, advertise);

  const listeners: { readonly listener: HttpListener; readonly cleanUp: () => void }[] = [];

  function upgradeFor(listener: () => HttpListener): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
    return createStreamingHandler({
      podStreams: lateStreams,
      getPod(namespace, name) {
        return handler.storageOf("pods")?.get(namespace, name).object as Pod;
      },
      authorize(request: IncomingMessage) {
        const info = readRequestInfo("POST", request.url ?? "/");
        authorize(accessControl, listener().userOf(request), info);
      },
    });
  }

  return {
    store,
    transport: (request) => handler.handle(request, adminUser),
    transportFor: (user) => async (request) => {
      const token = /^bearer\s+(\S+)$/i.exec(request.headers["authorization"] ?? "")?.[1];
      if (user !== anonymousUser || token === undefined) return handler.handle(request, user);
      const known = userOfToken(token);
      return known === undefined ? handler.refuse(request, unauthorizedStatus()) : handler.handle(request, known);
    },
    issueToken: (user) => issueToken(user),
    setPodStreams(streams) {
      podStreams = streams;
    },
    async listen(listenOptions) {
      const host = listenOptions.host ?? "127.0.0.1";
      const certificates = createCertificates(
        credentials().authority,
        [
          "localhost",
          "kubernetes",
          "kubernetes.default",
          "kubernetes.default.svc",
          "kubernetes.default.svc.cluster.local",
          ...(listenOptions.names ?? []).filter((name) => !isAddress(name)),
        ],
        [
          ...new Set([
            "127.0.0.1",
            "::1",
            ...(isAddress(host) ? [host] : []),
            advertise.address,
            ...allocator.ranges().map((range) => range.first),
            ...(listenOptions.names ?? []).filter(isAddress),
          ]),
        ],
        Date.now(),
      );
      let listener: HttpListener | undefined;
      listener = createHttpListener({
        handle: handler.handle,
        userOfToken,
        upgrade: upgradeFor(() => listener as HttpListener),
        certificates,
      });
      const port = await listener.listen({ host, port: listenOptions.port ?? 0 });
      const shownHost = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
      const url = `https://${shownHost.includes(":") ? `[${shownHost}]` : shownHost}:${port}`;
      const kubeconfigPath = join(listenOptions.directory, "kubeconfig");
      writeKubeconfig({ url, certificates, path: kubeconfigPath, name: "portolan" });
      listeners.push({ listener, cleanUp: () => rmSync(kubeconfigPath, { force: true }) });
      return { url, port, kubeconfigPath, certificateAuthority: certificates.authority };
    },
    async listenUnix(path) {
      const folder = dirname(path);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      chmodSync(folder, 0o700);
      rmSync(path, { force: true });
      let listener: HttpListener | undefined;
      listener = createHttpListener({
        handle: handler.handle,
        userOfToken,
        upgrade: upgradeFor(() => listener as HttpListener),
        plainUser: adminUser,
      });
      await listener.listen({ path });
      listeners.push({ listener, cleanUp: () => rmSync(path, { force: true }) });
    },
    faults: {
      cutWatches: (collection) => hub.cut(collection),
      inject: (fault) => faults.inject(fault),
      clear: () => faults.clear(),
      compact: () => store.compact(),
    },
    async close() {
      hub.close();
      await Promise.all(
        listeners.splice(0).map(async ({ listener, cleanUp }) => {
          await listener.close();
          cleanUp();
        }),
      );
      allocator.close();
      accessControl.close();
      handler.close();
      if (options.dataDirectory !== undefined) store.close();
    },
  };
}

function isAddress(text: string): boolean {
  return /^[0-9.]+$/.test(text) || text.includes(":");
}

/** IPAddress objects are written by the server itself. */
function stampAddress(object: KubernetesObject, now: number): KubernetesObject {
  const time = new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
  const managed = {
    "f:metadata": {
      "f:labels": { ".": {}, "f:ipaddress.kubernetes.io/ip-family": {}, "f:ipaddress.kubernetes.io/managed-by": {} },
    },
    "f:spec": { "f:parentRef": { ".": {}, "f:group": {}, "f:name": {}, "f:namespace": {}, "f:resource": {} } },
  };
  return {
    ...object,
    metadata: {
      ...object.metadata,
      uid: globalThis.crypto.randomUUID(),
      creationTimestamp: time,
      managedFields: [
        {
          manager: "kube-apiserver",
          operation: "Update",
          apiVersion: "networking.k8s.io/v1",
          time,
          fieldsType: "FieldsV1",
          fieldsV1: managed,
        },
      ],
    },
  };
}
