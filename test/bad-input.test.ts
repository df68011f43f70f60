import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { mainProgram, modes, removeFolders, run, start, temporaryFolder } from "./portolan.ts";

afterAll(removeFolders);

/** What a failing command prints: one line that says what is wrong. */
async function failing(...args: string[]): Promise<{ code: number | null; message: string }> {
  const outcome = await run(process.execPath, [mainProgram, ...args]);
  expect(outcome.stderr).toMatch(/^portolan: /);
  expect(outcome.stderr).not.toMatch(/^ +at /m);
  return { code: outcome.code, message: outcome.stderr };
}

describe("bad input", () => {
  it("explains wrong flags and values, with exit code 2", async () => {
    expect((await failing("--nosuch")).code).toBe(2);
    expect(await failing("--frames", "ring")).toMatchObject({
      code: 2,
      message: expect.stringContaining("--frames is one of"),
    });
    expect(await failing("--mode", "docker")).toMatchObject({
      code: 2,
      message: expect.stringContaining("--mode is one of"),
    });
    expect(await failing("--nodes", "0")).toMatchObject({
      code: 2,
      message: expect.stringContaining("--nodes takes a number"),
    });
    expect(await failing("--api-port", "http")).toMatchObject({
      code: 2,
      message: expect.stringContaining("--api-port"),
    });
  });

  it("says which port is busy and leaves nothing behind", async () => {
    const folder = join(temporaryFolder(), "run");
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const { code, message } = await failing(
      "--once",
      "--mode",
      "gateway",
      "--directory",
      folder,
      "--api-port",
      String(port),
    );
    server.close();
    expect(code).toBe(1);
    expect(message).toContain(String(port));
    expect(existsSync(folder)).toBe(false);
  });

  it("refuses broken manifests before anything runs on them", async () => {
    const folder = temporaryFolder();
    const file = join(folder, "broken.yaml");
    writeFileSync(file, "apiVersion: v1\nkind: Service\nmetadata: [\n");
    const { code, message } = await failing(
      "--once",
      "--mode",
      "gateway",
      "--directory",
      join(folder, "run"),
      "-f",
      file,
    );
    expect(code).toBe(1);
    expect(message).toContain("broken.yaml, document 1");
    const missing = await failing("--once", "--directory", join(folder, "run"), "-f", join(folder, "none.yaml"));
    expect(missing.message).toContain("cannot read");
    expect(readdirSync(folder)).toEqual(["broken.yaml"]);
  });

  it("says so when a folder cannot be used", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "file"), "");
    const { code, message } = await failing("--once", "--directory", join(folder, "file", "run"));
    expect(code).toBe(1);
    expect(message).toContain("cannot use the folder");
  });

  it.skipIf(process.platform !== "linux" || process.getuid?.() !== 0)(
    "refuses mode netns without root, with the reason",
    async () => {
      const folder = temporaryFolder();
      const outcome = await run(
        "setpriv",
        [
          "--reuid=65534",
          "--regid=65534",
          "--clear-groups",
          process.execPath,
          mainProgram,
          "--once",
          "--mode",
          "netns",
          "--directory",
          join("/tmp", `portolan-nobody-${process.pid}`),
        ],
        { cwd: folder },
      );
      expect(outcome.code).toBe(1);
      expect(outcome.stderr).toMatch(/root/);
    },
  );

  it.each(modes)("does not start twice in one folder, and cleans up after kill -9 (mode %s)", async (mode) => {
    const folder = join(temporaryFolder(), "run");
    const first = start(process.execPath, [mainProgram, "--mode", mode, "--empty", "--directory", folder]);
    await first.printed("Ctrl-C ends");
    const second = await failing("--once", "--mode", mode, "--directory", folder);
    expect(second).toMatchObject({ code: 1, message: expect.stringContaining(`process ${first.child.pid}`) });
    first.child.kill("SIGKILL");
    await first.ended;
    const third = await run(process.execPath, [
      mainProgram,
      "--once",
      "--empty",
      "--mode",
      mode,
      "--directory",
      folder,
    ]);
    expect(third.code, third.stderr).toBe(0);
    expect(third.stdout).toContain("earlier run");
    expect(existsSync(folder)).toBe(false);
  });

  it("ends on Ctrl-C in the middle of starting", async () => {
    const folder = join(temporaryFolder(), "run");
    const early = start(process.execPath, [mainProgram, "--mode", "gateway", "--directory", folder]);
    await early.printed("API server ready");
    early.child.kill("SIGINT");
    const outcome = await early.ended;
    expect(outcome.signal).toBe(null);
    expect(existsSync(folder)).toBe(false);
  });
});
