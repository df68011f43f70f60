import { equalJson, fieldOf, objectOf } from "../json.ts";
import { type FieldCursor, forbidden, notSupported } from "./field-error.ts";
import { checkLabelSelector, isEmptySelector, selectorVerdict } from "./label-selector.ts";
import { percentProblems } from "./names.ts";
import { checkNotNegative, checkPodTemplate } from "./pod.ts";

function percentOf(cursor: FieldCursor): number | undefined {
  const text = cursor.value;
  return typeof text === "string" && /^[0-9]+%$/.test(text) ? Number(text.slice(0, -1)) : undefined;
}

/** Reports what is neither a number of at least 0 nor a percentage of at most 100 (when `limited`). */
function checkCountOrPercent(cursor: FieldCursor, limited: boolean): void {
  if (!cursor.present) return;
  const value = cursor.integerOrText();
  if (typeof value === "number") {
    if (value < 0) cursor.invalid("must be greater than or equal to 0");
    return;
  }
  if (value === undefined) return;
  if (percentProblems(value).length > 0) {
    cursor.invalid("must be an integer or percentage (e.g '5%%')");
  } else if (limited && (percentOf(cursor) ?? 0) > 100) cursor.invalid("must not be greater than 100%");
}

function isZeroCount(cursor: FieldCursor): boolean {
  return cursor.value === 0 || percentOf(cursor) === 0;
}

/** Selector and template of a workload: the selector must be given, not empty, and match the template. */
function checkSelectorAndTemplate(spec: FieldCursor, kind: string): void {
  const selector = spec.at("selector");
  if (!selector.present) selector.required();
  else {
    checkLabelSelector(selector);
    if (selector.object() && isEmptySelector(selector)) selector.invalid(`empty selector is invalid for ${kind}`);
  }
  const template = spec.at("template");
  const labels = template.at("metadata").at("labels");
  switch (selectorVerdict(selector, labels.value)) {
    case "malformed":
      selector.invalid("invalid label selector");
      return;
    case "does not match":
      labels.invalid("`selector` does not match template `labels`", labels.value ?? null);
      break;
    default:
  }
  checkPodTemplate(template);
  const restartPolicy = template.at("spec").at("restartPolicy");
  if (restartPolicy.value !== "Always") {
    spec.errors.push(notSupported(restartPolicy.path, restartPolicy.text(), ["Always"]));
  }
  const deadline = template.at("spec").at("activeDeadlineSeconds");
  if (deadline.present) deadline.forbidden(`activeDeadlineSeconds in ${kind} is not Supported`);
}

function checkImmutable(cursor: FieldCursor, old: unknown): void {
  if (!equalJson(cursor.value, old)) cursor.invalid("field is immutable", cursor.value ?? null);
}

/** Checks `spec` of a Deployment. */
export function checkDeployment(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  spec.object();
  checkNotNegative(spec.at("replicas"));
  checkSelectorAndTemplate(spec, "deployment");
  const strategy = spec.at("strategy");
  const rollingUpdate = strategy.at("rollingUpdate");
  switch (strategy.at("type").text()) {
    case "Recreate":
      if (rollingUpdate.present) {
        rollingUpdate.forbidden("may not be specified when strategy `type` is 'Recreate'");
      }
      break;
    case "RollingUpdate": {
      if (!rollingUpdate.present) {
        rollingUpdate.required("this should be defaulted and never be nil");
        break;
      }
      const unavailable = rollingUpdate.at("maxUnavailable");
      const surge = rollingUpdate.at("maxSurge");
      checkCountOrPercent(unavailable, false);
      checkCountOrPercent(surge, false);
      if (isZeroCount(unavailable) && isZeroCount(surge)) unavailable.invalid("may not be 0 when `maxSurge` is 0");
      if ((percentOf(unavailable) ?? 0) > 100) unavailable.invalid("must not be greater than 100%");
      break;
    }
    default:
      strategy.at("type").notSupported(["Recreate", "RollingUpdate"], strategy.at("type").text());
  }
  const minReady = spec.at("minReadySeconds");
  checkNotNegative(minReady);
  checkNotNegative(spec.at("revisionHistoryLimit"));
  const progress = spec.at("progressDeadlineSeconds");
  const seconds = progress.integer();
  if (seconds !== undefined) {
    checkNotNegative(progress);
    if (seconds <= (minReady.integer() ?? 0)) progress.invalid("must be greater than minReadySeconds");
  }
  if (old !== undefined) checkImmutable(spec.at("selector"), fieldOf(fieldOf(old, "spec"), "selector"));
}

/** Checks `spec` of a ReplicaSet. */
export function checkReplicaSet(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  spec.object();
  checkNotNegative(spec.at("replicas"));
  checkNotNegative(spec.at("minReadySeconds"));
  checkSelectorAndTemplate(spec, "replicaset");
  if (old !== undefined) checkImmutable(spec.at("selector"), fieldOf(fieldOf(old, "spec"), "selector"));
}

const mutableStatefulSetFields = [
  "replicas",
  "template",
  "updateStrategy",
  "minReadySeconds",
  "ordinals",
  "revisionHistoryLimit",
  "persistentVolumeClaimRetentionPolicy",
];

function withoutFields(value: unknown, names: readonly string[]): unknown {
  const copy = { ...objectOf(value) };
  for (const name of names) delete copy[name];
  return copy;
}

/** Checks `spec` of a StatefulSet. */
export function checkStatefulSet(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  spec.object();
  const management = spec.at("podManagementPolicy");
  if (management.text() === "") management.required();
  else if (!["OrderedReady", "Parallel"].includes(management.text())) {
    management.invalid("must be 'OrderedReady' or 'Parallel'");
  }
  const strategy = spec.at("updateStrategy");
  const rollingUpdate = strategy.at("rollingUpdate");
  switch (strategy.at("type").text()) {
    case "":
      strategy.required();
      break;
    case "OnDelete":
      if (rollingUpdate.present) rollingUpdate.invalid("only allowed for updateStrategy 'RollingUpdate'");
      break;
    case "RollingUpdate":
      checkNotNegative(rollingUpdate.at("partition"));
      checkCountOrPercent(rollingUpdate.at("maxUnavailable"), true);
      break;
    default:
      strategy.invalid("must be 'RollingUpdate' or 'OnDelete'");
  }
  checkNotNegative(spec.at("replicas"));
  checkNotNegative(spec.at("minReadySeconds"));
  checkNotNegative(spec.at("ordinals").at("start"));
  checkSelectorAndTemplate(spec, "statefulset");
  if (old === undefined) return;
  const before = withoutFields(fieldOf(old, "spec"), mutableStatefulSetFields);
  if (!equalJson(withoutFields(spec.value, mutableStatefulSetFields), before)) {
    root.errors.push(
      forbidden(
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
      ),
    );
  }
}

/** Checks `spec` of a DaemonSet. */
export function checkDaemonSet(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  spec.object();
  checkSelectorAndTemplate(spec, "daemonset");
  checkNotNegative(spec.at("minReadySeconds"));
  const strategy = spec.at("updateStrategy");
  const rollingUpdate = strategy.at("rollingUpdate");
  switch (strategy.at("type").text()) {
    case "OnDelete":
      break;
    case "RollingUpdate": {
      if (!rollingUpdate.present) {
        rollingUpdate.required();
        break;
      }
      const unavailable = rollingUpdate.at("maxUnavailable");
      const surge = rollingUpdate.at("maxSurge");
      checkCountOrPercent(unavailable, true);
      checkCountOrPercent(surge, true);
      if (isZeroCount(unavailable) && (isZeroCount(surge) || !surge.present)) {
        unavailable.required("cannot be 0 when maxSurge is 0");
      } else if (unavailable.present && surge.present && !isZeroCount(unavailable) && !isZeroCount(surge)) {
        surge.invalid("may not be set when maxUnavailable is non-zero");
      }
      break;
    }
    default:
      strategy.at("type").notSupported(["OnDelete", "RollingUpdate"], strategy.at("type").text());
  }
  checkNotNegative(spec.at("revisionHistoryLimit"));
  if (old !== undefined) checkImmutable(spec.at("selector"), fieldOf(fieldOf(old, "spec"), "selector"));
}

/** Checks `spec` of a Job. A server has generated the selector before. */
export function checkJob(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  spec.object();
  for (const field of [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
  ]) {
    checkNotNegative(spec.at(field));
  }
  const selector = spec.at("selector");
  if (selector.present) {
    checkLabelSelector(selector);
    const labels = spec.at("template").at("metadata").at("labels");
    switch (selectorVerdict(selector, labels.value)) {
      case "malformed":
        selector.invalid("invalid label selector");
        break;
      case "does not match":
        labels.invalid("`selector` does not match template `labels`", labels.value ?? null);
        break;
      default:
    }
  }
  checkPodTemplate(spec.at("template"));
  const restartPolicy = spec.at("template").at("spec").at("restartPolicy");
  if (restartPolicy.value === "Always" || !restartPolicy.present) {
    restartPolicy.required('valid values: "OnFailure", "Never"');
  } else if (restartPolicy.text() !== "OnFailure" && restartPolicy.text() !== "Never") {
    restartPolicy.notSupported(["OnFailure", "Never"]);
  }
  if (old === undefined) return;
  const oldSpec = fieldOf(old, "spec");
  for (const field of ["selector", "template", "completionMode"]) {
    checkImmutable(spec.at(field), fieldOf(oldSpec, field));
  }
  if (spec.at("completionMode").value !== "Indexed")
    checkImmutable(spec.at("completions"), fieldOf(oldSpec, "completions"));
}

/** Checks `spec.replicas` of a `scale` subresource. */
export function checkScale(root: FieldCursor): void {
  checkNotNegative(root.at("spec").at("replicas"));
}
