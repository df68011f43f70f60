import type { Service } from "@portolan/core";
import { createCallContext } from "@portolan/lb";
import { azureProvider } from "@portolan/lb-azure";
import {
  type AzureConfiguration,
  allowedRanges,
  allowsInternet,
  chooseLoadBalancer,
  type DesiredState,
  deniesAllElse,
  desiredState,
  familiesOf,
  flag,
  frontendName,
  internalSubnet,
  isFrontendInForeignUse,
  keys,
  loadBalancerName,
  managedPublicIPName,
  publicIPName,
  publicIPOwnership,
  publicIPResourceGroup,
  reconcileSecurityRules,
  ruleName,
  rulesAndProbes,
  shouldUpdate,
  tagMap,
  wantedRules,
} from "@portolan/lb-azure/model";
import { AzureCloud } from "@portolan/lb-azure/testing";
import type { Answers, CloudVector } from "./vector.ts";

const serviceOf = (input: { service?: Partial<Service> }): Service => {
  const { metadata = {}, spec, ...rest } = input.service ?? {};
  // Recorded Services name cluster addresses where they leave out families.
  const clusterIPs = spec?.clusterIPs ?? (spec?.clusterIP ? [spec.clusterIP] : []);
  const ipFamilies = clusterIPs.map((address) => (address.includes(":") ? ("IPv6" as const) : ("IPv4" as const)));
  return {
    ...rest,
    metadata,
    spec: { ...(spec?.ipFamilies || ipFamilies.length === 0 ? {} : { ipFamilies }), ...spec },
  };
};

function configurationOf(config: Partial<AzureConfiguration> = {}): AzureConfiguration {
  return {
    clusterName: "kubernetes",
    resourceGroup: "rg",
    location: "westus",
    vnetName: "vnet",
    subnetName: "subnet",
    ...config,
  };
}

/** Flags as the vectors name them. */
const flags: Readonly<Record<string, string>> = {
  internal: keys.internal,
  haPorts: keys.highAvailabilityPorts,
  disableNsgRule: keys.disableSecurityRule,
  disableFloatingIP: keys.disableFloatingIP,
  disableTcpReset: keys.disableTcpReset,
};

function planOf(state: DesiredState): object {
  return {
    loadBalancer: state.loadBalancer,
    backendAddressPools: state.pools.map((pool) => pool.name),
    frontendIPConfigurations: state.frontends.map(({ family: _, ...frontend }) => frontend),
    loadBalancingRules: state.rules,
    probes: state.probes,
    publicIPAddresses: state.publicIPs,
  };
}

/** A cloud with the load balancers and public IPs of a vector; frontends are given by name. */
async function cloudOf(vector: CloudVector): Promise<{ cloud: AzureCloud; configuration: AzureConfiguration }> {
  const { observed = {}, config } = vector.input;
  const configuration = { ...configurationOf(config), securityGroupName: "kubernetes-nsg" };
  const cloud = new AzureCloud({ resourceGroup: configuration.resourceGroup });
  for (const { name, ipAddress, tags, publicIPAddressVersion = "IPv4" } of observed.publicIPs ?? []) {
    await cloud.putPublicIPAddress(configuration.resourceGroup, {
      name,
      tags: tags ?? {},
      properties: {
        publicIPAllocationMethod: "Static",
        publicIPAddressVersion,
        ...(ipAddress === undefined ? {} : { ipAddress }),
      },
    });
  }
  for (const each of observed.loadBalancers ?? (observed.loadBalancer ? [observed.loadBalancer] : [])) {
    const frontends: readonly string[] = each.frontendIPConfigurations ?? [];
    await cloud.putLoadBalancer({
      name: each.name,
      properties: {
        frontendIPConfigurations: frontends.map((name) => {
          const own = [...cloud.publicIPs.values()].find((publicIP) => publicIP.name.includes(name));
          return {
            name,
            properties: own?.id === undefined ? { subnet: { id: "subnet" } } : { publicIPAddress: { id: own.id } },
          };
        }),
        ...(each.outboundRules === undefined ? {} : { outboundRules: each.outboundRules }),
      },
    });
  }
  return { cloud, configuration };
}

const context = () => createCallContext({ signal: new AbortController().signal, idempotencyKey: "vector" });

const names = (cloud: AzureCloud): Set<string> =>
  new Set([
    ...[...cloud.loadBalancers.values()].map((each) => `loadBalancer ${each.name}`),
    ...[...cloud.publicIPs.values()].map((each) => `publicIPAddress ${each.name}`),
  ]);

/** Rules of Azure's load balancers. */
export const answers: Answers = {
  name({ input }) {
    const service = serviceOf(input);
    const family = input.family ?? (input.isIPv6 ? "IPv6" : familiesOf(service)[0]);
    switch (input.resource) {
      case "loadBalancer":
        return {
          name: loadBalancerName({
            clusterName: input.clusterName,
            internal: input.internal,
            standard: input.standardSku,
            vmSet: input.vmSet,
            primaryVmSet: input.primaryVmSet,
            configuredName: input.configuredLoadBalancerName,
          }),
        };
      case "frontendIPConfiguration":
        return { name: frontendName(service, family) };
      case "publicIPAddress":
      case "publicIP":
        return { name: managedPublicIPName(service, input.clusterName ?? input.config?.clusterName, family) };
      default:
        return { name: ruleName(service, input.protocol, input.port, family) };
    }
  },
  internalSubnet: ({ input }) => ({ subnet: internalSubnet(serviceOf(input)) ?? null }),
  booleanAnnotation: ({ input }) => ({ value: flag(serviceOf(input), flags[input.flag] ?? input.flag) }),
  tagMap: ({ input }) => ({ map: tagMap(input.value) }),
  shouldUpdate: ({ input }) => ({
    update: shouldUpdate({
      deleted: input.deletionTimestamp,
      type: input.serviceType,
      existsInCloud: input.existsInCloud,
    }),
  }),
  frontendDeleteSafety: ({ input }) => ({
    unsafe: isFrontendInForeignUse(input.loadBalancer, input.frontendId, input.servicePrefix),
  }),
  pipResourceGroup: ({ input }) => ({
    resourceGroup: publicIPResourceGroup(serviceOf(input), input.config.resourceGroup),
  }),
  pipName: ({ input }) => ({
    name: publicIPName(
      serviceOf(input),
      input.family,
      input.config.clusterName,
      input.config.resourceGroup,
      input.existingPublicIPs,
    ),
  }),
  pipOwnership: ({ input }) =>
    publicIPOwnership(input.publicIP, input.service, input.clusterName, {
      address: input.serviceLoadBalancerIP,
      name: input.servicePipName,
    }),
  placement: ({ input }) => ({
    loadBalancer: chooseLoadBalancer(input.current, input.eligible, input.existing, input.internal),
  }),
  allowedRanges: ({ input }) => allowedRanges(serviceOf(input)),
  allowFromInternet: ({ input }) => ({ allowFromInternet: allowsInternet(serviceOf(input)) }),
  denyAllExceptSourceRanges: ({ input }) => ({ denyAll: deniesAllElse(serviceOf(input)) }),
  rulesAndProbes({ input }) {
    const service = serviceOf(input);
    const built = familiesOf(service).map((family) => [family, rulesAndProbes(service, family, input.config)] as const);
    const rules = built.flatMap(([, each]) => each.rules);
    return {
      probes: Object.fromEntries(built.map(([family, each]) => [family, each.probes])),
      loadBalancingRules: Object.fromEntries(built.map(([family, each]) => [family, each.rules])),
      ruleProbes: rules.map((rule) => rule.probe),
      ruleCount: rules.length,
    };
  },
  securityGroup({ input }) {
    const service = serviceOf(input);
    const wanted = wantedRules(service, input.frontendIPs, input.backendPoolIPs);
    const own = Object.values(input.frontendIPs as Record<string, string[]>).flat();
    return { securityRules: reconcileSecurityRules(input.existingRules ?? [], wanted, own), writes: 0 };
  },
  plan({ input }) {
    const state = desiredState({
      service: serviceOf(input),
      nodes: [],
      configuration: configurationOf(input.config),
      publicIPs: input.observed?.publicIPs ?? [],
      loadBalancers: (input.observed?.loadBalancers ?? []).map((each: { name: string; ruleCount?: number }) => ({
        ruleCount: 0,
        serves: false,
        ...each,
      })),
    });
    const existing = (input.observed?.publicIPs ?? []).map((each: { name: string }) => each.name);
    return {
      plan: planOf(state),
      status: {
        ingress: state.frontends.map((frontend) => ({
          ip: frontend.publicIPAddress === undefined ? "<frontend.privateIPAddress>" : "<publicIP.ipAddress>",
        })),
      },
      created: state.publicIPs.map((each) => each.name).filter((name) => !existing.includes(name)),
      userAssigned: state.userAssigned,
    };
  },
  error(vector) {
    return { ...(answers["plan"]!(vector) as object), writes: 0 };
  },
  async delete(vector) {
    const { cloud, configuration } = await cloudOf(vector);
    const provider = azureProvider({ port: cloud, configuration });
    const { namespace = "", name = "", uid = "" } = serviceOf(vector.input).metadata;
    const { name: loadBalancer } = vector.input.observed.loadBalancer ?? { name: "kubernetes" };
    await provider.destroy(context(), { namespace, name, uid });
    const left = cloud.loadBalancers.get(loadBalancer);
    return {
      loadBalancerDeleted: left === undefined,
      frontendIPConfigurations: (left?.properties.frontendIPConfigurations ?? []).map((each) => each.name),
    };
  },
  async transition(vector) {
    const { cloud, configuration } = await cloudOf(vector);
    const before = names(cloud);
    const provider = azureProvider({ port: cloud, configuration });
    const service = serviceOf(vector.input);
    const { namespace = "", name = "", uid = "" } = service.metadata;
    const observed = await provider.observe(context(), { namespace, name, uid });
    await provider.apply(context(), provider.plan({ service, nodes: [], observed }));
    const after = names(cloud);
    return {
      creates: [...after].filter((each) => !before.has(each)),
      deletes: [...before].filter((each) => !after.has(each)),
    };
  },
};
