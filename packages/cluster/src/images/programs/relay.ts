/**
 * Connects byte streams into the network namespace that this program runs in: it listens on a socket of the file system, which
 * does not belong to any network namespace.
 *
 *   client: "HOST PORT\n"    answer: "ok\n" and then the bytes of both directions, or "error CODE MESSAGE\n"
 *
 * Usage: relay PATH-OF-SOCKET
 */
import { connect, createServer } from "node:net";

const path = process.argv[2];
if (path === undefined) {
  console.error("usage: relay SOCKET");
  process.exit(2);
}

const server = createServer({ allowHalfOpen: true }, (client) => {
  let head = Buffer.alloc(0);
  client.on("error", () => client.destroy());
  const onData = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(10);
    if (end < 0) {
      if (head.length > 300) client.destroy();
      return;
    }
    client.off("data", onData);
    client.pause();
    const [host = "", port = ""] = head.subarray(0, end).toString("latin1").split(" ");
    const rest = head.subarray(end + 1);
    const target = connect({ host, port: Number(port), allowHalfOpen: true });
    let connected = false;
    target.on("connect", () => {
      connected = true;
      client.write("ok\n");
      if (rest.length > 0) target.write(rest);
      client.pipe(target);
      target.pipe(client);
    });
    target.on("error", (error: NodeJS.ErrnoException) => {
      if (connected) client.destroy();
      else client.end(`error ${error.code ?? "EIO"} ${error.message}\n`);
    });
    client.on("close", () => target.destroy());
    target.on("close", () => {
      if (connected) client.destroySoon();
    });
  };
  client.on("data", onData);
});
server.listen(path, () => console.log("ready"));
// Its keeper holds the other end of standard input; when that is gone, so is the need for this program.
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
