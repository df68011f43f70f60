import type { KubernetesObject, ResourceType } from "@portolan/core";

/** Where controllers say what they did; an `EventRecorder` of `@portolan/client` is one. Never throws, never waits. */
export interface EventSink {
  event(
    object: KubernetesObject,
    type: "Normal" | "Warning",
    reason: string,
    message: string,
    resourceType?: ResourceType,
  ): void;
}
