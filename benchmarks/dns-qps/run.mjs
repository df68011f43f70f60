import { fork, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startDnsServer } from "@portolan/dns";
import { createClusterZone } from "@portolan/dns/zone";
import { heading, liveOctets, mebibytes, quantile, report, spread } from "../figures.mjs";
import { measureChanges } from "./changes.mjs";
import { measureFrames } from "./frames.mjs";
import { measureNetns } from "./netns.mjs";
import { startPeers } from "./peers.mjs";

const services = 10_000;
const seconds = 1.5;
const rounds = 5;
const inFlight = 64;

function query(id, name) {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  const message = Buffer.concat([
    Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...labels,
    Buffer.of(0, 0, 1, 0, 1),
  ]);
  message.writeUInt16BE(id, 0);
  return message;
}

const names = {
  existing: (i) => `web-${i % services}.default.svc.cluster.local`,
  missing: (i) => `no-${i}.default.svc.cluster.local`,
};

const serviceObjects = Array.from({ length: services }, (_, i) => ({
  kind: "Service",
  metadata: { name: `web-${i}`, namespace: "default" },
  spec: { clusterIPs: [`10.96.${i >> 8}.${i & 255}`], ports: [{ name: "http", port: 80, protocol: "TCP" }] },
}));

/** Server side, in a process of its own so that its processor time is its own. */
async function serve(what) {
  if (what !== "dns") {
    // The second one leaves out what Node does to look up an address that is one already.
    const lookup = (address, _options, found) => found(null, address, 4);
    const socket = createSocket(what === "echo" ? { type: "udp4" } : { type: "udp4", lookup });
    socket.on("message", (message, from) => socket.send(message, from.port, from.address));
    socket.bind(0, "127.0.0.1", () => process.send({ port: socket.address().port }));
  } else {
    const before = liveOctets();
    const zone = createClusterZone({ domain: "cluster.local", podMode: "insecure", ttl: 30 });
    zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    for (const service of serviceObjects) zone.apply(service);
    const octets = liveOctets() - before;
    const server = await startDnsServer({ zone, listen: [{ host: "127.0.0.1", port: 0 }] });
    process.send({ port: server.addresses.find((address) => address.transport === "udp").port, octets });
  }
  let last = process.cpuUsage();
  process.on("message", () => {
    const used = process.cpuUsage(last);
    last = process.cpuUsage();
    process.send({ processorSeconds: (used.user + used.system) / 1e6 });
  });
}

const answerOf = (child, message) =>
  new Promise((resolve, reject) => {
    const ended = (code) => reject(new Error(`the server ended with ${code}`));
    child.once("exit", ended);
    child.once("message", (answer) => {
      child.off("exit", ended);
      resolve(answer);
    });
    if (message !== undefined) child.send(message);
  });

/** Keeps `inFlight` queries under way; a query that stays unanswered for 200 ms counts as lost and is replaced. */
function load(port, nameOf, expectedCode) {
  return new Promise((resolve) => {
    const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20 });
    const sent = new Map();
    const latencies = [];
    let next = 0;
    let lost = 0;
    let wrong = 0;
    const send = () => {
      const id = next & 0xffff;
      sent.set(id, performance.now());
      socket.send(query(id, nameOf(next++)), port, "127.0.0.1");
    };
    const started = performance.now();
    socket.on("message", (message) => {
      const id = message.readUInt16BE(0);
      const at = sent.get(id);
      if (at === undefined) return;
      sent.delete(id);
      latencies.push(performance.now() - at);
      if (expectedCode !== undefined && (message[3] & 15) !== expectedCode) wrong++;
      if (performance.now() - started < seconds * 1000) send();
      else finish();
    });
    const replace = setInterval(() => {
      const now = performance.now();
      for (const [id, at] of sent) {
        if (now - at < 200) continue;
        sent.delete(id);
        lost++;
        if (now - started < seconds * 1000) send();
      }
      if (now - started >= seconds * 1000) finish();
    }, 100);
    let ended = false;
    function finish() {
      if (ended) return;
      ended = true;
      clearInterval(replace);
      const elapsed = (performance.now() - started) / 1000;
      socket.close(() => resolve({ count: latencies.length, elapsed, latencies, lost, wrong }));
    }
    socket.bind(0, "127.0.0.1", () => {
      for (let i = 0; i < inFlight; i++) send();
    });
  });
}

async function compare() {
  heading("dns-qps");
  const start = (what) =>
    fork(fileURLToPath(import.meta.url), ["--serve", what], { execArgv: ["--expose-gc"], stdio: "inherit" });
  const children = { echo: start("echo"), quick: start("quick"), dns: start("dns") };
  const peers = await startPeers(services, query(1, names.existing(1)));
  try {
    const echo = await answerOf(children.echo);
    const quick = await answerOf(children.quick);
    const dns = await answerOf(children.dns);
    const own = (child) => async () => (await answerOf(children[child], "mark")).processorSeconds;
    const cases = [
      [own("echo"), "bare UDP echo", echo.port, names.existing, undefined],
      [own("quick"), "bare UDP echo without look-ups", quick.port, names.existing, undefined],
      [own("dns"), "A of existing Services", dns.port, names.existing, 0],
      [own("dns"), "NXDOMAIN storm", dns.port, names.missing, 3],
      ...peers.map(({ mark, name, port }) => [mark, `${name}: A of existing Services`, port, names.existing, 0]),
    ];
    const results = cases.map(() => ({ perSecond: [], perCore: [], p50: [], p99: [], lost: 0, wrong: 0 }));
    for (let round = 0; round < rounds; round++) {
      for (const [index, [mark, , port, nameOf, code]] of cases.entries()) {
        await mark();
        const run = await load(port, nameOf, code);
        const processorSeconds = await mark();
        const result = results[index];
        result.perSecond.push(run.count / run.elapsed);
        result.perCore.push(run.count / processorSeconds);
        result.p50.push(quantile(run.latencies, 0.5));
        result.p99.push(quantile(run.latencies, 0.99));
        result.lost += run.lost;
        result.wrong += run.wrong;
      }
    }
    for (const [index, [, label]] of cases.entries()) {
      const result = results[index];
      // Of the same round: the machine is not the same in all of them.
      const ratio = quantile(
        result.perCore.map((rate, round) => rate / results[0].perCore[round]),
        0.5,
      );
      report(`${label}: answers per second`, spread(result.perSecond));
      report(`${label}: answers per core second`, `${spread(result.perCore)}  (×${ratio.toFixed(2)} echo)`);
      report(`${label}: ms p50; p99`, `${spread(result.p50, 2)}; ${spread(result.p99, 2)}`);
      if (result.lost + result.wrong > 0)
        report(`${label}: lost; wrong response code`, `${result.lost}; ${result.wrong}`);
    }
    report(`memory of the zone's objects, ${services} Services`, mebibytes(dns.octets));
    const directory = mkdtempSync(join(tmpdir(), "portolan-bench-"));
    try {
      const file = join(directory, "queries");
      writeFileSync(file, Array.from({ length: services }, (_, i) => `${names.existing(i)} A\n`).join(""));
      const run = spawnSync("dnsperf", ["-s", "127.0.0.1", "-p", `${dns.port}`, "-d", file, "-l", "3"], {
        encoding: "utf8",
      });
      const rate = /Queries per second:\s+([\d.]+)/.exec(run.stdout ?? "")?.[1];
      report("dnsperf: answers per second", rate ?? `skipped: ${run.error?.message ?? run.stderr}`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  } finally {
    for (const child of Object.values(children)) child.kill("SIGKILL");
    await Promise.all(peers.map((peer) => peer.stop()));
  }
  measureFrames(serviceObjects, query);
  await measureNetns(serviceObjects, names);
  await measureChanges(serviceObjects.slice(0, 1000), query);
}

if (process.argv[2] === "--serve") await serve(process.argv[3]);
else await compare();
