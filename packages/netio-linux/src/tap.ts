/**
 * TAP devices: Ethernet frames by read and write. The way for kernels without AF_XDP; each frame costs a system call and
 * two copies.
 */
import { closeSync, openSync } from "node:fs";
import { type Device, ETHERNET_HEADER_LENGTH } from "@portolan/netio";
import { checked, descriptorReadable, errno, libc, SystemCallError } from "./libc.ts";

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const O_RDWR_NONBLOCK = 2 | 0o4000;
const EAGAIN = 11;
const EIO = 5;
const ENOBUFS = 105;
/** Frames that are kept when a device is closed before they were received. */
const KEPT_AT_CLOSE = 1024;

/** What a TAP device is made from. */
export interface TapDeviceOptions {
  /** Name of the link, at most 15 characters. */
  readonly link: string;
  /** Octets of the largest IP packet; the link itself is set by whoever sets its other properties. Default 1500. */
  readonly mtu?: number;
}

/** An open TAP device: what is transmitted here comes in on the link, and what the system sends out of the link is received. */
export interface TapDevice extends Device {
  /** Poll it for input to wait for frames. */
  readonly fd: number;
}

/**
 * Makes a TAP device in the calling thread's network namespace. Its link is down and without addresses, and goes with it.
 *
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_NET_ADMIN, `ERR_EBUSY` when the name is taken; the errors of opening
 * `/dev/net/tun` as Node gives them
 */
export function createTapDevice(options: TapDeviceOptions): TapDevice {
  const { link, mtu = 1500 } = options;
  const maximumFrame = mtu + ETHERNET_HEADER_LENGTH;
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
  const buffer = new Uint8Array(65_536);
  let left: Uint8Array[] | undefined;
  const waiting = new AbortController();

  // A link that is down gives EIO, which is no fault of the device: it has no frames, and takes none.
  const refuse = (call: string): void => {
    const code = errno();
    if (code !== EAGAIN && code !== EIO && code !== ENOBUFS)
      throw new SystemCallError(call, code, `TAP device ${link}`);
  };
  const read = (): Uint8Array | undefined => {
    const n = libc().read(fd, buffer, buffer.length);
    if (n >= 0) return buffer.slice(0, n);
    refuse("read");
    return undefined;
  };
  // Asked again after waiting: the device may have been closed meanwhile.
  const isOpen = (): boolean => left === undefined;
  return {
    name: link,
    fd,
    maximumFrame,
    receive: () => (left === undefined ? read() : left.shift()),
    transmit(frame): boolean {
      if (left !== undefined || frame.length < ETHERNET_HEADER_LENGTH || frame.length > maximumFrame) return false;
      if (libc().write(fd, frame, frame.length) >= 0) return true;
      refuse("write");
      return false;
    },
    async readable(signal): Promise<boolean> {
      signal?.throwIfAborted();
      if (left !== undefined) return left.length > 0;
      const ends = signal === undefined ? [waiting.signal] : [waiting.signal, signal];
      await descriptorReadable(fd, ends);
      signal?.throwIfAborted();
      return isOpen() || (left ?? []).length > 0;
    },
    close(): void {
      if (left !== undefined) return;
      const arrived: Uint8Array[] = [];
      while (arrived.length < KEPT_AT_CLOSE) {
        const frame = read();
        if (frame === undefined) break;
        arrived.push(frame);
      }
      left = arrived;
      waiting.abort();
      closeSync(fd);
    },
  };
}
