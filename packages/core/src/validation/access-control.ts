import { equalJson, fieldOf } from "../json.ts";
import type { FieldCursor } from "./field-error.ts";
import { dnsSubdomainProblems } from "./names.ts";

const group = "rbac.authorization.k8s.io";

function checkRule(rule: FieldCursor, isNamespaced: boolean): void {
  const { length: verbs } = rule.at("verbs");
  if (verbs === 0) rule.at("verbs").required("verbs must contain at least one value");
  const paths = rule.at("nonResourceURLs");
  const groups = rule.at("apiGroups").length;
  const resources = rule.at("resources").length;
  if (paths.length > 0) {
    if (isNamespaced) paths.invalid("namespaced rules cannot apply to non-resource URLs");
    if (groups > 0 || resources > 0 || rule.at("resourceNames").length > 0)
      paths.invalid("rules cannot apply to both regular resources and non-resource URLs");
    return;
  }
  if (groups === 0) rule.at("apiGroups").required("resource rules must supply at least one api group");
  if (resources === 0) rule.at("resources").required("resource rules must supply at least one resource");
}

/** Checks the rules of a Role (`pkg/apis/rbac/validation`). */
export function checkRole(root: FieldCursor): void {
  for (const rule of root.at("rules").items()) checkRule(rule, true);
}

/** Checks the rules of a ClusterRole. */
export function checkClusterRole(root: FieldCursor): void {
  const aggregation = root.at("aggregationRule");
  if (aggregation.present && aggregation.at("clusterRoleSelectors").length === 0)
    aggregation
      .at("clusterRoleSelectors")
      .required("at least one clusterRoleSelector required if aggregationRule is non-nil");
  for (const rule of root.at("rules").items()) checkRule(rule, false);
}

function checkSubject(subject: FieldCursor, isNamespaced: boolean): void {
  const name = subject.at("name");
  if (name.text() === "") name.required();
  const apiGroup = subject.at("apiGroup");
  switch (subject.at("kind").text()) {
    case "ServiceAccount":
      if (name.text() !== "") name.invalidEach(dnsSubdomainProblems(name.text()), name.text());
      if (apiGroup.text() !== "") apiGroup.notSupported([""]);
      if (!isNamespaced && subject.at("namespace").text() === "") subject.at("namespace").required();
      return;
    case "User":
    case "Group":
      if (apiGroup.text() !== group) apiGroup.notSupported([group], apiGroup.text());
      return;
    default:
      subject.at("kind").notSupported(["ServiceAccount", "User", "Group"], subject.at("kind").text());
  }
}

function checkBinding(root: FieldCursor, old: unknown, kinds: readonly string[]): void {
  const roleRef = root.at("roleRef");
  if (roleRef.at("apiGroup").text() !== group)
    roleRef.at("apiGroup").notSupported([group], roleRef.at("apiGroup").text());
  const kind = roleRef.at("kind").text();
  if (!kinds.includes(kind)) roleRef.at("kind").notSupported(kinds, kind);
  if (roleRef.at("name").text() === "") roleRef.at("name").required();
  for (const subject of root.at("subjects").items()) checkSubject(subject, kinds.includes("Role"));
  if (old !== undefined && !equalJson(roleRef.value, fieldOf(old, "roleRef"))) roleRef.invalid("cannot change roleRef");
}

/** Checks a RoleBinding. */
export function checkRoleBinding(root: FieldCursor, old: unknown): void {
  checkBinding(root, old, ["Role", "ClusterRole"]);
}

/** Checks a ClusterRoleBinding. */
export function checkClusterRoleBinding(root: FieldCursor, old: unknown): void {
  checkBinding(root, old, ["ClusterRole"]);
}
