import { type ApplyOutcome, type CallContext, type Change, type Plan, ProviderError } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import type { GcpConfiguration } from "./configuration.ts";
import { differencesOf } from "./differences.ts";
import { classified, isAlreadyThere, isInUse } from "./errors.ts";
import { plainAddress } from "./forwarding-rule.ts";
import { readMark } from "./mark.ts";
import { clusterHash } from "./names.ts";
import { type GcpDesired, withAddresses } from "./plan.ts";
import { GcpApiError, type GcpPort, type Operation } from "./port.ts";
import type { Body, Resource, ResourceKind } from "./resources.ts";

/** Most members that one request adds or removes. */
const chunkSize = 500;

/** Milliseconds between two looks at an operation: at first, and at most. */
const pollInterval = { first: 500, most: 5_000 } as const;

/** Waits until an operation is done. @throws ProviderError `NotReady` at the context's deadline, or what it failed with */
export async function settle(
  context: CallContext,
  port: GcpPort,
  started: Operation | undefined,
  what: string,
): Promise<void> {
  let operation = started;
  for (let wait: number = pollInterval.first; operation !== undefined && !operation.done; ) {
    if (context.now() + wait >= context.deadline) {
      throw new ProviderError("NotReady", `${what}: the cloud still works on it`, { retryAfter: 5_000 });
    }
    await context.sleep(wait);
    wait = Math.min(wait * 2, pollInterval.most);
    operation = await port.getOperation(operation.path);
  }
  if (operation?.error !== undefined) throw operation.error;
}

/** The name of the lock on what load balancers of a cluster share. */
export function sharedLock(configuration: GcpConfiguration): string {
  return `gcp/${configuration.project}/${configuration.region}/${clusterHash(configuration.kubeSystemUID)}`;
}

/** The command by which somebody who may write firewall rules of a shared network makes a change that was refused here. */
function firewallCommand(change: Change, body: Body | undefined, project: string): string {
  const { name } = change.resource;
  if (change.action === "delete" || body === undefined) {
    return `gcloud compute firewall-rules delete ${name} --project ${project}`;
  }
  const list = (member: string): string => [...((body[member] as string[] | undefined) ?? [])].sort().join(",");
  const rules = (member: string): string =>
    ((body[member] as { IPProtocol: string; ports?: string[] }[] | undefined) ?? [])
      .flatMap(({ IPProtocol, ports = [] }) => {
        const protocol = IPProtocol.toLowerCase();
        return ports.length === 0 ? [protocol] : ports.map((port) => `${protocol}:${port}`);
      })
      .sort()
      .join(",");
  const denies = rules("denied") !== "";
  const creates = change.action !== "update";
  return [
    `gcloud compute firewall-rules ${creates ? "create" : "update"} ${name}`,
    ...(creates ? [`--network ${String(body["network"]).split("/").at(-1)}`, `--priority ${body["priority"]}`] : []),
    ...(creates && denies ? ["--action DENY"] : []),
    creates && denies
      ? `--rules ${rules("denied")}`
      : denies
        ? `--rules ${rules("denied")}`
        : `--allow ${rules("allowed")}`,
    `--source-ranges ${list("sourceRanges")}`,
    ...(list("destinationRanges") === "" ? [] : [`--destination-ranges ${list("destinationRanges")}`]),
    `--target-tags ${list("targetTags")}`,
    `--project ${project}`,
  ].join(" ");
}

/** Carries out a plan, one change after the other. Each can be repeated: what is there already is taken, if it is as wanted. */
export async function execute(
  context: CallContext,
  port: GcpPort,
  configuration: GcpConfiguration,
  plan: Plan<GcpDesired>,
): Promise<ApplyOutcome> {
  const { model, resources, holds, fingerprints } = plan.desired;
  const wanted = new Map([...resources, ...holds].map((entry) => [entry.path, entry]));
  const cluster = clusterHash(configuration.kubeSystemUID);
  const addresses: Partial<Record<IPFamily, string>> = Object.fromEntries(
    model.forwardingRules.filter((rule) => rule.IPAddress !== "").map((rule) => [rule.family, rule.IPAddress]),
  );

  function bodyOf(resource: Resource): Body {
    const body = withAddresses(resource.body, addresses);
    const address = resource.family === undefined ? undefined : addresses[resource.family];
    return resource.kind === "forwardingRule" && address !== undefined ? { ...body, IPAddress: address } : body;
  }

  /** Takes what somebody made since it was looked for: an earlier run of ours, or another Service that shares it. */
  async function take(resource: Resource): Promise<void> {
    const found = await port.get(resource.path);
    const what = `${resource.kind} ${resource.name}`;
    if (found === undefined) {
      throw new ProviderError("NotReady", `${what}: the cloud still works on it`, { retryAfter: 5_000 });
    }
    const mark = readMark(found["description"]);
    const ours =
      mark?.cluster === cluster && (resource.shared ? mark.key === undefined : mark.key?.uid === plan.key.uid);
    if (!ours) throw new ProviderError("Conflict", `${what} is there already, but somebody else made it`);
    // Which members it has nobody has looked at yet.
    if (resource.members !== undefined || differencesOf({ ...resource, body: bodyOf(resource) }, found).length > 0) {
      throw new ProviderError("Concurrency", `${what} has changed since it was looked at`);
    }
  }

  async function create(resource: Resource, collection: string): Promise<void> {
    try {
      await settle(context, port, await port.insert(collection, bodyOf(resource)), resource.id);
    } catch (error) {
      if (!isAlreadyThere(error)) throw error;
      await take(resource);
    }
    if (resource.kind === "address") await learnAddress(resource);
  }

  async function learnAddress(hold: Resource): Promise<void> {
    const found = await port.get(hold.path);
    const address = found?.["address"];
    if (typeof address !== "string" || address === "") {
      throw new ProviderError("NotReady", `address ${hold.name} has not been given yet`, { retryAfter: 5_000 });
    }
    addresses[hold.family!] = plainAddress(address);
  }

  async function changeMembers(resource: Resource, [, before, after]: Change["fields"][number]): Promise<void> {
    const is = new Set(before as readonly string[]);
    const should = new Set(after as readonly string[]);
    const added = [...should].filter((member) => !is.has(member));
    const removed = [...is].filter((member) => !should.has(member));
    for (const [members, send] of [
      [added, port.addMembers],
      [removed, port.removeMembers],
    ] as const) {
      for (let from = 0; from < members.length; from += chunkSize) {
        context.signal.throwIfAborted();
        const chunk = members.slice(from, from + chunkSize);
        await settle(context, port, await send.call(port, resource.path, chunk), `members of ${resource.id}`);
      }
    }
  }

  async function step(change: Change): Promise<void> {
    const path = change.resource.cloudId!;
    const resource = wanted.get(path);
    switch (change.action) {
      case "create":
      case "replace":
        return await create(resource!, path.slice(0, path.lastIndexOf("/")));
      case "update": {
        const [first] = change.fields;
        if (first?.[0] === "members") return await changeMembers(resource!, first);
        const fingerprint = fingerprints[path];
        const body = {
          ...withAddresses(Object.fromEntries(change.fields.map(([member, , value]) => [member, value])), addresses),
          ...(fingerprint === undefined ? {} : { fingerprint }),
        };
        return await settle(context, port, await port.patch(path, body), change.id);
      }
      case "delete":
        try {
          return await settle(context, port, await port.delete(path), change.id);
        } catch (error) {
          // Somebody has begun to use it.
          if (resource === undefined && isInUse(error) && sharedKinds.has(change.resource.kind as ResourceKind)) return;
          throw error;
        }
    }
  }

  for (const change of plan.changes) {
    context.signal.throwIfAborted();
    try {
      await step(change);
    } catch (error) {
      const { kind, name } = change.resource;
      const { networkProject = configuration.project } = configuration;
      if (
        kind === "firewall" &&
        networkProject !== configuration.project &&
        error instanceof GcpApiError &&
        error.status === 403
      ) {
        const resource = wanted.get(change.resource.cloudId!);
        const command = firewallCommand(change, resource && bodyOf(resource), networkProject);
        context.report("Normal", "LoadBalancerManualChange", `a network administrator has to run: ${command}`);
        continue;
      }
      throw classified(error, `cannot ${change.action} ${kind} ${name}`);
    }
  }

  const ingress = [];
  for (const rule of model.forwardingRules) {
    const path = resources.find((entry) => entry.kind === "forwardingRule" && entry.name === rule.name)!.path;
    const ip = addresses[rule.family] ?? plainAddress(String((await port.get(path))?.["IPAddress"] ?? ""));
    if (ip !== "") ingress.push({ ip, ipMode: "VIP" as const });
  }
  return { ingress };
}

/** Kinds of which several load balancers can use one object. */
const sharedKinds: ReadonlySet<ResourceKind> = new Set([
  "healthCheck",
  "httpHealthCheck",
  "instanceGroup",
  "backendService",
]);
