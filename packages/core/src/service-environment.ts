import { fieldOf, listOf, pathOf, textOf } from "./json.ts";
import { hasClusterIP } from "./service-strategy.ts";
import type { Service } from "./types/service.ts";

/** A variable of a container's environment. */
export interface EnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

function variableName(text: string): string {
  return text.toUpperCase().replaceAll("-", "_");
}

function withPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/**
 * Variables of one Service: host, ports and Docker-link URLs, in the kubelet's order (`pkg/kubelet/envvars`). Empty without a real
 * cluster IP or without ports. One TCP port gives seven variables.
 */
export function serviceVariables(service: Service): EnvironmentVariable[] {
  const ports = listOf(pathOf(service, "spec", "ports"));
  if (!hasClusterIP(service) || ports.length === 0 || fieldOf(service.spec, "type") === "ExternalName") return [];
  const name = variableName(textOf(pathOf(service, "metadata", "name")));
  const address = textOf(pathOf(service, "spec", "clusterIP"));
  const numberOfPort = (port: unknown) => Number(fieldOf(port, "port") ?? 0);
  const protocolOfPort = (port: unknown) => textOf(fieldOf(port, "protocol")) || "TCP";
  const url = (port: unknown) => `${protocolOfPort(port).toLowerCase()}://${withPort(address, numberOfPort(port))}`;
  const out: EnvironmentVariable[] = [
    { name: `${name}_SERVICE_HOST`, value: address },
    { name: `${name}_SERVICE_PORT`, value: String(numberOfPort(ports[0])) },
  ];
  for (const port of ports) {
    const portName = textOf(fieldOf(port, "name"));
    if (portName !== "") {
      out.push({ name: `${name}_SERVICE_PORT_${variableName(portName)}`, value: String(numberOfPort(port)) });
    }
  }
  out.push({ name: `${name}_PORT`, value: url(ports[0]) });
  for (const port of ports) {
    const protocol = protocolOfPort(port);
    const prefix = `${name}_PORT_${numberOfPort(port)}_${protocol.toUpperCase()}`;
    out.push(
      { name: prefix, value: url(port) },
      { name: `${prefix}_PROTO`, value: protocol.toLowerCase() },
      { name: `${prefix}_PORT`, value: String(numberOfPort(port)) },
      { name: `${prefix}_ADDR`, value: address },
    );
  }
  return out;
}

/**
 * Service variables of a pod's containers. Services of the pod's namespace count only with `enableServiceLinks`; `default/kubernetes`
 * counts always, unless a Service `kubernetes` of the pod's own namespace replaces it. Services are taken in order of their names, so
 * that the result is deterministic. Values of `env` and `envFrom` win over these.
 */
export function serviceEnvironment(
  services: readonly Service[],
  namespace: string,
  enableServiceLinks: boolean,
): EnvironmentVariable[] {
  const visible = new Map<string, Service>();
  for (const service of services) {
    if (!hasClusterIP(service)) continue;
    const name = textOf(pathOf(service, "metadata", "name"));
    const home = textOf(pathOf(service, "metadata", "namespace"));
    if (enableServiceLinks && home === namespace) visible.set(name, service);
    else if (home === "default" && name === "kubernetes" && !visible.has(name)) visible.set(name, service);
  }
  return [...visible].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, service]) => serviceVariables(service));
}

/**
 * Expands `$(NAME)` in a container's command, arguments and variables (`third_party/forked/golang/expansion`): `$$` is a plain dollar,
 * references to unknown variables stay as they are, a lone `$` is kept.
 *
 * @param variables what is known so far; a variable may refer to those before it
 */
export function expandVariables(text: string, variables: ReadonlyMap<string, string>): string {
  let out = "";
  for (let at = 0; at < text.length; at++) {
    const next = text[at + 1];
    if (text[at] !== "$" || next === undefined) {
      out += text[at];
    } else if (next === "$") {
      out += "$";
      at++;
    } else if (next === "(") {
      const end = text.indexOf(")", at + 2);
      if (end < 0) {
        out += "$(";
        at++;
      } else {
        const name = text.slice(at + 2, end);
        out += variables.get(name) ?? `$(${name})`;
        at = end;
      }
    } else {
      out += `$${next}`;
      at++;
    }
  }
  return out;
}
