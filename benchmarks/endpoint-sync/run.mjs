import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createApiServer } from "@portolan/apiserver";
import { createApiClient } from "@portolan/client";
import { resources } from "@portolan/core";
import { createEndpointSliceController } from "@portolan/endpoints";
import { heading, liveOctets, mebibytes, quantile, report, spread } from "../figures.mjs";

if (globalThis.gc === undefined) {
  const args = ["--expose-gc", "--max-old-space-size=3072", fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  process.exit(spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1);
}

const serviceCount = Number(process.argv[2] ?? 1000);
const podsPerService = 100;
const endpointCount = 5000;
const flips = 100;
const peerFlips = 20;

const serviceOf = (app) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: app, namespace: "default" },
  spec: { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8080 }] },
});

function podOf(app, i, address, ready = true) {
  const ip = `10.${128 + (address >> 16)}.${(address >> 8) & 255}.${address & 255}`;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: `${app}-${i}`, namespace: "default", uid: `${app}-${i}`, labels: { app } },
    spec: { nodeName: `node-${i % 10}`, containers: [{ name: "main", image: "web" }] },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      podIP: ip,
      podIPs: [{ ip }],
    },
  };
}

/** Pods come from kubelets that are not measured: they are put into the store. */
function putPods(store, pods) {
  store.write(
    pods.map((object) => {
      const { namespace, name } = object.metadata;
      const expectedRevision = store.get("pods", namespace, name)?.revision;
      return { collection: "pods", namespace, name, object, expectedRevision };
    }),
  );
}

function slicesOf(store) {
  return [...store.list("endpointslices.discovery.k8s.io", "default")]
    .map((stored) => stored.object)
    .filter((slice) => slice.metadata.labels?.["kubernetes.io/service-name"] !== "kubernetes");
}

const endpointsIn = (slices) => slices.reduce((sum, slice) => sum + (slice.endpoints?.length ?? 0), 0);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(what, condition) {
  const deadline = performance.now() + 50_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within 50 s`);
    await pause(10);
  }
}

/** Counts writes and their octets on the way to the server. */
function counting(transport) {
  const counts = { writes: 0, octets: 0 };
  const counted = (request) => {
    if (request.method !== "GET") {
      counts.writes++;
      counts.octets += Buffer.byteLength(request.body ?? "");
    }
    return transport(request);
  };
  return { counts, transport: counted };
}

function endpointOf(pod) {
  const ready = pod.status.conditions.some((one) => one.type === "Ready" && one.status === "True");
  return {
    addresses: [pod.status.podIP],
    conditions: { ready, serving: ready, terminating: false },
    nodeName: pod.spec.nodeName,
    targetRef: { kind: "Pod", namespace: "default", name: pod.metadata.name, uid: pod.metadata.uid },
  };
}

function sliceOf(app, number, endpoints, metadata) {
  const labels = { "kubernetes.io/service-name": app };
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", labels, ...metadata, name: `${app}-${number}` },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints,
  };
}

/** Recomputes all slices of the Service at each change of a pod, and writes all of them. */
function runRecomputing(api, app, signal) {
  const pods = new Map();
  const known = new Map();
  const recompute = async () => {
    const chosen = [...pods.values()].filter((pod) => pod.metadata.labels?.app === app);
    const endpoints = chosen.map(endpointOf);
    for (let at = 0; at < endpoints.length; at += 100) {
      const name = `${app}-${at / 100}`;
      const old = known.get(name);
      const slice = sliceOf(app, at / 100, endpoints.slice(at, at + 100), old?.metadata);
      const written = await (old === undefined
        ? api.create(resources.endpointSlices, slice)
        : api.update(resources.endpointSlices, slice));
      known.set(name, written);
    }
  };
  return (async () => {
    const { items, metadata } = await api.list(resources.pods);
    for (const pod of items) pods.set(pod.metadata.name, pod);
    await recompute();
    try {
      for await (const event of api.watch(resources.pods, { resourceVersion: metadata.resourceVersion, signal })) {
        if (event.type === "BOOKMARK") continue;
        pods.set(event.object.metadata.name, event.object);
        await recompute();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  })();
}

async function world(work) {
  const server = await createApiServer();
  const abort = new AbortController();
  const running = [];
  try {
    const api = createApiClient(server.transport);
    for (let i = 0; i < 10; i++) {
      await api.create(resources.nodes, { apiVersion: "v1", kind: "Node", metadata: { name: `node-${i}` } });
    }
    await work({
      server,
      api,
      start: (run) => running.push(run(abort.signal)),
    });
  } finally {
    abort.abort();
    await Promise.allSettled(running);
    await server.close();
  }
}

const controllerOn = (transport) => (signal) =>
  createEndpointSliceController(createApiClient(transport), {
    onError: (error) => {
      if (error.code !== "stale-cache") console.error(error);
    },
  }).run(signal);

async function flipPods(label, count, start) {
  const figures = { latencies: [], writes: 0, octets: 0 };
  await world(async ({ server, api, start: run }) => {
    await api.create(resources.services, serviceOf("web"));
    putPods(
      server.store,
      Array.from({ length: endpointCount }, (_, i) => podOf("web", i, i)),
    );
    const { counts, transport } = counting(server.transport);
    run((signal) => start(transport, signal));
    await until(label, () => endpointsIn(slicesOf(server.store)) === endpointCount);
    await pause(500);
    counts.writes = 0;
    counts.octets = 0;
    for (let k = 0; k < count; k++) {
      const i = (k * 37) % endpointCount;
      const pod = podOf("web", i, i, false);
      let stop;
      const written = new Promise((resolve) => {
        stop = server.store.subscribe(({ current }) => {
          if (current.collection !== "endpointslices.discovery.k8s.io") return;
          const one = current.object.endpoints?.find((endpoint) => endpoint.addresses[0] === pod.status.podIP);
          if (one?.conditions?.ready === false) resolve();
        });
      });
      const started = performance.now();
      putPods(server.store, [pod]);
      await Promise.race([
        written,
        pause(10_000).then(() => Promise.reject(new Error(`${label}: flip ${k} not seen`))),
      ]);
      figures.latencies.push(performance.now() - started);
      stop();
      await pause(20);
    }
    await pause(500);
    figures.writes = counts.writes / count;
    figures.octets = counts.octets / count;
  });
  report(`${label}: writes; octets per flip`, `${figures.writes.toFixed(2)}; ${figures.octets.toFixed(0)}`);
  report(`${label}: ms until written, min / median / max`, spread(figures.latencies, 1));
  report(`${label}: p99 of ${count}`, `${quantile(figures.latencies, 0.99).toFixed(1)} ms`);
  return figures;
}

heading("endpoint-sync");
const ours = await flipPods("controller", flips, (transport, signal) => controllerOn(transport)(signal));
const peer = await flipPods("recompute everything", peerFlips, (transport, signal) =>
  runRecomputing(createApiClient(transport), "web", signal),
);
const ratio = (a, b) => `×${(a / b).toFixed(2)}`;
report(
  "ratio to the peer: writes; octets; median ms",
  [
    ratio(ours.writes, peer.writes),
    ratio(ours.octets, peer.octets),
    ratio(quantile(ours.latencies, 0.5), quantile(peer.latencies, 0.5)),
  ].join("; "),
);

/** A server with many Services and their pods, and the time until all their slices are there. */
async function coldSync(label, start) {
  let elapsed = 0;
  await world(async ({ server, api, start: run }) => {
    for (let s = 0; s < serviceCount; s++) {
      await api.create(resources.services, serviceOf(`web-${s}`));
      putPods(
        server.store,
        Array.from({ length: podsPerService }, (_, i) => podOf(`web-${s}`, i, s * podsPerService + i)),
      );
    }
    const before = liveOctets();
    const { counts, transport } = counting(server.transport);
    const started = performance.now();
    run((signal) => start(transport, signal));
    const collection = "endpointslices.discovery.k8s.io";
    await until(label, () => server.store.count(collection, "default") >= serviceCount);
    await until(label, () => endpointsIn(slicesOf(server.store)) === serviceCount * podsPerService);
    elapsed = performance.now() - started;
    report(
      `${label}: cold sync, ${serviceCount} Services × ${podsPerService} pods`,
      `${elapsed.toFixed(0)} ms, ${counts.writes} writes`,
    );
    report(`${label}: memory, slices and what it keeps`, mebibytes(liveOctets() - before));
  });
  return elapsed;
}

/** Lists everything once, and for each Service looks through all pods and writes its slices, one after the other. */
async function recomputeOnce(transport) {
  const api = createApiClient(transport);
  const { items: services } = await api.list(resources.services);
  const { items: pods } = await api.list(resources.pods);
  for (const service of services) {
    const app = service.spec.selector?.app;
    if (app === undefined) continue;
    const endpoints = pods.filter((pod) => pod.metadata.labels?.app === app).map(endpointOf);
    for (let at = 0; at < endpoints.length; at += 100) {
      await api.create(resources.endpointSlices, sliceOf(app, at / 100, endpoints.slice(at, at + 100)));
    }
  }
}

const cold = await coldSync("controller", (transport, signal) => controllerOn(transport)(signal));
const coldPeer = await coldSync("recompute everything", recomputeOnce);
report("ratio to the peer: cold sync", ratio(cold, coldPeer));
