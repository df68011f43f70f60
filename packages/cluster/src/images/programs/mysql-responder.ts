/**
 * Stands in for a database image: accepts connections of MySQL's protocol and answers each with an error packet that says what
 * it is and where it runs, so that a client (or `nc`) shows it.
 *
 *     0        3     4      5           7
 *   | length | seq | 0xff | code (LE) | message …     the packet that a server sends instead of its greeting
 */
import { createServer } from "node:net";
import { hostname } from "node:os";

const env = process.env;
const podName = env["PORTOLAN_POD_NAME"] ?? hostname();
const ER_UNKNOWN_ERROR = 1105;

const ports = (env["PORTOLAN_TCP_PORTS"] ?? "3306")
  .split(",")
  .map(Number)
  .filter((port) => port > 0);

for (const port of ports) {
  const server = createServer((socket) => {
    const client = `${(socket.remoteAddress ?? "").replace(/^::ffff:/, "")}:${socket.remotePort}`;
    const message =
      `Portolan's stand-in for a database: no data here. ` +
      `pod=${podName} node=${env["PORTOLAN_NODE_NAME"] ?? ""} address=${env["PORTOLAN_POD_IP"] ?? ""} client=${client}\n`;
    const body = Buffer.concat([Buffer.from([0xff, 0, 0]), Buffer.from(message)]);
    body.writeUInt16LE(ER_UNKNOWN_ERROR, 1);
    const header = Buffer.alloc(4);
    header.writeUIntLE(body.length, 0, 3);
    socket.on("error", () => socket.destroy());
    socket.end(Buffer.concat([header, body]));
    socket.resume();
  });
  server.on("error", (error) => {
    console.error(`cannot listen on port ${port}: ${error.message}`);
    process.exit(1);
  });
  const mapped = Number(env[`PORT_${port}`] ?? 0);
  const target = mapped > 0 ? { port: mapped, host: "127.0.0.1" } : { port };
  server.listen(target, () => console.log(`${podName}: stand-in for a database, TCP port ${port}`));
}
process.on("SIGTERM", () => process.exit(0));
process.on("SIGINT", () => process.exit(0));
