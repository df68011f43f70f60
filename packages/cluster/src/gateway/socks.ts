import type { Socket } from "node:net";

/** What a SOCKS5 client asks for (RFC 1928). */
export interface SocksRequest {
  readonly command: "CONNECT";
  /** A name, or an address as text. */
  readonly host: string;
  readonly port: number;
  /** User name of RFC 1929, when the client sent one. */
  readonly user?: string;
}

/** Reply codes of RFC 1928 §6. */
export const socksReply = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  ttlExpired: 6,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
} as const;

/** Reads exactly as many bytes as are asked for; bytes that are not consumed stay in the socket. */
function createReader(socket: Socket): (length: number) => Promise<Buffer> {
  return (length) =>
    new Promise((resolve, reject) => {
      const done = (): void => {
        socket.off("readable", attempt);
        socket.off("end", ended);
        socket.off("error", failed);
        socket.off("close", ended);
      };
      const attempt = (): void => {
        const chunk = socket.read(length) as Buffer | null;
        if (chunk === null) return;
        done();
        if (chunk.length < length) reject(new Error("the client closed in the middle of a request"));
        else resolve(chunk);
      };
      const ended = (): void => {
        done();
        reject(new Error("the client closed in the middle of a request"));
      };
      const failed = (error: Error): void => {
        done();
        reject(error);
      };
      socket.on("readable", attempt);
      socket.on("end", ended);
      socket.on("close", ended);
      socket.on("error", failed);
      attempt();
    });
}

/** Writes a reply; the bound address is all zeros, which clients ignore. */
export function replySocks(socket: Socket, code: number): void {
  socket.write(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]));
}

/**
 * Reads the greeting, an optional user name, and the request. The socket is left paused, with whatever the client sent after the
 * request still in it.
 *
 * @returns the request, or `undefined` when it was refused (the client has been told)
 * @throws Error when the client closes early or does not speak SOCKS5
 */
export async function readSocksRequest(socket: Socket): Promise<SocksRequest | undefined> {
  const read = createReader(socket);
  const [version, count] = await read(2);
  if (version !== 5) throw new Error(`not SOCKS5: version byte ${version}`);
  const methods = await read(count!);
  let user: string | undefined;
  if (methods.includes(2)) {
    socket.write(Buffer.from([5, 2]));
    const [, userLength] = await read(2);
    user = (await read(userLength!)).toString("utf8");
    const [passwordLength] = await read(1);
    if (passwordLength! > 0) await read(passwordLength!);
    socket.write(Buffer.from([1, 0]));
  } else if (methods.includes(0)) {
    socket.write(Buffer.from([5, 0]));
  } else {
    socket.end(Buffer.from([5, 0xff]));
    return undefined;
  }
  const [, command, , type] = await read(4);
  let host: string;
  if (type === 1) host = [...(await read(4))].join(".");
  else if (type === 3) {
    const [length] = await read(1);
    host = (await read(length!)).toString("utf8");
  } else if (type === 4) {
    const bytes = await read(16);
    host = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(":");
  } else {
    replySocks(socket, socksReply.addressTypeNotSupported);
    socket.end();
    return undefined;
  }
  const port = (await read(2)).readUInt16BE(0);
  if (command !== 1) {
    replySocks(socket, socksReply.commandNotSupported);
    socket.end();
    return undefined;
  }
  return { command: "CONNECT", host, port, ...(user === undefined ? {} : { user }) };
}
