import {
  badRequestStatus,
  type KubernetesObject,
  requestEntityTooLargeStatus,
  schemaOf,
  unsupportedMediaTypeStatus,
} from "@portolan/core";
import { parseDocument } from "yaml";
import { type Decoded, DecodeError } from "../encoding/decoding.ts";
import {
  checkDepth,
  isJsonObject,
  JsonSyntaxError,
  type JsonValue,
  type ParsedJson,
  parseJson,
} from "../encoding/json.ts";
import type { ObjectCodec } from "../object-codec.ts";
import { decodeProtobuf } from "../protobuf/index.ts";
import type { ResourceDefinition } from "../resource-definition.ts";
import { mediaTypeOf, objectMediaTypes } from "./media-type.ts";

/** Largest body that is read, in bytes (3 MiB, `MaxRequestBodyBytes`). */
export const maxBodyBytes: number = 3 * 1024 * 1024;

/** A request body. */
export type Body = string | Uint8Array | undefined;

/** @throws StatusError 413 */
export function checkBodySize(body: Body): void {
  if (body === undefined) return;
  // Text is measured in UTF-16 units first: it has at least as many bytes.
  const size =
    typeof body === "string" ? (body.length > maxBodyBytes ? body.length : Buffer.byteLength(body)) : body.byteLength;
  if (size > maxBodyBytes) throw requestEntityTooLargeStatus(`limit is ${maxBodyBytes}`);
}

function textOf(body: Body): string {
  if (body === undefined) return "";
  return typeof body === "string" ? body : new TextDecoder().decode(body);
}

function withoutFindings(value: JsonValue): ParsedJson {
  return { value, duplicates: new Map(), floats: new Map() };
}

/** Go shows what it could not read: text as it is, anything else in hexadecimal. */
function summary(text: string): string {
  const limit = 30;
  if (text === "") return "<empty>";
  if (text.startsWith("{")) return text.length > limit ? `${text.slice(0, limit)} ...` : text;
  const bytes = Buffer.from(text, "utf8");
  return bytes.length > limit ? `${bytes.subarray(0, limit).toString("hex")} ...` : bytes.toString("hex");
}

/** YAML as plain values. Dates stay text, keys become text, and aliases may not explode. */
export function parseYaml(text: string): JsonValue {
  try {
    const document = parseDocument(text, { uniqueKeys: false, version: "1.1", schema: "core", merge: false });
    const error = document.errors[0];
    if (error !== undefined) {
      // The parser recurses, and tells of its stack's end among the errors of the text.
      const isDeep = error.message.includes("call stack");
      throw new JsonSyntaxError(`yaml: ${isDeep ? "exceeded max depth" : error.message.split("\n")[0]}`, 0);
    }
    const value = document.toJS({ maxAliasCount: 100 }) as JsonValue;
    checkDepth(value);
    return value;
  } catch (error) {
    if (error instanceof RangeError) throw new JsonSyntaxError("yaml: exceeded max depth", 0);
    throw error;
  }
}

/** Parses a body by its content type, whatever it holds. */
function parseBody(body: Body, contentType: string | undefined, kind: string): ParsedJson {
  const text = (): string => textOf(body);
  switch (mediaTypeOf(contentType)) {
    case "":
    case "application/json":
      try {
        return parseJson(text());
      } catch (error) {
        if (!(error instanceof JsonSyntaxError)) throw error;
        throw unrecognized(kind, `couldn't get version/kind; json parse error: ${error.message}`, text());
      }
    case "application/yaml":
      try {
        return withoutFindings(parseYaml(text()));
      } catch (error) {
        throw unrecognized(kind, `couldn't get version/kind; json parse error: ${(error as Error).message}`, text());
      }
    case "application/vnd.kubernetes.protobuf":
      try {
        return withoutFindings(
          decodeProtobuf(
            typeof body === "string" ? Buffer.from(body, "latin1") : (body ?? new Uint8Array()),
          ) as unknown as JsonValue,
        );
      } catch (error) {
        throw badRequestStatus(
          `the object provided is unrecognized (must be of type ${kind}): ${(error as Error).message}`,
        );
      }
    default:
      throw unsupportedMediaTypeStatus(objectMediaTypes);
  }
}

function unrecognized(kind: string, problem: string, text: string): Error {
  return badRequestStatus(
    `the object provided is unrecognized (must be of type ${kind}): ${problem} (${summary(text)})`,
  );
}

/** What was asked for when fields are not known. */
export type FieldValidation = "Ignore" | "Warn" | "Strict";

/** What the object of a body ought to be. */
type BodyType = Pick<ResourceDefinition, "apiVersion" | "kind" | "version" | "custom">;

/** Settings of {@link decodeBody}. */
export interface DecodeOptions {
  readonly validation: FieldValidation;
  readonly warn: (text: string) => void;
}

/**
 * Reads the object of a create or replace.
 *
 * @throws StatusError 400 and 415 in the words of the real server
 */
export function decodeBody(
  body: Body,
  contentType: string | undefined,
  type: BodyType,
  codec: Pick<ObjectCodec, "decode">,
  options: DecodeOptions,
): KubernetesObject {
  const document = parseBody(body, contentType, type.kind);
  const value = document.value;
  if (!isJsonObject(value)) {
    const found = Array.isArray(value)
      ? "array"
      : value === null
        ? "null"
        : typeof value === "boolean"
          ? "bool"
          : typeof value;
    throw unrecognized(
      type.kind,
      `couldn't get version/kind; json parse error: json: cannot unmarshal ${found} into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }`,
      textOf(body),
    );
  }
  if (type.custom === undefined) checkType(value, type);
  else checkCustomType(value, type, textOf(body));
  return decodeParsed(document, type, codec, options);
}

/** Objects of custom resources say what they are. */
function checkCustomType(value: { [key: string]: JsonValue }, type: BodyType, text: string): void {
  const { kind, apiVersion } = value;
  if (typeof kind !== "string" || kind === "")
    throw unrecognized(type.kind, `Object 'Kind' is missing in '${text}'`, text);
  if (apiVersion !== type.apiVersion)
    throw badRequestStatus(
      `the API version in the data (${typeof apiVersion === "string" ? apiVersion : ""}) does not match the expected API version (${type.apiVersion})`,
    );
}

/** Checks `apiVersion` and `kind` of a body against those of its endpoint; absent ones are the endpoint's. */
function checkType(value: { [key: string]: JsonValue }, type: BodyType): void {
  const kind = value["kind"];
  const apiVersion = value["apiVersion"];
  const givenKind = typeof kind === "string" && kind !== "" ? kind : type.kind;
  const givenVersion = typeof apiVersion === "string" && apiVersion !== "" ? apiVersion : type.apiVersion;
  if (givenKind === type.kind && givenVersion === type.apiVersion) return;
  const version = givenVersion.slice(givenVersion.indexOf("/") + 1);
  const label = `${givenKind} in version ${JSON.stringify(version)} cannot be handled as a ${type.kind}`;
  if (schemaOf(givenVersion, givenKind) === undefined) {
    throw badRequestStatus(
      `${label}: no kind ${JSON.stringify(givenKind)} is registered for version ${JSON.stringify(givenVersion)} in scheme "pkg/api/legacyscheme/scheme.go:30"`,
    );
  }
  if (givenKind !== type.kind) {
    const group = (apiVersion: string): string =>
      apiVersion.includes("/") ? (apiVersion.slice(0, apiVersion.indexOf("/")).split(".")[0] as string) : "core";
    throw badRequestStatus(
      `${label}: converting (v1.${givenKind}) to (${group(type.apiVersion)}.${type.kind}): unknown conversion`,
    );
  }
  throw badRequestStatus(
    `the API version in the data (${givenVersion}) does not match the expected API version (${type.apiVersion})`,
  );
}

/** Decodes what has been parsed, and reports unknown and duplicate fields as asked. */
export function decodeParsed(
  document: ParsedJson,
  type: BodyType,
  codec: Pick<ObjectCodec, "decode">,
  options: DecodeOptions,
): KubernetesObject {
  const label = `${type.kind} in version ${JSON.stringify(type.version)} cannot be handled as a ${type.kind}`;
  let decoded: Decoded;
  try {
    decoded = codec.decode(document);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw badRequestStatus(`${label}: ${error.message}`);
  }
  if (decoded.problems.length > 0) {
    if (options.validation === "Strict")
      throw badRequestStatus(`${label}: strict decoding error: ${decoded.problems.join(", ")}`);
    if (options.validation === "Warn") for (const problem of decoded.problems) options.warn(problem);
  }
  const object = decoded.object as unknown as KubernetesObject;
  // Another kind of a custom resource's object is for validation to refuse.
  if (type.custom === undefined) object.kind = type.kind;
  object.apiVersion = type.apiVersion;
  object.metadata ??= {};
  return object;
}

/** Parses a patch. */
export function parsePatch(body: Body, mediaType: string): JsonValue {
  const text = textOf(body);
  if (mediaType === "application/apply-patch+yaml") {
    try {
      return text.trimStart().startsWith("{") ? parseJson(text).value : parseYaml(text);
    } catch (error) {
      throw badRequestStatus(`error decoding YAML: ${(error as Error).message}`);
    }
  }
  try {
    return parseJson(text).value;
  } catch (error) {
    throw badRequestStatus((error as Error).message);
  }
}

/**
 * An already decoded value as a document without findings.
 *
 * @throws JsonSyntaxError when it nests too deep, as a patch on a patch may
 */
export function documentOf(value: JsonValue): ParsedJson {
  checkDepth(value);
  return withoutFindings(value);
}
