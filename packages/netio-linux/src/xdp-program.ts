/**
 * The XDP program that hands every frame of a link to one AF_XDP socket, assembled here and loaded by bpf(2).
 *
 * ```text
 * r2 = ctx->rx_queue_index
 * r1 = map                     two instruction slots
 * r3 = XDP_DROP                a frame that no socket takes never reaches the node's own stack
 * call bpf_redirect_map
 * exit
 * ```
 *
 * The link is attached through a descriptor (BPF_LINK_CREATE), so that it comes off when the process ends.
 */
import { type OwnedDescriptor, ownDescriptor } from "./descriptor-ledger.ts";
import { addressOf, checked, libc } from "./libc.ts";

const BPF_SYSCALL: Readonly<Record<string, number>> = { x64: 321, arm64: 280, riscv64: 280, loong64: 280 };
const BPF_MAP_CREATE = 0;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_PROG_LOAD = 5;
const BPF_LINK_CREATE = 28;
const BPF_MAP_TYPE_XSKMAP = 17;
const BPF_PROG_TYPE_XDP = 6;
const BPF_XDP = 37;
const XDP_FLAGS_SKB_MODE = 2;
const XDP_FLAGS_DRV_MODE = 4;
const XDP_DROP = 1;
const HELPER_REDIRECT_MAP = 51;

function bpf(command: number, attributes: Buffer): number {
  const number = BPF_SYSCALL[process.arch];
  if (number === undefined) throw new RangeError(`bpf(2) has no known number on ${process.arch}`);
  return libc().syscall(number, command, attributes, attributes.length);
}

function assemble(mapFd: number): Buffer {
  const code = Buffer.alloc(48);
  const put = (slot: number, opcode: number, registers: number, offset: number, immediate: number): void => {
    code[slot * 8] = opcode;
    code[slot * 8 + 1] = registers;
    code.writeInt16LE(offset, slot * 8 + 2);
    code.writeInt32LE(immediate, slot * 8 + 4);
  };
  const [LDX_W, LD_IMM64, MOV64_K, CALL, EXIT, PSEUDO_MAP_FD] = [0x61, 0x18, 0xb7, 0x85, 0x95, 1];
  put(0, LDX_W, 0x12, 16, 0);
  put(1, LD_IMM64, (PSEUDO_MAP_FD << 4) | 1, 0, mapFd);
  put(3, MOV64_K, 3, 0, XDP_DROP);
  put(4, CALL, 0, 0, HELPER_REDIRECT_MAP);
  put(5, EXIT, 0, 0, 0);
  return code;
}

/**
 * Attaches the program to a link so that its frames go to a socket, in the driver's mode or, where the driver has none,
 * in the generic one.
 *
 * @returns descriptors that keep it attached; closing them detaches
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_BPF and CAP_NET_ADMIN, `ERR_EBUSY` when the link has a program
 */
export function attachRedirect(
  linkIndex: number,
  socketFd: number,
  context: string,
): { mode: "driver" | "generic"; close(): void } {
  const owned: OwnedDescriptor[] = [];
  const close = (): void => {
    while (owned.length > 0) owned.pop()!.close();
  };
  const open = (command: number, attributes: Buffer, call: string): number => {
    const descriptor = ownDescriptor(() => bpf(command, attributes), call, context);
    owned.push(descriptor);
    return descriptor.fd;
  };
  try {
    const map = Buffer.alloc(72);
    [BPF_MAP_TYPE_XSKMAP, 4, 4, 1].forEach((value, i) => {
      map.writeUInt32LE(value, i * 4);
    });
    const mapFd = open(BPF_MAP_CREATE, map, "BPF_MAP_CREATE");
    const key = Buffer.alloc(4);
    const value = Buffer.alloc(4);
    value.writeInt32LE(socketFd);
    const update = Buffer.alloc(32);
    update.writeInt32LE(mapFd, 0);
    update.writeBigUInt64LE(addressOf(key), 8);
    update.writeBigUInt64LE(addressOf(value), 16);
    checked(bpf(BPF_MAP_UPDATE_ELEM, update), "BPF_MAP_UPDATE_ELEM", context);

    const code = assemble(mapFd);
    const license = Buffer.from("GPL\0");
    const load = Buffer.alloc(120);
    load.writeUInt32LE(BPF_PROG_TYPE_XDP, 0);
    load.writeUInt32LE(code.length / 8, 4);
    load.writeBigUInt64LE(addressOf(code), 8);
    load.writeBigUInt64LE(addressOf(license), 16);
    const programFd = open(BPF_PROG_LOAD, load, "BPF_PROG_LOAD");

    const attach = (flags: number): void => {
      const link = Buffer.alloc(64);
      link.writeInt32LE(programFd, 0);
      link.writeUInt32LE(linkIndex, 4);
      link.writeUInt32LE(BPF_XDP, 8);
      link.writeUInt32LE(flags, 12);
      open(BPF_LINK_CREATE, link, "BPF_LINK_CREATE");
    };
    let mode: "driver" | "generic" = "driver";
    try {
      attach(XDP_FLAGS_DRV_MODE);
    } catch {
      mode = "generic";
      attach(XDP_FLAGS_SKB_MODE);
    }
    return { mode, close };
  } catch (error) {
    close();
    throw error;
  }
}
