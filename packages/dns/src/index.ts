/**
 * Cluster DNS: wire codec (`@portolan/dns/message`), zone semantics (`@portolan/dns/zone`), the client side (`@portolan/dns/resolver`), and here the
 * server with forwarding, cache and a Corefile.
 *
 * ```ts
 * import { startDnsServer } from "@portolan/dns";
 *
 * const server = await startDnsServer({ listen: [{ host: "127.0.0.1", port: 0 }], api, domain: "cluster.local" });
 * await server.ready;
 * console.log(server.addresses); // dig -p PORT @127.0.0.1 kubernetes.default.svc.cluster.local
 * await server.close();
 * ```
 *
 * @packageDocumentation
 */
export * from "./server/index.ts";
