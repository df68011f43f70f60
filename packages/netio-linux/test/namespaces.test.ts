import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createNetworkNamespace,
  createXdpSocket,
  type NetworkNamespace,
  namespaceCommand,
  probe,
  ringMemorySize,
  SystemCallError,
  setOffloads,
} from "../src/index.ts";

const capabilities = probe();
const missing = [capabilities.namespaces, capabilities.xdp, capabilities.launcher].find((c) => !c.available);
if (missing !== undefined) console.log(`skipped: network namespaces and AF_XDP: ${missing.reason}`);

test("the probe gives a reason for whatever it calls unavailable", () => {
  for (const capability of Object.values(probe())) {
    expect(capability.available || (capability.reason ?? "").length > 10).toBe(true);
  }
});

describe.skipIf(missing !== undefined)("network namespaces", () => {
  let left: NetworkNamespace;
  let right: NetworkNamespace;
  beforeAll(() => {
    left = createNetworkNamespace("left");
    right = createNetworkNamespace("right");
    left.links.addVeth(
      { name: "eth0", mac: "02:00:00:00:00:01" },
      { name: "eth0", mac: "02:00:00:00:00:02" },
      right.fd,
    );
    left.links.addAddress("eth0", "10.9.0.1/24");
    right.links.addAddress("eth0", "10.9.0.2/24");
    left.links.addAddress("eth0", "fd09::1/64");
    right.links.addAddress("eth0", "fd09::2/64");
    left.links.setLink("eth0", { up: true });
    right.links.setLink("eth0", { up: true });
  });
  afterAll(() => {
    left?.close();
    right?.close();
  });

  const runIn = (netns: NetworkNamespace, argv: string[], more: object = {}) => {
    const { command, args } = namespaceCommand({ netns, argv, ...more });
    const result = spawnSync(command, args, { encoding: "utf8", timeout: 20_000, input: "typed\n" });
    return { status: result.status, out: result.stdout, err: result.stderr };
  };

  test("work done inside leaves the thread where it was", () => {
    const before = readlinkSync("/proc/thread-self/ns/net");
    const inside = left.run(() => readlinkSync("/proc/thread-self/ns/net"));
    expect(inside).not.toBe(before);
    expect(() =>
      left.run(() => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(before);
  });

  test("links are listed with their hardware addresses, and lo is up", () => {
    const links = left.links.listLinks();
    expect(links.map((link) => link.name).sort()).toEqual(["eth0", "lo"]);
    expect(links.find((link) => link.name === "eth0")).toMatchObject({ mac: "02:00:00:00:00:01", up: true });
    expect(links.find((link) => link.name === "lo")?.up).toBe(true);
  });

  test("packets cross a veth pair, in both families", () => {
    const dial = `require("net").connect(9, process.argv[1]).on("error", (error) => console.log(error.code))`;
    expect(runIn(left, [process.execPath, "-e", dial, "10.9.0.2"]).out).toBe("ECONNREFUSED\n");
    expect(runIn(left, [process.execPath, "-e", dial, "fd09::2"]).out).toBe("ECONNREFUSED\n");
  });

  test("the root namespace sees neither links nor addresses", () => {
    const out = spawnSync("ip", ["-br", "address"], { encoding: "utf8" }).stdout;
    expect(out).not.toContain("10.9.0.");
  });

  test("routes and neighbours are replaced and removed", () => {
    left.links.setRoute({ destination: "10.77.0.0/16", gateway: "10.9.0.2", link: "eth0" });
    left.links.setRoute({ destination: "10.77.0.0/16", gateway: "10.9.0.3", link: "eth0" });
    left.links.setRoute({ destination: "fd77::/64", gateway: "fd09::2", link: "eth0" });
    left.links.setNeighbour("eth0", "10.9.0.3", "02:00:00:00:00:33");
    expect(runIn(left, ["ip", "route"]).out).toContain("10.77.0.0/16 via 10.9.0.3 dev eth0");
    expect(runIn(left, ["ip", "-6", "route"]).out).toContain("fd77::/64 via fd09::2 dev eth0");
    expect(runIn(left, ["ip", "neigh"]).out).toContain("10.9.0.3 dev eth0 lladdr 02:00:00:00:00:33 PERMANENT");
    left.links.deleteRoute({ destination: "10.77.0.0/16", gateway: "10.9.0.3", link: "eth0" });
    left.links.deleteRoute({ destination: "10.77.0.0/16", gateway: "10.9.0.3", link: "eth0" });
    expect(runIn(left, ["ip", "route"]).out).not.toContain("10.77.0.0/16");
  });

  test("errors name the call, the object and the code", () => {
    expect(() => left.links.setLink("eth7", { up: true })).toThrow(SystemCallError);
    try {
      left.links.addAddress("eth7", "10.0.0.1/32");
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "ERR_ENODEV" });
      expect(String(error)).toContain("eth7");
    }
    expect(() => left.links.addAddress("eth0", "10.0.0.300/32")).toThrow(RangeError);
  });

  test("a program gets its files, its hostname and its standard input", () => {
    const directory = mkdtempSync(join(tmpdir(), "netio-linux-"));
    try {
      writeFileSync(join(directory, "hosts"), "10.9.0.9 nine\n");
      const mounts = [{ source: join(directory, "hosts"), target: "/etc/hosts", readOnly: true }];
      const script = "cat /etc/hosts; hostname; cat; echo >> /etc/hosts || echo read-only; exit 7";
      for (const privateProcesses of [false, true]) {
        const result = runIn(left, ["sh", "-c", script], { mounts, hostname: "web-0", privateProcesses });
        expect(result.out).toBe("10.9.0.9 nine\nweb-0\ntyped\nread-only\n");
        expect(result.status).toBe(7);
      }
      expect(spawnSync("cat", ["/etc/hosts"], { encoding: "utf8" }).stdout).not.toContain("nine");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("a program sees files where this machine has no directory, and what is there too", () => {
    const directory = mkdtempSync(join(tmpdir(), "netio-linux-"));
    try {
      mkdirSync(join(directory, "entries", "portolan", "deep"), { recursive: true });
      mkdirSync(join(directory, "shown"));
      writeFileSync(join(directory, "shown", "file"), "shown");
      const additions = [{ directory: "/etc", entries: join(directory, "entries") }];
      const mounts = [{ source: join(directory, "shown"), target: "/etc/portolan/deep", readOnly: true }];
      const script =
        "cat /etc/portolan/deep/file; test -e /etc/passwd && echo +; touch /etc/portolan/other 2>/dev/null || echo -";
      expect(runIn(left, ["sh", "-c", script], { additions, mounts }).out).toBe("shown+\n-\n");
      expect(existsSync("/etc/portolan")).toBe(false);
      mkdirSync(join(directory, "new", "portolan-new", "deep"), { recursive: true });
      const root = runIn(
        left,
        [
          "sh",
          "-c",
          "pwd; cat /portolan-new/deep/file /etc/portolan/deep/file; echo x > /portolan-new/other; test -e /etc/passwd && echo +",
        ],
        {
          additions: [...additions, { directory: "/", entries: join(directory, "new") }],
          mounts: [...mounts, { source: join(directory, "shown"), target: "/portolan-new/deep" }],
          directory: "/usr",
        },
      );
      expect(root.out).toBe("/usr\nshownshown+\n");
      expect(existsSync("/portolan-new")).toBe(false);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("a process namespace shows the program only its own", () => {
    const { out } = runIn(left, ["sh", "-c", "ls /proc | grep -c '^[0-9]'"], { privateProcesses: true });
    expect(Number(out)).toBeLessThan(8);
    expect(runIn(left, ["sh", "-c", "kill -TERM $$"], { privateProcesses: true }).status).toBe(143);
  });

  test("a closed AF_XDP socket leaves ordinary memory behind, and another may follow", () => {
    const ringSize = 64;
    const { WebAssembly } = globalThis as unknown as {
      WebAssembly: { Memory: new (limits: object) => { buffer: ArrayBuffer } };
    };
    const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
    const namespace = createNetworkNamespace("rings");
    try {
      namespace.links.addVeth({ name: "a" }, { name: "b" });
      namespace.run(() => setOffloads("a", { tx: false, tso: false, gso: false, gro: false }));
      const frames = { memory, offset: 2 * ringMemorySize(ringSize), length: 16 * 2048, frameSize: 2048 };
      for (let round = 0; round < 3; round++) {
        const first = namespace.run(() => createXdpSocket({ link: "a", frames, ringOffset: 0, ringSize }));
        const second = namespace.run(() =>
          createXdpSocket({ link: "b", frames, ringOffset: ringMemorySize(ringSize), ringSize, shared: first }),
        );
        expect(first.mode).toBe("driver");
        expect(second.statistics().rxDropped).toBe(0);
        second.close();
        first.close();
        new Uint8Array(memory.buffer).fill(round);
        expect(new Uint8Array(memory.buffer)[first.rings.rx.entries]).toBe(round);
      }
    } finally {
      namespace.close();
    }
  });

  test("descriptors and namespaces do not pile up", () => {
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    for (let i = 0; i < 20; i++) createNetworkNamespace(`n${i}`).close();
    expect(count()).toBe(before);
  });
});
