/** Entry of the API server's process: starts a server by what its parent tells it, and ends when the parent does. */

import { type ApiServer, createApiServer } from "@portolan/apiserver";
import type { ApiServerProgramOptions, ApiServerProgramReport } from "./api-server-process.ts";
import { createPodStreamClient } from "./pod-stream-client.ts";

let server: ApiServer | undefined;

const report = (message: ApiServerProgramReport): void => void process.send?.(message);

async function start(options: ApiServerProgramOptions): Promise<void> {
  const { dataDirectory, serviceCIDRs, advertise } = options;
  const podStreams = createPodStreamClient(options.podStreams);
  server = await createApiServer({ dataDirectory, serviceCIDRs, advertise, podStreams });
  const listening = await server.listen({ host: "127.0.0.1", port: options.port, directory: options.directory });
  await server.listenUnix(options.socket);
  report({ listening });
}

process.once("message", (options: ApiServerProgramOptions) => {
  start(options).catch((error: NodeJS.ErrnoException) => {
    const { code } = error.cause instanceof Error ? (error.cause as NodeJS.ErrnoException) : error;
    report({ error: { message: error.message, ...(code === undefined ? {} : { code }) } });
    process.disconnect();
  });
});
// What is asked of it and not answered yet is not lost: clients ask again, and what was answered is on the disk.
const end = (): void => {
  void (server?.close() ?? Promise.resolve()).finally(() => process.exit());
};
process.once("disconnect", end);
process.once("SIGTERM", end);
