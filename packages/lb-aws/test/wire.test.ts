import { ProviderError } from "@portolan/lb";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { providerErrorOf } from "../src/errors.ts";
import { AwsError } from "../src/index.ts";
import type { AwsPort } from "../src/port.ts";
import { sdkPort } from "../src/sdk/index.ts";
import { type FakeEndpoint, type FakeEndpointOptions, MemoryCloud, startFakeEndpoint } from "../src/testing/index.ts";

const open: FakeEndpoint[] = [];

async function connect(
  options: FakeEndpointOptions = {},
  maxAttempts = 1,
): Promise<{ endpoint: FakeEndpoint; port: AwsPort }> {
  const endpoint = await startFakeEndpoint(options);
  open.push(endpoint);
  const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
  return { endpoint, port: await sdkPort({ region: "us-east-1", endpoint: endpoint.url, credentials, maxAttempts }) };
}

// Other work may share the machine.
vi.setConfig({ testTimeout: 120_000 });

// Loading the SDK takes seconds on a busy machine.
beforeAll(async () => {
  await sdkPort({ region: "us-east-1" });
}, 60_000);

afterEach(async () => {
  await Promise.all(open.splice(0).map((endpoint) => endpoint.close()));
});

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AwsError);
  return (error as AwsError).code;
}

const healthCheck = {
  protocol: "HTTP",
  port: 32000,
  path: "/healthz",
  intervalSeconds: 10,
  timeoutSeconds: 6,
  healthyThresholdCount: 2,
  unhealthyThresholdCount: 2,
  matcher: { httpCode: "200-399" },
} as const;

const targetGroup = {
  targetType: "instance",
  ipAddressType: "ipv4",
  port: 30080,
  protocol: "TCP",
  vpcId: "vpc-1",
  healthCheck,
  tags: { "service.k8s.aws/stack": "default/web", 'odd & <"chars">': "kept" },
} as const;

describe("the SDK on the fake endpoint", () => {
  it.each([0, 1, 2, 3])("reads lists of %i entries in pages of two", async (count) => {
    const { endpoint, port } = await connect({ pageSize: 2 });
    for (let index = 0; index < count; index++)
      await port.createTargetGroup({ ...targetGroup, name: `group-${index}` });
    const start = endpoint.requests.length;
    const found = await port.describeTargetGroups();
    expect(found.map((each) => each.name)).toEqual(Array.from({ length: count }, (_, index) => `group-${index}`));
    expect(endpoint.requests.length - start).toBe(Math.max(1, Math.ceil(count / 2)));
  });

  it("says the same as the cloud in memory", async () => {
    const { endpoint, port } = await connect();
    const group = await port.createTargetGroup({ ...targetGroup, name: "web" });
    const loadBalancer = await port.createLoadBalancer({
      name: "web",
      scheme: "internal",
      ipAddressType: "dualstack",
      subnetMappings: [{ subnetId: endpoint.cloud.subnets[0]!.id, privateIPv4Address: "10.0.0.9" }],
      securityGroups: ["sg-00000000000000001"],
      enablePrefixForIpv6SourceNat: "on",
      tags: { team: "net" },
    });
    const settings = {
      port: 443,
      protocol: "TLS",
      targetGroupArn: group.arn,
      certificate: "arn:aws:acm:us-east-1:123456789012:certificate/a",
      sslPolicy: "ELBSecurityPolicy-2016-08",
      alpnPolicy: ["HTTP2Preferred"],
    } as const;
    const listener = await port.createListener(loadBalancer.arn, settings, {});
    await port.addListenerCertificates(listener.arn, ["arn:aws:acm:us-east-1:123456789012:certificate/b"]);
    await port.registerTargets(group.arn, [{ id: "i-1", port: 30080 }]);
    await port.authorizeIngress("sg-00000000000000001", [
      {
        protocol: "tcp",
        fromPort: 30080,
        toPort: 30080,
        source: "10.0.0.0/16",
        description: "portolan/kit/default/web",
      },
      { protocol: "tcp", fromPort: 30080, toPort: 30080, source: "2001:db8::/32" },
      { protocol: "icmp", fromPort: 3, toPort: 4, source: "pl-1" },
    ]);
    const { cloud } = endpoint;
    const byText = (left: unknown, right: unknown): number => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1);
    const read = async (from: AwsPort): Promise<unknown> => ({
      loadBalancers: await from.describeLoadBalancers(),
      targetGroups: await from.describeTargetGroups(),
      listeners: await from.describeListeners(loadBalancer.arn),
      certificates: await from.describeListenerCertificates(listener.arn),
      tags: await from.describeTags([loadBalancer.arn, group.arn]),
      attributes: await from.describeAttributes(group.arn),
      targets: await from.describeTargetHealth(group.arn),
      routeTables: await from.describeRouteTables("vpc-1"),
      cidrs: await from.describeVpcCidrs("vpc-1"),
      groups: (await from.describeSecurityGroups("vpc-1")).map((each) => ({
        ...each,
        ingress: [...each.ingress].sort(byText),
      })),
    });
    expect(await read(port)).toEqual(await read(cloud));
  });

  it("says the same about classic load balancers as the cloud in memory", async () => {
    const { endpoint, port } = await connect({ pageSize: 2 });
    const { cloud } = endpoint;
    const listener = { loadBalancerPort: 80, protocol: "tcp", instancePort: 30080, instanceProtocol: "tcp" };
    const tls = {
      ...listener,
      loadBalancerPort: 443,
      protocol: "ssl",
      sslCertificateId: "arn:aws:acm:x:1:certificate/a",
    };
    const request = {
      name: "web",
      scheme: "internal",
      subnetIds: cloud.subnets.slice(0, 2).map((subnet) => subnet.id),
      securityGroups: ["sg-00000000000000001"],
      listeners: [listener, tls],
      tags: { team: "net", 'odd & <"chars">': "kept" },
    } as const;
    const dnsName = await port.createClassicLoadBalancer(request);
    expect(dnsName).toBe(cloud.classicLoadBalancers.get("web")?.dnsName);
    for (const name of ["api", "db"]) await port.createClassicLoadBalancer({ ...request, name });
    const check = {
      target: "HTTP:32000/healthz",
      interval: 10,
      timeout: 5,
      healthyThreshold: 2,
      unhealthyThreshold: 6,
    };
    await port.configureClassicHealthCheck("web", check);
    await port.modifyClassicAttributes("web", {
      accessLog: { enabled: true, emitInterval: 5, s3BucketName: "logs", s3BucketPrefix: "web" },
      connectionDraining: { enabled: true, timeout: 30 },
    });
    await port.modifyClassicAttributes("api", { crossZoneLoadBalancing: { enabled: true } });
    const proxy = { name: "proxy", type: "ProxyProtocolPolicyType", attributes: { ProxyProtocol: "true" } };
    await port.createClassicPolicy("web", proxy);
    await port.setClassicBackendPolicies("web", 30080, ["proxy"]);
    await port.setClassicListenerPolicies("web", 443, []);
    await port.deleteClassicPolicy("web", "ELBSecurityPolicy-2016-08");
    await port.createClassicListeners("web", [{ ...listener, loadBalancerPort: 81 }]);
    await port.deleteClassicListeners("web", [80]);
    await port.registerClassicInstances("web", ["i-1", "i-2"]);
    await port.deregisterClassicInstances("web", ["i-1"]);
    await port.attachClassicSubnets("web", [cloud.subnets[2]!.id]);
    await port.detachClassicSubnets("web", [cloud.subnets[0]!.id]);
    await port.applyClassicSecurityGroups("web", []);
    await port.tagResources(["web"], { team: "core", tier: "1" });
    await port.untagResources(["web"], ["tier"]);
    await port.deleteClassicLoadBalancer("db");
    const read = async (from: AwsPort): Promise<unknown> => ({
      loadBalancers: await from.describeClassicLoadBalancers(),
      tags: await from.describeTags(["api", "web"]),
      attributes: [await from.describeClassicAttributes("web"), await from.describeClassicAttributes("api")],
      policies: await from.describeClassicPolicies("web"),
    });
    const seen = await read(port);
    expect(seen).toEqual(await read(cloud));
    expect(seen).toMatchObject({
      loadBalancers: [{ name: "web", instances: ["i-2"], securityGroups: [] }, { name: "api" }],
      policies: [proxy],
    });
    expect(await codeOf(port.createClassicLoadBalancer(request))).toBe("DuplicateLoadBalancerName");
    expect(await codeOf(port.describeClassicAttributes("none"))).toBe("LoadBalancerNotFound");
    expect(await codeOf(port.setClassicBackendPolicies("web", 30080, ["none"]))).toBe("PolicyNotFound");
  });

  it("tells codes as AWS has them", async () => {
    const { port } = await connect();
    expect(await codeOf(port.describeListeners("arn:aws:elasticloadbalancing:none"))).toBe("LoadBalancerNotFound");
    expect(await codeOf(port.deleteSecurityGroup("sg-none"))).toBe("InvalidGroup.NotFound");
    await port.createTargetGroup({ ...targetGroup, name: "web" });
    expect(await codeOf(port.createTargetGroup({ ...targetGroup, name: "web", port: 1 }))).toBe(
      "DuplicateTargetGroupName",
    );
  });

  it("retries a throttled call by itself, and gives up with its code", async () => {
    let left = 1;
    const throttled = new AwsError("ThrottlingException", "Rate exceeded", { status: 400 });
    const fault: FakeEndpointOptions["fault"] = (_request, phase) =>
      phase === "before" && left-- > 0 ? throttled : undefined;
    const { endpoint, port } = await connect({ fault }, 2);
    expect(await port.describeTargetGroups()).toEqual([]);
    expect(endpoint.requests).toHaveLength(2);
    left = 5;
    expect(await codeOf(port.describeTargetGroups())).toBe("Throttling");
  });

  it("takes a lost answer for a failure of the network, although the effect is there", async () => {
    const fault: FakeEndpointOptions["fault"] = ({ action }, phase) =>
      action === "CreateTargetGroup" && phase === "after" ? "drop" : undefined;
    const { endpoint, port } = await connect({ fault });
    expect(await codeOf(port.createTargetGroup({ ...targetGroup, name: "web" }))).toBe("NetworkError");
    expect(endpoint.cloud.targetGroups.size).toBe(1);
  });

  it("gives up a call that is never answered", async () => {
    const endpoint = await startFakeEndpoint({ fault: () => "hang" });
    open.push(endpoint);
    const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
    const options = { region: "us-east-1", endpoint: endpoint.url, credentials, maxAttempts: 1, requestTimeout: 50 };
    expect(await codeOf((await sdkPort(options)).describeTargetGroups())).toBe("NetworkError");
  });

  it("asks for tags of no more than twenty objects at once", async () => {
    const { endpoint, port } = await connect();
    const arns: string[] = [];
    for (let index = 0; index < 41; index++) {
      arns.push((await endpoint.cloud.createTargetGroup({ ...targetGroup, name: `group-${index}` })).arn);
    }
    expect(Object.keys(await port.describeTags(arns))).toHaveLength(41);
    expect(endpoint.requests.filter(({ action }) => action === "DescribeTags")).toHaveLength(3);
  });

  it("refuses requests without a signature, of another version, and unknown actions", async () => {
    const { endpoint } = await connect({ cloud: new MemoryCloud() });
    const post = async (body: string, headers: Record<string, string> = {}): Promise<[number, string]> => {
      const response = await fetch(endpoint.url, { method: "POST", body, headers });
      return [response.status, /<Code>(.*)<\/Code>/.exec(await response.text())?.[1] ?? ""];
    };
    const scope =
      "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/elasticloadbalancing/aws4_request, SignedHeaders=";
    const signed = { authorization: scope };
    expect(await post("Action=DescribeTargetGroups&Version=2015-12-01")).toEqual([403, "MissingAuthenticationToken"]);
    expect(await post("Action=DescribeTargetGroups&Version=2012-06-01", signed)).toEqual([400, "InvalidAction"]);
    expect(await post("Action=DescribeNothing&Version=2015-12-01", signed)).toEqual([400, "InvalidAction"]);
    expect(await post("Action=DescribeTargetGroups&Version=2015-12-01", signed)).toEqual([200, ""]);
  });
});

describe("errors", () => {
  it.each([
    ["ThrottlingException", 400, "Throttled"],
    ["AccessDenied", 403, "Auth"],
    ["UnauthorizedOperation", 403, "Auth"],
    ["TooManyLoadBalancers", 400, "Quota"],
    ["RulesPerSecurityGroupLimitExceeded", 400, "Quota"],
    ["DependencyViolation", 400, "NotReady"],
    ["ResourceInUse", 400, "NotReady"],
    ["CertificateNotFound", 400, "UserConfig"],
    ["ServiceUnavailable", 503, "Transient"],
    ["SomethingNew", 403, "Auth"],
    ["NetworkError", undefined, "Transient"],
  ])("%s (%s) is %s", (code, status, wanted) => {
    const error = new AwsError(code, "why", { requestId: "r-1", ...(status === undefined ? {} : { status }) });
    const classified = providerErrorOf(error, "createLoadBalancer");
    expect(classified).toBeInstanceOf(ProviderError);
    expect(classified.code).toBe(wanted);
    expect(classified.message).toBe(`CreateLoadBalancer: ${code}: why (request r-1)`);
    expect(classified.retryAfter !== undefined).toBe(wanted === "Throttled" || wanted === "NotReady");
  });
});
