import type { Dataplane, NodeSpec, ServicePortSpec } from "@portolan/dataplane";

const policy = { internalTrafficPolicy: "Cluster", externalTrafficPolicy: "Cluster" } as const;

/** Services of both families, all protocols and every kind of frontend. */
export const services: readonly ServicePortSpec[] = [
  {
    id: "default/web:http/TCP/IPv4",
    family: "IPv4",
    protocol: "TCP",
    hasAny: true,
    ...policy,
    affinitySeconds: 100,
    sourceRanges: ["203.0.113.0/25"],
    frontends: [
      { kind: "ClusterIP", address: "10.96.0.10", port: 80 },
      { kind: "LoadBalancer", address: "1.2.3.4", port: 80 },
      { kind: "ExternalIP", address: "5.6.7.8", port: 80 },
      { kind: "NodePort", port: 30080 },
    ],
    cluster: [
      { address: "10.244.1.11", port: 8080, local: true, name: "default/web-1" },
      { address: "10.244.1.12", port: 8080, local: true, name: "default/web-2" },
      { address: "10.244.2.13", port: 8080, name: "default/web-3" },
    ],
    local: [],
  },
  {
    id: "default/dns:dns/UDP/IPv4",
    family: "IPv4",
    protocol: "UDP",
    hasAny: true,
    ...policy,
    externalTrafficPolicy: "Local",
    scheduler: "rr",
    frontends: [
      { kind: "ClusterIP", address: "10.96.0.53", port: 53 },
      { kind: "NodePort", port: 30053 },
    ],
    cluster: [
      { address: "10.244.1.11", port: 5353, local: true },
      { address: "10.244.2.13", port: 5353 },
    ],
    local: [{ address: "10.244.1.11", port: 5353, local: true }],
  },
  {
    id: "default/signal:/SCTP/IPv4",
    family: "IPv4",
    protocol: "SCTP",
    hasAny: true,
    ...policy,
    scheduler: "wlc",
    frontends: [{ kind: "ClusterIP", address: "10.96.0.99", port: 9 }],
    cluster: [
      { address: "10.244.1.11", port: 9, weight: 2 },
      { address: "10.244.2.13", port: 1009 },
    ],
    local: [],
  },
  {
    id: "default/empty:/TCP/IPv4",
    family: "IPv4",
    protocol: "TCP",
    hasAny: false,
    ...policy,
    frontends: [{ kind: "ClusterIP", address: "10.96.0.66", port: 80 }],
    cluster: [],
    local: [],
  },
  {
    id: "default/web:http/TCP/IPv6",
    family: "IPv6",
    protocol: "TCP",
    hasAny: true,
    ...policy,
    scheduler: "mh",
    frontends: [
      { kind: "ClusterIP", address: "fd00:10:96::10", port: 80 },
      { kind: "NodePort", port: 30080 },
    ],
    cluster: [
      { address: "fd00:10:244:1::11", port: 8080, local: true },
      { address: "fd00:10:244:2::13", port: 8080 },
    ],
    local: [],
  },
  {
    id: "default/dns:dns/UDP/IPv6",
    family: "IPv6",
    protocol: "UDP",
    hasAny: true,
    ...policy,
    frontends: [{ kind: "ClusterIP", address: "fd00:10:96::53", port: 53 }],
    cluster: [{ address: "fd00:10:244:1::11", port: 5353, local: true }],
    local: [],
  },
];

export const node: NodeSpec = {
  addresses: ["192.168.50.10", "fd00:50::10", "10.244.1.1", "fd00:10:244:1::1"],
  clusterCIDRs: ["10.244.0.0/16", "fd00:10:244::/56"],
  serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"],
};

/** Our address on every link. */
export const macs = { pod: "02:00:00:00:01:01", uplink: "02:00:00:00:01:02", host: "02:00:00:00:01:03" } as const;
/** The other ends. */
export const peers = { pod: "02:00:00:00:02:11", router: "02:00:00:00:02:01", stack: "02:00:00:00:02:03" } as const;

/** A node: the services above, a pod on port 0, the network on port 1, its own stack on port 2. */
export function configure(dataplane: Dataplane): Dataplane {
  dataplane.configureNode(node);
  dataplane.replaceServicePorts(services);
  return dataplane;
}

export function addPorts(dataplane: Dataplane): Dataplane {
  dataplane.setPort(0, { mac: macs.pod, kind: "pod", addresses: ["10.244.1.1", "fd00:10:244:1::1"] });
  dataplane.setPort(1, { mac: macs.uplink, kind: "uplink", mtu: 1400, addresses: ["192.168.50.10", "fd00:50::10"] });
  dataplane.setPort(2, { mac: macs.host, kind: "host", peerMac: peers.stack });
  dataplane.setRoute("10.244.1.11", { port: 0, nextHopMac: peers.pod });
  dataplane.setRoute("10.244.1.12", { port: 0, nextHopMac: peers.pod });
  dataplane.setRoute("fd00:10:244:1::11", { port: 0, nextHopMac: peers.pod });
  dataplane.setRoute("10.244.2.0/24", { port: 1, nextHopMac: peers.router });
  dataplane.setRoute("fd00:10:244:2::/64", { port: 1, nextHopMac: peers.router });
  dataplane.setRoute("0.0.0.0/0", { port: 1, nextHopMac: peers.router, masquerade: true });
  dataplane.setRoute("::/0", { port: 1, nextHopMac: peers.router });
  return dataplane;
}
