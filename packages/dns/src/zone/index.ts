/**
 * Cluster DNS as data: Kubernetes objects in, DNS answers out.
 *
 * ```ts
 * import { createClusterZone } from "@portolan/dns/zone";
 * import { nameFromText, recordToText, recordTypes } from "@portolan/dns/message";
 *
 * const zone = createClusterZone({ domain: "cluster.local", podMode: "insecure", ttl: 30 });
 * zone.apply({ kind: "Namespace", metadata: { name: "default" } });
 * zone.apply({ kind: "Service", metadata: { name: "web", namespace: "default" },
 *   spec: { clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80, protocol: "TCP" }] } });
 * const answer = zone.answer(nameFromText("web.default.svc.cluster.local."), recordTypes.A);
 * answer?.answers.map(recordToText); // ["web.default.svc.cluster.local. 30 IN A 10.96.0.7"]
 * ```
 *
 * @packageDocumentation
 */
export {
  type ClusterZone,
  ClusterZoneError,
  type ClusterZoneOptions,
  createClusterZone,
  type PodMode,
  type ZoneAnswer,
} from "./cluster-zone.ts";
export { reverseZonesOfPrefix } from "./reverse-name.ts";
