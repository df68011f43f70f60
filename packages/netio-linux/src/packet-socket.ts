/**
 * Packet sockets (`packet(7)`) that receive into and send from a WebAssembly memory, many frames a system call. For machines without
 * AF_XDP: the kernel copies each frame once in and once out, and needs no program and no registered memory.
 *
 * What is received is a copy: the stack of the link's namespace sees each frame as well, unless {@link withholdFrames} keeps it away.
 *
 * The caller writes the `struct mmsghdr`s, 64 octets each, into its memory; `assembly/packets.ts` of the dataplane draws them.
 */
import { ownDescriptor } from "./descriptor-ledger.ts";
import { addressOf, checked, errno, libc, SystemCallError } from "./libc.ts";
import type { Rtnetlink } from "./rtnetlink.ts";
import type { LinearMemory } from "./xdp-socket.ts";

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 3;
const MSG_DONTWAIT = 0x40;
const [EINTR, EAGAIN, ENXIO, ENODEV, ENETDOWN] = [4, 11, 6, 19, 100];
/** Octets of the header before each frame of a socket with `segments`. */
export const SEGMENT_HEADER_LENGTH = 10;
/** Octets that may wait in the kernel for a reader that is preempted, as the kernel counts them: thousands of frames. */
const RECEIVE_BUFFER = 16 * 1024 * 1024;

/** What a packet socket is made from. */
export interface PacketSocketOptions {
  /** A link of the calling thread's network namespace. */
  readonly link: string;
  /** Where messages and frames lie; it must never move. */
  readonly memory: LinearMemory;
  /**
   * Frames come and go with a `struct virtio_net_hdr` of {@link SEGMENT_HEADER_LENGTH} octets before them, and may be of many segments
   * and without a checksum: whoever reads them must understand that header.
   */
  readonly segments?: boolean;
}

/** Counters of a packet socket since it was opened. */
export interface PacketStatistics {
  /** Frames that found the socket's buffer full. */
  readonly receiveDropped: number;
  /** Frames that could not be described by the header of segments; always 0 without. */
  readonly receiveRefused: number;
  /** Frames that the kernel did not take: the link was down, or memory short. */
  readonly transmitRefused: number;
}

/** An open packet socket: all frames that come in on its link. */
export interface PacketSocket {
  /** Poll it for input to wait for frames. */
  readonly fd: number;
  readonly link: string;
  /**
   * Receives what is there, without waiting.
   *
   * @param messages byte offset of the first message
   * @param count most messages
   * @returns how many were received; fewer than `count`: there are no more for now
   */
  receive(messages: number, count: number): number;
  /** Sends messages; what the kernel does not take is lost and counted. */
  transmit(messages: number, count: number): void;
  /** Sends one frame of the host's own. @returns whether the kernel took it */
  send(frame: Uint8Array): boolean;
  statistics(): PacketStatistics;
  close(): void;
}

/**
 * Opens a packet socket on a link.
 *
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_NET_RAW, `ERR_ENODEV`, `ERR_EAFNOSUPPORT` (kernel without packet sockets),
 *   `ERR_ENOPROTOOPT` or `ERR_EINVAL` for `segments` on a kernel without them
 */
export function createPacketSocket(options: PacketSocketOptions): PacketSocket {
  const { link, memory, segments = false } = options;
  const c = libc();
  const context = `packet socket on ${link}`;
  const base = Number(nativeAddress(memory));
  // Protocol 0: nothing is received before it is bound.
  const socket = ownDescriptor(() => c.socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0), "socket(AF_PACKET)", context);
  const { fd } = socket;
  const number = Buffer.alloc(4);
  const set = (level: number, name: number, value: number): number => {
    number.writeInt32LE(value);
    return c.setsockopt(fd, level, name, number, 4);
  };
  try {
    // Kernels before 4.20 do not know it; a socket does not receive what it sent itself anyway.
    set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    // What is refused stays as it was.
    set(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
    if (segments) checked(set(SOL_PACKET, PACKET_VNET_HDR, 1), "setsockopt(PACKET_VNET_HDR)", context);
    const linkIndex = c.if_nametoindex(link);
    if (linkIndex === 0) throw new SystemCallError("if_nametoindex", errno(), context);
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(linkIndex, 4);
    checked(c.bind(fd, address, address.length), "bind", context);
  } catch (error) {
    socket.close();
    throw error;
  }
  let receiveDropped = 0;
  let receiveRefused = 0;
  let transmitRefused = 0;
  return {
    fd,
    link,
    receive(messages, count): number {
      const received = c.recvmmsg(fd, base + messages, count, MSG_DONTWAIT, 0);
      if (received >= 0) return received;
      const code = errno();
      // A link that went down or away says so once, and is then as one on which nothing comes.
      if (code !== EAGAIN && code !== EINTR && code !== ENETDOWN && code !== ENXIO && code !== ENODEV) receiveRefused++;
      return 0;
    },
    transmit(messages, count): void {
      for (let sent = 0; sent < count; ) {
        const n = c.sendmmsg(fd, base + messages + 64 * sent, count - sent, MSG_DONTWAIT);
        if (n > 0) {
          sent += n;
          continue;
        }
        const code = errno();
        if (code === EINTR) continue;
        const rest = code === ENETDOWN || code === ENXIO || code === ENODEV ? count - sent : 1;
        transmitRefused += rest;
        sent += rest;
      }
    },
    send(frame): boolean {
      const header = segments ? SEGMENT_HEADER_LENGTH : 0;
      const message = new Uint8Array(header + frame.length);
      message.set(frame, header);
      return c.send(fd, message, message.length, MSG_DONTWAIT) >= 0;
    },
    statistics(): PacketStatistics {
      const value = Buffer.alloc(8);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(8);
      // Reading sets the kernel's counters to zero.
      checked(c.getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, value, length), "getsockopt(PACKET_STATISTICS)", context);
      receiveDropped += value.readUInt32LE(4);
      return { receiveDropped, receiveRefused, transmitRefused };
    },
    close: () => socket.close(),
  };
}

/** The address at which the process has a memory's first byte: what the kernel is told in messages. */
export function nativeAddress(memory: LinearMemory): bigint {
  return addressOf(new Uint8Array(memory.buffer));
}

const SINK = "sink";

/**
 * Keeps a link's frames away from its namespace's own stack, for links whose frames a packet socket takes: neither delivered nor
 * routed nor answered there. The link becomes a port of a bridge that is never up, and such a port takes frames and forwards none. Links
 * of a namespace share the bridge, `sink`, made with the first of them.
 */
export function withholdFrames(links: Rtnetlink, link: string): void {
  if (!links.listLinks().some(({ name }) => name === SINK)) links.addBridge(SINK);
  links.setLink(link, { master: SINK });
}
