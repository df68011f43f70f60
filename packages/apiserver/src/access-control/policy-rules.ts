import type { PolicyRule } from "@portolan/core";

/** What a request wants to do, for whoever decides. */
export interface AccessAttributes {
  readonly verb: string;
  /** False for paths such as `/healthz`. */
  readonly isResource: boolean;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  /** Empty at the cluster scope, and when all namespaces are meant. */
  readonly namespace: string;
  /** Empty for collections. */
  readonly name: string;
  /** Of what is no resource. */
  readonly path: string;
}

function includes(list: readonly string[] | undefined, value: string): boolean {
  return list?.includes("*") === true || list?.includes(value) === true;
}

function includesResource(list: readonly string[] | undefined, resource: string, subresource: string): boolean {
  const combined = subresource === "" ? resource : `${resource}/${subresource}`;
  return includes(list, combined) || (subresource !== "" && list?.includes(`*/${subresource}`) === true);
}

function includesPath(list: readonly string[] | undefined, path: string): boolean {
  return (
    list?.some(
      (each) => each === "*" || each === path || (each.endsWith("*") && path.startsWith(each.slice(0, -1))),
    ) === true
  );
}

/** Whether a rule allows it (`pkg/apis/rbac/v1` evaluation helpers). */
export function ruleAllows(rule: PolicyRule, attributes: AccessAttributes): boolean {
  if (!includes(rule.verbs, attributes.verb)) return false;
  if (!attributes.isResource) return includesPath(rule.nonResourceURLs, attributes.path);
  const { resourceNames = [] } = rule;
  return (
    includes(rule.apiGroups, attributes.group) &&
    includesResource(rule.resources, attributes.resource, attributes.subresource) &&
    (resourceNames.length === 0 || resourceNames.includes(attributes.name))
  );
}

/** A rule as rules that say one thing each. */
function* breakDown(rule: PolicyRule): Generator<PolicyRule> {
  for (const verb of rule.verbs ?? []) {
    for (const path of rule.nonResourceURLs ?? []) yield { verbs: [verb], nonResourceURLs: [path] };
    for (const group of rule.apiGroups ?? []) {
      for (const resource of rule.resources ?? []) {
        const one: PolicyRule = { verbs: [verb], apiGroups: [group], resources: [resource] };
        const names = rule.resourceNames ?? [];
        if (names.length === 0) yield one;
        for (const name of names) yield { ...one, resourceNames: [name] };
      }
    }
  }
}

/** Whether one of the rules allows all that a rule says which says one thing. */
function isCovered(held: readonly PolicyRule[], wanted: PolicyRule): boolean {
  const [verb = ""] = wanted.verbs;
  const path = wanted.nonResourceURLs?.[0];
  return held.some((rule) => {
    if (!includes(rule.verbs, verb)) return false;
    if (path !== undefined) return includesPath(rule.nonResourceURLs, path);
    const [resource = "", subresource = ""] = (wanted.resources?.[0] ?? "").split("/");
    const names = rule.resourceNames ?? [];
    const name = wanted.resourceNames?.[0];
    return (
      includes(rule.apiGroups, wanted.apiGroups?.[0] ?? "") &&
      includesResource(rule.resources, resource, subresource) &&
      (names.length === 0 || (name !== undefined && names.includes(name)))
    );
  });
}

/** What the wanted rules allow beyond those that are held (`component-helpers/auth/rbac/validation` `Covers`). */
export function uncoveredRules(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): PolicyRule[] {
  return wanted.flatMap((rule) => [...breakDown(rule)].filter((one) => !isCovered(held, one)));
}

/** A rule as the real server prints it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`. */
export function printRule(rule: PolicyRule): string {
  const list = (values: readonly string[]): string => `[${values.map((value) => JSON.stringify(value)).join(" ")}]`;
  const parts = [
    ...(rule.nonResourceURLs === undefined ? [] : [`NonResourceURLs:${list(rule.nonResourceURLs)}`]),
    ...(rule.apiGroups === undefined ? [] : [`APIGroups:${list(rule.apiGroups)}`]),
    ...(rule.resources === undefined ? [] : [`Resources:${list(rule.resources)}`]),
    ...(rule.resourceNames === undefined ? [] : [`ResourceNames:${list(rule.resourceNames)}`]),
    `Verbs:${list(rule.verbs)}`,
  ];
  return `{${parts.join(", ")}}`;
}
