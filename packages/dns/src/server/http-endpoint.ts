import { createServer, type Server } from "node:http";

/** What one path answers. */
export interface HttpPage {
  readonly status: number;
  readonly contentType?: string;
  readonly body: string;
}

/** Open HTTP endpoint. */
export interface OpenHttpEndpoint {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Opens a tiny HTTP server for health, readiness and metrics. Rejects with the system's error when it cannot be bound. */
export function openHttpEndpoint(
  host: string,
  port: number,
  pages: Readonly<Record<string, () => HttpPage>>,
): Promise<OpenHttpEndpoint> {
  return new Promise((resolve, reject) => {
    const server: Server = createServer((request, response) => {
      const path = (request.url ?? "/").split("?")[0]!;
      const page = Object.hasOwn(pages, path) ? pages[path]!() : { status: 404, body: "404 page not found\n" };
      response.writeHead(page.status, { "content-type": page.contentType ?? "text/plain; charset=utf-8" });
      response.end(page.body);
    });
    server.once("error", reject);
    server.listen({ port, ...(host === "" ? {} : { host }) }, () => {
      server.off("error", reject);
      server.unref();
      const bound = server.address() as { address: string; port: number };
      resolve({
        host: bound.address,
        port: bound.port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}
