import { fieldOf, listOf, objectOf, textOf } from "../json.ts";
import type { ObjectMeta } from "../types/meta.ts";
import { FieldCursor, type FieldError, goQuote, invalid, tooLong } from "./field-error.ts";
import {
  dnsLabelProblems,
  dnsSubdomainProblems,
  labelValueProblems,
  qualifiedNameProblems,
  utf8Length,
} from "./names.ts";

/** Sum of the lengths of annotation keys and values, in bytes. */
export const maximumAnnotationsSize: number = 256 * 1024;

/** Rule for names of a kind. Answers problems, empty when the name is good. */
export type NameRule = (name: string) => string[];

/** How metadata of a kind is checked. */
export interface ObjectMetaRules {
  readonly namespaced: boolean;
  /** DNS subdomain when not given. */
  readonly name?: NameRule;
  /** Core kinds refuse finalizers without a domain, but for the standard ones. True when not given. */
  readonly qualifiedFinalizers?: boolean;
}

const standardFinalizers: ReadonlySet<string> = new Set(["kubernetes", "orphan", "foregroundDeletion"]);

/** A generated name continues with letters, so a trailing dash of the prefix is no problem. */
function maskTrailingDash(prefix: string): string {
  return prefix.length > 1 && prefix.endsWith("-") ? `${prefix.slice(0, -2)}a` : prefix;
}

/** Checks labels, or a map used as an equality selector: all errors are reported at the path of the map. */
export function validateLabelMap(labels: FieldCursor): void {
  for (const [key, value] of labels.entries()) {
    labels.invalidEach(qualifiedNameProblems(key), key);
    labels.invalidEach(labelValueProblems(value.text()), value.value ?? "");
  }
}

function validateAnnotations(annotations: FieldCursor): void {
  let size = 0;
  for (const [key, value] of annotations.entries()) {
    annotations.invalidEach(qualifiedNameProblems(key.toLowerCase()), key);
    size += utf8Length(key) + utf8Length(value.text());
  }
  if (size > maximumAnnotationsSize) annotations.errors.push(tooLong(annotations.path, maximumAnnotationsSize));
}

function printedOwnerReference(reference: unknown): unknown {
  const controller = fieldOf(reference, "controller");
  const blockOwnerDeletion = fieldOf(reference, "blockOwnerDeletion");
  return {
    apiVersion: textOf(fieldOf(reference, "apiVersion")),
    kind: textOf(fieldOf(reference, "kind")),
    name: textOf(fieldOf(reference, "name")),
    uid: textOf(fieldOf(reference, "uid")),
    ...(controller === undefined ? {} : { controller }),
    ...(blockOwnerDeletion === undefined ? {} : { blockOwnerDeletion }),
  };
}

function validateOwnerReferences(references: FieldCursor): void {
  let controller: string | undefined;
  for (const item of references.items()) {
    const reference = item.as(references.path);
    const apiVersion = reference.at("apiVersion").text();
    const kind = reference.at("kind").text();
    const name = reference.at("name").text();
    if (apiVersion.slice(apiVersion.indexOf("/") + 1) === "") {
      reference.at("apiVersion").invalid("version must not be empty", apiVersion);
    }
    for (const field of ["kind", "name", "uid"]) {
      if (reference.at(field).text() === "") reference.at(field).invalid("must not be empty", "");
    }
    if (apiVersion === "v1" && kind === "Event") {
      reference.invalid("/v1, Kind=Event is disallowed from being an owner", printedOwnerReference(item.value));
    }
    if (item.at("controller").boolean() === true) {
      const current = `${kind}/${name}`;
      if (controller === undefined) controller = current;
      else {
        references.invalid(
          `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${current}`,
          listOf(references.value).map(printedOwnerReference),
        );
      }
    }
  }
}

function validateFinalizers(finalizers: FieldCursor, qualified: boolean): void {
  const names = finalizers.items().map((item) => item.text());
  for (const name of names) finalizers.invalidEach(qualifiedNameProblems(name), name);
  if (names.includes("orphan") && names.includes("foregroundDeletion")) {
    finalizers.invalid("finalizer orphan and foregroundDeletion cannot be both set", names);
  }
  if (!qualified) return;
  for (const [index, name] of names.entries()) {
    if (!name.includes("/") && !standardFinalizers.has(name)) {
      finalizers.errors.push(
        invalid(
          `${finalizers.path}[${index}]`,
          name,
          "name is neither a standard finalizer name nor is it fully qualified",
        ),
      );
    }
  }
}

function validateManagedFields(entries: FieldCursor): void {
  for (const entry of entries.items()) {
    const operation = entry.at("operation");
    if (operation.text() !== "Apply" && operation.text() !== "Update") {
      operation.invalid("must be `Apply` or `Update`", operation.text());
    }
    const fieldsType = entry.at("fieldsType");
    if (fieldsType.text() !== "" && fieldsType.text() !== "FieldsV1") fieldsType.invalid("must be `FieldsV1`");
    if (utf8Length(entry.at("manager").text()) > 128) entries.errors.push(tooLong(entry.at("manager").path, 128));
    if (utf8Length(entry.at("subresource").text()) > 256) {
      entries.errors.push(tooLong(entry.at("subresource").path, 256));
    }
  }
}

/** Checks metadata at a cursor; see {@link validateObjectMeta}. */
export function checkObjectMeta(metadata: FieldCursor, rules: ObjectMetaRules): void {
  const nameRule = rules.name ?? dnsSubdomainProblems;
  metadata.object();
  const generateName = metadata.at("generateName");
  if (generateName.text() !== "") generateName.invalidEach(nameRule(maskTrailingDash(generateName.text())));
  const name = metadata.at("name");
  if (name.text() === "") name.required("name or generateName is required");
  else name.invalidEach(nameRule(name.text()));
  const namespace = metadata.at("namespace");
  if (rules.namespaced) {
    if (namespace.text() === "") namespace.required();
    else namespace.invalidEach(dnsLabelProblems(namespace.text()));
  } else if (namespace.text() !== "") {
    namespace.forbidden("not allowed on this type");
  }
  const generation = metadata.at("generation");
  if ((generation.integer() ?? 0) < 0) generation.invalid("must be greater than or equal to 0");
  validateLabelMap(metadata.at("labels"));
  validateAnnotations(metadata.at("annotations"));
  validateOwnerReferences(metadata.at("ownerReferences"));
  validateFinalizers(metadata.at("finalizers"), rules.qualifiedFinalizers ?? true);
  validateManagedFields(metadata.at("managedFields"));
}

/** Checks a change of metadata at a cursor; see {@link validateObjectMetaUpdate}. */
export function checkObjectMetaUpdate(metadata: FieldCursor, oldMetadata: unknown): void {
  const old = objectOf(oldMetadata);
  if (old.deletionTimestamp !== undefined && old.deletionTimestamp !== null) {
    const known = new Set(listOf(old.finalizers));
    const added = listOf(fieldOf(metadata.value, "finalizers"))
      .filter((finalizer) => !known.has(finalizer))
      .map(textOf)
      .sort();
    if (added.length > 0) {
      metadata
        .at("finalizers")
        .forbidden(
          `no new finalizers can be added if the object is being deleted, found new finalizers []string{${[...new Set(added)].map(goQuote).join(", ")}}`,
        );
    }
  }
  const generation = metadata.at("generation");
  const oldGeneration = typeof old.generation === "number" ? old.generation : 0;
  if (generation.present && (generation.integer() ?? 0) < oldGeneration) generation.invalid("must not be decremented");
  for (const field of ["name", "namespace"]) {
    if (metadata.at(field).text() !== textOf(old[field])) {
      metadata.at(field).invalid("field is immutable", metadata.at(field).text());
    }
  }
  // A server fills these from the stored object when the request leaves them out, so absence is no change.
  for (const field of ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]) {
    const cursor = metadata.at(field);
    if (cursor.present && cursor.value !== (old[field] ?? undefined)) cursor.invalid("field is immutable");
  }
  validateLabelMap(metadata.at("labels"));
  validateAnnotations(metadata.at("annotations"));
  validateOwnerReferences(metadata.at("ownerReferences"));
  validateManagedFields(metadata.at("managedFields"));
}

/**
 * Checks `metadata` of an object: names, namespace, labels, annotations, owner references, finalizers and managed fields
 * (apimachinery `api/validation/objectmeta.go`). Never throws.
 */
export function validateObjectMeta(
  metadata: ObjectMeta | undefined,
  rules: ObjectMetaRules,
  path = "metadata",
): FieldError[] {
  const errors: FieldError[] = [];
  checkObjectMeta(new FieldCursor(metadata, path, errors), rules);
  return errors;
}

/** Checks a change of `metadata`: immutable fields, finalizers of an object being deleted. Never throws. */
export function validateObjectMetaUpdate(
  metadata: ObjectMeta | undefined,
  old: ObjectMeta | undefined,
  path = "metadata",
): FieldError[] {
  const errors: FieldError[] = [];
  checkObjectMetaUpdate(new FieldCursor(metadata, path, errors), old);
  return errors;
}
