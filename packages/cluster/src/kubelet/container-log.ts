import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";

/** Which lines of a log are wanted. */
export interface LogQuery {
  readonly tailLines?: number;
  /** Milliseconds since the epoch. */
  readonly since?: number;
  readonly timestamps?: boolean;
  readonly limitBytes?: number;
  readonly follow?: boolean;
}

/** The log of one run of a container, on disk. */
export interface ContainerLog {
  write(stream: "stdout" | "stderr", chunk: Uint8Array): void;
  /** The program has ended: followers end after the last line. */
  end(): void;
  read(query: LogQuery, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Removes the files. */
  remove(): void;
}

/** Lines longer than this are cut in parts, as container runtimes do. */
const LONGEST_LINE = 16 * 1024;

/**
 * A log in files of at most `maximumBytes`, of which the last two are kept.
 *
 * Each line of the file is `TIME STREAM TAG TEXT` (the form of container runtimes): RFC 3339 time, `stdout` or `stderr`, `F` for a
 * full line or `P` for a part that the next one continues.
 */
export function createContainerLog(
  path: string,
  options: { readonly now: () => number; readonly maximumBytes?: number },
): ContainerLog {
  const maximumBytes = options.maximumBytes ?? 10 * 1024 * 1024;
  const rotated = `${path}.1`;
  const partial = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  const followers = new Set<(line: string | undefined) => void>();
  let file: number | undefined = openSync(path, "a", 0o600);
  let size = 0;
  let ended = false;

  function append(stream: "stdout" | "stderr", tag: "F" | "P", text: Buffer): void {
    const line = `${new Date(options.now()).toISOString()} ${stream} ${tag} ${text.toString("utf8")}`;
    const bytes = Buffer.from(`${line}\n`);
    if (file !== undefined && size > 0 && size + bytes.length > maximumBytes) {
      closeSync(file);
      renameSync(path, rotated);
      file = openSync(path, "a", 0o600);
      size = 0;
    }
    // Synchronous: lines keep their order, and a reader that has read the file has missed nothing.
    if (file !== undefined) size += writeSync(file, bytes);
    for (const follower of followers) follower(line);
  }

  function content(): string[] {
    const text = [rotated, path].map((name) => (existsSync(name) ? readFileSync(name, "utf8") : "")).join("");
    return text.split("\n").slice(0, -1);
  }

  return {
    write(stream, chunk) {
      if (ended) return;
      let rest = Buffer.concat([partial[stream], chunk]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        append(stream, "F", rest.subarray(0, end));
        rest = rest.subarray(end + 1);
      }
      while (rest.length >= LONGEST_LINE) {
        append(stream, "P", rest.subarray(0, LONGEST_LINE));
        rest = rest.subarray(LONGEST_LINE);
      }
      partial[stream] = Buffer.from(rest);
    },
    end() {
      if (ended) return;
      for (const stream of ["stdout", "stderr"] as const) {
        if (partial[stream].length > 0) append(stream, "P", partial[stream]);
      }
      ended = true;
      if (file !== undefined) closeSync(file);
      file = undefined;
      for (const follower of followers) follower(undefined);
      followers.clear();
    },
    async *read(query, signal) {
      const queue: (string | undefined)[] = [];
      let wake: (() => void) | undefined;
      const follower = (line: string | undefined): void => {
        queue.push(line);
        wake?.();
      };
      // Before reading what is there: both happen in one turn, so no line is missed or seen twice.
      if (query.follow === true && !ended) followers.add(follower);
      const stop = (): void => follower(undefined);
      signal.addEventListener("abort", stop, { once: true });
      let left = query.limitBytes ?? Number.POSITIVE_INFINITY;
      const encode = (line: string): Uint8Array | undefined => {
        const match = /^(\S+) (\S+) ([FP]) (.*)$/s.exec(line);
        if (match === null) return undefined;
        const [, time = "", , tag, text = ""] = match;
        if (query.since !== undefined && Date.parse(time) < query.since) return undefined;
        const shown = `${query.timestamps === true ? `${time} ` : ""}${text}${tag === "F" ? "\n" : ""}`;
        const bytes = Buffer.from(shown).subarray(0, left);
        left -= bytes.length;
        return bytes;
      };
      try {
        let lines = content();
        if (query.tailLines !== undefined) lines = query.tailLines <= 0 ? [] : lines.slice(-query.tailLines);
        for (const line of lines) {
          if (signal.aborted || left <= 0) return;
          const bytes = encode(line);
          if (bytes !== undefined) yield bytes;
        }
        if (!followers.has(follower) && queue.length === 0) return;
        for (;;) {
          const line = queue.shift();
          if (line === undefined) {
            if (signal.aborted || ended) return;
            await new Promise<void>((resolve) => {
              wake = resolve;
              if (queue.length > 0 || signal.aborted) resolve();
            });
            continue;
          }
          const bytes = encode(line);
          if (bytes !== undefined) yield bytes;
          if (left <= 0) return;
        }
      } finally {
        followers.delete(follower);
        signal.removeEventListener("abort", stop);
      }
    },
    remove() {
      this.end();
      for (const name of [path, rotated]) rmSync(name, { force: true });
    },
  };
}
