import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiServer } from "@portolan/apiserver";
import { createApiClient } from "@portolan/client";
import { resources, type Service } from "@portolan/core";
import { createCallContext } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { azureProvider } from "@portolan/lb-azure";
import { AzureCloud, startAzureEndpoint } from "@portolan/lb-azure/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { main } from "../src/main.ts";

let directory: string;
const closing: (() => Promise<void>)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "portolan-lb-"));
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  rmSync(directory, { recursive: true, force: true });
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

async function portolan(...argv: string[]): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const collect = (...parts: unknown[]): void => void lines.push(parts.join(" "));
  const log = vi.spyOn(console, "log").mockImplementation(collect);
  const error = vi.spyOn(console, "error").mockImplementation(collect);
  const code = await main(["lb", ...argv]);
  log.mockRestore();
  error.mockRestore();
  return { code, text: lines.join("\n") };
}

function manifest(name: string, annotations: Record<string, string>, ports: readonly number[] = [80]): string {
  const file = join(directory, name);
  const spec = {
    type: "LoadBalancer",
    selector: { app: "web" },
    ports: ports.map((port) => ({ name: `p${port}`, port })),
  };
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: "v1", kind: "Service", metadata: { name: "web", annotations }, spec }),
  );
  return file;
}

const internal = { "service.beta.kubernetes.io/azure-load-balancer-internal": "true" };

describe("portolan lb plan", () => {
  it("tells what a provider would make, without an account", async () => {
    const { code, text } = await portolan("plan", "-f", manifest("a", internal), "--provider", "azure");
    expect(code).toBe(0);
    expect(text).toContain("+   LoadBalancer kubernetes-internal");
    expect(text).toMatch(/1 to add, 1 to change, 0 to replace, 0 to remove/);
  });

  it("tells what a change of the manifest would do, and that nothing is to do without one", async () => {
    const [before, after] = [manifest("a", {}), manifest("b", internal)];
    const change = await portolan("plan", "-f", after, "--from", before, "--provider", "azure");
    expect(change.text).toContain("-   LoadBalancer kubernetes  [ip-change]");
    const none = await portolan("plan", "-f", before, "--from", before, "--provider", "azure");
    expect(none.text).toContain("nothing to do");
  });

  it.each([
    ["aws", { "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" }, "internet-facing"],
    ["aws", { "service.beta.kubernetes.io/aws-load-balancer-internal": "true" }, "internal"],
    ["gcp", { "networking.gke.io/load-balancer-type": "Internal" }, "INTERNAL"],
    ["azure", internal, "kubernetes-internal"],
  ])("plans the article's examples for %s: %j", async (provider, annotations, scheme) => {
    const file = manifest("a", annotations as unknown as Record<string, string>);
    const { code, text } = await portolan("plan", "-f", file, "--provider", provider);
    expect(code).toBe(0);
    expect(text).toMatch(/[1-9]\d* to add/);
    const json = await portolan("plan", "-f", file, "--provider", provider, "-o", "json");
    expect(json.text).toContain(scheme);
  });

  it("refuses a misspelt annotation that would have made it public, and names the right one", async () => {
    const file = manifest("a", { "service.beta.kubernetes.io/azure-load-balancer-internl": "true" });
    const { code, text } = await portolan("plan", "-f", file, "--provider", "azure");
    expect(code).toBe(1);
    expect(text).toContain("did you mean service.beta.kubernetes.io/azure-load-balancer-internal?");
  });

  it("refuses what asks for an internal load balancer in another cloud's words", async () => {
    const { code, text } = await portolan("plan", "-f", manifest("a", internal), "--provider", "gcp");
    expect(code).toBe(1);
    expect(text).toContain("is for load balancers of Azure");
  });

  it("gives JSON for machines, the same each time", async () => {
    const file = manifest("a", {});
    const run = () => portolan("plan", "-f", file, "--provider", "local", "-o", "json");
    const [first] = JSON.parse((await run()).text) as { plan: { changes: { action: string }[] } }[];
    expect(first?.plan.changes.map((change) => change.action)).toEqual(["create"]);
    expect((await run()).text).toBe((await run()).text);
  });

  it("says what is wrong with its arguments", async () => {
    expect(await portolan("plan")).toMatchObject({ code: 2, text: expect.stringContaining("--filename is missing") });
    const file = manifest("a", {});
    expect(await portolan("plan", "-f", file)).toMatchObject({ code: 2, text: expect.stringContaining("--provider") });
    expect((await portolan("plan", "-f", file, "--provider", "toString")).code).toBe(2);
    expect((await portolan("plan", "-f", join(directory, "none"), "--provider", "local")).code).toBe(1);
    expect((await portolan("frobnicate")).code).toBe(2);
    expect((await portolan("owned", "--provider", "azure")).text).toContain("--config is missing");
  });
});

describe("portolan lb owned and gc", () => {
  it("list what the cluster's mark is on, and remove what no Service stands for", async () => {
    vi.stubEnv("AZURE_ACCESS_TOKEN", "token");
    const cloud = new AzureCloud();
    const endpoint = await startAzureEndpoint(cloud, { token: "token" });
    closing.push(endpoint.close);
    const configuration = {
      clusterName: "kubernetes",
      resourceGroup: "rg",
      location: "westus",
      vnetName: "vnet",
      subnetName: "subnet",
    };
    const server = await createApiServer();
    closing.push(() => server.close());
    const { kubeconfigPath } = await server.listen({ directory });
    const spec = { type: "LoadBalancer" as const, ports: [{ port: 80 }] };
    const web = await createApiClient(server.transport).create<Service>(resources.services, {
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace: "default", name: "web" },
      spec,
    });
    const provider = azureProvider({ port: cloud, configuration });
    for (const service of [web, sampleService("gone")]) {
      const { namespace = "", name = "", uid = "" } = service.metadata;
      const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: uid });
      const observed = await provider.observe(context, { namespace, name, uid });
      await provider.apply(context, provider.plan({ service, nodes: sampleNodes(), observed }));
    }
    const config = join(directory, "azure.json");
    const subscription = "00000000-0000-0000-0000-000000000000";
    writeFileSync(config, JSON.stringify({ ...configuration, subscription, endpoint: endpoint.url }));
    const common = ["--provider", "azure", "--config", config];

    const owned = await portolan("owned", ...common);
    expect(owned.text).toContain("default/web  PublicIPAddress");
    expect(owned.text).toContain("default/gone  FrontendIPConfiguration");
    const dry = await portolan("gc", ...common, "--kubeconfig", kubeconfigPath, "--dry-run");
    expect(dry.text).toMatch(/default\/gone: .*would be removed/);
    expect(dry.text).not.toContain("default/web");
    expect(cloud.publicIPs.size).toBe(2);
    const done = await portolan("gc", ...common, "--kubeconfig", kubeconfigPath);
    expect(done).toMatchObject({ code: 0, text: expect.stringMatching(/default\/gone: .*: removed/) });
    expect(cloud.publicIPs.size).toBe(1);
    expect(await portolan("gc", ...common, "--kubeconfig", kubeconfigPath)).toEqual({ code: 0, text: "no orphans" });
  });
});
