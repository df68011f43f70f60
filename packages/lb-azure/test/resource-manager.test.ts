import { createCallContext, ProviderError } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { type AzurePort, azureProvider, resourceManagerPort } from "@portolan/lb-azure";
import {
  AzureCloud,
  type AzureEndpointOptions,
  type EndpointFault,
  startAzureEndpoint,
} from "@portolan/lb-azure/testing";
import { afterEach, describe, expect, it } from "vitest";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function start(options: AzureEndpointOptions = {}, token = "t") {
  const cloud = new AzureCloud();
  const endpoint = await startAzureEndpoint(cloud, options);
  closing.push(endpoint.close);
  const port = resourceManagerPort({
    subscription: "00000000-0000-0000-0000-000000000000",
    resourceGroup: "rg",
    endpoint: endpoint.url,
    credential: { getToken: async () => ({ token }) },
    sleep: async () => {},
  });
  return { cloud, endpoint, port };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => (error as ProviderError).code,
  );

const publicIP = (name: string) => ({
  name,
  location: "westus",
  properties: { publicIPAllocationMethod: "Static", publicIPAddressVersion: "IPv4" as const },
});

describe("Azure Resource Manager", () => {
  it("keeps members of documents that nobody here knows", async () => {
    const { port } = await start();
    const properties = { ...publicIP("a").properties, deleteOption: "Detach" };
    const written = await port.putPublicIPAddress("rg", { ...publicIP("a"), properties });
    expect(written.properties).toMatchObject({ deleteOption: "Detach", ipAddress: "52.0.0.10" });
  });

  it("refuses to write over a version that is not there any more", async () => {
    const { port } = await start();
    const first = await port.putPublicIPAddress("rg", publicIP("a"));
    await port.putPublicIPAddress("rg", { ...first, tags: { who: "other" } });
    expect(await codeOf(port.putPublicIPAddress("rg", { ...first, tags: { who: "me" } }))).toBe("Concurrency");
  });

  it("reads all pages of a list", async () => {
    const { port } = await start({ pageSize: 2 });
    for (const name of ["a", "b", "c", "d", "e"]) await port.putPublicIPAddress("rg", publicIP(name));
    expect((await port.listPublicIPAddresses("rg")).map((each) => each.name)).toEqual(["a", "b", "c", "d", "e"]);
  });

  it("waits for operations, and leaves those that take too long to the next pass", async () => {
    const { port } = await start({ polls: 5 });
    expect((await port.putPublicIPAddress("rg", publicIP("a"))).name).toBe("a");
    const slow = await start({ polls: 1000 });
    expect(await codeOf(slow.port.putPublicIPAddress("rg", publicIP("a")))).toBe("NotReady");
  });

  it("classifies refusals, with the delay that Azure names", async () => {
    let fault: EndpointFault | undefined = "throttle";
    const { port } = await start({ fault: () => fault });
    const error = await port.listLoadBalancers().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "Throttled", retryAfter: 1000 });
    fault = "unavailable";
    expect(await codeOf(port.listLoadBalancers())).toBe("Transient");
    fault = "lose";
    expect(await codeOf(port.putPublicIPAddress("rg", publicIP("a")))).toBe("Transient");
    fault = undefined;
    expect((await port.listPublicIPAddresses("rg")).length).toBe(1);
    const wrong = await start({ token: "right" }, "wrong");
    expect(await codeOf(wrong.port.listLoadBalancers())).toBe("Auth");
  });

  it("tells what is not there from what failed", async () => {
    const { port } = await start();
    expect(await port.getLoadBalancer("none")).toBeUndefined();
    await port.deleteLoadBalancer("none");
    await port.deletePublicIPAddress("rg", "none");
  });

  it("serves many Services at once from one load balancer", async () => {
    const { cloud, port } = await start({ polls: 1 });
    const provider = azureProvider({
      port: port as AzurePort,
      configuration: {
        clusterName: "kubernetes",
        resourceGroup: "rg",
        location: "westus",
        vnetName: "vnet",
        subnetName: "subnet",
      },
    });
    const ensure = async (name: string) => {
      const service = sampleService(name);
      const { namespace = "", uid = "" } = service.metadata;
      for (let attempt = 0; attempt < 50; attempt++) {
        const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: uid });
        try {
          const observed = await provider.observe(context, { namespace, name, uid });
          return await provider.apply(context, provider.plan({ service, nodes: sampleNodes(), observed }));
        } catch (error) {
          if (!(error instanceof ProviderError && error.code === "Concurrency")) throw error;
        }
      }
      throw new Error("no end of collisions");
    };
    const names = Array.from({ length: 8 }, (_, index) => `web-${index}`);
    const outcomes = await Promise.all(names.map(ensure));
    expect(new Set(outcomes.map((outcome) => outcome.ingress[0]!.ip)).size).toBe(8);
    expect(cloud.loadBalancers.size).toBe(1);
    expect(cloud.loadBalancers.get("kubernetes")!.properties.loadBalancingRules).toHaveLength(8);
  }, 60_000);
});
