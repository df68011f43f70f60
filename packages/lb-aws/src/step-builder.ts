import type { Change, Disruption, ServiceKey } from "@portolan/lb";
import { capacityTag, type ManagedSecurityGroup, recordTag, tagRecord } from "./desired.ts";
import type { AwsObservation } from "./observation.ts";
import { ownerOf } from "./ownership-marks.ts";
import type { AwsPort, SecurityGroup, Tags } from "./port.ts";
import { type IngressRule, managedGroup, orphanedMtuRules } from "./security-groups.ts";

/** A call to make. Texts that begin with `@` stand for ids that are known only when it is made. */
export interface Call {
  /** `awaitActive` asks until a load balancer works. */
  readonly method: keyof AwsPort | "awaitActive";
  readonly parameters: readonly unknown[];
  /** Name under which its result is known to later calls. */
  readonly produces?: string;
  /** Object that other Services change too, under whose lock it is made. */
  readonly lock?: string;
}

/** One call and the change that it is. */
export interface Step {
  readonly change: Change;
  readonly call: Call;
}

/** What has to be done, and ids that are known already. */
export interface StepList {
  readonly steps: readonly Step[];
  readonly ids: Readonly<Record<string, string>>;
  /** Something of others that is in the way. */
  readonly conflict?: string;
}

const json = (value: unknown): string => JSON.stringify(value);

/** A text of a value that does not depend on the order of members. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return json(value) ?? "null";
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  entries.sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${entries.map(([name, member]) => `${json(name)}:${canonical(member)}`).join(",")}}`;
}

/** Whether two values are equal but for the order of members and members that are undefined. */
export const same = (left: unknown, right: unknown): boolean => canonical(left) === canonical(right);

function referencesIn(value: unknown, out: Set<string> = new Set()): Set<string> {
  if (typeof value === "string" && value.startsWith("@")) out.add(value);
  else if (typeof value === "object" && value !== null)
    for (const each of Object.values(value)) referencesIn(each, out);
  return out;
}

const ruleKey = ({ protocol, fromPort, toPort, source }: IngressRule): string =>
  json([protocol, fromPort ?? null, toPort ?? null, source]);

/** Tags to set and keys to remove; tags that nobody here asked for stay. */
function tagDifference(desired: Tags, observed: Tags): { set: Tags; remove: string[] } {
  const set = Object.fromEntries(Object.entries(desired).filter(([name, value]) => observed[name] !== value));
  const ours = [...(observed[tagRecord] ?? "").split(" "), tagRecord, recordTag, capacityTag];
  const remove = ours.filter((name) => name !== "" && observed[name] !== undefined && desired[name] === undefined);
  return { set, remove: [...new Set(remove)] };
}

/** What a change does to clients, and whether the Service asks for it. */
export const disruptionOf = (disruptive: Disruption, requested = false): Pick<Change, "disruptive" | "requested"> => ({
  disruptive,
  ...(requested ? { requested: true } : {}),
});

/** What both kinds of load balancers want of security groups. */
export interface DesiredRules {
  readonly managedSecurityGroup?: ManagedSecurityGroup;
  readonly nodeRules: readonly IngressRule[];
  readonly ruleMarks: readonly string[];
}

/** Builds the steps from what is observed to what is desired; those about security groups and tags are the same for all kinds. */
export class StepBuilder {
  readonly steps: Step[] = [];
  readonly ids: Record<string, string> = {};
  /** `namespace/name` of the Service. */
  readonly stack: string;
  private readonly conflicts: string[] = [];
  private readonly producers = new Map<string, string>();
  private readonly desired: DesiredRules;
  private readonly observed: AwsObservation;
  /** The managed group that is there already. */
  private readonly group: SecurityGroup | undefined;
  /** Groups of the nodes. */
  private readonly nodeGroups: readonly SecurityGroup[];

  constructor(key: ServiceKey, cluster: string, desired: DesiredRules, observed: AwsObservation) {
    this.stack = `${key.namespace}/${key.name}`;
    this.desired = desired;
    this.observed = observed;
    const wanted = desired.managedSecurityGroup;
    this.group =
      wanted && (observed.securityGroups.find((each) => each.name === wanted.name) ?? observed.securityGroups[0]);
    this.nodeGroups = nodeSecurityGroups(observed, cluster);
  }

  /** What was built. */
  list(): StepList {
    const { steps, ids, conflicts } = this;
    return { steps, ids, ...(conflicts.length > 0 ? { conflict: conflicts.join("; ") } : {}) };
  }

  add(
    id: string,
    call: Call,
    change: Partial<Change> & Pick<Change, "action" | "resource" | "because">,
    after: readonly string[] = [],
  ): void {
    const needed = [...referencesIn(call.parameters)]
      .map((reference) => this.producers.get(reference))
      .filter((each) => each !== undefined);
    const earlier = after.filter((each) => this.steps.some((step) => step.change.id === each));
    if (call.produces !== undefined) this.producers.set(call.produces, id);
    const dependsOn = [...new Set([...needed, ...earlier])];
    this.steps.push({ call, change: { id, fields: [], disruptive: "none", dependsOn, ...change } });
  }

  /** Ids of the steps so far that begin with a text. */
  withPrefix(prefix: string): string[] {
    return this.steps.map(({ change }) => change.id).filter((id) => id.startsWith(prefix));
  }

  /** Notes that an object of others has a name that is needed. */
  conflict(kind: string, name: string): void {
    this.conflicts.push(`${kind} ${name} exists and is not of Service ${this.stack}`);
  }

  /** Groups of a load balancer, with the id of the managed one or with what stands for it. */
  groupIds(groups: readonly string[]): string[] {
    return groups.map((id) => (id === managedGroup ? (this.ids["@managed"] ?? "@managed") : id));
  }

  /** Makes the managed group if it is wanted and not there. */
  managedGroup(): void {
    const wanted = this.desired.managedSecurityGroup;
    if (wanted === undefined) return;
    const { group } = this;
    if (group !== undefined) {
      this.ids["@managed"] = group.id;
      this.tags("SecurityGroup", group.name, group.id, wanted.tags, group.tags);
      return;
    }
    const { name, description, tags } = wanted;
    if (this.observed.allSecurityGroups.some((each) => each.name === name)) this.conflict("security group", name);
    const { vpcId } = this.observed.network;
    this.add(
      `create:${name}`,
      { method: "createSecurityGroup", parameters: [{ name, description, vpcId, tags }], produces: "@managed" },
      {
        action: "create",
        resource: { kind: "SecurityGroup", name },
        because: "the load balancer has a security group of its own",
      },
    );
  }

  /** Lets clients in to the managed group. */
  grantClients(): void {
    const wanted = this.desired.managedSecurityGroup;
    if (wanted === undefined) return;
    const because = "clients and ports of the Service";
    if (this.group !== undefined) {
      this.grant(this.group, wanted.ingress, `rules:${this.group.name}`, because);
      return;
    }
    this.add(
      `rules:${wanted.name}`,
      { method: "authorizeIngress", parameters: ["@managed", wanted.ingress] },
      {
        action: "update",
        resource: { kind: "SecurityGroup", name: wanted.name },
        fields: [["ingress", [], wanted.ingress]],
        because,
      },
    );
  }

  /** Lets the load balancer in to the nodes. */
  grantNodes(): void {
    for (const each of this.nodeGroups) {
      this.grant(each, this.desired.nodeRules, `node-rules:${each.id}`, "rules of nodes");
    }
  }

  /** Takes away rules that are not wanted any more, then groups. */
  revokeStale(): void {
    const { group, desired } = this;
    if (group !== undefined) this.revoke(group, desired.managedSecurityGroup?.ingress ?? []);
    for (const each of this.nodeGroups) this.revoke(each, desired.nodeRules);
    for (const each of this.observed.securityGroups) {
      if (each === group) continue;
      this.add(
        `delete:${each.name}`,
        { method: "deleteSecurityGroup", parameters: [each.id] },
        {
          action: "delete",
          resource: { kind: "SecurityGroup", name: each.name, cloudId: each.id },
          because: "the load balancer has other security groups",
        },
        this.withPrefix(""),
      );
    }
  }

  /** Brings tags of an object that is there to what is wanted. */
  tags(kind: string, objectName: string, id: string, wanted: Tags, present: Tags): void {
    const { set, remove } = tagDifference(wanted, present);
    const change = {
      action: "update" as const,
      resource: { kind, name: objectName, cloudId: id },
      because: "annotation additional-resource-tags, or what else is recorded in tags, changed",
    };
    if (Object.keys(set).length > 0) {
      const fields = Object.entries(set).map(([tag, value]) => [`tags[${tag}]`, present[tag], value] as const);
      this.add(`tag:${kind}:${objectName}`, { method: "tagResources", parameters: [[id], set] }, { ...change, fields });
    }
    if (remove.length > 0) {
      const fields = remove.map((tag) => [`tags[${tag}]`, present[tag], undefined] as const);
      const call: Call = { method: "untagResources", parameters: [[id], remove] };
      this.add(`untag:${kind}:${objectName}`, call, { ...change, fields });
    }
  }

  /** A rule with the id of the group that is made for the Service, or with what stands for it. */
  private resolved(rule: IngressRule): IngressRule {
    return rule.source === managedGroup ? { ...rule, source: this.ids["@managed"] ?? "@managed" } : rule;
  }

  /** A rule for people: the group that is yet to be made by its name. */
  private shown(rule: IngressRule): IngressRule {
    return rule.source === "@managed" ? { ...rule, source: this.desired.managedSecurityGroup?.name ?? "" } : rule;
  }

  private grant(owner: SecurityGroup, rules: readonly IngressRule[], id: string, because: string): void {
    const present = new Set(owner.ingress.map(ruleKey));
    const missing = rules.map((rule) => this.resolved(rule)).filter((rule) => !present.has(ruleKey(rule)));
    if (missing.length === 0) return;
    this.add(
      id,
      {
        method: "authorizeIngress",
        parameters: [owner.id, missing],
        lock: `aws/securityGroup/${owner.id}`,
      },
      {
        action: "update",
        resource: { kind: "SecurityGroup", name: owner.name, cloudId: owner.id },
        fields: [["ingress", [], missing.map((rule) => this.shown(rule))]],
        because,
      },
    );
  }

  private revoke(owner: SecurityGroup, rules: readonly IngressRule[]): void {
    const wanted = new Set(rules.map((rule) => ruleKey(this.resolved(rule))));
    const marked = owner.ingress.filter(
      (rule) => this.desired.ruleMarks.includes(rule.description ?? "") && !wanted.has(ruleKey(rule)),
    );
    const rest = owner.ingress.filter((rule) => !marked.includes(rule));
    const gone = [...marked, ...(marked.length > 0 ? orphanedMtuRules([...rest, ...rules]) : [])].filter(
      (rule) => owner.ingress.includes(rule) && !wanted.has(ruleKey(rule)),
    );
    if (gone.length === 0) return;
    this.add(
      `revoke:${owner.id}`,
      { method: "revokeIngress", parameters: [owner.id, gone], lock: `aws/securityGroup/${owner.id}` },
      {
        action: "update",
        resource: { kind: "SecurityGroup", name: owner.name, cloudId: owner.id },
        fields: [["ingress", gone, []]],
        because: "no port or client of the Service needs it any more",
      },
      this.withPrefix("listener:"),
    );
  }
}

/** Groups of the nodes of a cluster: those that carry its tag and are of no Service. */
export function nodeSecurityGroups(observed: AwsObservation, cluster: string): readonly SecurityGroup[] {
  return observed.allSecurityGroups.filter(
    ({ tags }) => tags[`kubernetes.io/cluster/${cluster}`] !== undefined && ownerOf(cluster, tags) === undefined,
  );
}
