import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { ImageEntry, ImageProgram, ProgramContext } from "./image-table.ts";
import { findExecutable, programFile } from "./program-file.ts";

// Small heaps: dozens of these run on one machine.
const NODE_FLAGS = ["--max-old-space-size=32", "--max-semi-space-size=1", "--v8-pool-size=1"];

const machinePath = (): string => process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";

function nodeProgram(name: Parameters<typeof programFile>[0], ...args: string[]): string[] {
  return [process.execPath, ...NODE_FLAGS, programFile(name), ...args];
}

function podEnvironment(context: ProgramContext): Record<string, string> {
  const ports = (protocol: string): string =>
    context.ports
      .filter((port) => port.protocol === protocol)
      .map(({ port }) => port)
      .join(",");
  return {
    PORTOLAN_POD_NAME: context.podName,
    PORTOLAN_POD_NAMESPACE: context.podNamespace,
    PORTOLAN_POD_IP: context.podAddress,
    PORTOLAN_NODE_NAME: context.nodeName,
    PORTOLAN_TCP_PORTS: ports("TCP"),
    PORTOLAN_UDP_PORTS: ports("UDP"),
  };
}

/** A responder in the place of a server image; a first argument that is no option is a command, as in most entry point scripts. */
function responder(program: "network-responder" | "mysql-responder", name: string, port: number): ImageProgram {
  const entrypoint = nodeProgram(program);
  return {
    entrypoint,
    entrypointFor: (args) => {
      const first = args[0];
      return first === undefined || first.startsWith("-") || first === name ? entrypoint : args;
    },
    ports: [port],
    podEnvironment,
  };
}

const applets = new Map<string, readonly string[]>();

function busyboxApplets(busybox: string): readonly string[] {
  let names = applets.get(busybox);
  if (names === undefined) {
    const { stdout } = spawnSync(busybox, ["--list"], { encoding: "utf8", timeout: 5000 });
    names = (stdout ?? "").split("\n").filter((name) => name !== "");
    applets.set(busybox, names);
  }
  return names;
}

const OWN_COMMANDS = ["nslookup", "wget", "nc", "ping", "sleep", "echo", "cat", "env", "true", "false", "hostname"];

/** busybox: the machine's own where there is one, else small programs of ours for what people try first. */
function busybox(): ImageProgram {
  return {
    arguments: ["sh"],
    commands: ({ isolated }) => {
      const own = (names: readonly string[]): [string, string[]][] =>
        names.map((name) => [name, nodeProgram("commands", name)]);
      const machine = findExecutable("busybox", machinePath());
      // Without a network of its own the pod's resolver is a port of loopback, which only ours can ask.
      const resolving = own(isolated ? [] : ["nslookup"]);
      if (machine === undefined) {
        const missing = OWN_COMMANDS.filter((name) => findExecutable(name, machinePath()) === undefined);
        return Object.fromEntries([...own(missing), ...resolving]);
      }
      const all = busyboxApplets(machine).map((name): [string, string[]] => [name, [machine]]);
      return Object.fromEntries([...all, ...resolving]);
    },
  };
}

function curl(): ImageProgram {
  return {
    entrypoint: ["curl"],
    entrypointFor: (args) => {
      const first = args[0] ?? "--help";
      return first.startsWith("-") || first.includes("://") ? ["curl", ...args] : [...args];
    },
    arguments: ["--help"],
    commands: ({ isolated }) => ({
      ...(findExecutable("curl", machinePath()) === undefined ? { curl: nodeProgram("commands", "curl") } : {}),
      ...(isolated ? {} : { nslookup: nodeProgram("commands", "nslookup") }),
    }),
  };
}

function dnsServer(): ImageProgram {
  // The server is a package of its own; its program is found where that package is installed.
  const manifest = createRequire(import.meta.url).resolve("@portolan/dns/package.json");
  const main = join(dirname(manifest), "dist", "main.js");
  return { entrypoint: [process.execPath, "--max-old-space-size=64", main], ports: [53], podEnvironment };
}

const pause: ImageProgram = {
  entrypoint: ["/bin/sh", "-c", 'trap "exit 0" TERM INT; while :; do sleep 3600 & wait $!; done'],
};

/** agnhost: `netexec` (default), `serve-hostname`, `pause`. */
function agnhost(): ImageProgram {
  const entrypoint = nodeProgram("network-responder");
  return {
    entrypoint,
    arguments: ["netexec"],
    entrypointFor: (args) => {
      if (args[0] === "pause") return pause.entrypoint ?? [];
      return args[0] === undefined || /^(netexec|serve-hostname|porter)$/.test(args[0])
        ? [...entrypoint, ...args]
        : args;
    },
    podEnvironment,
  };
}

/** The images known without being asked for. Made when used: looking for programs costs time. */
export function builtInImages(): Readonly<Record<string, ImageEntry>> {
  return {
    nginx: () => responder("network-responder", "nginx", 80),
    "nginx-*": () => responder("network-responder", "nginx", 80),
    "nginxinc/*": () => responder("network-responder", "nginx", 8080),
    httpd: () => responder("network-responder", "httpd-foreground", 80),
    "myapp/*": () => responder("network-responder", "api", 8080),
    mysql: () => responder("mysql-responder", "mysqld", 3306),
    mariadb: () => responder("mysql-responder", "mariadbd", 3306),
    busybox: busybox,
    alpine: busybox,
    "curlimages/curl": curl,
    "*/agnhost": agnhost,
    "*/e2e-test-images/agnhost": agnhost,
    "portolan/dns": dnsServer,
    "*/pause": () => pause,
  };
}
