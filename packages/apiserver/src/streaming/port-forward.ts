import type { Duplex } from "node:stream";
import type { Pod } from "@portolan/core";
import type { PodStreams } from "../pod-streams.ts";
import { createSpdyConnection, type SpdyStream } from "./spdy.ts";

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
}

/**
 * Serves `portforward.k8s.io` over SPDY: for each connection the client opens two streams with the same `requestID`, `error` and
 * `data`, and the port in a header.
 */
export async function servePortForward(
  transport: Duplex,
  head: Uint8Array,
  pod: Pod,
  podStreams: PodStreams,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const gone = new AbortController();
  const connection = createSpdyConnection(transport, head, (stream) => {
    const { headers } = stream;
    const type = headers.get("streamtype");
    const port = Number(headers.get("port"));
    if ((type !== "error" && type !== "data") || !Number.isInteger(port) || port < 1 || port > 65_535) {
      stream.reset();
      return;
    }
    // Clients of old numbered nothing: each opens its error stream two numbers before the data stream.
    const id = headers.get("requestid") ?? String(type === "error" ? stream.id : stream.id - 2);
    const pair = pairs.get(id) ?? {};
    if (pair[type] !== undefined) {
      stream.reset();
      return;
    }
    pair[type] = stream;
    pairs.set(id, pair);
    stream.reply();
    if (pair.error === undefined || pair.data === undefined) return;
    pairs.delete(id);
    void forward(pair.error, pair.data, port, pod, podStreams, gone.signal);
  });
  await connection.closed;
  gone.abort();
}

async function forward(
  error: SpdyStream,
  data: SpdyStream,
  port: number,
  pod: Pod,
  podStreams: PodStreams,
  signal: AbortSignal,
): Promise<void> {
  const fail = (problem: unknown): void => {
    const { name, namespace, uid } = pod.metadata;
    const text = problem instanceof Error ? problem.message : String(problem);
    error.write(Buffer.from(`error forwarding port ${port} to pod ${namespace}/${name}, uid ${uid}: ${text}`));
  };
  const ended = new AbortController();
  const abort = (): void => ended.abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    const remote = await podStreams.portForward(pod, port, ended.signal);
    const sending = (async () => {
      try {
        for await (const chunk of data.readable) remote.write(chunk);
        remote.end();
      } catch {
        // The client reset its stream: the pod's side has nobody to speak to.
        ended.abort();
      }
    })();
    for await (const chunk of remote.readable) data.write(chunk);
    data.end();
    await Promise.race([sending, new Promise((resolve) => setTimeout(resolve, 1_000).unref())]);
  } catch (problem) {
    if (!ended.signal.aborted) fail(problem);
  } finally {
    data.end();
    error.end();
    ended.abort();
    signal.removeEventListener("abort", abort);
  }
}
