/**
 * TAP devices: Ethernet frames by read and write. The way for kernels without AF_XDP; each frame costs a system call and
 * two copies.
 */
import { closeSync, openSync } from "node:fs";
import { checked, errno, libc, SystemCallError } from "./libc.ts";

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const O_RDWR_NONBLOCK = 2 | 0o4000;
const EAGAIN = 11;
const EIO = 5;

/** An open TAP device. */
export interface TapDevice {
  /** Poll it for input to wait for frames. */
  readonly fd: number;
  readonly link: string;
  /**
   * Reads one frame that the system sent out through the link.
   *
   * @returns its length, or 0 when there is none now
   */
  read(frame: Uint8Array): number;
  /** Hands one frame to the system. @returns false when it could not take it now, or the link is down */
  write(frame: Uint8Array): boolean;
  /** Removes the device. */
  close(): void;
}

/**
 * Makes a TAP device in the calling thread's network namespace. It is down and without addresses.
 *
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_NET_ADMIN; the errors of opening `/dev/net/tun` as Node gives them
 */
export function createTapDevice(link: string): TapDevice {
  const fd = openSync("/dev/net/tun", O_RDWR_NONBLOCK);
  const request = Buffer.alloc(40);
  request.write(link, 0, 15, "latin1");
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
  try {
    checked(libc().ioctl(fd, TUNSETIFF, request), "ioctl(TUNSETIFF)", `TAP device ${link}`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  const would = (call: string): void => {
    const code = errno();
    if (code !== EAGAIN && code !== EIO) throw new SystemCallError(call, code, `TAP device ${link}`);
  };
  return {
    fd,
    link,
    read(frame): number {
      const n = libc().read(fd, frame, frame.length);
      if (n >= 0) return n;
      would("read");
      return 0;
    },
    write(frame): boolean {
      if (libc().write(fd, frame, frame.length) >= 0) return true;
      would("write");
      return false;
    },
    close(): void {
      closeSync(fd);
    },
  };
}
