import type { Service } from "@portolan/core";
import { createCallContext, type ServiceKey } from "@portolan/lb";
import { type AwsPort, awsProvider } from "@portolan/lb-aws";
import {
  type AwsConfiguration,
  alpnPolicy,
  chunkTargets,
  classicHealthCheck,
  classicListener,
  classicModel,
  clientRanges,
  diffClassicListeners,
  diffTargets,
  discoverSubnets,
  hasRoleTag,
  healthCheckPort,
  type IngressRule,
  inTreeHealthCheck,
  inTreeModel,
  inTreeSubnetMappings,
  inTreeSubnets,
  inTreeTargetGroupName,
  inTreeTargetNodes,
  ipAddressTypeOf,
  ipv6SourceNat,
  isControllerService,
  isImplementedElsewhere,
  isInTreeNetworkLoadBalancer,
  isPendingFinalization,
  listenerAttributes,
  loadBalancerAttributes,
  managedGroup,
  managedGroupRules,
  managedSecurityGroupName,
  managesBackendRules,
  mergesTcpAndUdp,
  minimumCapacity,
  namedSubnets,
  nameOfLoadBalancer,
  networkModel,
  preservesClientIP,
  requireDeletable,
  requireMergeable,
  requireOneProtocol,
  resourceTags,
  type Subnet,
  type SubnetMapping,
  schemeOf,
  subnetMappings,
  targetCalls,
  targetGroupAttributes,
  targetHealthCheck,
  targetNodeLabels,
  targetTypeOf,
  tlsPorts,
  validateInTreeAnnotations,
} from "@portolan/lb-aws/model";
import { MemoryCloud } from "@portolan/lb-aws/testing";
import type { Answer, Answers, CloudVector } from "./vector.ts";

/** A Service of a vector, which names only what matters. */
function serviceOf(service: Partial<Service> & { namespace?: string; name?: string } = {}): Service {
  const { namespace, name } = service;
  const metadata = { ...(namespace && { namespace }), ...(name && { name }), ...service.metadata };
  return { ...service, metadata, spec: { ...service.spec } };
}

function keyOf({ metadata }: Service): ServiceKey {
  return { namespace: metadata.namespace ?? "", name: metadata.name ?? "", uid: metadata.uid ?? "" };
}

/** The configuration of a vector, under the provider's names. */
function configurationOf(config: CloudVector["input"] = {}): AwsConfiguration {
  const renamed = {
    securityGroups: config.nlbSecurityGroups,
    enableBackendSecurityGroup: config.enableBackendSG,
    enableManageBackendSecurityGroupRules: config.enableManageBackendSGRules,
    disableRestrictedSecurityGroupRules: config.disableRestrictedSGRules ?? config.disableRestrictedSecurityGroupRules,
    enableTcpUdpListener: config.enableTCPUDPListener,
    clusterTagCheck: config.clusterTagCheckEnabled,
    discoveryByReachability: config.discoveryByReachabilityEnabled,
    classicSecurityGroup: config.elbSecurityGroup,
  };
  const set = Object.fromEntries(Object.entries({ ...config, ...renamed }).filter(([, value]) => value !== undefined));
  return { ...set, clusterName: config.clusterName ?? config.clusterId ?? "" };
}

/** Subnet mappings in both spellings of the vectors. */
function mappingsOf(mappings: readonly SubnetMapping[]): unknown[] {
  return mappings.map((mapping) => ({ ...mapping, subnetID: mapping.subnetId, allocationID: mapping.allocationId }));
}

/** A rule by the kind of its source. */
function ruleOf({ source, ...rule }: IngressRule): object {
  return source.startsWith("pl-")
    ? { ...rule, prefixLists: [source] }
    : { ...rule, cidrs: [source], ...(source.includes(":") ? { ipv6Cidrs: [source] } : {}) };
}

const groupOf = (group: string): unknown => (group === managedGroup ? { managed: true } : group);
const tagsOf = (tags: Readonly<Record<string, string>>): object => (Object.keys(tags).length > 0 ? { tags } : {});

/** Names of certificates in the notation that a vector uses: bare, or as members of objects. */
function certificatesOf(certificates: readonly string[], expected: unknown): unknown {
  if (certificates.length === 0) return undefined;
  const isBare = Array.isArray(expected) && typeof expected[0] === "string";
  return isBare ? certificates : certificates.map((certificateARN) => ({ certificateARN }));
}

/** A model in the shape of the AWS Load Balancer Controller's stacks. */
function modernPlan({ input, expect }: CloudVector): unknown {
  const service = serviceOf(input.service);
  if (service.metadata.deletionTimestamp !== undefined) {
    requireDeletable(service);
    return { plan: {}, resourceCount: 0 };
  }
  const { observed = {} } = input;
  const existing = observed.existingLoadBalancersWithStackTags?.[0];
  const model = networkModel({
    service,
    key: keyOf(service),
    configuration: configurationOf(input.config),
    ...(existing === undefined ? {} : { existing: { securityGroups: [], subnetIds: [], ...existing } }),
    subnetsFor: () => observed.discoveredSubnets ?? observed.subnetsByNameOrId ?? [],
    resolveSecurityGroups: (names) =>
      names.map((name) => observed.securityGroupsByNameOrId?.[name]).filter((id) => id !== undefined),
    vpcCidrs: { ipv4: observed.vpcCidrs ?? [], ipv6: observed.vpcIpv6Cidrs ?? observed.vpcIPv6Cidrs ?? [] },
  });
  const { loadBalancer, listeners, targetGroups, managedSecurityGroup, tags } = model;
  const expectedListeners = (expect["plan"] as { listeners?: { certificates?: unknown }[] } | undefined)?.listeners;
  const groups = loadBalancer.securityGroups;
  return {
    plan: {
      loadBalancer: {
        ...loadBalancer,
        type: "network",
        subnetMappings: mappingsOf(loadBalancer.subnetMappings),
        securityGroups: groups.length > 0 ? groups.map(groupOf) : undefined,
        securityGroupsInboundRulesOnPrivateLink: loadBalancer.inboundRulesOnPrivateLink,
        minimumLoadBalancerCapacity: loadBalancer.minimumCapacity,
        ...tagsOf(tags),
      },
      listeners: listeners.map((listener, index) => ({
        ...listener,
        forwardTo: [listener.targetGroup],
        listenerAttributes: listener.attributes,
        certificates: certificatesOf(listener.certificates, expectedListeners?.[index]?.certificates),
        ...tagsOf(tags),
      })),
      targetGroups: Object.fromEntries(targetGroups.map((group) => [group.id, { ...group, ...tagsOf(tags) }])),
      targetBindings: Object.fromEntries(
        targetGroups.map(({ id, ingress, nodeLabels, isMultiCluster }) => [
          id,
          {
            targetIngress:
              ingress.length === 0
                ? undefined
                : ingress.map(({ from, ports }) => ({
                    from: from.map((source) => (source.includes("/") ? source : { securityGroup: groupOf(source) })),
                    ports,
                  })),
            nodeSelector: nodeLabels && { ...nodeLabels, matchLabels: nodeLabels },
            ...(isMultiCluster ? { multiClusterTargetGroup: true } : {}),
          },
        ]),
      ),
      managedSecurityGroup: managedSecurityGroup && {
        ...managedSecurityGroup,
        ingress: managedSecurityGroup.ingress.map(ruleOf),
        ...tagsOf(tags),
      },
    },
    resourceCount: 1 + listeners.length + 2 * targetGroups.length + (managedSecurityGroup ? 1 : 0),
  };
}

const instancesOf = (nodes: { spec?: { providerID?: string } }[] = []): string[] =>
  nodes.map((node) => node.spec?.providerID?.split("/").at(-1) ?? "");

/** A rule of the nodes' security group. */
function nodeRuleOf({ protocol, fromPort, toPort, source, description }: IngressRule): object {
  const ports = protocol === "icmp" ? { type: fromPort, code: toPort } : { port: fromPort };
  return { protocol, ...ports, cidr: source, description };
}

const hostnameStatus = { ingress: [{ hostname: "<loadBalancer.DNSName>" }] };

function inTreeInput({ input }: CloudVector) {
  const service = serviceOf(input.service);
  const targeted = new Set(inTreeTargetNodes(service, input.nodes ?? []));
  const nodes = (input.nodes ?? []).filter((node: { metadata: { name: string } }) => targeted.has(node.metadata.name));
  const configuration = configurationOf(input.config);
  const subnets: Subnet[] = input.observed?.subnets ?? [];
  return { service, key: keyOf(service), configuration, subnets, instances: instancesOf(nodes) };
}

/** A model in the shape of the in-tree provider's Network Load Balancers. */
function inTreePlan(vector: CloudVector): unknown {
  const model = inTreeModel(inTreeInput(vector));
  const { name, scheme, subnetMappings: mappings, attributes, tags } = model;
  return {
    plan: {
      loadBalancer: { name, type: "network", scheme, subnetMappings: mappings, attributes, tags },
      listeners: model.listeners,
      targetGroups: model.targetGroups.map((group) => ({
        ...group,
        healthCheck: { ...group.healthCheck, port: String(group.healthCheck.port) },
      })),
      nodeSecurityGroupIngress: model.nodeRules.map(nodeRuleOf),
    },
    status: hostnameStatus,
  };
}

/** A model in the shape of the in-tree provider's classic load balancers. */
function classicPlan(vector: CloudVector): unknown {
  const model = classicModel(inTreeInput(vector));
  const { name, scheme, tags, attributes, subnetIds, securityGroups } = model;
  const groups = securityGroups.map((group) => (group === managedGroup ? "<securityGroup.id>" : group));
  const securityGroup = model.managedSecurityGroup && {
    ...model.managedSecurityGroup,
    ingress: model.managedSecurityGroup.ingress.map((rule) => ({ ...ruleOf(rule), ...nodeRuleOf(rule) })),
  };
  const { listeners, healthCheck: check, instances, proxyProtocol } = model;
  const members = { listeners, healthCheck: check, attributes, instances, proxyProtocol };
  return {
    plan: {
      loadBalancer: { name, type: "classic", scheme, subnets: subnetIds, securityGroups: groups, tags, ...members },
      ...members,
      sslNegotiationPolicy: model.sslNegotiationPolicy,
      securityGroup,
      managedSecurityGroup: securityGroup,
      nodeSecurityGroupIngress: [{ protocol: "-1", sourceSecurityGroup: groups[0] }],
    },
    status: hostnameStatus,
  };
}

const plan: Answer = (vector) => {
  if (vector.mode === "nlb-modern") return modernPlan(vector);
  return vector.mode === "ccm-clb" ? classicPlan(vector) : inTreePlan(vector);
};

/** Whether the route table of a subnet, or the main one, leads to an internet gateway. */
function isRoutedOutside(tables: readonly unknown[], id: string): boolean {
  const texts = tables.map((table) => JSON.stringify(table));
  const table = texts.find((text) => text.includes(`"${id}"`)) ?? texts.find((text) => /"main":true/i.test(text));
  return table?.includes('"igw-') ?? false;
}

/** Subnets that the internet reaches, by their route tables. */
function withReachability({ input }: CloudVector, subnets: readonly Subnet[]): Subnet[] {
  const { routeTables, publicBySubnetRouteTable, mainRouteTablePublic } = input;
  return subnets.map((subnet) => ({
    ...subnet,
    public:
      publicBySubnetRouteTable?.[subnet.id] ??
      (routeTables && isRoutedOutside(routeTables, subnet.id)) ??
      subnet.public ??
      mainRouteTablePublic ??
      false,
    zoneType: input.zoneTypes?.[subnet.zoneId ?? subnet.zone ?? ""] ?? subnet.zoneType ?? "availability-zone",
  }));
}

const ids = (subnets: readonly Subnet[]): { subnetIds: string[] } => ({ subnetIds: subnets.map(({ id }) => id) });

function healthCheck({ mode, input }: CloudVector): unknown {
  const service = serviceOf(input.service);
  if (mode === "nlb-modern") return { healthCheck: targetHealthCheck(service, input.targetType) };
  if (mode === "ccm-clb") {
    const { instancePort, instanceProtocol, path } = input;
    return { healthCheck: classicHealthCheck(service, { protocol: instanceProtocol, port: instancePort, path }) };
  }
  const check = inTreeHealthCheck(service, input.config ?? {});
  return { healthCheck: { ...check, port: String(check.port) } };
}

function subnetDiscovery(vector: CloudVector): unknown {
  const { mode, input } = vector;
  if (mode !== "nlb-modern") {
    const cluster = String(input.clusterTagKey).replace("kubernetes.io/cluster/", "");
    return ids(inTreeSubnets(withReachability(vector, input.subnets), cluster, input.internal));
  }
  const { clusterTagCheck, discoveryByReachability } = configurationOf(input.config);
  const tagged: Subnet[] = input.subnetsMatchingRoleTag ?? [];
  const others: Subnet[] = input.subnetsInVpc ?? input.vpcSubnets ?? input.subnets ?? [];
  const all = withReachability(
    vector,
    tagged.length > 0 ? tagged : others.filter((each) => !hasRoleTag(each, input.scheme)),
  );
  return ids(
    discoverSubnets(all, {
      cluster: input.clusterName,
      scheme: input.scheme,
      ipAddressType: input.ipAddressType,
      ...(clusterTagCheck === undefined ? {} : { clusterTagCheck }),
      ...(discoveryByReachability === undefined ? {} : { discoveryByReachability }),
      minimumZones: input.lbType === "application" && !input.config?.albSingleSubnetEnabled ? 2 : 1,
    }),
  );
}

function name({ mode, input }: CloudVector): unknown {
  const service = serviceOf(input.service);
  const key = keyOf(service);
  const cluster = input.clusterName ?? input.clusterId ?? "";
  if (input.resource === "managedSecurityGroup") return { name: managedSecurityGroupName(cluster, key) };
  if (input.resource === "targetGroup") {
    const { servicePort, nodePort, targetProtocol, targetType } = input;
    const check = input.healthCheck ?? {};
    const identity = {
      port: nodePort,
      servicePort,
      protocol: targetProtocol,
      targetType,
      healthCheckProtocol: check.protocol ?? "",
      healthCheckInterval: check.intervalSeconds ?? check.interval ?? 0,
    };
    return { name: inTreeTargetGroupName(cluster, key, identity) };
  }
  if (mode !== "nlb-modern") return { name: `a${key.uid.replaceAll("-", "")}`.slice(0, 32) };
  return { name: nameOfLoadBalancer(service, cluster, key, input.scheme ?? schemeOf(service, input.config ?? {})) };
}

const actions: Readonly<Record<string, string>> = {
  revokeIngress: "RevokeSecurityGroupIngress",
  authorizeIngress: "AuthorizeSecurityGroupIngress",
};

/** Puts what a vector says is there into a cloud, marked as the in-tree provider marks it, and destroys it. */
async function deletion({ input, expect }: CloudVector): Promise<unknown> {
  const service = serviceOf(input.service);
  const key = keyOf(service);
  const cluster = input.config?.clusterId ?? "my-cluster";
  const cloud = new MemoryCloud();
  const tags = {
    "kubernetes.io/service-name": `${key.namespace}/${key.name}`,
    [`kubernetes.io/cluster/${cluster}`]: "owned",
  };
  const { loadBalancer, targetGroups = 0, managedSecurityGroups = 0 } = input.observed ?? {};
  const { vpcId } = cloud;
  const groupIds: string[] = [];
  for (let index = 0; index < managedSecurityGroups; index++) {
    groupIds.push(await cloud.createSecurityGroup({ name: `group-${index}`, description: "", vpcId, tags }));
  }
  const balancer =
    loadBalancer &&
    (await cloud.createLoadBalancer({
      name: `a${key.uid.replaceAll("-", "")}`.slice(0, 32),
      scheme: "internet-facing",
      ipAddressType: "ipv4",
      subnetMappings: [{ subnetId: cloud.subnets[0]!.id }],
      securityGroups: groupIds,
      enablePrefixForIpv6SourceNat: "off",
      tags,
    }));
  const healthCheck = inTreeHealthCheck(service, {});
  for (let index = 0; index < targetGroups; index++) {
    const request = {
      targetType: "instance",
      ipAddressType: "ipv4",
      port: 30080 + index,
      protocol: "TCP",
      vpcId,
    } as const;
    const group = await cloud.createTargetGroup({ name: `group-${index}`, ...request, healthCheck, tags });
    const settings = { port: 80 + index, protocol: "TCP", targetGroupArn: group.arn } as const;
    if (balancer) await cloud.createListener(balancer.arn, settings, tags);
  }
  const calls: string[] = [];
  const port = new Proxy<AwsPort>(cloud, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      const name = String(property);
      if (typeof member === "function") calls.push(actions[name] ?? name.replace(/^./, (first) => first.toUpperCase()));
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const provider = awsProvider({ clusterName: cluster, port, vpcId });
  await provider.destroy(createCallContext({ signal: new AbortController().signal, idempotencyKey: key.uid }), key);
  const left = [...cloud.loadBalancers.keys(), ...cloud.targetGroups.keys(), ...cloud.securityGroups.keys()];
  const wanted = (expect["order"] as { before?: [string, string][] } | string[] | undefined) ?? [];
  const plainName = (text: string): string => text.toLowerCase().replace(/s$/, "");
  const made = calls.map(plainName);
  const order = Array.isArray(wanted)
    ? [...new Set(made)].flatMap((call) => wanted.filter((each) => plainName(each) === call))
    : {
        before: wanted.before?.filter(
          ([first, last]) => made.lastIndexOf(plainName(first)) < made.indexOf(plainName(last)),
        ),
      };
  // The group of the nodes was there before.
  return { ok: true, remaining: left.filter((id) => id !== "sg-00000000000000001"), order };
}

/** Rules of AWS: the AWS Load Balancer Controller's and those of the in-tree cloud provider. */
export const answers: Answers = {
  plan,
  error: plan,
  delete: deletion,
  healthCheck,
  subnetDiscovery,
  name,
  healthCheckPort: ({ input }) => ({
    healthCheckPort: healthCheckPort(serviceOf(input.service), input.targetType, input.defaultHealthCheckPort),
  }),
  targetGroupAttributes: ({ input }) => ({
    attributes: targetGroupAttributes(serviceOf(input.service), input.servicePort),
  }),
  preserveClientIP: ({ input }) => ({
    preserveClientIP: preservesClientIP(input.targetType, input.targetGroupAttributes ?? {}),
  }),
  targetType({ input }) {
    const service = serviceOf(input.service);
    return {
      targetType: targetTypeOf(service, service.spec?.ports?.[0] ?? { port: 0 }, configurationOf(input.config)),
    };
  },
  targetNodeSelector({ input }) {
    const labels = targetNodeLabels(serviceOf(input.service), input.targetType);
    return { nodeSelector: labels && { ...labels, matchLabels: labels } };
  },
  loadBalancerAttributes: ({ input }) => ({ attributes: loadBalancerAttributes(serviceOf(input.service)) }),
  ipAddressType: ({ input }) => ({ ipAddressType: ipAddressTypeOf(serviceOf(input.service)) }),
  minimumCapacity: ({ input }) => ({ minimumLoadBalancerCapacity: minimumCapacity(serviceOf(input.service)) }),
  manageBackendSecurityGroupRules: ({ input }) => ({
    manage: managesBackendRules(serviceOf(input.service), configurationOf(input.config)),
  }),
  resourceTags: ({ input }) => ({ tags: resourceTags(serviceOf(input.service), configurationOf(input.config)) }),
  ipv6SourceNat: ({ input }) => ({
    enablePrefixForIpv6SourceNat: ipv6SourceNat(serviceOf(input.service), input.ipAddressType, input.subnets ?? []),
  }),
  alpnPolicy: ({ input }) => ({ alpnPolicy: alpnPolicy(serviceOf(input.service), input.listenerProtocol) }),
  tlsPorts: ({ input }) => ({ tlsPorts: [...tlsPorts(serviceOf(input.service))] }),
  listenerAttributes({ input }) {
    const service = serviceOf(input.service);
    const attributes = (service.spec?.ports ?? []).map(({ protocol = "TCP", port }) =>
      protocol === "SCTP" ? {} : listenerAttributes(service, protocol, port),
    );
    return { attributes, listenerAttributes: attributes };
  },
  samePortProtocols({ input }) {
    requireMergeable(input.ports);
    return { ok: true };
  },
  tcpUdpListener: ({ input }) => ({
    tcpUdpListener: mergesTcpAndUdp(serviceOf(input.service), configurationOf(input.config)),
  }),
  sourceRanges: ({ input }) => ({
    cidrs: clientRanges(serviceOf(input.service), input.ipAddressType, input.prefixListsConfigured ?? false),
  }),
  managedSecurityGroupIngress: ({ input }) => ({
    ingress: managedGroupRules(serviceOf(input.service), input.ipAddressType).map(ruleOf),
  }),
  subnetMappings({ mode, input }) {
    if (mode === "nlb-modern") {
      const enablePrefixForIpv6SourceNat = input.enablePrefixForIpv6SourceNat ?? "off";
      const { scheme, ipAddressType } = input;
      const loadBalancer = { scheme, ipAddressType, enablePrefixForIpv6SourceNat };
      return { subnetMappings: mappingsOf(subnetMappings(serviceOf(input.service), input.subnets, loadBalancer)) };
    }
    const { subnetIds, allocationIds, privateIPv4Addresses } = input;
    return { subnetMappings: inTreeSubnetMappings(subnetIds, allocationIds ?? [], privateIPv4Addresses ?? []) };
  },
  subnetAnnotation({ input }) {
    const service = serviceOf(input.service);
    const found: Subnet[] = input.subnetsReturned ?? [];
    const isNamed = Object.keys(service.metadata.annotations ?? {}).some((key) => key.endsWith("-subnets"));
    return ids(isNamed ? namedSubnets(service, found) : found);
  },
  ownership({ mode, input }) {
    const service = serviceOf(input.service);
    if (mode !== "nlb-modern") return { implementedElsewhere: isImplementedElsewhere(service) };
    return { owned: isControllerService(service, input.config) };
  },
  pendingFinalization: ({ input }) => ({
    pending: isPendingFinalization(serviceOf(input.service), input.config?.finalizer),
  }),
  protocols({ input }) {
    requireOneProtocol(serviceOf(input.service));
    return { ok: true };
  },
  clbListener({ input }) {
    const service = serviceOf(input.service);
    return { listener: classicListener(service, service.spec!.ports![0]!) };
  },
  listenerDiff: ({ input }) => diffClassicListeners(input.desired, input.observed),
  lbKind: ({ input }) => ({ nlb: isInTreeNetworkLoadBalancer(serviceOf(input.service)) }),
  targetNodes: ({ input }) => ({ targetedNodes: inTreeTargetNodes(serviceOf(input.service), input.nodes ?? []) }),
  targetChunks: ({ input }) => ({ chunks: chunkTargets(input.targets, input.chunkSize) }),
  targetDiff: ({ input }) => diffTargets(input.desired, input.observed),
  targetReplace({ input }) {
    const calls = targetCalls(input.desired, input.observed, input.quotaTargetsPerGroup);
    return { ok: true, order: calls.map(({ call }) => call) };
  },
  validate({ input }) {
    validateInTreeAnnotations(serviceOf(input.service));
    return { ok: true };
  },
};
