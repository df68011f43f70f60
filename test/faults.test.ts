import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

describe.skipIf(missing !== "")("faults under load", () => {
  let cluster: Running;
  let folder: string;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    folder = temporaryFolder();
    const directory = join(folder, "run");
    cluster = start(process.execPath, [mainProgram, "--mode", "netns", "--directory", directory]);
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

  it("leaves nothing after kill -9, and starts again in the same folder", async () => {
    const directory = join(folder, "run");
    const ours = processesWith(directory);
    expect(ours).toContain(cluster.child.pid);
    cluster.child.kill("SIGKILL");
    await cluster.ended;
    await eventually(() => expect(processesWith(directory)).toEqual([]));
    expect(ours.filter((pid) => processesWith("PORTOLAN_POD_NAME=rolling").includes(pid))).toEqual([]);
    cluster = start(process.execPath, [mainProgram, "--mode", "netns", "--directory", directory]);
    await cluster.printed("Ctrl-C ends");
    expect(await kubectl("get", "nodes", "-o", "name")).toContain("node/node1");
    cluster.child.kill("SIGINT");
    const { code } = await cluster.ended;
    expect(code).toBe(0);
    console.log(`kill -9 of the cluster: ${ours.length} processes, none left`);
    await eventually(() => expect(processesWith(directory)).toEqual([]));
  });
});
