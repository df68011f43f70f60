import { setMaxListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInformerFactory } from "@portolan/client";
import { type Container, type Pod, type PodSpec, resources, type Service } from "@portolan/core";
import { afterEach, describe, expect, it } from "vitest";
import { createImageTable } from "../src/images/index.ts";
import { createKubelet, createLoopbackRuntime } from "../src/kubelet/index.ts";
import { createMemoryKubernetes, eventually } from "./memory-kubernetes.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function start() {
  const api = createMemoryKubernetes();
  const informers = createInformerFactory(api);
  const runDirectory = mkdtempSync(join(tmpdir(), "portolan-kubelet-"));
  const runtime = createLoopbackRuntime({ podCidrs: ["10.244.1.0/24"], nodeAddresses: ["172.18.0.1"] });
  const events: string[] = [];
  const kubelet = createKubelet({
    api,
    nodeName: "node-1",
    runtime,
    images: createImageTable({ images: { "crash/*": ["/bin/sh", "-c", "echo about to fail; exit 3"] } }),
    informers,
    node: { addresses: ["172.18.0.1"], podCidrs: ["10.244.1.0/24"] },
    clusterDns: ["10.96.0.10"],
    runDirectory,
    restartTimes: { initialBackoff: 100, maximumBackoff: 400 },
    events: { event: (_, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
  });
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const run = kubelet.run(controller.signal);
  stops.push(async () => {
    controller.abort();
    await run;
    rmSync(runDirectory, { recursive: true, force: true });
  });
  const create = (name: string, container: Omit<Container, "name">, spec: Partial<PodSpec> = {}): Promise<Pod> =>
    api.create<Pod>(resources.pods, {
      metadata: { name, namespace: "default", labels: { app: name } },
      spec: { nodeName: "node-1", containers: [{ name: "main", ...container }], ...spec },
    });
  const pod = (name: string): Pod | undefined =>
    api.objects<Pod>(resources.pods).find(({ metadata }) => metadata.name === name);
  const isReady = (name: string): boolean =>
    pod(name)?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;
  const logs = async (name: string, options = {}): Promise<string> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of kubelet.streams.logs(pod(name)!, options, new AbortController().signal))
      chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };
  return { api, kubelet, runtime, events, create, pod, isReady, logs };
}

function fetchText(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, path }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

const until = (condition: () => boolean, of: () => unknown): Promise<void> =>
  eventually(condition, () => JSON.stringify(of()));

describe("kubelet on loopback", () => {
  it("registers its node with a Ready condition, and renews a lease", async () => {
    const { api } = start();
    await until(
      () => api.objects(resources.nodes).length === 1 && api.objects(resources.leases).length === 1,
      () => api.objects(resources.nodes),
    );
    const [node] = api.objects(resources.nodes);
    expect(node?.spec).toMatchObject({ podCIDR: "10.244.1.0/24" });
    expect(node?.status?.["conditions"]).toContainEqual(
      expect.objectContaining({ type: "Ready", status: "True", reason: "KubeletReady" }),
    );
  });

  it("runs nginx as a responder: address, Ready, answers, ends on deletion", async () => {
    const { api, runtime, create, pod, isReady, events } = start();
    await create("web", { image: "nginx:1.24" });
    await until(
      () => isReady("web"),
      () => pod("web"),
    );
    const status = pod("web")?.status;
    expect(status).toMatchObject({
      phase: "Running",
      podIP: "10.244.1.2",
      hostIP: "172.18.0.1",
      qosClass: "BestEffort",
    });
    expect(status?.containerStatuses?.[0]).toMatchObject({
      name: "main",
      ready: true,
      restartCount: 0,
      image: "nginx:1.24",
    });
    const port = runtime.locate("10.244.1.2", 80)?.port ?? 0;
    expect(await fetchText(port, "/hostname")).toBe("web");
    expect(await fetchText(port, "/")).toMatch(/pod: +web\n.*node: +node-1\n.*address: +10\.244\.1\.2/s);
    expect(events).toEqual(
      expect.arrayContaining([
        'Normal Pulled Container image "nginx:1.24" already present on machine',
        "Normal Created Created container: main",
        "Normal Started Started container main",
      ]),
    );
    await api.delete(resources.pods, { name: "web", namespace: "default" });
    await until(
      () => pod("web") === undefined,
      () => pod("web"),
    );
    expect(events).toContain("Normal Killing Stopping container main");
    expect(runtime.locate("10.244.1.2", 80)).toBeUndefined();
    await expect(fetchText(port, "/")).rejects.toThrow(/ECONNREFUSED/);
  });

  it("gives containers the variables of Services, ConfigMaps, Secrets, fields and other variables", async () => {
    const { api, create, pod, logs } = start();
    await api.create<Service>(resources.services, {
      metadata: { name: "web-service", namespace: "default" },
      spec: { clusterIP: "10.96.45.123", ports: [{ port: 80, protocol: "TCP" }] },
    });
    await api.create(resources.configMaps, {
      metadata: { name: "settings", namespace: "default" },
      data: { MODE: "test" },
    } as never);
    await api.create(resources.secrets, {
      metadata: { name: "keys", namespace: "default" },
      data: { token: Buffer.from("s3cret").toString("base64") },
    } as never);
    await create(
      "show",
      {
        image: "busybox",
        command: ["env"],
        envFrom: [{ configMapRef: { name: "settings" } }],
        env: [
          { name: "TOKEN", valueFrom: { secretKeyRef: { name: "keys", key: "token" } } },
          { name: "ADDRESS", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
          { name: "URL", value: "http://$(WEB_SERVICE_SERVICE_HOST):$(WEB_SERVICE_SERVICE_PORT)/$$(X)" },
        ],
      },
      { restartPolicy: "Never" },
    );
    await until(
      () => pod("show")?.status?.phase === "Succeeded",
      () => pod("show"),
    );
    const text = await logs("show");
    for (const line of [
      "WEB_SERVICE_PORT_80_TCP_ADDR=10.96.45.123",
      "MODE=test",
      "TOKEN=s3cret",
      "ADDRESS=10.244.1.2",
      "URL=http://10.96.45.123:80/$(X)",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text.match(/^WEB_SERVICE_/gm)).toHaveLength(7);
    expect(pod("show")?.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({
      exitCode: 0,
      reason: "Completed",
    });
    expect(pod("show")?.status?.conditions?.find(({ type }) => type === "Ready")?.reason).toBe("PodCompleted");
  });

  it("restarts what fails, waits longer each time, and keeps the log of the run before", async () => {
    const { create, pod, logs, events } = start();
    await create("crash", { image: "crash/me" });
    await until(
      () => (pod("crash")?.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 2,
      () => pod("crash"),
    );
    await until(
      () => pod("crash")?.status?.containerStatuses?.[0]?.state?.waiting?.reason === "CrashLoopBackOff",
      () => pod("crash"),
    );
    const status = pod("crash")?.status?.containerStatuses?.[0];
    expect(status?.lastState?.terminated).toMatchObject({ exitCode: 3, reason: "Error" });
    expect(status?.state?.waiting?.message).toMatch(
      /^back-off \d+s restarting failed container=main pod=crash_default\(/,
    );
    expect(
      events.some((event) =>
        event.startsWith("Warning BackOff Back-off restarting failed container main in pod crash_default"),
      ),
    ).toBe(true);
    expect(await logs("crash", { previous: true })).toBe("about to fail\n");
    expect(pod("crash")?.status?.phase).toBe("Running");
  });

  it("says how to map an image that it does not know", async () => {
    const { create, pod, events } = start();
    await create("strange", { image: "ghcr.io/acme/shop:7" });
    await until(
      () =>
        /ErrImagePull|ImagePullBackOff/.test(
          pod("strange")?.status?.containerStatuses?.[0]?.state?.waiting?.reason ?? "",
        ),
      () => pod("strange"),
    );
    expect(pod("strange")?.status?.containerStatuses?.[0]?.state?.waiting?.message).toContain(
      'createImageTable({ images: { "ghcr.io/acme/shop"',
    );
    expect(events.some((event) => event.startsWith('Warning Failed Failed to pull image "ghcr.io/acme/shop:7"'))).toBe(
      true,
    );
    expect(pod("strange")?.status?.phase).toBe("Pending");
  });

  it("probes: ready by HTTP, unready and back, restarted by a failing liveness probe", async () => {
    const { runtime, create, pod, isReady, events } = start();
    const probe = { httpGet: { path: "/healthz", port: "http" }, periodSeconds: 1, failureThreshold: 1 };
    await create("web", {
      image: "nginx",
      ports: [{ name: "http", containerPort: 8080 }],
      readinessProbe: probe,
      livenessProbe: { ...probe, failureThreshold: 3 },
    });
    await until(
      () => isReady("web"),
      () => pod("web"),
    );
    const port = (): number => runtime.locate(pod("web")?.status?.podIP ?? "", 8080)?.port ?? 0;
    await fetch(`http://127.0.0.1:${port()}/healthz?status=503`, { method: "POST" });
    await until(
      () => !isReady("web"),
      () => pod("web"),
    );
    expect(events).toContain("Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 503");
    await until(
      () => pod("web")?.status?.containerStatuses?.[0]?.restartCount === 1 && isReady("web"),
      () => pod("web"),
    );
    expect(events).toContain("Normal Killing Container main failed liveness probe, will be restarted");
  }, 20_000);

  it("runs init containers in order before the others, sidecars beside them", async () => {
    const { create, pod, logs } = start();
    const script = (text: string): string[] => ["/bin/sh", "-c", text];
    await create(
      "job",
      { image: "busybox", command: script("echo main") },
      {
        restartPolicy: "Never",
        initContainers: [
          { name: "first", image: "busybox", command: script("echo one") },
          {
            name: "beside",
            image: "busybox",
            restartPolicy: "Always",
            command: script("trap 'exit 0' TERM; sleep 100 & wait"),
          },
          { name: "second", image: "busybox", command: script("echo two") },
        ],
      },
    );
    await until(
      () => pod("job")?.status?.phase === "Succeeded",
      () => pod("job")?.status,
    );
    expect(await logs("job")).toBe("main\n");
    expect(await logs("job", { container: "second" })).toBe("two\n");
    const states = pod("job")?.status?.initContainerStatuses?.map(({ name, state }) => [
      name,
      state?.terminated?.reason,
    ]);
    expect(states?.slice(0, 1)).toEqual([["first", "Completed"]]);
  });

  it("ends a program gracefully, and by force after the grace period", async () => {
    const { api, create, pod, isReady, logs } = start();
    const script = (text: string): string[] => ["/bin/sh", "-c", text];
    await create(
      "deaf",
      { image: "busybox", command: script("trap '' TERM; while :; do sleep 0.05; done") },
      { terminationGracePeriodSeconds: 1 },
    );
    await create("kind", {
      image: "busybox",
      command: script("trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done"),
      lifecycle: { preStop: { exec: { command: script("echo hook > /dev/null") } } },
    });
    await until(
      () => isReady("deaf") && isReady("kind"),
      () => [pod("deaf"), pod("kind")],
    );
    const following = logs("kind", { follow: true });
    await until(
      () => true,
      () => "",
    );
    await api.delete(resources.pods, { name: "kind", namespace: "default" });
    await api.delete(resources.pods, { name: "deaf", namespace: "default" });
    expect(await following).toBe("hello\nbye\n");
    await until(
      () => pod("kind") === undefined && pod("deaf") === undefined,
      () => [pod("kind"), pod("deaf")],
    );
  }, 20_000);

  it("serves exec with input and exit code, and port-forward", async () => {
    const { kubelet, create, pod, isReady } = start();
    await create("web", { image: "nginx" });
    await until(
      () => isReady("web"),
      () => pod("web"),
    );
    const output: string[] = [];
    const result = await kubelet.streams.exec(
      pod("web")!,
      { command: ["/bin/sh", "-c", "cat; echo oops >&2; exit 7"], tty: false },
      {
        stdin: (async function* () {
          yield Buffer.from("typed\n");
        })(),
        stdout: (chunk) => output.push(`out ${Buffer.from(chunk)}`),
        stderr: (chunk) => output.push(`err ${Buffer.from(chunk)}`),
        signal: new AbortController().signal,
      },
    );
    expect(result).toEqual({ exitCode: 7 });
    expect(output.sort()).toEqual(["err oops\n", "out typed\n"]);
    const missing = await kubelet.streams.exec(
      pod("web")!,
      { command: ["no-such-program"], tty: false },
      { signal: new AbortController().signal },
    );
    expect(missing).toEqual({ error: 'exec: "no-such-program": executable file not found in $PATH' });
    const connection = await kubelet.streams.portForward(pod("web")!, 80, new AbortController().signal);
    connection.write(Buffer.from("GET /hostname HTTP/1.0\r\n\r\n"));
    let text = "";
    for await (const chunk of connection.readable) text += Buffer.from(chunk).toString();
    expect(text).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\nweb$/);
  });

  it("gives exec a terminal of the size that the client has, and attach the program's own input", async () => {
    const { kubelet, create, pod, isReady } = start();
    await create(
      "shell",
      { image: "busybox", command: ["/bin/sh"], stdin: true, stdinOnce: true },
      { restartPolicy: "Never" },
    );
    await until(
      () => isReady("shell"),
      () => pod("shell"),
    );
    let text = "";
    const result = await kubelet.streams.exec(
      pod("shell")!,
      { command: ["/bin/sh", "-c", "test -t 0 && test -t 1 && sleep 0.4 && stty size"], tty: true },
      {
        stdin: (async function* () {
          await new Promise((resolve) => setTimeout(resolve, 1_000));
          yield new Uint8Array(0);
        })(),
        resize: (async function* () {
          yield { width: 101, height: 37 };
        })(),
        stdout: (chunk) => {
          text += Buffer.from(chunk).toString();
        },
        signal: new AbortController().signal,
      },
    );
    expect(result).toEqual({ exitCode: 0 });
    expect(text).toBe("37 101\r\n");
    let attached = "";
    const ended = await kubelet.streams.attach(
      pod("shell")!,
      { tty: false },
      {
        stdin: (async function* () {
          yield Buffer.from("echo from the shell; exit 5\n");
        })(),
        stdout: (chunk) => {
          attached += Buffer.from(chunk).toString();
        },
        signal: new AbortController().signal,
      },
    );
    expect(ended).toEqual({ exitCode: 0 });
    expect(attached).toBe("from the shell\n");
    await until(
      () => pod("shell")?.status?.phase === "Failed",
      () => pod("shell"),
    );
  });
});
