import { equalJson, fieldOf, textOf } from "../json.ts";
import { canonicalPrefixProblems } from "./addresses.ts";
import { type FieldCursor, tooLong } from "./field-error.ts";
import { configMapKeyProblems, labelValueProblems, qualifiedNameProblems, utf8Length } from "./names.ts";

/** Largest size of the data of a ConfigMap or Secret, in bytes. */
export const maximumDataSize: number = 1024 * 1024;

function checkDataKeys(map: FieldCursor): number {
  let size = 0;
  for (const [key, value] of map.entries()) {
    value.invalidEach(configMapKeyProblems(key), key);
    size += utf8Length(value.text());
  }
  return size;
}

function checkImmutability(root: FieldCursor, old: unknown, fields: readonly string[]): void {
  if (old === undefined || fieldOf(old, "immutable") !== true) return;
  const text = "field is immutable when `immutable` is set";
  if (root.at("immutable").value !== true) root.at("immutable").forbidden(text);
  for (const field of fields) if (!equalJson(root.at(field).value, fieldOf(old, field))) root.at(field).forbidden(text);
}

/** Checks the data of a ConfigMap. */
export function checkConfigMap(root: FieldCursor, old: unknown): void {
  root.at("immutable").boolean();
  const data = root.at("data");
  const binaryData = root.at("binaryData");
  let size = 0;
  for (const [key, value] of data.entries()) {
    value.invalidEach(configMapKeyProblems(key), key);
    if (fieldOf(binaryData.value, key) !== undefined) value.invalid("duplicate of key present in binaryData", key);
    size += utf8Length(value.text());
  }
  size += Math.floor((checkDataKeys(binaryData) * 3) / 4);
  if (size > maximumDataSize) root.errors.push(tooLong("", maximumDataSize));
  checkImmutability(root, old, ["data", "binaryData"]);
}

const requiredSecretKeys: Readonly<Record<string, readonly string[]>> = {
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
  "kubernetes.io/dockercfg": [".dockercfg"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
};

/** Checks the data of a Secret; values are base64. */
export function checkSecret(root: FieldCursor, old: unknown): void {
  root.at("immutable").boolean();
  const data = root.at("data");
  if (Math.floor((checkDataKeys(data) * 3) / 4) > maximumDataSize) root.errors.push(tooLong("data", maximumDataSize));
  const type = root.at("type");
  const keys = Object.hasOwn(requiredSecretKeys, type.text()) ? requiredSecretKeys[type.text()]! : [];
  for (const key of keys) if (fieldOf(data.value, key) === undefined) data.as(`data[${key}]`).required();
  if (type.text() === "kubernetes.io/service-account-token") {
    const account = root.at("metadata").at("annotations").at("kubernetes.io/service-account.name");
    if (account.text() === "") account.as("metadata.annotations[kubernetes.io/service-account.name]").required();
  }
  if (type.text() === "kubernetes.io/basic-auth") {
    if (fieldOf(data.value, "username") === undefined && fieldOf(data.value, "password") === undefined) {
      data.as("data[username]").required();
      data.as("data[password]").required();
    }
  }
  if (old !== undefined && type.text() !== (textOf(fieldOf(old, "type")) || "Opaque")) {
    type.invalid("field is immutable", type.text());
  }
  checkImmutability(root, old, ["data"]);
}

/** Checks `spec` of a Namespace. */
export function checkNamespace(root: FieldCursor): void {
  for (const finalizer of root.at("spec").at("finalizers").items()) {
    const name = finalizer.text();
    finalizer.invalidEach(qualifiedNameProblems(name), name);
    if (!name.includes("/") && !["kubernetes", "orphan", "foregroundDeletion"].includes(name)) {
      finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified", name);
    }
  }
}

/** Checks `spec` of a Node: taints and pod CIDRs. */
export function checkNode(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  const seen = new Set<string>();
  for (const taint of spec.at("taints").items()) {
    const key = taint.at("key");
    key.invalidEach(qualifiedNameProblems(key.text()), key.text());
    const value = taint.at("value");
    if (value.text() !== "") value.invalidEach(labelValueProblems(value.text()));
    const effect = taint.at("effect");
    const effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    if (effect.text() === "") effect.required();
    else if (!effects.includes(effect.text())) effect.notSupported(effects);
    const identity = `${key.text()}:${effect.text()}`;
    if (seen.has(identity)) taint.duplicate(taint.value);
    seen.add(identity);
  }
  for (const cidr of spec.at("podCIDRs").items()) cidr.invalidEach(canonicalPrefixProblems(cidr.text()), cidr.text());
  const providerID = spec.at("providerID");
  const oldProviderID = textOf(fieldOf(fieldOf(old, "spec"), "providerID"));
  if (oldProviderID !== "" && providerID.text() !== oldProviderID) {
    providerID.forbidden('node updates may not change providerID except from "" to valid');
  }
}

/** Checks an Event: it lives in the namespace of what it is about. */
export function checkEvent(root: FieldCursor): void {
  const involved = root.at("involvedObject").at("namespace");
  const namespace = root.at("metadata").at("namespace").text();
  if (involved.text() === "") {
    if (namespace !== "default" && namespace !== "kube-system") {
      involved.invalid("does not match event.namespace", "");
    }
  } else if (involved.text() !== namespace) involved.invalid("does not match event.namespace");
}

/** Checks `spec` of a Lease. */
export function checkLease(root: FieldCursor): void {
  const duration = root.at("spec").at("leaseDurationSeconds");
  if (duration.present && (duration.integer() ?? 1) <= 0) duration.invalid("must be greater than 0");
  const transitions = root.at("spec").at("leaseTransitions");
  if ((transitions.integer() ?? 0) < 0) transitions.invalid("must be greater than or equal to 0");
}

/** Checks references of a ServiceAccount. */
export function checkServiceAccount(root: FieldCursor): void {
  root.at("automountServiceAccountToken").boolean();
  for (const secret of root.at("secrets").items()) secret.at("name").text();
}
