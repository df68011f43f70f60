import type { Service } from "@portolan/core";
import { defaultLoadBalancerName, type NodeReference, ProviderError, sourceRangesOf } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { addressToUse, type ExistingAddress, isUserOwned, type ReservedAddress } from "./address.ts";
import { annotationKeys, loadBalancerClasses } from "./annotations.ts";
import {
  type BackendService,
  localityPolicy,
  type Scheme,
  type SessionAffinity,
  sessionAffinityOf,
  strongAffinityOf,
} from "./backend-service.ts";
import type { GcpConfiguration } from "./configuration.ts";
import {
  allowPriority,
  denyFirewall,
  type Firewall,
  healthCheckFirewall,
  healthCheckSources,
  maximumSourceRanges,
  ruleAddress,
  ruleAddressIPv6,
  trafficFirewall,
} from "./firewall.ts";
import { plainAddress } from "./forwarding-rule.ts";
import {
  type HealthCheckTarget,
  type HealthCheckTimes,
  hasOwnHealthCheck,
  healthCheckTarget,
  inTreeTimes,
  passthroughTimes,
} from "./health-check.ts";
import { inTreeNames, passthroughNames } from "./names.ts";
import { checkTierOfFamilies, type NetworkTier, networkTier, strictNetworkTier } from "./network-tier.ts";
import { endpointGroups, instanceGroups, instanceOf, type NodeGroup, subsetSize, zoneOf } from "./node-groups.ts";
import { gkeFinalizers, wantsInternal } from "./ownership.ts";
import {
  backendProtocol,
  checkProtocols,
  externalRulePorts,
  internalRulePorts,
  type RulePorts,
  ruleProtocol,
} from "./ports.ts";
import { sourceRangesOfFamily } from "./source-ranges.ts";

/**
 * How a load balancer is built. `external` and `internal`: a backend service with endpoint groups; what new ones are.
 * `target-pool` and `instance-group`: as the in-tree controller builds external and internal ones.
 */
export type Variant = "external" | "internal" | "target-pool" | "instance-group";

/** A health check of nodes over HTTP. */
export interface HealthCheck extends HealthCheckTimes, HealthCheckTarget {
  readonly name: string;
  /** Used by all load balancers of the cluster whose Services have no check of their own. */
  readonly shared: boolean;
}

/** Nodes of an external load balancer without backend service. */
export interface TargetPool {
  readonly name: string;
  readonly sessionAffinity: SessionAffinity;
  readonly healthChecks: readonly string[];
  readonly instances: readonly { readonly zone: string; readonly name: string }[];
}

/** The rule that clients' packets meet first. */
export interface ForwardingRule extends RulePorts {
  readonly name: string;
  readonly family: IPFamily;
  readonly IPProtocol: string;
  readonly loadBalancingScheme: Scheme;
  /** Empty: the cloud picks one. */
  readonly IPAddress: string;
  /** Whether the address is a reservation of the user's, which is never given back here. */
  readonly userOwned: boolean;
  /** Name of the reservation that holds the address while the rule is made anew. */
  readonly hold: string;
  readonly networkTier?: NetworkTier;
  readonly backendService?: string;
  readonly target?: string;
  readonly network?: string;
  readonly subnetwork?: string;
  readonly allowGlobalAccess?: boolean;
  readonly ipCollection?: string;
}

/** A firewall rule and what it is for. */
export interface ModelFirewall extends Firewall {
  readonly purpose: "traffic" | "deny" | "health-check";
  readonly shared: boolean;
}

/** Everything that one Service needs in the cloud. */
export interface GcpModel {
  readonly variant: Variant;
  /** Mark by which Google's in-tree controller would hold the Service. */
  readonly finalizer?: string;
  readonly healthCheck: HealthCheck;
  readonly groups: readonly NodeGroup[];
  readonly backendService?: BackendService;
  readonly targetPool?: TargetPool;
  /** One a family of addresses. */
  readonly forwardingRules: readonly ForwardingRule[];
  readonly firewalls: readonly ModelFirewall[];
}

/** What a model is made from. */
export interface ModelInput {
  readonly service: Service;
  readonly nodes: readonly NodeReference[];
  readonly configuration: GcpConfiguration;
  /** Addresses that users reserved in the region, without those that hold an address here. */
  readonly reserved?: readonly ReservedAddress[];
  /** Addresses of the rules that are there. */
  readonly existing?: Partial<Record<IPFamily, ExistingAddress>>;
  /** How long names are shortened; see `passthroughNames`. */
  readonly cut?: "readable" | "hash";
}

/** The variant that a Service asks for by class and annotations. */
export function variantOf(service: Service): Variant {
  switch (service.spec?.loadBalancerClass) {
    case loadBalancerClasses.targetPool:
      return "target-pool";
    case loadBalancerClasses.instanceGroup:
      return "instance-group";
  }
  return wantsInternal(service) ? "internal" : "external";
}

const familiesOf = (service: Service): readonly IPFamily[] => {
  const named = (service.spec?.ipFamilies ?? []) as IPFamily[];
  return named.length > 0 ? named : ["IPv4"];
};

/** Subnet of the rule of an internal or IPv6 load balancer. */
export function subnetworkOf(service: Service, configuration: GcpConfiguration, scheme: Scheme): string {
  const annotations = service.metadata.annotations ?? {};
  const internal = scheme === "INTERNAL" ? annotations[annotationKeys.internalSubnet] : undefined;
  return annotations[annotationKeys.subnet] || internal || configuration.subnetwork;
}

const wantsGlobalAccess = (service: Service): boolean =>
  service.metadata.annotations?.[annotationKeys.globalAccess] === "true";

/** Checks what both schemes have in common before anything is built. */
function check({ service, configuration }: ModelInput, mixed: boolean): void {
  checkProtocols(service.spec?.ports ?? [], mixed);
  if (configuration.nodeTags.length === 0) {
    throw new ProviderError("UserConfig", "nodeTags is empty: firewall rules would open every machine of the network");
  }
  const ranges = sourceRangesOf(service);
  if (ranges.length > maximumSourceRanges) {
    throw new ProviderError(
      "UserConfig",
      `${ranges.length} source ranges are asked for, but a firewall rule holds ${maximumSourceRanges} at most`,
    );
  }
}

interface InTreeParts {
  readonly loadBalancer: string;
  readonly healthCheck: HealthCheck;
  firewalls(healthCheckFirewallName: string): ModelFirewall[];
}

/** What the in-tree controller builds for external and internal load balancers alike. */
function inTreeParts({ service, configuration }: ModelInput): InTreeParts {
  const loadBalancer = defaultLoadBalancerName(service.metadata.uid ?? "");
  const shared = !hasOwnHealthCheck(service);
  const denies = configuration.features?.denyFirewall ?? false;
  const common = { nodeTags: configuration.nodeTags, priority: allowPriority(denies) };
  const healthCheck: HealthCheck = {
    name: inTreeNames.healthCheck(loadBalancer, configuration.clusterId, shared),
    shared,
    ...inTreeTimes,
    ...healthCheckTarget(service),
  };
  return {
    loadBalancer,
    healthCheck,
    firewalls: (name) => [
      {
        ...trafficFirewall({
          ...common,
          name: inTreeNames.firewall(loadBalancer),
          sourceRanges: sourceRangesOf(service),
          destination: ruleAddress,
          ports: service.spec?.ports ?? [],
        }),
        purpose: "traffic",
        shared: false,
      },
      {
        ...healthCheckFirewall({ ...common, name, port: healthCheck.port }),
        purpose: "health-check",
        shared,
      },
      ...(denies
        ? [
            {
              ...denyFirewall({
                name: inTreeNames.firewallDeny(loadBalancer),
                destination: ruleAddress,
                nodeTags: configuration.nodeTags,
                everything: "0.0.0.0/0",
              }),
              purpose: "deny" as const,
              shared: false,
            },
          ]
        : []),
    ],
  };
}

function targetPoolModel(input: ModelInput): GcpModel {
  const { service, nodes, configuration, existing } = input;
  check(input, false);
  const tier = strictNetworkTier(service);
  if (nodes.length === 0) throw new ProviderError("NotReady", "there are no nodes to send traffic to");
  const parts = inTreeParts(input);
  const { loadBalancer, healthCheck } = parts;
  const now = existing?.IPv4;
  // Without the annotation the tier of what is there stays: nobody asked for another address.
  const asked = networkTier(service).fromAnnotation;
  const wanted = asked ? tier : ((now?.networkTier as NetworkTier | undefined) ?? tier);
  const stays = now !== undefined && (now.networkTier ?? "PREMIUM") === wanted;
  const requested = service.spec?.loadBalancerIP ?? "";
  const userOwned = isUserOwned(requested, now?.address, wanted, input.reserved ?? []);
  const ports = service.spec?.ports ?? [];
  return {
    variant: "target-pool",
    finalizer: gkeFinalizers.targetPool,
    healthCheck,
    groups: [],
    targetPool: {
      name: loadBalancer,
      sessionAffinity: sessionAffinityOf(service),
      healthChecks: [healthCheck.name],
      instances: nodes
        .map((node) => ({ zone: zoneOf(node), name: instanceOf(node) }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    },
    forwardingRules: [
      {
        name: loadBalancer,
        family: "IPv4",
        IPProtocol: ruleProtocol(ports),
        ...externalRulePorts(ports, configuration.features?.discretePorts ?? false),
        loadBalancingScheme: "EXTERNAL",
        IPAddress: requested || (stays ? now.address : ""),
        userOwned,
        hold: loadBalancer,
        networkTier: wanted,
        target: loadBalancer,
      },
    ],
    firewalls: parts.firewalls(
      inTreeNames.externalHealthCheckFirewall(loadBalancer, configuration.clusterId, healthCheck.shared),
    ),
  };
}

function instanceGroupModel(input: ModelInput): GcpModel {
  const { service, nodes, configuration, existing } = input;
  check(input, false);
  const parts = inTreeParts(input);
  const { loadBalancer, healthCheck } = parts;
  const ports = service.spec?.ports ?? [];
  const protocol = ruleProtocol(ports);
  const annotations = service.metadata.annotations ?? {};
  const shares =
    [annotationKeys.backendShare, annotationKeys.formerBackendShare].some((key) => annotations[key] === "true") &&
    service.spec?.externalTrafficPolicy !== "Local";
  const backend = shares
    ? inTreeNames.sharedBackend(configuration.clusterId, protocol, service.spec?.sessionAffinity ?? "None")
    : loadBalancer;
  const subnetwork = annotations[annotationKeys.internalSubnet] || configuration.subnetwork;
  const { IPv4: now } = existing ?? {};
  const requested = service.spec?.loadBalancerIP;
  const { ip } = addressToUse({
    // Names of addresses are not read here.
    service: { metadata: {}, spec: { ...service.spec, loadBalancerIP: requested ?? "" } },
    family: "IPv4",
    reserved: [],
    subnetwork,
    ...(now === undefined ? {} : { existing: now }),
  });
  return {
    variant: "instance-group",
    finalizer: gkeFinalizers.instanceGroup,
    healthCheck,
    groups: instanceGroups(nodes, inTreeNames.instanceGroup(configuration.clusterId), configuration.subnetwork),
    backendService: {
      name: backend,
      ...(shares ? { shared: true } : {}),
      protocol,
      loadBalancingScheme: "INTERNAL",
      sessionAffinity: sessionAffinityOf(service),
      healthChecks: [healthCheck.name],
    },
    forwardingRules: [
      {
        name: loadBalancer,
        family: "IPv4",
        IPProtocol: protocol,
        ...internalRulePorts(ports),
        loadBalancingScheme: "INTERNAL",
        IPAddress: ip,
        userOwned: (input.reserved ?? []).some((entry) => entry.address === ip),
        hold: loadBalancer,
        backendService: backend,
        network: configuration.network,
        subnetwork,
        ...(wantsGlobalAccess(service) ? { allowGlobalAccess: true } : {}),
      },
    ],
    firewalls: parts.firewalls(
      inTreeNames.internalHealthCheckFirewall(loadBalancer, configuration.clusterId, healthCheck.shared),
    ),
  };
}

/** An external or internal load balancer with a backend service and endpoint groups. */
function passthroughModel(input: ModelInput, scheme: Scheme): GcpModel {
  const { service, nodes, configuration } = input;
  const features = configuration.features ?? {};
  const reserved = input.reserved ?? [];
  check(input, features.mixedProtocol ?? false);
  if (scheme === "EXTERNAL") checkTierOfFamilies(service);
  const strong = scheme === "EXTERNAL" ? strongAffinityOf(service, features) : undefined;
  const names = passthroughNames(
    {
      kubeSystemUID: configuration.kubeSystemUID,
      namespace: service.metadata.namespace ?? "",
      name: service.metadata.name ?? "",
    },
    input.cut,
  );
  const ports = service.spec?.ports ?? [];
  const families = familiesOf(service);
  const shared = !hasOwnHealthCheck(service);
  const target = healthCheckTarget(service);
  const denies = features.denyFirewall ?? false;
  const common = { nodeTags: configuration.nodeTags, priority: allowPriority(denies), upperCase: true };
  const protocol = ruleProtocol(ports);
  const locality = localityPolicy(service, scheme, features);
  const { networkTier: tier } = networkTier(service);
  const loadBalancer = defaultLoadBalancerName(service.metadata.uid ?? "");
  const policy = service.spec?.externalTrafficPolicy === "Local" ? "Local" : "Cluster";
  const subnetwork = subnetworkOf(service, configuration, scheme);
  const collection = service.metadata.annotations?.[annotationKeys.ipv6Collection];

  function ruleOf(family: IPFamily): ForwardingRule {
    const six = family === "IPv6";
    const inSubnet = scheme === "INTERNAL" || (six && !collection) ? subnetwork : "";
    const now = input.existing?.[family];
    const keeps = now !== undefined && (scheme === "INTERNAL" || (now.networkTier ?? "PREMIUM") === tier);
    const { ip, addressName } = addressToUse({
      service,
      family,
      reserved,
      subnetwork: inSubnet,
      ...(keeps ? { existing: now } : {}),
    });
    const hold = six ? `${loadBalancer}-ipv6` : loadBalancer;
    const userOwned =
      addressName !== "" ||
      (scheme === "EXTERNAL"
        ? isUserOwned(ip, plainAddress(now?.address), tier, reserved)
        : reserved.some((entry) => entry.address === ip));
    return {
      name:
        scheme === "INTERNAL"
          ? six
            ? names.internalRuleIPv6(protocol)
            : names.internalRule(protocol)
          : six
            ? names.externalRuleIPv6(protocol, 0)
            : loadBalancer,
      family,
      IPProtocol: protocol,
      ...(scheme === "INTERNAL" ? internalRulePorts(ports) : externalRulePorts(ports, features.discretePorts ?? false)),
      loadBalancingScheme: scheme,
      IPAddress: ip,
      userOwned,
      hold,
      ...(scheme === "EXTERNAL" ? { networkTier: tier } : { network: configuration.network }),
      backendService: names.backend,
      ...(inSubnet === "" ? {} : { subnetwork: inSubnet }),
      ...(scheme === "INTERNAL" && wantsGlobalAccess(service) ? { allowGlobalAccess: true } : {}),
      ...(six && collection ? { ipCollection: collection } : {}),
    };
  }

  function firewallsOf(family: IPFamily): ModelFirewall[] {
    const six = family === "IPv6";
    const destination = six ? ruleAddressIPv6 : ruleAddress;
    const { internalIPv6, externalIPv6, IPv4 } = healthCheckSources;
    // The shared rule serves Services of both schemes.
    const sixSources = shared
      ? [...internalIPv6, ...externalIPv6]
      : scheme === "INTERNAL"
        ? internalIPv6
        : externalIPv6;
    return [
      {
        ...healthCheckFirewall({
          ...common,
          name: six ? names.healthCheckFirewallIPv6(shared) : names.healthCheckFirewall(shared),
          port: target.port,
          sourceRanges: six ? sixSources : IPv4,
        }),
        purpose: "health-check",
        shared,
      },
      {
        ...trafficFirewall({
          ...common,
          name: six ? names.firewallIPv6 : names.firewall,
          sourceRanges: sourceRangesOfFamily(service, family),
          destination,
          ports,
        }),
        purpose: "traffic",
        shared: false,
      },
      ...(denies
        ? [
            {
              ...denyFirewall({
                name: six ? names.firewallDenyIPv6 : names.firewallDeny,
                destination,
                nodeTags: configuration.nodeTags,
                everything: six ? "::/0" : "0.0.0.0/0",
              }),
              purpose: "deny" as const,
              shared: false,
            },
          ]
        : []),
    ];
  }

  return {
    variant: scheme === "EXTERNAL" ? "external" : "internal",
    healthCheck: { name: names.healthCheck(shared), shared, ...passthroughTimes(shared), ...target },
    groups: endpointGroups(nodes, names.backend, configuration.subnetwork, subsetSize[scheme][policy]),
    backendService: {
      name: names.backend,
      protocol: backendProtocol(ports),
      loadBalancingScheme: scheme,
      sessionAffinity: sessionAffinityOf(service),
      healthChecks: [names.healthCheck(shared)],
      connectionDraining: { drainingTimeoutSec: protocol === "UDP" ? 0 : 30 },
      ...(locality === "" ? {} : { localityLbPolicy: locality }),
      ...(strong === undefined
        ? {}
        : {
            connectionTrackingPolicy: {
              enableStrongAffinity: true,
              trackingMode: "PER_SESSION",
              idleTimeoutSec: strong,
            },
          }),
    },
    forwardingRules: families.map(ruleOf),
    firewalls: families.flatMap(firewallsOf),
  };
}

/**
 * What a Service needs in the cloud. Pure: the same input gives the same model.
 *
 * @throws ProviderError `UserConfig` if the Service asks for what cannot be, `NotReady` if a target pool would have no node
 */
export function modelOf(input: ModelInput, variant: Variant = variantOf(input.service)): GcpModel {
  switch (variant) {
    case "target-pool":
      return targetPoolModel(input);
    case "instance-group":
      return instanceGroupModel(input);
    case "external":
      return passthroughModel(input, "EXTERNAL");
    case "internal":
      return passthroughModel(input, "INTERNAL");
  }
}
