import { type CallContext, ProviderError } from "@portolan/lb";
import type { GcpConfiguration } from "./configuration.ts";
import { classified, isInUse } from "./errors.ts";
import { settle, sharedLock } from "./execution.ts";
import { readMark } from "./mark.ts";
import { clusterHash } from "./names.ts";
import { type GcpObserved, type ObservedResource, sharedLeftovers } from "./plan.ts";
import type { GcpPort } from "./port.ts";
import type { ResourceKind } from "./resources.ts";

/** What clients meet goes first; then what refers before what is referred to. */
const order: readonly ResourceKind[] = [
  "forwardingRule",
  "address",
  "firewall",
  "backendService",
  "targetPool",
  "healthCheck",
  "httpHealthCheck",
  "networkEndpointGroup",
  "instanceGroup",
];

const inOrder = (resources: readonly ObservedResource[]): ObservedResource[] =>
  [...resources].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));

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
  const cluster = clusterHash(configuration.kubeSystemUID);
  const mine = observed.resources.filter((entry) => {
    const mark = readMark(entry.body["description"]);
    return mark?.cluster === cluster && mark.key?.uid === observed.key.uid;
  });

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

  for (const entry of inOrder(mine)) await drop(entry, false);

  const leftovers = sharedLeftovers(observed, cluster, new Set());
  if (leftovers.length === 0) return;
  await context.lock(sharedLock(configuration), async () => {
    const stay: string[] = [];
    // Firewall rules of health checks go after these: as long as a check is used, it has to get through.
    for (const entry of leftovers.filter((each) => each.kind !== "firewall")) {
      if (!(await drop(entry, true))) stay.push(entry.name);
    }
    for (const entry of leftovers.filter((each) => each.kind === "firewall")) {
      if (!stay.some((name) => entry.name.startsWith(`${name}-`))) await drop(entry, true);
    }
  });
}
