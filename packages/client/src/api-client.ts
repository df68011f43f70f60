import type { KubernetesList, KubernetesObject, ResourceType, Status } from "@portolan/core";
import { chunksUntilAborted, linkAbort, untilAborted } from "./abort.ts";
import type {
  DeleteOptions,
  KubernetesApi,
  ListOptions,
  ObjectPath,
  PatchType,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from "./api.ts";
import { ApiError, apiErrorOf } from "./api-error.ts";
import type { ApiRequest, ApiResponse, Transport } from "./transport.ts";

/** Options of {@link createApiClient}. */
export interface ApiClientOptions {
  /** Sent as `User-Agent`; the server derives the field manager from the part before `/`. Default `portolan/0.1`. */
  readonly userAgent?: string;
  /** Further headers of every request, such as `authorization` or `impersonate-user`. Lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
}

type Query = Record<string, string | number | boolean | undefined>;

function pathOf(type: ResourceType, namespace: string | undefined, name?: string, subresource?: string): string {
  const parts = type.group === "" ? ["api", type.version] : ["apis", type.group, type.version];
  if (type.namespaced && namespace !== undefined) parts.push("namespaces", encodeURIComponent(namespace));
  parts.push(type.resource);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(...subresource.split("/").map(encodeURIComponent));
  return `/${parts.join("/")}`;
}

function queryOf(query: Query): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) pairs.push(`${name}=${encodeURIComponent(String(value))}`);
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

function listQuery(options: ListOptions): Query {
  return {
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
    limit: options.limit,
    continue: options.continue,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
  };
}

function writeQuery(options: WriteOptions): Query {
  return {
    fieldManager: options.fieldManager,
    fieldValidation: options.fieldValidation,
    dryRun: options.dryRun ? "All" : undefined,
  };
}

function deleteBody(options: DeleteOptions): unknown {
  return {
    kind: "DeleteOptions",
    apiVersion: "v1",
    ...(options.propagationPolicy === undefined ? {} : { propagationPolicy: options.propagationPolicy }),
    ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
    ...(options.preconditions === undefined ? {} : { preconditions: options.preconditions }),
    ...(options.dryRun ? { dryRun: ["All"] } : {}),
  };
}

async function textOf(response: ApiResponse): Promise<string> {
  if (typeof response.body === "string") return response.body;
  const decoder = new TextDecoder();
  if (response.body !== undefined) return decoder.decode(response.body);
  let text = "";
  if (response.stream !== undefined) {
    for await (const chunk of response.stream)
      text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The server's `Status`, or one made up from an answer that is none. */
function statusOf(response: ApiResponse, text: string, request: ApiRequest): Status {
  try {
    const parsed = JSON.parse(text) as Status;
    if (parsed !== null && typeof parsed === "object" && parsed.kind === "Status")
      return parsed.code === undefined ? { ...parsed, code: response.status } : parsed;
  } catch {
    // Not JSON: proxies and load balancers answer in HTML or plain text.
  }
  const retryAfter = Number(response.headers["retry-after"]);
  const excerpt = text.trim().slice(0, 200);
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    code: response.status,
    message: `${request.method} ${request.path} answered ${response.status}${excerpt === "" ? "" : `: ${excerpt}`}`,
    ...(retryAfter > 0 ? { details: { retryAfterSeconds: retryAfter } } : {}),
  };
}

/** Turns whatever a transport threw into an {@link ApiError}. */
function failureOf(error: unknown, request: ApiRequest): ApiError {
  if (error instanceof ApiError) return error;
  const subject = `${request.method} ${request.path}`;
  if (request.signal?.aborted) return new ApiError({ code: "aborted", message: `${subject}: aborted`, cause: error });
  const code = (error as { code?: unknown } | null)?.code;
  const text = error instanceof Error ? error.message : String(error);
  return code === "timeout" || code === "ETIMEDOUT"
    ? new ApiError({ code: "timeout", message: `${subject}: ${text}`, cause: error })
    : new ApiError({ code: "connection", message: `${subject}: ${text}`, cause: error });
}

/** A body that came in one piece, as a stream of one chunk. */
async function* chunkOf(body: string | Uint8Array | undefined): AsyncGenerator<string | Uint8Array> {
  if (body !== undefined) yield body;
}

/**
 * Splits a watch body into its JSON documents, one a line. Chunks end anywhere, also inside a UTF-8 sequence.
 * Work is linear in the length of the body: only the new chunk is searched for line ends.
 */
async function* documentsOf(stream: AsyncIterable<string | Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending: string[] = [];
  for await (const chunk of stream) {
    const text = typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const line = pending.length === 0 ? text.slice(start, end) : pending.join("") + text.slice(start, end);
      pending = [];
      start = end + 1;
      if (line.trim() !== "") yield line;
    }
    if (start < text.length) pending.push(text.slice(start));
  }
  const rest = pending.join("") + decoder.decode();
  if (rest.trim() !== "") yield rest;
}

/**
 * A {@link KubernetesApi} over a transport: the in-process one of an embedded server, or an HTTP one of `@portolan/client/node`.
 * Keeps no state and retries nothing; informers and controllers on top of it do.
 */
export function createApiClient(transport: Transport, options: ApiClientOptions = {}): KubernetesApi {
  const baseHeaders: Readonly<Record<string, string>> = {
    accept: "application/json",
    "user-agent": options.userAgent ?? "portolan/0.1",
    ...options.headers,
  };

  function requestOf(
    method: ApiRequest["method"],
    path: string,
    query: Query,
    signal: AbortSignal | undefined,
    body?: unknown,
    contentType = "application/json",
  ): ApiRequest {
    return {
      method,
      path: path + queryOf(query),
      headers: body === undefined ? baseHeaders : { ...baseHeaders, "content-type": contentType },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    };
  }

  async function answerOf<T>(request: ApiRequest): Promise<T> {
    let response: ApiResponse;
    let text: string;
    try {
      request.signal?.throwIfAborted();
      response = await untilAborted(transport(request), request.signal);
      text = await untilAborted(textOf(response), request.signal);
    } catch (error) {
      throw failureOf(error, request);
    }
    if (response.status < 200 || response.status > 299) throw apiErrorOf(statusOf(response, text, request));
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      const message = `${request.method} ${request.path} answered ${response.status} with a body that is no JSON: ${text.slice(0, 200)}`;
      throw new ApiError({ code: "response", message, cause: error });
    }
  }

  function nameOf(type: ResourceType, object: KubernetesObject): string {
    const name = object.metadata?.name;
    if (name === undefined || name === "")
      throw new TypeError(`update of ${type.resource}: the object has no metadata.name; read it first, or create it`);
    return name;
  }

  /** Objects from lists and informers carry no kind; bodies need one. */
  function typed<T extends KubernetesObject>(type: ResourceType, object: T): T {
    return object.kind === undefined || object.apiVersion === undefined
      ? { ...object, apiVersion: type.apiVersion, kind: type.kind }
      : object;
  }

  async function* watch<T extends KubernetesObject>(
    type: ResourceType,
    watchOptions: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>> {
    const abort = linkAbort(watchOptions.signal);
    const { signal } = abort;
    const request = requestOf(
      "GET",
      pathOf(type, watchOptions.namespace),
      {
        watch: true,
        ...listQuery(watchOptions),
        allowWatchBookmarks: watchOptions.allowWatchBookmarks,
        sendInitialEvents: watchOptions.sendInitialEvents,
        timeoutSeconds: watchOptions.timeoutSeconds,
      },
      signal,
    );
    try {
      if (signal.aborted) return;
      const response = await untilAborted(transport(request), signal);
      if (response.status !== 200) throw apiErrorOf(statusOf(response, await textOf(response), request));
      for await (const line of documentsOf(chunksUntilAborted(response.stream ?? chunkOf(response.body), signal))) {
        let event: WatchEvent<T>;
        try {
          event = JSON.parse(line) as WatchEvent<T>;
        } catch (error) {
          throw new ApiError({
            code: "connection",
            message: `GET ${request.path}: event cut off after ${line.length} characters`,
            cause: error,
          });
        }
        yield event;
      }
    } catch (error) {
      if (watchOptions.signal?.aborted) return;
      throw failureOf(error, request);
    } finally {
      abort.abort();
      abort.release();
    }
  }

  return {
    get: (type, path: ObjectPath, { signal } = {}) =>
      answerOf(requestOf("GET", pathOf(type, path.namespace, path.name, path.subresource), {}, signal)),
    list: <T extends KubernetesObject>(type: ResourceType, listOptions: ListOptions = {}) =>
      answerOf<KubernetesList<T>>(
        requestOf("GET", pathOf(type, listOptions.namespace), listQuery(listOptions), listOptions.signal),
      ).then((list) => (list.items === null || list.items === undefined ? { ...list, items: [] } : list)),
    create: (type, object, writeOptions = {}) =>
      answerOf(
        requestOf(
          "POST",
          pathOf(
            type,
            object.metadata?.namespace ?? (type.namespaced ? "default" : undefined),
            writeOptions.subresource === undefined ? undefined : nameOf(type, object),
            writeOptions.subresource,
          ),
          writeQuery(writeOptions),
          writeOptions.signal,
          typed(type, object),
        ),
      ),
    update: async (type, object, writeOptions = {}) =>
      answerOf(
        requestOf(
          "PUT",
          pathOf(
            type,
            object.metadata?.namespace ?? (type.namespaced ? "default" : undefined),
            nameOf(type, object),
            writeOptions.subresource,
          ),
          writeQuery(writeOptions),
          writeOptions.signal,
          typed(type, object),
        ),
      ),
    patch: (type, path, patch, patchOptions = {}) => {
      const patchType: PatchType = patchOptions.patchType ?? "application/merge-patch+json";
      return answerOf(
        requestOf(
          "PATCH",
          pathOf(type, path.namespace, path.name, path.subresource),
          { ...writeQuery(patchOptions), force: patchOptions.force },
          patchOptions.signal,
          patch,
          patchType,
        ),
      );
    },
    delete: (type, path, deleteOptions = {}) =>
      answerOf(
        requestOf(
          "DELETE",
          pathOf(type, path.namespace, path.name, path.subresource),
          {},
          deleteOptions.signal,
          deleteBody(deleteOptions),
        ),
      ),
    deleteCollection: async (type, deleteOptions = {}) => {
      await answerOf(
        requestOf(
          "DELETE",
          pathOf(type, deleteOptions.namespace),
          listQuery(deleteOptions),
          deleteOptions.signal,
          deleteBody(deleteOptions),
        ),
      );
    },
    watch: <T extends KubernetesObject>(type: ResourceType, watchOptions: WatchOptions = {}) =>
      watch<T>(type, watchOptions),
  };
}
