import type { BackendSpec, FrontendSpec, ServicePortSpec } from "./service-port.ts";

/** Do two specifications make the same entry? Names of backends do not matter. */
export function isSameServicePort(a: ServicePortSpec, b: ServicePortSpec): boolean {
  if (a === b) return true;
  return (
    a.family === b.family &&
    a.protocol === b.protocol &&
    a.hasAny === b.hasAny &&
    a.internalTrafficPolicy === b.internalTrafficPolicy &&
    a.externalTrafficPolicy === b.externalTrafficPolicy &&
    (a.affinitySeconds ?? 0) === (b.affinitySeconds ?? 0) &&
    (a.scheduler ?? "random") === (b.scheduler ?? "random") &&
    isSameList(a.cluster, b.cluster, isSameBackend) &&
    isSameList(a.local, b.local, isSameBackend) &&
    isSameList(a.frontends, b.frontends, isSameFrontend) &&
    isSameList(a.sourceRanges ?? [], b.sourceRanges ?? [], Object.is)
  );
}

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!isSame(a[i]!, b[i]!)) return false;
  return true;
}

function isSameFrontend(a: FrontendSpec, b: FrontendSpec): boolean {
  return a.kind === b.kind && a.port === b.port && a.address === b.address;
}

function isSameBackend(a: BackendSpec, b: BackendSpec): boolean {
  return (
    a.address === b.address &&
    a.port === b.port &&
    (a.weight ?? 1) === (b.weight ?? 1) &&
    (a.local ?? false) === (b.local ?? false)
  );
}
