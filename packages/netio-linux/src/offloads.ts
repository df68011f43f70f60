/**
 * Offload settings of a link by the ethtool ioctl (`linux/ethtool.h`).
 *
 * A frame that crosses AF_XDP must be complete: a virtual link that "offloads" checksums leaves them blank, and one that
 * offloads segmentation hands over frames longer than the MTU.
 */
import { addressOf, checked, closeDescriptor, libc } from "./libc.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCETHTOOL = 0x8946;
const COMMANDS = { tx: 0x17, tso: 0x1f, gso: 0x24, gro: 0x2c } as const;

/** Which offloads to turn on or off, by ethtool's names; absent ones stay. */
export interface Offloads {
  /** Transmit checksums. */
  readonly tx?: boolean;
  /** TCP segmentation in the device. */
  readonly tso?: boolean;
  /** Segmentation in software, at the device's door. */
  readonly gso?: boolean;
  /** Receive aggregation. */
  readonly gro?: boolean;
}

/**
 * Changes offloads of a link of the calling thread's network namespace (`ethtool -K`).
 *
 * @throws {@link SystemCallError} for a missing link, or an offload that the driver does not let change
 */
export function setOffloads(link: string, offloads: Offloads): void {
  const fd = checked(libc().socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket", `offloads of ${link}`);
  try {
    for (const name of Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]) {
      const on = offloads[name];
      if (on === undefined) continue;
      const value = Buffer.alloc(8);
      value.writeUInt32LE(COMMANDS[name], 0);
      value.writeUInt32LE(on ? 1 : 0, 4);
      const request = Buffer.alloc(40);
      request.write(link, 0, 15, "latin1");
      request.writeBigUInt64LE(addressOf(value), 16);
      checked(libc().ioctl(fd, SIOCETHTOOL, request), "ioctl(SIOCETHTOOL)", `offload ${name} of ${link}`);
    }
  } finally {
    closeDescriptor(fd);
  }
}
