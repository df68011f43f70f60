import { type ApiServer, createApiServer, type FeatureGates } from "@portolan/apiserver";
import { type Clock, systemClock } from "@portolan/client";
import { type KubernetesObject, type ResourceType, resources, type Service, type Status } from "@portolan/core";
import { addressFromBigInt, addressToBigInt, formatAddress, parsePrefix } from "@portolan/net";

/** The cluster of a vector. */
export interface ClusterSettings {
  readonly serviceCIDRs?: readonly string[];
  readonly nodePortRange?: string;
  readonly featureGates?: FeatureGates;
  readonly existing?: {
    readonly allocatedClusterIPs?: readonly string[];
    readonly allocatedNodePorts?: readonly number[];
  };
  /** The same, as some areas write it. */
  readonly allocatedClusterIPs?: readonly string[];
}

/** What a request was answered. */
export interface Answer {
  readonly code: number;
  readonly warnings: readonly string[];
  /** The body of a success. */
  readonly object?: KubernetesObject & Record<string, unknown>;
  /** The body of a failure. */
  readonly status?: Status;
}

function collectionPath(type: ResourceType, namespace: string): string {
  const base = type.group === "" ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  return type.namespaced ? `${base}/namespaces/${namespace}/${type.resource}` : `${base}/${type.resource}`;
}

/** The resource that serves a kind. */
export function resourceOf(kind: string | undefined): ResourceType {
  const type = Object.values(resources).find((candidate) => candidate.kind === kind);
  if (type === undefined) throw new Error(`no resource serves kind ${kind}`);
  return type;
}

/**
 * An API server of the vector's cluster, in this process, with nothing allocated: vectors count on free allocators, so the Service
 * `kubernetes` is removed.
 */
export class ServerFixture {
  readonly server: ApiServer;
  #now: number;

  private constructor(server: ApiServer, now: () => number) {
    this.server = server;
    this.#now = now();
  }

  static async start(cluster: ClusterSettings = {}): Promise<ServerFixture> {
    let fixture: ServerFixture | undefined;
    const started = Date.parse("2026-01-01T00:00:00Z");
    const clock: Clock = { ...systemClock, now: () => (fixture === undefined ? started : fixture.#now) };
    const server = await createApiServer({
      clock,
      ...(cluster.serviceCIDRs === undefined ? {} : { serviceCIDRs: cluster.serviceCIDRs }),
      ...(cluster.nodePortRange === undefined ? {} : { nodePortRange: cluster.nodePortRange }),
      ...(cluster.featureGates === undefined ? {} : { featureGates: cluster.featureGates }),
    });
    fixture = new ServerFixture(server, () => started);
    await fixture.request("DELETE", "/api/v1/namespaces/default/services/kubernetes");
    await fixture.occupy(
      cluster.existing?.allocatedClusterIPs ?? cluster.allocatedClusterIPs ?? [],
      cluster.existing?.allocatedNodePorts,
    );
    return fixture;
  }

  /** Lets time pass for the server. */
  advance(seconds: number): void {
    this.#now += seconds * 1000;
  }

  /** Services that hold these addresses and node ports. */
  async occupy(addresses: readonly string[], nodePorts: readonly number[] = []): Promise<void> {
    for (const [index, clusterIP] of addresses.entries()) {
      await this.#hold(`holds-address-${index}`, { clusterIP, ports: [{ port: 1 }] });
    }
    for (const [index, nodePort] of nodePorts.entries()) {
      await this.#hold(`holds-port-${index}`, {
        type: "NodePort",
        clusterIP: this.#lastAddress(index),
        ports: [{ port: 1, nodePort }],
      });
    }
  }

  /** Addresses from the end, where a vector is least likely to ask for one. */
  #lastAddress(index: number): string {
    const cidr = [...this.server.store.list("servicecidrs.networking.k8s.io")][0]?.object as {
      spec?: { cidrs?: string[] };
    };
    const prefix = parsePrefix(cidr.spec?.cidrs?.[0] ?? "")!;
    const size = 1n << BigInt(prefix.address.bytes.length * 8 - prefix.length);
    return formatAddress(
      addressFromBigInt(addressToBigInt(prefix.address) + size - 2n - BigInt(index), prefix.address.family),
    );
  }

  async #hold(name: string, spec: Service["spec"] & object): Promise<void> {
    const answer = await this.create({ apiVersion: "v1", kind: "Service", metadata: { name }, spec } as Service);
    if (answer.code !== 201) throw new Error(`the cluster of the vector cannot be made: ${answer.status?.message}`);
  }

  async request(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body?: unknown,
    headers = {},
  ): Promise<Answer> {
    const response = await this.server.transport({
      method,
      path,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const raw =
      typeof response.body === "string" ? response.body : new TextDecoder().decode(response.body ?? new Uint8Array());
    const value = raw === "" ? {} : (JSON.parse(raw) as Answer["object"] & Status);
    const headersList = [response.headers["warning"] ?? []].flat();
    const warnings = headersList.map((header) => JSON.parse(header.replace(/^299 - /, "")) as string);
    return response.status >= 400
      ? { code: response.status, warnings, status: value as unknown as Status }
      : { code: response.status, warnings, object: value as NonNullable<Answer["object"]> };
  }

  /** POST to the collection of the object's kind. */
  create(object: KubernetesObject, query = "", namespace = "default"): Promise<Answer> {
    return this.request(
      "POST",
      `${collectionPath(resourceOf(object.kind), namespace)}${query === "" ? "" : `?${query}`}`,
      object,
    );
  }

  /** Where an object is served. */
  pathOf(object: KubernetesObject, subresource = "", namespace = "default"): string {
    const tail = subresource === "" ? "" : `/${subresource}`;
    return `${collectionPath(resourceOf(object.kind), namespace)}/${object.metadata?.name}${tail}`;
  }

  /** PUT without resourceVersion. */
  replace(object: KubernetesObject, subresource = ""): Promise<Answer> {
    const copy = structuredClone(object);
    delete copy.metadata?.resourceVersion;
    return this.request("PUT", this.pathOf(copy, subresource), copy);
  }

  /** GET as a Table. */
  async table(
    path: string,
  ): Promise<{ readonly columnDefinitions: Record<string, unknown>[]; readonly rows: { cells: unknown[] }[] }> {
    const answer = await this.request("GET", path, undefined, {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
    });
    if (answer.object === undefined) throw new Error(answer.status?.message);
    return answer.object as never;
  }

  /** Puts an object into the store as it is, for vectors about objects that no request could make. */
  store(object: KubernetesObject): void {
    const type = resourceOf(object.kind);
    this.server.store.write([
      {
        collection: type.group === "" ? type.resource : `${type.resource}.${type.group}`,
        namespace: type.namespaced ? "default" : "",
        name: object.metadata?.name ?? "",
        object: {
          ...object,
          apiVersion: type.apiVersion,
          metadata: {
            ...object.metadata,
            ...(type.namespaced ? { namespace: "default" } : {}),
            uid: "00000000-0000-4000-8000-000000000001",
            creationTimestamp: new Date(this.#now).toISOString().replace(/\.\d+Z$/, "Z"),
          },
        },
        expectedRevision: undefined,
      },
    ]);
  }

  close(): Promise<void> {
    return this.server.close();
  }
}

/** Runs with a server of the cluster, and ends it. */
export async function withServer<T>(
  cluster: ClusterSettings | undefined,
  use: (server: ServerFixture) => Promise<T>,
): Promise<T> {
  const fixture = await ServerFixture.start(cluster);
  try {
    return await use(fixture);
  } finally {
    await fixture.close();
  }
}
