import { type Event, type KubernetesObject, type ObjectReference, type ResourceType, resources } from "@portolan/core";
import type { KubernetesApi } from "./api.ts";
import { isConnectionError, isNotFound, isTooManyRequests } from "./api-error.ts";
import { type Clock, sleep, systemClock } from "./clock.ts";

/** Options of {@link createEventRecorder}; times in milliseconds. */
export interface EventRecorderOptions {
  readonly api: KubernetesApi;
  /** `source.component`, such as `endpoint-slice-controller`. */
  readonly component: string;
  /** `source.host`. */
  readonly host?: string;
  readonly clock?: Clock;
  /** Events about one object: as many at once. Default 25. */
  readonly burst?: number;
  /** Events about one object: one more per this time. Default 300 000. */
  readonly refillTime?: number;
  /** Similar events (same reason, other messages) within the window before they are combined. Default 10. */
  readonly similarEvents?: number;
  /** Default 600 000. */
  readonly similarWindow?: number;
  /** Tries of one write that fails for want of a connection. Default 12, 10 s apart. */
  readonly tries?: number;
  /** Ends pending writes and retries. */
  readonly signal?: AbortSignal;
  /** Told about events that could not be written. Events never fail their caller. */
  readonly onError?: (error: unknown, event: Event) => void;
}

/** Writes v1 Events, aggregated like client-go's: repeated ones raise a count, floods are combined, then dropped. */
export interface EventRecorder {
  /** Records; returns at once. The object needs kind, apiVersion and uid, or `type` to take the first two from. */
  event(
    object: KubernetesObject,
    type: "Normal" | "Warning",
    reason: string,
    message: string,
    resourceType?: ResourceType,
  ): void;
  /** Resolves when all events recorded so far are written or given up. */
  flush(): Promise<void>;
}

const remembered = 4_096;

/** Keeps the newest entries of a map. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > remembered) map.delete(map.keys().next().value!);
}

function seconds(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

/** Makes an {@link EventRecorder}. Writes happen one after the other in the order of recording. */
export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { api, component } = options;
  const clock = options.clock ?? systemClock;
  const { burst = 25, refillTime = 300_000, similarEvents = 10, similarWindow = 600_000, tries = 12 } = options;
  const buckets = new Map<string, { tokens: number; filled: number }>();
  const similar = new Map<string, { messages: Set<string>; since: number }>();
  const written = new Map<string, Event>();
  let tail: Promise<void> = Promise.resolve();
  let lastStamp = 0;

  function referenceOf(object: KubernetesObject, resourceType: ResourceType | undefined): ObjectReference {
    const { metadata } = object;
    return {
      kind: object.kind ?? resourceType?.kind ?? "",
      apiVersion: object.apiVersion ?? resourceType?.apiVersion ?? "",
      name: metadata?.name ?? "",
      ...(metadata?.namespace === undefined ? {} : { namespace: metadata.namespace }),
      ...(metadata?.uid === undefined ? {} : { uid: metadata.uid }),
      ...(metadata?.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
    };
  }

  function allowed(object: string, now: number): boolean {
    const bucket = buckets.get(object) ?? { tokens: burst, filled: now };
    bucket.tokens = Math.min(burst, bucket.tokens + (now - bucket.filled) / refillTime);
    bucket.filled = now;
    remember(buckets, object, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  async function retried(event: Event, write: () => Promise<Event>): Promise<Event | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await write();
      } catch (error) {
        const again = isConnectionError(error) || isTooManyRequests(error);
        if (!again || attempt >= tries || options.signal?.aborted) {
          if (isNotFound(error)) throw error;
          options.onError?.(error, event);
          return undefined;
        }
        await sleep(clock, 10_000, options.signal);
      }
    }
  }

  async function record(event: Event, key: string): Promise<void> {
    const previous = written.get(key);
    let result: Event | undefined;
    if (previous !== undefined) {
      const patch = { count: (previous.count ?? 1) + 1, lastTimestamp: event.lastTimestamp, message: event.message };
      const path = { name: previous.metadata.name!, namespace: previous.metadata.namespace! };
      try {
        result = await retried(event, () => api.patch<Event>(resources.events, path, patch));
      } catch {
        // The event expired on the server (one hour by default): the next one starts a new count.
        written.delete(key);
      }
    }
    if (previous === undefined || (result === undefined && !written.has(key)))
      result = await retried(event, () => api.create<Event>(resources.events, event)).catch((error: unknown) => {
        options.onError?.(error, event);
        return undefined;
      });
    if (result !== undefined) remember(written, key, result);
  }

  return {
    event(object, type, reason, message, resourceType) {
      const now = clock.now();
      const involvedObject = referenceOf(object, resourceType);
      const identity = JSON.stringify([
        involvedObject.kind,
        involvedObject.namespace,
        involvedObject.name,
        involvedObject.uid,
      ]);
      const group = JSON.stringify([identity, type, reason]);

      let alike = similar.get(group);
      if (alike === undefined || now - alike.since > similarWindow) alike = { messages: new Set(), since: now };
      remember(similar, group, alike);
      const combined = alike.messages.size >= similarEvents && !alike.messages.has(message);
      if (!combined) alike.messages.add(message);
      if (!allowed(identity, now)) return;

      // Distinct names within one millisecond: the name ends in a hexadecimal time, as upstream's does in nanoseconds.
      lastStamp = Math.max(now * 1_000_000, lastStamp + 256);
      const namespace = involvedObject.namespace ?? "default";
      const event: Event = {
        metadata: { name: `${involvedObject.name}.${BigInt(lastStamp).toString(16)}`, namespace },
        involvedObject,
        reason,
        message: combined ? `(combined from similar events): ${message}` : message,
        source: { component, ...(options.host === undefined ? {} : { host: options.host }) },
        firstTimestamp: seconds(now),
        lastTimestamp: seconds(now),
        count: 1,
        type,
        eventTime: null,
        reportingComponent: component,
        reportingInstance: options.host ?? "",
      };
      const key = combined ? group : JSON.stringify([group, message]);
      tail = tail.then(() => record(event, key));
    },
    flush: () => tail,
  };
}
