import { setMaxListeners } from "node:events";
import { createInformerFactory } from "@portolan/client";
import { type Deployment, type Job, type Node, type Pod, resources, type StatefulSet } from "@portolan/core";
import { afterEach, describe, expect, it } from "vitest";
import { createFakeKubelet, type PodScript } from "../src/fake-kubelet/index.ts";
import { createScheduler } from "../src/scheduler/index.ts";
import { type ControllerRevision, controllerRevisionType } from "../src/workloads/controller-revisions.ts";
import {
  createDaemonSetController,
  createDeploymentController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "../src/workloads/index.ts";
import { createMemoryKubernetes, eventually } from "./memory-kubernetes.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function start(script: (pod: Pod) => PodScript = () => ({})) {
  const api = createMemoryKubernetes();
  const informers = createInformerFactory(api);
  const events: string[] = [];
  const sink = {
    event: (object: { metadata?: { name?: string } }, _: string, reason: string, message: string) => {
      events.push(`${object.metadata?.name} ${reason} ${message}`);
    },
  };
  const options = { api, informers, events: sink };
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const kubelet = createFakeKubelet({ api, informers, script });
  const runs = [
    createDeploymentController(options),
    createReplicaSetController(options),
    createStatefulSetController(options),
    createDaemonSetController(options),
    createJobController(options),
    createScheduler(options),
    kubelet,
  ].map((one) => one.run(controller.signal));
  stops.push(async () => {
    controller.abort();
    await Promise.all(runs);
  });
  const pods = (): Pod[] => api.objects<Pod>(resources.pods);
  const ready = (): Pod[] =>
    pods().filter((pod) => pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True"));
  return { api, events, pods, ready, kubelet };
}

async function addNodes(api: ReturnType<typeof createMemoryKubernetes>, count = 3): Promise<void> {
  for (let index = 1; index <= count; index++) {
    await api.create<Node>(resources.nodes, {
      metadata: { name: `node-${index}`, labels: { "kubernetes.io/hostname": `node-${index}` } },
      spec: { podCIDR: `10.244.${index}.0/24` },
      status: { addresses: [{ type: "InternalIP", address: `172.18.0.${index}` }] },
    });
  }
}

function deployment(image = "web:1", replicas = 3): Deployment {
  return {
    metadata: { name: "web", namespace: "default" },
    spec: {
      replicas,
      selector: { matchLabels: { app: "web" } },
      template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "web", image }] } },
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      progressDeadlineSeconds: 600,
      revisionHistoryLimit: 10,
    },
  };
}

const names = (pods: readonly Pod[]): string[] => pods.map(({ metadata }) => metadata.name ?? "").sort();

describe("deployment", () => {
  it("makes a ReplicaSet and pods that are ready, spread over the nodes, and says so in its status", async () => {
    const { api, ready, events } = start();
    await addNodes(api);
    await api.create(resources.deployments, deployment());
    await eventually(
      () => ready().length === 3,
      () => JSON.stringify(ready()),
    );
    expect(new Set(ready().map((pod) => pod.spec?.nodeName))).toEqual(new Set(["node-1", "node-2", "node-3"]));
    const [set] = api.objects(resources.replicaSets);
    const hash = set?.metadata?.labels?.["pod-template-hash"];
    expect(set?.metadata?.name).toBe(`web-${hash}`);
    expect(ready().every((pod) => pod.metadata.labels?.["pod-template-hash"] === hash)).toBe(true);
    const status = (): Deployment["status"] => api.objects(resources.deployments)[0]?.status;
    await eventually(
      () =>
        status()?.availableReplicas === 3 &&
        status()?.conditions?.some((c) => c.reason === "NewReplicaSetAvailable") === true,
      () => JSON.stringify(status()),
    );
    expect(status()).toMatchObject({ replicas: 3, updatedReplicas: 3, readyReplicas: 3, unavailableReplicas: 0 });
    expect(api.objects(resources.deployments)[0]?.metadata?.annotations?.["deployment.kubernetes.io/revision"]).toBe(
      "1",
    );
    expect(events).toContain(`web ScalingReplicaSet Scaled up replica set web-${hash} from 0 to 3`);
    expect(events.some((event) => /Scheduled Successfully assigned default\/web-\S+ to node-1$/.test(event))).toBe(
      true,
    );
  });

  it("replaces a pod that was deleted by hand", async () => {
    const { api, ready } = start();
    await addNodes(api);
    await api.create(resources.deployments, deployment());
    await eventually(
      () => ready().length === 3,
      () => "3 ready",
    );
    const before = names(ready());
    await api.delete(resources.pods, { name: before[0]!, namespace: "default" });
    await eventually(
      () => ready().length === 3 && !names(ready()).includes(before[0]!),
      () => names(ready()).join(),
    );
    expect(names(ready()).filter((name) => before.includes(name))).toHaveLength(2);
  });

  it("rolls out a new template without ever having fewer pods available than allowed", async () => {
    const { api, ready, pods } = start(() => ({ readyAfter: 30, terminateAfter: 20 }));
    await addNodes(api);
    await api.create(resources.deployments, deployment());
    await eventually(
      () => ready().length === 3,
      () => "3 ready",
    );
    let least = 3;
    let most = 0;
    const watching = setInterval(() => {
      const live = ready().filter((pod) => pod.metadata.deletionTimestamp === undefined);
      least = Math.min(least, live.length);
      most = Math.max(most, pods().filter((pod) => pod.metadata.deletionTimestamp === undefined).length);
    }, 1);
    await api.patch(
      resources.deployments,
      { name: "web", namespace: "default" },
      { spec: { template: { spec: { containers: [{ name: "web", image: "web:2" }] } } } },
    );
    const updated = (): boolean =>
      ready().length === 3 && pods().length === 3 && ready().every((pod) => pod.spec?.containers[0]?.image === "web:2");
    await eventually(updated, () => JSON.stringify(pods().map((pod) => [pod.metadata.name, pod.status?.phase])));
    clearInterval(watching);
    expect(least).toBe(3);
    expect(most).toBeLessThanOrEqual(4);
    const current = (): Deployment => api.objects<Deployment>(resources.deployments)[0]!;
    await eventually(
      () => current().status?.updatedReplicas === 3 && current().status?.replicas === 3,
      () => JSON.stringify(current().status),
    );
    expect(current().metadata.annotations?.["deployment.kubernetes.io/revision"]).toBe("2");
    expect(
      api
        .objects(resources.replicaSets)
        .map((set) => (set.spec as { replicas: number }).replicas)
        .sort(),
    ).toEqual([0, 3]);
  });

  it("scales, and comes back to an old ReplicaSet with a new revision when the old template is set again", async () => {
    const { api, ready, pods } = start();
    await addNodes(api);
    await api.create(resources.deployments, deployment());
    await eventually(
      () => ready().length === 3,
      () => "3 ready",
    );
    const path = { name: "web", namespace: "default" };
    await api.patch(resources.deployments, path, { spec: { replicas: 5 } });
    await eventually(
      () => ready().length === 5,
      () => "5 ready",
    );
    await api.patch(resources.deployments, path, { spec: { replicas: 1 } });
    await eventually(
      () => pods().length === 1,
      () => "1 pod",
    );
    for (const [image, revision] of [
      ["web:2", "2"],
      ["web:1", "3"],
    ]) {
      await api.patch(resources.deployments, path, {
        spec: { template: { spec: { containers: [{ name: "web", image }] } } },
      });
      await eventually(
        () => pods().length === 1 && ready()[0]?.spec?.containers[0]?.image === image,
        () => JSON.stringify(pods().map((pod) => pod.spec)),
      );
      await eventually(
        () =>
          api.objects(resources.deployments)[0]?.metadata?.annotations?.["deployment.kubernetes.io/revision"] ===
          revision,
        () => JSON.stringify(api.objects(resources.deployments)[0]?.metadata),
      );
    }
    expect(api.objects(resources.replicaSets)).toHaveLength(2);
  });

  it("with Recreate ends all old pods before it makes new ones", async () => {
    const { api, ready, pods } = start(() => ({ terminateAfter: 50 }));
    await addNodes(api);
    const object = deployment();
    object.spec!.strategy = { type: "Recreate" };
    await api.create(resources.deployments, object);
    await eventually(
      () => ready().length === 3,
      () => "3 ready",
    );
    let mixed = false;
    const watching = setInterval(() => {
      if (new Set(pods().map((pod) => pod.spec?.containers[0]?.image)).size > 1) mixed = true;
    }, 1);
    await api.patch(
      resources.deployments,
      { name: "web", namespace: "default" },
      { spec: { template: { spec: { containers: [{ name: "web", image: "web:2" }] } } } },
    );
    await eventually(
      () => ready().length === 3 && ready().every((pod) => pod.spec?.containers[0]?.image === "web:2"),
      () => JSON.stringify(pods().map((pod) => pod.spec?.containers)),
    );
    clearInterval(watching);
    expect(mixed).toBe(false);
  });

  it("takes over pods that match and lets go of pods whose labels changed", async () => {
    const { api, ready, pods } = start();
    await addNodes(api);
    await api.create(resources.deployments, deployment("web:1", 2));
    await eventually(
      () => ready().length === 2,
      () => "2 ready",
    );
    const [name] = names(ready());
    await api.patch(resources.pods, { name: name!, namespace: "default" }, { metadata: { labels: { app: "debug" } } });
    await eventually(
      () => pods().length === 3,
      () => names(pods()).join(),
    );
    await eventually(
      () => (pods().find((pod) => pod.metadata.name === name)?.metadata.ownerReferences ?? []).length === 0,
      () => JSON.stringify(pods().find((pod) => pod.metadata.name === name)),
    );
  });
});

describe("stateful set", () => {
  const object = (replicas: number): StatefulSet => ({
    metadata: { name: "mysql", namespace: "default" },
    spec: {
      replicas,
      serviceName: "mysql-headless",
      selector: { matchLabels: { app: "mysql" } },
      template: { metadata: { labels: { app: "mysql" } }, spec: { containers: [{ name: "db", image: "mysql:8.0" }] } },
    },
  });

  it("makes pods in order with stable names, host names and labels", async () => {
    const order: string[] = [];
    const { api, ready } = start((pod) => {
      if (!order.includes(pod.metadata.name ?? "")) order.push(pod.metadata.name ?? "");
      return { readyAfter: 20 };
    });
    await addNodes(api);
    await api.create(resources.statefulSets, object(3));
    await eventually(
      () => ready().length === 3,
      () => names(ready()).join(),
    );
    expect(order).toEqual(["mysql-0", "mysql-1", "mysql-2"]);
    const first = ready().find((pod) => pod.metadata.name === "mysql-1");
    expect(first?.spec).toMatchObject({ hostname: "mysql-1", subdomain: "mysql-headless" });
    expect(first?.metadata.labels).toMatchObject({
      app: "mysql",
      "statefulset.kubernetes.io/pod-name": "mysql-1",
      "apps.kubernetes.io/pod-index": "1",
    });
    const status = (): StatefulSet["status"] => api.objects<StatefulSet>(resources.statefulSets)[0]!.status;
    await eventually(
      () => status()?.availableReplicas === 3,
      () => JSON.stringify(status()),
    );
    expect(status()?.currentRevision).toBe(first?.metadata.labels?.["controller-revision-hash"]);
  });

  it("gives a deleted pod its name back, and updates from the highest ordinal", async () => {
    const { api, ready, pods } = start();
    await addNodes(api);
    await api.create(resources.statefulSets, object(3));
    await eventually(
      () => ready().length === 3,
      () => names(ready()).join(),
    );
    const old = ready().find((pod) => pod.metadata.name === "mysql-1")?.metadata.uid;
    await api.delete(resources.pods, { name: "mysql-1", namespace: "default" });
    await eventually(
      () => ready().length === 3 && ready().find((pod) => pod.metadata.name === "mysql-1")?.metadata.uid !== old,
      () => names(ready()).join(),
    );
    await api.patch(
      resources.statefulSets,
      { name: "mysql", namespace: "default" },
      { spec: { template: { spec: { containers: [{ name: "db", image: "mysql:8.0.1" }] } } } },
    );
    await eventually(
      () => ready().length === 3 && ready().every((pod) => pod.spec?.containers[0]?.image === "mysql:8.0.1"),
      () => JSON.stringify(pods().map((pod) => pod.spec)),
    );
    const created = ["mysql-0", "mysql-1", "mysql-2"].map((name) =>
      Number(
        pods()
          .find((pod) => pod.metadata.name === name)
          ?.metadata.uid?.slice(4),
      ),
    );
    expect(created[2]).toBeLessThan(created[1]!);
    expect(created[1]).toBeLessThan(created[0]!);
    const status = (): StatefulSet["status"] => api.objects<StatefulSet>(resources.statefulSets)[0]!.status;
    await eventually(
      () => status()?.currentRevision === status()?.updateRevision,
      () => JSON.stringify(status()),
    );
    await api.patch(resources.statefulSets, { name: "mysql", namespace: "default" }, { spec: { replicas: 1 } });
    await eventually(
      () => names(pods()).join() === "mysql-0",
      () => names(pods()).join(),
    );
  });

  it("below the partition keeps the old template, and keeps each template as a revision", async () => {
    const { api, ready, pods } = start();
    await addNodes(api);
    await api.create(resources.statefulSets, object(3));
    await eventually(
      () => ready().length === 3,
      () => names(ready()).join(),
    );
    const path = { name: "mysql", namespace: "default" };
    await api.patch(resources.statefulSets, path, {
      spec: {
        updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 2 } },
        template: { spec: { containers: [{ name: "db", image: "mysql:9" }] } },
      },
    });
    const images = (): string =>
      ready()
        .sort((a, b) => (a.metadata.name ?? "").localeCompare(b.metadata.name ?? ""))
        .map((pod) => pod.spec?.containers[0]?.image)
        .join();
    await eventually(() => images() === "mysql:8.0,mysql:8.0,mysql:9", images);
    const first = pods().find((pod) => pod.metadata.name === "mysql-0")?.metadata.uid;
    await api.delete(resources.pods, { name: "mysql-0", namespace: "default" });
    await eventually(
      () => ready().length === 3 && pods().find((pod) => pod.metadata.name === "mysql-0")?.metadata.uid !== first,
      images,
    );
    expect(images()).toBe("mysql:8.0,mysql:8.0,mysql:9");
    const revisions = api.objects<ControllerRevision>(controllerRevisionType);
    expect(revisions.map(({ revision }) => revision).sort()).toEqual([1, 2]);
    await api.patch(resources.statefulSets, path, {
      spec: { template: { spec: { containers: [{ name: "db", image: "mysql:8.0" }] } } },
    });
    await eventually(() => images() === "mysql:8.0,mysql:8.0,mysql:8.0", images);
    expect(
      api
        .objects<ControllerRevision>(controllerRevisionType)
        .map(({ revision }) => revision)
        .sort(),
    ).toEqual([2, 3]);
  });
});

describe("daemon set and job", () => {
  it("runs a pod on every node, also on those that come later and those that are cordoned", async () => {
    const { api, ready } = start();
    await addNodes(api, 2);
    await api.create(resources.daemonSets, {
      metadata: { name: "agent", namespace: "default" },
      spec: {
        selector: { matchLabels: { app: "agent" } },
        template: { metadata: { labels: { app: "agent" } }, spec: { containers: [{ name: "agent", image: "agent" }] } },
      },
    } as never);
    await eventually(
      () => ready().length === 2,
      () => names(ready()).join(),
    );
    await api.create<Node>(resources.nodes, { metadata: { name: "node-9" }, spec: { unschedulable: true } });
    await eventually(
      () => ready().length === 3,
      () => names(ready()).join(),
    );
    expect(
      ready()
        .map((pod) => pod.spec?.nodeName)
        .sort(),
    ).toEqual(["node-1", "node-2", "node-9"]);
  });

  it("completes a Job, and gives up one that fails too often", async () => {
    const { api } = start((pod) => ({ endAfter: 10, exitCode: pod.metadata.name?.startsWith("bad") === true ? 3 : 0 }));
    await addNodes(api, 1);
    const job = (name: string): Job => ({
      metadata: { name, namespace: "default" },
      spec: {
        completions: 3,
        parallelism: 2,
        backoffLimit: 1,
        template: { spec: { restartPolicy: "Never", containers: [{ name: "work", image: "work" }] } },
      },
    });
    await api.create(resources.jobs, job("good"));
    await api.create(resources.jobs, job("bad"));
    const status = (name: string): Job["status"] =>
      api.objects<Job>(resources.jobs).find((one) => one.metadata?.name === name)?.status;
    const has = (name: string, type: string): boolean =>
      status(name)?.conditions?.some((condition) => condition.type === type && condition.status === "True") === true;
    await eventually(
      () => has("good", "Complete"),
      () => JSON.stringify(status("good")),
    );
    await eventually(
      () => has("bad", "Failed"),
      () => JSON.stringify(status("bad")),
    );
    expect(status("good")?.succeeded).toBe(3);
    expect(status("bad")?.conditions?.find(({ type }) => type === "Failed")?.reason).toBe("BackoffLimitExceeded");
  });
});
