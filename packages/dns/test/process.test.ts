import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { afterEach, expect, it } from "vitest";
import {
  decodeMessage,
  encodeMessage,
  nameFromText,
  queryMessage,
  recordToText,
  recordTypes,
} from "../src/message/index.ts";
import { serveApi } from "./api-socket.ts";

const program = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const built = existsSync(program);
let child: ChildProcess | undefined;
let close: (() => void) | undefined;
let folder: string | undefined;

afterEach(() => {
  child?.kill("SIGKILL");
  close?.();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** Starts the program over an API with one Service; resolves with its port when it says that it is ready. */
async function start(...words: string[]): Promise<number> {
  const api = createMemoryApi();
  api.apply(resources.namespaces, { metadata: { name: "default" } });
  api.apply(resources.services, {
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] },
  } as never);
  folder = mkdtempSync(join(tmpdir(), "portolan-dns-"));
  const path = join(folder, "api.sock");
  close = await serveApi(api, path);
  child = spawn(process.execPath, [program, "--api-socket", path, "--domain", "cluster.local", ...words]);
  const line = await new Promise<string>((resolve, reject) => {
    let text = "";
    child!.stdout!.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("\n")) resolve(text);
    });
    child!.stderr!.on("data", (chunk: Buffer) => reject(new Error(chunk.toString())));
    child!.on("exit", (code) => reject(new Error(`ended with ${code}`)));
  });
  return Number(/^dns ready on 127\.0\.0\.1:([0-9]+)\n$/.exec(line)?.[1]);
}

async function ask(port: number): Promise<string[]> {
  const reply = await new Promise<Uint8Array>((resolve) => {
    const socket = createSocket("udp4");
    socket.on("message", (message) => {
      socket.close();
      resolve(message);
    });
    const question = { name: nameFromText("web.default.svc.cluster.local."), type: recordTypes.A, class: 1 };
    socket.send(encodeMessage(queryMessage(1, question)), port, "127.0.0.1");
  });
  return decodeMessage(reply).answers.map(recordToText);
}

async function stop(): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => child!.on("exit", resolve));
  child!.kill("SIGTERM");
  return ended;
}

const answer = ["web.default.svc.cluster.local. 30 IN A 10.96.0.7"];

it.skipIf(!built)(
  `the process answers from an API behind a Unix socket and ends on SIGTERM${built ? "" : " (skipped: dist/main.js is not built)"}`,
  async () => {
    expect(await ask(await start("--listen", "127.0.0.1:0"))).toEqual(answer);
    expect(await stop()).toBe(0);
  },
  20_000,
);

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

it.skipIf(!built)(
  `several workers answer on one port, and the first process tells the sum of what they did${built ? "" : " (skipped: dist/main.js is not built)"}`,
  async () => {
    const [listen, metrics] = [await freePort(), await freePort()];
    const port = await start(
      ...["--workers", "2", "--listen", `127.0.0.1:${listen}`, "--metrics", `127.0.0.1:${metrics}`],
    );
    expect(port).toBe(listen);
    for (let turn = 0; turn < 40; turn++) expect(await ask(port)).toEqual(answer);
    const page = async (): Promise<string> => (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    const requests = /^coredns_dns_requests_total\{.*proto="udp".*type="A"\} 40$/m;
    await expect.poll(page, { timeout: 10_000 }).toMatch(requests);
    expect(await page()).toMatch(/^coredns_build_info\{.*\} 1$/m);
    expect(await stop()).toBe(0);
  },
  30_000,
);
