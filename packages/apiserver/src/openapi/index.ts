import { createHash } from "node:crypto";
import { notAcceptable } from "../discovery/index.ts";
import { admits, parseAccept } from "../discovery/media-type.ts";
import type { ResourceDefinition } from "../resource-definition.ts";
import { encodeGnostic } from "./gnostic.ts";
import { addPaths, type Paths } from "./paths.ts";
import { Definitions } from "./schemas.ts";

/** An answer that is ready to be sent. */
export interface OpenapiResponse {
  readonly status: number;
  readonly contentType: string;
  /** `etag` and what caches need to know; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for 304 and for redirects. */
  readonly body: string | Uint8Array;
}

/** Parts of a request that decide what is answered, beside path and Accept header. */
export interface OpenapiRequest {
  /** Header If-None-Match. kubectl keeps documents on disk and asks whether they are still good. */
  readonly ifNoneMatch?: string | undefined;
  /** Query parameter `hash`, which makes a document cacheable for good. */
  readonly hash?: string | undefined;
}

const gnosticType = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/** How clients write {@link gnosticType}; the `@` is no character of a media type. */
const gnosticTypeAsked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

const info = { title: "Kubernetes", version: "v1.36.2" };

/** Documents of a set of kinds. They are made when somebody asks for them, and kept. */
interface Documents {
  readonly index: () => string;
  /** `api/v1`, `apis/apps/v1`, … */
  readonly versions: ReadonlyMap<string, { readonly hash: string; readonly text: () => string }>;
  readonly swagger: () => string;
  readonly gnostic: () => Uint8Array;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** SHA-512 in upper-case hexadecimal digits, as the real server has it. */
function sha512(content: string | Uint8Array): string {
  return createHash("sha512").update(content).digest("hex").toUpperCase();
}

function groupVersionPath({ group, version }: ResourceDefinition): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

function versionDocument(definitions: readonly ResourceDefinition[]): string {
  const schemas = new Definitions("v3");
  const paths: Paths = {};
  for (const definition of definitions) addPaths(paths, definition, schemas, "v3");
  return JSON.stringify({ openapi: "3.0.0", info, paths, components: { schemas: schemas.toJSON() } });
}

function swaggerDocument(registry: readonly ResourceDefinition[]): { [key: string]: unknown } {
  const schemas = new Definitions("v2");
  const paths: Paths = {};
  for (const definition of registry) addPaths(paths, definition, schemas, "v2");
  return { swagger: "2.0", info, paths, definitions: schemas.toJSON() };
}

function documentsOf(registry: readonly ResourceDefinition[]): Documents {
  const byVersion = new Map<string, ResourceDefinition[]>();
  for (const definition of registry) {
    const path = groupVersionPath(definition);
    byVersion.set(path, [...(byVersion.get(path) ?? []), definition]);
  }
  const versions = new Map(
    [...byVersion]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      // The kinds decide what is in a document, so that their hash serves for it, and it need not be made for the index.
      .map(([path, definitions]) => [
        path,
        { hash: sha512(JSON.stringify([info, definitions])), text: once(() => versionDocument(definitions)) },
      ]),
  );
  const swagger = once(() => swaggerDocument(registry));
  return {
    index: once(() => {
      const paths = [...versions].map(([path, { hash }]) => [
        path,
        { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` },
      ]);
      return JSON.stringify({ paths: Object.fromEntries(paths) });
    }),
    versions,
    swagger: once(() => JSON.stringify(swagger())),
    gnostic: once(() => encodeGnostic(swagger())),
  };
}

/** Sets of kinds whose documents are kept: one for each server, and a few for those whose custom resources change. */
const keptDocuments = 8;
const kept = new Map<string, Documents>();

function documents(registry: readonly ResourceDefinition[]): Documents {
  const key = sha512(JSON.stringify(registry));
  const known = kept.get(key);
  if (known !== undefined) return known;
  const made = documentsOf(registry);
  kept.set(key, made);
  for (const oldest of [...kept.keys()].slice(0, Math.max(0, kept.size - keptDocuments))) kept.delete(oldest);
  return made;
}

function answer(
  content: string | Uint8Array,
  contentType: string,
  request: OpenapiRequest,
  headers: Readonly<Record<string, string>> = {},
): OpenapiResponse {
  const etag = `"${sha512(content)}"`;
  const all = { etag, vary: "Accept", ...headers };
  const matches = request.ifNoneMatch?.split(",").some((each) => [etag, `W/${etag}`, "*"].includes(each.trim()));
  return matches
    ? { status: 304, contentType, headers: all, body: "" }
    : { status: 200, contentType, headers: all, body: content };
}

/**
 * Answers a GET of `/openapi/v2`, `/openapi/v3` and `/openapi/v3/…`; `undefined` for every other path.
 *
 * `/openapi/v3` lists one document for each group and version. kubectl learns from them whether the server checks unknown fields
 * itself, how lists merge in a patch, and what `kubectl explain` shows. `/openapi/v2` is one document for everything, in JSON or,
 * for those who ask, in the protobuf of gnostic.
 *
 * Documents are made at their first request, in some tens of milliseconds (in gnostic's protobuf, some hundreds); later ones cost a
 * hash of the kinds.
 *
 * @param path without the query
 * @param accept the Accept header
 */
export function openapiResponse(
  path: string,
  accept: string,
  registry: readonly ResourceDefinition[],
  request: OpenapiRequest = {},
): OpenapiResponse | undefined {
  const [root, version, ...rest] = path.split("/").filter((segment) => segment !== "");
  if (root !== "openapi" || (version !== "v2" && version !== "v3")) return undefined;
  const accepted = parseAccept(accept);
  if (version === "v2") {
    if (rest.length > 0) return undefined;
    for (const entry of accepted) {
      if (entry.type === gnosticTypeAsked || entry.type === gnosticType) {
        return answer(documents(registry).gnostic(), gnosticType, request);
      }
      if (admits(entry, "application/json")) return answer(documents(registry).swagger(), "application/json", request);
    }
    return { ...notAcceptable(["application/json", gnosticTypeAsked]), headers: {} };
  }
  const known = rest.length === 0 ? undefined : documents(registry).versions.get(rest.join("/"));
  if (rest.length > 0 && known === undefined) return undefined;
  if (!accepted.some((entry) => admits(entry, "application/json"))) {
    return { ...notAcceptable(["application/json"]), headers: {} };
  }
  if (known === undefined) return answer(documents(registry).index(), "application/json", request);
  if (request.hash !== undefined && request.hash !== "" && request.hash !== known.hash) {
    const location = `/openapi/v3/${rest.join("/")}?hash=${known.hash}`;
    return { status: 301, contentType: "text/plain", headers: { location }, body: "" };
  }
  // A document under its hash never changes. Without one it may, when a custom resource is added.
  const cache = request.hash === known.hash ? "public, immutable, max-age=31536000" : "public, max-age=60";
  return answer(known.text(), "application/json", request, { "cache-control": cache });
}
