/**
 * Ends processes when the process that started this one is gone, however it went. Reads lines `+PID` and `-PID`; at the end of
 * input it kills the process groups (or processes) that are left.
 */
import { createInterface } from "node:readline";

const kept = new Set<number>();

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const pid = Number(line.slice(1));
    if (!Number.isInteger(pid) || pid <= 1) return;
    if (line.startsWith("+")) kept.add(pid);
    else kept.delete(pid);
  })
  .on("close", () => {
    for (const pid of kept) {
      for (const target of [-pid, pid]) {
        try {
          process.kill(target, "SIGKILL");
          break;
        } catch {
          // No group of that number, or gone.
        }
      }
    }
  });

// Only the end of input ends it: a Ctrl-C of the terminal is for the one who writes.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
