import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { promisify } from "node:util";
import { createApiClient } from "@portolan/client";
import { createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { afterEach, describe, expect, it } from "vitest";
import { type DnsServer, startDnsServer } from "../src/index.ts";
import {
  createFrameDecoder,
  decodeMessage,
  encodeMessage,
  frameMessage,
  type Message,
  nameFromText,
  queryMessage,
  recordToText,
  recordTypes,
} from "../src/message/index.ts";

const open: DnsServer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});

function udp(port: number, query: Uint8Array, timeout = 2000): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const timer = setTimeout(() => {
      socket.close();
      resolve(undefined);
    }, timeout);
    socket.on("message", (reply) => {
      clearTimeout(timer);
      socket.close();
      resolve(reply);
    });
    socket.on("error", reject);
    socket.send(query, port, "127.0.0.1");
  });
}

function tcp(port: number, chunks: Uint8Array[], count: number): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const decoder = createFrameDecoder();
    const replies: Uint8Array[] = [];
    socket.on("data", (chunk) => {
      replies.push(...decoder.push(chunk));
      if (replies.length >= count) socket.end();
    });
    socket.on("close", () => resolve(replies));
    socket.on("error", reject);
    for (const chunk of chunks) socket.write(chunk);
  });
}

function query(name: string, type: number, id = 7): Uint8Array {
  return encodeMessage(queryMessage(id, { name: nameFromText(name), type, class: 1 }));
}

const texts = (message: Message): string[] => message.answers.map(recordToText);

async function cluster(): Promise<{ server: DnsServer; port: number; api: ReturnType<typeof createMemoryApi> }> {
  const api = createMemoryApi();
  api.apply(resources.namespaces, { kind: "Namespace", apiVersion: "v1", metadata: { name: "default" } });
  api.apply(resources.services, {
    kind: "Service",
    apiVersion: "v1",
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIP: "10.96.0.7", clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80, protocol: "TCP" }] },
  } as never);
  const server = await startDnsServer({
    api: createApiClient(api.transport),
    listen: [{ host: "127.0.0.1", port: 0 }],
  });
  open.push(server);
  await server.ready;
  return { server, port: server.addresses[0]!.port, api };
}

describe("a server that watches an API", () => {
  it("answers cluster names over UDP and TCP", async () => {
    const { port } = await cluster();
    const reply = decodeMessage((await udp(port, query("web.default.svc.cluster.local.", recordTypes.A)))!);
    expect(texts(reply)).toEqual(["web.default.svc.cluster.local. 30 IN A 10.96.0.7"]);
    const [over] = await tcp(
      port,
      [frameMessage(query("_http._tcp.web.default.svc.cluster.local.", recordTypes.SRV))],
      1,
    );
    expect(texts(decodeMessage(over!))).toEqual([
      "_http._tcp.web.default.svc.cluster.local. 30 IN SRV 0 100 80 web.default.svc.cluster.local.",
    ]);
  });

  it("answers for a Service as soon as it is made and no longer when it is gone", async () => {
    const { server, port, api } = await cluster();
    const ask = async (): Promise<number> =>
      decodeMessage((await udp(port, query("late.default.svc.cluster.local.", recordTypes.A)))!).rcode;
    expect(await ask()).toBe(3);
    api.apply(resources.services, {
      kind: "Service",
      apiVersion: "v1",
      metadata: { name: "late", namespace: "default" },
      spec: { clusterIP: "10.96.0.8", clusterIPs: ["10.96.0.8"], ports: [{ port: 80 }] },
    } as never);
    await expect.poll(ask, { timeout: 2000 }).toBe(0);
    api.remove(resources.services, "late", "default");
    await expect.poll(ask, { timeout: 2000 }).toBe(3);
    expect(server.unready()).toEqual([]);
  });

  it("answers twenty queries of one TCP stream, cut anywhere", async () => {
    const { port } = await cluster();
    const all = Array.from({ length: 20 }, (_, index) =>
      frameMessage(query("web.default.svc.cluster.local.", recordTypes.A, index)),
    );
    const stream = Buffer.concat(all);
    const chunks = [stream.subarray(0, 1), stream.subarray(1, 50), stream.subarray(50, 333), stream.subarray(333)];
    const replies = await tcp(port, chunks, 20);
    expect(replies.map((reply) => decodeMessage(reply).id)).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  it("counts queries under CoreDNS's names", async () => {
    const { server, port } = await cluster();
    await udp(port, query("web.default.svc.cluster.local.", recordTypes.A));
    expect(server.metrics()).toContain(
      'coredns_dns_requests_total{server="dns://:53",zone="cluster.local.",view="",proto="udp",family="1",type="A"} 1',
    );
    expect(server.metrics()).toContain('rcode="NOERROR",plugin="kubernetes"} 1');
  });
});

describe("real clients", () => {
  const dig = "/usr/bin/dig";
  it.skipIf(!existsSync(dig))(`dig${existsSync(dig) ? "" : " (skipped: dig is not installed)"}`, async () => {
    const { port } = await cluster();
    const run = async (...words: string[]): Promise<string> =>
      (await promisify(execFile)(dig, ["-p", String(port), "@127.0.0.1", "+tries=1", ...words])).stdout.trim();
    expect(await run("+short", "web.default.svc.cluster.local")).toBe("10.96.0.7");
    expect(await run("+short", "+tcp", "SRV", "_http._tcp.web.default.svc.cluster.local")).toBe(
      "0 100 80 web.default.svc.cluster.local.",
    );
    expect(await run("+short", "-x", "10.96.0.7")).toBe("web.default.svc.cluster.local.");
    const missing = await run("nothing.default.svc.cluster.local");
    expect(missing).toContain("status: NXDOMAIN");
    expect(missing).not.toMatch(/malformed|unexpected|extra bytes|bad packet/i);
  });
});
