import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
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

it.skipIf(!built)(
  `the process answers from an API behind a Unix socket and ends on SIGTERM${built ? "" : " (skipped: dist/main.js is not built)"}`,
  async () => {
    const api = createMemoryApi();
    api.apply(resources.namespaces, { metadata: { name: "default" } });
    api.apply(resources.services, {
      metadata: { name: "web", namespace: "default" },
      spec: { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] },
    } as never);
    folder = mkdtempSync(join(tmpdir(), "portolan-dns-"));
    const path = join(folder, "api.sock");
    close = await serveApi(api, path);
    child = spawn(process.execPath, [
      program,
      "--api-socket",
      path,
      "--listen",
      "127.0.0.1:0",
      "--domain",
      "cluster.local",
    ]);
    const line = await new Promise<string>((resolve, reject) => {
      let text = "";
      child!.stdout!.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes("\n")) resolve(text);
      });
      child!.stderr!.on("data", (chunk: Buffer) => reject(new Error(chunk.toString())));
      child!.on("exit", (code) => reject(new Error(`ended with ${code}`)));
    });
    const port = Number(/^dns ready on 127\.0\.0\.1:([0-9]+)\n$/.exec(line)?.[1]);
    const reply = await new Promise<Uint8Array>((resolve) => {
      const socket = createSocket("udp4");
      socket.on("message", (message) => {
        socket.close();
        resolve(message);
      });
      const question = { name: nameFromText("web.default.svc.cluster.local."), type: recordTypes.A, class: 1 };
      socket.send(encodeMessage(queryMessage(1, question)), port, "127.0.0.1");
    });
    expect(decodeMessage(reply).answers.map(recordToText)).toEqual([
      "web.default.svc.cluster.local. 30 IN A 10.96.0.7",
    ]);
    const ended = new Promise<number | null>((resolve) => child!.on("exit", resolve));
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  },
  20_000,
);
