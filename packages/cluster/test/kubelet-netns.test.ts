import { spawnSync } from "node:child_process";
import { setMaxListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInformerFactory } from "@portolan/client";
import { type Container, type Pod, resources } from "@portolan/core";
import { probe } from "@portolan/netio-linux";
import { afterEach, describe, expect, it } from "vitest";
import { createImageTable } from "../src/images/index.ts";
import { createKubelet, createNetnsRuntime } from "../src/kubelet/index.ts";
import { createNetnsFabric } from "../src/netns/fabric.ts";
import { createMemoryKubernetes, eventually } from "./memory-kubernetes.ts";

const capabilities = probe();
const missing = [capabilities.namespaces, capabilities.xdp, capabilities.launcher].find(({ available }) => !available);

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start() {
  const api = createMemoryKubernetes();
  const informers = createInformerFactory(api);
  const runDirectory = mkdtempSync(join(tmpdir(), "portolan-kubelet-"));
  const fabric = await createNetnsFabric();
  stops.push(async () => {
    await fabric.close();
    rmSync(runDirectory, { recursive: true, force: true });
  });
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const kubelets = [];
  for (const index of [1, 2]) {
    const node = await fabric.addNode({
      name: `node-${index}`,
      addresses: [`172.18.0.${index}`],
      podCIDRs: [`10.244.${index}.0/24`],
    });
    // What the node proxy does in a cluster.
    node.configureNode({
      addresses: node.addresses,
      clusterCIDRs: ["10.244.0.0/16"],
      serviceCIDRs: ["10.96.0.0/16"],
    });
    const kubelet = createKubelet({
      api,
      nodeName: node.name,
      runtime: createNetnsRuntime({ node }),
      images: createImageTable(),
      informers,
      node: { addresses: node.addresses, podCidrs: node.podCIDRs },
      clusterDns: ["10.96.0.10"],
      runDirectory,
    });
    kubelets.push(kubelet);
    const run = kubelet.run(controller.signal);
    stops.push(async () => {
      controller.abort();
      await run;
    });
  }
  const create = (name: string, nodeName: string, container: Omit<Container, "name">): Promise<Pod> =>
    api.create<Pod>(resources.pods, {
      metadata: { name, namespace: "default" },
      spec: { nodeName, restartPolicy: "Never", containers: [{ name: "main", ...container }] },
    });
  const pod = (name: string): Pod | undefined =>
    api.objects<Pod>(resources.pods).find(({ metadata }) => metadata.name === name);
  const isReady = (name: string): boolean =>
    pod(name)?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;
  return { api, fabric, kubelets, create, pod, isReady };
}

describe.skipIf(missing !== undefined)(
  `kubelet with network namespaces${missing === undefined ? "" : ` (skipped: ${missing.reason})`}`,
  () => {
    it("runs pods with addresses of their own that reach each other across nodes, with probes, logs and files of their own", async () => {
      const { api, fabric, kubelets, create, pod, isReady } = await start();
      await create("web", "node-1", {
        image: "nginx:1.24",
        readinessProbe: { httpGet: { path: "/healthz", port: 80 }, periodSeconds: 1 },
      });
      await eventually(
        () => isReady("web"),
        () => JSON.stringify(pod("web")),
      );
      const address = pod("web")?.status?.podIP ?? "";
      expect(address).toBe("10.244.1.2");
      const script = `curl -s -m 5 http://${address}/clientip; echo; hostname; cat /etc/resolv.conf; grep client /etc/hosts`;
      await create("client", "node-2", { image: "curlimages/curl", command: ["/bin/sh", "-c", script] });
      await eventually(
        () => pod("client")?.status?.phase === "Succeeded",
        () => JSON.stringify(pod("client")),
      );
      const chunks: Uint8Array[] = [];
      for await (const chunk of kubelets[1]!.streams.logs(pod("client")!, {}, new AbortController().signal))
        chunks.push(chunk);
      const lines = Buffer.concat(chunks).toString().split("\n");
      expect(lines[0]).toMatch(/^10\.244\.2\.2:\d+$/);
      expect(lines[1]).toBe("client");
      expect(lines).toContain("nameserver 10.96.0.10");
      expect(
        lines.some((line) => line.startsWith("search default.svc.cluster.local svc.cluster.local cluster.local")),
      ).toBe(true);
      expect(lines).toContain("10.244.2.2\tclient");
      const { command, args } = fabric.client.command(["curl", "-s", "-m", "5", `http://${address}/hostname`]);
      expect(spawnSync(command, args, { encoding: "utf8" }).stdout).toBe("web");
      const connection = await kubelets[0]!.streams.portForward(pod("web")!, 80, new AbortController().signal);
      connection.write(Buffer.from("GET /hostname HTTP/1.0\r\n\r\n"));
      let text = "";
      for await (const chunk of connection.readable) text += Buffer.from(chunk).toString();
      expect(text).toMatch(/web$/);
      await expect(
        kubelets[0]!.streams.portForward(pod("web")!, 81, new AbortController().signal),
      ).rejects.toMatchObject({ code: "ECONNREFUSED" });
      await api.delete(resources.pods, { name: "web", namespace: "default" });
      await eventually(
        () => pod("web") === undefined,
        () => JSON.stringify(pod("web")),
      );
    }, 60_000);
  },
);
