import type { ServicePort } from "@portolan/core";
import { ProviderError } from "@portolan/lb";

/** As many ports as a forwarding rule can list. */
const maximumListed = 5;

/** What port rules look at. */
export type PortLike = Pick<ServicePort, "port" | "protocol">;

/** Protocols of ports, each once, TCP where a port names none. */
function protocolsOf(ports: readonly PortLike[]): string[] {
  return [...new Set(ports.map((port) => port.protocol ?? "TCP"))];
}

/** `IPProtocol` of a rule for these ports; TCP without any. */
export function ruleProtocol(ports: readonly PortLike[]): "TCP" | "UDP" | "L3_DEFAULT" {
  const found = protocolsOf(ports);
  return found.length > 1 ? "L3_DEFAULT" : found[0] === "UDP" ? "UDP" : "TCP";
}

/** `protocol` of a backend service for these ports. */
export function backendProtocol(ports: readonly PortLike[]): "TCP" | "UDP" | "UNSPECIFIED" {
  const protocol = ruleProtocol(ports);
  return protocol === "L3_DEFAULT" ? "UNSPECIFIED" : protocol;
}

/**
 * Checks that a load balancer can serve the protocols of its ports.
 *
 * @throws ProviderError `UserConfig` on protocols other than TCP and UDP, and on both together unless `mixed` is set
 */
export function checkProtocols(ports: readonly PortLike[], mixed = false): void {
  const found = protocolsOf(ports);
  const bad = found.find((protocol) => protocol !== "TCP" && protocol !== "UDP");
  if (bad !== undefined) {
    throw new ProviderError("UserConfig", `protocol ${bad} is not supported: only TCP and UDP are`);
  }
  if (found.length > 1 && !mixed) {
    throw new ProviderError(
      "UserConfig",
      `mixed protocols (${found.join(", ")}) on one load balancer are not supported; use one Service per protocol`,
    );
  }
}

const numbersOf = (ports: readonly PortLike[]): number[] =>
  [...new Set(ports.map((entry) => entry.port))].sort((a, b) => a - b);

/**
 * `MIN-MAX` of ports. What lies between reaches the nodes too; only the firewall keeps it out.
 *
 * @throws ProviderError `UserConfig` without ports
 */
export function portRange(ports: readonly PortLike[]): string {
  const numbers = numbersOf(ports);
  if (numbers.length === 0) throw new ProviderError("UserConfig", "a load balancer needs at least one port");
  return `${numbers[0]}-${numbers.at(-1)}`;
}

/** Ports as single numbers and ranges of neighbours, ascending: firewall rules hold no more than a hundred entries. */
export function portRanges(ports: readonly number[]): string[] {
  const out: [number, number][] = [];
  for (const port of [...new Set(ports)].sort((a, b) => a - b)) {
    const last = out.at(-1);
    if (last !== undefined && port === last[1] + 1) last[1] = port;
    else out.push([port, port]);
  }
  return out.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`));
}

/** Which ports a forwarding rule forwards: a list, a range, or all. */
export interface RulePorts {
  readonly ports: readonly string[];
  readonly portRange: string;
  readonly allPorts: boolean;
}

/** Ports of an external rule: up to five listed where `discrete` is set, else their range; all of a rule for any protocol. */
export function externalRulePorts(ports: readonly PortLike[], discrete: boolean): RulePorts {
  const range = portRange(ports);
  if (ruleProtocol(ports) === "L3_DEFAULT") return { ports: [], portRange: "", allPorts: true };
  const numbers = numbersOf(ports);
  return discrete && numbers.length <= maximumListed
    ? { ports: numbers.map(String), portRange: "", allPorts: false }
    : { ports: [], portRange: range, allPorts: false };
}

/** Ports of an internal rule: up to five listed, else all. */
export function internalRulePorts(ports: readonly PortLike[]): RulePorts {
  portRange(ports);
  const numbers = numbersOf(ports);
  const all = numbers.length > maximumListed || ruleProtocol(ports) === "L3_DEFAULT";
  return { ports: all ? [] : numbers.map(String), portRange: "", allPorts: all };
}

/**
 * Whether a rule forwards the wanted ports already. One made with a range may keep it while the wanted list spans the same range:
 * making it anew would break connections for nothing.
 */
export function rulePortsEqual(observed: RulePorts, wanted: RulePorts): boolean {
  if (observed.allPorts !== wanted.allPorts) return false;
  if (observed.portRange !== "" && wanted.ports.length > 0) {
    const numbers = wanted.ports.map(Number).sort((a, b) => a - b);
    return observed.portRange === `${numbers[0]}-${numbers.at(-1)}`;
  }
  const list = (ports: readonly string[]): string => [...ports].sort().join();
  return observed.portRange === wanted.portRange && list(observed.ports) === list(wanted.ports);
}
