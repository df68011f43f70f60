import type { ChildProcessByStdio } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

/** One request's outcome: what came back, or the error code of the connection. */
export interface ProbeAnswer {
  readonly text: string;
  readonly error?: string;
}

/** What to request, and how often. */
export interface ProbeOrder {
  readonly kind: "http" | "tcp" | "dns";
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly path?: string;
}

/** A program that makes requests from where a client is. */
export interface Prober {
  /** For the table: `pod client on node1`, `outside`. */
  readonly from: string;
  request(order: ProbeOrder): Promise<readonly ProbeAnswer[]>;
  close(): void;
}

/** Speaks to a prober program over its standard streams. */
export function createProber(from: string, child: ChildProcessByStdio<Writable, Readable, null>): Prober {
  const waiting = new Map<
    number,
    { resolve: (answers: readonly ProbeAnswer[]) => void; reject: (error: Error) => void }
  >();
  let id = 0;
  const fail = (reason: string): void => {
    for (const { reject } of waiting.values()) reject(new Error(`the prober of ${from} ended: ${reason}`));
    waiting.clear();
  };
  child.on("error", (error) => fail(error.message));
  child.on("exit", (code, signal) => fail(signal ?? `exit code ${code}`));
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => {
    let answer: { id: number; answers: ProbeAnswer[] };
    try {
      answer = JSON.parse(line) as typeof answer;
    } catch {
      return;
    }
    waiting.get(answer.id)?.resolve(answer.answers);
    waiting.delete(answer.id);
  });
  return {
    from,
    request(order) {
      return new Promise((resolve, reject) => {
        waiting.set(++id, { resolve, reject });
        child.stdin.write(`${JSON.stringify({ id, ...order })}\n`);
      });
    },
    close() {
      child.stdin.end();
      child.kill();
    },
  };
}
