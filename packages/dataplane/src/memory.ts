import { DataplaneError } from "./errors.ts";
import type { DataplaneExports } from "./generated/exports.ts";
import * as layout from "./generated/layout.ts";
import { globals, type WebAssemblyMemory, type WebAssemblyModule, type WebAssemblyTable } from "./web-assembly.ts";

/** How much a dataplane holds. Fixed at creation: nothing is allocated afterwards. */
export interface Capacity {
  /** Tracked connections. Default 131,072 (kube-proxy's minimum); 148 bytes each. */
  readonly connections?: number;
  /** Service ports. Default 16,384, at most 8,388,608; 64 bytes each. */
  readonly servicePorts?: number;
  /**
   * Service ports with a policy Local, affinity, source ranges or a scheduler other than `random`; a change needs room for its old and
   * its new ones. Default 32,768; 128 bytes each.
   */
  readonly extensions?: number;
  /** Backends over all Service ports. Default 131,072; 38 bytes each. */
  readonly backends?: number;
  /** Frontends that are not node ports. Default 65,536; 20 bytes each. */
  readonly frontends?: number;
  /** IPv6 addresses of Services and of backends. Default 65,536; 20 bytes each. */
  readonly ipv6Addresses?: number;
  /** Source ranges and load-balancer addresses of Service ports that have ranges. Default 16,384; 32 bytes each. */
  readonly sourceRanges?: number;
  /** Slots of Maglev tables. Default 1,048,576 (256 tables of 4093); 4 bytes each. */
  readonly maglevSlots?: number;
  /** Addresses of the node and announced ones; those of Services take no room here. Default 16,384; 64 bytes each. */
  readonly addresses?: number;
  /** Routes and the node's CIDRs. Default 16,384; 128 bytes each. */
  readonly prefixes?: number;
  /** Affinity records. Default 65,536; 32 bytes each; the oldest of four give way. */
  readonly affinity?: number;
  /** Fragmented datagrams in flight. Default 8,192; 64 bytes each. */
  readonly fragments?: number;
  /** Forwarder ports. Default 256. */
  readonly ports?: number;
  /** Learned neighbours. Default 4,096. */
  readonly neighbors?: number;
  /** Events between two reads. Default 4,096. */
  readonly events?: number;
  /** Bytes for the memories of users' programs, all together. Default 262,144. */
  readonly programMemory?: number;
  /** Frames of 2048 bytes for batches. Default 1,024. */
  readonly frames?: number;
  /** Further bytes for the caller, page-aligned: rings of AF_XDP sockets lie there. Default 0. */
  readonly reserved?: number;
}

const defaults: Required<Capacity> = {
  connections: 131_072,
  servicePorts: 16_384,
  extensions: 32_768,
  backends: 131_072,
  frontends: 65_536,
  ipv6Addresses: 65_536,
  sourceRanges: 16_384,
  maglevSlots: 1_048_576,
  addresses: 16_384,
  prefixes: 16_384,
  affinity: 65_536,
  fragments: 8_192,
  ports: 256,
  neighbors: 4_096,
  events: 4_096,
  programMemory: 262_144,
  frames: 1_024,
  reserved: 0,
};

/** A range of linear memory. */
export interface Region {
  readonly address: number;
  readonly length: number;
}

function powerOfTwo(n: number): number {
  let size = 1;
  while (size < n) size *= 2;
  return size;
}

/** Where everything lies: a plain description, computed from capacities alone. */
export interface MemoryLayout {
  readonly capacity: Required<Capacity>;
  readonly regions: Readonly<Record<RegionName, Region>>;
  /** Values of the control block that follow from the layout. */
  readonly control: Readonly<Partial<Record<keyof typeof layout.Control, number>>>;
  /** Bytes of linear memory, a multiple of 64 KiB. */
  readonly bytes: number;
}

type RegionName =
  | "connections"
  | "connectionFree"
  | "connectionBuckets"
  | "servicePorts"
  | "extensions"
  | "backends"
  | "sets"
  | "lookup"
  | "ranges"
  | "frontends"
  | "longAddresses"
  | "longAddressFree"
  | "nodePorts"
  | "addresses"
  | "prefixes"
  | "affinity"
  | "fragments"
  | "ports"
  | "neighbors"
  | "events"
  | "routeCache"
  | "scratch"
  | "programs"
  | "packet"
  | "frames"
  | "reserved";

/** Lays out the maps for given capacities. */
export function layOut(wanted: Capacity = {}): MemoryLayout {
  const capacity = { ...defaults, ...wanted };
  for (const [name, value] of Object.entries(capacity)) {
    if (!Number.isInteger(value) || value < (name === "reserved" ? 0 : 1) || value > 1 << 28) {
      throw new DataplaneError("INVALID_OPTION", `capacity.${name} must be an integer of 1 to 2^28, but is ${value}`);
    }
  }
  if (capacity.servicePorts > layout.FrontendMark.ID + 1) {
    throw new DataplaneError("INVALID_OPTION", `capacity.servicePorts is at most ${layout.FrontendMark.ID + 1}`);
  }
  // Two entries a connection, twelve to a bucket, three quarters full at most.
  const buckets = Math.max(2, powerOfTwo(Math.ceil((capacity.connections * 2) / 9)));
  // Lines of four, four fifths full at most.
  const frontendLines = Math.ceil((capacity.frontends * 5) / 16) + 1;
  const addressSlots = powerOfTwo(capacity.addresses * 2);
  const prefixSlots = powerOfTwo(capacity.prefixes * 2);
  const affinitySets = powerOfTwo(Math.ceil(capacity.affinity / 4));
  const fragmentSets = powerOfTwo(Math.ceil(capacity.fragments / 2));
  const neighborSlots = powerOfTwo(Math.max(4, capacity.neighbors));
  const eventSlots = powerOfTwo(capacity.events);
  let at: number = layout.MAPS_BASE;
  const regions = {} as Record<RegionName, Region>;
  const place = (name: RegionName, length: number, alignment = 64): void => {
    at = Math.ceil(at / alignment) * alignment;
    regions[name] = { address: at, length };
    at += length;
  };
  place("ports", capacity.ports * layout.Port.SIZE);
  place("servicePorts", capacity.servicePorts * layout.ServicePort.SIZE);
  place("extensions", capacity.extensions * layout.ServicePortExtension.SIZE);
  place("backends", capacity.backends * layout.Backend.SIZE);
  // Sets whose members lie in a row need no list.
  place("sets", Math.ceil(capacity.backends / 2) * 12);
  place("lookup", capacity.maglevSlots * 4);
  place("ranges", capacity.sourceRanges * layout.Range.SIZE);
  place("frontends", frontendLines * 64);
  place("longAddresses", capacity.ipv6Addresses * layout.LongAddress.SIZE);
  place("longAddressFree", capacity.ipv6Addresses * 4);
  place("nodePorts", 6 * 65_536 * 4);
  place("addresses", addressSlots * layout.Address.SIZE);
  place("prefixes", prefixSlots * layout.Prefix.SIZE);
  place("connectionBuckets", buckets * 64);
  place("connections", capacity.connections * layout.Connection.SIZE, 128);
  place("connectionFree", capacity.connections * 4);
  place("affinity", affinitySets * 4 * layout.Affinity.SIZE, 128);
  place("fragments", fragmentSets * 2 * layout.Fragment.SIZE, 128);
  place("neighbors", neighborSlots * layout.Neighbor.SIZE);
  place("events", eventSlots * layout.Event.SIZE);
  place("routeCache", 4096 * layout.RouteCache.SIZE);
  place("scratch", 65_536 * 8);
  place("programs", capacity.programMemory);
  place("packet", 68 * 1024);
  place("frames", capacity.frames * layout.FRAME_SIZE, 4096);
  place("reserved", capacity.reserved, 65_536);
  const bytes = Math.ceil((at + layout.FRAME_SIZE) / 65_536) * 65_536;
  if (bytes > 0xffff0000)
    throw new DataplaneError("INVALID_OPTION", `these capacities need ${bytes} bytes; 4 GiB is the limit`);
  return {
    capacity,
    regions,
    bytes,
    control: {
      connections: regions.connections.address,
      connectionCapacity: capacity.connections,
      connectionFree: regions.connectionFree.address,
      connectionBuckets: regions.connectionBuckets.address,
      connectionBucketMask: buckets - 1,
      servicePorts: regions.servicePorts.address,
      extensions: regions.extensions.address,
      backends: regions.backends.address,
      sets: regions.sets.address,
      lookup: regions.lookup.address,
      ranges: regions.ranges.address,
      frontends: regions.frontends.address,
      frontendLines,
      frontendHidden: layout.FrontendMark.BORN,
      longAddresses: regions.longAddresses.address,
      longAddressCapacity: capacity.ipv6Addresses,
      longAddressFree: regions.longAddressFree.address,
      nodePorts: regions.nodePorts.address,
      addresses: regions.addresses.address,
      addressMask: addressSlots - 1,
      prefixes: regions.prefixes.address,
      prefixMask: prefixSlots - 1,
      affinity: regions.affinity.address,
      affinityMask: affinitySets - 1,
      fragments: regions.fragments.address,
      fragmentMask: fragmentSets - 1,
      ports: regions.ports.address,
      portCapacity: capacity.ports,
      neighbors: regions.neighbors.address,
      neighborMask: neighborSlots - 1,
      events: regions.events.address,
      eventMaskIndex: eventSlots - 1,
      scratch: regions.scratch.address,
      routeCache: regions.routeCache.address,
      routeEpoch: 1,
    },
  };
}

/** The error of a map that has no room for what is named. */
export function mapFull({ capacity }: MemoryLayout, what: string, map: keyof Capacity): DataplaneError {
  return new DataplaneError("MAP_FULL", `${what}: no room: capacity.${map} is ${capacity[map]}`);
}

/** A loaded module over its memory, with one set of views for everybody. */
export interface Machine {
  readonly memory: WebAssemblyMemory;
  readonly layout: MemoryLayout;
  readonly exports: DataplaneExports;
  /** Functions that the module calls by index: users' programs are entered here. */
  readonly table: WebAssemblyTable;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly view: DataView;
}

/** Creates (or takes) the memory, instantiates the module over it and fills in the control block. */
export function load(module: WebAssemblyModule, memoryLayout: MemoryLayout, given?: WebAssemblyMemory): Machine {
  const pages = memoryLayout.bytes / 65_536;
  const memory = given ?? new globals.WebAssembly.Memory({ initial: pages, maximum: pages });
  if (memory.buffer.byteLength < memoryLayout.bytes) {
    throw new DataplaneError(
      "MEMORY_TOO_SMALL",
      `the memory has ${memory.buffer.byteLength} bytes, the maps need ${memoryLayout.bytes}; create it with ${pages} pages`,
    );
  }
  const instance = new globals.WebAssembly.Instance(module, { env: { memory } });
  const view = new DataView(memory.buffer as ArrayBuffer);
  for (const [field, value] of Object.entries(memoryLayout.control)) {
    view.setUint32(layout.CONTROL + layout.Control[field as keyof typeof layout.Control], value, true);
  }
  return {
    memory,
    layout: memoryLayout,
    exports: instance.exports as unknown as DataplaneExports,
    table: (instance.exports as { readonly table: WebAssemblyTable }).table,
    u8: new Uint8Array(memory.buffer),
    u32: new Uint32Array(memory.buffer),
    view,
  };
}
