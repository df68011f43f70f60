import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { CloudAnswer, MemoryCloud } from "./memory-cloud.ts";
import type { Body } from "./resources.ts";

/** A server that speaks the Compute Engine API, on the loopback interface. */
export interface FakeEndpoint {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

const prefix = "/compute/v1/";

/** Takes a request apart as the cloud does. */
function answer(cloud: MemoryCloud, method: string, target: string, text: string): CloudAnswer {
  const url = new URL(target, "http://localhost");
  let body: Body | undefined;
  try {
    body = text === "" ? undefined : (JSON.parse(text) as Body);
  } catch {
    return { status: 400, body: { error: { code: 400, message: "Parse Error", errors: [{ reason: "parseError" }] } } };
  }
  return cloud.handle({
    method,
    path: decodeURIComponent(url.pathname.slice(prefix.length)),
    query: Object.fromEntries(url.searchParams),
    ...(body === undefined ? {} : { body }),
  });
}

/** The engine's `fetch` for a cloud in memory: requests never leave the process. */
export function memoryFetch(cloud: MemoryCloud): typeof globalThis.fetch {
  return async (input, init = {}) => {
    const url = new URL(String(input));
    const { status, body, headers, lost } = answer(
      cloud,
      init.method ?? "GET",
      url.pathname + url.search,
      String(init.body ?? ""),
    );
    if (lost) throw new TypeError("fetch failed", { cause: new Error("socket hang up") });
    return new Response(JSON.stringify(body), { status, ...(headers === undefined ? {} : { headers }) });
  };
}

/** Starts a {@link FakeEndpoint}. With `token` set, requests without that bearer token are refused. */
export async function startFakeEndpoint(cloud: MemoryCloud, options: { token?: string } = {}): Promise<FakeEndpoint> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const send = ({ status, body, headers }: CloudAnswer): void => {
        response.writeHead(status, { "content-type": "application/json; charset=UTF-8", ...headers });
        response.end(JSON.stringify(body));
      };
      const target = request.url ?? "/";
      if (options.token !== undefined && request.headers.authorization !== `Bearer ${options.token}`) {
        const message = "Request had invalid authentication credentials.";
        return send({
          status: 401,
          body: { error: { code: 401, message, errors: [{ reason: "authError", message }] } },
        });
      }
      if (!target.startsWith(prefix)) {
        return send({
          status: 404,
          body: { error: { code: 404, message: "Not Found", errors: [{ reason: "notFound" }] } },
        });
      }
      const result = answer(cloud, request.method ?? "GET", target, Buffer.concat(chunks).toString());
      if (result.lost) request.socket.destroy();
      else send(result);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    close: () =>
      new Promise((resolve, reject) => {
        server.closeAllConnections();
        server.close((error) => (error ? reject(error) : resolve()));
      }),
  };
}
