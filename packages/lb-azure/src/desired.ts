import type { Service } from "@portolan/core";
import { type NodeReference, ProviderError, readList } from "@portolan/lb";
import { canonicalAddress, familyOf, type IPFamily } from "@portolan/net";
import { allowedRanges } from "./access-control.ts";
import { annotation, fullKey, keys } from "./annotations.ts";
import { type AzureConfiguration, isStandard } from "./configuration.ts";
import type { Probe } from "./health-probe.ts";
import { type LoadBalancingRule, rulesAndProbes } from "./load-balancing-rules.ts";
import {
  backendPoolName,
  familiesOf,
  frontendName,
  internalSubnet,
  isInternal,
  loadBalancerName,
  requestedAddress,
  requestedPublicIPName,
} from "./names.ts";
import { chooseLoadBalancer, type ExistingLoadBalancer } from "./placement.ts";
import {
  managedPublicIP,
  type PublicIP,
  type PublicIPFacts,
  publicIPName,
  publicIPOwnership,
  serviceTag,
} from "./public-ip.ts";

/** A frontend that a Service needs. */
export interface DesiredFrontend {
  readonly name: string;
  readonly family: IPFamily;
  /** Name of the public IP; of internal frontends the other members. */
  readonly publicIPAddress?: string;
  readonly subnet?: string;
  readonly privateIPAllocationMethod?: "Static" | "Dynamic";
  readonly privateIPAddress?: string;
}

/** A pool that a Service needs, with the nodes of its family. */
export interface DesiredPool {
  readonly name: string;
  readonly family: IPFamily;
  readonly nodes: readonly { readonly name: string; readonly address: string }[];
}

/** All that a Service needs in Azure, but for its security rules, which depend on the addresses that Azure gives. */
export interface DesiredState {
  readonly loadBalancer: { readonly name: string; readonly sku: "Standard" | "Basic" };
  readonly internal: boolean;
  readonly frontends: readonly DesiredFrontend[];
  readonly pools: readonly DesiredPool[];
  readonly rules: readonly (LoadBalancingRule & {
    readonly frontendIPConfiguration: string;
    readonly backendAddressPool: string;
  })[];
  readonly probes: readonly Probe[];
  /** Public IPs that this provider makes. */
  readonly publicIPs: readonly PublicIP[];
  /** Names of public IPs that it uses and somebody else made. */
  readonly userAssigned: readonly string[];
}

/** What has to be known of Azure to tell what a Service needs. */
export interface DesiredStateInput {
  readonly service: Service;
  readonly nodes: readonly NodeReference[];
  readonly configuration: AzureConfiguration;
  readonly publicIPs: readonly PublicIPFacts[];
  readonly loadBalancers: readonly (ExistingLoadBalancer & { readonly serves: boolean })[];
}

function checkService(service: Service, standard: boolean): void {
  const internal = isInternal(service);
  for (const family of familiesOf(service)) {
    const address = requestedAddress(service, family);
    if (address !== undefined && familyOf(address) === undefined) {
      throw new ProviderError("UserConfig", `the requested address "${address}" is not an IP address`);
    }
    if (address !== undefined && familyOf(address) !== family) {
      throw new ProviderError("UserConfig", `the requested address ${address} is not an ${family} address`);
    }
    if (!internal && requestedPublicIPName(service, family) !== undefined && address !== undefined) {
      throw new ProviderError(
        "UserConfig",
        `annotation ${fullKey(keys.publicIPName)} and the requested address ${address} exclude each other; remove one of them`,
      );
    }
  }
  if (!standard && familiesOf(service).length > 1 && annotation(service, keys.publicIPPrefix) !== undefined) {
    throw new ProviderError("UserConfig", `annotation ${fullKey(keys.publicIPPrefix)} needs a Standard load balancer`);
  }
  // Throws if two sources of ranges are given.
  allowedRanges(service);
}

/**
 * What a Service needs in Azure. Pure: the same input gives the same result.
 *
 * @throws ProviderError `UserConfig` for what cannot be, with the annotation or field and its value
 */
export function desiredState(input: DesiredStateInput): DesiredState {
  const { service, nodes, configuration } = input;
  const { clusterName } = configuration;
  const standard = isStandard(configuration);
  checkService(service, standard);
  const internal = isInternal(service);
  const families = familiesOf(service);

  const plain = loadBalancerName({
    clusterName,
    internal,
    standard,
    ...(configuration.loadBalancerName === undefined ? {} : { configuredName: configuration.loadBalancerName }),
  });
  const eligible = readList(annotation(service, keys.configurations) ?? "");
  const current = input.loadBalancers.find((each) => each.serves)?.name ?? "";
  const chosen =
    eligible.length === 0 ? undefined : chooseLoadBalancer(current, eligible, input.loadBalancers, internal);
  const name = chosen === undefined ? plain : internal ? `${chosen}-internal` : chosen;

  const publicIPs: PublicIP[] = [];
  const userAssigned: string[] = [];
  const frontends = families.map((family): DesiredFrontend => {
    const common = { name: frontendName(service, family), family };
    const address = requestedAddress(service, family);
    if (internal) {
      return {
        ...common,
        subnet: internalSubnet(service) ?? configuration.subnetName,
        privateIPAllocationMethod: address === undefined ? "Dynamic" : "Static",
        ...(address === undefined ? {} : { privateIPAddress: canonicalAddress(address)! }),
      };
    }
    const publicIP = publicIPName(service, family, clusterName, configuration.resourceGroup, input.publicIPs);
    const existing = input.publicIPs.find((each) => each.name?.toLowerCase() === publicIP.toLowerCase());
    const asked = { address, name: requestedPublicIPName(service, family) };
    if (asked.name !== undefined && existing === undefined) {
      throw new ProviderError(
        "UserConfig",
        `annotation ${fullKey(keys.publicIPName)}: there is no public IP "${asked.name}" in resource group ` +
          `${annotation(service, keys.resourceGroup) ?? configuration.resourceGroup}; create it, or remove the annotation`,
      );
    }
    const ownership =
      existing === undefined ? undefined : publicIPOwnership(existing, serviceTag(service), clusterName, asked);
    if (ownership !== undefined && !ownership.owns) {
      throw new ProviderError(
        "Conflict",
        `public IP ${publicIP} exists and is not of this Service (tags ${JSON.stringify(existing?.tags ?? {})}); ` +
          `remove it, or name it in annotation ${fullKey(keys.publicIPName)} to use it`,
      );
    }
    const others = asked.name !== undefined || asked.address !== undefined;
    if (ownership?.userAssigned || (others && ownership !== undefined)) userAssigned.push(publicIP);
    else publicIPs.push(managedPublicIP(service, publicIP, clusterName, family, standard));
    return { ...common, publicIPAddress: publicIP };
  });

  const rules: DesiredState["rules"][number][] = [];
  const probes: Probe[] = [];
  for (const [index, family] of families.entries()) {
    const built = rulesAndProbes(service, family, configuration);
    for (const probe of built.probes) if (!probes.some((each) => each.name === probe.name)) probes.push(probe);
    for (const rule of built.rules) {
      rules.push({
        ...rule,
        frontendIPConfiguration: frontends[index]!.name,
        backendAddressPool: backendPoolName(clusterName, family),
      });
    }
  }
  const pools = families.map((family) => ({
    name: backendPoolName(clusterName, family),
    family,
    nodes: nodes
      .flatMap((node) => {
        const address = node.addresses.find((each) => familyOf(each) === family);
        return address === undefined ? [] : [{ name: node.name, address }];
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  }));
  return {
    loadBalancer: { name, sku: standard ? "Standard" : "Basic" },
    internal,
    frontends,
    pools,
    rules,
    probes,
    publicIPs,
    userAssigned,
  };
}
