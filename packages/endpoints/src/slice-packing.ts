import type { Endpoint, EndpointSlice } from "@portolan/core";
import { endpointIdentity, sameEndpoint } from "./slice-endpoints.ts";

/** What to do with the slices of one set of ports. `unchanged` slices are the objects given. */
export interface PackedSlices {
  readonly create: EndpointSlice[];
  readonly update: EndpointSlice[];
  readonly delete: EndpointSlice[];
  readonly unchanged: EndpointSlice[];
}

/** Input of {@link packSlices}. */
export interface PackingInput {
  /** Slices of this family and set of ports that the owner has. Not modified. */
  readonly existing: readonly EndpointSlice[];
  /** All endpoints wanted; of two with one identity the last counts. */
  readonly desired: readonly Endpoint[];
  /** Endpoints per slice, at most; 1 or more. */
  readonly maximum: number;
  /** Labels that a slice should have, and whether that is a change worth a write. */
  readonly labels: (slice: EndpointSlice) => { readonly labels: Record<string, string>; readonly changed: boolean };
  /** {@link endpointIdentity}, or a memory of it. */
  readonly identity?: (endpoint: Endpoint) => string;
  /** An empty new slice. */
  readonly create: () => EndpointSlice;
}

/**
 * Distributes endpoints over slices with few writes rather than few slices (KEP-752; upstream `endpointslice/reconciler.go`):
 *
 * 1. Endpoints that are in a slice stay there; slices that lose or change one are updated, those that lose all deleted.
 * 2. New endpoints fill the slices that are updated anyway, fullest first.
 * 3. What is left fills new slices; a rest smaller than one slice goes into the one untouched slice that it fills best, if it fits.
 *
 * Slices are never rebalanced for its own sake. Linear in endpoints; each slice is looked at a constant number of times.
 */
export function packSlices(input: PackingInput): PackedSlices {
  const { existing, maximum, identity: identityOf = endpointIdentity } = input;
  const desired = new Map<string, Endpoint>();
  for (const endpoint of input.desired) desired.set(identityOf(endpoint), endpoint);
  const result: PackedSlices = { create: [], update: [], delete: [], unchanged: [] };
  const touched: { slice: EndpointSlice; endpoints: Endpoint[] }[] = [];

  for (const slice of existing) {
    const kept: Endpoint[] = [];
    let changed = false;
    for (const endpoint of slice.endpoints ?? []) {
      const identity = identityOf(endpoint);
      const wanted = desired.get(identity);
      if (wanted === undefined) {
        changed = true;
        continue;
      }
      desired.delete(identity);
      kept.push(wanted);
      if (!sameEndpoint(wanted, endpoint)) changed = true;
    }
    const labels = input.labels(slice);
    if (changed && kept.length === 0) result.delete.push(slice);
    else if (changed || labels.changed)
      touched.push({
        slice: { ...slice, metadata: { ...slice.metadata, labels: labels.labels } },
        endpoints: changed ? kept : [...(slice.endpoints ?? [])],
      });
    else result.unchanged.push(slice);
  }

  const rest = desired.values();
  let left = desired.size;
  const take = (count: number): Endpoint[] => {
    const taken: Endpoint[] = [];
    while (taken.length < count && left > 0) {
      taken.push(rest.next().value!);
      left--;
    }
    return taken;
  };

  for (const target of [...touched].sort((a, b) => b.endpoints.length - a.endpoints.length))
    target.endpoints.push(...take(maximum - target.endpoints.length));
  for (const { slice, endpoints } of touched) result.update.push({ ...slice, endpoints });

  while (left > 0) {
    const fitting = left < maximum ? fullestThatFits(result.unchanged, left, maximum) : undefined;
    if (fitting === undefined) result.create.push({ ...input.create(), endpoints: take(maximum) });
    else {
      result.unchanged.splice(result.unchanged.indexOf(fitting), 1);
      result.update.push({
        ...fitting,
        metadata: { ...fitting.metadata, labels: input.labels(fitting).labels },
        endpoints: [...(fitting.endpoints ?? []), ...take(left)],
      });
    }
  }
  return result;
}

function fullestThatFits(slices: readonly EndpointSlice[], count: number, maximum: number): EndpointSlice | undefined {
  let best: EndpointSlice | undefined;
  for (const slice of slices) {
    const length = slice.endpoints?.length ?? 0;
    if (length + count <= maximum && (best === undefined || length > (best.endpoints?.length ?? 0))) best = slice;
  }
  return best;
}
