/**
 * AF_XDP, TUN, network namespaces and veth for Node on Linux.
 *
 * @packageDocumentation
 */
export {};
