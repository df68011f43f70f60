/**
 * Frame devices: memory pair, pcap file, fault injector, and the Device contract.
 *
 * @packageDocumentation
 */
export {};
