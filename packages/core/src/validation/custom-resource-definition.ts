import { equalJson, fieldOf, isJsonObject, listOf, pathOf, textOf } from "../json.ts";
import type { StructuralSchema } from "../structural-schema/structural-schema.ts";
import { validateStructural } from "../structural-schema/structural-validation.ts";
import type { FieldCursor } from "./field-error.ts";
import { dns1035LabelProblems, dnsSubdomainProblems } from "./names.ts";

/** Annotation by which definitions in groups of Kubernetes itself say who approved them. */
export const approvalAnnotation = "api-approved.kubernetes.io";

const columnTypes = ["boolean", "date", "integer", "number", "string"];
const columnFormats = ["binary", "bool", "byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const schemaTypes = ["array", "boolean", "integer", "number", "object", "string"];

/** Members of OpenAPI that structural schemas do not have. */
const unsupportedMembers: readonly string[] = [
  "definitions",
  "dependencies",
  "id",
  "patternProperties",
  "additionalItems",
  "$ref",
];

/** What junctors may not say, as the type of a field is said outside of them. */
const junctorForbidden: readonly string[] = [
  "type",
  "default",
  "description",
  "title",
  "additionalProperties",
  "nullable",
  "x-kubernetes-preserve-unknown-fields",
  "x-kubernetes-embedded-resource",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-map-type",
];

/** `.spec.replicas`, `.metadata.annotations['a.b']`, `.status.conditions[?(@.type=="Ready")].status`. */
const jsonPath = /^(\.[A-Za-z0-9_\\./-]*(\[[^\]]+\])?)+$/;
const simpleJsonPath = /^(\.[A-Za-z_][A-Za-z0-9_-]*|\['?[^\]']+'?\])+$/;

function checkNames(names: FieldCursor): void {
  const label = (name: FieldCursor, isRequired: boolean): void => {
    const text = name.text();
    if (text === "") {
      if (isRequired) name.required();
    } else name.invalidEach(dns1035LabelProblems(text), text);
  };
  const mixedCase = (name: FieldCursor): void => {
    const text = name.text();
    if (text === "") {
      name.required();
      return;
    }
    const problems = dns1035LabelProblems(text.toLowerCase());
    if (problems.length > 0)
      name.invalid(`may have mixed case, but should otherwise match: ${problems.join(",")}`, text);
  };
  label(names.at("plural"), true);
  label(names.at("singular"), false);
  mixedCase(names.at("kind"));
  mixedCase(names.at("listKind"));
  for (const short of names.at("shortNames").items()) label(short, true);
  for (const category of names.at("categories").items()) label(category, true);
  const kind = names.at("kind").text();
  if (kind !== "" && names.at("listKind").text() === kind)
    names.at("listKind").invalid("kind and listKind may not be the same", kind);
}

function checkJunctor(schema: FieldCursor): void {
  if (!isJsonObject(schema.value)) return;
  for (const name of junctorForbidden) {
    const member = schema.at(name);
    if (!member.present || member.value === false || member.value === "") continue;
    // A number or a text may be told apart in a junctor.
    if (name === "type" && isIntOrStringJunctor(schema)) continue;
    member.forbidden(`must be ${name === "type" ? "empty" : "undefined"} to be structural`);
  }
  for (const [, property] of properties(schema)) checkJunctor(property);
  checkJunctor(schema.at("items"));
  checkJunctors(schema);
}

function isIntOrStringJunctor(schema: FieldCursor): boolean {
  return ["integer", "string"].includes(schema.at("type").text()) && Object.keys(schema.value as object).length === 1;
}

function checkJunctors(schema: FieldCursor): void {
  for (const name of ["allOf", "anyOf", "oneOf"]) for (const each of schema.at(name).items()) checkJunctor(each);
  checkJunctor(schema.at("not"));
}

function properties(schema: FieldCursor): [string, FieldCursor][] {
  return schema.at("properties").entries();
}

function checkSchema(schema: FieldCursor, where: "root" | "property" | "item" | "value"): void {
  if (!schema.object()) return;
  const type = schema.at("type");
  const isOpen = schema.at("x-kubernetes-preserve-unknown-fields").boolean() === true;
  const isIntOrString = schema.at("x-kubernetes-int-or-string").boolean() === true;
  const isEmbedded = schema.at("x-kubernetes-embedded-resource").boolean() === true;
  if (type.text() === "") {
    if (where === "root") type.required("must not be empty at the root");
    else if (!isIntOrString && !isOpen) {
      const what = where === "item" ? "array items" : "object fields";
      type.required(`must not be empty for specified ${what}`);
    }
  } else if (where === "root" && type.text() !== "object") type.invalid("must be object at the root", type.text());
  else if (!schemaTypes.includes(type.text())) type.notSupported(schemaTypes);
  if (isIntOrString && type.text() !== "") type.invalid("must be empty to be structural", type.text());
  if (isEmbedded && type.text() !== "object" && where !== "root")
    type.invalid("must be object if x-kubernetes-embedded-resource is true", type.text());
  if (isOpen && type.text() !== "object" && type.text() !== "") type.invalid("must be object", type.text());

  for (const name of unsupportedMembers)
    if (schema.at(name).present) schema.at(name).forbidden(`${name} is not supported`);
  if (schema.at("uniqueItems").boolean() === true)
    schema
      .at("uniqueItems")
      .forbidden("uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
  if (schema.at("nullable").boolean() === true && where === "root")
    schema.at("nullable").forbidden("nullable cannot be true at the root");
  const additional = schema.at("additionalProperties");
  if (additional.present) {
    if (where === "root") additional.forbidden("must not be used at the root");
    else if (additional.value === false) additional.forbidden("additionalProperties cannot be set to false");
    if (schema.at("properties").present && Object.keys((schema.at("properties").value as object) ?? {}).length > 0)
      additional.forbidden("additionalProperties and properties are mutual exclusive");
    if (isJsonObject(additional.value)) checkSchema(additional, "value");
  }
  if (type.text() === "array" && !schema.at("items").present) schema.at("items").required("must be specified");
  if (Array.isArray(schema.at("items").value))
    schema.at("items").forbidden("items must be a schema object and not an array");
  else if (schema.at("items").present) checkSchema(schema.at("items"), "item");
  checkListType(schema);
  for (const [name, property] of properties(schema)) {
    const inner = property.as(`${schema.path}.properties[${name}]`);
    if (where === "root" && name === "metadata") checkMetadataSchema(inner);
    else checkSchema(inner, "property");
  }
  checkJunctors(schema);
  checkPattern(schema.at("pattern"));
  checkDefault(schema, where);
}

/** Nothing but constraints on names may be said of metadata, whose schema is given. */
function checkMetadataSchema(schema: FieldCursor): void {
  if (!schema.object()) return;
  const known = new Set(["type", "description", "properties", "title"]);
  const isOther = Object.keys(schema.value as object).some((name) => !known.has(name));
  const named = properties(schema).filter(([name]) => name !== "name" && name !== "generateName");
  if (isOther || named.length > 0)
    schema.forbidden(
      "must not specify anything other than name and generateName, but metadata is implicitly specified",
    );
  if (schema.at("type").present && schema.at("type").text() !== "object")
    schema.at("type").invalid("must be object", schema.at("type").text());
}

function checkListType(schema: FieldCursor): void {
  const listType = schema.at("x-kubernetes-list-type");
  const keys = schema.at("x-kubernetes-list-map-keys");
  const mapType = schema.at("x-kubernetes-map-type");
  const type = schema.at("type").text();
  if (listType.present) {
    if (type !== "array")
      listType.as(`${schema.path}.type`).invalid("must be array if x-kubernetes-list-type is specified", type);
    if (!["atomic", "map", "set"].includes(listType.text())) listType.notSupported(["atomic", "map", "set"]);
  }
  if (keys.present && listType.text() !== "map")
    listType.invalid("must be map if x-kubernetes-list-map-keys is non-empty", listType.text());
  if (listType.text() === "map") {
    if (keys.length === 0) keys.required("must not be empty if x-kubernetes-list-type is map");
    const items = schema.at("items");
    if (items.present && items.at("type").text() !== "object")
      items
        .at("type")
        .invalid(`must be object if parent array's x-kubernetes-list-type is map`, items.at("type").text());
    for (const key of keys.items()) {
      const name = key.text();
      const property = items.at("properties").at(name);
      if (!property.present) key.invalid("entries must all be names of item properties", name);
      else if (property.at("default").value === undefined && !listOf(items.at("required").value).includes(name)) {
        property
          .as(`${items.path}.properties[${name}]`)
          .at("default")
          .required(
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
          );
      }
    }
  }
  if (mapType.present) {
    if (type !== "object")
      mapType.as(`${schema.path}.type`).invalid("must be object if x-kubernetes-map-type is specified", type);
    if (!["atomic", "granular"].includes(mapType.text())) mapType.notSupported(["atomic", "granular"]);
  }
}

function checkPattern(pattern: FieldCursor): void {
  const text = pattern.text();
  if (text === "") return;
  try {
    new RegExp(text.replaceAll("(?P<", "(?<").replace(/^\(\?[ims]+\)/, ""));
  } catch {
    pattern.invalid("must be a valid regular expression, but isn't: error parsing regexp", text);
  }
}

function checkDefault(schema: FieldCursor, where: "root" | "property" | "item" | "value"): void {
  const value = schema.at("default");
  if (!value.present) return;
  if (where === "root") return;
  for (const error of validateStructural(value.value, schema.value as StructuralSchema, undefined, value.path))
    schema.errors.push(error);
}

function checkColumns(columns: FieldCursor): void {
  for (const column of columns.items()) {
    if (column.at("name").text() === "") column.at("name").required();
    const type = column.at("type").text();
    if (type === "") column.at("type").required(`must be one of ${columnTypes.join(",")}`);
    else if (!columnTypes.includes(type)) column.at("type").invalid(`must be one of ${columnTypes.join(",")}`, type);
    const format = column.at("format").text();
    if (format !== "" && !columnFormats.includes(format))
      column.at("format").invalid(`must be one of ${columnFormats.join(",")}`, format);
    const path = column.at("jsonPath").text();
    if (path === "") column.at("jsonPath").required();
    else if (!jsonPath.test(path)) column.at("jsonPath").invalid("is not a valid path", path);
  }
}

function checkSubresources(subresources: FieldCursor): void {
  const scale = subresources.at("scale");
  if (!scale.present) return;
  for (const [name, root, isRequired] of [
    ["specReplicasPath", ".spec.", true],
    ["statusReplicasPath", ".status.", true],
    ["labelSelectorPath", "", false],
  ] as const) {
    const path = scale.at(name);
    const text = path.text();
    if (text === "") {
      if (isRequired) path.required();
      continue;
    }
    if (!simpleJsonPath.test(text)) path.invalid("should be a json path in dot notation", text);
    if (root !== "" && !text.startsWith(root)) path.invalid(`should be a json path under ${root.slice(0, -1)}`, text);
    if (root === "" && !text.startsWith(".status.") && !text.startsWith(".spec."))
      path.invalid("should be a json path under either .spec or .status", text);
  }
}

function checkConversion(conversion: FieldCursor): void {
  if (!conversion.present) return;
  const strategy = conversion.at("strategy");
  if (strategy.text() === "") strategy.required();
  // Webhooks are not called here: to take one would serve objects in a version that they are not in.
  else if (strategy.text() !== "None") strategy.notSupported(["None"]);
  else if (conversion.at("webhook").present)
    conversion.at("webhook").forbidden("should not be set when strategy is not set to Webhook");
}

function checkVersions(versions: FieldCursor): void {
  const seen = new Set<string>();
  let isUnique = true;
  let storages = 0;
  for (const version of versions.items()) {
    const name = version.at("name").text();
    if (seen.has(name)) isUnique = false;
    seen.add(name);
    if (version.at("storage").boolean() === true) storages++;
    version.at("name").invalidEach(dns1035LabelProblems(name), name);
    const schema = version.at("schema").at("openAPIV3Schema");
    if (!schema.present) schema.required("schemas are required");
    else checkSchema(schema, "root");
    checkColumns(version.at("additionalPrinterColumns"));
    checkSubresources(version.at("subresources"));
    for (const field of version.at("selectableFields").items()) {
      const path = field.at("jsonPath").text();
      if (path === "") field.at("jsonPath").required();
      else if (!simpleJsonPath.test(path)) field.at("jsonPath").invalid("is an invalid path", path);
    }
    const warning = version.at("deprecationWarning");
    if (warning.present && version.at("deprecated").boolean() !== true)
      warning.invalid("can only be set for deprecated versions", warning.text());
  }
  if (!isUnique) versions.invalid("must contain unique version names");
  if (storages !== 1) versions.invalid("must have exactly one version marked as storage version");
}

/** Whether a schema, or anything within it, has rules in CEL. */
function hasRules(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.some(hasRules);
  if (!isJsonObject(schema)) return false;
  if (listOf(schema["x-kubernetes-validations"]).length > 0) return true;
  return Object.values(schema).some(hasRules);
}

/** Texts for who writes a CustomResourceDefinition: what its schemas ask for and does not happen here. */
export function customResourceDefinitionWarnings(definition: unknown): string[] {
  return listOf(pathOf(definition, "spec", "versions")).flatMap((version, index) =>
    hasRules(pathOf(version, "schema", "openAPIV3Schema"))
      ? [
          `spec.versions[${index}].schema.openAPIV3Schema: x-kubernetes-validations are kept but not evaluated by this server`,
        ]
      : [],
  );
}

function isEstablished(definition: unknown): boolean {
  return listOf(pathOf(definition, "status", "conditions")).some(
    (condition) => fieldOf(condition, "type") === "Established" && fieldOf(condition, "status") === "True",
  );
}

/** Whether a group belongs to Kubernetes itself. */
export function isProtectedGroup(group: string): boolean {
  return /(^|\.)(k8s\.io|kubernetes\.io)$/.test(group);
}

/**
 * Checks a CustomResourceDefinition (apiextensions `pkg/apis/apiextensions/validation`). Conversion by webhook is refused, since
 * nothing here calls one.
 */
export function checkCustomResourceDefinition(root: FieldCursor, old: unknown): void {
  const spec = root.at("spec");
  const group = spec.at("group");
  const plural = spec.at("names").at("plural").text();
  if (old === undefined) {
    const name = root.at("metadata").at("name");
    if (name.text() !== `${plural}.${group.text()}`)
      name.invalid(`must be spec.names.plural+"."+spec.group`, name.text());
    const approval = root.at("metadata").at("annotations").at(approvalAnnotation);
    if (isProtectedGroup(group.text()) && approval.text() === "")
      approval
        .as(`metadata.annotations[${approvalAnnotation}]`)
        .required(
          `protected groups must have approval annotation "${approvalAnnotation}", see https://github.com/kubernetes/enhancements/pull/1111`,
        );
  }
  if (group.text() === "") group.required();
  else {
    group.invalidEach(dnsSubdomainProblems(group.text()), group.text());
    if (!group.text().includes(".")) group.invalid("should be a domain with at least one dot", group.text());
  }
  const scope = spec.at("scope");
  if (scope.text() === "") scope.required();
  else if (!["Cluster", "Namespaced"].includes(scope.text())) scope.notSupported(["Cluster", "Namespaced"]);
  if (spec.at("preserveUnknownFields").boolean() === true)
    spec
      .at("preserveUnknownFields")
      .invalid(
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        true,
      );
  checkVersions(spec.at("versions"));
  checkNames(spec.at("names"));
  checkConversion(spec.at("conversion"));
  if (old === undefined) return;

  const immutable = (field: FieldCursor, before: unknown): void => {
    if (!equalJson(field.value, before)) field.invalid("field is immutable");
  };
  immutable(group, pathOf(old, "spec", "group"));
  immutable(spec.at("names").at("plural"), pathOf(old, "spec", "names", "plural"));
  if (isEstablished(old)) {
    immutable(scope, pathOf(old, "spec", "scope"));
    immutable(spec.at("names").at("kind"), pathOf(old, "spec", "names", "kind"));
  }
  checkStoredVersions(root);
}

/** Versions in which objects may still be stored have to stay. */
function checkStoredVersions(root: FieldCursor): void {
  const known = new Set(
    listOf(pathOf(root.value, "spec", "versions")).map((version) => textOf(fieldOf(version, "name"))),
  );
  for (const stored of root.at("status").at("storedVersions").items()) {
    const name = stored.text();
    if (!known.has(name))
      stored.invalid(
        `missing from spec.versions; ${name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${name} and removes ${name} from status.storedVersions`,
        name,
      );
  }
}
