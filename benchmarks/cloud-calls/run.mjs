import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";
import { createApiClient, createEventRecorder, createInformerFactory } from "@portolan/client";
import { createFakeClock, createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { createCallContext, createServiceController, ProviderError, pacedPort } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { awsProvider } from "@portolan/lb-aws";
import { MemoryCloud } from "@portolan/lb-aws/testing";
import { azureProvider } from "@portolan/lb-azure";
import { AzureCloud } from "@portolan/lb-azure/testing";
import { gcpProvider } from "@portolan/lb-gcp";
import { createMemoryCloud, memoryPort } from "@portolan/lb-gcp/testing";
import { heading, report } from "../figures.mjs";

const many = Number(process.argv[2] ?? 1000);
const only = process.argv[3];
const reads = /^(describe|get|list|find)/;

/** A port whose calls are counted, each for a token of `bucket` if there is one. */
function metered(port, bucket) {
  const counts = { reads: 0, writes: 0, throttled: 0 };
  const proxy = new Proxy(port, {
    get(target, property) {
      const member = Reflect.get(target, property, target);
      if (typeof member !== "function") return member;
      return async (...parameters) => {
        const delay = bucket?.take() ?? 0;
        if (delay > 0) {
          counts.throttled++;
          throw new ProviderError("Throttled", "Rate exceeded", { retryAfter: delay });
        }
        counts[reads.test(String(property)) ? "reads" : "writes"]++;
        return await Reflect.apply(member, target, parameters);
      };
    },
  });
  return { counts, port: proxy };
}

/** Calls wait for their turn: a little slower than the cloud allows. */
const paced = (port, clock) =>
  clock === undefined ? port : pacedPort(port, { clock, paces: [{ methods: /./, perSecond: 18, burst: 150 }] });

const clouds = {
  aws: (bucket, clock) => {
    // With AWS' usual quotas the fiftieth load balancer and the sixtieth rule of the nodes' group would be the last.
    const cloud = new MemoryCloud({ loadBalancersPerRegion: 10_000, rulesPerSecurityGroup: 10_000 });
    const { port: bare, counts } = metered(cloud, bucket);
    return { counts, provider: awsProvider({ clusterName: "kit", port: paced(bare, clock) }) };
  },
  gcp: (bucket, clock) => {
    const { port: bare, counts } = metered(memoryPort(createMemoryCloud()), bucket);
    const port = paced(bare, clock);
    const configuration = {
      project: "shop",
      region: "europe-west1",
      kubeSystemUID: "0a1b2c3d-0000-1111-2222-333344445555",
      network: "default",
      subnetwork: "default",
      nodeTags: ["node"],
    };
    return { counts, provider: gcpProvider({ port, configuration }) };
  },
  azure: (bucket, clock) => {
    const { port: bare, counts } = metered(new AzureCloud(), bucket);
    const port = paced(bare, clock);
    const configuration = {
      clusterName: "kubernetes",
      resourceGroup: "rg",
      location: "westus",
      vnetName: "vnet",
      subnetName: "subnet",
    };
    return { counts, provider: azureProvider({ port, configuration }) };
  },
};

/** One sync as the controller makes it, until the cloud is through; waits take no time. */
async function ensure(provider, service, nodes) {
  const { namespace, name, uid } = service.metadata;
  const clock = createFakeClock();
  for (;;) {
    const turning = setInterval(() => void clock.advance(1000), 1);
    try {
      const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: uid, clock });
      const observed = await provider.observe(context, { namespace, name, uid });
      const plan = provider.plan({ service, nodes, observed, endpointSlices: [] });
      if ((await provider.apply(context, plan)).ingress.length > 0) return;
    } catch (error) {
      if (!["NotReady", "Concurrency"].includes(error.code)) throw error;
    } finally {
      clearInterval(turning);
    }
  }
}

if (only !== undefined && clouds[only] === undefined) {
  console.error(`there is no cloud "${only}"; known are ${Object.keys(clouds).join(", ")}`);
  process.exit(2);
}
const chosen = Object.entries(clouds).filter(([name]) => only === undefined || name === only);

heading("cloud-calls");
for (const [name, make] of chosen) {
  const { provider, counts } = make();
  const nodes = sampleNodes(3);
  const service = sampleService("web");
  const key = { namespace: "default", name: "web", uid: service.metadata.uid };
  const measure = async (work) => {
    const before = { ...counts };
    await work();
    return `${counts.reads - before.reads} + ${counts.writes - before.writes}`;
  };
  const changed = structuredClone(service);
  changed.spec.ports.push({ name: "admin", protocol: "TCP", port: 8443, targetPort: 8443, nodePort: 30443 });
  const context = () => createCallContext({ signal: new AbortController().signal, idempotencyKey: "benchmark" });
  const cells = [
    ["create", await measure(() => ensure(provider, service, nodes))],
    ["nothing changed", await measure(() => ensure(provider, service, nodes))],
    ["a port more", await measure(() => ensure(provider, changed, nodes))],
    [
      "a node more",
      await measure(
        () => provider.updateNodes?.(context(), key, sampleNodes(4)) ?? ensure(provider, changed, sampleNodes(4)),
      ),
    ],
    ["delete", await measure(() => provider.destroy(context(), key).catch(() => provider.destroy(context(), key)))],
  ];
  report(`${name}: calls, reads + writes`, cells.map(([what, text]) => `${what} ${text}`).join("; "));
  report(`${name}: declared reads without a change`, String(provider.capabilities.callBudget.steadyReads));
}

/** Calls that a cloud lets through: so many a second, so many at once; in the time of `clock`. */
function createBucket(clock, perSecond, burst) {
  let tokens = burst;
  let at = clock.now();
  return {
    take() {
      const now = clock.now();
      tokens = Math.min(burst, tokens + ((now - at) / 1000) * perSecond);
      at = now;
      if (tokens >= 1) {
        tokens -= 1;
        return 0;
      }
      return Math.ceil(((1 - tokens) / perSecond) * 1000);
    },
  };
}

/** Many Services at once on a cloud that throttles, driven by the service controller; time is virtual. */
for (const [name, make] of chosen) {
  const clock = createFakeClock();
  const { provider, counts } = make(createBucket(clock, 20, 200), clock);
  const memory = createMemoryApi({ now: clock.now });
  const api = createApiClient(memory.transport);
  const informers = createInformerFactory(api, { clock });
  const stop = new AbortController();
  const events = createEventRecorder({ api, component: "service-controller", clock, signal: stop.signal });
  const run = createServiceController({
    api,
    informers,
    providers: [provider],
    events,
    clock,
    resync: 0,
    workers: 10,
  }).run(stop.signal);
  for (const node of sampleNodes(3)) {
    memory.apply(resources.nodes, {
      metadata: { name: node.name, labels: { "topology.kubernetes.io/zone": node.zone } },
      spec: { providerID: node.providerID },
      status: { addresses: node.addresses.map((address) => ({ type: "InternalIP", address })) },
    });
  }
  for (let index = 0; index < many; index++) {
    const service = sampleService(`web-${index}`);
    service.spec.ports[0].nodePort = 30000 + (index % 2767);
    memory.apply(resources.services, service);
  }
  informers.start(stop.signal);
  const started = clock.now();
  const wall = performance.now();
  const served = () =>
    memory.objects(resources.services).filter((service) => (service.status?.loadBalancer?.ingress ?? []).length > 0)
      .length;
  while (served() < many && clock.now() - started < 6 * 3_600_000) await clock.advance(1000);
  stop.abort();
  await clock.advance(1000);
  await run;
  report(
    `${name}: ${many} Services at 20 calls a second`,
    `${served()} served after ${((clock.now() - started) / 1000).toFixed(0)} s (virtual), ${counts.reads} reads, ${counts.writes} writes, ` +
      `${counts.throttled} throttled; ${((performance.now() - wall) / 1000).toFixed(0)} s of this machine`,
  );
}

/** Time to load an entry in a process of its own, beyond what Node needs for nothing. */
function loadTime(entry) {
  const require = createRequire(import.meta.url);
  const url = entry === undefined ? undefined : require.resolve(entry);
  const code = url === undefined ? "0" : `await import(${JSON.stringify(`file://${url}`)})`;
  const times = Array.from({ length: 5 }, () => {
    const before = performance.now();
    spawnSync(process.execPath, ["--input-type=module", "-e", code], { stdio: "ignore" });
    return performance.now() - before;
  });
  return Math.min(...times);
}

const bare = loadTime(undefined);
for (const [name] of chosen) {
  report(
    `${name}: to load the provider`,
    `${(loadTime(`@portolan/lb-${name}`) - bare).toFixed(0)} ms beyond bare Node's ${bare.toFixed(0)} ms`,
  );
}
