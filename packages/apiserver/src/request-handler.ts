import type { ApiRequest, ApiResponse, Clock } from "@portolan/client";
import { sleep } from "@portolan/client";
import {
  badRequestStatus,
  expiredStatus,
  invalid,
  invalidStatus,
  type KubernetesObject,
  type ListMeta,
  methodNotAllowedStatus,
  resourceNotFoundStatus,
  type Schema,
  type Status,
  type StatusError,
  schemaOf,
  statusErrorOf,
  tooLargeResourceVersionStatus,
  tooOldResourceVersionStatus,
  unsupportedMediaTypeStatus,
} from "@portolan/core";
import type { IPFamily } from "@portolan/net";
import type { AccessControl } from "./access-control/access-control.ts";
import { accessForbidden, authorize } from "./access-control/authorize.ts";
import { checkEscalation } from "./access-control/escalation.ts";
import { followAggregatedRoles } from "./access-control/role-aggregation.ts";
import type { ServiceAllocator } from "./allocators/service-allocator.ts";
import { anonymousUser, serviceAccountUser, type User } from "./authorization.ts";
import { definitionsCollection } from "./custom-resources/custom-resource-definition.ts";
import {
  type CustomResourceRegistry,
  createCustomResourceRegistry,
} from "./custom-resources/custom-resource-registry.ts";
import { discoveryResponse, type VersionInfo } from "./discovery/index.ts";
import { DecodeError } from "./encoding/decoding.ts";
import { isJsonObject, JsonSyntaxError, type JsonValue } from "./encoding/json.ts";
import { createEventCodec, eventsCollection } from "./event-codec.ts";
import type { FaultInjector } from "./faults.ts";
import type { FeatureGates } from "./feature-gates.ts";
import { configurationProblems } from "./fields/typed-value.ts";
import { createBuiltinCodec } from "./object-codec.ts";
import { openapiResponse } from "./openapi/index.ts";
import { applyJsonPatch } from "./patches/json-patch.ts";
import { applyMergePatch } from "./patches/merge-patch.ts";
import { applyStrategicMergePatch } from "./patches/strategic-merge-patch.ts";
import type { PodStreams } from "./pod-streams.ts";
import type { IncludeObject } from "./printers/index.ts";
import {
  bookmarkObject,
  createEventPrinter,
  finish,
  type Printer,
  printList,
  printListBytes,
  printObject,
} from "./representation.ts";
import { type Body, checkBodySize, decodeBody, documentOf, parsePatch } from "./requests/body.ts";
import { mediaTypeOf, negotiate, type Representation } from "./requests/media-type.ts";
import {
  type DeleteOptions,
  type ListOptions,
  readDeleteOptions,
  readListOptions,
  readWriteOptions,
  type WriteOptions,
} from "./requests/options.ts";
import { collectionName, type RequestInfo, readRequestInfo } from "./requests/request-info.ts";
import type { ResourceDefinition } from "./resource-definition.ts";
import { type Change, ResourceStorage, type WriteContext, type WriteResult } from "./resource-storage.ts";
import { compileSelection } from "./selection.ts";
import { takeSnapshot } from "./store/history.ts";
import type { Store, StorePosition } from "./store/store.ts";
import { strategyOf } from "./strategies/index.ts";
import type { StrategyContext } from "./strategies/strategy.ts";
import type { Subresources } from "./subresources.ts";
import type { WatchHub } from "./watch/watch-hub.ts";

/** Longest URL that is read, in characters. */
const maxUrlLength = 64 * 1024;

/** How long a read waits for a revision that has not been reached. */
const revisionWait = 3_000;

const applyPatchType = "application/apply-patch+yaml";
const patchTypes = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  applyPatchType,
];

/** Strategic merge needs a patch strategy per field, which definitions of custom resources cannot say. */
const customPatchTypes = patchTypes.filter((type) => type !== "application/strategic-merge-patch+json");

const endpointsWarning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/** What the handler of requests is made of. */
export interface RequestHandlerOptions {
  readonly store: Store;
  readonly registry: readonly ResourceDefinition[];
  readonly allocator: ServiceAllocator;
  readonly ipFamilies: readonly IPFamily[];
  readonly projectedConfigMaps: readonly string[];
  readonly gates: FeatureGates;
  readonly accessControl: AccessControl;
  readonly clock: Clock;
  readonly random: () => number;
  readonly version: VersionInfo;
  readonly serverAddress: string;
  readonly hub: WatchHub;
  readonly faults: FaultInjector;
  readonly podStreams: PodStreams | undefined;
  readonly subresources: Subresources;
  readonly metrics: RequestMetrics;
}

/** Counts requests for `/metrics`. */
export interface RequestMetrics {
  observe(verb: string, resource: string, code: number, seconds: number): void;
  text(): string;
}

/** One request on its way through the handler. */
export interface Exchange {
  readonly request: ApiRequest;
  readonly info: RequestInfo;
  readonly user: User;
  /** Texts of Warning headers, in order and without repetition. */
  readonly warnings: string[];
  readonly form: BodyForm;
}

/** In which form an answer is of use: text to who parses it, bytes to who sends it on. Either may come as text. */
export type BodyForm = "text" | "bytes";

/** Answers requests of one server. */
export interface RequestHandler {
  /** @param form `text` unless given */
  handle(request: ApiRequest, user: User, form?: BodyForm): Promise<ApiResponse>;
  /** Answers a request with a failure that was found before it came here. */
  refuse(request: ApiRequest, error: StatusError): ApiResponse;
  storageOf(collection: string): ResourceStorage | undefined;
  contextFor(dryRun: boolean, warn?: (text: string) => void): StrategyContext;
  /** Answers with an object in the form that the client asked for. */
  respondObject(
    exchange: Exchange,
    status: number,
    object: KubernetesObject,
    definition: ResourceDefinition,
    schema: Schema,
  ): ApiResponse;
  /** The patch of a request; refuses media types that the kind has no patches of, and settings that they do not take. */
  readPatch(exchange: Exchange, definition: ResourceDefinition): PatchRequest;
  /** An object with a patch of another media type than that of apply laid over it. */
  patched(exchange: Exchange, kind: PatchedKind, old: KubernetesObject, patch: PatchRequest): KubernetesObject;
  /** What a patch of server-side apply names; its name is the one of the URL unless it says so. */
  configurationOf(exchange: Exchange, kind: PatchedKind, value: JsonValue): KubernetesObject;
  /** Refuses an object of a body whose name or namespace is not the one of the URL. */
  checkIdentity(object: KubernetesObject, exchange: Exchange, definition: ResourceDefinition): void;
  /** Ends what follows the store. */
  close(): void;
}

/** A patch as it came. */
export interface PatchRequest {
  readonly mediaType: string;
  readonly value: JsonValue;
  readonly options: WriteOptions;
}

/** What patches need to know about the kind that they change. */
export type PatchedKind = Pick<ResourceStorage, "definition" | "codec" | "schema">;

function header(request: ApiRequest, name: string): string | undefined {
  return Object.hasOwn(request.headers, name) ? request.headers[name] : undefined;
}

/** The Warning header's text (RFC 7234, section 5.5): code, agent, quoted text. */
function warningHeader(text: string): string {
  return `299 - ${JSON.stringify(text)}`;
}

/** Who owns the fields that a request sets, unless it says so: the program before the first slash of its user agent. */
function managerOf(options: WriteOptions, request: ApiRequest): string {
  if (options.fieldManager !== "") return options.fieldManager;
  const agent = header(request, "user-agent") ?? "";
  const slash = agent.indexOf("/");
  return (slash < 0 ? agent : agent.slice(0, slash)).slice(0, 128) || "unknown";
}

/** Makes the handler. */
export function createRequestHandler(options: RequestHandlerOptions): RequestHandler {
  const { store, registry, clock, hub } = options;
  const storages = new Map<string, ResourceStorage>();
  const definitions = new Map<string, ResourceDefinition>();
  const groupVersions = new Set<string>();
  for (const definition of registry) {
    definitions.set(`${definition.group}/${definition.version}/${definition.resource}`, definition);
    groupVersions.add(`${definition.group}/${definition.version}`);
    const schema = schemaOf(definition.apiVersion, definition.kind);
    if (schema === undefined || !definition.verbs.includes("get")) continue;
    const collection = collectionName(definition);
    // Events are stored once and seen in two groups.
    const codec = collection === "events.events.k8s.io" ? createEventCodec(schema) : createBuiltinCodec(schema);
    const storedIn = collection === "events.events.k8s.io" ? eventsCollection : collection;
    storages.set(collection, new ResourceStorage(definition, schema, strategyOf(collection), store, codec, storedIn));
  }

  const custom: CustomResourceRegistry = createCustomResourceRegistry({
    store,
    builtin: registry,
    definitions: () => storages.get(definitionsCollection),
    context: () => contextFor(false),
    cutWatches: (collection) => hub.cut(collection),
  });

  const stopAggregation = followAggregatedRoles({
    store,
    storage: () => storages.get("clusterroles.rbac.authorization.k8s.io"),
    context: () => contextFor(false),
  });

  /** All kinds that are served now. */
  function served(): readonly ResourceDefinition[] {
    const added = custom.list();
    return added.length === 0 ? registry : [...registry, ...added];
  }

  function storageFor(definition: ResourceDefinition): ResourceStorage | undefined {
    return definition.custom === undefined ? storages.get(collectionName(definition)) : custom.storageOf(definition);
  }

  function contextFor(dryRun: boolean, warn: (text: string) => void = () => {}): StrategyContext {
    return {
      store,
      allocator: options.allocator,
      ipFamilies: options.ipFamilies,
      projectedConfigMaps: options.projectedConfigMaps,
      gates: options.gates,
      now: clock.now(),
      random: options.random,
      dryRun,
      warn,
    };
  }

  function warner(exchange: Exchange): (text: string) => void {
    return (text) => {
      if (!exchange.warnings.includes(text)) exchange.warnings.push(text);
    };
  }

  function respond(
    exchange: Exchange,
    status: number,
    body: string | Uint8Array,
    contentType = "application/json",
    headers: Readonly<Record<string, string>> = {},
  ): ApiResponse {
    return {
      status,
      headers: {
        "content-type": contentType,
        ...headers,
        ...(exchange.warnings.length === 0 ? {} : { warning: exchange.warnings.map(warningHeader) }),
      },
      body,
    };
  }

  function respondStatus(exchange: Exchange, status: Status): ApiResponse {
    const retryAfter = status.details?.retryAfterSeconds;
    const wantsYaml = mediaTypeOf(header(exchange.request, "accept")) === "application/yaml";
    const text = finish(JSON.stringify(status), wantsYaml ? "yaml" : "json", isPretty(exchange));
    return respond(
      exchange,
      status.code ?? 500,
      text,
      wantsYaml ? "application/yaml" : "application/json",
      retryAfter === undefined ? {} : { "retry-after": String(retryAfter) },
    );
  }

  function isPretty(exchange: Exchange): boolean {
    const pretty = exchange.info.query.get("pretty");
    if (pretty !== null) return pretty !== "false" && pretty !== "0";
    const agent = header(exchange.request, "user-agent") ?? "";
    return agent.startsWith("curl") || agent.startsWith("Wget") || agent.startsWith("Mozilla/5.0");
  }

  function printerFor(
    exchange: Exchange,
    definition: ResourceDefinition,
    schema: Schema,
    representation: Representation,
  ): Printer {
    const include = exchange.info.query.get("includeObject") ?? "Metadata";
    if (
      representation.as === "Table" &&
      include !== "" &&
      include !== "None" &&
      include !== "Metadata" &&
      include !== "Object"
    ) {
      throw badRequestStatus(`unrecognized includeObject value: ${JSON.stringify(include)}`);
    }
    return {
      definition,
      schema,
      representation,
      includeObject: (include === "" ? "Metadata" : include) as IncludeObject,
      now: clock.now(),
      pretty: isPretty(exchange),
    };
  }

  function respondObject(
    exchange: Exchange,
    status: number,
    object: KubernetesObject,
    definition: ResourceDefinition,
    schema: Schema,
  ): ApiResponse {
    const representation = negotiate(header(exchange.request, "accept"), true);
    const printer = printerFor(exchange, definition, schema, representation);
    const text = finish(printObject(object, printer), representation.format, printer.pretty);
    return respond(exchange, status, text, representation.format === "yaml" ? "application/yaml" : "application/json");
  }

  // ---- reads -----------------------------------------------------------------------------------------------------------------------

  function parseRevision(text: string, badStatus: (message: string) => StatusError): number | undefined {
    if (text === "") return undefined;
    if (!/^\d+$/.test(text)) throw badStatus(`strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`);
    return Number(text);
  }

  async function waitForRevision(revision: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    if (revision === undefined || revision <= store.revision) return;
    let done: () => void = () => {};
    const reached = new Promise<void>((resolve) => {
      done = resolve;
    });
    const stop = store.subscribe(() => {
      if (store.revision >= revision) done();
    });
    try {
      await Promise.race([reached, sleep(clock, revisionWait, signal)]);
    } finally {
      stop();
    }
    if (revision > store.revision) throw tooLargeResourceVersionStatus(revision, store.revision);
  }

  async function get(exchange: Exchange, storage: ResourceStorage): Promise<ApiResponse> {
    const { info } = exchange;
    const revision = parseRevision(info.query.get("resourceVersion") ?? "", (message) =>
      badRequestStatus(
        `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(info.query.get("resourceVersion"))}: ${message}`,
      ),
    );
    await waitForRevision(revision, exchange.request.signal);
    const stored = storage.get(storage.definition.namespaced ? info.namespace : "", info.name);
    return respondObject(exchange, 200, storage.codec.view(stored.object), storage.definition, storage.schema);
  }

  interface ContinueToken {
    readonly revision: number;
    readonly after: StorePosition;
  }

  function encodeContinue(revision: number, position: StorePosition, namespaced: boolean): string {
    const start = `${namespaced ? `${position.namespace}/` : ""}${position.name}\u0000`;
    return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start }), "utf8").toString("base64url");
  }

  function decodeContinue(text: string, namespaced: boolean): ContinueToken {
    let token: unknown;
    try {
      token = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
    } catch {
      throw badRequestStatus("continue key is not valid: illegal base64 data at input byte 0");
    }
    if (!isJsonObject(token))
      throw badRequestStatus(
        "continue key is not valid: json: cannot unmarshal into Go value of type storage.continueToken",
      );
    const { v, rv, start } = token;
    if (v !== "meta.k8s.io/v1")
      throw badRequestStatus(
        `continue key is not valid: server does not recognize this encoded version ${JSON.stringify(v ?? "")}`,
      );
    if (typeof rv !== "number" || rv === 0)
      throw badRequestStatus(
        "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
      );
    if (typeof start !== "string" || start === "")
      throw badRequestStatus("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)");
    const key = start.replace(/\u0000$/, "");
    const slash = namespaced ? key.indexOf("/") : -1;
    return { revision: rv, after: { namespace: slash < 0 ? "" : key.slice(0, slash), name: key.slice(slash + 1) } };
  }

  async function list(exchange: Exchange, storage: ResourceStorage): Promise<ApiResponse> {
    const { info, request } = exchange;
    const { definition } = storage;
    const listOptions = readListOptions(info.query, false);
    const representation = negotiate(header(request, "accept"), true);
    const printer = printerFor(exchange, definition, storage.schema, representation);
    const selection = compileSelection(listOptions.labelSelector, listOptions.fieldSelector, definition);
    const namespace = definition.namespaced && info.namespace !== "" ? info.namespace : undefined;

    const asked = parseRevision(listOptions.resourceVersion, (message) =>
      badRequestStatus(
        `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(listOptions.resourceVersion)}: ${message}`,
      ),
    );
    let revision: number | undefined;
    let after: StorePosition | undefined;
    if (listOptions.continueToken !== "") {
      if (listOptions.resourceVersion !== "" && listOptions.resourceVersion !== "0") {
        throw badRequestStatus("specifying resource version is not allowed when using continue");
      }
      const token = decodeContinue(listOptions.continueToken, definition.namespaced);
      after = token.after;
      if (token.revision > 0) revision = token.revision;
    } else {
      await waitForRevision(asked, request.signal);
      if (
        listOptions.resourceVersionMatch === "Exact" ||
        (listOptions.limit > 0 && asked !== undefined && asked !== 0 && listOptions.resourceVersionMatch === "")
      )
        revision = asked;
    }

    const snapshot = takeSnapshot(store, {
      collection: storage.collection,
      namespace,
      revision,
      after,
      limit: Math.max(listOptions.limit, 0),
      matches: (stored) => selection.matches(stored.object),
    });
    if (snapshot === undefined) {
      if (after === undefined) throw tooOldResourceVersionStatus(revision ?? 0, store.compactedRevision);
      const status = expiredStatus(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
      ).status;
      return respondStatus(exchange, {
        ...status,
        metadata: { continue: encodeContinue(-1, after, definition.namespaced) },
      });
    }
    const metadata: ListMeta = {
      resourceVersion: String(snapshot.revision),
      ...(snapshot.next === undefined
        ? {}
        : {
            continue: encodeContinue(snapshot.revision, snapshot.next, definition.namespaced),
            ...(selection.isEverything ? { remainingItemCount: snapshot.remaining } : {}),
          }),
    };
    const items = snapshot.items.map((stored) => storage.view(stored));
    const body =
      (exchange.form === "bytes" ? printListBytes(items, metadata, printer) : undefined) ??
      finish(printList(items, metadata, printer), representation.format, printer.pretty);
    return respond(exchange, 200, body, representation.format === "yaml" ? "application/yaml" : "application/json");
  }

  function watch(exchange: Exchange, storage: ResourceStorage): ApiResponse {
    const { info, request } = exchange;
    const { definition } = storage;
    const watchOptions: ListOptions = readListOptions(info.query, true, options.gates);
    const representation = negotiate(header(request, "accept"), true);
    const printer = printerFor(exchange, definition, storage.schema, representation);
    const fieldSelector =
      info.name === ""
        ? watchOptions.fieldSelector
        : [watchOptions.fieldSelector, `metadata.name=${info.name}`].filter((term) => term !== "").join(",");
    const selection = compileSelection(watchOptions.labelSelector, fieldSelector, definition);
    const namespace = definition.namespaced && info.namespace !== "" ? info.namespace : undefined;
    const asked = parseRevision(watchOptions.resourceVersion, (message) => statusErrorOf(new Error(message)));
    const startsFromNow = asked === undefined || asked === 0;
    const sendInitial = watchOptions.sendInitialEvents ?? startsFromNow;
    const seconds = watchOptions.timeoutSeconds ?? 0;
    const timeout = seconds > 0 ? seconds * 1000 : 1_800_000 * (1 + options.random());

    const initial = sendInitial
      ? (takeSnapshot(store, {
          collection: storage.collection,
          namespace,
          revision: undefined,
          after: undefined,
          limit: 0,
          matches: (stored) => selection.matches(stored.object),
        })?.items ?? [])
      : [];
    const print = createEventPrinter(printer, () => clock.now());
    const stream = hub.open({
      collection: storage.collection,
      namespace,
      matches: selection.matches,
      initial,
      bookmarkAfterInitial: watchOptions.sendInitialEvents === true && watchOptions.allowWatchBookmarks,
      from: sendInitial || asked === undefined || asked === 0 ? store.revision : asked,
      bookmarks: watchOptions.allowWatchBookmarks,
      timeoutMilliseconds: timeout,
      encode: (type, stored) => print(type, storage.codec.view(stored.object)),
      encodeBookmark: (revision, endsInitialEvents) =>
        print("BOOKMARK", bookmarkObject(printer, revision, endsInitialEvents)),
      signal: request.signal,
    });
    const headers: Record<string, string | readonly string[]> = {
      "content-type": "application/json",
      ...(exchange.warnings.length === 0 ? {} : { warning: exchange.warnings.map(warningHeader) }),
    };
    if (stream === undefined) {
      const { status } = tooOldResourceVersionStatus(asked ?? 0, store.compactedRevision);
      const line = `{"type":"ERROR","object":${JSON.stringify(status)}}\n`;
      return {
        status: 200,
        headers,
        stream: (async function* () {
          yield line;
        })(),
      };
    }
    return { status: 200, headers, stream };
  }

  // ---- writes ----------------------------------------------------------------------------------------------------------------------

  function writeContext(exchange: Exchange, writeOptions: WriteOptions, subresource: "" | "status"): WriteContext {
    return {
      options: writeOptions,
      manager: managerOf(writeOptions, exchange.request),
      subresource,
      strategy: {
        ...contextFor(writeOptions.dryRun, warner(exchange)),
        checkGrant: (object, old) =>
          checkEscalation(options.accessControl, exchange.user, exchange.info.resource, object, old),
      },
    };
  }

  function checkNamespace(object: KubernetesObject, info: RequestInfo, definition: ResourceDefinition): void {
    const given = object.metadata?.namespace ?? "";
    if (!definition.namespaced) {
      if (given !== "")
        throw badRequestStatus("the namespace of the provided object does not match the namespace sent on the request");
      return;
    }
    if (given !== "" && given !== info.namespace)
      throw badRequestStatus("the namespace of the provided object does not match the namespace sent on the request");
  }

  function respondWrite(exchange: Exchange, result: WriteResult, storage: ResourceStorage): ApiResponse {
    const object = storage.codec.view(result.object);
    return respondObject(exchange, result.created ? 201 : 200, object, storage.definition, storage.schema);
  }

  function create(exchange: Exchange, storage: ResourceStorage): ApiResponse {
    const { info, request } = exchange;
    negotiate(header(request, "accept"), true);
    const writeOptions = readWriteOptions(info.query, "CreateOptions");
    const object = decodeBody(
      request.body as Body,
      header(request, "content-type"),
      storage.definition,
      storage.codec,
      {
        validation: writeOptions.fieldValidation,
        warn: warner(exchange),
      },
    );
    checkNamespace(object, info, storage.definition);
    storage.codec.applyDefaults(object);
    return respondWrite(
      exchange,
      storage.create(info.namespace, object, writeContext(exchange, writeOptions, "")),
      storage,
    );
  }

  function replace(exchange: Exchange, storage: ResourceStorage, subresource: "" | "status"): ApiResponse {
    const { info, request } = exchange;
    negotiate(header(request, "accept"), true);
    const writeOptions = readWriteOptions(info.query, "UpdateOptions");
    const object = decodeBody(
      request.body as Body,
      header(request, "content-type"),
      storage.definition,
      storage.codec,
      {
        validation: writeOptions.fieldValidation,
        warn: warner(exchange),
      },
    );
    checkNamespace(object, info, storage.definition);
    checkName(object, info);
    storage.codec.applyDefaults(object);
    const result = storage.update(
      info.namespace,
      info.name,
      () => ({ object }),
      "replace",
      writeContext(exchange, writeOptions, subresource),
    );
    return respondWrite(exchange, result, storage);
  }

  /** 422 for a patched object that is no longer one of its kind. */
  function patchInvalid(shown: string, problem: string): StatusError {
    const error = invalidStatus({ group: "", kind: "" }, "", [invalid("patch", shown, problem)]);
    return error;
  }

  function decodePatched(
    exchange: Exchange,
    { definition, codec }: PatchedKind,
    patched: JsonValue,
    shown: () => string,
    writeOptions: WriteOptions,
  ): KubernetesObject {
    if (!isJsonObject(patched)) throw patchInvalid(shown(), "json: cannot unmarshal into an object");
    const { kind, apiVersion } = patched;
    if (kind !== definition.kind || apiVersion !== definition.apiVersion) {
      const found =
        typeof kind === "string" && kind !== ""
          ? `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion ?? "")} in scheme "pkg/api/legacyscheme/scheme.go:30"`
          : `Object 'Kind' is missing in '${shown()}'`;
      throw patchInvalid(shown(), found);
    }
    try {
      const decoded = codec.decode(documentOf(patched));
      if (decoded.problems.length > 0) {
        if (writeOptions.fieldValidation === "Strict")
          throw patchInvalid(shown(), `strict decoding error: ${decoded.problems.join(", ")}`);
        if (writeOptions.fieldValidation === "Warn") for (const problem of decoded.problems) warner(exchange)(problem);
      }
      return decoded.object as unknown as KubernetesObject;
    } catch (error) {
      if (error instanceof DecodeError || error instanceof JsonSyntaxError) throw patchInvalid(shown(), error.message);
      throw error;
    }
  }

  function readPatch(exchange: Exchange, definition: ResourceDefinition): PatchRequest {
    const { info, request } = exchange;
    const mediaType = mediaTypeOf(header(request, "content-type"));
    const accepted = definition.custom === undefined ? patchTypes : customPatchTypes;
    if (!accepted.includes(mediaType)) throw unsupportedMediaTypeStatus(accepted);
    negotiate(header(request, "accept"), true);
    const options = readWriteOptions(info.query, "PatchOptions", mediaType === applyPatchType);
    const value = parsePatch(request.body as Body, mediaType);
    if (mediaType === "application/merge-patch+json" && !isJsonObject(value)) {
      throw badRequestStatus(
        `error decoding patch: json: cannot unmarshal ${Array.isArray(value) ? "array" : value === null ? "null" : typeof value} into Go value of type map[string]interface {}`,
      );
    }
    return { mediaType, value, options };
  }

  function patchedObject(
    exchange: Exchange,
    kind: PatchedKind,
    old: KubernetesObject,
    { mediaType, value, options: writeOptions }: PatchRequest,
  ): KubernetesObject {
    const { definition, codec, schema } = kind;
    const headed = {
      ...(codec.view(old) as unknown as { [key: string]: JsonValue }),
      kind: definition.kind,
      apiVersion: definition.apiVersion,
    };
    const patched =
      mediaType === "application/json-patch+json"
        ? applyJsonPatch(headed, value)
        : mediaType === "application/merge-patch+json"
          ? applyMergePatch(headed, value)
          : applyStrategicMergePatch(headed, value, schema);
    const shown = (): string =>
      mediaType === "application/strategic-merge-patch+json" ? goValue(value) : JSON.stringify(patched);
    const object = decodePatched(exchange, kind, patched, shown, writeOptions);
    checkPatchedIdentity(object, exchange.info, definition);
    return object;
  }

  function patch(exchange: Exchange, storage: ResourceStorage, subresource: "" | "status"): ApiResponse {
    const { info } = exchange;
    const request = readPatch(exchange, storage.definition);
    const context = writeContext(exchange, request.options, subresource);
    if (request.mediaType === applyPatchType)
      return respondWrite(exchange, applyPatch(exchange, storage, request, context), storage);
    const change: Change = (old) => ({
      object: storage.codec.applyDefaults(patchedObject(exchange, storage, old as KubernetesObject, request)),
    });
    return respondWrite(exchange, storage.update(info.namespace, info.name, change, "patch", context), storage);
  }

  function checkName(object: KubernetesObject, info: RequestInfo): void {
    const name = object.metadata?.name ?? "";
    if (name === "")
      throw badRequestStatus(
        `the name of the object (${info.name} based on URL) was undeterminable: name must be provided`,
      );
    if (name !== info.name)
      throw badRequestStatus(`the name of the object (${name}) does not match the name on the URL (${info.name})`);
  }

  function checkPatchedIdentity(object: KubernetesObject, info: RequestInfo, definition: ResourceDefinition): void {
    checkName(object, info);
    checkNamespace(object, info, definition);
  }

  function configurationOf(
    { info }: Exchange,
    { definition, schema }: PatchedKind,
    value: JsonValue,
  ): KubernetesObject {
    if (!isJsonObject(value))
      throw badRequestStatus("error decoding YAML: error converting YAML to JSON: the patch is no object");
    const kind = typeof value["kind"] === "string" ? value["kind"] : "";
    const apiVersion = typeof value["apiVersion"] === "string" ? value["apiVersion"] : "";
    const slash = apiVersion.indexOf("/");
    const group = slash < 0 ? "" : apiVersion.slice(0, slash);
    const version = apiVersion.slice(slash + 1);
    if (kind !== definition.kind || apiVersion !== definition.apiVersion)
      throw badRequestStatus(`invalid object type: ${group}/${version}, Kind=${kind}`);
    const metadata = isJsonObject(value["metadata"]) ? value["metadata"] : {};
    const name = typeof metadata["name"] === "string" ? metadata["name"] : "";
    const namespace = typeof metadata["namespace"] === "string" ? metadata["namespace"] : "";
    if (metadata["managedFields"] !== undefined && metadata["managedFields"] !== null)
      throw badRequestStatus("metadata.managedFields must be nil");
    const problems = configurationProblems(value, schema);
    if (problems.length > 0) {
      const text =
        problems.length === 1
          ? (problems[0] as string)
          : `errors:\n${problems.map((problem) => `  ${problem}`).join("\n")}`;
      throw statusErrorOf(
        new Error(
          `failed to create typed patch object (${namespace}/${name}; ${group}/${version}, Kind=${kind}): ${text}`,
        ),
      );
    }
    return { ...value, metadata: { name: info.name, ...metadata } } as unknown as KubernetesObject;
  }

  function applyPatch(
    exchange: Exchange,
    storage: ResourceStorage,
    { value, options: writeOptions }: PatchRequest,
    context: WriteContext,
  ): WriteResult {
    const { info } = exchange;
    const { definition } = storage;
    const configuration = configurationOf(exchange, storage, value);
    const decode = (object: KubernetesObject): KubernetesObject =>
      decodePatched(
        exchange,
        storage,
        {
          ...(object as unknown as { [key: string]: JsonValue }),
          kind: definition.kind,
          apiVersion: definition.apiVersion,
        },
        () => JSON.stringify(object),
        writeOptions,
      );
    const applied = storage.applyChange(configuration, context, decode);
    return storage.update(
      info.namespace,
      info.name,
      (old) => {
        const result = applied(old);
        checkPatchedIdentity(result.object, info, definition);
        return result;
      },
      "apply",
      context,
    );
  }

  function readDeleteBody(exchange: Exchange): Readonly<Record<string, unknown>> | undefined {
    const { request } = exchange;
    const body = request.body;
    if (body === undefined || body.length === 0) return undefined;
    const schema = schemaOf("v1", "DeleteOptions");
    if (schema === undefined) return undefined;
    const type = { apiVersion: "v1", kind: "DeleteOptions", version: "v1" };
    const codec = createBuiltinCodec(schema);
    const parsed = decodeBody(rewriteDeleteOptions(body), header(request, "content-type"), type, codec, {
      validation: "Ignore",
      warn: () => {},
    });
    return parsed as unknown as Record<string, unknown>;
  }

  function remove(exchange: Exchange, storage: ResourceStorage): ApiResponse {
    const { info, request } = exchange;
    negotiate(header(request, "accept"), true);
    const deleteOptions = readDeleteOptions(info.query, readDeleteBody(exchange));
    const context = contextFor(deleteOptions.dryRun, warner(exchange));
    const result = storage.delete(info.namespace, info.name, deleteOptions, context);
    if ("status" in result)
      return respond(exchange, 200, finish(JSON.stringify(result.status), "json", isPretty(exchange)));
    return respondObject(exchange, 200, storage.codec.view(result.object), storage.definition, storage.schema);
  }

  function removeCollection(exchange: Exchange, storage: ResourceStorage): ApiResponse {
    const { info, request } = exchange;
    const { definition } = storage;
    const representation = negotiate(header(request, "accept"), true);
    const printer = printerFor(exchange, definition, storage.schema, representation);
    const listOptions = readListOptions(info.query, false);
    const deleteOptions: DeleteOptions = readDeleteOptions(info.query, readDeleteBody(exchange));
    const selection = compileSelection(listOptions.labelSelector, listOptions.fieldSelector, definition);
    const namespace = definition.namespaced && info.namespace !== "" ? info.namespace : undefined;
    const revision = store.revision;
    const items = [...store.list(storage.collection, namespace)].filter((stored) => selection.matches(stored.object));
    const context = contextFor(deleteOptions.dryRun, warner(exchange));
    for (const stored of items) storage.delete(stored.namespace, stored.name, deleteOptions, context);
    return respond(
      exchange,
      200,
      finish(printList(items, { resourceVersion: String(revision) }, printer), representation.format, printer.pretty),
    );
  }

  // ---- routing ---------------------------------------------------------------------------------------------------------------------

  async function handleResource(exchange: Exchange): Promise<ApiResponse> {
    const { info } = exchange;
    const definition =
      definitions.get(`${info.group}/${info.version}/${info.resource}`) ??
      custom.find(info.group, info.version, info.resource);
    if (definition === undefined) {
      const isKnown =
        groupVersions.has(`${info.group}/${info.version}`) || custom.hasGroupVersion(info.group, info.version);
      if (isKnown) throw resourceNotFoundStatus();
      return respond(exchange, 404, "404 page not found\n", "text/plain; charset=utf-8");
    }
    if (definition.apiVersion === "v1" && definition.kind === "Endpoints") warner(exchange)(endpointsWarning);
    if (definition.custom?.deprecationWarning !== undefined) warner(exchange)(definition.custom.deprecationWarning);
    if (definition.namespaced && info.namespace === "" && info.verb !== "list" && info.verb !== "watch") {
      // Only lists and watches span namespaces.
      throw info.verb === "create" && !definition.verbs.includes("get")
        ? resourceNotFoundStatus()
        : methodNotAllowedStatus();
    }
    if (!definition.namespaced && info.namespace !== "" && info.resource !== "namespaces")
      throw resourceNotFoundStatus();

    if (info.subresource !== "") {
      const subresource = definition.subresources?.find((candidate) => candidate.name === info.subresource);
      if (subresource === undefined) throw resourceNotFoundStatus();
      const storage = storageFor(definition);
      if (storage === undefined) throw resourceNotFoundStatus();
      if (!subresource.verbs.includes(info.verb)) throw methodNotAllowedStatus();
      if (info.subresource === "status") {
        if (info.verb === "get") return get(exchange, storage);
        if (info.verb === "update") return replace(exchange, storage, "status");
        if (info.verb === "patch") return patch(exchange, storage, "status");
        throw methodNotAllowedStatus();
      }
      return options.subresources.handle(exchange, storage, handler);
    }

    if (!definition.verbs.includes(info.verb)) throw methodNotAllowedStatus();
    const storage = storageFor(definition);
    if (storage === undefined) return options.subresources.review(exchange, definition, handler);
    switch (info.verb) {
      case "get":
        return await get(exchange, storage);
      case "list":
        return await list(exchange, storage);
      case "watch":
        return watch(exchange, storage);
      case "create":
        if (info.name !== "") throw methodNotAllowedStatus();
        return create(exchange, storage);
      case "update":
        if (info.name === "") throw methodNotAllowedStatus();
        return replace(exchange, storage, "");
      case "patch":
        if (info.name === "") throw methodNotAllowedStatus();
        return patch(exchange, storage, "");
      case "delete":
        return remove(exchange, storage);
      case "deletecollection":
        return removeCollection(exchange, storage);
      default:
        throw methodNotAllowedStatus();
    }
  }

  function handlePath(exchange: Exchange): ApiResponse {
    const { info, request } = exchange;
    const isRead = request.method === "GET" || request.method === "HEAD";
    const accept = header(request, "accept") ?? "";
    const path = info.path.length > 1 && info.path.endsWith("/") ? info.path.slice(0, -1) : info.path;
    const discovery = discoveryResponse(path, accept, served(), options.version, {
      serverAddress: options.serverAddress,
    });
    if (discovery !== undefined) {
      if (!isRead) throw methodNotAllowedStatus();
      return respond(exchange, discovery.status, discovery.body, discovery.contentType);
    }
    const ifNoneMatch = header(request, "if-none-match");
    const openapi = openapiResponse(path, accept, served(), {
      ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
      hash: exchange.info.query.get("hash") ?? undefined,
    });
    if (openapi !== undefined) {
      if (!isRead) throw methodNotAllowedStatus();
      return {
        status: openapi.status,
        headers: { "content-type": openapi.contentType, ...openapi.headers },
        body: openapi.body,
      };
    }
    const health = /^\/(healthz|livez|readyz)(?:\/(.*))?$/.exec(path);
    if (health !== null) {
      if (!isRead) throw methodNotAllowedStatus();
      return healthResponse(exchange, health[1] as string, health[2]);
    }
    if (path !== "/metrics" && path !== "/" && path !== "") {
      return respond(exchange, 404, "404 page not found\n", "text/plain; charset=utf-8");
    }
    if (!isRead) throw methodNotAllowedStatus();
    if (path === "/metrics")
      return respond(
        exchange,
        200,
        options.metrics.text(),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
      );
    return respond(exchange, 200, JSON.stringify({ paths: rootPaths(served()) }, undefined, 2));
  }

  function healthResponse(exchange: Exchange, endpoint: string, check: string | undefined): ApiResponse {
    const checks = endpoint === "readyz" ? readinessChecks : endpoint === "livez" ? livenessChecks : healthChecks;
    const text = "text/plain; charset=utf-8";
    const headers = { "x-content-type-options": "nosniff" };
    if (check !== undefined && check !== "") {
      return checks.includes(check)
        ? respond(exchange, 200, "ok", text, headers)
        : respond(exchange, 404, "404 page not found\n", text, headers);
    }
    if (!exchange.info.query.has("verbose")) return respond(exchange, 200, "ok", text, headers);
    return respond(
      exchange,
      200,
      `${checks.map((name) => `[+]${name} ok\n`).join("")}${endpoint} check passed\n`,
      text,
      headers,
    );
  }

  /** Acts as somebody else, for those who may. */
  function impersonated(request: ApiRequest, user: User): User {
    const name = header(request, "impersonate-user");
    if (name === undefined) {
      if (header(request, "impersonate-group") !== undefined || header(request, "impersonate-uid") !== undefined) {
        throw badRequestStatus("requested groups and uid without impersonating a user");
      }
      return user;
    }
    const check = (resource: string, namespace: string, subject: string): void => {
      const attributes = {
        verb: "impersonate",
        isResource: true,
        group: "",
        resource,
        subresource: "",
        namespace,
        name: subject,
        path: "",
      };
      const { allowed, reason } = options.accessControl.decide(user, attributes);
      if (!allowed) throw accessForbidden(user, attributes, reason);
    };
    const [, namespace, account] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name) ?? [];
    if (namespace !== undefined && account !== undefined) check("serviceaccounts", namespace, account);
    else check("users", "", name);
    const asked = (header(request, "impersonate-group") ?? "")
      .split(",")
      .map((group) => group.trim())
      .filter((group) => group !== "");
    for (const group of asked) check("groups", "", group);
    const groups =
      asked.length === 0 && namespace !== undefined && account !== undefined
        ? [...serviceAccountUser(namespace, account).groups]
        : asked;
    if (!groups.includes("system:authenticated") && name !== "system:anonymous") groups.push("system:authenticated");
    return { name, groups, access: "none" };
  }

  async function dispatch(exchange: Exchange): Promise<ApiResponse> {
    authorize(options.accessControl, exchange.user, exchange.info);
    checkBodySize(exchange.request.body as Body);
    const { info, request } = exchange;
    await options.faults.apply(
      { method: request.method, resource: info.resource, name: info.name, verb: info.verb },
      request.signal,
    );
    return info.isResource ? handleResource(exchange) : handlePath(exchange);
  }

  const handler: RequestHandler = {
    contextFor,
    respondObject,
    readPatch,
    patched: patchedObject,
    configurationOf,
    checkIdentity: (object, { info }, definition) => checkPatchedIdentity(object, info, definition),
    close() {
      custom.close();
      stopAggregation();
    },
    storageOf: (collection) => storages.get(collection) ?? custom.storageOfCollection(collection),
    refuse(request, error) {
      const info = readRequestInfo(request.method, request.path.slice(0, maxUrlLength));
      return respondStatus({ request, info, user: anonymousUser, warnings: [], form: "text" }, error.status);
    },
    async handle(request, user, form = "text") {
      const started = clock.now();
      let exchange: Exchange = {
        request,
        info: readRequestInfo(request.method, request.path.slice(0, maxUrlLength)),
        user,
        warnings: [],
        form,
      };
      let response: ApiResponse;
      try {
        if (request.path.length > maxUrlLength)
          throw statusErrorOf(new Error(`the URL is longer than ${maxUrlLength} characters`));
        exchange = { ...exchange, user: impersonated(request, user) };
        response = await dispatch(exchange);
        // Nobody learns of a state that a crash could still take back, whoever wrote it.
        const persisted = store.persisted();
        if (persisted !== undefined) await persisted;
      } catch (error) {
        response = respondStatus(exchange, statusErrorOf(error).status);
      }
      options.metrics.observe(
        exchange.info.verb,
        exchange.info.resource,
        response.status,
        (clock.now() - started) / 1000,
      );
      return response;
    },
  };
  return handler;
}

/** Bodies of deletes name `DeleteOptions` in whatever version the client has; they all mean the same. */
function rewriteDeleteOptions(body: string | Uint8Array): string | Uint8Array {
  if (typeof body !== "string" && body[0] === 0x6b && body[1] === 0x38 && body[2] === 0x73) return body;
  const text = typeof body === "string" ? body : new TextDecoder().decode(body);
  return text.replace(/("apiVersion"\s*:\s*")[^"]*(")/, "$1v1$2");
}

/** A value as Go's `%+v` shows it. */
function goValue(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(goValue).join(" ")}]`;
  if (isJsonObject(value))
    return `map[${Object.keys(value)
      .sort()
      .map((key) => `${key}:${goValue(value[key] as JsonValue)}`)
      .join(" ")}]`;
  return value === null ? "<nil>" : String(value);
}

function rootPaths(registry: readonly ResourceDefinition[]): string[] {
  const paths = new Set<string>(["/api", "/api/v1", "/apis"]);
  for (const { group, version } of registry) {
    if (group === "") continue;
    paths.add(`/apis/${group}`);
    paths.add(`/apis/${group}/${version}`);
  }
  for (const path of ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"])
    paths.add(path);
  return [...paths].sort();
}

/**
 * Checks as `/readyz?verbose` of a real server lists them. The embedded server starts as a whole, so each stands for the same fact: it has started.
 */
const readinessChecks: readonly string[] = [
  "ping",
  "log",
  "informer-sync",
  "poststarthook/start-apiserver-admission-initializer",
  "poststarthook/generic-apiserver-start-informers",
  "poststarthook/priority-and-fairness-config-consumer",
  "poststarthook/priority-and-fairness-filter",
  "poststarthook/storage-object-count-tracker-hook",
  "poststarthook/start-apiextensions-informers",
  "poststarthook/start-apiextensions-controllers",
  "poststarthook/crd-informer-synced",
  "poststarthook/start-system-namespaces-controller",
  "poststarthook/peer-endpoint-reconciler-controller",
  "poststarthook/start-cluster-authentication-info-controller",
  "poststarthook/start-kube-apiserver-identity-lease-controller",
  "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
  "poststarthook/storage-readiness",
  "poststarthook/start-legacy-token-tracking-controller",
  "poststarthook/start-service-ip-repair-controllers",
  "poststarthook/rbac/bootstrap-roles",
  "poststarthook/scheduling/bootstrap-system-priority-classes",
  "poststarthook/priority-and-fairness-config-producer",
  "poststarthook/bootstrap-controller",
  "poststarthook/start-kubernetes-service-cidr-controller",
  "poststarthook/aggregator-reload-proxy-client-cert",
  "poststarthook/start-kube-aggregator-informers",
  "poststarthook/apiservice-status-local-available-controller",
  "poststarthook/apiservice-status-remote-available-controller",
  "poststarthook/apiservice-registration-controller",
  "poststarthook/apiservice-wait-for-first-sync",
  "poststarthook/apiservice-discovery-controller",
  "poststarthook/kube-apiserver-autoregistration",
  "autoregister-completion",
  "poststarthook/apiservice-openapi-controller",
  "poststarthook/apiservice-openapiv3-controller",
  "shutdown",
];
const livenessChecks: readonly string[] = readinessChecks.filter(
  (name) => name !== "informer-sync" && name !== "shutdown",
);
const healthChecks: readonly string[] = livenessChecks;
