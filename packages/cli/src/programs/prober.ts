/**
 * Runs where a client is (in a pod's or the outsider's network namespace, or beside the gateway) and makes requests on command.
 * Reads one JSON object a line from standard input and answers each with one line:
 *
 *     {"id": 1, "kind": "http", "host": "backend", "port": 80, "count": 6}
 *     {"id": 1, "answers": [{"text": "…"}, {"error": "ECONNREFUSED", "text": "…"}]}
 *
 * With `PORTOLAN_SOCKS=user@host:port` in its environment, connections go through that SOCKS5 server, which resolves names.
 */
import { lookup } from "node:dns/promises";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";

interface Order {
  readonly id: number;
  readonly kind: "http" | "tcp" | "dns";
  readonly host: string;
  readonly port: number;
  readonly count: number;
  /** `Host` header and path of an HTTP request. */
  readonly path?: string;
}

interface Answer {
  readonly text: string;
  readonly error?: string;
}

const timeout = 5_000;
const socks = /^(?:([^@]*)@)?(.+):(\d+)$/.exec(process.env["PORTOLAN_SOCKS"] ?? "");

class ProbeError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

function opened(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(timeout, () => socket.destroy(new ProbeError("ETIMEDOUT", "no answer")));
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
}

/** Exactly `length` bytes, or with 0 whatever comes first; what comes after them stays in the socket. */
function read(socket: Socket, length = 0): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      socket.off("readable", attempt);
      socket.off("error", failed);
      socket.off("close", closed);
      done();
    };
    const attempt = (): void => {
      const chunk = (length === 0 ? socket.read() : socket.read(length)) as Buffer | null;
      if (chunk !== null) settle(() => resolve(chunk));
    };
    const failed = (error: Error): void => settle(() => reject(error));
    const closed = (): void => failed(new ProbeError("ECONNRESET", "closed"));
    socket.on("readable", attempt);
    socket.on("error", failed);
    socket.on("close", closed);
    attempt();
  });
}

const socksErrors: Readonly<Record<number, string>> = {
  1: "EPROXY",
  2: "EACCES",
  3: "ENETUNREACH",
  4: "EHOSTUNREACH",
  5: "ECONNREFUSED",
};

async function dial(host: string, port: number): Promise<Socket> {
  if (socks === null) {
    const socket = connect({ host, port });
    await opened(socket);
    return socket;
  }
  const [, user = "", proxyHost, proxyPort] = socks;
  const socket = connect({ host: proxyHost!, port: Number(proxyPort) });
  await opened(socket);
  const name = Buffer.from(user);
  socket.write(user === "" ? Buffer.from([5, 1, 0]) : Buffer.from([5, 1, 2]));
  await read(socket, 2);
  if (user !== "") {
    socket.write(Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([0])]));
    await read(socket, 2);
  }
  const target = Buffer.from(host);
  const head = Buffer.from([5, 1, 0, 3, target.length]);
  socket.write(Buffer.concat([head, target, Buffer.from([port >> 8, port & 255])]));
  const reply = await read(socket, 10);
  if (reply[1] !== 0) {
    socket.destroy();
    throw new ProbeError(socksErrors[reply[1]!] ?? "EPROXY", `refused by the gateway (code ${reply[1]})`);
  }
  return socket;
}

async function once(order: Order): Promise<Answer> {
  if (order.kind === "dns") {
    const found = await lookup(order.host, { all: true });
    return { text: found.map((entry) => entry.address).join(" ") };
  }
  const socket = await dial(order.host, order.port);
  try {
    const collected: Buffer[] = [];
    if (order.kind === "http") {
      socket.write(
        `GET ${order.path ?? "/"} HTTP/1.1\r\nHost: ${order.host}\r\nConnection: close\r\nAccept: application/json\r\n\r\n`,
      );
      for await (const chunk of socket) collected.push(chunk as Buffer);
      const text = Buffer.concat(collected).toString("utf8");
      const at = text.indexOf("\r\n\r\n");
      return { text: at < 0 ? text : text.slice(at + 4) };
    }
    collected.push(await read(socket));
    return { text: Buffer.concat(collected).toString("utf8") };
  } finally {
    socket.destroy();
  }
}

async function carryOut(order: Order): Promise<void> {
  const answers: Answer[] = [];
  for (let i = 0; i < order.count; i++) {
    try {
      answers.push(await once(order));
    } catch (error) {
      answers.push({ error: (error as NodeJS.ErrnoException).code ?? "EFAIL", text: (error as Error).message });
    }
  }
  process.stdout.write(`${JSON.stringify({ id: order.id, answers })}\n`);
}

createInterface({ input: process.stdin }).on("line", (line) => {
  void carryOut(JSON.parse(line) as Order);
});
