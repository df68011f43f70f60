import type * as Elb from "@aws-sdk/client-elastic-load-balancing";
import type { ClassicAttributes, ClassicListener } from "../classic.ts";
import type { AwsPort, ClassicLoadBalancer, ClassicPolicy, Tags } from "../port.ts";
import { inPieces, pages, set, tagList, tagsOf } from "./sdk-values.ts";

/** Calls of the port that are about classic load balancers only. */
type ClassicPort = Pick<AwsPort, Extract<keyof AwsPort, `${string}Classic${string}`>>;

/** The SDK's client of the classic API with its commands. */
export interface ClassicSdk {
  readonly commands: typeof Elb;
  readonly client: Elb.ElasticLoadBalancingClient;
}

const namesPerCall = 20;

const listenerRequest = (listener: ClassicListener): Elb.Listener => ({
  LoadBalancerPort: listener.loadBalancerPort,
  Protocol: listener.protocol.toUpperCase(),
  InstancePort: listener.instancePort,
  InstanceProtocol: listener.instanceProtocol.toUpperCase(),
  ...(listener.sslCertificateId === undefined ? {} : { SSLCertificateId: listener.sslCertificateId }),
});

function listenerOf({ Listener, PolicyNames }: Elb.ListenerDescription): ClassicLoadBalancer["listeners"][number] {
  const certificate = Listener?.SSLCertificateId;
  return {
    loadBalancerPort: Listener?.LoadBalancerPort ?? 0,
    protocol: Listener?.Protocol ?? "",
    instancePort: Listener?.InstancePort ?? 0,
    instanceProtocol: Listener?.InstanceProtocol ?? Listener?.Protocol ?? "",
    ...(certificate === undefined || certificate === "" ? {} : { sslCertificateId: certificate }),
    policies: PolicyNames ?? [],
  };
}

function loadBalancerOf(each: Elb.LoadBalancerDescription): ClassicLoadBalancer {
  const check = each.HealthCheck;
  return {
    name: each.LoadBalancerName ?? "",
    scheme: each.Scheme === "internal" ? "internal" : "internet-facing",
    dnsName: each.DNSName ?? "",
    subnetIds: each.Subnets ?? [],
    securityGroups: each.SecurityGroups ?? [],
    listeners: (each.ListenerDescriptions ?? []).map(listenerOf),
    healthCheck: {
      target: check?.Target ?? "",
      interval: check?.Interval ?? 0,
      timeout: check?.Timeout ?? 0,
      healthyThreshold: check?.HealthyThreshold ?? 0,
      unhealthyThreshold: check?.UnhealthyThreshold ?? 0,
    },
    instances: (each.Instances ?? []).map(({ InstanceId = "" }) => InstanceId),
    backendPolicies: (each.BackendServerDescriptions ?? [])
      .map(({ InstancePort = 0, PolicyNames = [] }) => ({ instancePort: InstancePort, policies: PolicyNames }))
      .filter(({ policies }) => policies.length > 0),
  };
}

function attributesOf(all: Elb.LoadBalancerAttributes = {}): ClassicAttributes {
  const { AccessLog, ConnectionDraining, ConnectionSettings, CrossZoneLoadBalancing } = all;
  return {
    accessLog: set({
      enabled: AccessLog?.Enabled ?? false,
      emitInterval: AccessLog?.EmitInterval,
      s3BucketName: AccessLog?.S3BucketName,
      s3BucketPrefix: AccessLog?.S3BucketPrefix,
    }) as ClassicAttributes["accessLog"],
    connectionDraining: set({
      enabled: ConnectionDraining?.Enabled ?? false,
      timeout: ConnectionDraining?.Timeout,
    }) as ClassicAttributes["connectionDraining"],
    connectionSettings: { idleTimeout: ConnectionSettings?.IdleTimeout ?? 60 },
    crossZoneLoadBalancing: { enabled: CrossZoneLoadBalancing?.Enabled ?? false },
  };
}

function attributesRequest(attributes: Partial<ClassicAttributes>): Elb.LoadBalancerAttributes {
  const { accessLog, connectionDraining, connectionSettings, crossZoneLoadBalancing } = attributes;
  return {
    ...(accessLog && {
      AccessLog: {
        Enabled: accessLog.enabled,
        ...set({
          EmitInterval: accessLog.emitInterval,
          S3BucketName: accessLog.s3BucketName,
          S3BucketPrefix: accessLog.s3BucketPrefix,
        }),
      },
    }),
    ...(connectionDraining && {
      ConnectionDraining: { Enabled: connectionDraining.enabled, ...set({ Timeout: connectionDraining.timeout }) },
    }),
    ...(connectionSettings && { ConnectionSettings: { IdleTimeout: connectionSettings.idleTimeout } }),
    ...(crossZoneLoadBalancing && { CrossZoneLoadBalancing: { Enabled: crossZoneLoadBalancing.enabled } }),
  };
}

function policyOf(each: Elb.PolicyDescription): ClassicPolicy {
  const attributes = (each.PolicyAttributeDescriptions ?? []).map(
    ({ AttributeName = "", AttributeValue = "" }) => [AttributeName, AttributeValue] as const,
  );
  return { name: each.PolicyName ?? "", type: each.PolicyTypeName ?? "", attributes: Object.fromEntries(attributes) };
}

const instanceList = (ids: readonly string[]): Elb.Instance[] => ids.map((InstanceId) => ({ InstanceId }));

/** The calls of the classic API over the SDK's client, which is made at the first of them. */
export function classicCalls(make: () => Promise<ClassicSdk>): {
  readonly port: ClassicPort;
  describeTags(names: readonly string[]): Promise<Readonly<Record<string, Tags>>>;
  addTags(names: readonly string[], tags: Tags): Promise<void>;
  removeTags(names: readonly string[], keys: readonly string[]): Promise<void>;
} {
  let made: Promise<ClassicSdk> | undefined;
  const sdk = (): Promise<ClassicSdk> => {
    made ??= make();
    return made;
  };
  const port: ClassicPort = {
    async describeClassicLoadBalancers() {
      const { client, commands } = await sdk();
      const all = await pages(
        (token) => client.send(new commands.DescribeLoadBalancersCommand(set({ Marker: token }))),
        (page) => page.LoadBalancerDescriptions,
        (page) => page.NextMarker,
      );
      return all.map(loadBalancerOf);
    },
    async describeClassicAttributes(name) {
      const { client, commands } = await sdk();
      const command = new commands.DescribeLoadBalancerAttributesCommand({ LoadBalancerName: name });
      return attributesOf((await client.send(command)).LoadBalancerAttributes);
    },
    async describeClassicPolicies(name) {
      const { client, commands } = await sdk();
      const command = new commands.DescribeLoadBalancerPoliciesCommand({ LoadBalancerName: name });
      return ((await client.send(command)).PolicyDescriptions ?? []).map(policyOf);
    },
    async createClassicLoadBalancer(request) {
      const { client, commands } = await sdk();
      const command = new commands.CreateLoadBalancerCommand({
        LoadBalancerName: request.name,
        Listeners: request.listeners.map(listenerRequest),
        Subnets: [...request.subnetIds],
        SecurityGroups: [...request.securityGroups],
        // Internet-facing is what the absence of a scheme means.
        ...(request.scheme === "internal" ? { Scheme: "internal" } : {}),
        Tags: tagList(request.tags),
      });
      return (await client.send(command)).DNSName ?? "";
    },
    async deleteClassicLoadBalancer(name) {
      const { client, commands } = await sdk();
      await client.send(new commands.DeleteLoadBalancerCommand({ LoadBalancerName: name }));
    },
    async createClassicListeners(name, listeners) {
      const { client, commands } = await sdk();
      const Listeners = listeners.map(listenerRequest);
      await client.send(new commands.CreateLoadBalancerListenersCommand({ LoadBalancerName: name, Listeners }));
    },
    async deleteClassicListeners(name, ports) {
      const { client, commands } = await sdk();
      const LoadBalancerPorts = [...ports];
      await client.send(new commands.DeleteLoadBalancerListenersCommand({ LoadBalancerName: name, LoadBalancerPorts }));
    },
    async configureClassicHealthCheck(name, check) {
      const { client, commands } = await sdk();
      const HealthCheck = {
        Target: check.target,
        Interval: check.interval,
        Timeout: check.timeout,
        HealthyThreshold: check.healthyThreshold,
        UnhealthyThreshold: check.unhealthyThreshold,
      };
      await client.send(new commands.ConfigureHealthCheckCommand({ LoadBalancerName: name, HealthCheck }));
    },
    async modifyClassicAttributes(name, attributes) {
      const { client, commands } = await sdk();
      const LoadBalancerAttributes = attributesRequest(attributes);
      const command = { LoadBalancerName: name, LoadBalancerAttributes };
      await client.send(new commands.ModifyLoadBalancerAttributesCommand(command));
    },
    async createClassicPolicy(name, policy) {
      const { client, commands } = await sdk();
      const command = new commands.CreateLoadBalancerPolicyCommand({
        LoadBalancerName: name,
        PolicyName: policy.name,
        PolicyTypeName: policy.type,
        PolicyAttributes: Object.entries(policy.attributes).map(([AttributeName, AttributeValue]) => ({
          AttributeName,
          AttributeValue,
        })),
      });
      await client.send(command);
    },
    async deleteClassicPolicy(name, policyName) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, PolicyName: policyName };
      await client.send(new commands.DeleteLoadBalancerPolicyCommand(command));
    },
    async setClassicListenerPolicies(name, listenerPort, policyNames) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, LoadBalancerPort: listenerPort, PolicyNames: [...policyNames] };
      await client.send(new commands.SetLoadBalancerPoliciesOfListenerCommand(command));
    },
    async setClassicBackendPolicies(name, instancePort, policyNames) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, InstancePort: instancePort, PolicyNames: [...policyNames] };
      await client.send(new commands.SetLoadBalancerPoliciesForBackendServerCommand(command));
    },
    async registerClassicInstances(name, instances) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, Instances: instanceList(instances) };
      await client.send(new commands.RegisterInstancesWithLoadBalancerCommand(command));
    },
    async deregisterClassicInstances(name, instances) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, Instances: instanceList(instances) };
      await client.send(new commands.DeregisterInstancesFromLoadBalancerCommand(command));
    },
    async applyClassicSecurityGroups(name, groups) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, SecurityGroups: [...groups] };
      await client.send(new commands.ApplySecurityGroupsToLoadBalancerCommand(command));
    },
    async attachClassicSubnets(name, subnetIds) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, Subnets: [...subnetIds] };
      await client.send(new commands.AttachLoadBalancerToSubnetsCommand(command));
    },
    async detachClassicSubnets(name, subnetIds) {
      const { client, commands } = await sdk();
      const command = { LoadBalancerName: name, Subnets: [...subnetIds] };
      await client.send(new commands.DetachLoadBalancerFromSubnetsCommand(command));
    },
  };
  return {
    port,
    async describeTags(names) {
      const { client, commands } = await sdk();
      const out: Record<string, Tags> = {};
      for (const piece of inPieces(names, namesPerCall)) {
        const { TagDescriptions = [] } = await client.send(
          new commands.DescribeTagsCommand({ LoadBalancerNames: piece }),
        );
        for (const each of TagDescriptions) out[each.LoadBalancerName ?? ""] = tagsOf(each.Tags);
      }
      return out;
    },
    async addTags(names, tags) {
      const { client, commands } = await sdk();
      // The API takes one load balancer at a time.
      for (const name of names) {
        await client.send(new commands.AddTagsCommand({ LoadBalancerNames: [name], Tags: tagList(tags) }));
      }
    },
    async removeTags(names, keys) {
      const { client, commands } = await sdk();
      const Tags = keys.map((Key) => ({ Key }));
      for (const name of names) await client.send(new commands.RemoveTagsCommand({ LoadBalancerNames: [name], Tags }));
    },
  };
}
