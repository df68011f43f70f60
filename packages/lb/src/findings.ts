import type { Service } from "@portolan/core";
import { checkAnnotations } from "./annotations.ts";
import type { Diagnostic, LoadBalancerProvider } from "./provider.ts";

/** All that can be said about a Service before any call: by its provider, and by the provider's table of annotations. */
export function findingsOf(provider: LoadBalancerProvider, service: Service): readonly Diagnostic[] {
  const seen = new Set<string>();
  return [
    ...provider.validate(service),
    ...checkAnnotations(provider.annotations, service.metadata.annotations),
  ].filter((entry) => {
    const mark = `${entry.code}|${entry.field ?? entry.message}`;
    return !seen.has(mark) && seen.add(mark);
  });
}
