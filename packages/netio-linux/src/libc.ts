/**
 * The C library, bound by FFI: the one place where this project calls native code.
 *
 * Everything here is synchronous and acts on the calling thread, which matters for `setns` and `unshare`: in Linux the
 * network namespace belongs to the thread, not to the process.
 */
import { getSystemErrorName } from "node:util";
import koffi, { type LibraryHandle } from "koffi";

/**
 * A system call failed. `code` is `ERR_` and the errno name (`ERR_EPERM`, `ERR_ENODEV`, …), or `ERR_NO_LIBC` when the C
 * library itself could not be loaded.
 */
export class SystemCallError extends Error {
  readonly code: string;
  /** The positive errno; 0 when no call was made. */
  readonly errno: number;
  /** What was called, for example `bind` or `RTM_NEWLINK`. */
  readonly call: string;

  constructor(call: string, errno: number, context: string) {
    const name = errno === 0 ? "NO_LIBC" : getSystemErrorName(-errno);
    super(`${context}: ${call} failed with ${name}${advice(errno)}`);
    this.name = "SystemCallError";
    this.code = `ERR_${name}`;
    this.errno = errno;
    this.call = call;
  }
}

const EPERM = 1;
const EACCES = 13;
const EMFILE = 24;

function advice(errno: number): string {
  if (errno === EPERM || errno === EACCES) return "; run as root (CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF)";
  if (errno === EMFILE) return "; raise the limit of open files (ulimit -n)";
  return "";
}

/** A place in memory for a C function: bytes whose backing store the engine never moves, or null. */
export type Memory = Uint8Array | null;

/** The functions used, with C's own signatures; negative results mean an errno. */
export interface LibC {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Memory, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: Memory, length: Memory): number;
  bind(fd: number, address: Memory, length: number): number;
  send(fd: number, data: Memory, length: number, flags: number): number;
  recv(fd: number, data: Memory, length: number, flags: number): number;
  recvmmsg(fd: number, messages: number, count: number, flags: number, timeout: number): number;
  sendmmsg(fd: number, messages: number, count: number, flags: number): number;
  sendto(fd: number, data: Memory, length: number, flags: number, address: Memory, addressLength: number): number;
  read(fd: number, data: Memory, length: number): number;
  write(fd: number, data: Memory, length: number): number;
  close(fd: number): number;
  ioctl(fd: number, request: number, argument: Memory): number;
  poll(fds: Memory, count: number, timeoutMilliseconds: number): number;
  eventfd(initial: number, flags: number): number;
  usleep(microseconds: number): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  unshare(flags: number): number;
  setns(fd: number, type: number): number;
  mmap(address: number, length: number, protection: number, flags: number, fd: number, offset: number): number;
  memfd_create(name: string, flags: number): number;
  memmove(target: Memory, source: Memory, length: number): number;
  if_nametoindex(name: string): number;
  /** A call that the library has no function for, with arguments of these kinds. */
  syscall(number: number, first: number, attributes: Memory, last: number): number;
}

let loaded: LibC | undefined;

/**
 * Loads the C library once a thread.
 *
 * @throws {@link SystemCallError} `ERR_NO_LIBC` on systems other than Linux or without a known C library
 */
export function libc(): LibC {
  if (loaded !== undefined) return loaded;
  if (process.platform !== "linux") throw new SystemCallError("dlopen", 0, `netio-linux on ${process.platform}`);
  const names = ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];
  let library: LibraryHandle | undefined;
  for (const name of names) {
    try {
      library = koffi.load(name);
      break;
    } catch {
      // The next name is that of another C library.
    }
  }
  if (library === undefined) throw new SystemCallError("dlopen", 0, names.join(", "));
  const bindings: Record<keyof LibC, unknown> = {
    socket: library.func("int socket(int, int, int)"),
    setsockopt: library.func("int setsockopt(int, int, int, void *, uint32_t)"),
    getsockopt: library.func("int getsockopt(int, int, int, void *, void *)"),
    bind: library.func("int bind(int, void *, uint32_t)"),
    send: library.func("long send(int, void *, size_t, int)"),
    recv: library.func("long recv(int, void *, size_t, int)"),
    recvmmsg: library.func("int recvmmsg(int, uintptr_t, unsigned int, int, uintptr_t)"),
    sendmmsg: library.func("int sendmmsg(int, uintptr_t, unsigned int, int)"),
    sendto: library.func("long sendto(int, void *, size_t, int, void *, uint32_t)"),
    read: library.func("long read(int, void *, size_t)"),
    write: library.func("long write(int, void *, size_t)"),
    close: library.func("int close(int)"),
    ioctl: library.func("int ioctl(int, unsigned long, void *)"),
    poll: library.func("int poll(void *, unsigned long, int)"),
    eventfd: library.func("int eventfd(unsigned int, int)"),
    usleep: library.func("int usleep(unsigned int)"),
    prctl: library.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)"),
    unshare: library.func("int unshare(int)"),
    setns: library.func("int setns(int, int)"),
    mmap: library.func("intptr_t mmap(uintptr_t, size_t, int, int, int, int64_t)"),
    memfd_create: library.func("int memfd_create(str, unsigned int)"),
    memmove: library.func("uintptr_t memmove(void *, void *, size_t)"),
    if_nametoindex: library.func("unsigned int if_nametoindex(str)"),
    syscall: library.func("syscall", "long", ["long", "int", "void *", "uint32_t"]),
  };
  loaded = bindings as unknown as LibC;
  return loaded;
}

/** The errno of the last failed call of this thread. */
export function errno(): number {
  return koffi.errno();
}

/**
 * Passes a result through, or throws.
 *
 * @throws {@link SystemCallError} when `result` is negative
 */
export function checked(result: number, call: string, context: string): number {
  if (result < 0) throw new SystemCallError(call, errno(), context);
  return result;
}

/** The virtual address of bytes; they must stay referenced for as long as the address is used. */
export function addressOf(bytes: Uint8Array): bigint {
  return BigInt(libc().memmove(bytes, bytes, 0));
}

/** Closes a descriptor; a second close is harmless only while the number was not given away again, so callers forget it. */
export function closeDescriptor(fd: number): void {
  libc().close(fd);
}

/** Resolves when a descriptor has input, or when one of the signals is aborted. The event loop watches it meanwhile. */
export function descriptorReadable(fd: number, signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      handle.close();
      for (const signal of signals) signal.removeEventListener("abort", end);
      resolve();
    };
    const handle = koffi.node.poll(fd, { readable: true }, end);
    for (const signal of signals) signal.addEventListener("abort", end, { once: true });
  });
}
