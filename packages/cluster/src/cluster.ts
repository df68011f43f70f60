import { type ChildProcess, spawn } from "node:child_process";
import { setMaxListeners } from "node:events";
import { chmodSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { PassThrough, type Readable, type Writable } from "node:stream";
import { createApiServer, createServiceAccountController, type Listening, type PodStreams } from "@portolan/apiserver";
import {
  createApiClient,
  createEventRecorder,
  createInformerFactory,
  type InformerFactory,
  type KubernetesApi,
  type Transport,
} from "@portolan/client";
import { type KubernetesObject, type Pod, resources, type Service } from "@portolan/core";
import {
  type ConnectionEntry,
  createDataplane,
  type Dataplane,
  type DataplaneCounters,
  type ServiceTables,
} from "@portolan/dataplane";
import { type DnsServer, startDnsServer } from "@portolan/dns";
import { nameFromText, recordTypes } from "@portolan/dns/message";
import { createServiceController, type LoadBalancerProvider } from "@portolan/lb";
import { createAnnouncer, localProvider } from "@portolan/lb-local";
import { formatAddress } from "@portolan/net";
import {
  createHealthCheckServer,
  createProxy,
  createProxyServers,
  type OpenPort,
  type ServiceProxy,
} from "@portolan/proxy";
import { type ApiServerProcessOptions, startApiServerProcess } from "./api-server/api-server-process.ts";
import { createControllers } from "./controllers.ts";
import { createFakeKubelet } from "./fake-kubelet/index.ts";
import { createConnectDial, createRelayDial } from "./gateway/dial.ts";
import { createDoors } from "./gateway/doors.ts";
import { createGateway, type Gateway, type GatewayClient } from "./gateway/gateway.ts";
import { createImageTable, type ImageEntry } from "./images/image-table.ts";
import { programFile } from "./images/program-file.ts";
import {
  createKubelet,
  createLoopbackRuntime,
  createNetnsRuntime,
  type Kubelet,
  type LoopbackRuntime,
  type PodRuntime,
} from "./kubelet/index.ts";
import { applyObject } from "./manifests.ts";
import { type ClusterMode, chooseMode, frameInterfaceNames } from "./mode.ts";
import {
  createNetnsFabric,
  type FrameInterface,
  gatewayOf,
  type NetnsFabric,
  type NetnsNode,
  openDoor,
} from "./netns/index.ts";
import { bareNode } from "./nodes.ts";
import { startProcessKeeper } from "./process-keeper.ts";

/** Options of {@link startCluster}. */
export interface ClusterOptions {
  /** Default `auto`. */
  readonly mode?: ClusterMode | "auto";
  /** Mode netns: how frames come into the nodes. Default `auto`: AF_XDP where the machine has it, else packet sockets. */
  readonly frames?: FrameInterface | "auto";
  /** Number of nodes. Default 2. */
  readonly nodes?: number;
  /** Folder for the kubeconfig, logs and sockets; made when absent, and the caller's to remove. */
  readonly directory: string;
  /**
   * Folder in which API objects and the server's credentials outlive the cluster, also when it is killed; see `dataDirectory` of
   * `createApiServer`. The next cluster with it starts the pods again. Not below `directory`.
   */
  readonly dataDirectory?: string;
  /**
   * Where the API server runs: `embedded` in this process, or as a `process` of its own that can be stopped, killed and waited for while
   * nodes, pods and controllers go on; when it ends unasked, another one takes its place. That one keeps its objects in `dataDirectory`, or
   * below `directory` when none is given. Default `embedded`.
   */
  readonly apiServer?: "embedded" | "process";
  /** Ports on 127.0.0.1. One that is given must be free; without it a usual one is taken, or any when that is busy. */
  readonly ports?: { readonly api?: number; readonly dns?: number; readonly gateway?: number };
  /** Programs for images, beside the built-in ones. */
  readonly images?: Readonly<Record<string, ImageEntry>>;
  /**
   * Providers of load balancers beside the local one, for Services of their classes; Services without a class are the local one's.
   * Closed with the cluster.
   */
  readonly loadBalancerProviders?: readonly LoadBalancerProvider[];
  /** Told what has been done, a sentence a step. */
  readonly onProgress?: (text: string) => void;
  /** Told about processes that are started and that have ended. */
  readonly onProcess?: (pid: number, running: boolean) => void;
  /** Told about failures that are tried again. */
  readonly onError?: (error: unknown, what: string) => void;
  /** Ends starting early, and a running cluster's parts; `close` then still removes what is left. */
  readonly signal?: AbortSignal;
}

/** A node of the cluster. */
export interface ClusterNode {
  readonly name: string;
  /** InternalIP. */
  readonly address: string;
}

/** Where a program runs. */
export type Place =
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string }
  | { readonly kind: "outside" };

/** A program that runs in the cluster or outside of it, with its standard input and output. */
export interface PlacedProgram {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  end(): void;
}

/** What the dataplanes of all nodes counted for one Service. */
export interface ServiceActivity {
  readonly connections: number;
  readonly masqueraded: number;
  readonly affinityHits: number;
}

/** A port of 127.0.0.1 that leads to a frontend of a Service. */
export interface ServiceDoor {
  readonly port: number;
  /** What it leads to: `LoadBalancer default/frontend 172.18.255.1:80`. */
  readonly what: string;
}

/** A running cluster. */
export interface Cluster {
  readonly mode: ClusterMode;
  /** Mode netns: how frames come into the nodes; also the nodes' label `portolan.dev/frames`. */
  readonly frames?: FrameInterface;
  /** Why this mode, in one sentence. */
  readonly reason: string;
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  /** Path of the administrator's kubeconfig (mode 0600). */
  readonly kubeconfig: string;
  readonly url: string;
  readonly domain: string;
  readonly nodes: readonly ClusterNode[];
  /** The cluster's DNS on 127.0.0.1. */
  readonly dns: { readonly port: number };
  /** SOCKS5 and HTTP proxy into the cluster on 127.0.0.1. */
  readonly gateway: { readonly port: number };
  /** Starts a program; it ends with `end`, or with the cluster. */
  startProgram(place: Place, argv: readonly string[]): Promise<PlacedProgram>;
  /** What an outside client dials to reach an address of the cluster: itself in `netns`, a door on loopback in `gateway`. */
  outsideAddress(target: { address: string; port: number; node?: string }): Promise<{ host: string; port: number }>;
  serviceActivity(namespace: string, name: string): Promise<ServiceActivity | undefined>;
  doors(): Promise<readonly ServiceDoor[]>;
  /** Ends everything: pods, nodes, servers, namespaces. Safe to call twice. */
  close(): Promise<void>;
}

const domain = "cluster.local";
/** Blocks by family, the primary one first; frames have both, sockets on loopback and mere objects only the first. */
const serviceCIDRs = ["10.96.0.0/16", "fd00:10:96::/112"] as const;
const podCIDRs = ["10.244.0.0/16", "fd00:10:244::/48"] as const;
const loadBalancerRanges = ["172.18.255.1-172.18.255.250", "fd00:172:18::ff01-fd00:172:18::fffa"] as const;
const dnsAddress = "10.96.0.10";
/** What the Service `kubernetes` leads to; mode netns gives it to the API server. */
const apiAddress = "172.18.0.1";
const apiPort = 6443;
const outsider = "172.18.0.100";
const outsiderAddresses = [outsider, "fd00:172:18::100"];
const usualPorts = { api: 16443, dns: 10053, gateway: 10080 };

/** Whether a port is taken, by the system's error or one that has it as its cause. */
function isBusy(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException;
  return code === "EADDRINUSE" || (cause instanceof Error && isBusy(cause));
}

/** Runs with the port asked for, or with the usual one, or with any when that one is busy. */
async function withPort<T>(
  wanted: number | undefined,
  usual: number,
  listen: (port: number) => Promise<T>,
): Promise<T> {
  if (wanted !== undefined) return await listen(wanted);
  try {
    return await listen(usual);
  } catch (error) {
    if (!isBusy(error)) throw error;
    return await listen(0);
  }
}

/** The cluster's DNS as objects: a Service, and the pods behind it where pods have a network of their own. */
function dnsObjects(apiSocket: string | undefined): KubernetesObject[] {
  const labels = { "k8s-app": "kube-dns" };
  const service: Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kube-dns", namespace: "kube-system", labels },
    spec: {
      clusterIP: dnsAddress,
      ...(apiSocket === undefined ? {} : { selector: labels }),
      ports: [
        { name: "dns", port: 53, protocol: "UDP", targetPort: 53 },
        { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: 53 },
      ],
    },
  };
  if (apiSocket === undefined) return [service];
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "portolan-dns", namespace: "kube-system", labels },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          dnsPolicy: "Default",
          containers: [
            {
              name: "dns",
              image: "portolan/dns",
              args: ["--api-socket", apiSocket, "--listen", "0.0.0.0:53", "--domain", domain],
              ports: [
                { name: "dns", containerPort: 53, protocol: "UDP" },
                { name: "dns-tcp", containerPort: 53, protocol: "TCP" },
              ],
              readinessProbe: { tcpSocket: { port: 53 }, periodSeconds: 10 },
            },
          ],
        },
      },
    },
  };
  return [service, deployment as KubernetesObject];
}

/** Everything that was started, to be ended in reverse. */
function createEndings(): { add(what: string, end: () => Promise<void> | void): void; run(): Promise<void> } {
  const endings: { what: string; end: () => Promise<void> | void }[] = [];
  return {
    add: (what, end) => void endings.push({ what, end }),
    async run() {
      for (const { what, end } of endings.splice(0).reverse()) {
        try {
          await end();
        } catch (error) {
          process.emitWarning(`ending ${what}: ${(error as Error).message}`);
        }
      }
    },
  };
}

/**
 * Starts a cluster: API server, controllers, nodes with their proxies and dataplanes, kubelets, DNS, a load-balancer provider and
 * a gateway. What a failed start had made is ended before it rejects.
 *
 * @throws ModeError when the mode cannot be had, the system's error when a port that was asked for is busy, the reason of `signal`
 *   when that fires before everything is there
 */
export async function startCluster(given: ClusterOptions): Promise<Cluster> {
  // Programs of pods begin elsewhere.
  const options = { ...given, directory: resolve(given.directory) };
  options.signal?.throwIfAborted();
  const { mode, reason, frames } = chooseMode(options.mode ?? "auto", options.frames);
  const say = options.onProgress ?? (() => {});
  const onError = options.onError ?? (() => {});
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  chmodSync(options.directory, 0o700);
  const endings = createEndings();
  const controller = new AbortController();
  const { signal } = controller;
  // Every part of the cluster listens to it.
  setMaxListeners(0, signal);
  const onAbort = (): void => controller.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", onAbort, { once: true });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= (async () => {
      options.signal?.removeEventListener("abort", onAbort);
      controller.abort();
      await endings.run();
    })();
    return closing;
  };
  try {
    say(`mode ${mode}: ${reason}`);
    return await start();
  } catch (error) {
    await close();
    throw error;
  }

  async function start(): Promise<Cluster> {
    const kubelets = new Map<string, Kubelet>();
    const streamsOf = (pod: Pod): PodStreams => {
      const kubelet = kubelets.get(pod.spec?.nodeName ?? "");
      if (kubelet === undefined) throw new Error(`pod ${pod.metadata.name} runs on no node of this cluster`);
      return kubelet.streams;
    };
    const podStreams: PodStreams = {
      logs: (pod, query, end) => streamsOf(pod).logs(pod, query, end),
      exec: (pod, query, streams) => streamsOf(pod).exec(pod, query, streams),
      attach: (pod, query, streams) => streamsOf(pod).attach(pod, query, streams),
      portForward: (pod, port, end) => streamsOf(pod).portForward(pod, port, end),
    };
    const ofFamilies = <T>(both: readonly T[]): readonly T[] => both.slice(0, mode === "netns" ? 2 : 1);
    const apiSocket = join(options.directory, "api.sock");
    const { listening, transport } = await startApiServer({
      podStreams,
      socket: apiSocket,
      serviceCIDRs: ofFamilies(serviceCIDRs),
      advertise: { address: apiAddress, port: apiPort },
    });
    say(`API server ready at ${listening.url}`);

    const api = createApiClient(transport);
    const informers = createInformerFactory(api);
    const others = options.loadBalancerProviders ?? [];
    for (const provider of others) endings.add(`provider ${provider.id}`, () => provider.close?.());
    const running: Promise<unknown>[] = [];
    endings.add("controllers", async () => {
      await Promise.allSettled(running);
    });
    const run = (name: string, part: { run(signal: AbortSignal): Promise<void> }): void => {
      running.push(
        part.run(signal).catch((error: unknown) => {
          if (!signal.aborted) onError(error, name);
        }),
      );
    };
    const eventsOf = (component: string) => createEventRecorder({ api, component, signal });
    const shared = (component: string) => ({
      api,
      informers,
      events: eventsOf(component),
      onError: (error: unknown) => onError(error, component),
    });

    for (const [name, part] of createControllers(shared)) run(name, part);
    const { certificateAuthority } = listening;
    run(
      "service accounts",
      createServiceAccountController({ ...shared("service-account-controller"), certificateAuthority }),
    );
    const local = localProvider({ pools: [{ name: "default", addresses: [...ofFamilies(loadBalancerRanges)] }] });
    run("load balancers", createServiceController({ ...shared("service-controller"), providers: [local, ...others] }));

    const names = Array.from({ length: options.nodes ?? 2 }, (_, i) => ({
      name: `node${i + 1}`,
      address: `172.18.0.${i + 2}`,
      podCIDR: `10.244.${i + 1}.0/24`,
      addresses: ofFamilies([`172.18.0.${i + 2}`, `fd00:172:18::${i + 2}`]),
      podCIDRs: ofFamilies([`10.244.${i + 1}.0/24`, `fd00:10:244:${i + 1}::/64`]),
      zone: `zone-${"abc"[i % 3]}`,
    }));

    /** Tells who looks after processes that this one may leave behind; in namespaces they die with it. */
    let keep: (pid: number, running: boolean) => void = (pid, running) => options.onProcess?.(pid, running);
    let fabric: NetnsFabric | undefined;
    const netnsNodes = new Map<string, NetnsNode>();
    const dataplanes = new Map<string, Dataplane>();
    const loopbacks: LoopbackRuntime[] = [];
    const tables = new Map<string, ServiceTables>();
    const runtimes = new Map<string, PodRuntime>();

    if (frames !== undefined) {
      fabric = await createNetnsFabric({ frames, clientAddresses: outsiderAddresses });
      endings.add("the fabric", () => fabric?.close());
      // Pods reach the API server as the Service `kubernetes`, and nothing else of this machine.
      const controlPlane = fabric.addExternalHost({ name: "control-plane", addresses: [apiAddress] });
      const door = await openDoor(controlPlane, apiPort, listening.port);
      endings.add("the pods' door to the API server", () => door.close());
      for (const { name, addresses, podCIDRs: own } of names) {
        const node = await fabric.addNode({
          name,
          addresses,
          podCIDRs: own,
          dnsAddresses: [dnsAddress],
        });
        netnsNodes.set(name, node);
        tables.set(name, node);
        runtimes.set(name, createNetnsRuntime({ node }));
      }
      // The gateway dials from outside of the cluster; ClusterIPs are reached as from any router that knows the way.
      for (const [family, destination] of serviceCIDRs.entries()) {
        fabric.client.namespace.links.setRoute({ destination, gateway: names[0]!.addresses[family]!, link: "eth0" });
      }
      say(
        `${names.length} nodes as network namespaces; every packet goes through ${frameInterfaceNames[frames]} and the Wasm dataplane`,
      );
    } else if (mode === "gateway") {
      const keeper = startProcessKeeper();
      endings.add("the keeper of processes", () => keeper.close());
      keep = (pid, running) => {
        if (running) keeper.add(pid);
        else keeper.remove(pid);
        options.onProcess?.(pid, running);
      };
      for (const { name, address, podCIDR: own } of names) {
        const dataplane = createDataplane();
        dataplanes.set(name, dataplane);
        tables.set(name, dataplane);
        const runtime = createLoopbackRuntime({
          podCidrs: [own],
          nodeAddresses: [address],
          onProcess: keep,
          environment: (pod) => proxyVariables(`${pod.metadata.namespace}/${pod.metadata.name}`),
        });
        loopbacks.push(runtime);
        runtimes.set(name, runtime);
      }
      say(`${names.length} nodes; pods are processes on loopback ports, the Wasm connect program picks endpoints`);
    }

    const proxies = new Map<string, ServiceProxy>();
    for (const { name, podCIDRs: own } of names) {
      const nodeTables = tables.get(name);
      if (nodeTables === undefined) continue;
      const netnsNode = netnsNodes.get(name);
      // Without a host `listen` binds at once, and so in the namespace that the thread is in.
      const openPort: OpenPort = (server, port) => netnsNode?.namespace.run(() => void server.listen(port));
      const proxyFailed = (error: Error): void => onError(error, `proxy of ${name}`);
      const proxy = createProxy({
        informers,
        ...(netnsNode === undefined ? {} : { healthChecks: createHealthCheckServer(openPort, proxyFailed) }),
        nodeName: name,
        tables: nodeTables,
        configuration: { clusterCIDRs: ofFamilies(podCIDRs), serviceCIDRs: ofFamilies(serviceCIDRs) },
        localAddresses: own.map(gatewayOf),
        onError: proxyFailed,
      });
      if (netnsNode !== undefined) {
        const { health, nodeEligible, metrics } = proxy;
        const families = ["IPv4", "IPv6"] as const;
        const own = {
          health,
          nodeEligible,
          renderMetrics: () => metrics.render(),
          renderConfiguration: () => proxy.renderConfiguration(),
          onHealthAnswer: (path: string, status: number) => metrics.answered(path, status),
          families,
        };
        const servers = createProxyServers(own, openPort, proxyFailed);
        endings.add(`servers of the proxy of ${name}`, () => servers.close());
      }
      proxies.set(name, proxy);
      run(`proxy of ${name}`, proxy);
    }

    let gatewayPort = 0;
    const proxyVariables = (user: string): Record<string, string> => {
      const at = `${encodeURIComponent(user)}:x@127.0.0.1:${gatewayPort}`;
      return {
        http_proxy: `http://${at}`,
        HTTP_PROXY: `http://${at}`,
        ALL_PROXY: `socks5h://${at}`,
        no_proxy: "127.0.0.1,localhost",
        PORTOLAN_SOCKS: `${user}@127.0.0.1:${gatewayPort}`,
        PORTOLAN_NAMESERVER: `127.0.0.1:${dnsPort}`,
        PORTOLAN_SEARCH: searchDomains(user.split("/", 1)[0]!).join(" "),
      };
    };

    const dns: DnsServer = await withPort(options.ports?.dns, usualPorts.dns, (port) =>
      startDnsServer({ listen: [{ host: "127.0.0.1", port }], api, domain }),
    );
    endings.add("DNS", () => dns.close());
    // Nodes answer plain questions about the cluster's names themselves; what they do not know goes to the Service's pods.
    const toNodes = (tell: (names: NetnsNode["names"]) => void): void => {
      for (const { names: answers } of netnsNodes.values()) tell(answers);
    };
    if (netnsNodes.size > 0)
      dns.feed({
        clear: () => toNodes((answers) => answers.clear()),
        setZone: (zone) => toNodes((answers) => answers.setZone(zone)),
        setNames: (group, specs) => toNodes((answers) => answers.setNames(group, specs)),
      });
    const dnsPort = dns.addresses[0]!.port;

    const resolve = (name: string, namespace: string): readonly string[] => lookUp(dns, name, namespace);
    const externals = new Map<string, { host: string; port: number }>();
    let relaySocket: string | undefined;
    if (fabric !== undefined) {
      relaySocket = join(options.directory, "outside.sock");
      const { command, args } = fabric.client.command([process.execPath, programFile("relay"), relaySocket]);
      const relay = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
      watchProcess(relay);
      await ready(relay, "the gateway's relay");
    }
    const podInformer = informers.informer<Pod>(resources.pods);
    const outsideClient = (): GatewayClient => ({ address: outsider, node: names[0]!.name, namespace: "default" });
    const dial =
      relaySocket === undefined
        ? createConnectDial({
            dataplanes,
            resolve,
            now: () => performance.now() / 1000,
            locate: (address, port) => {
              if (address === dnsAddress || (address === "10.244.0.53" && port === 53))
                return { host: "127.0.0.1", port: dnsPort };
              for (const runtime of loopbacks) {
                const found = runtime.locate(address, port);
                if (found !== undefined) return found;
              }
              return externals.get(`${address}:${port}`);
            },
          })
        : createRelayDial(relaySocket, resolve);
    const gateway: Gateway = await withPort(options.ports?.gateway, usualPorts.gateway, (port) =>
      createGateway(
        {
          dial,
          outsider: outsideClient,
          clientOf(user) {
            const [namespace = "", name = ""] = user.split("/");
            const pod = podInformer.lister.get(namespace, name);
            const address = pod?.status?.podIP;
            if (pod === undefined || address === undefined) return undefined;
            return { address, node: pod.spec?.nodeName ?? "", namespace };
          },
        },
        port,
      ),
    );
    endings.add("the gateway", () => gateway.close());
    gatewayPort = gateway.port;

    const nodeLabels = frames === undefined ? {} : { "portolan.dev/frames": frames };
    const images = createImageTable(options.images === undefined ? {} : { images: options.images });
    for (const { name, address, addresses, podCIDR: own, podCIDRs: blocks, zone } of names) {
      const runtime = runtimes.get(name);
      if (runtime === undefined) {
        await applyObject(api, bareNode(name, address, own, zone));
        continue;
      }
      const kubelet = createKubelet({
        api,
        informers,
        nodeName: name,
        runtime,
        images,
        node: { addresses, podCidrs: blocks, labels: { "topology.kubernetes.io/zone": zone, ...nodeLabels } },
        clusterDns: [dnsAddress],
        clusterDomain: domain,
        runDirectory: options.directory,
        events: eventsOf("kubelet"),
        onError: (error, what) => onError(error, `kubelet of ${name}: ${what}`),
      });
      kubelets.set(name, kubelet);
      run(`kubelet of ${name}`, kubelet);
    }

    if (mode === "none") run("fake kubelet", createFakeKubelet({ api, informers }));

    const doorEvents = eventsOf("portolan-gateway");
    const doors = createDoors({
      informers,
      gateway,
      nodeAddress: names[0]!.address,
      client: outsideClient,
      onProblem: (service, message) =>
        doorEvents.event(service, "Warning", "LoopbackPort", message, resources.services),
    });
    if (mode !== "none") run("doors", doors);
    if (fabric !== undefined) {
      const announced = new Map<string, NetnsNode>();
      run(
        "announcements",
        createAnnouncer({
          informers,
          announce(address, nodeName) {
            const before = announced.get(address);
            const next = nodeName === undefined ? undefined : netnsNodes.get(nodeName);
            if (before === next) return;
            before?.withdraw(address).catch((error: unknown) => onError(error, `withdrawing ${address}`));
            announced.delete(address);
            if (next === undefined) return;
            announced.set(address, next);
            next.announce(address).catch((error: unknown) => onError(error, `announcing ${address}`));
          },
        }),
      );
    }

    informers.start(signal);
    for (const object of dnsObjects(mode === "netns" ? apiSocket : undefined)) await applyObject(api, object);
    await startOutsideDatabase();
    await unlessAborted(signal, Promise.all([...proxies.values()].map((proxy) => proxy.synced())));
    signal.throwIfAborted();
    say(
      `controllers, ${names.length} proxies, DNS at 127.0.0.1:${dnsPort} and gateway at 127.0.0.1:${gateway.port} ready`,
    );

    return {
      mode,
      ...(frames === undefined ? {} : { frames }),
      reason,
      api,
      informers,
      kubeconfig: listening.kubeconfigPath,
      url: listening.url,
      domain,
      nodes: names.map(({ name, address }) => ({ name, address })),
      dns: { port: dnsPort },
      gateway: { port: gateway.port },
      close,
      async startProgram(place, argv) {
        if (place.kind === "pod") {
          const pod = await api.get<Pod>(resources.pods, { namespace: place.namespace, name: place.name });
          return startInPod(pod, argv);
        }
        const { command, args } = fabric?.client.command(argv) ?? { command: argv[0]!, args: argv.slice(1) };
        const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
        watchProcess(child);
        child.stdin.on("error", () => {});
        return {
          stdin: child.stdin,
          stdout: child.stdout,
          ended: new Promise<void>((done) => child.once("exit", () => done())),
          end: () => void child.kill(),
        };
      },
      async outsideAddress(target) {
        if (mode === "netns") return { host: target.address, port: target.port };
        const node = target.node ?? names[0]!.name;
        const door = await gateway.open(0, {
          address: target.address,
          port: target.port,
          client: () => ({ address: outsider, node, namespace: "default" }),
        });
        return { host: "127.0.0.1", port: door.port };
      },
      async serviceActivity(namespace, name) {
        const prefix = `${namespace}/${name}:`;
        const sum = { connections: 0, masqueraded: 0, affinityHits: 0 };
        const add = (counters: DataplaneCounters, connections: readonly ConnectionEntry[]): void => {
          for (const [id, counts] of Object.entries(counters.servicePorts)) {
            if (!id.startsWith(prefix)) continue;
            sum.connections += counts.connections;
            sum.affinityHits += counts.affinityHits;
          }
          for (const { servicePort, original, reply } of connections) {
            if (servicePort?.startsWith(prefix) && reply.destination !== original.source) sum.masqueraded++;
          }
        };
        for (const dataplane of dataplanes.values()) add(dataplane.counters(), dataplane.connections());
        for (const node of netnsNodes.values()) add((await node.counters()).dataplane, await node.connections());
        return sum;
      },
      async doors() {
        return doors.open().map(({ door, what }) => ({ port: door.port, what }));
      },
    };

    /** Here, or as a process of its own. */
    async function startApiServer(
      settings: Pick<ApiServerProcessOptions, "podStreams" | "socket" | "serviceCIDRs" | "advertise">,
    ): Promise<{ readonly listening: Listening; readonly transport: Transport }> {
      const { directory, dataDirectory } = options;
      if (options.apiServer === "process") {
        const server = await withPort(options.ports?.api, usualPorts.api, (port) =>
          startApiServerProcess({
            ...settings,
            directory,
            dataDirectory: dataDirectory ?? join(directory, "api-server"),
            port,
            onProcess: (pid, running) => options.onProcess?.(pid, running),
            onProgress: say,
            onError: (error) => onError(error, "API server"),
            signal,
          }),
        );
        endings.add("the API server", () => server.close());
        return server;
      }
      const { socket, ...rest } = settings;
      const server = await createApiServer({ ...rest, ...(dataDirectory === undefined ? {} : { dataDirectory }) });
      endings.add("the API server", () => server.close());
      const listening = await withPort(options.ports?.api, usualPorts.api, (port) =>
        server.listen({ host: "127.0.0.1", port, directory }),
      );
      if (mode === "netns") await server.listenUnix(socket);
      return { listening, transport: server.transport };
    }

    function startInPod(pod: Pod, argv: readonly string[]): PlacedProgram {
      const stdin = new PassThrough();
      const stdout = new PassThrough();
      const stop = new AbortController();
      const ended = podStreams
        .exec(
          pod,
          { command: argv, tty: false },
          {
            stdin,
            stdout: (chunk) => void stdout.write(chunk),
            stderr: (chunk) => void process.stderr.write(chunk),
            signal: AbortSignal.any([stop.signal, signal]),
          },
        )
        .then(
          () => void stdout.end(),
          (error: unknown) => void stdout.destroy(error as Error),
        );
      return { stdin, stdout, ended, end: () => stop.abort() };
    }

    function watchProcess(child: ChildProcess): void {
      const { pid } = child;
      if (pid !== undefined) keep(pid, true);
      child.once("exit", () => {
        if (pid !== undefined) keep(pid, false);
      });
      endings.add(`process ${pid}`, async () => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((done) => child.once("exit", done));
        child.kill("SIGKILL");
        await ended;
      });
    }

    /** A server outside of the cluster, for Services whose endpoints are none of its pods. */
    async function startOutsideDatabase(): Promise<void> {
      if (mode === "none") return;
      const port = 3306;
      const environment = {
        ...process.env,
        PORTOLAN_POD_NAME: "outside-database",
        PORTOLAN_NODE_NAME: "outside",
        PORTOLAN_POD_IP: outsider,
        PORTOLAN_TCP_PORTS: String(port),
      };
      const argv = [process.execPath, programFile("mysql-responder")];
      if (fabric !== undefined) {
        const { command, args } = fabric.client.command(argv);
        watchProcess(spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], env: environment }));
        return;
      }
      const free = await freePort();
      externals.set(`${outsider}:${port}`, { host: "127.0.0.1", port: free });
      watchProcess(
        spawn(argv[0]!, argv.slice(1), {
          stdio: ["ignore", "ignore", "inherit"],
          env: { ...environment, [`PORT_${port}`]: String(free) },
        }),
      );
    }
  }
}

/** Waits for something that never comes when what would do it has been told to end. */
function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Resolves when a program has written its first line. */
function ready(child: ChildProcess, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("error", reject);
    child.once("exit", (code, killed) => reject(new Error(`${what} ended: ${killed ?? `exit code ${code}`}`)));
  });
}

/** A port of 127.0.0.1 that nothing listens on now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

const searchDomains = (namespace: string): string[] => [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];

/** Addresses of a name, looked for as a pod of the namespace would: as it is, then below the search domains. */
function lookUp(dns: DnsServer, name: string, namespace: string): readonly string[] {
  for (const suffix of ["", ...searchDomains(namespace).map((search) => `.${search}`)]) {
    let answer: ReturnType<DnsServer["zone"]["answer"]>;
    try {
      answer = dns.zone.answer(nameFromText(`${name}${suffix}.`), recordTypes.A);
    } catch {
      return [];
    }
    const found = (answer?.answers ?? []).filter((record) => record.type === recordTypes.A);
    if (found.length > 0) return found.map((record) => formatAddress({ family: "IPv4", bytes: record.data }));
  }
  return [];
}
