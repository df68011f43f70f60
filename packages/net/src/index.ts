/**
 * Addresses, prefixes, ports, protocols, the Internet checksum, packet views and pcap; no I/O.
 *
 * @packageDocumentation
 */
export * from "./address.ts";
