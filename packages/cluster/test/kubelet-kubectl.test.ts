import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { EventEmitter, once, setMaxListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiServer, createGarbageCollector, createServiceAccountController } from "@portolan/apiserver";
import { createApiClient, createEventRecorder, createInformerFactory } from "@portolan/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createImageTable } from "../src/images/index.ts";
import { createKubelet, createLoopbackRuntime } from "../src/kubelet/index.ts";
import { createScheduler } from "../src/scheduler/index.ts";
import {
  createDaemonSetController,
  createDeploymentController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "../src/workloads/index.ts";

const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
EventEmitter.defaultMaxListeners = 50;

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let directory = "";
let kubeconfig = "";
let stop: () => Promise<void> = async () => {};

beforeAll(async () => {
  if (!hasKubectl) return;
  directory = mkdtempSync(join(tmpdir(), "portolan-kubectl-"));
  const server = await createApiServer();
  const listening = await server.listen({ directory });
  kubeconfig = listening.kubeconfigPath;
  const api = createApiClient(server.transport);
  const informers = createInformerFactory(api);
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const events = createEventRecorder({ api, component: "kubelet", host: "node-1" });
  const options = { api, informers, events };
  const kubelet = createKubelet({
    ...options,
    nodeName: "node-1",
    runtime: createLoopbackRuntime({ podCidrs: ["10.244.1.0/24"], nodeAddresses: ["172.18.0.1"] }),
    images: createImageTable(),
    node: { addresses: ["172.18.0.1"], podCidrs: ["10.244.1.0/24"] },
    clusterDns: ["10.96.0.10"],
    runDirectory: directory,
  });
  server.setPodStreams(kubelet.streams);
  const runs = [
    createDeploymentController(options),
    createReplicaSetController(options),
    createStatefulSetController(options),
    createDaemonSetController(options),
    createJobController(options),
    createScheduler(options),
    createGarbageCollector({ api, informers }),
    // Without it there is no kube-root-ca.crt, for which pods wait.
    createServiceAccountController({ ...options, certificateAuthority: listening.certificateAuthority }),
    kubelet,
  ].map((one) => one.run(controller.signal));
  stop = async () => {
    controller.abort();
    await Promise.all(runs);
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  };
}, 30_000);
afterAll(() => stop(), 30_000);

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, KUBECONFIG: kubeconfig, HOME: directory, TERM: "xterm" };
}

function collect(child: ChildProcess): Promise<Outcome> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on("data", (chunk) => out.push(chunk));
  child.stderr?.on("data", (chunk) => err.push(chunk));
  child.stdin?.on("error", () => undefined);
  return new Promise((resolve) => {
    child.on("close", (status) =>
      resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
}

function kubectl(line: string | readonly string[], input?: string): Promise<Outcome> {
  const child = spawn("kubectl", typeof line === "string" ? line.split(" ") : line, { env: environment() });
  const outcome = collect(child);
  child.stdin.end(input ?? "");
  return outcome;
}

/** kubectl on a terminal, which is what its `-t` wants. */
function onTerminal(line: string): { readonly child: ChildProcess; readonly outcome: Promise<Outcome> } {
  const child = spawn("script", ["--quiet", "--return", "--command", `kubectl ${line}`, "/dev/null"], {
    env: environment(),
  });
  return { child, outcome: collect(child) };
}

describe.skipIf(!hasKubectl)(
  `kubectl and a kubelet${hasKubectl ? "" : " (skipped: there is no kubectl on this machine)"}`,
  () => {
    it("creates, waits, scales, rolls out, undoes and deletes a Deployment", async () => {
      expect(await kubectl("create deployment web --image=nginx:1.24 --replicas=2")).toMatchObject({ status: 0 });
      expect((await kubectl("rollout status deployment/web --timeout=20s")).stdout).toContain(
        'deployment "web" successfully rolled out',
      );
      expect((await kubectl("get pods -l app=web")).stdout).toMatch(/web-\S+-\S{5} +1\/1 +Running +0 +\d+s\n/);
      expect(await kubectl("scale deployment web --replicas=3")).toMatchObject({
        status: 0,
        stdout: "deployment.apps/web scaled\n",
      });
      await kubectl("wait --for=jsonpath={.status.readyReplicas}=3 deployment/web --timeout=20s");
      expect((await kubectl("get deployment web")).stdout).toMatch(/web +3\/3 +3 +3 /);
      await kubectl("set image deployment/web nginx=nginx:1.25");
      const rollout = await kubectl("rollout status deployment/web --timeout=30s");
      expect(rollout).toMatchObject({ status: 0 });
      expect((await kubectl("rollout history deployment/web")).stdout).toMatch(/1 +<none>\n2 +<none>\n/);
      expect((await kubectl("rollout undo deployment/web")).stdout).toBe("deployment.apps/web rolled back\n");
      expect((await kubectl("rollout status deployment/web --timeout=30s")).status).toBe(0);
      expect((await kubectl("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}")).stdout).toBe(
        "nginx:1.24",
      );
      const described = await kubectl("describe deployment web");
      expect(described.stdout).toMatch(/ScalingReplicaSet +\S+ +\S+ +Scaled up replica set web-\S+ from 0 to 2/);
      await kubectl("delete deployment web --wait=true");
      await kubectl("wait --for=delete pod -l app=web --timeout=20s");
      expect((await kubectl("get pods -l app=web")).stderr).toContain("No resources found");
    }, 90_000);

    it("shows a StatefulSet's rollout and its history", async () => {
      const manifest = JSON.stringify({
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata: { name: "db" },
        spec: {
          serviceName: "db",
          replicas: 2,
          selector: { matchLabels: { app: "db" } },
          template: {
            metadata: { labels: { app: "db" } },
            spec: { containers: [{ name: "db", image: "mysql:8.0", ports: [{ containerPort: 3306 }] }] },
          },
        },
      });
      expect((await kubectl("apply -f -", manifest)).stdout).toBe("statefulset.apps/db created\n");
      expect((await kubectl("rollout status statefulset/db --timeout=20s")).stdout).toMatch(
        /partitioned roll out complete|statefulset rolling update complete 2 pods|roll out complete/,
      );
      await kubectl("set image statefulset/db db=mysql:8.0.36");
      expect((await kubectl("rollout status statefulset/db --timeout=30s")).stdout).toMatch(
        /partitioned roll out complete: 2 new pods have been updated/,
      );
      expect((await kubectl("rollout history statefulset/db")).stdout).toMatch(/1 +<none>\n2 +<none>\n/);
      expect((await kubectl("rollout undo statefulset/db")).stdout).toBe("statefulset.apps/db rolled back\n");
      expect((await kubectl("rollout status statefulset/db --timeout=30s")).status).toBe(0);
      expect((await kubectl("get pod db-0 -o jsonpath={.spec.containers[0].image}")).stdout).toBe("mysql:8.0");
      await kubectl("delete statefulset db");
    }, 90_000);

    it("runs a pod for one command: --rm -it with a terminal, exit codes", async () => {
      const echo = onTerminal("run once --rm -it --image=busybox --restart=Never -- echo hello from the pod");
      const outcome = await echo.outcome;
      expect(outcome.stdout).toContain("hello from the pod");
      expect(outcome.stdout).toContain('pod "once" deleted');
      expect(outcome.status).toBe(0);
      const failing = await onTerminal("run once --rm -it --image=busybox --restart=Never -- sh -c 'exit 4'").outcome;
      expect(failing.stdout).toContain('pod "once" deleted');
      expect(failing.status).toBe(4);
    }, 60_000);

    it("gives a shell on a terminal: kubectl run -it, and exec -it with the terminal's size", async () => {
      const { child, outcome } = onTerminal("run shell --rm -it --image=busybox --restart=Never -- sh");
      let text = "";
      child.stdout?.on("data", (chunk) => {
        text += chunk;
      });
      const seen = async (pattern: RegExp): Promise<void> => {
        const end = Date.now() + 20_000;
        while (!pattern.test(text)) {
          if (Date.now() > end) throw new Error(`did not see ${pattern} in ${JSON.stringify(text)}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      await seen(/command prompt|[#$] $/);
      child.stdin?.write("echo $((6*7)) is the answer\n");
      await seen(/42 is the answer/);
      child.stdin?.write("exit\n");
      expect((await outcome).stdout).toContain('pod "shell" deleted');
    }, 60_000);

    it("execs, copies files, forwards ports and reads logs", async () => {
      await kubectl("run web --image=nginx --port=80");
      expect((await kubectl("wait --for=condition=Ready pod/web --timeout=20s")).status).toBe(0);
      expect((await kubectl(["exec", "web", "--", "sh", "-c", "exit 3"])).status).toBe(3);
      expect((await kubectl("exec -i web -- cat", "through the pod")).stdout).toBe("through the pod");
      expect((await kubectl("exec web -- false")).status).toBe(1);
      expect((await kubectl("logs web")).stdout).toBe("web listens on TCP port 80\n");
      expect((await kubectl("logs web --previous")).stderr).toMatch(
        /previous terminated container "web" in pod "web" not found/,
      );
      expect((await kubectl("logs web -c other")).stderr).toMatch(/container other is not valid for pod web/);
      const source = join(directory, "source.txt");
      const target = join(directory, "copied.txt");
      const { writeFileSync, readFileSync } = await import("node:fs");
      writeFileSync(source, "to be copied\n".repeat(5_000));
      const there = join(directory, "there.txt");
      expect((await kubectl(`cp ${source} web:${there}`)).stderr).toBe("");
      expect((await kubectl(`cp web:${there} ${target}`)).status).toBe(0);
      expect(readFileSync(target, "utf8") === readFileSync(source, "utf8")).toBe(true);
      const forward = spawn("kubectl", ["port-forward", "pod/web", ":80"], { env: environment() });
      const [line] = (await once(forward.stdout, "data")) as [Buffer];
      const port = /127\.0\.0\.1:(\d+)/.exec(String(line))?.[1];
      expect(await (await fetch(`http://127.0.0.1:${port}/hostname`)).text()).toBe("web");
      forward.kill();
      await once(forward, "close");
      const described = await kubectl("describe pod web");
      expect(described.stdout).toMatch(/Normal +Scheduled .*Successfully assigned default\/web to node-1/);
      expect(described.stdout).toMatch(/Normal +Started .*Started container web/);
      expect((await kubectl("delete pod web")).stdout).toMatch(/^pod "web" deleted/);
    }, 60_000);

    it("follows logs, and shows crash loops and unknown images in the table", async () => {
      await kubectl([
        "run",
        "chatty",
        "--image=busybox",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.2; done",
      ]);
      await kubectl("wait --for=jsonpath={.status.containerStatuses[0].state} pod/chatty --timeout=10s");
      await kubectl("run strange --image=ghcr.io/acme/shop:7");
      const end = Date.now() + 15_000;
      let table = "";
      while (!/strange +0\/1 +(ErrImagePull|ImagePullBackOff)/.test(table) && Date.now() < end)
        table = (await kubectl("get pods")).stdout;
      expect(table).toMatch(/strange +0\/1 +(ErrImagePull|ImagePullBackOff) +0/);
      expect((await kubectl("logs chatty -f")).stdout).toBe("1\n2\n3\n");
      expect((await kubectl("logs strange")).stderr).toMatch(
        /container "strange" in pod "strange" is waiting to start: trying and failing to pull image/,
      );
      await kubectl("delete pod chatty strange");
    }, 60_000);
  },
);
