import { createHash } from "node:crypto";
import type { Node, Service } from "@portolan/core";
import { sourceRangesOf } from "@portolan/lb";

/** One port of an embedded proxy and where it leads. */
export interface ProxyListener {
  readonly listener: { readonly address: string; readonly port: number; readonly protocol: string };
  readonly backends: readonly { readonly address: string; readonly port: number; readonly protocol: string }[];
}

/** What a proxy in front of the nodes has to do for a Service. */
export interface ProxyConfiguration {
  /** Node port that tells whether a node wants traffic: the Service's own with policy Local, else kube-proxy's. */
  readonly healthCheckPort: number;
  /** By `FAMILY_port_PROTOCOL`. */
  readonly listeners: Readonly<Record<string, ProxyListener>>;
  readonly sessionAffinity: "None" | "ClientIP";
  readonly sourceRanges: readonly string[];
}

/** Port of kube-proxy's own health check. */
const proxyHealthPort = 10256;

/** Name of the proxy container of a Service, as cloud-provider-kind gives it. */
export function proxyContainerName(clusterName: string, service: Service): string {
  const text = `${clusterName}/${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`;
  return `kindccm-${createHash("sha256").update(text).digest("hex").slice(0, 12)}`;
}

/** Address that a proxy listens on for a Service: any of its family, or the empty text for both. */
export function proxyListenAddress(service: Service): string {
  const families = service.spec?.ipFamilies ?? ["IPv4"];
  if (families.length > 1) return "";
  return families[0] === "IPv6" ? "::" : "0.0.0.0";
}

/** Listeners per family, port and protocol, each leading to the node port on every node that has an address of the family. */
export function proxyConfiguration(service: Service, nodes: readonly Node[]): ProxyConfiguration {
  const spec = service.spec ?? {};
  const listeners: Record<string, ProxyListener> = {};
  for (const family of spec.ipFamilies ?? ["IPv4"]) {
    for (const { port, nodePort = 0, protocol = "TCP" } of spec.ports ?? []) {
      const backends = nodes.flatMap((node) => {
        const found = (node.status?.addresses ?? []).find(
          (entry) => entry.type === "InternalIP" && entry.address.includes(":") === (family === "IPv6"),
        );
        return found === undefined ? [] : [{ address: found.address, port: nodePort, protocol }];
      });
      const address = family === "IPv6" ? "::" : "0.0.0.0";
      listeners[`${family}_${port}_${protocol}`] = { listener: { address, port, protocol }, backends };
    }
  }
  return {
    listeners,
    healthCheckPort:
      spec.externalTrafficPolicy === "Local" && spec.healthCheckNodePort ? spec.healthCheckNodePort : proxyHealthPort,
    sessionAffinity: spec.sessionAffinity === "ClientIP" ? "ClientIP" : "None",
    sourceRanges: sourceRangesOf(service),
  };
}
