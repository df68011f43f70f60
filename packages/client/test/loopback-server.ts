import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Transport } from "../src/index.ts";

/** A transport behind a port of the loopback interface; a connection that breaks behind it breaks in front of it. */
export async function serveTransport(transport: Transport): Promise<{
  readonly url: string;
  readonly headers: Record<string, unknown>[];
  reset(): void;
  close(): Promise<void>;
}> {
  const headers: Record<string, unknown>[] = [];
  async function pass(response: ServerResponse, work: Promise<Awaited<ReturnType<Transport>>>): Promise<void> {
    const answer = await work;
    response.writeHead(answer.status, answer.headers as Record<string, string>);
    response.flushHeaders();
    for await (const chunk of answer.stream ?? [answer.body ?? ""]) response.write(chunk);
    response.end();
  }
  const server = createServer(async (request, response) => {
    headers.push(request.headers);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const abort = new AbortController();
    response.once("close", () => abort.abort());
    const work = transport({
      method: request.method as "GET",
      path: request.url!,
      headers: {},
      ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks).toString() }),
      signal: abort.signal,
    });
    await pass(response, work).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    headers,
    reset: () => server.closeAllConnections(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
