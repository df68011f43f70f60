import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  eventually,
  findProgram,
  mainProgram,
  modes,
  type Running,
  removeFolders,
  run,
  start,
  temporaryFolder,
} from "./portolan.ts";

const kubectlProgram = findProgram("kubectl");
const missing = !modes.includes("netns") ? "needs Linux and root" : kubectlProgram === undefined ? "needs kubectl" : "";
if (missing !== "") console.log(`skipped: faults under load: ${missing}`);

const replicas = 10;
/** Loops of requests at a time. */
const loops = 4;
const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: rolling, namespace: default }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: rolling } }
  strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 3 } }
  template:
    metadata: { labels: { app: rolling } }
    spec:
      terminationGracePeriodSeconds: 20
      containers:
        - name: web
          image: myapp/api:1.0
          ports: [{ containerPort: 8080 }]
          readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1 }
          lifecycle: { preStop: { exec: { command: [sleep, "2"] } } }
---
apiVersion: v1
kind: Service
metadata: { name: rolling, namespace: default }
spec:
  selector: { app: rolling }
  ports: [{ port: 80, targetPort: 8080 }]
`;

/**
 * Runs in a pod, without an API server in its way: holds connections to a Service and asks over each, one after the other, and asks over new
 * ones all the time. Says in a file how it goes.
 */
const talker = `
  const { Agent, get } = require("node:http");
  const { renameSync, writeFileSync } = require("node:fs");
  const [url, file, held, loops] = process.argv.slice(2);
  const seen = { held: 0, kept: 0, broken: 0, answered: 0, failed: 0, errors: {}, pods: {} };
  const fail = (error) => { seen.errors[error] = (seen.errors[error] ?? 0) + 1; };
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const ask = (agent, onSocket) => new Promise((resolve) => {
    const request = get(url, { agent, timeout: 5000 }, (response) => {
      let text = "";
      response.on("data", (chunk) => { text += chunk; });
      response.on("end", () => resolve(response.statusCode === 200 ? text : undefined));
    });
    request.on("socket", onSocket);
    request.on("timeout", () => request.destroy(new Error("nothing for 5 s")));
    request.on("error", (error) => { fail(error.message); resolve(undefined); });
  });
  async function hold() {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let last; ; await pause(20)) {
      let socket;
      const text = await ask(agent, (used) => { socket = used; });
      if (last === undefined) seen.held++;
      if (text === undefined || (last !== undefined && socket !== last)) seen.broken++;
      else seen.kept++;
      last = socket;
    }
  }
  async function loop() {
    for (;;) {
      const text = await ask(new Agent({ keepAlive: false }), () => {});
      const pod = /^pod: *(\\S+)/m.exec(text ?? "")?.[1];
      if (pod === undefined) seen.failed++;
      else { seen.answered++; seen.pods[pod] = (seen.pods[pod] ?? 0) + 1; }
      await pause(5);
    }
  }
  for (let i = 0; i < +held; i++) void hold();
  for (let i = 0; i < +loops; i++) void loop();
  setInterval(() => {
    writeFileSync(file + ".new", JSON.stringify(seen));
    renameSync(file + ".new", file);
  }, 50);
`;

interface Talk {
  /** Connections that were made to be held. */
  readonly held: number;
  /** Answers over connections that were held. */
  readonly kept: number;
  /** Times that a held connection ended, or did not answer. */
  readonly broken: number;
  /** Answers, and their absence, over new connections. */
  readonly answered: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Answers over new connections by pod. */
  readonly pods: Readonly<Record<string, number>>;
}

/** Processes that have the text in their command line or environment, but for this one. */
function processesWith(text: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return ["cmdline", "environ"].some((file) => readFileSync(`/proc/${pid}/${file}`, "latin1").includes(text));
      } catch {
        // It ended meanwhile.
        return false;
      }
    });
}

/** Kernel's names of the network, mount and process namespaces of processes, but for those of this one. */
function namespacesOf(pids: readonly (number | string)[]): Set<string> {
  const kinds = ["net", "mnt", "pid"];
  const of = (pid: number | string): string[] => {
    try {
      return kinds.map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`));
    } catch {
      return [];
    }
  };
  const own = of("self");
  return new Set(pids.flatMap(of).filter((namespace) => !own.includes(namespace)));
}

/** What a cluster could leave on the machine beside processes: links, named namespaces, mounts. */
async function traces(): Promise<object> {
  const output = async (...argv: [string, ...string[]]): Promise<string> => (await run(argv[0], argv.slice(1))).stdout;
  const links = (await output("ip", "-o", "link")).split("\n").map((line) => line.split(":")[1]);
  return { links, named: await output("ip", "netns"), mounts: readFileSync("/proc/self/mounts", "utf8") };
}

describe.skipIf(missing !== "")("faults under load", () => {
  let cluster: Running;
  let folder: string;
  let environment: NodeJS.ProcessEnv;
  let before: object;

  beforeAll(async () => {
    before = await traces();
    folder = temporaryFolder();
    const directory = join(folder, "run");
    cluster = start(process.execPath, [
      mainProgram,
      ...["--mode", "netns", "--directory", directory, "--api-server", "process"],
    ]);
    await cluster.printed("Ctrl-C ends");
    environment = { ...process.env, KUBECONFIG: join(directory, "kubeconfig"), HOME: folder };
    const applied = await run(kubectlProgram!, ["apply", "-f", "-"], { env: environment, input: manifest });
    expect(applied.code, applied.stderr).toBe(0);
    await kubectl("rollout", "status", "deployment/rolling", "--timeout=60s");
  });

  afterAll(async () => {
    cluster?.child.kill("SIGINT");
    await cluster?.ended;
    removeFolders();
  });

  async function kubectl(...args: string[]): Promise<string> {
    const outcome = await run(kubectlProgram!, args, { env: environment, cwd: folder });
    expect(outcome.code, `kubectl ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
    return outcome.stdout;
  }

  /** Loops of curls in the pod `client`; the function ends it and tells how each request ended, by status code. */
  async function loop(url: string): Promise<() => Promise<Record<string, number>>> {
    const stop = `/tmp/portolan-stop-${process.pid}-${Math.random().toString(36).slice(2)}`;
    const request = `curl -s -o /dev/null -m 5 -w '%{http_code} %{errormsg}\\n' ${url}`;
    const one = `while [ ! -e ${stop} ]; do ${request}; done`;
    const line = `${Array.from({ length: loops }, () => `(${one}) &`).join(" ")} wait; rm -f ${stop}`;
    const running = start(kubectlProgram!, ["exec", "client", "--", "sh", "-c", line], {
      env: environment,
      cwd: folder,
    });
    await running.printed("200");
    return async () => {
      await kubectl("exec", "client", "--", "touch", stop);
      const outcome = await running.ended;
      const counts: Record<string, number> = {};
      for (const text of outcome.stdout.trim().split("\n")) counts[text.trim()] = (counts[text.trim()] ?? 0) + 1;
      return counts;
    };
  }

  const podsOf = async (): Promise<{ name: string; restarts: number; uid: string }[]> => {
    const list = JSON.parse(await kubectl("get", "pods", "-l", "app=rolling", "-o", "json")) as {
      items: {
        metadata: { name: string; uid: string };
        status: { containerStatuses?: { restartCount: number; ready: boolean }[] };
      }[];
    };
    return list.items.map(({ metadata, status }) => ({
      name: metadata.name,
      uid: metadata.uid,
      restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
    }));
  };

  it(`loses no request while a Deployment of ${replicas} replicas is rolled over`, async () => {
    const before = await podsOf();
    const stop = await loop("http://rolling/");
    const began = Date.now();
    await kubectl("rollout", "restart", "deployment/rolling");
    await kubectl("rollout", "status", "deployment/rolling", "--timeout=90s");
    const seconds = (Date.now() - began) / 1000;
    const counts = await stop();
    console.log(
      `rolling update of ${replicas} replicas, ${seconds.toFixed(1)} s: requests by status ${JSON.stringify(counts)}`,
    );
    expect(Object.keys(counts)).toEqual(["200"]);
    await eventually(async () => {
      const after = await podsOf();
      expect(after).toHaveLength(replicas);
      expect(after.filter(({ uid }) => before.some((pod) => pod.uid === uid))).toEqual([]);
    }, 60);
  });

  it("restarts a pod whose process was killed, and sends new requests to it again", async () => {
    const [victim] = await podsOf();
    const stop = await loop("http://rolling/");
    const pids = processesWith(`PORTOLAN_POD_NAME=${victim!.name}\0`);
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await eventually(async () => {
      const now = (await podsOf()).find(({ name }) => name === victim!.name);
      expect(now?.restarts).toBe(1);
      expect(await kubectl("get", "pod", victim!.name, "-o", "jsonpath={.status.containerStatuses[0].ready}")).toBe(
        "true",
      );
    }, 40);
    const counts = await stop();
    console.log(`a pod's process was killed: requests by status ${JSON.stringify(counts)}`);
    // What the process had accepted dies with it, and what came before its absence was known is refused; all else is answered.
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    expect(counts["200"]).toBeGreaterThan(total * 0.9);
    const stopAgain = await loop("http://rolling/");
    await eventually(async () => {
      const ready = JSON.parse(
        await kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=rolling", "-o", "json"),
      );
      const endpoints = ready.items.flatMap(
        (slice: { endpoints: { conditions: { ready: boolean } }[] }) => slice.endpoints,
      );
      expect(
        endpoints.filter((endpoint: { conditions: { ready: boolean } }) => endpoint.conditions.ready),
      ).toHaveLength(replicas);
    });
    expect(Object.keys(await stopAgain())).toEqual(["200"]);
  });

  /** Runs the talker in a pod of its own; `ask` tells how it went since the call before, `end` how it went at all. */
  async function talk(url: string, held: number): Promise<{ ask(): Talk; end(): Promise<Talk> }> {
    const file = join(folder, "talk");
    writeFileSync(`${file}.cjs`, talker);
    const command = [process.execPath, `${file}.cjs`, url, file, String(held), String(loops)];
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "talker", namespace: "default" },
      spec: { restartPolicy: "Never", containers: [{ name: "talker", image: "busybox", command }] },
    };
    const applied = await run(kubectlProgram!, ["apply", "-f", "-"], { env: environment, input: JSON.stringify(pod) });
    expect(applied.code, applied.stderr).toBe(0);
    const read = (): Talk => JSON.parse(readFileSync(file, "utf8")) as Talk;
    await eventually(() => expect(read().held).toBe(held));
    let before = read();
    return {
      ask() {
        const now = read();
        const since = { ...now, pods: { ...now.pods } };
        for (const key of ["kept", "broken", "answered", "failed"] as const) since[key] -= before[key];
        for (const [pod, count] of Object.entries(before.pods)) since.pods[pod]! -= count;
        before = now;
        return since;
      },
      async end() {
        await kubectl("delete", "pod", "talker", "--grace-period=1");
        const all = read();
        rmSync(file);
        return all;
      },
    };
  }

  const slicesOf = async (): Promise<{ generation: number; ready: number }[]> => {
    const list = JSON.parse(
      await kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=rolling", "-o", "json"),
    ) as { items: { metadata: { generation: number }; endpoints: { conditions: { ready: boolean } }[] }[] };
    return list.items.map(({ metadata, endpoints }) => ({
      generation: metadata.generation,
      ready: endpoints.filter(({ conditions }) => conditions.ready).length,
    }));
  };

  const faults = {
    "was stopped for 5 s": async (pid: number) => {
      process.kill(pid, "SIGSTOP");
      await delay(5000);
      process.kill(pid, "SIGCONT");
    },
    "was killed": async (pid: number) => {
      process.kill(pid, "SIGKILL");
      await eventually(() => expect(processesWith(apiServer())).toHaveLength(1));
    },
  };
  const apiServer = (): string => `api-server-program.js\0${join(folder, "run")}\0`;

  for (const [what, happen] of Object.entries(faults)) {
    it(`goes on without the API server, and follows it again when it ${what}`, async () => {
      const pods = await podsOf();
      const slices = await slicesOf();
      expect(slices.reduce((sum, { ready }) => sum + ready, 0)).toBe(replicas);
      const load = await talk("http://rolling/", 20);
      const [pid] = processesWith(apiServer());
      load.ask();
      const began = Date.now();
      await happen(pid!);
      const happened = Date.now();
      await eventually(async () => void (await kubectl("get", "--raw", "/readyz")), 20);
      const ready = Date.now();
      const without = load.ask();
      // Time for everybody to notice that it was away, and for nothing to come of it.
      await delay(3000);
      expect(await podsOf()).toEqual(pods);
      expect(await slicesOf()).toEqual(slices);
      const changed = Date.now();
      await kubectl("scale", "deployment/rolling", `--replicas=${replicas + 1}`);
      await eventually(() => {
        expect(Object.keys(load.ask().pods).length).toBeGreaterThan(replicas);
      }, 30);
      const seen = Date.now();
      await kubectl("scale", "deployment/rolling", `--replicas=${replicas}`);
      await eventually(async () => expect(await podsOf()).toEqual(pods), 30);
      const all = await load.end();
      const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`;
      const answers = Object.values(without.pods).filter((count) => count > 0);
      console.log(
        `the API server ${what}, ready again ${seconds(happened, ready)} later; in these ${seconds(began, ready)}: ` +
          `${without.kept} answers over 20 held connections, ${without.broken} broken; ${without.answered} over new ones ` +
          `from ${answers.length} pods (${Math.min(...answers)} to ${Math.max(...answers)} each), ${without.failed} failed; ` +
          `a change made afterwards was seen after ${seconds(changed, seen)}; in all ${all.kept + all.answered} answers, ${all.broken + all.failed} lost`,
      );
      expect(without.kept).toBeGreaterThan(0);
      expect(answers.length).toBeGreaterThan(replicas / 2);
      expect(all).toMatchObject({ held: 20, broken: 0, failed: 0, errors: {} });
    });
  }

  it("leaves nothing after kill -9, and starts again in the same folder", async () => {
    const directory = join(folder, "run");
    const ours = processesWith(directory);
    expect(ours).toContain(cluster.child.pid);
    const podProcesses = processesWith("PORTOLAN_POD_NAME=rolling");
    const namespaces = namespacesOf([...ours, ...podProcesses]);
    expect(podProcesses.length).toBeGreaterThanOrEqual(replicas);
    expect(namespaces.size).toBeGreaterThan(replicas);
    cluster.child.kill("SIGKILL");
    await cluster.ended;
    await eventually(() => expect(processesWith(directory)).toEqual([]));
    const nothingLeft = async (): Promise<void> => {
      expect(processesWith("PORTOLAN_POD_NAME=rolling").filter((pid) => podProcesses.includes(pid))).toEqual([]);
      const inUse = namespacesOf(readdirSync("/proc").filter((name) => /^\d+$/.test(name)));
      expect([...namespaces].filter((namespace) => inUse.has(namespace))).toEqual([]);
      expect(await traces()).toEqual(before);
    };
    await eventually(nothingLeft);
    cluster = start(process.execPath, [mainProgram, "--mode", "netns", "--directory", directory]);
    await cluster.printed("Ctrl-C ends");
    expect(await kubectl("get", "nodes", "-o", "name")).toContain("node/node1");
    cluster.child.kill("SIGINT");
    const { code } = await cluster.ended;
    expect(code).toBe(0);
    await eventually(() => expect(processesWith(directory)).toEqual([]));
    await eventually(nothingLeft);
    expect(readdirSync(folder).filter((name) => !name.startsWith("talk"))).toEqual([".kube"]);
    console.log(
      `kill -9 of the cluster: ${new Set([...ours, ...podProcesses]).size} processes in ${namespaces.size} namespaces, none left; nor a link, a mount or a file`,
    );
  });
});
