import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Node } from "@portolan/core";

/** A Service that wants its health checked on a node port (LoadBalancer with `externalTrafficPolicy: Local`). */
export interface HealthCheck {
  readonly namespace: string;
  readonly name: string;
  /** `spec.healthCheckNodePort`. */
  readonly port: number;
  /** Distinct addresses of ready endpoints on this node. */
  readonly localEndpoints: number;
}

/** An HTTP answer, byte for byte. */
export interface HealthResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * What the health-check node port of a Service answers to any path and method.
 * Source: kube-proxy's service_health.go as recorded; the body is indented by tabs and has no final newline.
 */
export function healthCheckResponse(check: HealthCheck, proxyHealthy: boolean): HealthResponse {
  const body = {
    service: { namespace: check.namespace, name: check.name },
    localEndpoints: check.localEndpoints,
    serviceProxyHealthy: proxyHealthy,
  };
  return {
    status: check.localEndpoints > 0 && proxyHealthy ? 200 : 503,
    headers: {
      "Content-Type": "application/json",
      "X-Content-Type-Options": "nosniff",
      "X-Load-Balancing-Endpoint-Weight": String(check.localEndpoints),
    },
    body: JSON.stringify(body, null, "\t"),
  };
}

/** When the proxy last had work and when it last did it. Times in milliseconds since the epoch. */
export interface ProxyHealth {
  /** Time of the oldest change that has not been applied; absent when there is none. */
  readonly oldestPending?: number;
  /** Time of the last applied sync; absent before the first. */
  readonly lastUpdated?: number;
  readonly now: number;
  /** Changes may wait this long before the proxy counts as unhealthy: two sync periods. */
  readonly timeout: number;
}

/** True while no change has waited longer than the timeout; an idle proxy stays healthy. */
export function isProxyHealthy(health: ProxyHealth): boolean {
  return health.oldestPending === undefined || health.now - health.oldestPending < health.timeout;
}

/** A node that is going away should get no new connections: being deleted, or tainted by the cluster autoscaler. */
export function isNodeEligible(node: Node | undefined): boolean {
  if (node === undefined) return true;
  if (node.metadata.deletionTimestamp !== undefined) return false;
  return !(node.spec?.taints ?? []).some((taint) => taint.key === "ToBeDeletedByClusterAutoscaler");
}

/**
 * What the proxy's health port (10256) answers to a path: `/healthz`, which also asks whether the node is eligible, `/livez`, which
 * does not, and 404 for everything else. `families` are the address families that the proxy serves.
 */
export function proxyHealthResponse(
  path: string,
  health: ProxyHealth,
  node: { readonly eligible: boolean },
  families: readonly ("IPv4" | "IPv6")[],
): HealthResponse {
  if (path !== "/healthz" && path !== "/livez") {
    return {
      status: 404,
      headers: { "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff" },
      body: "404 page not found\n",
    };
  }
  const healthy = isProxyHealthy(health);
  const time = (milliseconds: number | undefined) =>
    milliseconds === undefined ? "0001-01-01T00:00:00Z" : new Date(milliseconds).toISOString();
  const lastUpdated = time(healthy ? health.now : health.lastUpdated);
  const eligible = path === "/healthz" ? `"nodeEligible":${node.eligible},` : "";
  const status = families
    .map((family) => `"${family}":{"lastUpdated": "${lastUpdated}","healthy":${healthy}}`)
    .join(",");
  return {
    status: healthy && (path === "/livez" || node.eligible) ? 200 : 503,
    headers: { "Content-Type": "application/json", "X-Content-Type-Options": "nosniff" },
    body: `{"lastUpdated": "${lastUpdated}","currentTime": "${time(health.now)}",${eligible}"healthy":${healthy},"status":{${status}}}`,
  };
}

/** What the metrics port tells. */
export interface MetricsSource {
  /** Answer of `/proxyMode`. Default `nftables`. */
  readonly mode?: string;
  renderMetrics(): string;
  /** JSON of `/configz`: see `proxyConfigz`; without it the path is not found. */
  renderConfiguration?(): string;
}

/**
 * What the proxy's metrics port (10249) answers to a path: `/metrics`, `/healthz`, `/proxyMode`, `/configz`; 404 for everything else.
 */
export function proxyMetricsResponse(path: string, source: MetricsSource): HealthResponse {
  const text = (status: number, body: string): HealthResponse => ({
    status,
    headers: { "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff" },
    body,
  });
  if (path === "/proxyMode") return text(200, source.mode ?? "nftables");
  if (path === "/healthz") return text(200, "ok");
  if (path === "/metrics") {
    return {
      status: 200,
      headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
      body: source.renderMetrics(),
    };
  }
  if (path === "/configz" && source.renderConfiguration !== undefined) {
    return {
      status: 200,
      headers: { "Content-Type": "application/json", "X-Content-Type-Options": "nosniff" },
      body: source.renderConfiguration(),
    };
  }
  return text(404, "404 page not found\n");
}

/** Where health-check node ports are served. `sync` opens the ports that are listed and closes all others. */
export interface HealthCheckServer {
  sync(checks: readonly HealthCheck[], proxyHealthy: () => boolean): void;
  close(): Promise<void>;
}

/** Makes a server listen on a port of the node: on which addresses and in which network namespace is the caller's to know. */
export type OpenPort = (server: Server, port: number) => void;

/** Go's server tells the length of what fits its buffer and sends the rest in chunks. */
const GO_BUFFER = 2048;

const writeResponse = (response: ServerResponse, answer: HealthResponse): void => {
  const length = Buffer.byteLength(answer.body);
  response.writeHead(answer.status, { ...answer.headers, ...(length > GO_BUFFER ? {} : { "Content-Length": length }) });
  response.end(answer.body);
};

function endServer(server: Server): void {
  server.close();
  server.closeAllConnections();
}

/**
 * Serves health-check node ports with `node:http`.
 *
 * @param open called once for each port: `(server, port) => server.listen(port)`
 * @param onError called when a port cannot be opened; the other ports are served all the same
 */
export function createHealthCheckServer(
  open: OpenPort,
  onError: (error: Error, check: HealthCheck) => void,
): HealthCheckServer {
  const current = new Map<number, { check: HealthCheck; readonly server: Server }>();
  let healthy: () => boolean = () => true;
  const close = (port: number): void => {
    const entry = current.get(port);
    current.delete(port);
    if (entry !== undefined) endServer(entry.server);
  };
  return {
    sync(checks, proxyHealthy) {
      healthy = proxyHealthy;
      const wanted = new Map(checks.map((check) => [check.port, check]));
      for (const port of [...current.keys()]) if (!wanted.has(port)) close(port);
      for (const [port, check] of wanted) {
        const entry = current.get(port);
        if (entry !== undefined) {
          entry.check = check;
          continue;
        }
        const server = createServer((_request, response) => {
          const now = current.get(port);
          if (now === undefined) response.destroy();
          else writeResponse(response, healthCheckResponse(now.check, healthy()));
        });
        server.on("error", (error) => onError(error, check));
        open(server, port);
        current.set(port, { check, server });
      }
    },
    async close() {
      for (const port of [...current.keys()]) close(port);
    },
  };
}

/** Ports of kube-proxy's own servers. */
export const proxyPorts = { health: 10_256, metrics: 10_249 } as const;

/** What kube-proxy's own servers tell about. */
export interface ProxyServerOptions extends MetricsSource {
  health(): ProxyHealth;
  nodeEligible(): boolean;
  readonly families: readonly ("IPv4" | "IPv6")[];
  /** Called with the path and status of each answer of the health port. */
  onHealthAnswer?(path: string, status: number): void;
}

/**
 * Serves what kube-proxy serves about itself: health on 10256, metrics on 10249. Metrics are given to the node alone
 * (others get 403), where kube-proxy listens on loopback only.
 *
 * @param onError called when a port cannot be opened; the other is served all the same
 */
export function createProxyServers(
  options: ProxyServerOptions,
  open: OpenPort,
  onError: (error: Error) => void,
): { close(): void } {
  const path = (request: IncomingMessage): string => (request.url ?? "/").split("?", 1)[0]!;
  const health = createServer((request, response) => {
    const eligible = options.nodeEligible();
    const answer = proxyHealthResponse(path(request), options.health(), { eligible }, options.families);
    options.onHealthAnswer?.(path(request), answer.status);
    writeResponse(response, answer);
  });
  const metrics = createServer((request, response) => {
    const { remoteAddress = "" } = request.socket;
    const answer: HealthResponse = /^(::1$|(::ffff:)?127\.)/.test(remoteAddress)
      ? proxyMetricsResponse(path(request), options)
      : { status: 403, headers: { "Content-Type": "text/plain" }, body: "metrics are for this node alone\n" };
    writeResponse(response, answer);
  });
  for (const server of [health, metrics]) server.on("error", onError);
  open(health, proxyPorts.health);
  open(metrics, proxyPorts.metrics);
  return {
    close() {
      endServer(health);
      endServer(metrics);
    },
  };
}
