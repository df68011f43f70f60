/**
 * Hardware addresses of the fabric: locally administered, and readable in a capture.
 *
 * ```text
 *  02 : kind : node (two octets) : port (two octets)
 *       00 uplink   01 host port, forwarder's side   02 host port, node's side
 *       03 pod port, forwarder's side   04 pod   05 external host
 * ```
 */
export type HardwareAddressKind = "uplink" | "hostPort" | "host" | "podPort" | "pod" | "external";

const kinds: Readonly<Record<HardwareAddressKind, number>> = {
  uplink: 0,
  hostPort: 1,
  host: 2,
  podPort: 3,
  pod: 4,
  external: 5,
};

/** The address of a port: `02:03:00:01:00:07` is port 7 of node 1 towards its pod. */
export function hardwareAddress(kind: HardwareAddressKind, node: number, port: number = 0): string {
  const octets = [2, kinds[kind], node >> 8, node & 255, port >> 8, port & 255];
  return octets.map((octet) => octet.toString(16).padStart(2, "0")).join(":");
}

/** The six octets of an address written with colons. */
export function hardwareAddressBytes(address: string): Uint8Array {
  return Uint8Array.from(address.split(":"), (octet) => Number.parseInt(octet, 16));
}
