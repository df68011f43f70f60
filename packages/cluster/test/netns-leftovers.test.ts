import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";
import { createNetnsFabric } from "../src/netns/index.ts";
import { frameInterfaces } from "./frame-interfaces.ts";

/** What a fabric could leave on the machine: programs, namespaces with a name, links of the machine's own namespace. */
function traces(marker = "no process has this in its command line"): {
  processes: string[];
  named: string;
  links: string[];
} {
  const processes = readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(marker);
    } catch {
      return false;
    }
  });
  const output = (...argv: string[]): string => spawnSync(argv[0]!, argv.slice(1), { encoding: "utf8" }).stdout;
  const links = output("ip", "-o", "link")
    .split("\n")
    .map((line) => line.split(":")[1] ?? "");
  return { processes, named: output("ip", "netns"), links };
}

const settle = async (expected: object, marker?: string): Promise<object> => {
  let found = traces(marker);
  for (let attempt = 0; attempt < 50 && JSON.stringify(found) !== JSON.stringify(expected); attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found = traces(marker);
  }
  return found;
};

describe.each(frameInterfaces("leftovers"))("what a cluster leaves behind, frames by %s", (frames) => {
  test("nothing after close, not even a descriptor", async () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    const fill = async (): Promise<void> => {
      const fabric = await createNetnsFabric({ frames });
      const node = await fabric.addNode({ name: "node1", addresses: ["172.18.0.2"], podCIDRs: ["10.244.1.0/24"] });
      await node.addPod({ name: "pod", addresses: ["10.244.1.2"] });
      await fabric.close();
    };
    await fill();
    const [before, descriptors] = [traces(), open()];
    await fill();
    await fill();
    expect(open()).toBe(descriptors);
    expect(await settle(before)).toEqual(before);
  }, 60_000);

  test("nothing after a failure half-way", async () => {
    const fabric = await createNetnsFabric({ frames });
    try {
      const open = (): number => readdirSync("/proc/self/fd").length;
      const node = await fabric.addNode({ name: "node1", addresses: ["172.18.0.2"], podCIDRs: ["10.244.1.0/24"] });
      const before = open();
      await expect(fabric.addNode({ name: "node2", addresses: ["172.18.0.300"], podCIDRs: [] })).rejects.toThrow();
      await expect(fabric.addNode({ name: "node1", addresses: ["172.18.0.3"], podCIDRs: [] })).rejects.toThrow("node1");
      await expect(node.addPod({ name: "pod", addresses: ["nowhere"] })).rejects.toThrow();
      expect(open()).toBe(before);
      // What failed did not take the place of what follows.
      await node.addPod({ name: "pod", addresses: ["10.244.1.2"] });
      await fabric.addNode({ name: "node2", addresses: ["172.18.0.3"], podCIDRs: ["10.244.2.0/24"] });
    } finally {
      await fabric.close();
    }
  }, 60_000);

  test("nothing after SIGKILL: no process, no namespace, no link", async () => {
    const before = traces();
    const source = dirname(fileURLToPath(import.meta.url));
    // Native code is found from where it is installed, so the bundle goes there.
    const directory = join(source, `../../netio-linux/node_modules/.netns-victim-${process.pid}`);
    mkdirSync(directory, { recursive: true });
    try {
      writeFileSync(join(directory, "package.json"), '{"type":"module"}');
      await build({
        entryPoints: {
          "netns-victim": join(source, "netns-victim.ts"),
          "forwarder-worker": join(source, "../src/netns/forwarder-worker.ts"),
        },
        outdir: directory,
        bundle: true,
        platform: "node",
        format: "esm",
        conditions: ["@portolan/source"],
        external: ["koffi"],
      });
      const victim = spawn(process.execPath, [join(directory, "netns-victim.js"), frames], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const output = await new Promise<string>((resolve, reject) => {
        victim.stdout.once("data", (data) => resolve(String(data)));
        victim.once("exit", (code) => reject(new Error(`the victim ended with ${code}`)));
      });
      const marker = output.trim().split(/\s/)[1]!;
      const during = traces(marker);
      expect(during.processes.length).toBeGreaterThanOrEqual(4);
      // No name, no link of the machine: only its programs show that it runs.
      expect({ ...during, processes: [] }).toEqual(before);
      const namespaces = new Set(during.processes.map((pid) => readlinkSync(`/proc/${pid}/ns/net`)));
      expect(namespaces.size).toBe(3);
      victim.kill("SIGKILL");
      expect(await settle(before, marker)).toEqual(before);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }, 60_000);
});
