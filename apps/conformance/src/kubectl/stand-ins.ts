import type { InformerFactory, KubernetesApi } from "@portolan/client";
import { type Condition, type Node, type Pod, resources } from "@portolan/core";

/** Nodes of the recordings: three that are ready, in three zones, and one that has never reported. */
export async function createNodes(api: KubernetesApi): Promise<void> {
  for (const [index, zone] of ["zone-a", "zone-b", "zone-c", undefined].entries()) {
    const name = `node${index + 1}`;
    const resourceAmounts = { cpu: "640", memory: "1Ti", pods: "100k" };
    const node: Node = {
      kind: "Node",
      apiVersion: "v1",
      metadata: {
        name,
        labels: {
          "kubernetes.io/hostname": name,
          ...(zone === undefined
            ? {}
            : {
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": "r1",
                "topology.kubernetes.io/zone": zone,
              }),
        },
        annotations: { "node.alpha.kubernetes.io/ttl": "0" },
      },
      spec: {
        podCIDR: `10.244.${index + 1}.0/24`,
        podCIDRs: [`10.244.${index + 1}.0/24`, `fd00:10:244:${index + 1}::/64`],
      },
    };
    const created = await api.create(resources.nodes, node);
    const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const ready: Condition = {
      type: "Ready",
      status: "True",
      lastHeartbeatTime: time,
      lastTransitionTime: time,
      reason: "Fake",
      message: "fake",
    };
    await api.update<Node>(
      resources.nodes,
      {
        ...created,
        status: {
          capacity: resourceAmounts,
          allocatable: resourceAmounts,
          conditions: zone === undefined ? [] : [ready],
          addresses: [{ type: "InternalIP", address: "127.0.0.1" }],
          daemonEndpoints: { kubeletEndpoint: { Port: 26250 } },
        },
      },
      { subresource: "status" },
    );
  }
}

/** Binds a pod to a node. */
export type Bind = (namespace: string, name: string, node: string) => Promise<void>;

/** Runs tasks of one object one after another and forgets failures: another event follows, or the object is gone. */
function createSequence(onError: (error: unknown) => void): (key: string, task: () => Promise<void>) => void {
  const tails = new Map<string, Promise<void>>();
  return (key, task) => {
    const tail = (tails.get(key) ?? Promise.resolve()).then(task).catch(onError);
    tails.set(key, tail);
    void tail.then(() => {
      if (tails.get(key) === tail) tails.delete(key);
    });
  };
}

function keyOf(pod: Pod): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}/${pod.metadata.uid}`;
}

/** Places all pods on the first node, so that what they take from its zone is known. */
export function runScheduler(informers: InformerFactory, bind: Bind, onError: (error: unknown) => void): void {
  const inOrder = createSequence(onError);
  const schedule = (pod: Pod): void => {
    const { namespace, name, deletionTimestamp } = pod.metadata;
    if (pod.spec?.nodeName || deletionTimestamp !== undefined || (pod.spec?.schedulingGates ?? []).length > 0) return;
    inOrder(keyOf(pod), () => bind(namespace ?? "", name ?? "", "node1"));
  };
  informers.informer<Pod>(resources.pods).addHandler({ add: schedule });
}

/**
 * A kubelet that runs nothing: it says that pods run, and are ready unless their annotation `fake/ready` says `False`, and it lets
 * go of pods that are to be deleted. Logs, exec and attach are refused, as on a node whose kubelet port is closed.
 */
export function runKubelet(informers: InformerFactory, api: KubernetesApi, onError: (error: unknown) => void): void {
  const addresses = new Map<string, number>();
  const inOrder = createSequence(onError);

  async function start(pod: Pod): Promise<void> {
    const node = Number(/\d+$/.exec(pod.spec?.nodeName ?? "")?.[0] ?? 9);
    const host = (addresses.get(String(node)) ?? 1) + 1;
    addresses.set(String(node), host);
    const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const isReady = pod.metadata.annotations?.["fake/ready"] !== "False";
    const condition = (type: string, holds: boolean): Condition => ({
      type,
      status: holds ? "True" : "False",
      lastProbeTime: null,
      lastTransitionTime: time,
    });
    const podIP = `10.244.${node}.${host}`;
    await api.update<Pod>(
      resources.pods,
      {
        ...pod,
        status: {
          phase: "Running",
          conditions: [
            condition("PodReadyToStartContainers", true),
            condition("Initialized", true),
            condition("Ready", isReady),
            condition("ContainersReady", isReady),
            condition("PodScheduled", true),
          ],
          hostIP: "192.0.2.10",
          podIP,
          podIPs: [{ ip: podIP }, { ip: `fd00:10:244:${node}::${host.toString(16)}` }],
          startTime: time,
          containerStatuses: (pod.spec?.containers ?? []).map((container) => ({
            name: container.name,
            state: { running: { startedAt: time } },
            lastState: {},
            ready: isReady,
            restartCount: 0,
            image: container.image ?? "",
            imageID: "fake",
            containerID: "fake://x",
            started: true,
          })),
          ...(pod.status?.qosClass === undefined ? {} : { qosClass: pod.status.qosClass }),
        },
      },
      { subresource: "status" },
    );
  }

  const observe = (pod: Pod): void => {
    const { namespace, name, deletionTimestamp } = pod.metadata;
    if (!pod.spec?.nodeName) return;
    const path = { namespace: namespace ?? "", name: name ?? "" };
    if (deletionTimestamp !== undefined) {
      inOrder(keyOf(pod), async () => {
        await api.delete(resources.pods, path, { gracePeriodSeconds: 0 });
      });
    } else if (pod.status?.phase === undefined || pod.status.phase === "Pending") {
      inOrder(keyOf(pod), async () => {
        const current = await api.get<Pod>(resources.pods, path);
        if (current.status?.phase === "Running" || current.metadata.deletionTimestamp !== undefined) return;
        await start(current);
      });
    }
  };
  informers.informer<Pod>(resources.pods).addHandler({ add: observe, update: (_, pod) => observe(pod) });
}
