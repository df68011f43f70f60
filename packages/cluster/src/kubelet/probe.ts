import { request } from "node:http";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { Clock } from "@portolan/client";
import type { Container, IntOrString, Probe, ProbeHandler } from "@portolan/core";

/** What became of one probe. `message` is worded as the kubelet's. */
export interface ProbeResult {
  readonly success: boolean;
  readonly message: string;
  /** Nothing listened: the program may still be starting. */
  readonly refused?: boolean;
}

/** How probes reach a container. */
export interface ProbeTarget {
  readonly address: string;
  readonly container: Container;
  connect(port: number, signal: AbortSignal): Promise<Duplex>;
  /** Runs a command in the container; combined output, bounded. */
  execute(
    command: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly exitCode: number; readonly output: string }>;
}

const USER_AGENT = "kube-probe/1.36";

/** The number of a port given by number or by the container's name for it. */
export function resolvePort(port: IntOrString, container: Container): number {
  const text = String(port);
  if (/^\d+$/.test(text)) return Number(text);
  return container.ports?.find(({ name }) => name === text)?.containerPort ?? 0;
}

function refusal(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === "ECONNREFUSED";
}

function dialProblem(error: unknown, address: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ECONNREFUSED") return `dial tcp ${address}: connect: connection refused`;
  if (code === "EHOSTUNREACH") return `dial tcp ${address}: connect: no route to host`;
  if (code === "ECONNRESET") return `read tcp ${address}: read: connection reset by peer`;
  return message;
}

async function httpProbe(
  action: NonNullable<ProbeHandler["httpGet"]>,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const port = resolvePort(action.port, target.container);
  const host = target.address.includes(":") ? `[${target.address}]` : target.address;
  const scheme = (action.scheme ?? "HTTP").toLowerCase();
  const path = action.path === undefined || action.path === "" ? "/" : action.path;
  const url = `${scheme}://${action.host ?? host}:${port}${path.startsWith("/") ? path : `/${path}`}`;
  let socket: Duplex;
  try {
    socket = await target.connect(port, signal);
  } catch (error) {
    if (signal.aborted) return timedOut(url);
    const message = `Get "${url}": ${dialProblem(error, `${host}:${port}`)}`;
    return { success: false, message, refused: refusal(error) };
  }
  if (scheme === "https") socket = connectTls({ socket, rejectUnauthorized: false });
  const headers: Record<string, string> = { "user-agent": USER_AGENT, accept: "*/*", connection: "close" };
  headers["host"] = `${action.host ?? host}:${port}`;
  for (const { name, value } of action.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  try {
    return await new Promise<ProbeResult>((resolve, reject) => {
      const sent = request(
        { method: "GET", path, headers, signal, createConnection: () => socket as never },
        (response) => {
          response.resume();
          const status = response.statusCode ?? 0;
          const success = status >= 200 && status < 400;
          response.once("error", () => undefined);
          resolve({ success, message: success ? "" : `HTTP probe failed with statuscode: ${status}` });
        },
      );
      sent.once("error", reject);
      sent.end();
    });
  } catch (error) {
    return signal.aborted ? timedOut(url) : { success: false, message: `Get "${url}": ${(error as Error).message}` };
  } finally {
    socket.destroy();
  }
}

function timedOut(url: string): ProbeResult {
  return {
    success: false,
    message: `Get "${url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
  };
}

/** Does what a probe or a lifecycle hook says, once. */
export async function runProbe(handler: ProbeHandler, target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult> {
  if (handler.httpGet !== undefined) return httpProbe(handler.httpGet, target, signal);
  const { tcpSocket, grpc, exec, sleep } = handler;
  const tcpPort = tcpSocket?.port ?? grpc?.port;
  if (tcpPort !== undefined) {
    // A gRPC health check is taken as good when something listens: the protocol itself is not spoken.
    const port = resolvePort(tcpPort, target.container);
    const address = `${target.address.includes(":") ? `[${target.address}]` : target.address}:${port}`;
    try {
      (await target.connect(port, signal)).destroy();
      return { success: true, message: "" };
    } catch (error) {
      const message = signal.aborted ? `dial tcp ${address}: i/o timeout` : dialProblem(error, address);
      return { success: false, message, refused: refusal(error) };
    }
  }
  if (exec !== undefined) {
    try {
      const { exitCode, output } = await target.execute(exec.command ?? [], signal);
      return exitCode === 0 ? { success: true, message: "" } : { success: false, message: output.trim() };
    } catch (error) {
      const message = signal.aborted ? "command timed out" : (error as Error).message;
      return { success: false, message };
    }
  }
  if (sleep !== undefined) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, sleep.seconds * 1000);
      const stop = (): void => {
        clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", stop, { once: true });
    });
  }
  return { success: true, message: "" };
}

/** A signal that fires with `signal` or after `milliseconds`; `done` gives the timer back. */
export function withTimeout(
  clock: Clock,
  milliseconds: number,
  signal: AbortSignal,
): { readonly signal: AbortSignal; done(): void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort(new Error("timed out"));
  const cancel = clock.schedule(abort, milliseconds);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return {
    signal: controller.signal,
    done() {
      cancel();
      signal.removeEventListener("abort", abort);
    },
  };
}

/** What a prober tells. */
export interface ProberEvents {
  /** The state has changed, by `successThreshold` or `failureThreshold` results in a row. */
  changed(success: boolean, message: string): void;
  /** One failure, for an event. */
  failed(message: string): void;
}

/** While a program starts, a port that refuses is tried again after this long, and not counted. */
const STARTING_RETRY = 100;

/**
 * Probes a container until `signal` fires: first after `initialDelaySeconds`, then every `periodSeconds`. A refused connection
 * before the first answer is tried again at once for up to a period, so that a program that needs 200 ms to listen is not
 * found unready for a whole period.
 */
export async function runProber(
  probe: Probe,
  target: ProbeTarget,
  events: ProberEvents,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const period = Math.max(1, probe.periodSeconds ?? 10) * 1000;
  const timeout = Math.max(1, probe.timeoutSeconds ?? 1) * 1000;
  const successThreshold = Math.max(1, probe.successThreshold ?? 1);
  const failureThreshold = Math.max(1, probe.failureThreshold ?? 3);
  const pause = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const finish = (): void => {
        cancel();
        signal.removeEventListener("abort", finish);
        resolve();
      };
      const cancel = clock.schedule(finish, milliseconds);
      signal.addEventListener("abort", finish, { once: true });
    });
  await pause((probe.initialDelaySeconds ?? 0) * 1000);
  const began = clock.now();
  let starting = true;
  let last: boolean | undefined;
  let inARow = 0;
  while (!signal.aborted) {
    const limit = withTimeout(clock, timeout, signal);
    const result = await runProbe(probe, target, limit.signal).catch(
      (error: unknown): ProbeResult => ({
        success: false,
        message: error instanceof Error ? error.message : String(error),
      }),
    );
    limit.done();
    if (signal.aborted) return;
    if (starting && result.refused === true && clock.now() - began < period) {
      await pause(STARTING_RETRY);
      continue;
    }
    starting = false;
    if (!result.success) events.failed(result.message);
    inARow = result.success === last ? inARow + 1 : 1;
    last = result.success;
    if (inARow >= (result.success ? successThreshold : failureThreshold))
      events.changed(result.success, result.message);
    await pause(period);
  }
}
