import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
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
import { createAuthoritativeServer, readMasterFile } from "../src/testing/index.ts";

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
    limits: { idleTimeout: 500 },
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

describe("a server under attack", () => {
  it("answers the next good query after every broken one", async () => {
    const { port } = await cluster();
    const good = query("web.default.svc.cluster.local.", recordTypes.A);
    const broken: Uint8Array[] = [new Uint8Array(0), good.subarray(0, 11), good.subarray(0, 20), new Uint8Array(600)];
    for (let bit = 16; bit < good.length * 8; bit += 7) {
      const octets = good.slice();
      octets[bit >> 3]! ^= 1 << (bit & 7);
      broken.push(octets);
    }
    const socket = createSocket("udp4");
    for (const octets of broken) socket.send(octets, port, "127.0.0.1");
    expect(texts(decodeMessage((await udp(port, good))!))).toHaveLength(1);
    socket.close();
  });

  it("closes a TCP connection that speaks something else, and goes on serving others", async () => {
    const { port } = await cluster();
    expect(await tcp(port, [Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")], 1)).toEqual([]);
    expect(await tcp(port, [frameMessage(query("web.default.svc.cluster.local.", recordTypes.A))], 1)).toHaveLength(1);
  });

  it("never answers a response", async () => {
    const { port } = await cluster();
    const octets = query("web.default.svc.cluster.local.", recordTypes.A);
    octets[2]! |= 0x80;
    expect(await udp(port, octets, 300)).toBeUndefined();
  });
});

describe("a server with an upstream", () => {
  const zoneFile = `$ORIGIN example.test.
@ 300 SOA ns1 hostmaster 1 3600 600 86400 60
www 300 A 192.0.2.80
many 300 TXT "${"a".repeat(250)}" "${"b".repeat(250)}" "${"c".repeat(250)}" "${"d".repeat(250)}" "${"e".repeat(250)}" "${"f".repeat(250)}"
`;

  it("forwards other names, follows ExternalName there, and gives large answers by TCP", async () => {
    const authority = createAuthoritativeServer(readMasterFile(zoneFile));
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    const { port: upstream } = socket.address();
    socket.on("message", (message, client) =>
      socket.send(authority.answer(message, "udp"), client.port, client.address),
    );
    const stream = createServer((connection) => {
      const decoder = createFrameDecoder();
      connection.on("data", (chunk) => {
        for (const message of decoder.push(chunk)) connection.write(frameMessage(authority.answer(message, "tcp")));
      });
      connection.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => stream.listen(upstream, "127.0.0.1", resolve));
    try {
      const { api } = await cluster();
      api.apply(resources.services, {
        metadata: { name: "away", namespace: "default" },
        spec: { type: "ExternalName", externalName: "www.example.test" },
      } as never);
      api.apply(resources.services, {
        metadata: { name: "gone", namespace: "default" },
        spec: { type: "ExternalName", externalName: "nothing.example.test" },
      } as never);
      const server = await startDnsServer({
        api: createApiClient(api.transport),
        listen: [{ host: "127.0.0.1", port: 0 }],
        upstreams: [`127.0.0.1:${upstream}`],
      });
      open.push(server);
      await server.ready;
      const { port } = server.addresses[0]!;
      const ask = async (name: string): Promise<Message> =>
        decodeMessage((await udp(port, query(name, recordTypes.A)))!);
      expect(texts(await ask("www.example.test."))).toEqual(["www.example.test. 30 IN A 192.0.2.80"]);
      expect(texts(await ask("away.default.svc.cluster.local."))).toEqual([
        "away.default.svc.cluster.local. 30 IN CNAME www.example.test.",
        "www.example.test. 30 IN A 192.0.2.80",
      ]);
      const gone = await ask("gone.default.svc.cluster.local.");
      expect([gone.rcode, gone.answers.length]).toEqual([3, 1]);
      const short = decodeMessage((await udp(port, query("many.example.test.", recordTypes.TXT)))!);
      expect(short.truncated).toBe(true);
      const [whole] = await tcp(port, [frameMessage(query("many.example.test.", recordTypes.TXT))], 1);
      expect(decodeMessage(whole!)).toMatchObject({ truncated: false, answers: [{ type: recordTypes.TXT }] });
      expect(server.metrics()).toContain(
        `coredns_proxy_request_duration_seconds_count{proxy_name="forward",to="127.0.0.1:${upstream}",rcode="NOERROR"}`,
      );
    } finally {
      socket.close();
      stream.close();
    }
  });
});

describe("a server with a Corefile", () => {
  const corefile = (ttl: number): string => `.:53 {
    errors
    health 127.0.0.1:0 {
      lameduck 300ms
    }
    ready 127.0.0.1:0
    prometheus 127.0.0.1:0
    kubernetes cluster.local in-addr.arpa {
      ttl ${ttl}
    }
    transfer {
      to *
    }
  }`;

  it("has health, readiness and metrics, and is not ready while it shuts down", async () => {
    const { api } = await cluster();
    const server = await startDnsServer({
      api: createApiClient(api.transport),
      corefile: corefile(7),
      listen: [{ host: "127.0.0.1", port: 0 }],
    });
    open.push(server);
    const page = async (name: string): Promise<[number, string]> => {
      const { port } = server.endpoints.find((endpoint) => endpoint.name === name)!;
      const response = await fetch(`http://127.0.0.1:${port}/${name}`);
      return [response.status, await response.text()];
    };
    expect(await page("health")).toEqual([200, "OK"]);
    expect(await page("ready")).toEqual([200, "OK"]);
    const metrics = (await page("metrics"))[1];
    expect(metrics).toContain("coredns_build_info");
    for (const name of ["errors", "health", "kubernetes"])
      expect(metrics).toContain(`coredns_plugin_enabled{server="dns://:53",zone=".",view="",name="${name}"} 1`);
    expect(metrics).toMatch(/coredns_reload_version_info\{hash="sha512",value="[0-9a-f]{128}"\} 1/);
    const closed = server.close();
    expect((await page("ready"))[0]).toBe(503);
    const { port } = server.addresses[0]!;
    expect(await udp(port, query("web.default.svc.cluster.local.", recordTypes.A))).toBeDefined();
    await closed;
    expect(await udp(port, query("web.default.svc.cluster.local.", recordTypes.A), 200)).toBeUndefined();
  });

  it("takes another one while it runs, and keeps the old one when the new one is wrong", async () => {
    const { api } = await cluster();
    const server = await startDnsServer({
      api: createApiClient(api.transport),
      corefile: corefile(7),
      listen: [{ host: "127.0.0.1", port: 0 }],
      endpoints: {},
    });
    open.push(server);
    const ttl = async (): Promise<number> =>
      decodeMessage((await udp(server.addresses[0]!.port, query("web.default.svc.cluster.local.", recordTypes.A)))!)
        .answers[0]!.ttl;
    expect(await ttl()).toBe(7);
    await server.reload(corefile(9));
    expect(await ttl()).toBe(9);
    await expect(server.reload(".:53 {\n nonsense\n}")).rejects.toMatchObject({ code: "unknown-directive", line: 2 });
    expect(await ttl()).toBe(9);
    expect(server.metrics()).toContain("coredns_reload_failed_total 1");
  });

  it("hands the whole zone out over TCP, also with two addresses of its own", async () => {
    const { api } = await cluster();
    const server = await startDnsServer({
      api: createApiClient(api.transport),
      corefile: corefile(7),
      listen: [{ host: "127.0.0.1", port: 0 }],
      localAddresses: ["10.244.0.2", "fd00::2"],
      endpoints: {},
    });
    open.push(server);
    const [reply] = await tcp(server.addresses[0]!.port, [frameMessage(query("cluster.local.", recordTypes.AXFR))], 1);
    const lines = texts(decodeMessage(reply!));
    expect(lines[0]).toContain(" SOA ");
    expect(lines.at(-1)).toBe(lines[0]);
    expect(lines).toContain("web.default.svc.cluster.local. 7 IN A 10.96.0.7");
    expect(lines).toContain("ns.dns.cluster.local. 7 IN AAAA fd00::2");
    expect(new Set(lines).size).toBe(lines.length - 1);
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
