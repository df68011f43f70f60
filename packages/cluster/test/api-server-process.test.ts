import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { PodStreams, RemoteCommandStreams } from "@portolan/apiserver";
import { badRequestStatus, type Pod, resources, type Service, StatusError } from "@portolan/core";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createPodStreamClient } from "../src/api-server/pod-stream-client.ts";
import { type PodStreamServer, servePodStreams } from "../src/api-server/pod-stream-server.ts";
import { startCluster } from "../src/index.ts";

// Processes, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });
const soon = { timeout: 20_000 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "portolan-api-server-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const service = (name: string): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default" },
  spec: { ports: [{ port: 80 }] },
});

describe("an API server in a process of its own", () => {
  it("is waited for when it stops, comes back with its objects when it was killed, and ends with the cluster", async () => {
    const processes = new Set<number>();
    const progress: string[] = [];
    const errors: string[] = [];
    const cluster = await startCluster({
      mode: "none",
      nodes: 1,
      apiServer: "process",
      directory: folder,
      ports: { api: 0, dns: 0, gateway: 0 },
      onProcess: (pid, running) => void (running ? processes.add(pid) : processes.delete(pid)),
      onProgress: (text) => void progress.push(text),
      onError: (error, what) => void errors.push(`${what}: ${error}`),
    });
    const { api, url } = cluster;
    try {
      const kept = await api.create(resources.services, service("kept"));
      const [first] = processes;
      expect([...processes]).toEqual([first]);
      process.kill(first!, "SIGSTOP");
      const answer = api.create(resources.services, service("late"));
      await expect(Promise.race([answer.then(() => "answered"), delay(500, "waits")])).resolves.toBe("waits");
      process.kill(first!, "SIGCONT");
      expect((await answer).spec?.clusterIP).toMatch(/^10\.96\./);

      process.kill(first!, "SIGKILL");
      await vi.waitFor(() => expect(progress.some((text) => text.includes("is back"))).toBe(true), soon);
      expect(errors.some((text) => text.includes("ended: SIGKILL"))).toBe(true);
      expect([...processes]).not.toContain(first);
      const after = await api.get<Service>(resources.services, { namespace: "default", name: "kept" });
      expect(after).toEqual(kept);
      expect(cluster.url).toBe(url);
      // Controllers follow again: a Deployment becomes pods.
      await api.create(resources.deployments, {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name: "web", namespace: "default" },
        spec: {
          replicas: 2,
          selector: { matchLabels: { app: "web" } },
          template: {
            metadata: { labels: { app: "web" } },
            spec: { containers: [{ name: "web", image: "nginx" }] },
          },
        },
      });
      await vi.waitFor(async () => {
        const { items } = await api.list<Pod>(resources.pods, { namespace: "default" });
        expect(items.filter(({ status }) => status?.phase === "Running")).toHaveLength(2);
      }, soon);
    } finally {
      for (const pid of processes) process.kill(pid, "SIGSTOP");
      await cluster.close();
    }
    expect([...processes]).toEqual([]);
    expect(readdirSync(folder)).toEqual(["api-server"]);
  });

  it("says that its port is taken", async () => {
    const options = { mode: "none", nodes: 1, apiServer: "process" } as const;
    const ports = { api: 0, dns: 0, gateway: 0 };
    const one = await startCluster({ ...options, directory: join(folder, "1"), ports });
    try {
      const api = Number(new URL(one.url).port);
      const other = startCluster({ ...options, directory: join(folder, "2"), ports: { ...ports, api } });
      await expect(other).rejects.toThrow("EADDRINUSE");
    } finally {
      await one.close();
    }
  });
});

describe("streams of pods, for an API server in another process", () => {
  const pod: Pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "pod", namespace: "default" } };
  const chunk = new Uint8Array(60_000).fill(7);
  let ended: string[];
  let server: PodStreamServer;
  let client: PodStreams;

  const never = new Promise<never>(() => {});
  const echo: PodStreams = {
    async *logs(_, options, signal) {
      if (options.container === "nope") throw badRequestStatus("container nope is not valid for pod pod");
      signal.addEventListener("abort", () => ended.push("logs"));
      for (let i = 0; i < 100; i++) yield chunk;
      if (options.follow === true)
        await Promise.race([never, new Promise((done) => signal.addEventListener("abort", done))]);
    },
    async exec(_, options, streams) {
      streams.signal.addEventListener("abort", () => ended.push("exec"));
      streams.stderr?.(Buffer.from(options.command?.join(" ") ?? ""));
      void (async () => {
        for await (const { width, height } of streams.resize ?? []) ended.push(`${width}x${height}`);
      })();
      for await (const typed of streams.stdin ?? []) streams.stdout?.(typed);
      return { exitCode: 3 };
    },
    attach: async () => ({ error: "container is not running" }),
    async portForward(_, port) {
      if (port !== 80) throw new Error(`nothing listens on ${port}`);
      const pipe = new PassThrough();
      return { readable: pipe, write: (bytes) => void pipe.write(bytes), end: () => void pipe.end("bye") };
    },
  };

  beforeEach(async () => {
    ended = [];
    server = await servePodStreams(join(folder, "pods.sock"), echo);
    client = createPodStreamClient(join(folder, "pods.sock"));
  });
  afterEach(() => server.close());

  const live = (): AbortSignal => new AbortController().signal;
  async function* typed(...texts: string[]): AsyncGenerator<Uint8Array> {
    for (const text of texts) yield Buffer.from(text);
  }
  const heard = (rest: Partial<RemoteCommandStreams>) => {
    const out: Uint8Array[] = [];
    const err: Uint8Array[] = [];
    const streams: RemoteCommandStreams = {
      stdout: (bytes) => void out.push(bytes),
      stderr: (bytes) => void err.push(bytes),
      signal: live(),
      ...rest,
    };
    return { streams, out: () => Buffer.concat(out), err: () => Buffer.concat(err).toString() };
  };

  it("carry a command's streams, sizes and exit code", async () => {
    async function* sizes() {
      yield { width: 80, height: 24 };
      yield { width: 100, height: 30 };
    }
    const { streams, out, err } = heard({ stdin: typed("a", "bc", "x".repeat(1_000_000)), resize: sizes() });
    expect(await client.exec(pod, { command: ["sh", "-c", "ü"], tty: true }, streams)).toEqual({ exitCode: 3 });
    expect(out().toString()).toBe(`abc${"x".repeat(1_000_000)}`);
    expect(err()).toBe("sh -c ü");
    expect(ended.slice(0, 2)).toEqual(["80x24", "100x30"]);
    expect(await client.attach(pod, { tty: false }, heard({}).streams)).toEqual({ error: "container is not running" });
  });

  it("tell the pod's side when the client goes", async () => {
    const gone = new AbortController();
    const { streams, err } = heard({ stdin: new PassThrough(), signal: gone.signal });
    const result = client.exec(pod, { command: ["wait"], tty: false }, streams);
    await vi.waitFor(() => expect(err()).toBe("wait"));
    gone.abort();
    expect(await result).toHaveProperty("error");
    await vi.waitFor(() => expect(ended).toContain("exec"));
  });

  it("carry logs to their end, or until nobody reads on", async () => {
    let octets = 0;
    for await (const part of client.logs(pod, {}, live())) octets += part.length;
    expect(octets).toBe(100 * chunk.length);
    ended.length = 0;
    for await (const part of client.logs(pod, { follow: true }, live())) {
      expect(part.length).toBeGreaterThan(0);
      break;
    }
    await vi.waitFor(() => expect(ended).toEqual(["logs"]));
    const refused = client.logs(pod, { container: "nope" }, live())[Symbol.asyncIterator]();
    await expect(refused.next()).rejects.toThrow(StatusError);
  });

  it("carry both directions of a port, each to its own end", async () => {
    await expect(client.portForward(pod, 81, live())).rejects.toThrow("nothing listens on 81");
    const connection = await client.portForward(pod, 80, live());
    connection.write(Buffer.from("hello "));
    connection.end();
    const parts: Uint8Array[] = [];
    for await (const part of connection.readable) parts.push(part);
    expect(Buffer.concat(parts).toString()).toBe("hello bye");
  });

  it("fail when nobody serves them", async () => {
    await server.close();
    await expect(client.portForward(pod, 80, live())).rejects.toThrow("ENOENT");
    server = await servePodStreams(join(folder, "pods.sock"), echo);
  });
});
