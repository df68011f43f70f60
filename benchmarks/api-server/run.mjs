import { spawnSync } from "node:child_process";
import { setMaxListeners } from "node:events";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { Agent, createServer, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { adminUser, createApiServer } from "@portolan/apiserver";
import { createApiClient } from "@portolan/client";
import { resources } from "@portolan/core";
import { heading, liveOctets, mebibytes, quantile, report, spread } from "../figures.mjs";

if (globalThis.gc === undefined) {
  const run = spawnSync(process.execPath, ["--expose-gc", fileURLToPath(import.meta.url)], { stdio: "inherit" });
  process.exit(run.status ?? 1);
}

const services = 10_000;
const overTls = 500;
const watchers = 1000;
const connections = 16;

const service = (name) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default" },
  spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: 8080 }] },
});

const addressOf = (i) => `10.${128 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;

const slice = (i) => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: `slice-${i}`, namespace: "default", labels: { "kubernetes.io/service-name": `web-${i}` } },
  addressType: "IPv4",
  ports: [{ name: "http", port: 8080, protocol: "TCP" }],
  endpoints: Array.from({ length: 100 }, (_, j) => ({
    addresses: [addressOf(i * 100 + j)],
    conditions: { ready: true, serving: true, terminating: false },
    nodeName: `node-${j % 10}`,
  })),
});

/** One request; gives the octets of the answer. */
function ask(url, options, body) {
  return new Promise((resolve, reject) => {
    const sent = request(url, options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        response.statusCode < 300
          ? resolve(Buffer.concat(parts))
          : reject(new Error(`${options.method ?? "GET"} ${url} → ${response.statusCode}: ${Buffer.concat(parts)}`)),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function milliseconds(act) {
  const started = performance.now();
  await act();
  return performance.now() - started;
}

async function repeated(count, act) {
  const samples = [];
  for (let i = 0; i < count; i++) samples.push(await milliseconds(() => act(i)));
  return samples;
}

/** Acts per second, with so many in flight at a time. */
async function rateOf(count, inFlight, act) {
  let next = 0;
  const taken = await milliseconds(() =>
    Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (next < count) await act(next++);
      }),
    ),
  );
  return (count / taken) * 1000;
}

heading("api-server");
const directory = mkdtempSync(join(tmpdir(), "portolan-bench-"));
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
let server;
let durable;
let peer;
try {
  const empty = liveOctets();
  const started = performance.now();
  server = await createApiServer();
  const api = createApiClient(server.transport);
  await api.list(resources.services);
  report("start to first answer, in process", `${(performance.now() - started).toFixed(0)} ms`);
  const listening = await server.listen({ directory });
  const config = readFileSync(listening.kubeconfigPath, "utf8");
  const pem = (field) => {
    const text = new RegExp(`${field}"?:\\s*"?([A-Za-z0-9+/=]+)`).exec(config)?.[1];
    return text === undefined ? undefined : Buffer.from(text, "base64");
  };
  const client = {
    agent,
    ca: listening.certificateAuthority,
    cert: pem("client-certificate-data"),
    key: pem("client-key-data"),
  };
  const headers = { "content-type": "application/json", authorization: `Bearer ${server.issueToken(adminUser)}` };
  const collection = `${listening.url}/api/v1/namespaces/default/services`;
  await ask(collection, { ...client, headers, agent: false });
  report("start to first answer, TLS", `${(performance.now() - started).toFixed(0)} ms`);

  const before = liveOctets();
  const inProcess = await milliseconds(async () => {
    for (let i = 0; i < services - overTls; i++) await api.create(resources.services, service(`web-${i}`));
  });
  report("Services created per second, in process", (((services - overTls) / inProcess) * 1000).toFixed(0));

  // The floor of a server in Node: it parses what it gets, keeps it, and answers its JSON; asked with GET, octets that are there already.
  // It takes the client's certificate as its own: nobody checks it, and the handshake happens once.
  const kept = new Map();
  let list = Buffer.alloc(0);
  peer = createServer({ cert: client.cert, key: client.key }, async (incoming, outgoing) => {
    outgoing.setHeader("content-type", "application/json");
    if (incoming.method === "GET") return outgoing.end(list);
    const parts = [];
    for await (const part of incoming) parts.push(part);
    const object = JSON.parse(Buffer.concat(parts).toString());
    kept.set(object.metadata.name, object);
    outgoing.end(JSON.stringify(object));
  });
  await new Promise((resolve) => peer.listen(0, "127.0.0.1", resolve));
  const peerUrl = `https://127.0.0.1:${peer.address().port}/`;
  const peerAgent = new Agent({ keepAlive: true, maxSockets: 1 });
  const peerClient = { agent: peerAgent, rejectUnauthorized: false };

  const created = [];
  const posted = [];
  // Turn by turn, so that what else the machine does meets both.
  for (let i = 0; i < overTls; i++) {
    const object = service(`web-${services - overTls + i}`);
    created.push(
      await milliseconds(async () => {
        const answer = await ask(collection, { ...client, method: "POST", headers }, JSON.stringify(object));
        // What the floor gets is as long as what the server stores.
        Object.assign(object, JSON.parse(answer));
      }),
    );
    posted.push(await milliseconds(() => ask(peerUrl, { ...peerClient, method: "POST" }, JSON.stringify(object))));
  }
  report("memory, 10,000 Services", mebibytes(liveOctets() - before));

  list = await ask(collection, { ...client, headers });
  const listed = [];
  const fetched = [];
  for (let i = 0; i < 15; i++) {
    listed.push(await milliseconds(() => ask(collection, { ...client, headers })));
    fetched.push(await milliseconds(() => ask(peerUrl, peerClient)));
  }
  peerAgent.destroy();
  const compare = (ours, theirs) => `×${(quantile(ours, 0.5) / quantile(theirs, 0.5)).toFixed(1)} the floor`;
  const perSecond = (samples) => (1000 / (samples.reduce((sum, one) => sum + one, 0) / samples.length)).toFixed(0);
  report("Services created per second, TLS, kept alive", `${perSecond(created)} (floor ${perSecond(posted)})`);
  report("ms per creation, TLS: min / median / max", `${spread(created, 2)} (${compare(created, posted)})`);
  report(
    `LIST of 10,000 Services, TLS, ms (${mebibytes(list.length)})`,
    `${spread(listed)} (${compare(listed, fetched)})`,
  );
  report("floor: the same octets, ms", spread(fetched));

  const many = new Agent({ keepAlive: true, maxSockets: connections });
  const rates = { ours: [], floor: [] };
  for (let round = 0; round < 3; round++) {
    const names = (prefix) => (i) => JSON.stringify(service(`${prefix}-${round}-${i}`));
    const ours = names("many");
    rates.ours.push(
      await rateOf(overTls, connections, (i) =>
        ask(collection, { ...client, agent: many, method: "POST", headers }, ours(i)),
      ),
    );
    const floorAgent = new Agent({ keepAlive: true, maxSockets: connections });
    const floor = { agent: floorAgent, rejectUnauthorized: false, method: "POST" };
    rates.floor.push(await rateOf(overTls, connections, (i) => ask(peerUrl, floor, ours(i))));
    floorAgent.destroy();
  }
  many.destroy();
  report(
    `Services created per second, TLS, ${connections} connections: min / median / max of 3`,
    `${spread(rates.ours)} (floor ${spread(rates.floor)})`,
  );

  durable = await createApiServer({ dataDirectory: join(directory, "data") });
  const durableApi = createApiClient(durable.transport);
  const write = (prefix) => (i) => durableApi.create(resources.services, service(`${prefix}-${i}`));
  report(
    "Services created per second, in process, SQLite, one after the other",
    (await rateOf(500, 1, write("one"))).toFixed(0),
  );
  report(
    "Services created per second, in process, SQLite, 64 at a time",
    (await rateOf(4000, 64, write("many"))).toFixed(0),
  );
  report(
    "Services created per second, in process, memory, 64 at a time",
    (await rateOf(4000, 64, (i) => api.create(resources.services, service(`volatile-${i}`)))).toFixed(0),
  );
  const log = openSync(join(directory, "fsync"), "w");
  const synced = await repeated(200, () => {
    writeSync(log, Buffer.alloc(4096));
    fdatasyncSync(log);
  });
  closeSync(log);
  report("fdatasync of 4 KiB alone, per second", (1000 / quantile(synced, 0.5)).toFixed(0));
  const restarted = performance.now();
  await durable.close();
  durable = await createApiServer({ dataDirectory: join(directory, "data") });
  report("closed and started again with those Services", `${(performance.now() - restarted).toFixed(0)} ms`);
  await durable.close();
  durable = undefined;

  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  const raw = new AbortController();
  setMaxListeners(0, raw.signal);
  let lines = 0;
  let allLines;
  const everyLine = new Promise((resolve) => (allLines = resolve));
  const streams = await Promise.all(
    Array.from({ length: watchers }, () =>
      server.transport({
        method: "GET",
        path: `/api/v1/services?watch=1&resourceVersion=${server.store.revision}`,
        headers: {},
        signal: raw.signal,
      }),
    ),
  );
  const readers = streams.map(async ({ stream }) => {
    for await (const _ of stream) if (++lines === watchers) allLines();
  });
  const serverOnly = await milliseconds(async () => {
    await api.create(resources.services, service("raw"));
    await everyLine;
  });
  report(`one change to ${watchers} watchers that only read`, `${serverOnly.toFixed(1)} ms until the last has it`);
  raw.abort();
  await Promise.all(readers);
  const { metadata } = await api.list(resources.services, { limit: 1 });
  let arrived = 0;
  let everyone;
  const all = new Promise((resolve) => (everyone = resolve));
  const loops = Array.from({ length: watchers }, async () => {
    const events = api.watch(resources.services, { resourceVersion: metadata.resourceVersion, signal: abort.signal });
    try {
      for await (const event of events) {
        if (event.object?.metadata?.name !== "changed") continue;
        if (++arrived === watchers) everyone();
      }
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const fanOut = await milliseconds(async () => {
    await api.create(resources.services, service("changed"));
    await Promise.race([
      all,
      new Promise((_, reject) =>
        setTimeout(reject, 10_000, new Error(`${arrived} of ${watchers} watchers were told`)).unref(),
      ),
    ]);
  });
  report(`one change to ${watchers} watchers in process`, `${fanOut.toFixed(0)} ms until the last has it`);
  abort.abort();
  await Promise.all(loops);

  const bare = liveOctets();
  const written = await milliseconds(async () => {
    for (let i = 0; i < 1000; i++) await api.create(resources.endpointSlices, slice(i));
  });
  report(
    "memory, 100,000 endpoints in 1,000 slices",
    `${mebibytes(liveOctets() - bare)} (written in ${written.toFixed(0)} ms)`,
  );
  report("memory, everything", mebibytes(liveOctets() - empty));
} finally {
  agent.destroy();
  peer?.close();
  peer?.closeAllConnections();
  await durable?.close();
  await server?.close();
  rmSync(directory, { recursive: true, force: true });
}
