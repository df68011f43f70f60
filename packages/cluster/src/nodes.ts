import type { Node } from "@portolan/core";

/** Room for all that a test may want: pods that are objects need none. */
const capacity = { cpu: "1000", memory: "4Ti", "ephemeral-storage": "4Ti", pods: "100000" };

/** A node that nothing runs on: an object that says it is ready. */
export function bareNode(name: string, address: string, podCIDR: string, zone: string, now: number = Date.now()): Node {
  const time = `${new Date(now).toISOString().slice(0, 19)}Z`;
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone } },
    spec: { podCIDR, podCIDRs: [podCIDR] },
    status: {
      addresses: [
        { type: "InternalIP", address },
        { type: "Hostname", address: name },
      ],
      capacity,
      allocatable: capacity,
      conditions: [
        {
          type: "Ready",
          status: "True",
          reason: "KubeletReady",
          message: "its pods are objects only",
          lastHeartbeatTime: time,
          lastTransitionTime: time,
        },
      ],
    },
  };
}
