/** An eventfd: wakes a thread that sleeps in `poll`, from any thread of the process. */
import { checked, closeDescriptor, libc } from "./libc.ts";

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const one = new Uint8Array(new BigUint64Array([1n]).buffer);

/** An open eventfd. The number may be handed to another thread, which wraps it with {@link eventCounterAt}. */
export interface EventCounter {
  /** The descriptor to poll for input. */
  readonly fd: number;
  /** Makes the descriptor readable; safe from any thread, one system call. */
  wake(): void;
  /** Makes it unreadable again. */
  clear(): void;
  close(): void;
}

/**
 * Opens an eventfd.
 *
 * @throws {@link SystemCallError} when no descriptor is left
 */
export function createEventCounter(): EventCounter {
  return eventCounterAt(checked(libc().eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd", "event counter"));
}

/** Wraps an eventfd that another thread opened; whoever opened it closes it. */
export function eventCounterAt(fd: number): EventCounter {
  const buffer = new Uint8Array(8);
  return {
    fd,
    wake(): void {
      libc().write(fd, one, 8);
    },
    clear(): void {
      libc().read(fd, buffer, 8);
    },
    close(): void {
      closeDescriptor(fd);
    },
  };
}
