import { createServer } from "node:http";
import type { createMemoryApi } from "@portolan/client/testing";

/** Serves an API in memory on a UNIX socket, which namespaces of the network do not keep apart. Returns what closes it. */
export async function serveApi(
  { transport }: Pick<ReturnType<typeof createMemoryApi>, "transport">,
  path: string,
): Promise<() => void> {
  const server = createServer(async (request, response) => {
    const abort = new AbortController();
    response.on("close", () => abort.abort());
    const answer = await transport({ method: "GET", path: request.url!, headers: {}, signal: abort.signal });
    response.writeHead(answer.status, { "content-type": "application/json" });
    try {
      if (answer.stream !== undefined) for await (const chunk of answer.stream) response.write(chunk);
    } catch {
      // The client has gone.
    }
    response.end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return () => {
    server.closeAllConnections();
    server.close();
  };
}
