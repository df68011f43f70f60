import { createInterface } from "node:readline";
import type { PlacedProgram } from "@portolan/cluster";

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
export function createProber(from: string, program: PlacedProgram): Prober {
  const waiting = new Map<
    number,
    { resolve: (answers: readonly ProbeAnswer[]) => void; reject: (error: Error) => void }
  >();
  let id = 0;
  const fail = (): void => {
    for (const { reject } of waiting.values()) reject(new Error(`the prober of ${from} ended`));
    waiting.clear();
  };
  void program.ended.then(fail, fail);
  program.stdout.on("error", fail);
  createInterface({ input: program.stdout }).on("line", (line) => {
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
      const { kind, host, port, count, path } = order;
      return new Promise((resolve, reject) => {
        waiting.set(++id, { resolve, reject });
        program.stdin.write(`${JSON.stringify({ id, kind, host, port, count, path })}\n`);
      });
    },
    close: () => program.end(),
  };
}
