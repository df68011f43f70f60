import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { notFoundStatus, type Pod, statusErrorOf } from "@portolan/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import type { PodStreams, RemoteCommandOptions, RemoteCommandStreams } from "../src/pod-streams.ts";
import { createStreamingHandler } from "../src/streaming/index.ts";
import { createSpdyConnection, formatHeaderBlock, parseHeaderBlock } from "../src/streaming/spdy.ts";

const kubectl = spawnSync("kubectl", ["version", "--client"], { encoding: "utf8" });
const hasKubectl = kubectl.status === 0;

const pod: Pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "web", namespace: "default", uid: "u1" },
  spec: { containers: [{ name: "main", image: "nginx", stdin: true, tty: false }], nodeName: "node-1" },
  status: {
    phase: "Running",
    containerStatuses: [{ name: "main", ready: true, restartCount: 0, image: "", imageID: "", state: { running: {} } }],
  },
};

/** Runs commands on this machine in the place of a pod. */
function localStreams(sizes: string[]): PodStreams {
  const run = (command: readonly string[], options: RemoteCommandOptions, streams: RemoteCommandStreams) =>
    new Promise<{ exitCode: number } | { error: string }>((resolve) => {
      const [program = "", ...args] = command;
      const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
      child.on("error", (error) => resolve({ error: error.message }));
      child.stdin.on("error", () => undefined);
      child.stdout.on("data", (chunk) => streams.stdout?.(chunk));
      child.stderr.on("data", (chunk) => streams.stderr?.(chunk));
      child.on("close", (code) => resolve({ exitCode: code ?? 1 }));
      streams.signal.addEventListener("abort", () => child.kill());
      void (async () => {
        for await (const chunk of streams.stdin ?? []) child.stdin.write(chunk);
        child.stdin.end();
      })();
      if (options.tty)
        void (async () => {
          for await (const { width, height } of streams.resize ?? []) sizes.push(`${width}x${height}`);
        })();
    });
  return {
    async *logs() {},
    exec: (_, options, streams) => run(options.command ?? [], options, streams),
    attach: (_, options, streams) => run(["/bin/sh", "-c", "echo attached; cat"], options, streams),
    async portForward(_, port, signal) {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      await once(socket, "connect");
      signal.addEventListener("abort", () => socket.destroy());
      socket.on("error", () => undefined);
      return {
        readable: socket,
        write: (chunk) => void socket.write(chunk),
        end: () => void socket.end(),
      };
    },
  };
}

const sizes: string[] = [];
let server: Server;
let port = 0;
let directory = "";
let refusal: number | undefined;

beforeAll(async () => {
  const streaming = createStreamingHandler({
    podStreams: localStreams(sizes),
    getPod(namespace, name) {
      if (namespace === "default" && name === "web") return pod;
      throw notFoundStatus({ group: "", resource: "pods" }, name);
    },
    authorize() {
      if (refusal !== undefined) {
        throw statusErrorOf(new Error("not for you"));
      }
    },
  });
  // Just enough of an API server for kubectl to find a pod.
  server = createServer((request, response) => {
    const documents: Readonly<Record<string, unknown>> = {
      "/api": { kind: "APIVersions", versions: ["v1"] },
      "/apis": { kind: "APIGroupList", apiVersion: "v1", groups: [] },
      "/version": { major: "1", minor: "36", gitVersion: "v1.36.2" },
      "/api/v1": {
        kind: "APIResourceList",
        groupVersion: "v1",
        resources: [
          { name: "pods", singularName: "pod", namespaced: true, kind: "Pod", verbs: ["get", "list", "watch"] },
        ],
      },
      "/api/v1/namespaces/default/pods/web": pod,
    };
    const document = documents[(request.url ?? "").split("?")[0] ?? ""];
    response.writeHead(document === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(document ?? notFoundStatus({ group: "", resource: "things" }, "x").status));
  });
  server.on("upgrade", streaming);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port;
  directory = mkdtempSync(join(tmpdir(), "portolan-streaming-"));
  writeFileSync(
    join(directory, "config"),
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${port}` } }],
      contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      users: [{ name: "u", user: {} }],
      "current-context": "c",
    }),
  );
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(directory, { recursive: true, force: true });
});

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runKubectl(
  args: readonly string[],
  options: { input?: string | Buffer; spdy?: boolean } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = {
      ...process.env,
      KUBECONFIG: join(directory, "config"),
      HOME: directory,
      ...(options.spdy === true ? { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: "false" } : {}),
    };
    const child = spawn("kubectl", args, { env, stdio: ["pipe", "pipe", "pipe"] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk) => out.push(chunk));
    child.stderr.on("data", (chunk) => err.push(chunk));
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    child.on("close", (status) =>
      resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
}

describe("header blocks", () => {
  it("survive writing and reading", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-z-]{1,20}$/), fc.stringMatching(/^[ -~]{0,40}$/)), (headers) => {
        const map = new Map(Object.entries(headers));
        expect(parseHeaderBlock(formatHeaderBlock(map))).toEqual(map);
      }),
    );
  });
});

describe("SPDY connection", () => {
  it("ends on malformed bytes, whatever they are, and nothing else happens", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 8, maxLength: 200 }), async (bytes) => {
        const transport = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback() });
        const opened: number[] = [];
        const connection = createSpdyConnection(transport, bytes, (stream) => opened.push(stream.id));
        transport.push(null);
        await connection.closed;
        expect(opened).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("WebSocket exec", () => {
  const open = (query: string, protocol = "v5.channel.k8s.io"): WebSocket =>
    new WebSocket(`ws://127.0.0.1:${port}/api/v1/namespaces/default/pods/web/exec?${query}`, protocol);

  async function messages(socket: WebSocket): Promise<Map<number, string>> {
    const channels = new Map<number, string>();
    socket.on("message", (data: Buffer) => {
      channels.set(data[0]!, (channels.get(data[0]!) ?? "") + data.subarray(1).toString());
    });
    await once(socket, "close");
    return channels;
  }

  it("carries output, errors and the exit code on their channels", async () => {
    const socket = open("command=/bin/sh&command=-c&command=echo+out;echo+err+>%262;exit+7&stdout=true&stderr=true");
    const channels = await messages(socket);
    expect(channels.get(1)).toBe("out\n");
    expect(channels.get(2)).toBe("err\n");
    expect(JSON.parse(channels.get(3) ?? "")).toMatchObject({
      status: "Failure",
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: "7" }] },
    });
  });

  it("half-closes standard input in v5, and takes terminal sizes", async () => {
    const socket = open("command=cat&stdin=true&stdout=true&tty=true");
    const done = messages(socket);
    await once(socket, "open");
    socket.send(Buffer.concat([Buffer.from([4]), Buffer.from('{"Width":100,"Height":40}')]));
    socket.send(Buffer.concat([Buffer.from([0]), Buffer.from("typed")]));
    socket.send(Buffer.from([255, 0]));
    const channels = await done;
    expect(channels.get(1)).toBe("typed");
    expect(JSON.parse(channels.get(3) ?? "")).toMatchObject({ status: "Success" });
    expect(sizes).toContain("100x40");
  });

  it("answers what it cannot serve with a Status", async () => {
    const answer = async (query: string, protocol?: string): Promise<string> => {
      const socket = open(query, protocol);
      const [, response] = await once(socket, "unexpected-response");
      let text = "";
      for await (const chunk of response) text += chunk;
      return `${response.statusCode} ${JSON.parse(text).message}`;
    };
    expect(await answer("stdout=true")).toBe("400 you must specify at least one command for the container");
    expect(await answer("command=x")).toBe("400 you must specify at least 1 of stdin, stdout, stderr");
    expect(await answer("command=x&stdout=true&container=other")).toBe("400 container other is not valid for pod web");
    expect(await answer("command=x&stdout=true", "v9.channel.k8s.io")).toMatch(/^400 unable to upgrade/);
    refusal = 500;
    expect(await answer("command=x&stdout=true")).toMatch(/not for you$/);
    refusal = undefined;
  });
});

describe.skipIf(!hasKubectl)(`kubectl${hasKubectl ? "" : " (skipped: there is no kubectl on this machine)"}`, () => {
  for (const spdy of [false, true]) {
    const name = spdy ? "SPDY" : "WebSockets";
    it(`exec over ${name}: output, standard input, exit code, missing program`, async () => {
      const input = Buffer.alloc(300_000, "0123456789abcde\n").toString();
      const copied = await runKubectl(["exec", "-i", "web", "--", "cat"], { input, spdy });
      expect(copied).toMatchObject({ status: 0, stderr: "" });
      expect(copied.stdout === input).toBe(true);
      const failed = await runKubectl(["exec", "web", "-c", "main", "--", "/bin/sh", "-c", "echo no >&2; exit 3"], {
        spdy,
      });
      expect(failed.status).toBe(3);
      expect(failed.stderr).toBe("no\ncommand terminated with exit code 3\n");
      const missing = await runKubectl(["exec", "web", "--", "no-such-program"], { spdy });
      expect(missing.status).toBe(1);
      expect(missing.stderr).toMatch(/error: Internal error occurred: .*no-such-program/);
    }, 30_000);

    it(`attach over ${name}`, async () => {
      const attached = await runKubectl(["attach", "-i", "web"], { input: "typed\n", spdy });
      expect(attached.stdout).toContain("attached\ntyped\n");
      expect(attached.status).toBe(0);
    }, 30_000);

    it(`port-forward over ${name}: several connections, large answers, refused ports`, async () => {
      const target = createServer((request, response) => {
        response.end(request.url === "/big" ? Buffer.alloc(1_000_000, "x") : `you asked for ${request.url}`);
      });
      target.listen(0, "127.0.0.1");
      await once(target, "listening");
      const targetPort = (target.address() as AddressInfo).port;
      const closedPort = await new Promise<number>((resolve) => {
        const probe = createTcpServer().listen(0, "127.0.0.1", () => {
          const free = (probe.address() as AddressInfo).port;
          probe.close(() => resolve(free));
        });
      });
      const env = {
        ...process.env,
        KUBECONFIG: join(directory, "config"),
        HOME: directory,
        ...(spdy ? { KUBECTL_PORT_FORWARD_WEBSOCKETS: "false" } : {}),
      };
      const forward = spawn("kubectl", ["port-forward", "pod/web", `:${targetPort}`, `:${closedPort}`], { env });
      let stderr = "";
      forward.stderr.on("data", (chunk) => {
        stderr += chunk;
      });
      let stdout = "";
      forward.stdout.on("data", (chunk) => {
        stdout += chunk;
      });
      const locals = (): number[] => [...stdout.matchAll(/127\.0\.0\.1:(\d+) ->/g)].map((match) => Number(match[1]));
      while (locals().length < 2 && forward.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
      const [local = 0, refused = 0] = locals();
      const fetchText = (path: string, at = local): Promise<string> =>
        new Promise((resolve, reject) => {
          get({ host: "127.0.0.1", port: at, path, agent: false }, (response) => {
            let text = "";
            response.on("data", (chunk) => {
              text += chunk;
            });
            response.on("end", () => resolve(text));
            response.on("error", reject);
          }).on("error", reject);
        });
      expect(await Promise.all(["/a", "/b"].map((path) => fetchText(path)))).toEqual([
        "you asked for /a",
        "you asked for /b",
      ]);
      expect((await fetchText("/big")).length).toBe(1_000_000);
      await expect(fetchText("/", refused)).rejects.toThrow();
      forward.kill();
      await once(forward, "close");
      expect(stderr).toMatch(/error forwarding port \d+ to pod default\/web, uid u1: .*ECONNREFUSED/);
      target.close();
    }, 30_000);
  }
});
