import { spawn } from "node:child_process";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Cluster } from "@portolan/cluster";

/** What a command said. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command is run. */
export interface RunOptions {
  /** Exit code that is expected; `any` accepts all. Default 0. */
  readonly code?: number | "any";
  /** With a terminal of its own, by `script` of util-linux. */
  readonly terminal?: boolean;
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** What a responder pod says about itself and a request that it received. */
export interface Answer {
  readonly pod: string;
  readonly node: string;
  readonly client: string;
  readonly host: string;
}

/** A check that did not hold. The message says what was expected and what came. */
export class Disagreement extends Error {
  override readonly name = "Disagreement";
}

/** One namespace of a running cluster, with the programs that a reader of the article has at hand. */
export interface Session {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** Runs a line of shell on the reader's machine; kubectl's context is this namespace. */
  run(line: string, options?: RunOptions): Promise<CommandResult>;
  /** Runs a line of shell in a pod; the pod `client` has a shell and curl. */
  inPod(line: string, pod?: string): Promise<CommandResult>;
  /** Path of a manifest of the article. */
  manifest(name: string): string;
  /** Applies manifests of the article by kubectl. */
  apply(...names: string[]): Promise<void>;
  /** The same with workloads, waited for. */
  deploy(...names: string[]): Promise<void>;
  /** Value of a JSONPath of an object. */
  value(object: string, path: string): Promise<string>;
  /** Repeats a look until it throws no more, at most for a minute. */
  until<T>(look: () => Promise<T>): Promise<T>;
  /** Requests from the pod `client` (or another one); each has to be answered. */
  fetchInPod(url: string, count: number, pod?: string): Promise<readonly Answer[]>;
  /** Requests from outside of the cluster; undefined stands for one that got no answer. */
  fetchOutside(
    target: { address: string; port: number; node?: string },
    count?: number,
  ): Promise<(Answer | undefined)[]>;
}

const limit = 60_000;

/** Fails unless the text has the piece (or matches the pattern). */
export function mustSay(text: string, ...pieces: readonly (string | RegExp)[]): void {
  for (const piece of pieces) {
    const found = typeof piece === "string" ? text.includes(piece) : piece.test(text);
    if (!found) throw new Disagreement(`expected ${piece}, got:\n${text.trimEnd()}`);
  }
}

/** Fails unless both are the same, as JSON. */
export function mustBe(actual: unknown, expected: unknown, what: string): void {
  const [got, want] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (got !== want) throw new Disagreement(`${what}: expected ${want}, got ${got}`);
}

/** Fails unless the condition holds. */
export function must(condition: boolean, message: string): void {
  if (!condition) throw new Disagreement(message);
}

/** Values in order, each once. */
export const distinct = (values: readonly string[]): string[] => [...new Set(values)].sort();

/** The rows of a table that kubectl printed, without its header. */
export function rows(table: string): string[][] {
  return table
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s{2,}/));
}

function execute(
  command: string,
  args: readonly string[],
  options: RunOptions,
  signal: AbortSignal,
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...options.environment },
      signal,
      timeout: limit * 2,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, stdout, stderr }));
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? "");
  });
}

function readAnswer(text: string): Answer | undefined {
  try {
    const value = JSON.parse(text) as Partial<Answer>;
    if (typeof value.pod !== "string") return undefined;
    return { pod: value.pod, node: value.node ?? "", client: value.client ?? "", host: value.host ?? "" };
  } catch {
    return undefined;
  }
}

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Opens a session; the namespace is made when it is absent. */
export async function openSession(
  cluster: Cluster,
  options: { readonly namespace: string; readonly directory: string; readonly signal: AbortSignal },
): Promise<Session> {
  const { namespace, directory, signal } = options;
  const kubeconfig = join(directory, `kubeconfig-${namespace}`);
  copyFileSync(cluster.kubeconfig, kubeconfig);

  const run = async (line: string, how: RunOptions = {}): Promise<CommandResult> => {
    const environment = { KUBECONFIG: kubeconfig, ...how.environment };
    const [command, args] =
      how.terminal === true ? (["script", ["-qec", line, "/dev/null"]] as const) : (["/bin/sh", ["-c", line]] as const);
    const result = await execute(command, args, { ...how, environment }, signal);
    const wanted = how.code ?? 0;
    if (wanted !== "any" && result.code !== wanted) {
      throw new Disagreement(
        `${line}: expected exit code ${wanted}, got ${result.code}:\n${result.stdout}${result.stderr}`.trimEnd(),
      );
    }
    return result;
  };
  await run(`kubectl config set-context --current --namespace ${namespace}`);
  const exists = await run(`kubectl get namespace ${namespace}`, { code: "any" });
  if (exists.code !== 0) await run(`kubectl create namespace ${namespace}`);

  const session: Session = {
    cluster,
    namespace,
    run,
    inPod(line, pod = "client") {
      if (cluster.mode === "gateway" && line.startsWith("nslookup ")) {
        // Pods have no resolver of their own there: the same question goes to the cluster's DNS from this machine.
        return run(`${line.replace("nslookup", `nslookup -port=${cluster.dns.port}`)} 127.0.0.1`, { code: "any" });
      }
      const container = pod !== "client" ? "" : `-c ${line.startsWith("curl") ? "curl" : "shell"} `;
      return run(`kubectl exec ${pod} ${container}-- sh -c ${quote(line)}`, { code: "any" });
    },
    manifest: (name) => fileURLToPath(new URL(`../manifests/${name}.yaml`, import.meta.url)),
    async apply(...names) {
      await run(`kubectl apply ${names.map((name) => `-f ${session.manifest(name)}`).join(" ")}`);
    },
    async deploy(...names) {
      await session.apply(...names);
      await session
        .until(async () => {
          const { stdout } = await run("kubectl get pods --no-headers");
          const { stdout: workloads } = await run("kubectl get deployments,statefulsets --no-headers");
          for (const line of `${stdout}${workloads}`.split("\n").filter((text) => text !== "")) {
            const [ready, wanted] = (line.trim().split(/\s+/)[1] ?? "").split("/");
            must(ready === wanted, `not ready: ${line}`);
          }
        })
        .catch(async (error) => {
          const { stdout } = await run("kubectl get events --no-headers --sort-by=.metadata.creationTimestamp");
          throw new Disagreement(
            `${(error as Error).message}\nlast events:\n${stdout.trimEnd().split("\n").slice(-8).join("\n")}`,
          );
        });
    },
    async value(object, path) {
      return (await run(`kubectl get ${object} -o jsonpath=${quote(path)}`)).stdout;
    },
    async until(look) {
      const deadline = Date.now() + limit;
      for (;;) {
        try {
          return await look();
        } catch (error) {
          if (Date.now() > deadline || signal.aborted) throw error;
          await delay(100, undefined, { signal });
        }
      }
    },
    async fetchInPod(url, count, pod = "client") {
      // One program for all requests; each of them is a connection of its own.
      const line = `for i in $(seq ${count}); do curl -s -m 5 -H "Accept: application/json" -H "Connection: close" ${url} || echo; done`;
      const { stdout, stderr } = await run(
        `kubectl exec ${pod} ${pod.startsWith("client") ? "-c curl " : ""}-- sh -c ${quote(line)}`,
      );
      const answers = stdout.split("\n").slice(0, count).map(readAnswer);
      const found = answers.filter((answer) => answer !== undefined);
      must(
        found.length === count,
        `${url} from ${pod}: ${found.length} of ${count} requests were answered\n${stdout}${stderr}`,
      );
      return found;
    },
    async fetchOutside(target, count = 1) {
      const { host, port } = await cluster.outsideAddress(target);
      const out: (Answer | undefined)[] = [];
      for (let i = 0; i < count; i++) {
        const program = await cluster.startProgram({ kind: "outside" }, [
          ...["curl", "-s", "-m", "4", "-H", "Accept: application/json", `http://${host}:${port}/`],
        ]);
        let text = "";
        program.stdout.setEncoding("utf8");
        // To the end of what it writes, which may come after the program's own.
        for await (const chunk of program.stdout) text += chunk;
        await program.ended;
        out.push(readAnswer(text));
      }
      return out;
    },
  };
  return session;
}
