import type { Endpoint, EndpointHints, EndpointSlice } from "@portolan/core";
import type { PackedSlices } from "./slice-packing.ts";

/** Hints that `spec.trafficDistribution` asks for (KEP-4444, KEP-3015); undefined for none. Unready endpoints get none. */
export function distributionHints(
  trafficDistribution: string | undefined,
  endpoint: Endpoint,
): EndpointHints | undefined {
  if (!endpoint.conditions?.ready) return undefined;
  const zone = endpoint.zone ?? "";
  const node = endpoint.nodeName ?? "";
  const forZones = zone === "" ? {} : { forZones: [{ name: zone }] };
  switch (trafficDistribution) {
    case "PreferClose":
    case "PreferSameZone":
      return zone === "" ? undefined : forZones;
    case "PreferSameNode":
      return zone === "" && node === ""
        ? undefined
        : { ...forZones, ...(node === "" ? {} : { forNodes: [{ name: node }] }) };
    default:
      return undefined;
  }
}

function names(list: readonly { name: string }[] | undefined): string {
  return (list ?? []).map((entry) => entry.name).join();
}

function sameHints(a: EndpointHints | undefined, b: EndpointHints | undefined): boolean {
  return names(a?.forZones) === names(b?.forZones) && names(a?.forNodes) === names(b?.forNodes);
}

/** `endpoint` with these hints, or without any. */
export function withHints(endpoint: Endpoint, hints: EndpointHints | undefined): Endpoint {
  const { hints: _, ...bare } = endpoint;
  return hints === undefined ? bare : { ...bare, hints };
}

/**
 * Gives every endpoint the hints that `hintsOf` wants. Slices that were unchanged and whose ready endpoints have other hints are
 * updated; wrong hints of unready endpoints alone are no reason to write, because proxies ignore them.
 */
export function applyHints(
  slices: PackedSlices,
  hintsOf: (endpoint: Endpoint) => EndpointHints | undefined,
): PackedSlices {
  const hinted = (slice: EndpointSlice): EndpointSlice => ({
    ...slice,
    endpoints: (slice.endpoints ?? []).map((endpoint) => withHints(endpoint, hintsOf(endpoint))),
  });
  const unchanged: EndpointSlice[] = [];
  const update = slices.update.map(hinted);
  for (const slice of slices.unchanged) {
    const wrong = (slice.endpoints ?? []).some(
      (endpoint) => (endpoint.conditions?.ready ?? true) && !sameHints(endpoint.hints, hintsOf(endpoint)),
    );
    if (wrong) update.push(hinted(slice));
    else unchanged.push(slice);
  }
  return { create: slices.create.map(hinted), update, delete: slices.delete, unchanged };
}
