import type { ApiRequest } from "@portolan/client";
import type { ApiServer, User } from "../src/index.ts";

/** An answer with its body parsed where it is JSON. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  // biome-ignore lint/suspicious/noExplicitAny: bodies of tests are of many kinds
  readonly body: any;
}

/** Sends a request in process. */
export async function send(
  server: ApiServer,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
  user?: User,
): Promise<Answer> {
  const transport = user === undefined ? server.transport : server.transportFor(user);
  const response = await transport({
    method: method as ApiRequest["method"],
    path,
    headers: {
      accept: "application/json",
      "user-agent": "test/1.0",
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = typeof response.body === "string" ? response.body : "";
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Not every answer is JSON.
  }
  return { status: response.status, headers: response.headers, body: parsed };
}

/** Opens a watch and gathers its events until the signal fires or the server ends it. */
export async function watch(
  server: ApiServer,
  path: string,
  signal?: AbortSignal,
): Promise<{ type: string; object: Record<string, never> }[]> {
  const response = await server.transport({
    method: "GET",
    path,
    headers: { accept: "application/json" },
    ...(signal === undefined ? {} : { signal }),
  });
  let text = "";
  for await (const chunk of response.stream ?? [])
    text += typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

export const services = "/api/v1/namespaces/default/services";

/** A Service that the server accepts. */
export function service(name: string, spec: object = {}): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port: 80 }], ...spec },
  };
}
