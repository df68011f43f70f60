import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createApiClient, createInformerFactory } from "@portolan/client";
import { createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { batchVerdicts, createDataplane } from "@portolan/dataplane";
import { createProxy } from "@portolan/proxy";
import { heading, quantile, report, spread } from "../figures.mjs";
import { iptablesRules, kernelPeer, nftChange, nftRules } from "./kernel-peers.mjs";

if (globalThis.gc === undefined) {
  const args = ["--expose-gc", "--max-old-space-size=6144", fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  process.exit(spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1);
}

/** This run shows what a replacement in steps is when the engine collects in the thread that works, and nothing else. */
const collectsAlone = process.execArgv.includes("--single-threaded-gc");
const [services = 10_000, kernelServices = 1_000, many = 100_000] = process.argv.slice(2).map(Number);
const rounds = 15;
const milliseconds = (call) => {
  const started = performance.now();
  call();
  return performance.now() - started;
};
/** Processor time, which a busy machine does not stretch as it does the clock. */
const processorMilliseconds = (call) => {
  const before = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};
const times = (count, call) => Array.from({ length: count }, (_, i) => call(i));

const clusterIP = (i) => `10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
const endpoint = (i, e) => `10.${128 + ((3 * i + e) >> 16)}.${((3 * i + e) >> 8) & 255}.${(3 * i + e) & 255}`;

/** What a compiler of Services hands over, as parsed from JSON; generations differ in the endpoints' port. */
function specifications(count, generation) {
  const made = Array.from({ length: count }, (_, i) => ({
    id: `default/service-${i}:http/TCP/IPv4`,
    family: "IPv4",
    protocol: "TCP",
    frontends: [{ kind: "ClusterIP", address: clusterIP(i), port: 80 }],
    cluster: [0, 1, 2].map((e) => ({
      address: endpoint(i, e),
      port: 8080 + generation,
      name: `default/pod-${i}-${e}`,
    })),
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  }));
  return JSON.parse(JSON.stringify(made));
}

const capacityFor = (count) =>
  count <= 10_000
    ? { servicePorts: 32_768, connections: 524_288 }
    : { servicePorts: 131_072, backends: 1_048_576, frontends: 262_144, connections: 65_536 };

/** The peer in TypeScript: a map from frontend to endpoints, built anew and exchanged. */
function rebuildMap(list) {
  const map = new Map();
  for (const spec of list) {
    const endpoints = spec.cluster.map(({ address, port }) => {
      const [a, b, c, d] = address.split(".");
      return { address: ((a << 24) | (b << 16) | (c << 8) | d) >>> 0, port };
    });
    for (const { address, port } of spec.frontends) map.set(`${address}:${port}/${spec.protocol}`, { endpoints, spec });
  }
  return map;
}

/** Sends batches of first packets and of repeated ones of connections that are half-open, and checks where each of them went. */
function createTraffic(dataplane, count) {
  const { descriptors, frames, memory } = dataplane;
  const u8 = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const batch = 64;
  const hardwareAddress = [2, 0, 0, 0, 0, 1];
  const network = [0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 6];
  let seed = 20_261_124;
  const random = (below) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return (seed >>> 8) % below;
  };
  const figures = { packets: 0, lost: 0, misdirected: 0 };
  // Connections that were opened, each five numbers; no objects, whose collection would be a pause of the tables' steps.
  const [client, clientPort, service, address, endpointPort, words] = [0, 1, 2, 3, 4, 5];
  const most = 20_000;
  const flows = new Uint32Array(most * words);
  const sent = new Uint32Array(batch * words);
  const isNew = new Uint8Array(batch);
  let opened = 0;
  let nextPort = 0;
  const write = (i, flow) => {
    const at = frames.address + i * frames.size;
    u8.fill(0, at, at + 64);
    u8.set(hardwareAddress, at);
    view.setUint16(at + 12, 0x0800);
    u8.set(network, at + 14);
    view.setUint32(at + 26, 0x0af40000 + sent[flow + client]);
    view.setUint32(at + 30, 0x0a600000 + sent[flow + service]);
    let sum = 0;
    for (let word = 14; word < 34; word += 2) sum += view.getUint16(at + word);
    view.setUint16(at + 24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
    view.setUint16(at + 34, sent[flow + clientPort]);
    view.setUint16(at + 36, 80);
    u8[at + 46] = 0x50;
    u8[at + 47] = 2;
    descriptors.frame[i] = at;
    descriptors.length[i] = 64;
    descriptors.ingress[i] = 0;
  };
  dataplane.setPort(0, { mac: "02:00:00:00:00:01", kind: "pod" });
  dataplane.setPort(1, { mac: "02:00:00:00:00:02", kind: "uplink" });
  dataplane.setRoute("0.0.0.0/0", { port: 1, nextHopMac: "02:00:00:00:00:09" });
  let clock = 1;
  return {
    figures,
    /** One batch: `port` is that of the endpoints in use. */
    send(port) {
      for (let i = 0; i < batch; i++) {
        const flow = i * words;
        isNew[i] = i % 2 === 0 || opened === 0 ? 1 : 0;
        nextPort++;
        if (isNew[i] === 0) {
          const known = random(opened) * words;
          for (let word = 0; word < words; word++) sent[flow + word] = flows[known + word];
        } else {
          sent[flow + client] = (nextPort >> 14) & 0xffff;
          sent[flow + clientPort] = 1024 + (nextPort & 0x3fff);
          sent[flow + service] = random(count);
        }
        write(i, flow);
      }
      clock += 0.001;
      dataplane.ingress(batch, clock);
      for (let i = 0; i < batch; i++) {
        figures.packets++;
        const flow = i * words;
        const at = frames.address + i * frames.size;
        const reached = view.getUint32(at + 30);
        const to = view.getUint16(at + 36);
        const base = 0x0a800000 + 3 * sent[flow + service];
        if (descriptors.verdict[i] !== batchVerdicts.REDIRECT || reached < base || reached > base + 2) figures.lost++;
        else if (isNew[i] === 1) {
          if (to !== port) figures.misdirected++;
        } else if (to !== sent[flow + endpointPort] || reached !== sent[flow + address]) figures.misdirected++;
        if (isNew[i] === 0 || opened === most) continue;
        sent[flow + address] = reached;
        sent[flow + endpointPort] = to;
        for (let word = 0; word < words; word++) flows[opened * words + word] = sent[flow + word];
        opened++;
      }
    },
  };
}

/**
 * How long one call took by the clock, and by that and the processor time of all threads together the most that this thread can have
 * worked: other programs stretch the one, the engine's other threads the other. In ms.
 */
function timed(call) {
  let processor = 0;
  const clock = milliseconds(() => {
    processor = processorMilliseconds(call);
  });
  return { clock, thread: Math.min(clock, processor) };
}

const pauses = () =>
  Object.fromEntries(
    ["all steps", "step, p99", "publication", "longest pause of packets"].map((name) => [
      name,
      { clock: [], thread: [] },
    ]),
  );

/** Replaces everything in steps of 64, packets in between; adds to the figures of `sample`. */
function replaceInSteps(dataplane, specs, sample, send) {
  const replacement = dataplane.stageServicePorts(specs);
  const steps = [];
  while (replacement.remaining > 0) {
    steps.push(timed(() => replacement.prepare(64)));
    send(false);
  }
  const publication = timed(() => replacement.commit());
  send(true);
  for (let left = 1; left > 0; ) {
    steps.push(
      timed(() => {
        left = replacement.settle(64);
      }),
    );
    send(true);
  }
  for (const clock of ["clock", "thread"]) {
    const values = steps.map((step) => step[clock]);
    sample["all steps"][clock].push(values.reduce((sum, value) => sum + value, 0));
    sample["step, p99"][clock].push(quantile(values, 0.99));
    sample.publication[clock].push(publication[clock]);
    sample["longest pause of packets"][clock].push(Math.max(publication[clock], ...values));
  }
}

if (!collectsAlone) heading("table-swap");
{
  const generations = [0, 1, 2].map((generation) => specifications(services, generation));
  const fill = createDataplane({ seed: 1, capacity: capacityFor(services) });
  const first = milliseconds(() => fill.replaceServicePorts(generations[0]));
  if (!collectsAlone) report("first load into untouched memory, ms", first.toFixed(1));

  const dataplane = createDataplane({ seed: 1, capacity: capacityFor(services) });
  dataplane.replaceServicePorts(generations[0]);
  const traffic = createTraffic(dataplane, services);
  for (let i = 0; i < 400; i++) traffic.send(8080);
  const figures = { whole: [], processor: [], map: [] };
  const inSteps = { "that stay are changed": pauses(), "come for others": pauses() };
  let map;
  let current = 0;
  for (let round = 1; round <= rounds; round++) {
    globalThis.gc();
    // In one go, nobody sending.
    current++;
    const next = generations[current % 3];
    figures.whole.push(
      milliseconds(() => figures.processor.push(processorMilliseconds(() => dataplane.replaceServicePorts(next)))),
    );
    figures.map.push(milliseconds(() => (map = rebuildMap(next))));
    // In steps, packets in between: the same ids with other endpoints, then other ids at the same addresses.
    for (const sample of Object.values(inSteps)) {
      const from = 8080 + (current % 3);
      current++;
      const to = 8080 + (current % 3);
      const after =
        sample === inSteps["come for others"]
          ? generations[current % 3].map((spec) => ({ ...spec, id: `${spec.id}/${round}` }))
          : generations[current % 3];
      // What others left to collect is not the tables' pause.
      globalThis.gc();
      replaceInSteps(dataplane, after, sample, (isNew) => traffic.send(isNew ? to : from));
    }
    // Back to ids that stay.
    current++;
    dataplane.replaceServicePorts(generations[current % 3]);
  }
  const label = `${services} Services × 3 endpoints, all changed`;
  if (collectsAlone) console.log(`${label}, engine with --single-threaded-gc`);
  else {
    report(`${label}: at once, ms min / median / max`, spread(figures.whole, 1));
    report("  processor time of it, ms", spread(figures.processor, 1));
  }
  for (const [which, sample] of Object.entries(inSteps)) {
    console.log(`  in steps with packets between, ids ${which}; each: clock | this thread at most`);
    for (const name of ["all steps", "step, p99", "publication", "longest pause of packets"])
      report(`    ${name}`, `${spread(sample[name].clock, 2)} | ${spread(sample[name].thread, 2)}`);
  }
  const { packets, lost, misdirected } = traffic.figures;
  report("  packets; lost; to an endpoint of the other table", `${packets}; ${lost}; ${misdirected}`);
  if (lost + misdirected > 0) process.exitCode = 1;
  if (collectsAlone) process.exit();
  report("peer: Map of endpoints rebuilt in TypeScript, ms", spread(figures.map, 1));
  const ratio = quantile(
    figures.whole.map((value, i) => value / figures.map[i]),
    0.5,
  );
  report("  ratio to it", `×${ratio.toFixed(2)} (${map.size} entries)`);
}
{
  const args = [...process.execArgv, "--single-threaded-gc", fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  if (spawnSync(process.execPath, args, { stdio: "inherit" }).status !== 0) process.exitCode = 1;
}

/** Bytes of the maps that one more Service with three endpoints uses, by counting what `count` of them wrote. */
function bytesPerService(count) {
  const before = createDataplane({ seed: 1, capacity: capacityFor(count) });
  before.replaceServicePorts(specifications(count, 0));
  const words = new Uint32Array(before.memory.buffer);
  const empty = new Uint32Array(createDataplane({ seed: 1, capacity: capacityFor(count) }).memory.buffer);
  let used = 0;
  for (let line = 0; line < words.length; line += 4) {
    for (let word = line; word < line + 4; word++) {
      if (words[word] === empty[word]) continue;
      used += 16;
      break;
    }
  }
  return used / count;
}
report("memory written per Service with 3 endpoints", `${bytesPerService(services).toFixed(0)} bytes`);
report("  records of it", "Service port with counters 64 + 3 backends × 32 + frontend 16 = 176 bytes");

for (const count of [services, many]) {
  const dataplane = createDataplane({ seed: 1, capacity: capacityFor(count) });
  const list = specifications(count, 0);
  globalThis.gc();
  const first = milliseconds(() => dataplane.replaceServicePorts(list));
  const again = times(5, (i) => {
    const other = specifications(count, 1 + (i % 2));
    globalThis.gc();
    return milliseconds(() => dataplane.replaceServicePorts(other));
  });
  const current = specifications(count, 1);
  dataplane.replaceServicePorts(current);
  const changes = times(3_000, (i) => {
    const spec = current[(i * 37) % count];
    const changed = { ...spec, cluster: spec.cluster.slice(i & 1) };
    return milliseconds(() => dataplane.setServicePort(changed));
  });
  report(`${count} Services: first load; all changed, ms`, `${first.toFixed(0)}; ${spread(again, 0)}`);
  report(
    "  one endpoint comes or goes, ms p50 / p99",
    `${quantile(changes, 0.5).toFixed(4)} / ${quantile(changes, 0.99).toFixed(4)}`,
  );
}

/** From a slice in the watch to packets: informer, proxy, dataplane. */
{
  const count = services;
  const memory = createMemoryApi();
  const sliceOf = (i, addresses) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      namespace: "default",
      name: `service-${i}-a`,
      labels: { "kubernetes.io/service-name": `service-${i}` },
    },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node-2", conditions: { ready: true } })),
  });
  for (let i = 0; i < count; i++) {
    memory.apply(resources.services, {
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace: "default", name: `service-${i}` },
      spec: {
        clusterIP: clusterIP(i),
        clusterIPs: [clusterIP(i)],
        ports: [{ name: "http", port: 80, protocol: "TCP" }],
      },
    });
    memory.apply(resources.endpointSlices, sliceOf(i, [endpoint(i, 0), endpoint(i, 1), endpoint(i, 2)]));
  }
  const dataplane = createDataplane({ seed: 1, capacity: capacityFor(count) });
  let inTables = 0;
  const measured =
    (call) =>
    (...args) => {
      inTables += milliseconds(() => call(...args));
    };
  const tables = Object.fromEntries(
    ["configureNode", "setServicePort", "removeServicePort", "replaceServicePorts", "flushUdp"].map((name) => [
      name,
      measured((...args) => dataplane[name](...args)),
    ]),
  );
  const informers = createInformerFactory(createApiClient(memory.transport));
  const stop = new AbortController();
  let onSync = () => {};
  const proxy = createProxy({
    informers,
    nodeName: "node-1",
    tables,
    onSync: () => onSync(),
  });
  const running = proxy.run(stop.signal);
  const started = performance.now();
  informers.start(stop.signal);
  await proxy.synced();
  report(`proxy, ${count} Services: from lists to tables, ms`, (performance.now() - started).toFixed(0));
  const figures = { latency: [], tables: [] };
  for (let k = 0; k < 500; k++) {
    const i = (k * 37) % count;
    const slice = sliceOf(i, [endpoint(i, 0), endpoint(i, 1)]);
    const synced = new Promise((resolve) => {
      onSync = resolve;
    });
    inTables = 0;
    const from = performance.now();
    memory.apply(resources.endpointSlices, slice);
    await synced;
    figures.latency.push(performance.now() - from);
    figures.tables.push(inTables);
  }
  const both = (values) => `${quantile(values, 0.5).toFixed(3)} / ${quantile(values, 0.99).toFixed(3)}`;
  report("  slice changed to packets changed, ms p50 / p99", both(figures.latency));
  report("    of it in the dataplane's tables", both(figures.tables));
  stop.abort();
  await running;
}

{
  const list = specifications(kernelServices, 0);
  const dataplane = createDataplane({ seed: 1 });
  dataplane.replaceServicePorts(list);
  const ours = times(9, (i) => {
    const next = specifications(kernelServices, 1 + (i % 2));
    return milliseconds(() => dataplane.replaceServicePorts(next));
  });
  report(`${kernelServices} Services here, all changed, ms`, spread(ours, 1));
  for (const [name, command, rules, change] of [
    ["nftables", ["nft", "-f", "-"], nftRules(list), nftChange(list[kernelServices >> 1])],
    ["iptables", ["iptables-restore", "--noflush"], iptablesRules(list), undefined],
  ]) {
    const figures = kernelPeer(command, rules, change);
    if (typeof figures === "string") report(`peer: ${name}`, `skipped: ${figures}`);
    else {
      report(`peer: ${name}, ${kernelServices} Services as kube-proxy writes them, ms`, spread(figures.load, 0));
      report("  ratio of a load to it", `×${(quantile(ours, 0.5) / quantile(figures.load, 0.5)).toFixed(3)}`);
      if (figures.change.length > 0) report("  one Service's endpoints change, ms", spread(figures.change, 1));
    }
  }
}
