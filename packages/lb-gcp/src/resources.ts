import type { ServiceKey } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import type { GcpConfiguration } from "./configuration.ts";
import { ruleAddress, ruleAddressIPv6 } from "./firewall.ts";
import { describe } from "./mark.ts";
import type { ForwardingRule, GcpModel } from "./model.ts";
import { clusterHash } from "./names.ts";

/** Kinds of objects that a load balancer is made of, with the collections that they live in. */
export const collections = {
  healthCheck: "healthChecks",
  httpHealthCheck: "httpHealthChecks",
  instanceGroup: "instanceGroups",
  networkEndpointGroup: "networkEndpointGroups",
  backendService: "backendServices",
  targetPool: "targetPools",
  address: "addresses",
  firewall: "firewalls",
  forwardingRule: "forwardingRules",
} as const;

/** A kind of object. */
export type ResourceKind = keyof typeof collections;

/** An object as the API has it. */
export type Body = Readonly<Record<string, unknown>>;

/** A wanted object. */
export interface Resource {
  /** Kind and name, for groups with the zone between: also the id of the change that makes it so. */
  readonly id: string;
  readonly kind: ResourceKind;
  readonly name: string;
  /** Path from `projects/` on. */
  readonly path: string;
  /** Null stands for a member that must not be set. */
  readonly body: Body;
  /** Instances of a group or pool, as `ZONE/NAME`. */
  readonly members?: readonly string[];
  /** Whether other Services of the cluster use it too. */
  readonly shared: boolean;
  readonly family?: IPFamily;
}

/** Where objects of a kind live: everywhere, in the region, or in a zone. */
export type Place = "global" | "region" | { readonly zone: string };

/** Path of a collection of objects. Firewall rules live in the project of the network. */
export function collectionPath(configuration: GcpConfiguration, kind: ResourceKind, place: Place): string {
  const project = kind === "firewall" ? (configuration.networkProject ?? configuration.project) : configuration.project;
  const where =
    place === "global" ? "global" : place === "region" ? `regions/${configuration.region}` : `zones/${place.zone}`;
  return `projects/${project}/${where}/${collections[kind]}`;
}

const networkPath = (configuration: GcpConfiguration): string =>
  `projects/${configuration.networkProject ?? configuration.project}/global/networks/${configuration.network}`;

const subnetworkPath = (configuration: GcpConfiguration, name: string): string =>
  `projects/${configuration.networkProject ?? configuration.project}/regions/${configuration.region}/subnetworks/${name}`;

/** Where health checks of a variant live. */
export function healthCheckPlace(model: Pick<GcpModel, "variant">): Place {
  return model.variant === "target-pool" || model.variant === "instance-group" ? "global" : "region";
}

/** The reservation that holds a rule's address while the rule is made anew. */
export function holdOf(rule: ForwardingRule, configuration: GcpConfiguration, key: ServiceKey): Resource {
  const external = rule.loadBalancingScheme === "EXTERNAL";
  const six = rule.family === "IPv6";
  return {
    id: `address/${rule.hold}`,
    kind: "address",
    name: rule.hold,
    path: `${collectionPath(configuration, "address", "region")}/${rule.hold}`,
    body: {
      name: rule.hold,
      description: describe({ cluster: clusterHash(configuration.kubeSystemUID), key }),
      ...(rule.IPAddress === "" ? {} : { address: rule.IPAddress }),
      addressType: rule.loadBalancingScheme,
      ...(external ? { networkTier: rule.networkTier } : {}),
      ...(six ? { ipVersion: "IPV6" } : {}),
      ...(six && external ? { ipv6EndpointType: "NETLB" } : {}),
      ...(rule.subnetwork === undefined ? {} : { subnetwork: subnetworkPath(configuration, rule.subnetwork) }),
    },
    shared: false,
    family: rule.family,
  };
}

/** The objects of a model in the order in which they can be made, as the API takes them. */
export function resourcesOf(model: GcpModel, configuration: GcpConfiguration, key: ServiceKey): Resource[] {
  const cluster = clusterHash(configuration.kubeSystemUID);
  const description = (shared: boolean): string => describe(shared ? { cluster } : { cluster, key });
  const resource = (
    kind: ResourceKind,
    place: Place,
    name: string,
    body: Body,
    rest: Partial<Resource> = {},
  ): Resource => {
    const shared = rest.shared ?? false;
    return {
      id: `${kind}/${typeof place === "object" ? `${place.zone}/` : ""}${name}`,
      kind,
      name,
      path: `${collectionPath(configuration, kind, place)}/${name}`,
      body: { name, description: description(shared), ...body },
      ...rest,
      shared,
    };
  };

  const { healthCheck, backendService, targetPool } = model;
  const { name: checkName, shared, port, requestPath, ...times } = healthCheck;
  const check =
    model.variant === "target-pool"
      ? resource("httpHealthCheck", "global", checkName, { port, requestPath, ...times }, { shared })
      : resource(
          "healthCheck",
          healthCheckPlace(model),
          checkName,
          { type: "HTTP", httpHealthCheck: { port, requestPath }, ...times },
          { shared },
        );
  const out: Resource[] = [check];

  const firewalls = model.firewalls.map(({ name, purpose: _purpose, shared, ...rule }) =>
    resource(
      "firewall",
      "global",
      name,
      { network: networkPath(configuration), direction: "INGRESS", destinationRanges: null, ...rule },
      {
        shared,
        ...(rule.destinationRanges?.includes(ruleAddress)
          ? { family: "IPv4" as const }
          : rule.destinationRanges?.includes(ruleAddressIPv6)
            ? { family: "IPv6" as const }
            : {}),
      },
    ),
  );
  out.push(...firewalls.filter((entry) => entry.family === undefined));

  const inTree = model.variant === "instance-group";
  const groups = model.groups.map((group) =>
    resource(
      inTree ? "instanceGroup" : "networkEndpointGroup",
      { zone: group.zone },
      group.name,
      inTree
        ? {}
        : {
            networkEndpointType: "GCE_VM_IP",
            network: networkPath(configuration),
            subnetwork: subnetworkPath(configuration, configuration.subnetwork),
          },
      { members: group.instances.map((name) => `${group.zone}/${name}`), shared: inTree },
    ),
  );
  out.push(...groups);

  if (backendService !== undefined) {
    const {
      name,
      shared = false,
      healthChecks: _healthChecks,
      localityLbPolicy,
      connectionTrackingPolicy,
      ...rest
    } = backendService;
    const features = configuration.features ?? {};
    const body = {
      ...rest,
      healthChecks: [check.path],
      backends: groups.map((group) => ({ group: group.path, balancingMode: "CONNECTION" })),
      // What is not turned on is not managed; a value that somebody set stays.
      ...(features.weightedLoadBalancing ? { localityLbPolicy: localityLbPolicy ?? null } : {}),
      ...(features.strongSessionAffinity && backendService.loadBalancingScheme === "EXTERNAL"
        ? { connectionTrackingPolicy: connectionTrackingPolicy ?? null }
        : {}),
    };
    out.push(resource("backendService", "region", name, body, { shared }));
  }
  if (targetPool !== undefined) {
    out.push(
      resource(
        "targetPool",
        "region",
        targetPool.name,
        { sessionAffinity: targetPool.sessionAffinity, healthChecks: [check.path] },
        { members: targetPool.instances.map(({ zone, name }) => `${zone}/${name}`) },
      ),
    );
  }
  out.push(...firewalls.filter((entry) => entry.family !== undefined));
  for (const rule of model.forwardingRules) {
    const internal = rule.loadBalancingScheme === "INTERNAL";
    const backend = `${collectionPath(configuration, "backendService", "region")}/${rule.backendService}`;
    const pool = `${collectionPath(configuration, "targetPool", "region")}/${rule.target}`;
    out.push(
      resource(
        "forwardingRule",
        "region",
        rule.name,
        {
          ...(rule.IPAddress === "" ? {} : { IPAddress: rule.IPAddress }),
          IPProtocol: rule.IPProtocol,
          loadBalancingScheme: rule.loadBalancingScheme,
          ...(rule.ports.length > 0 ? { ports: rule.ports } : {}),
          ...(rule.portRange === "" ? {} : { portRange: rule.portRange }),
          ...(rule.allPorts ? { allPorts: true } : {}),
          ...(rule.target === undefined ? { backendService: backend } : { target: pool }),
          ...(rule.networkTier === undefined ? {} : { networkTier: rule.networkTier }),
          ...(rule.network === undefined ? {} : { network: networkPath(configuration) }),
          ...(rule.subnetwork === undefined ? {} : { subnetwork: subnetworkPath(configuration, rule.subnetwork) }),
          ...(internal ? { allowGlobalAccess: rule.allowGlobalAccess ?? false } : {}),
          ...(rule.family === "IPv6" ? { ipVersion: "IPV6" } : {}),
          ...(rule.ipCollection === undefined ? {} : { ipCollection: rule.ipCollection }),
        },
        { family: rule.family },
      ),
    );
  }
  return out;
}
