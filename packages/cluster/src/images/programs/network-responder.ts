/**
 * Stands in for server images: answers HTTP with the pod's name, its node and address and the client address it saw, and UDP
 * with the pod's name. `netexec` and `serve-hostname` of agnhost are understood as first argument.
 *
 *   GET /                                 about the pod and the request, as text; JSON by `Accept: application/json`
 *   GET /hostname /clientip /env          as agnhost netexec
 *   GET /echo?msg= /header?key=           what it says
 *   GET /healthz /readyz /livez           200, or what POST /healthz?status=503 has set
 *   GET /delay?ms= /status/503            slow, or with that status
 *   GET /exit?code=                       ends the program
 */
import { createSocket } from "node:dgram";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { hostname } from "node:os";

const env = process.env;
const args = process.argv.slice(2);
const podName = env["PORTOLAN_POD_NAME"] ?? hostname();

function option(name: string): string | undefined {
  const index = args.findIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (index < 0) return undefined;
  return args[index]?.includes("=") === true ? args[index]?.slice(name.length + 3) : args[index + 1];
}

function portList(text: string | undefined): number[] {
  return (text ?? "")
    .split(",")
    .map(Number)
    .filter((port) => port > 0);
}

function tcpPorts(): number[] {
  if (args[0] === "netexec") return portList(option("http-port") ?? "8080");
  if (args[0] === "serve-hostname") return portList(option("port") ?? "9376");
  const own = portList(env["PORT"]);
  return own.length > 0 && env["PORT_IS_MAPPED"] === undefined ? own : portList(env["PORTOLAN_TCP_PORTS"] ?? "80");
}

function udpPorts(): number[] {
  if (args[0] === "netexec") return portList(option("udp-port") ?? "8081");
  return portList(env["PORTOLAN_UDP_PORTS"]);
}

const clientAddress = (address = ""): string => address.replace(/^::ffff:/, "");
let health = 200;

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly json?: boolean;
  readonly delay?: number;
}

function answerTo(request: IncomingMessage): Answer {
  const url = new URL(request.url ?? "/", "http://pod");
  const query = url.searchParams;
  const client = clientAddress(request.socket.remoteAddress);
  const path = url.pathname.toLowerCase();
  const status = /^\/status\/([1-5]\d\d)$/.exec(path)?.[1];
  if (status !== undefined) return { status: Number(status), body: `${status}\n` };
  switch (args[0] === "serve-hostname" ? "/hostname" : path) {
    case "/hostname":
      return { status: 200, body: podName };
    case "/clientip":
      return { status: 200, body: `${client}:${request.socket.remotePort}` };
    case "/healthz":
    case "/readyz":
    case "/livez":
    case "/health":
      if (request.method === "POST") health = Number(query.get("status") ?? 200) || 200;
      return { status: health, body: health < 400 ? "ok" : "not ok" };
    case "/env": {
      const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      return { status: 200, body: `${variables.sort().join("\n")}\n` };
    }
    case "/echo":
      return { status: 200, body: query.get("msg") ?? "" };
    case "/header":
      return { status: 200, body: String(request.headers[(query.get("key") ?? "").toLowerCase()] ?? "") };
    case "/delay":
      return { status: 200, body: "done\n", delay: Number(query.get("ms") ?? 1000) };
    case "/exit":
      setTimeout(() => process.exit(Number(query.get("code") ?? 0)), 20);
      return { status: 200, body: "exiting\n" };
    default:
      return aboutThePod(request, client);
  }
}

function aboutThePod(request: IncomingMessage, client: string): Answer {
  const facts = {
    pod: podName,
    namespace: env["PORTOLAN_POD_NAMESPACE"] ?? "",
    node: env["PORTOLAN_NODE_NAME"] ?? "",
    address: env["PORTOLAN_POD_IP"] ?? clientAddress(request.socket.localAddress),
    client,
    host: request.headers.host ?? "",
    request: `${request.method} ${request.url}`,
  };
  if (/\bapplication\/json\b/.test(request.headers.accept ?? "")) {
    return { status: 200, body: `${JSON.stringify(facts)}\n`, json: true };
  }
  const lines = Object.entries(facts).map(([name, value]) => `${`${name}:`.padEnd(11)}${value}`);
  return { status: 200, body: `${lines.join("\n")}\n` };
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { status, body, json = false, delay = 0 } = answerTo(request);
  const send = (): void => {
    const type = json ? "application/json" : "text/plain; charset=utf-8";
    response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body), "x-pod": podName });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  if (delay > 0) setTimeout(send, delay);
  else send();
}

/** Where a port of the pod really is: itself, or a port of loopback when the pod has no network of its own. */
function listenOptions(port: number): { port: number; host?: string } {
  const mapped = Number(env[`PORT_${port}`] ?? 0);
  return mapped > 0 ? { port: mapped, host: "127.0.0.1" } : { port };
}

const servers = tcpPorts().map((port) => {
  const server = createServer(answer);
  server.keepAliveTimeout = 60_000;
  server.on("error", (error) => {
    console.error(`cannot listen on port ${port}: ${error.message}`);
    process.exit(1);
  });
  server.listen(listenOptions(port), () => console.log(`${podName} listens on TCP port ${port}`));
  return server;
});

for (const port of udpPorts()) {
  const { port: local, host } = listenOptions(port);
  const socket = createSocket(host === undefined ? { type: "udp6" } : { type: "udp4" });
  socket.on("message", (message, remote) => {
    const words = message.toString("utf8").trim();
    const client = `${clientAddress(remote.address)}:${remote.port}`;
    const reply = /^hostname$/i.test(words) ? podName : words === "clientip" ? client : `${podName} ${words}`;
    socket.send(reply.replace(/^\S+ echo /i, ""), remote.port, remote.address);
  });
  socket.on("error", (error) => console.error(`UDP port ${port}: ${error.message}`));
  socket.bind(local, host, () => console.log(`${podName} listens on UDP port ${port}`));
}

function stop(): void {
  // Requests that are being answered may finish; idle connections need not be waited for.
  const delay = Number(env["SHUTDOWN_DELAY_SECONDS"] ?? option("delay-shutdown") ?? 0) * 1000;
  setTimeout(() => {
    let open = servers.length;
    if (open === 0) process.exit(0);
    for (const server of servers) {
      server.close(() => {
        if (--open === 0) process.exit(0);
      });
      server.closeIdleConnections();
    }
  }, delay);
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
if (servers.length === 0 && udpPorts().length === 0) setInterval(() => {}, 1 << 30);
