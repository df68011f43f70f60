import type { LoadBalancerIngress, Service } from "@portolan/core";
import {
  type CallContext,
  type Capabilities,
  type Change,
  checkAnnotations,
  type Diagnostic,
  type FlowPolicy,
  type LoadBalancerProvider,
  type OwnedResource,
  ProviderError,
  type ServiceKey,
} from "@portolan/lb";
import { allowedRanges, allowedServiceTags } from "./access-control.ts";
import { annotation, azureAnnotations, fullKey, keys } from "./annotations.ts";
import type { AzureConfiguration } from "./configuration.ts";
import { isStandard } from "./configuration.ts";
import { type DesiredState, desiredState } from "./desired.ts";
import {
  opensUnusedNodePorts,
  publicIPDocument,
  sameDocument,
  securityRulesOf,
  servesPrefix,
  withoutService,
  withSecurityRules,
  withService,
} from "./documents.ts";
import { rulesAndProbes } from "./load-balancing-rules.ts";
import { isInternal, loadBalancerName, managedPublicIPName, servicePrefix } from "./names.ts";
import {
  type AzurePort,
  type LoadBalancerResource,
  nameOfId,
  type PublicIPResource,
  ResourceIds,
  type SecurityGroupResource,
} from "./port.ts";
import { publicIPOwnership, publicIPResourceGroup, publicIPTags, serviceTag, taggedServices } from "./public-ip.ts";
import { type AddressesByFamily, reconcileSecurityRules, wantedRules } from "./security-group.ts";

/** Options of {@link azureProvider}. */
export interface AzureProviderOptions {
  readonly port: AzurePort;
  readonly configuration: AzureConfiguration;
  /** Default: an empty GUID, which is enough for plans. */
  readonly subscription?: string;
  /** `spec.loadBalancerClass` that it answers to. Default `portolan.dev/azure`. */
  readonly loadBalancerClass?: string;
  /** Whether it also serves Services without a class. Default true. */
  readonly default?: boolean;
}

/** What there is of a Service in Azure. */
export interface AzureObservation {
  readonly loadBalancers: readonly LoadBalancerResource[];
  readonly publicIPs: readonly PublicIPResource[];
  readonly securityGroup: SecurityGroupResource | undefined;
}

/** What a Service needs, and what may be told clients if nothing has to change. */
export interface AzureModel {
  readonly service: Service;
  readonly state: DesiredState;
  readonly prefix: string;
  readonly addresses: readonly string[];
}

const capabilities: Capabilities = {
  protocols: ["TCP", "UDP", "SCTP"],
  targets: "node",
  mixedProtocol: "full",
  status: "ip",
  ipMode: "VIP",
  dualStack: true,
  requestedIP: "preallocated",
  sourceRanges: "enforced",
  sharedFrontend: true,
  needsNodePorts: true,
  internal: true,
  sessionAffinity: true,
  maximum: { ports: 300, nodes: 1000, sourceRanges: 4000 },
  callBudget: { steadyReads: 3 },
};

const location = (configuration: AzureConfiguration): string => configuration.location;

/**
 * Azure Standard Load Balancer behind Services, in the semantics of cloud-provider-azure: all Services of a cluster share one public
 * and one internal load balancer and one network security group, and each owns parts of them. Every write names the version that
 * it replaces, so that nobody's change is lost.
 */
export function azureProvider(options: AzureProviderOptions): LoadBalancerProvider<AzureModel, AzureObservation> {
  const { port, configuration } = options;
  const { clusterName } = configuration;
  const classes = [options.loadBalancerClass ?? "portolan.dev/azure"];
  const ids = new ResourceIds(
    options.subscription ?? "00000000-0000-0000-0000-000000000000",
    configuration.resourceGroup,
  );
  const groupName = configuration.securityGroupName ?? `${clusterName}-nsg`;
  const vnetId = ids.network("virtualNetworks", configuration.vnetName, configuration.vnetResourceGroup);

  const stub = (key: ServiceKey): Service => ({
    metadata: { namespace: key.namespace, name: key.name, uid: key.uid },
  });

  const documentContext = (service: Service) => ({
    ids,
    location: location(configuration),
    vnetId,
    subnetId: (subnet: string) => `${vnetId}/subnets/${subnet}`,
    publicIPId: (name: string) =>
      ids.network("publicIPAddresses", name, publicIPResourceGroup(service, configuration.resourceGroup)),
  });

  /** Addresses that a Service's frontends have, where Azure has given them. */
  function addressesOf(
    state: DesiredState,
    loadBalancer: LoadBalancerResource | undefined,
    publicIPs: readonly PublicIPResource[],
  ): { byFamily: AddressesByFamily; list: string[]; complete: boolean } {
    const list: string[] = [];
    const byFamily: Record<string, string[]> = {};
    for (const frontend of state.frontends) {
      const address =
        frontend.publicIPAddress === undefined
          ? loadBalancer?.properties.frontendIPConfigurations?.find((each) => each.name === frontend.name)?.properties
              .privateIPAddress
          : publicIPs.find((each) => each.name.toLowerCase() === frontend.publicIPAddress!.toLowerCase())?.properties
              .ipAddress;
      if (!address) continue;
      list.push(address);
      byFamily[frontend.family] = [...(byFamily[frontend.family] ?? []), address];
    }
    return { byFamily, list, complete: list.length === state.frontends.length };
  }

  const nodeAddresses = (state: DesiredState): AddressesByFamily =>
    Object.fromEntries(state.pools.map((pool) => [pool.family, pool.nodes.map((node) => node.address)]));

  /** Addresses that are in rules because of this Service: of the frontends that it has now, on whichever load balancer. */
  function formerAddresses(observed: AzureObservation, prefix: string): string[] {
    const out: string[] = [];
    for (const each of observed.loadBalancers) {
      for (const frontend of each.properties.frontendIPConfigurations ?? []) {
        const own = frontend.name === prefix || frontend.name.startsWith(`${prefix}-`);
        if (!own) continue;
        const { privateIPAddress, publicIPAddress } = frontend.properties;
        if (privateIPAddress) out.push(privateIPAddress);
        const publicIP = observed.publicIPs.find(
          (candidate) => candidate.name.toLowerCase() === nameOfId(publicIPAddress?.id).toLowerCase(),
        );
        if (publicIP?.properties.ipAddress) out.push(publicIP.properties.ipAddress);
      }
    }
    return out;
  }

  /** The group with what a Service needs, or the same group if nothing has to change. */
  function groupFor(
    group: SecurityGroupResource,
    service: Service,
    state: DesiredState,
    addresses: AddressesByFamily,
    former: readonly string[],
    loadBalancers: readonly LoadBalancerResource[],
  ): SecurityGroupResource {
    const wanted = wantedRules(service, addresses, nodeAddresses(state));
    const before = securityRulesOf(group);
    // Addresses of nodes are every Service's: a rule on them is this Service's only if it is wanted.
    const own = former.filter(
      (address) => !state.pools.some((pool) => pool.nodes.some((node) => node.address === address)),
    );
    const after = reconcileSecurityRules(before, wanted, own, (rule) => opensUnusedNodePorts(rule, loadBalancers));
    return JSON.stringify(before) === JSON.stringify(after) ? group : withSecurityRules(group, after);
  }

  /** Public IPs that carry this Service's tag and are not needed. */
  function unneeded(observed: readonly PublicIPResource[], tag: string, needed: readonly string[]): PublicIPResource[] {
    return observed.filter((publicIP) => {
      const { owns, userAssigned } = publicIPOwnership(
        { name: publicIP.name, tags: publicIP.tags ?? {}, ipAddress: publicIP.properties.ipAddress ?? "" },
        tag,
        clusterName,
      );
      return owns && !userAssigned && !needed.some((name) => name.toLowerCase() === publicIP.name.toLowerCase());
    });
  }

  /** Removes a Service from a public IP that this provider made: deletes it, or only its tag if others share it. */
  async function release(resourceGroup: string, publicIP: PublicIPResource, tag: string): Promise<void> {
    const others = taggedServices(publicIP.tags).filter((entry) => entry.toLowerCase() !== tag.toLowerCase());
    if (others.length === 0) return await port.deletePublicIPAddress(resourceGroup, publicIP.name);
    const tags = { ...publicIP.tags, [publicIPTags.service]: others.join(",") };
    await port.putPublicIPAddress(resourceGroup, { ...publicIP, tags });
  }

  function stateOf(service: Service, nodes: Parameters<typeof desiredState>[0]["nodes"], observed: AzureObservation) {
    const prefix = servicePrefix(service);
    return desiredState({
      service,
      nodes,
      configuration,
      publicIPs: observed.publicIPs.map((each) => ({
        name: each.name,
        tags: each.tags ?? {},
        ipAddress: each.properties.ipAddress ?? "",
      })),
      loadBalancers: observed.loadBalancers.map((each) => ({
        name: each.name,
        ruleCount: each.properties.loadBalancingRules?.length ?? 0,
        serves: servesPrefix(each, prefix),
      })),
    });
  }

  /** Writes a load balancer without the Service, or deletes it when nothing is left in it. */
  async function leave(context: CallContext, name: string, prefix: string): Promise<void> {
    await context.lock(`azure/loadBalancer/${name}`, async () => {
      const current = await port.getLoadBalancer(name);
      if (current === undefined || !servesPrefix(current, prefix)) return;
      context.signal.throwIfAborted();
      const rest = withoutService(current, prefix);
      if (rest === undefined) await port.deleteLoadBalancer(name);
      else await port.putLoadBalancer(rest);
    });
  }

  async function observeFor(resourceGroup: string): Promise<AzureObservation> {
    const loadBalancers = await port.listLoadBalancers();
    const publicIPs = await port.listPublicIPAddresses(resourceGroup);
    const securityGroup = await port.getSecurityGroup(groupName);
    return { loadBalancers, publicIPs, securityGroup };
  }

  return {
    apiVersion: 1,
    id: "azure",
    classes,
    default: options.default ?? true,
    capabilities,
    annotations: azureAnnotations,
    claim(service) {
      const wanted = service.spec?.loadBalancerClass;
      return (wanted === undefined ? (options.default ?? true) : classes.includes(wanted)) ? "mine" : "not-mine";
    },
    nameFor(key) {
      const service = stub(key);
      return {
        LoadBalancer: loadBalancerName({ clusterName, internal: false, standard: isStandard(configuration) }),
        FrontendIPConfiguration: servicePrefix(service),
        PublicIPAddress: managedPublicIPName(service, clusterName, "IPv4"),
      };
    },
    validate(service) {
      const out: Diagnostic[] = [...checkAnnotations(azureAnnotations, service.metadata.annotations)];
      const { invalid } = readable(() => allowedRanges(service)) ?? { invalid: [] };
      if (invalid.length > 0) {
        out.push({
          severity: "warning",
          code: "InvalidConfiguration",
          field: "spec.loadBalancerSourceRanges",
          message: `${invalid.join(", ")}: not a CIDR, or one with host bits; everything else than the valid ranges is denied`,
        });
      }
      if (allowedServiceTags(service).length > 0 && (service.spec?.loadBalancerSourceRanges ?? []).length > 0) {
        out.push({
          severity: "warning",
          code: "CombinedSources",
          field: fullKey(keys.allowedServiceTags),
          message: `annotation ${fullKey(keys.allowedServiceTags)} and spec.loadBalancerSourceRanges are both set: clients of either get in`,
        });
      }
      if (!isInternal(service) && annotation(service, keys.internalSubnet) !== undefined) {
        out.push({
          severity: "warning",
          code: "IgnoredAnnotation",
          field: fullKey(keys.internalSubnet),
          message: `annotation ${fullKey(keys.internalSubnet)} has an effect on internal load balancers only`,
        });
      }
      try {
        stateOf(service, [], { loadBalancers: [], publicIPs: [], securityGroup: undefined });
      } catch (error) {
        // Whether a public IP exists can be told only after a look.
        const known = error instanceof ProviderError && error.code === "UserConfig";
        if (known && !/public IP/.test(error.message)) {
          out.push({ severity: "error", code: "InvalidConfiguration", message: error.message });
        }
      }
      return out;
    },
    flowPolicy: (service) => flowPolicyOf(service, configuration),
    observe: () => observeFor(configuration.resourceGroup),
    plan({ service, nodes, observed }) {
      const prefix = servicePrefix(service);
      const state = stateOf(service, nodes, observed);
      const { namespace = "", name = "", uid = "" } = service.metadata;
      const changes: Change[] = [];
      const add = (
        change: Omit<Change, "disruptive" | "dependsOn" | "fields"> & Partial<Pick<Change, "disruptive" | "fields">>,
      ): void => {
        const before = changes.at(-1);
        changes.push({ disruptive: "none", fields: [], ...change, dependsOn: before === undefined ? [] : [before.id] });
      };
      for (const wanted of state.publicIPs) {
        const before = observed.publicIPs.find((each) => each.name.toLowerCase() === wanted.name.toLowerCase());
        const after = publicIPDocument(before, wanted, configuration.location);
        if (before !== undefined && sameDocument(before, after)) continue;
        add({
          id: `public-ip/${wanted.name}`,
          action: before === undefined ? "create" : "update",
          resource: { kind: "PublicIPAddress", name: wanted.name },
          because: before === undefined ? "the Service has no public IP yet" : "its tags or settings differ",
        });
      }
      const current = observed.loadBalancers.find((each) => each.name === state.loadBalancer.name);
      const after = withService(current, state, prefix, documentContext(service));
      const others = observed.loadBalancers.filter(
        (each) => each.name !== state.loadBalancer.name && servesPrefix(each, prefix),
      );
      const served = current !== undefined && servesPrefix(current, prefix);
      if (current === undefined || !sameDocument(current, after)) {
        const frontends = (resource: LoadBalancerResource | undefined): string =>
          JSON.stringify(
            (resource?.properties.frontendIPConfigurations ?? [])
              .filter((each) => each.name.startsWith(prefix))
              .map((each) => [
                each.name,
                nameOfId(each.properties.publicIPAddress?.id),
                nameOfId(each.properties.subnet?.id),
              ]),
          );
        const moved =
          (served && frontends(current) !== frontends(after) && !grows(current, after, prefix)) || others.length > 0;
        add({
          id: `load-balancer/${state.loadBalancer.name}`,
          action: current === undefined ? "create" : "update",
          resource: { kind: "LoadBalancer", name: state.loadBalancer.name },
          fields: differences(current, after),
          disruptive: moved ? "ip-change" : "none",
          because:
            others.length > 0
              ? `the Service becomes ${state.internal ? "internal" : "public"}`
              : served
                ? "frontends, rules, probes or nodes differ"
                : "the Service has no frontend yet",
          ...(moved ? { requested: true } : {}),
        });
      }
      const addresses = addressesOf(state, current, observed.publicIPs);
      const group = observed.securityGroup;
      if (group === undefined) {
        throw new ProviderError(
          "UserConfig",
          `there is no network security group ${groupName} in resource group ${configuration.resourceGroup}; ` +
            "create it or name another in the provider's configuration",
        );
      }
      const former = formerAddresses(observed, prefix);
      const afterwards = [
        after,
        ...observed.loadBalancers
          .filter((each) => each.name !== after.name)
          .flatMap((each) => (servesPrefix(each, prefix) ? (withoutService(each, prefix) ?? []) : each)),
      ];
      if (!addresses.complete || groupFor(group, service, state, addresses.byFamily, former, afterwards) !== group) {
        add({
          id: `security-group/${groupName}`,
          action: "update",
          resource: { kind: "NetworkSecurityGroup", name: groupName },
          because: addresses.complete
            ? "its rules for the Service differ"
            : "rules follow the addresses that Azure gives",
        });
      }
      for (const other of others) {
        const rest = withoutService(other, prefix);
        add({
          id: `load-balancer/${other.name}`,
          action: rest === undefined ? "delete" : "update",
          resource: { kind: "LoadBalancer", name: other.name },
          disruptive: "ip-change",
          because: `the Service is no longer ${state.internal ? "public" : "internal"}`,
        });
        Object.assign(changes.at(-1)!, { requested: true });
      }
      const needed = state.frontends.flatMap((each) => each.publicIPAddress ?? []);
      for (const publicIP of unneeded(observed.publicIPs, serviceTag(service), needed)) {
        add({
          id: `public-ip/${publicIP.name}`,
          action: "delete",
          resource: { kind: "PublicIPAddress", name: publicIP.name },
          because: "the Service does not need it any more",
        });
      }
      return {
        key: { namespace, name, uid },
        desired: { service, state, prefix, addresses: addresses.list },
        changes,
        diagnostics: [],
      };
    },
    async apply(context, plan) {
      const { service, state, prefix } = plan.desired;
      const ingress = (addresses: readonly string[]): LoadBalancerIngress[] =>
        addresses.map((ip) => ({ ip, ipMode: "VIP" }));
      if (plan.changes.length === 0) return { ingress: ingress(plan.desired.addresses) };
      const resourceGroup = publicIPResourceGroup(service, configuration.resourceGroup);
      const step = (): void => {
        context.signal.throwIfAborted();
        if (context.now() > context.deadline) {
          throw new ProviderError("NotReady", "the change takes longer than one pass; it goes on", {
            retryAfter: 1000,
          });
        }
      };

      let publicIPs = await port.listPublicIPAddresses(resourceGroup);
      for (const wanted of state.publicIPs) {
        step();
        const before = publicIPs.find((each) => each.name.toLowerCase() === wanted.name.toLowerCase());
        const after = publicIPDocument(before, wanted, configuration.location);
        if (before !== undefined && sameDocument(before, after)) continue;
        const written = await port.putPublicIPAddress(resourceGroup, after);
        publicIPs = [...publicIPs.filter((each) => each.name !== written.name), written];
      }

      const former: string[] = [];
      const loadBalancers = await port.listLoadBalancers();
      former.push(...formerAddresses({ loadBalancers, publicIPs, securityGroup: undefined }, prefix));
      const { name } = state.loadBalancer;
      step();
      const loadBalancer = await context.lock(`azure/loadBalancer/${name}`, async () => {
        const current = await port.getLoadBalancer(name);
        const after = withService(current, state, prefix, documentContext(service));
        if (current !== undefined && sameDocument(current, after)) return current;
        context.signal.throwIfAborted();
        return await port.putLoadBalancer(after);
      });

      const addresses = addressesOf(state, loadBalancer, await port.listPublicIPAddresses(resourceGroup));
      if (!addresses.complete) {
        throw new ProviderError("NotReady", "Azure has not given the frontend an address yet", { retryAfter: 2000 });
      }
      step();
      await context.lock(`azure/securityGroup/${groupName}`, async () => {
        const group = await port.getSecurityGroup(groupName);
        if (group === undefined) throw new ProviderError("UserConfig", `network security group ${groupName} is gone`);
        const balancers = await port.listLoadBalancers();
        const others = balancers.flatMap((each) =>
          each.name !== name && servesPrefix(each, prefix) ? (withoutService(each, prefix) ?? []) : each,
        );
        const after = groupFor(group, service, state, addresses.byFamily, former, others);
        context.signal.throwIfAborted();
        if (after !== group) await port.putSecurityGroup(after);
      });
      for (const other of loadBalancers) {
        if (other.name === name || !servesPrefix(other, prefix)) continue;
        step();
        await leave(context, other.name, prefix);
      }
      const needed = state.frontends.flatMap((each) => each.publicIPAddress ?? []);
      for (const publicIP of unneeded(publicIPs, serviceTag(service), needed)) {
        step();
        await release(resourceGroup, publicIP, serviceTag(service));
      }
      return { ingress: ingress(addresses.list) };
    },
    async updateNodes(context, key, nodes) {
      const prefix = servicePrefix(stub(key));
      for (const { name, properties } of await port.listLoadBalancers()) {
        if (!(properties.frontendIPConfigurations ?? []).some((each) => each.name.startsWith(prefix))) continue;
        await context.lock(`azure/loadBalancer/${name}`, async () => {
          const current = await port.getLoadBalancer(name);
          if (current === undefined) return;
          const backendAddressPools = (current.properties.backendAddressPools ?? []).map((pool) => {
            const family = pool.name.endsWith("-IPv6");
            if (pool.name !== clusterName && pool.name !== `${clusterName}-IPv6`) return pool;
            const members = nodes
              .flatMap((node) => {
                const ipAddress = node.addresses.find((address) => address.includes(":") === family);
                if (ipAddress === undefined) return [];
                const before = pool.properties.loadBalancerBackendAddresses?.find(
                  (each) => each.name === node.name && each.properties.ipAddress === ipAddress,
                );
                return [before ?? { name: node.name, properties: { ipAddress, virtualNetwork: { id: vnetId } } }];
              })
              .sort((a, b) => (a.name < b.name ? -1 : 1));
            return { ...pool, properties: { ...pool.properties, loadBalancerBackendAddresses: members } };
          });
          const after = { ...current, properties: { ...current.properties, backendAddressPools } };
          context.signal.throwIfAborted();
          if (!sameDocument(current, after)) await port.putLoadBalancer(after);
        });
      }
    },
    async destroy(context, key) {
      const prefix = servicePrefix(stub(key));
      const tag = `${key.namespace}/${key.name}`;
      const { resourceGroup } = configuration;
      const observed = await observeFor(resourceGroup);
      const former = new Set(formerAddresses(observed, prefix));
      const owned = unneeded(observed.publicIPs, tag, []).filter(
        // A namesake that was made later has tags like this one's; its public IP bears its own name.
        (publicIP) => publicIP.name.includes(prefix) || !publicIP.name.startsWith(`${clusterName}-a`),
      );
      for (const publicIP of owned) if (publicIP.properties.ipAddress) former.add(publicIP.properties.ipAddress);
      const others = observed.loadBalancers.flatMap((each) =>
        servesPrefix(each, prefix) ? (withoutService(each, prefix) ?? { ...each, properties: pools(each) }) : each,
      );
      await context.lock(`azure/securityGroup/${groupName}`, async () => {
        const group = await port.getSecurityGroup(groupName);
        if (group === undefined) return;
        const rules = securityRulesOf(group);
        const after = reconcileSecurityRules(rules, [], [...former], (rule) => opensUnusedNodePorts(rule, others));
        if (JSON.stringify(rules) === JSON.stringify(after)) return;
        context.signal.throwIfAborted();
        await port.putSecurityGroup(withSecurityRules(group, after));
      });
      for (const each of observed.loadBalancers) {
        if (!servesPrefix(each, prefix)) continue;
        context.signal.throwIfAborted();
        await leave(context, each.name, prefix);
      }
      for (const publicIP of owned) {
        context.signal.throwIfAborted();
        await release(resourceGroup, publicIP, tag);
      }
    },
    async *listOwned() {
      const { loadBalancers, publicIPs } = await observeFor(configuration.resourceGroup);
      const standard = isStandard(configuration);
      const names = [false, true].map((internal) => loadBalancerName({ clusterName, internal, standard }));
      const keyOfPrefix = new Map<string, ServiceKey>();
      const owned: OwnedResource[] = [];
      for (const publicIP of publicIPs) {
        if (publicIP.tags?.[publicIPTags.cluster]?.toLowerCase() !== clusterName.toLowerCase()) continue;
        const prefix = /a[0-9a-f]{31}/.exec(publicIP.name.slice(clusterName.length))?.[0] ?? "";
        for (const entry of taggedServices(publicIP.tags)) {
          const [namespace = "", name = ""] = entry.split("/");
          const key = { namespace, name, uid: prefix.slice(1) };
          if (prefix !== "") keyOfPrefix.set(prefix, key);
          owned.push({
            kind: "PublicIPAddress",
            id: publicIP.id ?? publicIP.name,
            key,
            owns: (service) => serviceTag(service) === entry && (prefix === "" || servicePrefix(service) === prefix),
          });
        }
      }
      for (const each of loadBalancers.filter((candidate) => names.includes(candidate.name))) {
        for (const frontend of each.properties.frontendIPConfigurations ?? []) {
          const prefix = /^a[0-9a-f]{31}/.exec(frontend.name)?.[0];
          if (prefix === undefined) continue;
          owned.push({
            kind: "FrontendIPConfiguration",
            id: `${each.name}/${frontend.name}`,
            // A frontend carries no tag: its name is all that is known of an internal one.
            key: keyOfPrefix.get(prefix) ?? { namespace: "", name: "", uid: prefix.slice(1) },
            owns: (service) => servicePrefix(service) === prefix,
          });
        }
      }
      yield* owned;
    },
  };
}

/** Only the pools of a load balancer: who the nodes are, when nothing leads to them any more. */
function pools(resource: LoadBalancerResource): LoadBalancerResource["properties"] {
  const { backendAddressPools } = resource.properties;
  return backendAddressPools === undefined ? {} : { backendAddressPools };
}

function readable<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

/** Whether all frontends of a Service stay as they are, so that it only gets more. */
function grows(before: LoadBalancerResource, after: LoadBalancerResource, prefix: string): boolean {
  return (before.properties.frontendIPConfigurations ?? [])
    .filter((each) => each.name.startsWith(prefix))
    .every((each) =>
      (after.properties.frontendIPConfigurations ?? []).some(
        (other) =>
          other.name === each.name &&
          nameOfId(other.properties.publicIPAddress?.id) === nameOfId(each.properties.publicIPAddress?.id) &&
          nameOfId(other.properties.subnet?.id) === nameOfId(each.properties.subnet?.id),
      ),
    );
}

/** Which parts come, go and change, by name. */
function differences(
  before: LoadBalancerResource | undefined,
  after: LoadBalancerResource,
): readonly (readonly [string, unknown, unknown])[] {
  const out: [string, unknown, unknown][] = [];
  for (const kind of ["frontendIPConfigurations", "backendAddressPools", "probes", "loadBalancingRules"] as const) {
    const old = new Map((before?.properties[kind] ?? []).map((part) => [part.name, part.properties as unknown]));
    for (const part of after.properties[kind] ?? []) {
      const was = old.get(part.name);
      old.delete(part.name);
      if (was === undefined || !sameDocument(was, part.properties))
        out.push([`${kind}/${part.name}`, was, part.properties]);
    }
    for (const [name, was] of old) out.push([`${kind}/${name}`, was, undefined]);
  }
  return out;
}

/** What a Standard load balancer does to the packets of a Service. */
export function flowPolicyOf(service: Service, configuration: AzureConfiguration): FlowPolicy {
  const family = service.spec?.ipFamilies?.[0] ?? "IPv4";
  const { rules, probes } = rulesAndProbes(service, family, configuration);
  const first = rules[0];
  const ranges = allowedRanges(service);
  const listed = [...ranges.IPv4, ...ranges.IPv6];
  const sticky = service.spec?.sessionAffinity === "ClientIP";
  return {
    scheme: isInternal(service) ? "internal" : "external",
    destination: (first?.enableFloatingIP ?? true) ? "keep" : "node",
    clientAddress: "kept",
    hash: sticky
      ? ["source-address", "destination-address"]
      : ["source-address", "source-port", "destination-address", "destination-port", "protocol"],
    proxyProtocol: "none",
    idleTimeoutSeconds: { tcp: (first?.idleTimeoutInMinutes ?? 4) * 60, udp: (first?.idleTimeoutInMinutes ?? 4) * 60 },
    crossZone: true,
    sourceRanges: listed.length > 0 ? listed : ["0.0.0.0/0", "::/0"],
    ports: (service.spec?.ports ?? []).map((port) => {
      const rule = rules.find((each) => each.frontendPort === port.port || each.frontendPort === 0);
      const probe = probes.find((each) => each.name === rule?.probe) ?? probes[0];
      return {
        ...(port.name === undefined ? {} : { name: port.name }),
        protocol: port.protocol ?? "TCP",
        port: port.port,
        targetPort: rule?.enableFloatingIP === false ? (port.nodePort ?? 0) : port.port,
        healthCheck: {
          protocol: probe === undefined ? "TCP" : (probe.protocol.toUpperCase() as "TCP" | "HTTP" | "HTTPS"),
          port: probe?.port ?? port.nodePort ?? port.port,
          ...(probe?.requestPath === undefined ? {} : { path: probe.requestPath }),
          intervalSeconds: probe?.intervalInSeconds ?? 5,
          timeoutSeconds: probe?.intervalInSeconds ?? 5,
          healthyThreshold: 1,
          unhealthyThreshold: probe?.probeThreshold ?? 2,
        },
      };
    }),
  };
}
