import type { KubernetesObject } from "@portolan/core";
import type { Upstream } from "./recording-proxy.ts";

/** The system under test: an API server with controllers, nodes and stand-ins for scheduler and kubelets. */
export interface Fixture {
  readonly upstream: Upstream;
  /** A request of the harness itself, as an administrator. */
  request(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
  /** Makes a namespace and waits until pods can be made in it. */
  createNamespace(name: string): Promise<void>;
  /** Removes a namespace and what is in it, so that addresses and ports are free for the next case. */
  deleteNamespace(name: string): Promise<void>;
  /** Reads a body in the protobuf encoding, for comparison. */
  decodeProtobuf(bytes: Uint8Array): KubernetesObject;
  close(): Promise<void>;
}

/** Composes the system under test. */
export async function startFixture(): Promise<Fixture> {
  throw new Error("area kubectl cannot be run yet: no API server is composed");
}
