import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("minimal.c", import.meta.url));

/** Compiles minimal.c. Without a C compiler: the reason. */
export function compile() {
  const folder = mkdtempSync(join(tmpdir(), "forward-burst-"));
  const program = join(folder, "minimal");
  const { status, error, stderr } = spawnSync("cc", ["-O3", source, "-o", program], { encoding: "utf8" });
  const remove = () => rmSync(folder, { recursive: true, force: true });
  if (status === 0) return { program, remove };
  remove();
  return { reason: error?.message ?? stderr, remove: () => {} };
}

/** The C pipeline in a process of its own, which obeys line by line; it measures itself. */
export class MinimalTarget {
  #child;
  #lines;

  constructor(program, serviceCount, flowCount, ...variant) {
    this.#child = spawn(program, [serviceCount, flowCount, ...variant].map(String), {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #ask(line) {
    this.#child.stdin.write(`${line}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`minimal: no answer to ${line}`);
    return Number(value);
  }

  open() {
    return this.#ask("new");
  }

  run(kind, bursts) {
    return this.#ask(`${kind} ${bursts}`);
  }

  octetsPerFlow() {
    return this.#ask("plan");
  }

  close() {
    this.#child.stdin.end();
  }
}
