/** A server on a data directory that waits to be killed. Arguments: data directory, folder of the kubeconfig. Prints its URL. */
import { createApiServer } from "../src/index.ts";

const [dataDirectory, directory] = process.argv.slice(2) as [string, string];
const server = await createApiServer({ dataDirectory });
const { url } = await server.listen({ directory });
console.log(url);
