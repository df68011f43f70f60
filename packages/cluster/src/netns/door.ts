import { connect, createServer, type Socket } from "node:net";
import type { NetworkPlace } from "./node.ts";

/** An open door. */
export interface Door {
  /** Ends its connections too. */
  close(): Promise<void>;
}

/**
 * Opens a TCP port of a place of the fabric behind which is one port of this machine's loopback, and nothing else of it: bytes pass
 * unchanged, in both directions.
 *
 * @throws the system's error when the port is taken
 */
export async function openDoor(place: NetworkPlace, port: number, loopbackPort: number): Promise<Door> {
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const target = connect({ host: "127.0.0.1", port: loopbackPort, allowHalfOpen: true });
    track(client);
    track(target);
    client.on("close", () => target.destroy());
    target.on("close", () => client.destroySoon());
    client.pipe(target);
    target.pipe(client);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", resolve);
    // Without a host it binds at once, and so in the namespace that the thread is in.
    place.namespace.run(() => void server.listen(port));
  });
  return {
    close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
