import { familyOf, parseAddress } from "@portolan/net";

/** A TCP connection as the client sees it. */
export interface ProxiedConnection {
  readonly sourceAddress: string;
  readonly sourcePort: number;
  readonly destinationAddress: string;
  readonly destinationPort: number;
}

const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/**
 * The header that tells a server whose connection it gets.
 *
 * ```
 *  version 2:  0               12      13      14              16
 *             ┌───────────────┬───────┬───────┬───────────────┬──────────────────────────────────────────┐
 *             │ signature     │ 0x21  │ 0x11  │ length        │ source, destination address, both ports  │
 *             └───────────────┴───────┴───────┴───────────────┴──────────────────────────────────────────┘
 *                              PROXY   TCP4 (0x21: TCP6)       big endian, 12 bytes (IPv6: 36)
 * ```
 *
 * Source: the PROXY protocol, versions 1 and 2 (haproxy, doc/proxy-protocol.txt).
 *
 * @throws TypeError if the addresses are not two of one family
 */
export function proxyProtocolHeader(version: "v1" | "v2", connection: ProxiedConnection): Uint8Array {
  const source = parseAddress(connection.sourceAddress);
  const destination = parseAddress(connection.destinationAddress);
  if (source === undefined || destination === undefined || source.family !== destination.family) {
    throw new TypeError(
      `PROXY protocol: ${connection.sourceAddress} and ${connection.destinationAddress} are not addresses of one family`,
    );
  }
  const { sourcePort, destinationPort } = connection;
  if (version === "v1") {
    const family = familyOf(connection.sourceAddress) === "IPv6" ? "TCP6" : "TCP4";
    const text = `PROXY ${family} ${connection.sourceAddress} ${connection.destinationAddress} ${sourcePort} ${destinationPort}\r\n`;
    return new TextEncoder().encode(text);
  }
  const size = source.bytes.length;
  const header = new Uint8Array(16 + 2 * size + 4);
  header.set(signature);
  header[12] = 0x21;
  header[13] = source.family === "IPv6" ? 0x21 : 0x11;
  const view = new DataView(header.buffer);
  view.setUint16(14, 2 * size + 4);
  header.set(source.bytes, 16);
  header.set(destination.bytes, 16 + size);
  view.setUint16(16 + 2 * size, sourcePort);
  view.setUint16(18 + 2 * size, destinationPort);
  return header;
}
