import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "@portolan/client";
import type { Container, Pod, PodStatus } from "@portolan/core";
import type { ImageTable, ResolvedImage } from "../images/image-table.ts";
import { semanticallyEqual } from "../workloads/pod-template.ts";
import { type ContainerRunner, createContainerRunner, type RestartTimes } from "./container-runner.ts";
import type { PodMount, PodRuntime, PodSandbox } from "./pod-runtime.ts";
import { podStatus, waitingRecords } from "./pod-status.ts";
import { formatResolverConfiguration, hostsFile, type PodResolver } from "./resolver-configuration.ts";
import { fileModes, type VolumeFiles } from "./volume-files.ts";

/** What the workers of a node share. */
export interface NodeSurroundings {
  readonly nodeName: string;
  readonly nodeAddresses: readonly string[];
  readonly runtime: PodRuntime;
  readonly images: ImageTable;
  readonly clusterDomain: string;
  readonly clock: Clock;
  readonly times: RestartTimes;
  /** Folder of the pods of this node. */
  readonly directory: string;
  environment(pod: Pod, addresses: readonly string[], container: Container): Promise<Record<string, string>>;
  resolver(pod: Pod): PodResolver;
  /** Files of a volume, by relative path; undefined for kinds of volumes that hold no files at first. */
  volumeFiles(pod: Pod, volume: { readonly name: string }): Promise<VolumeFiles | undefined>;
  commandDirectory(image: ResolvedImage): string | undefined;
  event(pod: Pod, type: "Normal" | "Warning", reason: string, message: string): void;
  /** Writes the status; `pod` is the newest state known. Rejections are tried again. */
  writeStatus(pod: Pod, status: PodStatus): Promise<void>;
  /** The pod's programs have ended: the object may go. */
  confirmDeletion(pod: Pod): Promise<void>;
}

/** Runs one pod. */
export interface PodWorker {
  readonly pod: Pod;
  readonly sandbox: PodSandbox | undefined;
  runner(container: string): ContainerRunner | undefined;
  /** A newer state of the object. */
  update(pod: Pod): void;
  /** Ends the programs; the object, if it still exists, goes too. */
  stop(graceSeconds: number): Promise<void>;
  /** Resolves when everything is given back. */
  readonly done: Promise<void>;
}

const DEFAULT_GRACE = 30;
/** Milliseconds between two looks at what volumes are made of. */
const VOLUME_PERIOD = 60_000;

/** Starts a pod at once. */
export function startPodWorker(initial: Pod, node: NodeSurroundings): PodWorker {
  const { clock, runtime } = node;
  let pod = initial;
  const { uid = "", name = "", namespace = "default" } = initial.metadata;
  const directory = join(node.directory, uid);
  const timestamp = (): string => new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const startTime = initial.status?.startTime ?? timestamp();
  const runners: ContainerRunner[] = [];
  let sandbox: PodSandbox | undefined;
  let addresses: readonly string[] = [];
  let failure: { reason: string; message: string } | undefined;
  let stopping: Promise<void> | undefined;
  let mounts: PodMount[] = [];
  const event = (type: "Normal" | "Warning", reason: string, message: string): void =>
    node.event(pod, type, reason, message);

  // --- status: at most one write at a time, of the newest state
  let dirty = false;
  let writing: Promise<void> | undefined;
  let written: PodStatus | undefined;

  function currentStatus(): PodStatus {
    return podStatus(
      written === undefined ? pod : { ...pod, status: { ...pod.status, ...written, conditions: mergedConditions() } },
      {
        records: runners.length === 0 ? waitingRecords(pod) : runners.map((runner) => runner.record),
        podAddresses: addresses,
        nodeAddresses: node.nodeAddresses,
        startTime,
        hasNetwork: sandbox !== undefined,
        now: timestamp(),
        ...(failure === undefined ? {} : { failure }),
      },
    );
  }

  /** Our own conditions as last written (the informer may lag), those of others as the informer shows them. */
  function mergedConditions(): NonNullable<PodStatus["conditions"]> {
    const own = written?.conditions ?? [];
    const others = (pod.status?.conditions ?? []).filter(({ type }) => !OWN_CONDITIONS.has(type));
    return [...own.filter(({ type }) => OWN_CONDITIONS.has(type)), ...others];
  }

  async function writeStatuses(): Promise<void> {
    for (let attempt = 0; dirty && attempt < 20; ) {
      dirty = false;
      // One turn later: several changes of one moment are one write.
      await new Promise((resolve) => setImmediate(resolve));
      const status = currentStatus();
      if (written !== undefined && semanticallyEqual(written, status)) continue;
      try {
        await node.writeStatus(pod, status);
        written = status;
        attempt = 0;
      } catch {
        attempt++;
        dirty = true;
        await new Promise<void>((resolve) => {
          clock.schedule(resolve, 100 * attempt);
        });
      }
    }
    writing = undefined;
  }

  function changed(): void {
    dirty = true;
    writing ??= writeStatuses();
  }

  async function flushStatus(): Promise<void> {
    changed();
    await writing;
  }

  // --- the pod's files
  async function writeFiles(resolver: PodResolver, hostname: string): Promise<void> {
    const etc = join(directory, "etc");
    mkdirSync(etc, { recursive: true, mode: 0o755 });
    const subdomain = pod.spec?.subdomain;
    const fullName =
      subdomain === undefined || subdomain === ""
        ? undefined
        : `${hostname}.${subdomain}.${namespace}.svc.${node.clusterDomain}`;
    const aliases = pod.spec?.hostAliases ?? [];
    const hosts = hostsFile({ addresses, hostname, aliases, ...(fullName === undefined ? {} : { fullName }) });
    writeFileSync(join(etc, "hosts"), hosts);
    writeFileSync(join(etc, "hostname"), `${hostname}\n`);
    writeFileSync(join(etc, "resolv.conf"), formatResolverConfiguration(resolver));
    mounts = ["hosts", "hostname", "resolv.conf"].map((file) => ({
      source: join(etc, file),
      target: `/etc/${file}`,
    }));
  }

  async function writeVolume(volume: { readonly name: string }): Promise<string> {
    const path = join(directory, "volumes", volume.name);
    mkdirSync(path, { recursive: true, mode: 0o755 });
    const modeOf = fileModes(volume as Record<string, unknown> & typeof volume);
    for (const [file, content] of Object.entries((await node.volumeFiles(pod, volume)) ?? {})) {
      const target = join(path, file);
      if (!target.startsWith(`${path}/`)) continue;
      mkdirSync(join(target, ".."), { recursive: true });
      if (existsSync(target) && readFileSync(target).equals(Buffer.from(content))) continue;
      // Whoever reads it meanwhile sees the old content or the new.
      writeFileSync(`${target}.new`, content);
      chmodSync(`${target}.new`, modeOf(file));
      renameSync(`${target}.new`, target);
    }
    return path;
  }

  /** Folders of the pod's volumes; waits for what they are made of. Undefined when the pod stops before. */
  async function writeVolumes(): Promise<Map<string, string> | undefined> {
    const paths = new Map<string, string>();
    for (const volume of pod.spec?.volumes ?? []) {
      for (let wait = 100; !paths.has(volume.name); wait = Math.min(wait * 2, 10_000)) {
        if (stopping !== undefined) return undefined;
        try {
          paths.set(volume.name, await writeVolume(volume));
        } catch (error) {
          // A namespace's certificates and accounts are a moment younger than itself.
          if (wait > 400) {
            const text = error instanceof Error ? error.message : String(error);
            event("Warning", "FailedMount", `MountVolume.SetUp failed for volume "${volume.name}" : ${text}`);
          }
          await new Promise<void>((resolve) => {
            clock.schedule(resolve, wait);
          });
        }
      }
    }
    return paths;
  }

  /** Follows changes of ConfigMaps and Secrets, and renews tokens, as often as kubelets do. */
  function keepVolumes(): () => void {
    let cancel = clock.schedule(renew, VOLUME_PERIOD);
    async function renew(): Promise<void> {
      for (const volume of pod.spec?.volumes ?? []) await writeVolume(volume).catch(() => undefined);
      if (stopping === undefined) cancel = clock.schedule(renew, VOLUME_PERIOD);
    }
    return () => cancel();
  }

  function addRunner(
    container: Container,
    kind: ContainerRunner["record"]["kind"],
    volumes: Map<string, string>,
  ): ContainerRunner {
    const logDirectory = join(directory, "logs");
    mkdirSync(logDirectory, { recursive: true });
    const own = (container.volumeMounts ?? []).flatMap((mount): PodMount[] => {
      const source = volumes.get(mount.name);
      if (source === undefined) return [];
      const path = mount.subPath === undefined || mount.subPath === "" ? source : join(source, mount.subPath);
      return [{ source: path, target: mount.mountPath, ...(mount.readOnly === true ? { readOnly: true } : {}) }];
    });
    const runner = createContainerRunner(container, kind, {
      podName: name,
      podNamespace: namespace,
      podUid: uid,
      podAddress: addresses[0] ?? "",
      nodeName: node.nodeName,
      restartPolicy: pod.spec?.restartPolicy ?? "Always",
      sandbox: sandbox!,
      isolated: runtime.isolated,
      images: node.images,
      mounts: [...mounts, ...own],
      logDirectory,
      clock,
      times: node.times,
      environment: (one) => node.environment(pod, addresses, one),
      commandDirectory: node.commandDirectory,
      event,
      changed,
    });
    runners.push(runner);
    return runner;
  }

  function listeningPorts(): number[] {
    const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
    return all.flatMap((container) => {
      const declared = (container.ports ?? []).map(({ containerPort }) => containerPort);
      const set = Number(container.env?.find((variable) => variable.name === "PORT")?.value ?? 0);
      if (declared.length > 0) return set > 0 ? [...declared, set] : declared;
      const image = node.images.resolve(container.image ?? "");
      return [...(set > 0 ? [set] : []), ...("program" in image ? (image.program.ports ?? []) : [])];
    });
  }

  async function run(): Promise<void> {
    const hostname = (pod.spec?.hostname ?? name).slice(0, 63).replace(/[-.]+$/, "");
    for (let wait = 250; sandbox === undefined; wait = Math.min(wait * 2, 10_000)) {
      if (stopping !== undefined) return;
      try {
        sandbox = await runtime.createSandbox(pod, { hostname, ports: listeningPorts() });
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        event("Warning", "FailedCreatePodSandBox", `Failed to create pod sandbox: ${text}`);
        await new Promise<void>((resolve) => {
          clock.schedule(resolve, wait);
        });
      }
    }
    addresses = sandbox.addresses;
    const resolver = node.resolver(pod);
    for (const warning of resolver.warnings) event("Warning", "DNSConfigForming", warning);
    await writeFiles(resolver, hostname);
    const volumes = await writeVolumes();
    if (volumes === undefined) return;
    const forgetVolumes = keepVolumes();
    void finished.then(forgetVolumes);
    const initial = (pod.spec?.initContainers ?? []).map((container) =>
      addRunner(container, container.restartPolicy === "Always" ? "sidecar" : "init", volumes),
    );
    const main = (pod.spec?.containers ?? []).map((container) => addRunner(container, "main", volumes));
    if (initial.length > 0) for (const { record } of main) record.state = { waiting: { reason: "PodInitializing" } };
    changed();
    const deadline = pod.spec?.activeDeadlineSeconds;
    const cancel =
      deadline === undefined
        ? undefined
        : clock.schedule(() => {
            const message = "Pod was active on the node longer than the specified deadline";
            failure = { reason: "DeadlineExceeded", message };
            event("Normal", "DeadlineExceeded", message);
            void stopContainers(pod.spec?.terminationGracePeriodSeconds ?? DEFAULT_GRACE);
          }, deadline * 1000);
    const sidecars: Promise<unknown>[] = [];
    let initialized = true;
    for (const runner of initial) {
      if (stopping !== undefined || failure !== undefined) return;
      if (runner.record.kind === "sidecar") {
        sidecars.push(runner.run());
        await runner.started;
        continue;
      }
      const exit = await runner.run();
      if (exit?.exitCode !== 0) {
        initialized = false;
        break;
      }
    }
    if (initialized && stopping === undefined && failure === undefined) {
      for (const { record } of main) record.state = { waiting: { reason: "ContainerCreating" } };
      await Promise.all(main.map((runner) => runner.run()));
    }
    cancel?.();
    // Sidecars end after the containers they serve.
    const grace = pod.spec?.terminationGracePeriodSeconds ?? DEFAULT_GRACE;
    if (stopping === undefined) {
      await Promise.all(initial.filter(({ record }) => record.kind === "sidecar").map((runner) => runner.stop(grace)));
    }
    await Promise.all(sidecars);
    await flushStatus();
  }

  async function stopContainers(graceSeconds: number): Promise<void> {
    const ofKind = (...kinds: string[]): ContainerRunner[] =>
      runners.filter(({ record }) => kinds.includes(record.kind));
    await Promise.all(ofKind("main", "init", "ephemeral").map((runner) => runner.stop(graceSeconds)));
    await Promise.all(
      ofKind("sidecar")
        .reverse()
        .map((runner) => runner.stop(graceSeconds)),
    );
  }

  let finish: () => void = () => undefined;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const finished = run().catch((error: unknown) => {
    event("Warning", "Failed", `Error: ${error instanceof Error ? error.message : String(error)}`);
    failure ??= { reason: "Error", message: String(error) };
    changed();
  });
  // A pod that has run to its end gives its place back, and keeps its object and logs.
  let closed: Promise<void> | undefined;
  const release = (): Promise<void> => {
    closed ??= sandbox?.close().catch(() => undefined);
    return closed ?? Promise.resolve();
  };
  const released = finished.then(async () => {
    if (stopping === undefined && !runners.some((runner) => runner.process !== undefined)) await release();
  });

  async function stop(graceSeconds: number): Promise<void> {
    await stopContainers(graceSeconds);
    await finished;
    await released;
    await flushStatus();
    await release();
    await node.confirmDeletion(pod);
    for (const runner of runners) runner.remove();
    rmSync(directory, { recursive: true, force: true });
    finish();
  }

  changed();
  return {
    get pod() {
      return pod;
    },
    get sandbox() {
      return sandbox;
    },
    done,
    runner: (container) => runners.find(({ record }) => record.container.name === container),
    update(next) {
      const before = pod;
      pod = next;
      if (sandbox !== undefined && stopping === undefined) {
        for (const container of next.spec?.ephemeralContainers ?? []) {
          if (runners.some(({ record }) => record.container.name === container.name)) continue;
          void addRunner(container, "ephemeral", new Map()).run();
        }
      }
      const gates = next.spec?.readinessGates?.length ?? 0;
      if (gates > 0 && !semanticallyEqual(before.status?.conditions, next.status?.conditions)) changed();
    },
    stop(graceSeconds) {
      stopping ??= stop(graceSeconds);
      return stopping;
    },
  };
}

const OWN_CONDITIONS = new Set([
  "PodReadyToStartContainers",
  "Initialized",
  "Ready",
  "ContainersReady",
  "PodScheduled",
]);
