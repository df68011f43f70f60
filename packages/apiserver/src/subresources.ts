import type { ApiResponse } from "@portolan/client";
import {
  badRequestStatus,
  conflictStatus,
  type Deployment,
  formatLabelSelector,
  invalid,
  invalidStatus,
  type KubernetesObject,
  type LabelSelector,
  methodNotAllowedStatus,
  type Namespace,
  type Pod,
  resourceNotFoundStatus,
  type Status,
  StatusError,
  schemaOf,
} from "@portolan/core";
import { answerReview, type ReviewSources } from "./access-control/reviews.ts";
import type { ScalePaths } from "./custom-resources/custom-resource-definition.ts";
import { isJsonObject, ownMember, setMember } from "./encoding/json.ts";
import { createBuiltinCodec } from "./object-codec.ts";
import type { PodLogOptions, PodStreams } from "./pod-streams.ts";
import type { Exchange, PatchedKind, RequestHandler } from "./request-handler.ts";
import { type Body, decodeBody } from "./requests/body.ts";
import { readWriteOptions, type WriteOptions } from "./requests/options.ts";
import { collectionName, isTrue } from "./requests/request-info.ts";
import type { ResourceDefinition } from "./resource-definition.ts";
import type { ResourceStorage, WriteContext } from "./resource-storage.ts";
import type { StoredObject } from "./store/store.ts";
import { copyTopologyLabels } from "./strategies/pod.ts";

/** Subresources other than `status`, and kinds that are answered and not stored. */
export interface Subresources {
  handle(exchange: Exchange, storage: ResourceStorage, handler: RequestHandler): ApiResponse | Promise<ApiResponse>;
  review(exchange: Exchange, definition: ResourceDefinition, handler: RequestHandler): ApiResponse;
}

/** What they need. */
export interface SubresourcesOptions extends ReviewSources {
  readonly podStreams: PodStreams | undefined;
  /** Makes a bearer token for a service account. */
  readonly issueToken: (
    account: KubernetesObject,
    expirationSeconds: number,
  ) => { readonly token: string; readonly expirationTimestamp: string };
}

function json(exchange: Exchange, status: number, value: unknown): ApiResponse {
  return {
    status,
    headers: {
      "content-type": "application/json",
      ...(exchange.warnings.length === 0
        ? {}
        : { warning: exchange.warnings.map((text) => `299 - ${JSON.stringify(text)}`) }),
    },
    body: JSON.stringify(value),
  };
}

const success: Status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 };

function headerOf(exchange: Exchange, name: string): string | undefined {
  return Object.hasOwn(exchange.request.headers, name) ? exchange.request.headers[name] : undefined;
}

function agentOf(exchange: Exchange, options: WriteOptions): string {
  if (options.fieldManager !== "") return options.fieldManager;
  return (headerOf(exchange, "user-agent") ?? "").split("/")[0]?.slice(0, 128) || "unknown";
}

type Scale = KubernetesObject & { readonly spec?: { readonly replicas?: number } };

/** The kind of the scale of workloads and custom resources. */
function scaleKind(): PatchedKind {
  const apiVersion = "autoscaling/v1";
  const schema = schemaOf(apiVersion, "Scale");
  if (schema === undefined) throw resourceNotFoundStatus();
  const definition: ResourceDefinition = {
    group: "autoscaling",
    version: "v1",
    apiVersion,
    kind: "Scale",
    resource: "scales",
    singular: "scale",
    namespaced: true,
    verbs: [],
  };
  return { definition, schema, codec: createBuiltinCodec(schema) };
}

function stepsOf(path: string): string[] {
  return path.split(".").filter((step) => step !== "");
}

/** The value at a path such as `.spec.replicas`. */
function valueAtDots(object: object, path: string): unknown {
  let value: unknown = object;
  for (const step of stepsOf(path)) value = isJsonObject(value) ? ownMember(value, step) : undefined;
  return value;
}

function numberAt(object: object, path: string): number | undefined {
  const value = valueAtDots(object, path);
  return typeof value === "number" ? value : undefined;
}

function setAtDots(object: object, path: string, value: number): void {
  const steps = stepsOf(path);
  let parent = object as { [key: string]: unknown };
  for (const step of steps.slice(0, -1)) {
    if (!isJsonObject(ownMember(parent, step))) setMember(parent, step, {});
    parent = ownMember(parent, step) as { [key: string]: unknown };
  }
  setMember(parent, steps[steps.length - 1] as string, value);
}

/** Makes the subresources. */
export function createSubresources(options: SubresourcesOptions): Subresources {
  function warner(exchange: Exchange): (text: string) => void {
    return (text) => {
      if (!exchange.warnings.includes(text)) exchange.warnings.push(text);
    };
  }

  function decode(exchange: Exchange, apiVersion: string, kind: string, writeOptions: WriteOptions): KubernetesObject {
    const schema = schemaOf(apiVersion, kind);
    if (schema === undefined) throw resourceNotFoundStatus();
    const type = { apiVersion, kind, version: apiVersion.slice(apiVersion.indexOf("/") + 1) };
    return decodeBody(
      exchange.request.body as Body,
      headerOf(exchange, "content-type"),
      type,
      createBuiltinCodec(schema),
      {
        validation: writeOptions.fieldValidation,
        warn: warner(exchange),
      },
    );
  }

  function writeContext(
    exchange: Exchange,
    handler: RequestHandler,
    writeOptions: WriteOptions,
    subresource: string,
  ): WriteContext {
    return {
      options: writeOptions,
      manager: agentOf(exchange, writeOptions),
      subresource,
      strategy: handler.contextFor(writeOptions.dryRun, warner(exchange)),
    };
  }

  /** Writes a changed copy of a stored object past the rules of updates. */
  function rewrite(
    storage: ResourceStorage,
    namespace: string,
    name: string,
    dryRun: boolean,
    change: (object: KubernetesObject) => KubernetesObject,
  ): KubernetesObject {
    const stored = storage.get(namespace, name);
    const object = change(stored.object);
    return dryRun ? object : storage.put(object, stored.revision).object;
  }

  // ---- scale -----------------------------------------------------------------------------------------------------------------------

  /** The Scale of a custom resource: its parts are where the definition says. */
  function customScaleOf(object: KubernetesObject, paths: ScalePaths): KubernetesObject {
    const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata ?? {};
    const replicas = numberAt(object, paths.specReplicasPath);
    const selector = paths.labelSelectorPath === undefined ? undefined : valueAtDots(object, paths.labelSelectorPath);
    return {
      kind: "Scale",
      apiVersion: "autoscaling/v1",
      metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
      spec: replicas === undefined || replicas === 0 ? {} : { replicas },
      status: {
        replicas: numberAt(object, paths.statusReplicasPath) ?? 0,
        ...(typeof selector === "string" && selector !== "" ? { selector } : {}),
      },
    } as KubernetesObject;
  }

  function scaleOf(object: KubernetesObject, definition: ResourceDefinition): KubernetesObject {
    const paths = definition.custom?.scale;
    if (paths !== undefined) return customScaleOf(object, paths);
    const workload = object as Deployment & { spec?: { replicas?: number; selector?: LabelSelector } };
    const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata ?? {};
    return {
      kind: "Scale",
      apiVersion: "autoscaling/v1",
      metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
      spec:
        workload.spec?.replicas === undefined || workload.spec.replicas === 0
          ? {}
          : { replicas: workload.spec.replicas },
      status: { replicas: workload.status?.replicas ?? 0, selector: formatLabelSelector(workload.spec?.selector) },
    } as KubernetesObject;
  }

  function scale(exchange: Exchange, storage: ResourceStorage, handler: RequestHandler): ApiResponse {
    const { info } = exchange;
    const { definition } = storage;
    const kind = scaleKind();
    const respond = (object: KubernetesObject): ApiResponse =>
      handler.respondObject(exchange, 200, scaleOf(object, definition), kind.definition, kind.schema);
    const current = storage.get(info.namespace, info.name);
    if (info.verb === "get") return respond(current.object);
    if (info.verb === "patch") {
      const patch = handler.readPatch(exchange, definition);
      const context = writeContext(exchange, handler, patch.options, "scale");
      if (patch.mediaType === "application/apply-patch+yaml") {
        const wanted = handler.configurationOf(exchange, kind, patch.value) as Scale;
        const { apiVersion, kind: parentKind } = definition;
        const configuration = { apiVersion, kind: parentKind, metadata: { name: info.name } };
        setReplicas(configuration, definition, replicasOf(wanted, info.name));
        const applied = storage.applyChange(configuration, context, (object) => object);
        return respond(storage.update(info.namespace, info.name, applied, "apply", context).object);
      }
      const wanted = handler.patched(exchange, kind, scaleOf(current.object, definition), patch);
      return respond(rescale(storage, current, wanted, context));
    }
    const writeOptions = readWriteOptions(info.query, "UpdateOptions");
    const wanted = decode(exchange, kind.definition.apiVersion, kind.definition.kind, writeOptions);
    handler.checkIdentity(wanted, exchange, definition);
    const context = writeContext(exchange, handler, writeOptions, "scale");
    return respond(rescale(storage, current, wanted, context));
  }

  function rescale(
    storage: ResourceStorage,
    { object: { metadata }, revision }: StoredObject,
    wanted: Scale,
    context: WriteContext,
  ): KubernetesObject {
    const { definition } = storage;
    const { name = "", namespace = "" } = metadata ?? {};
    const resourceVersion = wanted.metadata?.resourceVersion ?? "";
    if (resourceVersion !== "" && resourceVersion !== String(revision)) throw conflictStatus(definition, name);
    const replicas = replicasOf(wanted, name);
    const change = (old: KubernetesObject | undefined): { object: KubernetesObject } => {
      const object = structuredClone(old) as KubernetesObject;
      setReplicas(object, definition, replicas);
      return { object };
    };
    return storage.update(namespace, name, change, "patch", context).object;
  }

  function replicasOf({ spec }: Scale, name: string): number {
    const replicas = spec?.replicas ?? 0;
    if (replicas >= 0) return replicas;
    throw invalidStatus({ group: "autoscaling", kind: "Scale" }, name, [
      invalid("spec.replicas", replicas, "must be greater than or equal to 0"),
    ]);
  }

  function setReplicas(object: KubernetesObject, definition: ResourceDefinition, replicas: number): void {
    setAtDots(object, definition.custom?.scale?.specReplicasPath ?? ".spec.replicas", replicas);
  }

  // ---- pods ------------------------------------------------------------------------------------------------------------------------

  function bind(
    exchange: Exchange,
    storage: ResourceStorage,
    name: string,
    binding: KubernetesObject,
    handler: RequestHandler,
    dryRun: boolean,
  ): ApiResponse {
    const target = (binding as { target?: { kind?: string; name?: string } }).target;
    const node = target?.name ?? "";
    if (node === "")
      throw invalidStatus({ group: "", kind: "Binding" }, name, [
        { type: "FieldValueRequired", field: "target.name", value: undefined, detail: "" },
      ]);
    const context = handler.contextFor(dryRun);
    rewrite(storage, exchange.info.namespace, name, dryRun, (object) => {
      const pod = structuredClone(object) as Pod;
      const bound = pod.spec?.nodeName ?? "";
      if (pod.metadata.deletionTimestamp !== undefined)
        throw conflictStatus(
          { group: "", resource: "pods/binding" },
          name,
          `pod ${name} is being deleted, cannot be assigned to a host`,
        );
      if (bound !== "")
        throw conflictStatus(
          { group: "", resource: "pods/binding" },
          name,
          `pod ${name} is already assigned to node ${JSON.stringify(bound)}`,
        );
      pod.spec = { ...(pod.spec as NonNullable<Pod["spec"]>), nodeName: node };
      pod.metadata.annotations = { ...pod.metadata.annotations, ...binding.metadata?.annotations };
      if (Object.keys(pod.metadata.annotations).length === 0) delete pod.metadata.annotations;
      copyTopologyLabels(pod, node, context);
      const scheduled = {
        type: "PodScheduled",
        status: "True" as const,
        lastProbeTime: null,
        lastTransitionTime: new Date(context.now).toISOString().replace(/\.\d+Z$/, "Z"),
      };
      pod.status = {
        ...pod.status,
        conditions: [
          ...(pod.status?.conditions ?? []).filter((condition) => condition.type !== "PodScheduled"),
          scheduled,
        ],
      };
      return pod;
    });
    return json(exchange, 201, success);
  }

  function evict(exchange: Exchange, storage: ResourceStorage, handler: RequestHandler): ApiResponse {
    const { info } = exchange;
    const writeOptions = readWriteOptions(info.query, "CreateOptions");
    const eviction = decode(exchange, "policy/v1", "Eviction", writeOptions) as KubernetesObject & {
      deleteOptions?: { gracePeriodSeconds?: number };
    };
    const given = eviction.metadata?.name ?? "";
    if (given !== "" && given !== info.name)
      throw badRequestStatus("name in URL does not match name in Eviction object");
    storage.delete(
      info.namespace,
      info.name,
      {
        dryRun: writeOptions.dryRun,
        gracePeriodSeconds: eviction.deleteOptions?.gracePeriodSeconds,
        propagationPolicy: undefined,
        orphanDependents: undefined,
        uid: undefined,
        resourceVersion: undefined,
      },
      handler.contextFor(writeOptions.dryRun),
    );
    return json(exchange, 201, success);
  }

  function readLogOptions(query: URLSearchParams): PodLogOptions {
    const integer = (name: string): number | undefined => {
      const text = query.get(name);
      if (text === null) return undefined;
      if (!/^[+-]?\d+$/.test(text))
        throw badRequestStatus(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
      return Number(text);
    };
    const result: { -readonly [K in keyof PodLogOptions]: PodLogOptions[K] } = {};
    const container = query.get("container");
    if (container !== null && container !== "") result.container = container;
    if (query.has("follow")) result.follow = isTrue(query.get("follow"));
    if (query.has("previous")) result.previous = isTrue(query.get("previous"));
    if (query.has("timestamps")) result.timestamps = isTrue(query.get("timestamps"));
    const sinceSeconds = integer("sinceSeconds");
    const tailLines = integer("tailLines");
    const limitBytes = integer("limitBytes");
    if (sinceSeconds !== undefined) result.sinceSeconds = sinceSeconds;
    if (tailLines !== undefined) result.tailLines = tailLines;
    if (limitBytes !== undefined) result.limitBytes = limitBytes;
    const sinceTime = query.get("sinceTime");
    if (sinceTime !== null) result.sinceTime = sinceTime;
    return result;
  }

  async function logs(exchange: Exchange, storage: ResourceStorage): Promise<ApiResponse> {
    const { info, request } = exchange;
    const pod = storage.get(info.namespace, info.name).object as Pod;
    const logOptions = readLogOptions(info.query);
    const containers = [
      ...(pod.spec?.initContainers ?? []),
      ...(pod.spec?.containers ?? []),
      ...(pod.spec?.ephemeralContainers ?? []),
    ].map((container) => container.name);
    let container = logOptions.container;
    if (container === undefined) {
      if ((pod.spec?.containers.length ?? 0) === 1 && (pod.spec?.initContainers?.length ?? 0) === 0)
        container = pod.spec?.containers[0]?.name as string;
      else
        throw badRequestStatus(
          `a container name must be specified for pod ${info.name}, choose one of: [${containers.join(" ")}]`,
        );
    } else if (!containers.includes(container))
      throw badRequestStatus(`container ${container} is not valid for pod ${info.name}`);
    if ((pod.spec?.nodeName ?? "") === "") {
      // A pod that runs nowhere yet has no logs, and that is no error.
      return { status: 200, headers: { "content-type": "text/plain" }, body: "" };
    }
    if (options.podStreams === undefined)
      throw badRequestStatus(`pod ${info.name} is not run by this cluster, so it has no logs`);
    const controller = new AbortController();
    const signal =
      request.signal === undefined ? controller.signal : AbortSignal.any([request.signal, controller.signal]);
    const source = options.podStreams.logs(pod, { ...logOptions, container }, signal)[Symbol.asyncIterator]();
    // The first chunk is awaited, so that a container that has not started is an error and no broken stream.
    const first = await source.next();
    async function* stream(): AsyncGenerator<Uint8Array> {
      try {
        let result = first;
        while (result.done !== true) {
          yield result.value;
          result = await source.next();
        }
      } finally {
        controller.abort();
        await source.return?.();
      }
    }
    return { status: 200, headers: { "content-type": "text/plain" }, stream: stream() };
  }

  // ---- namespaces, service accounts ------------------------------------------------------------------------------------------------

  function finalize(exchange: Exchange, storage: ResourceStorage, handler: RequestHandler): ApiResponse {
    const { info } = exchange;
    const writeOptions = readWriteOptions(info.query, "UpdateOptions");
    const wanted = decode(exchange, "v1", "Namespace", writeOptions) as Namespace;
    const stored = storage.get("", info.name);
    const version = wanted.metadata.resourceVersion ?? "";
    if (version !== "" && version !== String(stored.revision)) throw conflictStatus(storage.definition, info.name);
    const finalizers = wanted.spec?.finalizers ?? [];
    const object = structuredClone(stored.object) as Namespace;
    if (finalizers.length > 0) object.spec = { finalizers };
    else object.spec = {};
    if (
      finalizers.length === 0 &&
      object.metadata.deletionTimestamp !== undefined &&
      (object.metadata.finalizers ?? []).length === 0
    ) {
      const removed = writeOptions.dryRun ? object : storage.remove(stored, handler.contextFor(false)).object;
      return json(exchange, 200, { ...removed, spec: {} });
    }
    const result = writeOptions.dryRun ? object : storage.put(object, stored.revision).object;
    return json(exchange, 200, result);
  }

  function token(exchange: Exchange, storage: ResourceStorage, handler: RequestHandler): ApiResponse {
    const { info } = exchange;
    const account = storage.get(info.namespace, info.name).object;
    const writeOptions = readWriteOptions(info.query, "CreateOptions");
    const request = decode(exchange, "authentication.k8s.io/v1", "TokenRequest", writeOptions) as KubernetesObject & {
      spec?: { expirationSeconds?: number; audiences?: readonly string[] };
    };
    const expirationSeconds = request.spec?.expirationSeconds ?? 3600;
    const tooShort = "may not specify a duration less than 10 minutes";
    const tooLong = "may not specify a duration larger than 2^32 seconds";
    const problem = expirationSeconds < 600 ? tooShort : expirationSeconds > 2 ** 32 ? tooLong : undefined;
    if (problem !== undefined)
      throw invalidStatus({ group: "authentication.k8s.io", kind: "TokenRequest" }, "", [
        invalid("spec.expirationSeconds", expirationSeconds, problem),
      ]);
    return json(exchange, 201, {
      ...request,
      metadata: {
        ...request.metadata,
        name: info.name,
        namespace: info.namespace,
        creationTimestamp: new Date(handler.contextFor(false).now).toISOString().replace(/\.\d+Z$/, "Z"),
      },
      spec: {
        audiences: ["https://kubernetes.default.svc.cluster.local"],
        boundObjectRef: null,
        ...request.spec,
        expirationSeconds,
      },
      status: options.issueToken(account, expirationSeconds),
    });
  }

  return {
    handle(exchange, storage, handler) {
      const { info } = exchange;
      const { resource } = storage.definition;
      switch (info.subresource) {
        case "scale":
          return scale(exchange, storage, handler);
        case "finalize":
          return finalize(exchange, storage, handler);
        case "token":
          return token(exchange, storage, handler);
        case "log":
          return logs(exchange, storage);
        case "eviction":
          return evict(exchange, storage, handler);
        case "binding": {
          const writeOptions = readWriteOptions(info.query, "CreateOptions");
          return bind(
            exchange,
            storage,
            info.name,
            decode(exchange, "v1", "Binding", writeOptions),
            handler,
            writeOptions.dryRun,
          );
        }
        case "exec":
        case "attach":
        case "portforward":
          storage.get(info.namespace, info.name);
          throw badRequestStatus("Upgrade request required");
        default:
          throw new StatusError({
            kind: "Status",
            apiVersion: "v1",
            metadata: {},
            status: "Failure",
            message: `${resource}/${info.subresource} is not served by this API server`,
            reason: "MethodNotAllowed",
            details: {},
            code: 405,
          });
      }
    },

    review(exchange, definition, handler) {
      const { info, user } = exchange;
      if (info.verb !== "create") throw methodNotAllowedStatus();
      const writeOptions = readWriteOptions(info.query, "CreateOptions");
      const object = decode(exchange, definition.apiVersion, definition.kind, writeOptions);
      if (definition.kind === "Binding") {
        const pods = handler.storageOf(collectionName({ group: "", resource: "pods" }));
        if (pods === undefined) throw resourceNotFoundStatus();
        return bind(exchange, pods, object.metadata?.name ?? "", object, handler, writeOptions.dryRun);
      }
      return json(exchange, 201, answerReview(object, info.namespace, user, options));
    },
  };
}
