import type { Pod } from "@portolan/core";

/** Query of `pods/log`. */
export interface PodLogOptions {
  readonly container?: string;
  readonly follow?: boolean;
  readonly previous?: boolean;
  readonly sinceSeconds?: number;
  /** RFC 3339. */
  readonly sinceTime?: string;
  readonly timestamps?: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
}

/** The client's ends of an exec or attach. Reading `stdin` gives what the client typed; writes go to the client. */
export interface RemoteCommandStreams {
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly stdout?: (chunk: Uint8Array) => void;
  readonly stderr?: (chunk: Uint8Array) => void;
  /** Terminal sizes as they change; only with `tty`. */
  readonly resize?: AsyncIterable<{ readonly width: number; readonly height: number }>;
  /** Fires when the client goes away. */
  readonly signal: AbortSignal;
}

/** Query of `pods/exec` and `pods/attach`. */
export interface RemoteCommandOptions {
  readonly container?: string;
  /** Absent for attach. */
  readonly command?: readonly string[];
  readonly tty: boolean;
}

/** How a remote command ended: its exit code, or an error that kept it from running. */
export type RemoteCommandResult = { readonly exitCode: number } | { readonly error: string };

/** A byte stream to a port of a pod. */
export interface PodConnection {
  readonly readable: AsyncIterable<Uint8Array>;
  write(chunk: Uint8Array): void;
  end(): void;
}

/** What runs pods implements this, and the API server serves `log`, `exec`, `attach` and `portforward` through it. */
export interface PodStreams {
  /** Throws a `StatusError` (400) when the container is unknown or has not started. */
  logs(pod: Pod, options: PodLogOptions, signal: AbortSignal): AsyncIterable<Uint8Array>;
  exec(pod: Pod, options: RemoteCommandOptions, streams: RemoteCommandStreams): Promise<RemoteCommandResult>;
  attach(pod: Pod, options: RemoteCommandOptions, streams: RemoteCommandStreams): Promise<RemoteCommandResult>;
  /** Rejects when nothing listens on the port. */
  portForward(pod: Pod, port: number, signal: AbortSignal): Promise<PodConnection>;
}
