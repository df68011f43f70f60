/** poll(2) over a changing set of descriptors, for threads that own their devices and sleep until a frame comes. */
import { errno, libc, SystemCallError } from "./libc.ts";

const POLLIN = 1;
/** A link that went down: reading says so, and ends it. */
const POLLERR = 8;
const EINTR = 4;

/** Descriptors to sleep on. */
export interface Poller {
  add(fd: number): void;
  remove(fd: number): void;
  /**
   * Blocks the calling thread until a descriptor has input, or the time is over.
   *
   * @param timeoutMilliseconds 0 returns at once; negative waits forever
   * @returns how many descriptors are ready
   */
  wait(timeoutMilliseconds: number): number;
  /** Whether the last {@link wait} found input there, or an error to be read. */
  isReady(fd: number): boolean;
}

/** Makes an empty poller. */
export function createPoller(): Poller {
  let fds: number[] = [];
  let set = Buffer.alloc(0);
  const rebuild = (next: number[]): void => {
    fds = next;
    set = Buffer.alloc(8 * fds.length);
    fds.forEach((fd, i) => {
      set.writeInt32LE(fd, 8 * i);
      set.writeInt16LE(POLLIN, 8 * i + 4);
    });
  };
  return {
    add(fd): void {
      rebuild([...fds, fd]);
    },
    remove(fd): void {
      rebuild(fds.filter((other) => other !== fd));
    },
    wait(timeoutMilliseconds): number {
      const n = libc().poll(set, fds.length, timeoutMilliseconds);
      if (n >= 0) return n;
      if (errno() === EINTR) return 0;
      throw new SystemCallError("poll", errno(), "poller");
    },
    isReady(fd): boolean {
      const index = fds.indexOf(fd);
      return index >= 0 && (set.readInt16LE(8 * index + 6) & (POLLIN | POLLERR)) !== 0;
    },
  };
}
