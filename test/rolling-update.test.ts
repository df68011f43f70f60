import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findProgram, mainProgram, type Running, removeFolders, run, start, temporaryFolder } from "./portolan.ts";

const kubectlProgram = findProgram("kubectl");
const replicas = 6;

describe.skipIf(kubectlProgram === undefined)("a rolling update, watched by kubectl", () => {
  let cluster: Running;
  let folder: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    folder = temporaryFolder();
    const directory = join(folder, "run");
    cluster = start(process.execPath, [mainProgram, "--mode", "none", "--empty", "--directory", directory]);
    await cluster.printed("Ctrl-C ends");
    env = { ...process.env, KUBECONFIG: join(directory, "kubeconfig"), HOME: folder };
  });
  afterAll(async () => {
    cluster?.child.kill("SIGINT");
    await cluster?.ended;
    removeFolders();
  });

  async function kubectl(...args: string[]): Promise<string> {
    const outcome = await run(kubectlProgram!, args, { env, cwd: folder });
    expect(outcome.code, `kubectl ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
    return outcome.stdout;
  }

  it("keeps enough ready endpoints at every step, in few writes", async () => {
    await kubectl("create", "deployment", "web", "--image=nginx:1.24", `--replicas=${replicas}`);
    await kubectl("expose", "deployment", "web", "--port=80");
    await kubectl("rollout", "status", "deployment/web", "--timeout=60s");
    // Addresses and conditions in two lists; kubectl's jsonpath cannot use a range twice, as a watch would have to.
    const template = '{.endpoints[*].addresses[0]}|{.endpoints[*].conditions.ready}{"\\n"}';
    const watch = start(
      kubectlProgram!,
      ["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-w", "-o", `jsonpath=${template}`],
      { env, cwd: folder },
    );
    try {
      await watch.printed("\n");
      const before = watch.output().split("\n").length;
      await kubectl("set", "image", "deployment/web", "nginx=nginx:1.25");
      await kubectl("rollout", "status", "deployment/web", "--timeout=60s");
      const names = (await kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}")).split(
        " ",
      );
      /** Ready addresses after each write. */
      const steps = (): string[][] =>
        watch
          .output()
          .trimEnd()
          .split("\n")
          .map((line) => {
            const [addresses = "", conditions = ""] = line.split("|");
            const ready = conditions.split(" ");
            return addresses.split(" ").filter((_, index) => ready[index] === "true");
          });
      for (let wait = 0; wait < 100; wait++) {
        const last = steps().at(-1)!;
        if (last.length === replicas && last.every((address) => names.includes(address))) break;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(new Set(steps().at(-1)!)).toEqual(new Set(names));
      // Of six replicas a quarter, rounded down, may be away, and as many rounded up may be there beside them.
      for (const step of steps()) {
        expect(step.length, watch.output()).toBeGreaterThanOrEqual(replicas - 1);
        expect(step.length, watch.output()).toBeLessThanOrEqual(replicas + 2);
      }
      const writes = steps().length - before + 1;
      console.log(`a rolling update of ${replicas} pods was ${writes} writes of slices`);
      // Each pod appears, becomes ready, and terminates in up to two steps: no more writes than that.
      expect(writes).toBeLessThanOrEqual(replicas * 5);
    } finally {
      watch.child.kill();
      await watch.ended;
    }
  });
});
