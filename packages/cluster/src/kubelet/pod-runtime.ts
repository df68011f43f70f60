import type { Duplex } from "node:stream";
import type { Pod } from "@portolan/core";

/** A file or directory that the pod's programs see in place of another, where the runtime can do that. */
export interface PodMount {
  /** Absolute path of what to show. */
  readonly source: string;
  /** Absolute path where it is shown; need not exist. */
  readonly target: string;
  readonly readOnly?: boolean;
}

/** What a sandbox is made with. */
export interface SandboxOptions {
  readonly hostname: string;
  /** Ports that programs of the pod listen on: those its containers declare, and those of their images. */
  readonly ports: readonly number[];
}

/** Where a program runs. */
export interface SandboxCommandOptions {
  readonly mounts: readonly PodMount[];
  readonly directory?: string;
}

/** A command line for `spawn`. */
export interface SandboxCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/** What the containers of one pod share: addresses, host name, ports. */
export interface PodSandbox {
  /** The pod's addresses, one per family, primary first. */
  readonly addresses: readonly string[];
  /** Variables that the runtime adds to every program, such as the ports of loopback that stand for the pod's. */
  readonly environment: Readonly<Record<string, string>>;
  /** The command line that runs a program in the pod. `argv[0]` is an absolute path. */
  command(argv: readonly string[], options: SandboxCommandOptions): SandboxCommand;
  /**
   * Opens a TCP connection to a port of the pod, as its node would.
   * @throws an error whose `code` is that of `connect` (`ECONNREFUSED`, …)
   */
  connect(port: number, signal?: AbortSignal): Promise<Duplex>;
  /** The port of 127.0.0.1 that stands for a port of the pod, in runtimes that have such. */
  portMap?(port: number): number | undefined;
  /** Told about process groups of the pod that are started and that have ended. */
  onProcess?(pid: number, running: boolean): void;
  /** Gives everything back. The pod's programs have ended. */
  close(): Promise<void>;
}

/** Makes places for pods to run in, on one node. */
export interface PodRuntime {
  /** As in `containerRuntimeVersion` of the node. */
  readonly name: string;
  /** True when pods have a network of their own; otherwise they share this machine's loopback. */
  readonly isolated: boolean;
  createSandbox(pod: Pod, options: SandboxOptions): Promise<PodSandbox>;
  close(): Promise<void>;
}
