/**
 * What people try first in a pod, for machines without busybox or curl, and for pods without a network of their own, whose
 * resolver is a port of loopback (PORTOLAN_NAMESERVER=127.0.0.1:5353, PORTOLAN_SEARCH="a b").
 *
 * Usage: commands nslookup|wget|curl|nc|ping|sleep|echo|cat|env|hostname|true|false ARGUMENTS…
 */
import { Resolver } from "node:dns/promises";
import { createReadStream, readFileSync } from "node:fs";
import { get } from "node:http";
import { connect } from "node:net";
import { hostname } from "node:os";

const [name = "", ...args] = process.argv.slice(2);
const env = process.env;

interface ResolverConfiguration {
  readonly nameservers: string[];
  readonly search: string[];
  readonly ndots: number;
}

function resolverConfiguration(): ResolverConfiguration {
  if (env["PORTOLAN_NAMESERVER"] !== undefined) {
    const search = (env["PORTOLAN_SEARCH"] ?? "").split(" ").filter((domain) => domain !== "");
    return { nameservers: [env["PORTOLAN_NAMESERVER"]], search, ndots: 5 };
  }
  let text = "";
  try {
    text = readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    // No file: the resolver of this host.
  }
  const nameservers = [...text.matchAll(/^nameserver\s+(\S+)/gm)].map((match) => match[1] ?? "");
  const search = (/^search\s+(.*)$/m.exec(text)?.[1] ?? "").split(/\s+/).filter((domain) => domain !== "");
  const ndots = Number(/^options.*\bndots:(\d+)/m.exec(text)?.[1] ?? 1);
  return { nameservers: nameservers.length === 0 ? ["127.0.0.1"] : nameservers, search, ndots };
}

function candidates(host: string, { search, ndots }: ResolverConfiguration): string[] {
  if (host.endsWith(".")) return [host.slice(0, -1)];
  const searched = search.map((domain) => `${host}.${domain}`);
  return host.split(".").length - 1 >= ndots ? [host, ...searched] : [...searched, host];
}

async function nslookup(host = "", server?: string): Promise<number> {
  const configuration = resolverConfiguration();
  const address = server ?? configuration.nameservers[0] ?? "127.0.0.1";
  const resolver = new Resolver({ timeout: 5000, tries: 2 });
  resolver.setServers([address]);
  const [ip, port = "53"] = /^\d+\.\d+\.\d+\.\d+(:\d+)?$/.test(address) ? address.split(":") : [address];
  console.log(`Server:\t\t${ip}\nAddress:\t${ip}:${port}\n`);
  if (/^[0-9.]+$|:/.test(host)) {
    try {
      for (const found of await resolver.reverse(host)) console.log(`${host}\tname = ${found}`);
      return 0;
    } catch (error) {
      console.log(`** server can't find ${host}: ${(error as NodeJS.ErrnoException).code ?? "SERVFAIL"}`);
      return 1;
    }
  }
  for (const candidate of candidates(host, configuration)) {
    const answers = await Promise.all([
      resolver.resolve4(candidate).catch(() => [] as string[]),
      resolver.resolve6(candidate).catch(() => [] as string[]),
    ]);
    const found = answers.flat();
    if (found.length === 0) continue;
    for (const one of found) console.log(`Name:\t${candidate}\nAddress: ${one}`);
    console.log("");
    return 0;
  }
  console.log(`** server can't find ${host}: NXDOMAIN\n`);
  return 1;
}

/** GET to standard output; `wget -qO-` and plain `curl`. Goes through http_proxy when that is set. */
async function fetchUrl(): Promise<number> {
  const address = args.find((arg) => !arg.startsWith("-") && arg !== "-");
  if (address === undefined) {
    console.error(`${name}: no URL given`);
    return 2;
  }
  const url = new URL(address.includes("://") ? address : `http://${address}`);
  const proxy = env["http_proxy"];
  const target =
    proxy === undefined
      ? { host: url.hostname, port: url.port === "" ? 80 : Number(url.port), path: `${url.pathname}${url.search}` }
      : { host: new URL(proxy).hostname, port: Number(new URL(proxy).port), path: url.href };
  return await new Promise((resolve) => {
    const request = get({ ...target, headers: { host: url.host }, timeout: 10_000 }, (response) => {
      response.pipe(process.stdout);
      const failed = name === "wget" && (response.statusCode ?? 0) >= 400;
      if (failed)
        console.error(`wget: server returned error: HTTP/1.1 ${response.statusCode} ${response.statusMessage}`);
      response.on("end", () => resolve(failed ? 1 : 0));
    });
    request.on("timeout", () => request.destroy(new Error("timed out")));
    request.on("error", (error) => {
      console.error(`${name}: ${error.message}`);
      resolve(name === "curl" ? 7 : 1);
    });
  });
}

async function netcat(): Promise<number> {
  const [host, port] = args.filter((arg) => !arg.startsWith("-"));
  return await new Promise((resolve) => {
    const socket = connect({ host: host ?? "127.0.0.1", port: Number(port) });
    socket.on("connect", () => {
      if (args.some((arg) => /^-\w*z/.test(arg))) {
        socket.destroy();
        resolve(0);
        return;
      }
      process.stdin.pipe(socket);
      socket.pipe(process.stdout);
    });
    socket.on("end", () => resolve(0));
    socket.on("error", (error) => {
      console.error(`nc: ${error.message}`);
      resolve(1);
    });
  });
}

async function concatenate(): Promise<number> {
  let status = 0;
  for (const path of args.length === 0 ? ["-"] : args) {
    const stream = path === "-" ? process.stdin : createReadStream(path);
    try {
      for await (const chunk of stream) process.stdout.write(chunk);
    } catch (error) {
      console.error(`cat: can't open '${path}': ${(error as Error).message}`);
      status = 1;
    }
  }
  return status;
}

async function run(): Promise<number> {
  switch (name) {
    case "nslookup":
      return await nslookup(
        args.filter((arg) => !arg.startsWith("-"))[0],
        args.filter((arg) => !arg.startsWith("-"))[1],
      );
    case "wget":
    case "curl":
      return await fetchUrl();
    case "nc":
      return await netcat();
    case "ping":
      console.error("ping: needs a network of the pod's own; try wget or nc");
      return 1;
    case "sleep": {
      const unit: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
      const [, amount, suffix = "s"] = /^([\d.]+|infinity)([smhd])?$/.exec(args[0] ?? "0") ?? [];
      if (amount === "infinity") await new Promise(() => setInterval(() => {}, 1 << 30));
      await new Promise((resolve) => setTimeout(resolve, Number(amount) * 1000 * (unit[suffix] ?? 1)));
      return 0;
    }
    case "echo":
      console.log(args.join(" "));
      return 0;
    case "cat":
      return await concatenate();
    case "env":
      for (const [key, value] of Object.entries(env)) console.log(`${key}=${value}`);
      return 0;
    case "hostname":
      console.log(env["HOSTNAME"] ?? hostname());
      return 0;
    case "true":
      return 0;
    case "false":
      return 1;
    default:
      console.error(`${name}: applet not found`);
      return 127;
  }
}

process.on("SIGTERM", () => process.exit(143));
process.exitCode = await run();
if (name === "nc") process.exit();
