import { existsSync, readFileSync } from "node:fs";
import { delimiter, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { applyManifests, type Cluster, type ClusterMode, type FrameInterface, startCluster } from "@portolan/cluster";
import { type Pod, resources, type Service } from "@portolan/core";
import { CommandError, explainError } from "./command-error.ts";
import { createProber, type Prober } from "./probe.ts";
import { claimRunDirectory, type RunDirectory } from "./run-directory.ts";
import { renderTable } from "./table.ts";
import { notReady, type ServiceActivity, type TourResult, type TourStop, tourHeader, tourRow, visit } from "./tour.ts";

/** Options of `portolan up`. */
export interface UpOptions {
  readonly mode: "auto" | ClusterMode;
  /** Mode netns: how frames come into the nodes. */
  readonly frames: "auto" | FrameInterface;
  readonly nodes: number;
  /** Run the application, make the requests, print the table, end. */
  readonly once: boolean;
  /** Start an empty cluster: no application, no requests. */
  readonly empty: boolean;
  /** Manifests to apply instead of the built-in application; the requests are left out then. */
  readonly files: readonly string[];
  readonly directory: string;
  /** Folder in which API objects and credentials outlive the cluster. */
  readonly dataDirectory?: string;
  /** Where the API server runs. */
  readonly apiServer: "embedded" | "process";
  /** Ports on 127.0.0.1; `undefined` means the usual one, or a free one when that is taken. */
  readonly apiPort?: number;
  readonly dnsPort?: number;
  readonly gatewayPort?: number;
  /** Print failures that are tried again. */
  readonly verbose: boolean;
}

const readyTimeout = 60_000;

function programPath(name: string): string {
  return fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));
}

function onPath(name: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => existsSync(join(folder, name)));
}

async function waitUntilReady(cluster: Cluster, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + readyTimeout;
  for (;;) {
    const waiting = await notReady(cluster.api);
    if (waiting.length === 0 || signal.aborted) return;
    if (Date.now() > deadline) {
      throw new CommandError(
        `not ready after ${readyTimeout / 1000} s: ${waiting.join(", ")}; start again with --verbose to see what fails`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function startProbers(cluster: Cluster): Promise<{ pod: Prober; outside: Prober }> {
  const argv = [process.execPath, programPath("prober")];
  const pod = await cluster.api.get<Pod>(resources.pods, { namespace: "default", name: "client" });
  const inPod = await cluster.startProgram({ kind: "pod", namespace: "default", name: "client" }, argv);
  const outside = await cluster.startProgram({ kind: "outside" }, argv);
  return {
    pod: createProber(`pod client on ${pod.spec?.nodeName ?? "?"}`, inPod),
    outside: createProber("outside", outside),
  };
}

async function tourStops(cluster: Cluster, probers: { pod: Prober; outside: Prober }): Promise<TourStop[]> {
  const get = (name: string): Promise<Service> =>
    cluster.api.get<Service>(resources.services, { name, namespace: "default" });
  const clusterIP = async (name: string): Promise<string> => (await get(name)).spec?.clusterIP ?? "";
  const { pod, outside } = probers;
  const stops: TourStop[] = [];
  const add = (stop: Omit<TourStop, "count"> & { count?: number }): void => {
    stops.push({ count: 8, ...stop });
  };
  const frontend = await get("frontend");
  const vip = frontend.status?.loadBalancer?.ingress?.[0]?.ip ?? "";
  const vipDoor = await cluster.outsideAddress({ address: vip, port: 80 });
  add({ service: "frontend", address: `${vip}:80`, prober: outside, kind: "http", ...vipDoor, expect: "all" });
  add({ service: "frontend", address: `${vip}:80`, prober: pod, kind: "http", host: vip, port: 80, expect: "all" });
  add({
    service: "backend",
    address: "http://backend",
    prober: pod,
    kind: "http",
    host: "backend",
    port: 80,
    expect: "all",
  });
  add({
    service: "backend",
    address: `${await clusterIP("backend")}:80`,
    prober: pod,
    kind: "http",
    host: await clusterIP("backend"),
    port: 80,
    expect: "all",
  });
  add({
    service: "backend-sticky",
    address: "http://backend-sticky",
    prober: pod,
    kind: "http",
    host: "backend-sticky",
    port: 80,
    expect: "one",
  });
  for (const node of cluster.nodes) {
    const nodePort = await cluster.outsideAddress({ address: node.address, port: 30080, node: node.name });
    add({
      service: "backend-nodeport",
      address: `${node.name} ${node.address}:30080`,
      prober: outside,
      kind: "http",
      ...nodePort,
      expect: "all",
    });
  }
  add({
    service: "backend-ports",
    address: "http://backend-ports:80",
    prober: pod,
    kind: "http",
    host: "backend-ports",
    port: 80,
    expect: "all",
  });
  add({
    service: "backend-ports",
    address: "http://backend-ports:9090",
    prober: pod,
    kind: "http",
    host: "backend-ports",
    port: 9090,
    expect: "all",
  });
  add({
    service: "database",
    address: "database:3306",
    prober: pod,
    kind: "tcp",
    host: "database",
    port: 3306,
    expect: "all",
  });
  for (const i of [0, 1, 2]) {
    add({
      service: "database-headless",
      address: `database-${i}.database-headless:3306`,
      prober: pod,
      kind: "tcp",
      host: `database-${i}.database-headless`,
      port: 3306,
      count: 2,
      expect: { name: `database-${i}` },
    });
  }
  add({
    service: "external-api",
    address: "http://external-api",
    prober: pod,
    kind: "http",
    host: "external-api",
    port: 80,
    expect: "all",
  });
  add({
    service: "external-database",
    address: "external-database:3306",
    prober: pod,
    kind: "tcp",
    host: "external-database",
    port: 3306,
    count: 4,
    expect: "one",
  });
  return stops;
}

async function tour(cluster: Cluster, say: (text: string) => void): Promise<readonly TourResult[]> {
  const probers = await startProbers(cluster);
  const activity = async (service: string): Promise<ServiceActivity | undefined> =>
    await cluster.serviceActivity("default", service);
  try {
    const results: TourResult[] = [];
    for (const stop of await tourStops(cluster, probers)) results.push(await visit(cluster.api, stop, activity));
    say(`\n${renderTable(tourHeader, results.map(tourRow))}\n`);
    return results;
  } finally {
    probers.pod.close();
    probers.outside.close();
  }
}

/** What to type next; every line of it works. `application`: the built-in one runs. */
async function hints(cluster: Cluster, application: boolean): Promise<string> {
  const below = relative(process.cwd(), cluster.kubeconfig);
  const kubectl = `kubectl --kubeconfig ${below.startsWith("..") ? cluster.kubeconfig : below}`;
  const dig = `dig @127.0.0.1 -p ${cluster.dns.port}`;
  const proxy = `curl --proxy socks5h://127.0.0.1:${cluster.gateway.port}`;
  const lines = [
    `export KUBECONFIG=${cluster.kubeconfig}`,
    `${kubectl} get nodes,pods,svc,endpointslices -A -o wide`,
    `${dig} kubernetes.default.svc.${cluster.domain} +short`,
  ];
  if (application) {
    lines.push(
      `${kubectl} describe svc frontend`,
      `${kubectl} scale deployment backend --replicas=5`,
      `${kubectl} get endpointslices -w`,
      `${dig} SRV _mysql._tcp.database-headless.default.svc.${cluster.domain} +short`,
    );
  }
  if (cluster.mode !== "none") {
    if (application) {
      lines.push(
        `${kubectl} exec client -- curl -s http://backend`,
        `${proxy} http://backend.default.svc.${cluster.domain}/`,
      );
    }
    for (const door of await cluster.doors()) lines.push(`curl http://127.0.0.1:${door.port}/    # ${door.what}`);
  }
  const missing = ["kubectl", "dig", "curl"].filter((program) => !onPath(program));
  const note = missing.length > 0 ? `\n(not on this machine's PATH: ${missing.join(", ")})` : "";
  return `Try, in another terminal:\n${lines.map((line) => `  ${line}`).join("\n")}${note}`;
}

const application = (): string => readFileSync(new URL("../application/harbour.yaml", import.meta.url), "utf8");

function readManifests(files: readonly string[]): { name: string; text: string }[] {
  return files.map((name) => {
    try {
      return { name, text: readFileSync(name === "-" ? 0 : name, "utf8") };
    } catch (error) {
      throw new CommandError(`cannot read ${name}: ${explainError(error)}`);
    }
  });
}

/**
 * Starts a cluster, applies an application, makes real requests through every Service, prints what happened, and stays until the
 * signal fires. @returns the exit code
 */
export async function up(options: UpOptions, signal: AbortSignal, say: (text: string) => void): Promise<number> {
  const started = Date.now();
  const seconds = (): string => `${((Date.now() - started) / 1000).toFixed(1)} s`;
  const manifests = options.files.length > 0 ? readManifests(options.files) : [];
  const { dataDirectory } = options;
  if (
    dataDirectory !== undefined &&
    `${resolve(dataDirectory)}${sep}`.startsWith(`${resolve(options.directory)}${sep}`)
  )
    throw new CommandError(
      `--data-dir ${dataDirectory} lies in --directory ${options.directory}, which is removed at the end; choose another`,
      2,
    );
  const directory: RunDirectory = claimRunDirectory(options.directory, say);
  let cluster: Cluster | undefined;
  let code = 0;
  try {
    cluster = await startCluster({
      mode: options.mode,
      frames: options.frames,
      nodes: options.nodes,
      directory: directory.path,
      ...(options.dataDirectory === undefined ? {} : { dataDirectory: resolve(options.dataDirectory) }),
      apiServer: options.apiServer,
      ports: {
        ...(options.apiPort === undefined ? {} : { api: options.apiPort }),
        ...(options.dnsPort === undefined ? {} : { dns: options.dnsPort }),
        ...(options.gatewayPort === undefined ? {} : { gateway: options.gatewayPort }),
      },
      onProgress: (text) => say(`[${seconds().padStart(7)}] ${text}`),
      onError: (error, what) => {
        if (options.verbose) say(`[${seconds().padStart(7)}] ${what}: ${explainError(error)}`);
      },
      onProcess: (pid, running) => (running ? directory.addProcess(pid) : directory.removeProcess(pid)),
      signal,
    });
    if (!options.empty && !signal.aborted) {
      if (manifests.length > 0) {
        for (const { name, text } of manifests) await applyManifests(cluster.api, text, name);
        say(`[${seconds().padStart(7)}] applied ${manifests.map((manifest) => manifest.name).join(", ")}`);
      } else {
        await applyManifests(cluster.api, application(), "harbour.yaml");
        say(`[${seconds().padStart(7)}] application applied; waiting for its pods`);
        await waitUntilReady(cluster, signal);
        if (!signal.aborted && cluster.mode === "none") {
          say(
            `[${seconds().padStart(7)}] all pods ready; they are objects only in this mode, so there are no requests to make`,
          );
        } else if (!signal.aborted) {
          say(`[${seconds().padStart(7)}] all pods ready; making requests`);
          const results = await tour(cluster, say);
          const failed = results.filter((result) => result.failures.length > 0);
          if (failed.length > 0) {
            code = 1;
            say(`${failed.length} of ${results.length} rows did not go where they had to.`);
          }
          say(`[${seconds().padStart(7)}] table done`);
        }
      }
    }
    if (!options.once && !signal.aborted) {
      say(
        `\n${await hints(cluster, !options.empty && manifests.length === 0)}\n\nCtrl-C ends the cluster and removes everything it made${dataDirectory === undefined ? "" : `, but for the objects in ${dataDirectory}`}.`,
      );
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    }
  } catch (error) {
    if (!signal.aborted) throw error instanceof CommandError ? error : new CommandError(explainError(error));
  } finally {
    if (cluster !== undefined) {
      if (!options.once) say("ending the cluster");
      await cluster.close();
    }
    directory.remove();
  }
  return code;
}
