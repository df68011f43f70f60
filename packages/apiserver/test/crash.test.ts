import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Service } from "@portolan/core";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openSqliteStore } from "../src/index.ts";
import { createRandom } from "../src/testing/random.ts";
import { service } from "./client.ts";

const seed = Number(process.env["PORTOLAN_SEED"] ?? Date.now() % 1_000_000_007);
const rounds = Number(process.env["PORTOLAN_CRASHES"] ?? 10);
const clients = 4;

function randomFrom(start: number): (below: number) => number {
  const draw = createRandom(start);
  return (below) => Math.floor(draw() * below);
}

const source = dirname(fileURLToPath(import.meta.url));
// Native code is found from where it is installed, so the bundle goes there.
const bundle = join(source, `../node_modules/.crash-victim-${process.pid}`);
let root: string;
let data: string;
let victims: ChildProcess[] = [];

beforeAll(async () => {
  mkdirSync(bundle, { recursive: true });
  writeFileSync(join(bundle, "package.json"), '{"type":"module"}');
  await build({
    entryPoints: [join(source, "crash-victim.ts")],
    outdir: bundle,
    bundle: true,
    platform: "node",
    format: "esm",
    conditions: ["@portolan/source"],
    external: ["@photostructure/sqlite"],
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
});
afterAll(() => rmSync(bundle, { recursive: true, force: true }));
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "portolan-crash-"));
  data = join(root, "data");
});
afterEach(() => {
  for (const victim of victims) victim.kill("SIGKILL");
  victims = [];
  rmSync(root, { recursive: true, force: true });
});

/** Starts a server process, with a limit of file sizes in KiB when given. */
async function start(fileLimit?: number): Promise<{ victim: ChildProcess; url: string }> {
  const argv = [process.execPath, join(bundle, "crash-victim.js"), data, root];
  const [command, ...args] =
    fileLimit === undefined ? argv : ["bash", "-c", `ulimit -f ${fileLimit}; exec "$@"`, "bash", ...argv];
  const victim = spawn(command as string, args, { stdio: ["ignore", "pipe", "inherit"] });
  victims.push(victim);
  const url = await new Promise<string>((resolve, reject) => {
    victim.stdout?.once("data", (text) => resolve(String(text).trim()));
    victim.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { victim, url };
}

async function kill(victim: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => victim.once("exit", resolve));
  victim.kill("SIGKILL");
  await ended;
}

interface Identity {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** The administrator's credentials, from the kubeconfig of the server that was started first. */
function identity(): Identity {
  const config = JSON.parse(readFileSync(join(root, "kubeconfig"), "utf8"));
  const decode = (text: string): string => Buffer.from(text, "base64").toString();
  const { user } = config.users[0];
  return {
    ca: decode(config.clusters[0].cluster["certificate-authority-data"]),
    cert: decode(user["client-certificate-data"]),
    key: decode(user["client-key-data"]),
  };
}

interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: bodies of tests are of many kinds
  readonly body: any;
}

function ask(agent: Agent, method: string, url: string, body?: object, type = "application/json"): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method, headers: { "content-type": type } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (text += chunk));
      response.on("error", reject);
      response.on("aborted", () => reject(new Error("aborted")));
      response.on("end", () => {
        try {
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) });
        } catch (error) {
          reject(error);
        }
      });
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** What is known of a Service: its resourceVersion and the value of its label, or that it is not there. */
type Known = { readonly resourceVersion: string; readonly value: string } | undefined;

function known(object: Service | undefined): Known {
  return object === undefined
    ? undefined
    : { resourceVersion: object.metadata.resourceVersion ?? "", value: object.metadata.labels?.["value"] ?? "" };
}

const types = ["ClusterIP", "NodePort", "LoadBalancer"] as const;
const collectionPath = "/api/v1/namespaces/default/services";

/** A client that creates, changes and deletes Services of its own, and remembers what it was told and what it asked last. */
class Writer {
  readonly acknowledged = new Map<string, Known>();
  /** Sent and not answered: it may have happened or not. */
  doubt: { readonly name: string; readonly value: string | undefined } | undefined;
  readonly #prefix: string;
  readonly #random: (below: number) => number;
  #sequence = 0;

  constructor(prefix: string, random: (below: number) => number) {
    this.#prefix = prefix;
    this.#random = random;
  }

  /** Writes until the connection breaks. */
  async run(agent: Agent, url: string, onAnswer: () => void): Promise<void> {
    for (;;) {
      const name = `${this.#prefix}-${this.#random(12)}`;
      const value = `v${this.#sequence++}`;
      const exists = this.acknowledged.get(name) !== undefined;
      const act = exists ? (this.#random(3) === 0 ? "delete" : "patch") : "create";
      this.doubt = { name, value: act === "delete" ? undefined : value };
      let reply: Reply;
      try {
        if (act === "create") {
          const object = service(name, { type: types[this.#random(3)] }) as Service;
          object.metadata = { ...object.metadata, labels: { value } };
          reply = await ask(agent, "POST", url + collectionPath, object);
        } else if (act === "patch") {
          const change = { metadata: { labels: { value } }, spec: { type: types[this.#random(3)] } };
          reply = await ask(agent, "PATCH", `${url}${collectionPath}/${name}`, change, "application/merge-patch+json");
        } else reply = await ask(agent, "DELETE", `${url}${collectionPath}/${name}`);
      } catch {
        return;
      }
      if (reply.status >= 300) throw new Error(`${act} ${name}: ${JSON.stringify(reply.body)}`);
      this.acknowledged.set(name, act === "delete" ? undefined : known(reply.body));
      this.doubt = undefined;
      onAnswer();
    }
  }

  /** Compares with what there is, and takes over how the doubtful write ended. */
  check(found: ReadonlyMap<string, Service>): void {
    const { doubt } = this;
    for (const [name, before] of this.acknowledged) {
      if (name === doubt?.name) continue;
      expect({ name, ...known(found.get(name)) }).toEqual({ name, ...before });
    }
    if (doubt !== undefined) {
      const now = known(found.get(doubt.name));
      const before = this.acknowledged.get(doubt.name);
      if (now?.value !== doubt.value) expect({ name: doubt.name, ...now }).toEqual({ name: doubt.name, ...before });
      this.acknowledged.set(doubt.name, now);
      this.doubt = undefined;
    }
    for (const name of found.keys())
      if (name.startsWith(`${this.#prefix}-`)) expect(this.acknowledged.get(name)).toBeDefined();
  }
}

/** Looks into the files of a server that was killed: allocations belong to exactly one Service, and both are there or neither. */
async function checkFiles(): Promise<{ revision: number; services: Map<string, Service> }> {
  const store = await openSqliteStore({ directory: data });
  try {
    const services = new Map<string, Service>();
    const addresses: string[] = [];
    const ports: number[] = [];
    for (const { name, object, revision } of store.list("services")) {
      const found = object as Service;
      services.set(name, found);
      expect(revision).toBeLessThanOrEqual(store.revision);
      addresses.push(...(found.spec?.clusterIPs ?? []));
      for (const { nodePort } of found.spec?.ports ?? []) if (nodePort !== undefined) ports.push(nodePort);
    }
    expect(new Set(addresses).size).toBe(addresses.length);
    expect(new Set(ports).size).toBe(ports.length);
    const recorded = [...store.list("ipaddresses.networking.k8s.io")].map(({ name }) => name);
    expect(recorded.sort()).toEqual(addresses.sort());
    return { revision: store.revision, services };
  } finally {
    store.close();
  }
}

describe(`a server that is killed (seed ${seed})`, () => {
  it(`has everything acknowledged and nothing half, ${rounds} times over`, { timeout: 120_000 }, async () => {
    const random = randomFrom(seed);
    const writers = Array.from({ length: clients }, (_, i) => new Writer(`w${i}`, randomFrom(seed + i + 1)));
    let admin: Identity | undefined;
    let revision = 0;
    for (let round = 0; round < rounds; round++) {
      const { victim, url } = await start();
      // Authority and administrator of the first start are those of all.
      admin ??= identity();
      const agent = new Agent({ ...admin, keepAlive: true });
      const old = await ask(agent, "GET", `${url}${collectionPath}?watch=true&resourceVersion=1&timeoutSeconds=1`);
      if (round > 0) expect(old.body).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });

      let left = 1 + random(60);
      const killed = new Promise<void>((resolve, reject) => {
        const onAnswer = (): void => {
          if (--left === 0) kill(victim).then(resolve, reject);
        };
        for (const writer of writers) writer.run(agent, url, onAnswer).catch(reject);
      });
      await killed;
      agent.destroy();
      // Writers learn of broken connections a moment later.
      await new Promise((resolve) => setTimeout(resolve, 20));
      const files = await checkFiles();
      for (const writer of writers) writer.check(files.services);
      expect(files.revision).toBeGreaterThan(revision);
      revision = files.revision;
    }
  });

  it("answers no write that a full disk swallowed, and goes on with the others when there is room", {
    timeout: 60_000,
  }, async () => {
    const { victim, url } = await start(512);
    const agent = new Agent({ ...identity(), keepAlive: true });
    const created: string[] = [];
    let failed: Reply | undefined;
    for (let i = 0; failed === undefined && i < 200; i++) {
      const object = {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: `c${i}` },
        data: { x: "x".repeat(20_000) },
      };
      const reply = await ask(agent, "POST", `${url}/api/v1/namespaces/default/configmaps`, object);
      if (reply.status === 201) created.push(`c${i}`);
      else failed = reply;
    }
    expect(created.length).toBeGreaterThan(3);
    expect(failed).toMatchObject({ status: 500, body: { kind: "Status", code: 500 } });
    expect(failed?.body.message).toMatch(/^writing the store failed: .*start the server again$/);
    // What memory has and the disk has not is shown to nobody.
    expect((await ask(agent, "GET", `${url}/api/v1/namespaces/default/configmaps`)).status).toBe(500);
    expect((await ask(agent, "GET", `${url}/readyz`).catch(() => ({ status: 0 }))).status).not.toBe(200);
    await kill(victim);
    agent.destroy();

    const again = await start();
    const next = new Agent({ ...identity(), keepAlive: true });
    const list = await ask(next, "GET", `${again.url}/api/v1/namespaces/default/configmaps`);
    const names = list.body.items.map((item: Service) => item.metadata.name);
    expect(names).toEqual(expect.arrayContaining(created));
    expect(names.length - created.length).toBeLessThanOrEqual(1);
    next.destroy();
    await kill(again.victim);
  });
});
