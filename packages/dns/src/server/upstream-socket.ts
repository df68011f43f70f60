import { createSocket } from "node:dgram";
import { isIP, connect as tcpConnect } from "node:net";
import { createFrameDecoder, frameMessage } from "../message/framing.ts";
import type { Upstream, UpstreamRequest } from "./forwarder.ts";
import { ResolveError } from "./resolver.ts";

/** Options of {@link createSocketUpstream}. */
export interface SocketUpstreamOptions {
  readonly host: string;
  readonly port: number;
  /** Address that queries are sent from. */
  readonly sourceAddress?: string;
}

/**
 * An upstream over UDP and TCP. Every query over UDP has a socket of its own, bound to a port that the kernel picks at random and connected,
 * so that a forger must guess port and ID of each single query, and datagrams of others never reach us (RFC 5452).
 */
export function createSocketUpstream(options: SocketUpstreamOptions): Upstream {
  const { host, port } = options;
  const family = isIP(host) === 6 ? "udp6" : "udp4";
  const address = family === "udp6" ? `[${host}]:${port}` : `${host}:${port}`;

  function overUdp(request: UpstreamRequest): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const socket = createSocket(family);
      let done = false;
      const finish = (error: ResolveError | undefined, reply?: Uint8Array): void => {
        if (done) return;
        done = true;
        clearTimeout(timer);
        request.signal?.removeEventListener("abort", aborted);
        socket.close();
        if (error === undefined) resolve(reply!);
        else reject(error);
      };
      const aborted = (): void => finish(new ResolveError("aborted", "the question was withdrawn"));
      const timer = setTimeout(
        () => finish(new ResolveError("timeout", `${address} did not answer within ${request.timeout} ms`)),
        request.timeout,
      );
      request.signal?.addEventListener("abort", aborted);
      socket.on("error", (error) => finish(new ResolveError("network", `${address}: ${error.message}`, error)));
      socket.on("message", (reply) => {
        if (request.accepts(reply)) finish(undefined, reply);
      });
      const send = (): void => {
        socket.connect(port, host, () => {
          if (done) return;
          socket.send(request.query, (error) => {
            if (error !== null && error !== undefined)
              finish(new ResolveError("network", `${address}: ${error.message}`, error));
          });
        });
      };
      if (options.sourceAddress === undefined) send();
      else socket.bind(0, options.sourceAddress, send);
    });
  }

  function overTcp(request: UpstreamRequest): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const decoder = createFrameDecoder();
      const socket = tcpConnect({
        host,
        port,
        ...(options.sourceAddress === undefined ? {} : { localAddress: options.sourceAddress }),
      });
      let done = false;
      const finish = (error: ResolveError | undefined, reply?: Uint8Array): void => {
        if (done) return;
        done = true;
        clearTimeout(timer);
        request.signal?.removeEventListener("abort", aborted);
        socket.destroy();
        if (error === undefined) resolve(reply!);
        else reject(error);
      };
      const aborted = (): void => finish(new ResolveError("aborted", "the question was withdrawn"));
      const timer = setTimeout(
        () => finish(new ResolveError("timeout", `${address} did not answer within ${request.timeout} ms`)),
        request.timeout,
      );
      request.signal?.addEventListener("abort", aborted);
      socket.on("connect", () => socket.write(frameMessage(request.query)));
      socket.on("error", (error) => finish(new ResolveError("network", `${address}: ${error.message}`, error)));
      socket.on("close", () =>
        finish(new ResolveError("network", `${address} closed the connection without an answer`)),
      );
      socket.on("data", (chunk) => {
        try {
          for (const reply of decoder.push(chunk)) if (request.accepts(reply)) return finish(undefined, reply);
        } catch (error) {
          finish(new ResolveError("network", `${address} sent no DNS message`, error));
        }
      });
    });
  }

  return {
    address,
    exchange: (request) => (request.transport === "tcp" ? overTcp(request) : overUdp(request)),
  };
}
