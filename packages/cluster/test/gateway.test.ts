import { once } from "node:events";
import { createServer as createHttpServer, request, type Server } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { createDataplane } from "@portolan/dataplane";
import { afterEach, describe, expect, it } from "vitest";
import { createConnectDial } from "../src/gateway/dial.ts";
import { createGateway, type Gateway } from "../src/gateway/gateway.ts";

const ends: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** An HTTP server on loopback that says its name and counts its connections. */
async function startPod(name: string): Promise<{ port: number; open: () => number }> {
  let open = 0;
  const server: Server = createHttpServer((message, response) => response.end(`${name} ${message.url}`));
  server.on("connection", (socket) => {
    open++;
    socket.on("close", () => open--);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => server.close());
  return { port: (server.address() as { port: number }).port, open: () => open };
}

/** Two pods behind `web` (10.96.0.10:80), nothing behind `empty` (10.96.0.20:80), and the names for them. */
async function start(
  scheduler: "rr" | "lc" = "rr",
): Promise<{ gateway: Gateway; pods: Awaited<ReturnType<typeof startPod>>[] }> {
  const pods = [await startPod("one"), await startPod("two")];
  const addresses = ["10.244.1.1", "10.244.1.2"];
  const dataplane = createDataplane({ seed: 7 });
  dataplane.configureNode({ addresses: ["172.18.0.2"], clusterCIDRs: ["10.244.0.0/16"] });
  const backends = addresses.map((address) => ({ address, port: 8080 }));
  const entry = (id: string, address: string, cluster: typeof backends, affinitySeconds = 0) => ({
    id,
    family: "IPv4" as const,
    protocol: "TCP" as const,
    frontends: [{ kind: "ClusterIP" as const, address, port: 80 }],
    cluster,
    local: [],
    hasAny: cluster.length > 0,
    internalTrafficPolicy: "Cluster" as const,
    externalTrafficPolicy: "Cluster" as const,
    scheduler,
    affinitySeconds,
  });
  dataplane.replaceServicePorts([
    entry("default/web:", "10.96.0.10", backends),
    entry("default/sticky:", "10.96.0.11", backends, 60),
    entry("default/empty:", "10.96.0.20", []),
  ]);
  const names: Record<string, string> = {
    web: "10.96.0.10",
    sticky: "10.96.0.11",
    empty: "10.96.0.20",
    "api.team": "10.96.0.10",
  };
  const gateway = await createGateway({
    dial: createConnectDial({
      dataplanes: new Map([["node1", dataplane]]),
      resolve(name, namespace) {
        const address = names[namespace === "default" ? name : `${name}.${namespace}`];
        return address === undefined ? [] : [address];
      },
      now: () => 0,
      locate: (address, port) => {
        const pod = port === 8080 ? pods[addresses.indexOf(address)] : undefined;
        return pod && { host: "127.0.0.1", port: pod.port };
      },
    }),
    outsider: () => ({ address: "172.18.0.100", node: "node1", namespace: "default" }),
    clientOf(user) {
      const [namespace = "", name] = user.split("/");
      return name === "client" ? { address: "10.244.1.9", node: "node1", namespace } : undefined;
    },
  });
  ends.push(() => gateway.close());
  return { gateway, pods };
}

function get(
  gateway: Gateway,
  url: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port: gateway.port, path: url, headers }, (response) => {
      let body = "";
      response.on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on("error", reject)
      .end();
  });
}

async function socks(
  gateway: Gateway,
  host: string,
  port: number,
  user?: string,
): Promise<{ code: number; socket: Socket }> {
  const socket = connect(gateway.port, "127.0.0.1");
  ends.push(() => socket.destroy());
  await once(socket, "connect");
  const next = async (): Promise<Buffer> => (await once(socket, "data"))[0] as Buffer;
  if (user === undefined) {
    socket.write(Buffer.from([5, 1, 0]));
    await next();
  } else {
    socket.write(Buffer.from([5, 1, 2]));
    await next();
    socket.write(Buffer.concat([Buffer.from([1, user.length]), Buffer.from(user), Buffer.from([1, 0x78])]));
    await next();
  }
  socket.write(
    Buffer.concat([Buffer.from([5, 1, 0, 3, host.length]), Buffer.from(host), Buffer.from([port >> 8, port & 255])]),
  );
  const reply = await next();
  return { code: reply[1]!, socket };
}

describe("gateway", () => {
  it("is an HTTP proxy whose connections go where the dataplane says", async () => {
    const { gateway } = await start();
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push((await get(gateway, "http://web/path?q=1")).body);
    expect([...new Set(answers)].sort()).toEqual(["one /path?q=1", "two /path?q=1"]);
  });

  it("keeps a client at one endpoint where the Service has affinity, by who the client is", async () => {
    const { gateway } = await start();
    const authorization = `Basic ${Buffer.from("default/client:x").toString("base64")}`;
    const seen = new Set<string>();
    for (let i = 0; i < 6; i++)
      seen.add((await get(gateway, "http://sticky/", { "proxy-authorization": authorization })).body);
    expect(seen.size).toBe(1);
  });

  it("tunnels by CONNECT", async () => {
    const { gateway } = await start();
    const body = await new Promise<string>((resolve, reject) => {
      request({ host: "127.0.0.1", port: gateway.port, method: "CONNECT", path: "web:80" })
        .on("connect", (response, socket) => {
          expect(response.statusCode).toBe(200);
          socket.write("GET /t HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
          let text = "";
          socket.on("data", (chunk: Buffer) => {
            text += chunk.toString();
          });
          socket.on("end", () => resolve(text));
        })
        .on("error", reject)
        .end();
    });
    expect(body).toMatch(/^HTTP\/1\.1 200[\s\S]*(one|two) \/t$/);
  });

  it("looks for short names in the namespace of the pod that asks", async () => {
    const { gateway } = await start();
    expect((await socks(gateway, "api", 80, "team/client")).code).toBe(0);
    expect((await socks(gateway, "api", 80, "default/client")).code).not.toBe(0);
  });

  it("speaks SOCKS5, with names and users", async () => {
    const { gateway } = await start();
    const { code, socket } = await socks(gateway, "web", 80, "default/client");
    expect(code).toBe(0);
    socket.write("GET /s HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    const [chunk] = await once(socket, "data");
    expect(String(chunk)).toContain("200 OK");
  });

  it("refuses what has no endpoints, has no name, or leads nowhere, each with its own code", async () => {
    const { gateway } = await start();
    expect((await socks(gateway, "empty", 80)).code).toBe(5);
    expect((await socks(gateway, "nobody", 80)).code).toBe(4);
    expect((await socks(gateway, "192.0.2.1", 80)).code).toBe(3);
    expect((await socks(gateway, "web", 80, "default/stranger")).code).toBe(2);
    expect(await get(gateway, "http://empty/")).toMatchObject({
      status: 503,
      body: expect.stringContaining("no endpoints"),
    });
    expect((await get(gateway, "/not-a-proxy-request")).status).toBe(400);
  });

  it("tells the dataplane when a connection is over, so that least-connection counts are true", async () => {
    const { gateway, pods } = await start("lc");
    const first = await socks(gateway, "web", 80);
    const second = await socks(gateway, "web", 80);
    expect(pods.map((pod) => pod.open())).toEqual([1, 1]);
    first.socket.destroy();
    second.socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await socks(gateway, "web", 80);
    await socks(gateway, "web", 80);
    expect(pods.map((pod) => pod.open())).toEqual([1, 1]);
  });

  it("survives clients that send garbage or stop in the middle", async () => {
    const { gateway } = await start();
    for (const bytes of [
      Buffer.from([5]),
      Buffer.from([5, 0]),
      Buffer.from([4, 1, 0, 80, 1, 2, 3, 4]),
      Buffer.alloc(300, 0xff),
    ]) {
      const socket = connect(gateway.port, "127.0.0.1");
      await once(socket, "connect");
      socket.on("error", () => {});
      socket.resume();
      socket.end(bytes);
      await once(socket, "close");
    }
    expect((await get(gateway, "http://web/")).status).toBe(200);
  });

  it("opens doors, and says when a port is taken", async () => {
    const { gateway } = await start();
    const client = () => ({ address: "172.18.0.100", node: "node1", namespace: "default" });
    const door = await gateway.open(0, { address: "10.96.0.10", port: 80, client });
    const body = await new Promise<string>((resolve) => {
      request({ host: "127.0.0.1", port: door.port, path: "/d", agent: false }, (response) => {
        response.on("data", (chunk) => resolve(String(chunk)));
      }).end();
    });
    expect(body).toMatch(/(one|two) \/d/);
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    ends.push(() => other.close());
    const taken = (other.address() as { port: number }).port;
    await expect(gateway.open(taken, { address: "10.96.0.10", port: 80, client })).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
  });
});
