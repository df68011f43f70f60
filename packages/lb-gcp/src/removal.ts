import { type CallContext, ProviderError } from "@portolan/lb";
import type { GcpConfiguration } from "./configuration.ts";
import { classified, isInUse } from "./errors.ts";
import { settle, sharedLock } from "./execution.ts";
import type { GcpObserved, ObservedResource } from "./plan.ts";
import type { GcpPort } from "./port.ts";
import { removalOf } from "./removal-order.ts";

/**
 * Removes all that bears the mark of a Service, and what it shared if nobody else uses that. What is in use a little longer is
 * reported as such, for another try.
 */
export async function remove(
  context: CallContext,
  port: GcpPort,
  configuration: GcpConfiguration,
  observed: GcpObserved,
): Promise<void> {
  async function drop(entry: ObservedResource, shared: boolean): Promise<boolean> {
    context.signal.throwIfAborted();
    const what = `cannot delete ${entry.kind} ${entry.name}`;
    try {
      await settle(context, port, await port.delete(entry.path), what);
      return true;
    } catch (error) {
      if (!isInUse(error)) throw classified(error, what);
      if (shared) return false;
      throw new ProviderError("NotReady", `${what}: ${(error as Error).message}`, { retryAfter: 5_000, cause: error });
    }
  }

  const { own, shared } = removalOf(observed, configuration);
  for (const entry of own) await drop(entry, false);
  if (shared.length === 0) return;
  await context.lock(sharedLock(configuration), async () => {
    const stay: string[] = [];
    for (const entry of shared) {
      if (entry.kind === "firewall" && stay.some((name) => entry.name.startsWith(`${name}-`))) continue;
      if (!(await drop(entry, true))) stay.push(entry.name);
    }
  });
}
