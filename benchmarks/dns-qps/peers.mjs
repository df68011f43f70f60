// Name servers of the distribution as peers: started on loopback with the same names, if they are installed.
import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const clockTick = 100;

function zoneFile(count) {
  const records = Array.from({ length: count }, (_, i) => `web-${i}.default.svc A 10.96.${i >> 8}.${i & 255}`);
  return `$ORIGIN cluster.local.\n$TTL 30\n@ SOA ns.dns hostmaster 1 7200 1800 86400 30\n@ NS ns.dns\nns.dns A 127.0.0.1\n${records.join("\n")}\n`;
}

const servers = {
  Knot: (directory, port, address = "127.0.0.1") => ({
    command: "knotd",
    arguments: ["-c", join(directory, "knot.conf")],
    file: "knot.conf",
    text: `server:
  rundir: ${directory}
  listen: ${address}@${port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: ${directory}
log:
  - target: ${join(directory, "log")}
    any: warning
zone:
  - domain: cluster.local
    file: ${join(directory, "zone")}
`,
  }),
  NSD: (directory, port) => ({
    command: "nsd",
    arguments: ["-d", "-c", join(directory, "nsd.conf")],
    file: "nsd.conf",
    text: `server:
  ip-address: 127.0.0.1@${port}
  server-count: 1
  username: ""
  chroot: ""
  pidfile: ""
  database: ""
  xfrdfile: "${join(directory, "xfrd")}"
  zonelistfile: "${join(directory, "zonelist")}"
  logfile: "${join(directory, "log")}"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: cluster.local
  zonefile: "${join(directory, "zone")}"
`,
  }),
};

function freePort() {
  return new Promise((resolve) => {
    const socket = createSocket("udp4").bind(0, "127.0.0.1", () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

/** Processor seconds of a process and its children, living and dead. */
export function processorSeconds(pid) {
  const children =
    spawnSync("pgrep", ["-P", `${pid}`], { encoding: "utf8" })
      .stdout?.split("\n")
      .filter(Boolean) ?? [];
  const own = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  const ticks = Number(own[11]) + Number(own[12]);
  return ticks / clockTick + children.reduce((sum, child) => sum + processorSeconds(child), 0);
}

function answers(port, query) {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const end = (yes) => {
      clearTimeout(timer);
      socket.close(() => resolve(yes));
    };
    const timer = setTimeout(() => end(false), 200);
    socket.on("message", () => end(true));
    socket.on("error", () => end(false));
    socket.send(query, port, "127.0.0.1");
  });
}

/** Writes the files of a Knot for an address; returns its command line. */
export function configureKnot(directory, count, address) {
  const { command, arguments: parameters, file, text } = servers.Knot(directory, 53, address);
  writeFileSync(join(directory, "zone"), zoneFile(count));
  writeFileSync(join(directory, file), text);
  return [command, ...parameters];
}

/** Starts a peer; undefined when it is not installed. */
async function startPeer(name, count, query) {
  const directory = mkdtempSync(join(tmpdir(), "portolan-bench-"));
  const port = await freePort();
  const { command, arguments: parameters, file, text } = servers[name](directory, port);
  const remove = () => rmSync(directory, { recursive: true, force: true });
  writeFileSync(join(directory, "zone"), zoneFile(count));
  writeFileSync(join(directory, file), text);
  const child = spawn(command, parameters, { stdio: "ignore" });
  const failed = new Promise((resolve) => {
    child.once("error", () => resolve(true));
    child.once("exit", () => resolve(true));
  });
  for (let attempt = 0; attempt < 50; attempt++) {
    if (await answers(port, query)) {
      let last = processorSeconds(child.pid);
      return {
        name,
        port,
        mark() {
          const before = last;
          last = processorSeconds(child.pid);
          return last - before;
        },
        stop() {
          child.kill("SIGTERM");
          return failed.then(remove);
        },
      };
    }
    if (await Promise.race([failed, new Promise((resolve) => setTimeout(() => resolve(false), 100))])) break;
  }
  child.kill("SIGKILL");
  remove();
  return undefined;
}

/** Starts all peers that there are. */
export async function startPeers(count, query) {
  const started = [];
  for (const name of Object.keys(servers)) {
    const peer = await startPeer(name, count, query);
    if (peer === undefined) console.log(`${name}: skipped, it is not installed or does not start`);
    else started.push(peer);
  }
  return started;
}
