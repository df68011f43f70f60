import { externalRulePorts, type PortLike, type RulePorts, rulePortsEqual, ruleProtocol } from "./ports.ts";

/** A forwarding rule as far as its comparison goes. */
export interface ComparableRule extends Partial<RulePorts> {
  /** Empty or absent in a wanted rule: any. */
  readonly ip?: string;
  readonly protocol?: string;
  readonly loadBalancingScheme?: string;
  /** Link in any form. */
  readonly backendService?: string;
  readonly target?: string;
  readonly allowGlobalAccess?: boolean;
  readonly subnetwork?: string;
  readonly network?: string;
  readonly networkTier?: string;
}

/** Path of a link from `projects/` on, without the host and the version of the API that served it. */
export function resourcePath(link: string): string {
  const start = link.indexOf("projects/");
  return start < 0 ? link : link.slice(start);
}

/** Last part of a link. */
export function nameOfLink(link: string): string {
  return link.slice(link.lastIndexOf("/") + 1);
}

const same = (observed: string | undefined, wanted: string | undefined): boolean =>
  resourcePath(observed ?? "") === resourcePath(wanted ?? "");

/** An address without the range that the cloud gives IPv6 rules. */
export function plainAddress(address: string | undefined): string {
  return (address ?? "").split("/")[0]!;
}

/**
 * Whether an observed rule does what the wanted one would. Where the link of its backend service starts does not matter, nor does
 * the address while none is wanted.
 */
export function rulesEqual(observed: ComparableRule, wanted: ComparableRule): boolean {
  const ports = (rule: ComparableRule): RulePorts => ({
    ports: rule.ports ?? [],
    portRange: rule.portRange ?? "",
    allPorts: rule.allPorts ?? false,
  });
  const addresses = [plainAddress(observed.ip), plainAddress(wanted.ip)];
  return (
    (addresses.includes("") || addresses[0] === addresses[1]) &&
    (observed.protocol ?? "").toUpperCase() === (wanted.protocol ?? "").toUpperCase() &&
    (observed.loadBalancingScheme ?? "") === (wanted.loadBalancingScheme ?? "") &&
    rulePortsEqual(ports(observed), ports(wanted)) &&
    same(observed.backendService, wanted.backendService) &&
    same(observed.target, wanted.target) &&
    (observed.allowGlobalAccess ?? false) === (wanted.allowGlobalAccess ?? false) &&
    same(observed.subnetwork, wanted.subnetwork) &&
    same(observed.network, wanted.network) &&
    (observed.networkTier ?? "") === (wanted.networkTier ?? "")
  );
}

/** Address and ports of the rule of a target pool, which is all that makes it anew when it changes. */
export function targetPoolRule(ip: string | undefined, ports: readonly PortLike[], discrete: boolean): ComparableRule {
  return { ...(ip ? { ip } : {}), protocol: ruleProtocol(ports), ...externalRulePorts(ports, discrete) };
}
