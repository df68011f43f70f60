/** Vectors of what a kubelet does over time: a real one runs a program of this machine as a pod. */
import { setMaxListeners } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient, createInformerFactory, systemClock } from "@portolan/client";
import { createImageTable, createKubelet, createLoopbackRuntime } from "@portolan/cluster";
import type { Pod, Service } from "@portolan/core";
import { Comparison, type MatchContext } from "./expectation.ts";
import { withServer } from "./server-fixture.ts";
import { notImplemented, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };

const laterServiceOrder = ["start pod", "create service foo in same namespace"];
const variable = "FOO_SERVICE_HOST";

/** A Service that comes after a container has started is seen by the next container alone. */
export const runLaterService: VectorRunner = (vector) => {
  if (JSON.stringify(vector.input.order) !== JSON.stringify(laterServiceOrder) || !(variable in vector.expected))
    return notImplemented(vector);
  return withServer(undefined, async (server) => {
    const runDirectory = mkdtempSync(join(tmpdir(), "portolan-kubelet-vector-"));
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    const api = createApiClient(server.server.transport);
    const informers = createInformerFactory(api);
    const kubelet = createKubelet({
      api,
      nodeName: "node-1",
      runtime: createLoopbackRuntime({ podCidrs: ["10.244.1.0/24"], nodeAddresses: ["172.18.0.1"] }),
      images: createImageTable({}),
      informers,
      node: { addresses: ["172.18.0.1"], podCidrs: ["10.244.1.0/24"] },
      runDirectory,
      restartTimes: { initialBackoff: 500, maximumBackoff: 500 },
    });
    const running = kubelet.run(stop.signal);
    informers.start(stop.signal);
    // It says what it sees when it starts, and again when it is let go, after the Service was made.
    const look = `echo \${${variable}:-absent}`;
    const gate = join(runDirectory, "go");
    const script = `${look}; while [ ! -e ${gate} ]; do sleep 0.1; done; ${look}`;
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "web" },
      spec: {
        nodeName: "node-1",
        // Nothing publishes the authority here that a token is mounted with.
        automountServiceAccountToken: false,
        containers: [{ name: "main", image: "busybox", command: ["/bin/sh", "-c", script] }],
      },
    } as Pod;
    const logs = async (previous: boolean): Promise<string[]> => {
      const stored = (await server.request("GET", server.pathOf(pod))).object as Pod;
      let text = "";
      try {
        for await (const chunk of kubelet.streams.logs(stored, { previous }, stop.signal))
          text += Buffer.from(chunk).toString("utf8");
      } catch {
        // The container has not started, or there was none before.
      }
      return text.split("\n").filter((line) => line !== "");
    };
    const until = async (condition: () => Promise<boolean>): Promise<void> => {
      for (let round = 0; round < 200; round++) {
        if (await condition()) return;
        await new Promise<void>((resolve) => systemClock.schedule(resolve, 50));
      }
    };
    try {
      await server.create(pod);
      await until(async () => (await logs(false)).length > 0);
      const created = await server.create({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "foo" },
        spec: { ports: [{ port: 80 }] },
      } as Service);
      const address = (created.object as Service | undefined)?.spec?.clusterIP;
      writeFileSync(gate, "");
      let first: readonly string[] = [];
      let later: string | undefined;
      await until(async () => {
        const shown = await Promise.all([logs(false), logs(true)]);
        first = shown.find((lines) => lines[0] === "absent" && lines.length === 2) ?? first;
        later = shown.flat().find((line) => line === address) ?? later;
        return first.length > 0 && later !== undefined;
      });
      return new Comparison(noContext)
        .equal(["absent", "absent"], first, "the container from before")
        .equal(address, later, "a later container").result;
    } finally {
      stop.abort();
      await Promise.allSettled([running]);
      rmSync(runDirectory, { recursive: true, force: true });
    }
  });
};
