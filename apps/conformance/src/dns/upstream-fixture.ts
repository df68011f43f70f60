import { ResolveError, type Resolver, type Upstream } from "@portolan/dns";
import { decodeMessage, encodeMessage, queryMessage } from "@portolan/dns/message";
import { createAuthoritativeServer, readMasterFile } from "@portolan/dns/testing";

/** An upstream that answers from master files, without sockets. */
export function upstreamFromMasterFiles(address: string, texts: readonly string[]): Upstream {
  const server = createAuthoritativeServer(texts.flatMap((text) => readMasterFile(text)));
  return {
    address,
    async exchange({ query, transport, accepts }) {
      const reply = server.answer(query, transport);
      if (!accepts(reply)) throw new ResolveError("network", "the upstream's reply was refused");
      return reply;
    },
  };
}

/** Asks an upstream directly, past forwarder and cache. */
export function resolverOf(upstream: Upstream): Resolver {
  return {
    async resolve(question, how) {
      const query = encodeMessage(
        queryMessage(1, question, {
          recursionDesired: how.recursionDesired,
          edns: { udpPayloadSize: 1232, version: 0, dnssecOk: how.dnssecOk, reservedFlags: 0, options: [] },
        }),
      );
      const reply = await upstream.exchange({ query, transport: how.transport, timeout: 1000, accepts: () => true });
      return decodeMessage(reply);
    },
  };
}
