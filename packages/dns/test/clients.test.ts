/**
 * Programs of a Pod, unchanged, in a namespace of their own: the server on 127.0.0.1:53 there, and resolv.conf as a kubelet writes it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatResolvConf, resolvConf } from "../src/resolver/index.ts";
import { serveApi } from "./api-socket.ts";

const program = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const has = (command: string): boolean => spawnSync("which", [command]).status === 0;
const why = !existsSync(program)
  ? "dist/main.js is not built"
  : process.platform !== "linux" || process.getuid?.() !== 0 || !has("unshare") || !has("nsenter") || !has("ip")
    ? "namespaces need Linux, root, unshare, nsenter and ip"
    : spawnSync("unshare", ["-n", "-m", "true"]).status !== 0
      ? "namespaces are not allowed here"
      : undefined;

let child: ChildProcess | undefined;
let close: (() => void) | undefined;
let folder = "";

/** Runs a program in the server's namespaces. */
function run(...words: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync("nsenter", ["-t", `${child!.pid}`, "-n", "-m", "--", ...words], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return { status, output: `${stdout}${stderr}` };
}

describe.skipIf(why !== undefined)(
  `clients in a Pod's namespace${why === undefined ? "" : ` (skipped: ${why})`}`,
  () => {
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), "portolan-dns-"));
      const api = createMemoryApi();
      for (const name of ["default", "production"]) api.apply(resources.namespaces, { metadata: { name } });
      const service = (name: string, namespace: string, spec: object): void =>
        api.apply(resources.services, { metadata: { name, namespace }, spec } as never);
      service("web", "default", { clusterIPs: ["10.96.0.7", "fd00::7"], ports: [{ name: "http", port: 80 }] });
      service("shop", "production", { clusterIPs: ["10.96.0.8"], ports: [{ port: 80 }] });
      service("db-headless", "default", { clusterIPs: ["None"], ports: [{ name: "sql", port: 5432 }] });
      api.apply(resources.endpointSlices, {
        metadata: {
          name: "db-1",
          namespace: "default",
          labels: { "kubernetes.io/service-name": "db-headless" },
        },
        addressType: "IPv4",
        endpoints: [0, 1].map((index) => ({ addresses: [`10.244.0.${index + 1}`], hostname: `mysql-${index}` })),
        ports: [{ name: "sql", port: 5432, protocol: "TCP" }],
      } as never);
      const socket = join(folder, "api.sock");
      close = await serveApi(api, socket);
      const conf = resolvConf(
        { metadata: { namespace: "default" } },
        { clusterDns: ["127.0.0.1"], domain: "cluster.local" },
      );
      const file = join(folder, "resolv.conf");
      writeFileSync(file, formatResolvConf(conf));
      // getaddrinfo asks for families only of which the machine has an address, loopback not counted.
      const addresses = "ip addr add 10.244.0.9/32 dev lo; ip addr add fd00:1::9/128 dev lo nodad";
      const script = `ip link set lo up && { ${addresses}; } && mount --bind ${file} /etc/resolv.conf && exec "$@"`;
      child = spawn("unshare", [
        ...["-n", "-m", "sh", "-c", script, "sh", process.execPath, program],
        ...["--api-socket", socket, "--listen", "127.0.0.1:53", "--domain", "cluster.local"],
      ]);
      await new Promise<void>((resolve, reject) => {
        child!.stdout!.once("data", () => resolve());
        child!.stderr!.on("data", (chunk: Buffer) => reject(new Error(chunk.toString())));
        child!.on("exit", (code) => reject(new Error(`ended with ${code}`)));
      });
    }, 30_000);

    afterAll(async () => {
      const ended = child?.exitCode === null ? new Promise((resolve) => child!.on("exit", resolve)) : undefined;
      child?.kill("SIGTERM");
      await ended;
      close?.();
      rmSync(folder, { recursive: true, force: true });
    }, 30_000);

    it.skipIf(!has("getent"))("getent finds short names, names of other namespaces, members of a StatefulSet", () => {
      expect(run("getent", "ahostsv4", "web").output).toMatch(/^10\.96\.0\.7 /);
      expect(run("getent", "ahostsv6", "web").output).toMatch(/^fd00::7 /);
      expect(run("getent", "ahostsv4", "shop.production").output).toMatch(/^10\.96\.0\.8 /);
      expect(run("getent", "ahostsv4", "mysql-1.db-headless").output).toMatch(/^10\.244\.0\.2 /);
      expect(run("getent", "ahostsv4", "web.default.svc.cluster.local.").output).toMatch(/^10\.96\.0\.7 /);
      expect(run("getent", "hosts", "10.96.0.7").output).toContain("web.default.svc.cluster.local");
      expect(run("getent", "ahostsv4", "nothing").status).toBe(2);
    });

    it.skipIf(!has("dig"))("dig finds them with the search list, and by TCP", () => {
      expect(run("dig", "+search", "+short", "web").output.trim()).toBe("10.96.0.7");
      expect(run("dig", "+search", "+short", "AAAA", "web").output.trim()).toBe("fd00::7");
      expect(run("dig", "+tcp", "+short", "SRV", "_sql._tcp.db-headless.default.svc.cluster.local").output).toContain(
        "5432 mysql-0.db-headless.default.svc.cluster.local.",
      );
      expect(run("dig", "www.example.com.default.svc.cluster.local").output).toContain("status: NXDOMAIN");
    });

    it.skipIf(!has("nslookup"))("nslookup of BIND finds a short name, and says what does not exist", () => {
      const found = run("nslookup", "web");
      expect(found).toMatchObject({ status: 0 });
      expect(found.output).toContain("Name:\tweb.default.svc.cluster.local\nAddress: 10.96.0.7");
      expect(found.output).toContain("Address: fd00::7");
      // What the search list has not is asked as it is, last, and nobody is there to forward it to.
      expect(run("nslookup", "nothing").output).toContain("can't find nothing: REFUSED");
      expect(run("nslookup", "nothing.default.svc.cluster.local.").output).toContain("NXDOMAIN");
    });

    it.skipIf(!has("busybox"))(
      "nslookup of busybox prints the address; it exits 1 for the search list's other names",
      () => {
        expect(run("busybox", "nslookup", "web").output).toContain("10.96.0.7");
        expect(run("busybox", "nslookup", "web.default.svc.cluster.local").output).toContain("fd00::7");
        expect(run("busybox", "nslookup", "-type=srv", "_http._tcp.web.default.svc.cluster.local").output).toContain(
          "web",
        );
      },
    );

    it("Node finds them by its own resolver and by the system's", () => {
      const script = `const dns = require("node:dns/promises");
      (async () => {
        const full = "web.default.svc.cluster.local";
        const [service] = await dns.resolveSrv("_http._tcp." + full);
        console.log(JSON.stringify([
          (await dns.lookup("web", { family: 4 })).address,
          await dns.resolve4(full),
          await dns.resolve6(full),
          [service.name, service.port],
          await dns.reverse("10.96.0.7"),
          await dns.resolve4("no." + full).catch((error) => error.code),
          await dns.resolveTxt("dns-version.cluster.local"),
        ]));
      })();`;
      expect(JSON.parse(run(process.execPath, "-e", script).output)).toEqual([
        "10.96.0.7",
        ["10.96.0.7"],
        ["fd00::7"],
        ["web.default.svc.cluster.local", 80],
        ["web.default.svc.cluster.local"],
        "ENOTFOUND",
        [["1.1.0"]],
      ]);
    });
  },
);
