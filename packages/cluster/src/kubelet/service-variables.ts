import type { Lister } from "@portolan/client";
import type { Service } from "@portolan/core";

/** The variables of one Service (`NAME_SERVICE_HOST` and so on); none without a cluster IP. */
function variablesOf(service: Service): [string, string][] {
  const address = service.spec?.clusterIP ?? "";
  const ports = service.spec?.ports ?? [];
  const [first] = ports;
  if (address === "" || address === "None" || first === undefined || service.spec?.type === "ExternalName") return [];
  const upper = (text: string): string => text.toUpperCase().replaceAll("-", "_");
  const name = upper(service.metadata.name ?? "");
  const host = address.includes(":") ? `[${address}]` : address;
  const url = (port: (typeof ports)[number]): string =>
    `${(port.protocol ?? "TCP").toLowerCase()}://${host}:${port.port}`;
  return [
    [`${name}_SERVICE_HOST`, address],
    [`${name}_SERVICE_PORT`, String(first.port)],
    ...ports.flatMap((port): [string, string][] =>
      port.name === undefined || port.name === ""
        ? []
        : [[`${name}_SERVICE_PORT_${upper(port.name)}`, String(port.port)]],
    ),
    [`${name}_PORT`, url(first)],
    ...ports.flatMap((port): [string, string][] => {
      const protocol = port.protocol ?? "TCP";
      const prefix = `${name}_PORT_${port.port}_${protocol}`;
      return [
        [prefix, url(port)],
        [`${prefix}_PROTO`, protocol.toLowerCase()],
        [`${prefix}_PORT`, String(port.port)],
        [`${prefix}_ADDR`, address],
      ];
    }),
  ];
}

/**
 * The variables by which a pod of `namespace` finds Services: always those of `default/kubernetes`, with `links` those of its own
 * namespace too (pkg/kubelet/envvars).
 */
export function serviceVariables(services: Lister<Service>, namespace: string, links: boolean): Record<string, string> {
  const kubernetes = services.get("default", "kubernetes");
  const own = links ? services.list(namespace) : [];
  const shadowed = own.some(({ metadata }) => metadata.name === "kubernetes");
  const visible =
    kubernetes === undefined || shadowed || (namespace === "default" && links) ? own : [kubernetes, ...own];
  return Object.fromEntries(visible.flatMap(variablesOf));
}
