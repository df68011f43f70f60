import type { AddressType, Endpoint, EndpointSlice, Node, Service } from "@portolan/core";
import type { PackedSlices } from "./slice-packing.ts";
import { applyHints, withHints } from "./traffic-distribution.ts";
import { topologyHintsAnnotation, topologyModeAnnotation, zoneLabel } from "./well-known.ts";

/** An event about an object, to be recorded by whoever does I/O. */
export interface EndpointEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/** Share of the cluster's CPUs by zone, adding up to 1; undefined when a node lacks its zone or its CPUs. */
export type ZoneShares = ReadonlyMap<string, number> | undefined;

/** How much more load than its share an endpoint may get. */
const overload = 0.2;

/** How many endpoints a zone should have. */
export interface ZoneAllocation {
  /** Whole endpoints needed to stay below the overload threshold. */
  readonly minimum: number;
  /** Whole endpoints it may have so that the other zones can have their minimum. */
  readonly maximum: number;
  /** Its share of all endpoints, not whole. */
  readonly desired: number;
}

/** Whether the Service asks for topology hints by annotation; the deprecated annotation counts first. */
export function topologyModeEnabled(service: Service): boolean {
  const annotations = service.metadata.annotations ?? {};
  const value = annotations[topologyHintsAnnotation] ?? annotations[topologyModeAnnotation];
  return value === "Auto" || value === "auto";
}

/** CPUs of a quantity such as `2`, `500m` or `1.5`, in thousandths. */
function milliCpus(quantity: string | undefined): number {
  const match = /^([0-9]*\.?[0-9]+)(m|k|M|G)?$/.exec(quantity ?? "");
  if (match === null) return 0;
  const factor = { m: 1, k: 1e6, M: 1e9, G: 1e12 }[match[2] ?? ""] ?? 1000;
  return Math.round(Number(match[1]) * factor);
}

/** The share of CPUs that each zone has, over nodes that are ready and no control plane. Undefined when that cannot be told. */
export function zoneSharesOf(nodes: Iterable<Node>): ZoneShares {
  const cpus = new Map<string, number>();
  let total = 0;
  for (const node of nodes) {
    const labels = node.metadata.labels ?? {};
    if ("node-role.kubernetes.io/control-plane" in labels || "node-role.kubernetes.io/master" in labels) continue;
    if (node.status?.conditions?.find((condition) => condition.type === "Ready")?.status !== "True") continue;
    const zone = labels[zoneLabel] ?? "";
    const capacity = milliCpus(node.status?.allocatable?.["cpu"]);
    if (zone === "" || capacity === 0) return undefined;
    cpus.set(zone, (cpus.get(zone) ?? 0) + capacity);
    total += capacity;
  }
  // One zone is as good as none: there is nothing to keep apart.
  if (cpus.size < 2) return undefined;
  return new Map([...cpus].sort(([a], [b]) => (a < b ? -1 : 1)).map(([zone, capacity]) => [zone, capacity / total]));
}

function disabled(text: string, addressType: AddressType): EndpointEvent {
  return { type: "Warning", reason: "TopologyAwareHintsDisabled", message: `${text}, addressType: ${addressType}` };
}

/** Allocation of `count` ready endpoints to zones, or why there is none. */
export function allocateZones(shares: ZoneShares, count: number): ReadonlyMap<string, ZoneAllocation> | string {
  if (shares === undefined)
    return "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
  if (shares.size < 2) return "Nodes only ready in one zone";
  const counts = `(${count} endpoints, ${shares.size} zones)`;
  if (shares.size > count) return `Insufficient number of endpoints ${counts}`;
  const minimums = new Map<string, number>();
  let total = 0;
  for (const [zone, share] of shares) {
    const minimum = Math.ceil(share * count * (1 / (1 + overload)));
    minimums.set(zone, minimum);
    total += minimum;
  }
  if (total > count)
    return `Unable to allocate minimum required endpoints to each zone without exceeding overload threshold ${counts}`;
  return new Map(
    [...shares].map(([zone, share]) => {
      const minimum = minimums.get(zone)!;
      return [zone, { minimum, maximum: minimum + count - total, desired: Math.max(share * count, minimum) }];
    }),
  );
}

function most(zones: ReadonlyMap<string, number>): [string | undefined, number] {
  let best: string | undefined;
  let amount = 0;
  for (const [zone, value] of zones)
    if (value > amount) {
      best = zone;
      amount = value;
    }
  return [best, amount];
}

/**
 * How many endpoints each zone gives to others, and how many it receives. Whole endpoints move from the zone with most to spare to
 * the one that lacks most, as long as the move is worth at least half an endpoint to both and a whole one to either.
 */
export function balanceZones(
  desired: ReadonlyMap<string, number>,
  allocated: ReadonlyMap<string, number>,
): { readonly giving: Map<string, number>; readonly receiving: Map<string, number> } {
  const spare = new Map<string, number>();
  const lacking = new Map<string, number>();
  for (const [zone, target] of desired) {
    const difference = (allocated.get(zone) ?? 0) - target;
    if (difference > 0) spare.set(zone, difference);
    else if (difference < 0) lacking.set(zone, -difference);
  }
  const giving = new Map<string, number>();
  const receiving = new Map<string, number>();
  for (;;) {
    const [giver, gives] = most(spare);
    const [receiver, receives] = most(lacking);
    if (giver === undefined || receiver === undefined) break;
    if ((gives < 1 && receives < 1) || gives < 0.5 || receives < 0.5) break;
    giving.set(giver, (giving.get(giver) ?? 0) + 1);
    spare.set(giver, gives - 1);
    receiving.set(receiver, (receiving.get(receiver) ?? 0) + 1);
    lacking.set(receiver, receives - 1);
  }
  return { giving, receiving };
}

/** Result of {@link applyTopologyHints}. */
export interface TopologyHints {
  readonly slices: PackedSlices;
  readonly events: readonly EndpointEvent[];
  /** Ready endpoints hinted to each zone; undefined when hints could not be given and were removed. */
  readonly allocated: ReadonlyMap<string, number> | undefined;
}

const isReady = (endpoint: Endpoint): boolean => endpoint.conditions?.ready === true;

/** Hints per zone of an untouched slice, or undefined when they are no longer right and the slice must be updated. */
function standingHints(
  slice: EndpointSlice,
  allocated: ReadonlyMap<string, number>,
  allocations: ReadonlyMap<string, ZoneAllocation>,
): Map<string, number> | undefined {
  const hints = new Map<string, number>();
  for (const endpoint of (slice.endpoints ?? []).filter(isReady)) {
    if (!endpoint.hints?.forZones?.length) return undefined;
    for (const { name } of endpoint.hints.forZones) {
      if (!allocations.has(name)) return undefined;
      hints.set(name, (hints.get(name) ?? 0) + 1);
    }
  }
  for (const [zone, count] of hints)
    if (count + (allocated.get(zone) ?? 0) > allocations.get(zone)!.maximum) return undefined;
  return hints;
}

/**
 * Hints of `topology-mode: Auto` (KEP-2433): endpoints serve their own zone, and zones with more endpoints than their share of CPUs
 * give some to zones with fewer. Slices that need no other change keep hints that are still tolerable. When it cannot be done, all
 * hints go, with an event that says why.
 */
export function applyTopologyHints(
  slices: PackedSlices,
  shares: ZoneShares,
  addressType: AddressType,
  enabledBefore: boolean,
): TopologyHints {
  const give = (reason: string): TopologyHints => ({
    slices: applyHints(slices, () => undefined),
    events: [disabled(reason, addressType)],
    allocated: undefined,
  });
  const remaining = [...slices.create, ...slices.update, ...slices.unchanged];
  const count = remaining.reduce((sum, slice) => sum + (slice.endpoints ?? []).filter(isReady).length, 0);
  const allocations = allocateZones(shares, count);
  if (typeof allocations === "string") return give(allocations);

  const allocated = new Map<string, number>();
  const add = (zone: string, amount: number): void => {
    allocated.set(zone, (allocated.get(zone) ?? 0) + amount);
  };
  const unchanged: EndpointSlice[] = [];
  const update = [...slices.update];
  for (const slice of slices.unchanged) {
    const hints = standingHints(slice, allocated, allocations);
    if (hints === undefined) update.push(slice);
    else {
      unchanged.push(slice);
      for (const [zone, amount] of hints) add(zone, amount);
    }
  }

  for (const slice of [...slices.create, ...update])
    for (const endpoint of (slice.endpoints ?? []).filter(isReady)) {
      if (!endpoint.zone) return give("One or more endpoints do not have a zone specified");
      add(endpoint.zone, 1);
    }
  const { giving, receiving } = balanceZones(
    new Map([...allocations].map(([zone, allocation]) => [zone, allocation.desired])),
    allocated,
  );
  const hinted = (slice: EndpointSlice): EndpointSlice => ({
    ...slice,
    endpoints: (slice.endpoints ?? []).map((endpoint) => {
      if (!isReady(endpoint)) return withHints(endpoint, undefined);
      let zone = endpoint.zone!;
      const gives = giving.get(zone) ?? 0;
      const receiver = gives > 0 ? [...receiving].find(([, receives]) => receives > 0)?.[0] : undefined;
      if (receiver !== undefined) {
        giving.set(zone, gives - 1);
        receiving.set(receiver, receiving.get(receiver)! - 1);
        add(zone, -1);
        add(receiver, 1);
        zone = receiver;
      }
      return withHints(endpoint, { forZones: [{ name: zone }] });
    }),
  });
  const result = { create: slices.create.map(hinted), update: update.map(hinted), delete: slices.delete, unchanged };
  if (allocated.size === 0) return give("No hints allocated for zones");
  return {
    slices: result,
    events: enabledBefore
      ? []
      : [
          {
            type: "Normal",
            reason: "TopologyAwareHintsEnabled",
            message: `Topology Aware Hints has been enabled, addressType: ${addressType}`,
          },
        ],
    allocated,
  };
}

/** Whether a zone has fewer endpoints than it needs to stay below the overload threshold: its Service's hints must be made anew. */
export function zonesOverloaded(allocated: ReadonlyMap<string, number>, shares: ZoneShares): boolean {
  if (allocated.size === 0) return false;
  if (shares === undefined || shares.size === 0) return true;
  const total = [...allocated.values()].reduce((sum, count) => sum + count, 0);
  for (const [zone, share] of shares) {
    const count = allocated.get(zone);
    if (count === undefined || count < Math.ceil(total * share * (1 / (1 + overload)))) return true;
  }
  return false;
}
