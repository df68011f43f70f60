import { type LabelSelector, matchLabelSelector } from "@portolan/core";
import {
  addressFromBigInt,
  addressToBigInt,
  canonicalAddress,
  familyOf,
  formatAddress,
  type IPFamily,
  maskAddress,
  parseAddress,
  parsePrefix,
} from "@portolan/net";

/** A named set of addresses that Services may get. */
export interface AddressPool {
  readonly name: string;
  /** CIDRs (`172.18.255.0/24`) and ranges (`172.18.255.10-172.18.255.20`), of both families. */
  readonly addresses: readonly string[];
  /** False: only for Services that ask for the pool or for one of its addresses. Default true. */
  readonly autoAssign?: boolean;
  /** Leaves out IPv4 addresses that end in .0 and .255. Default false. */
  readonly avoidBuggyIPs?: boolean;
  /** Who may have addresses of it; absent: all Services. */
  readonly serviceAllocation?: ServiceAllocation;
}

/** Pins a pool to Services. They are served from pinned pools first; others get nothing of it, not even on request. */
export interface ServiceAllocation {
  readonly namespaces?: readonly string[];
  /** A Service must match one of them, if there are any. */
  readonly serviceSelectors?: readonly LabelSelector[];
  /** Pools with a lower number are tried first; 0, the default, is tried last. */
  readonly priority?: number;
}

/** A parsed range, both ends included. */
interface Range {
  readonly family: IPFamily;
  readonly first: bigint;
  readonly last: bigint;
}

/** A pool that was checked. */
export interface ParsedPool {
  readonly name: string;
  readonly autoAssign: boolean;
  readonly ranges: readonly Range[];
  readonly avoidBuggyIPs: boolean;
  readonly serviceAllocation?: ServiceAllocation;
}

function parseRange(text: string): Range {
  const dash = text.indexOf("-");
  if (dash >= 0) {
    const first = parseAddress(text.slice(0, dash).trim());
    const last = parseAddress(text.slice(dash + 1).trim());
    if (first === undefined || last === undefined || first.family !== last.family) {
      throw new TypeError(
        `address pool: "${text}" is not a range; write it as FIRST-LAST with addresses of one family`,
      );
    }
    const range = { family: first.family, first: addressToBigInt(first), last: addressToBigInt(last) };
    if (range.first > range.last) throw new TypeError(`address pool: "${text}" ends before it begins`);
    return range;
  }
  const prefix = parsePrefix(text.trim());
  if (prefix === undefined) {
    throw new TypeError(`address pool: "${text}" is neither a CIDR nor a range FIRST-LAST`);
  }
  const { address, length } = prefix;
  const first = addressToBigInt(maskAddress(address, length));
  return { family: address.family, first, last: first + (1n << BigInt(address.bytes.length * 8 - length)) - 1n };
}

/** Checks one pool. @throws TypeError on malformed addresses */
export function parsePool(pool: AddressPool): ParsedPool {
  return {
    name: pool.name,
    autoAssign: pool.autoAssign ?? true,
    avoidBuggyIPs: pool.avoidBuggyIPs ?? false,
    ranges: pool.addresses.map(parseRange),
    ...(pool.serviceAllocation === undefined ? {} : { serviceAllocation: pool.serviceAllocation }),
  };
}

/** Checks pools. @throws TypeError on malformed addresses, duplicate names and overlaps; the message names them */
export function parsePools(pools: readonly AddressPool[]): ParsedPool[] {
  const parsed = pools.map(parsePool);
  const seen: { pool: string; range: Range }[] = [];
  for (const pool of parsed) {
    if (seen.some((entry) => entry.pool === pool.name))
      throw new TypeError(`address pool "${pool.name}" is given twice`);
    for (const range of pool.ranges) {
      const other = seen.find(
        (entry) =>
          entry.range.family === range.family && entry.range.first <= range.last && range.first <= entry.range.last,
      );
      if (other !== undefined) throw new TypeError(`address pools "${other.pool}" and "${pool.name}" overlap`);
      seen.push({ pool: pool.name, range });
    }
  }
  return parsed;
}

/** Whether a pool holds an address (canonical text). */
export function poolContains(pool: ParsedPool, address: string): boolean {
  const parsed = parseAddress(address);
  if (parsed === undefined) return false;
  const value = addressToBigInt(parsed);
  if (pool.avoidBuggyIPs && parsed.family === "IPv4" && [0, 255].includes(parsed.bytes[3]!)) return false;
  return pool.ranges.some((range) => range.family === parsed.family && range.first <= value && value <= range.last);
}

/** Addresses of a family, ascending. Lazy: pools may be large. */
export function* poolAddresses(pool: ParsedPool, family: IPFamily): Generator<string> {
  for (const range of pool.ranges) {
    if (range.family !== family) continue;
    for (let value = range.first; value <= range.last; value++) {
      const text = formatAddress(addressFromBigInt(value, family));
      if (poolContains(pool, text)) yield text;
    }
  }
}

/** Addresses that a pool can give, of each family and in all; inexact above 2^53. */
export function poolSize(pool: ParsedPool): { total: number; ipv4: number; ipv6: number } {
  const size = { ipv4: 0, ipv6: 0 };
  for (const { family, first, last } of pool.ranges) {
    let count = last - first + 1n;
    if (family === "IPv4" && pool.avoidBuggyIPs) {
      // Values of a residue r (mod 256) in first..last, for r = 0 and r = 255.
      const upTo = (value: bigint, residue: bigint): bigint => (value < residue ? 0n : (value - residue) / 256n + 1n);
      for (const residue of [0n, 255n]) {
        count -= upTo(last, residue) - (first === 0n ? 0n : upTo(first - 1n, residue));
      }
    }
    size[family === "IPv4" ? "ipv4" : "ipv6"] += Number(count);
  }
  return { total: size.ipv4 + size.ipv6, ...size };
}

/** What a Service asks for. */
export interface AllocationRequest {
  /** `namespace/name`. */
  readonly owner: string;
  /** Labels of the Service, for pools that are pinned by them. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Families of the Service; without any there is nothing to give yet. */
  readonly families: readonly IPFamily[];
  /** Every family must be given (RequireDualStack); otherwise what one pool offers is enough. */
  readonly requireAll: boolean;
  /** Addresses asked for: exactly one of each family, or none. */
  readonly addresses: readonly string[];
  readonly pool?: string;
  /** `PROTOCOL/port` of each Service port: owners of one address must not overlap. */
  readonly ports: readonly string[];
  /** Owners with the same key may share an address. Absent: no sharing. */
  readonly sharingKey?: string;
  /** Sharing owners must agree on where the address leads: the selector for policy Local, empty for Cluster. */
  readonly backendKey: string;
}

/** Why there is no address. */
export interface AllocationFailure {
  readonly code: "AddressNotInPool" | "AddressInUse" | "PoolExhausted" | "UnknownPool" | "BadRequest" | "NoPool";
  readonly message: string;
}

/** Addresses for a request, of one pool, in the order of its ranges. */
export interface Allocation {
  readonly pool: string;
  readonly addresses: readonly string[];
}

/** What an owner has, and on which terms. */
export interface AddressUse {
  /** `namespace/name`. */
  readonly owner: string;
  readonly ports: readonly string[];
  readonly sharingKey?: string;
  readonly backendKey: string;
}

/** Hands out addresses of pools. An owner keeps its addresses as long as they fit its request. */
export interface AddressAllocator {
  /** What {@link allocate} would give now. */
  find(request: AllocationRequest): Allocation | AllocationFailure;
  /** Gives addresses to the owner instead of what it had. A failure leaves it what it had. */
  allocate(request: AllocationRequest): Allocation | AllocationFailure;
  release(owner: string): void;
  addressesOf(owner: string): readonly string[];
  /** The terms on which an owner has its addresses; undefined if it has none. */
  useOf(owner: string): AddressUse | undefined;
  owners(): readonly string[];
}

function pinned(pool: ParsedPool): boolean {
  const { namespaces = [], serviceSelectors = [] } = pool.serviceAllocation ?? {};
  return namespaces.length > 0 || serviceSelectors.length > 0;
}

function serves(pool: ParsedPool, request: AllocationRequest): boolean {
  const { namespaces = [], serviceSelectors = [] } = pool.serviceAllocation ?? {};
  const namespace = request.owner.slice(0, request.owner.indexOf("/"));
  if (namespaces.length > 0 && !namespaces.includes(namespace)) return false;
  return (
    serviceSelectors.length === 0 ||
    serviceSelectors.some((selector) => matchLabelSelector(selector, request.labels ?? {}))
  );
}

/** Makes an allocator; nothing is in use at first. */
export function createAddressAllocator(pools: readonly ParsedPool[]): AddressAllocator {
  const uses = new Map<string, AddressUse[]>();
  const byOwner = new Map<string, string[]>();

  function blockers(address: string, request: AllocationRequest): AddressUse[] {
    return (uses.get(address) ?? []).filter((use) => {
      if (use.owner === request.owner) return false;
      const shareable =
        request.sharingKey !== undefined &&
        use.sharingKey === request.sharingKey &&
        use.backendKey === request.backendKey &&
        !use.ports.some((port) => request.ports.includes(port));
      return !shareable;
    });
  }

  function release(owner: string): void {
    for (const address of byOwner.get(owner) ?? []) {
      const rest = (uses.get(address) ?? []).filter((use) => use.owner !== owner);
      if (rest.length > 0) uses.set(address, rest);
      else uses.delete(address);
    }
    byOwner.delete(owner);
  }

  function explicit(request: AllocationRequest): Allocation | AllocationFailure {
    const wanted: string[] = [];
    for (const text of request.addresses) {
      const address = canonicalAddress(text);
      if (address === undefined) return { code: "BadRequest", message: `"${text}" is not an IP address` };
      const family = familyOf(address)!;
      if (!request.families.includes(family)) {
        return { code: "BadRequest", message: `requested address ${address} is ${family}, but the Service is not` };
      }
      if (wanted.some((other) => familyOf(other) === family)) {
        return { code: "BadRequest", message: `more than one ${family} address requested` };
      }
      wanted.push(address);
    }
    const missing = request.families.find((family) => !wanted.some((address) => familyOf(address) === family));
    if (missing !== undefined) {
      return {
        code: "BadRequest",
        message: `requested addresses ${wanted.join(", ")} hold no ${missing} address, which the Service has as well`,
      };
    }
    const holding = pools.filter((pool) => wanted.every((address) => poolContains(pool, address)));
    const pool = holding.find((each) => (request.pool ?? each.name) === each.name && serves(each, request));
    if (pool === undefined) {
      const list = wanted.join(", ");
      const names = request.pool ?? pools.map((each) => each.name).join(", ");
      return {
        code: "AddressNotInPool",
        message:
          holding.length > 0 && request.pool === undefined
            ? `requested address ${list} is in pool ${holding[0]!.name}, which is not for this Service`
            : `requested address ${list} is not in pool ${names}`,
      };
    }
    for (const address of wanted) {
      const blocked = blockers(address, request);
      if (blocked.length === 0) continue;
      const holders = blocked.map((use) => use.owner).join(", ");
      return { code: "AddressInUse", message: `requested address ${address} is in use by ${holders}` };
    }
    return { pool: pool.name, addresses: wanted };
  }

  /** One address of each family that the pool can give, what the owner has first. */
  function offer(pool: ParsedPool, request: AllocationRequest): string[] {
    const held = (byOwner.get(request.owner) ?? []).filter((address) => poolContains(pool, address));
    const found = new Map<IPFamily, string>();
    for (const { family } of pool.ranges) {
      if (found.has(family) || !request.families.includes(family)) continue;
      const free = (address: string): boolean => blockers(address, request).length === 0;
      const kept = held.find((address) => familyOf(address) === family && free(address));
      if (kept !== undefined) {
        found.set(family, kept);
        continue;
      }
      for (const address of poolAddresses(pool, family)) {
        if (!free(address)) continue;
        found.set(family, address);
        break;
      }
    }
    return [...found.values()];
  }

  /** Pools in the order in which they are tried. */
  function candidates(request: AllocationRequest): ParsedPool[] {
    if (request.pool !== undefined) return pools.filter((pool) => pool.name === request.pool && serves(pool, request));
    const rank = (pool: ParsedPool): number => pool.serviceAllocation?.priority || Number.POSITIVE_INFINITY;
    const own = pools.filter((pool) => pool.autoAssign && pinned(pool) && serves(pool, request));
    own.sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
    return [...own, ...pools.filter((pool) => pool.autoAssign && !pinned(pool))];
  }

  function find(request: AllocationRequest): Allocation | AllocationFailure {
    if (request.addresses.length > 0) return explicit(request);
    if (request.families.length === 0) {
      return {
        code: "BadRequest",
        message: "the Service has no cluster address yet, so its IP families are not known",
      };
    }
    const tried = candidates(request);
    if (request.pool !== undefined && tried.length === 0) {
      const known = pools.some((pool) => pool.name === request.pool);
      return {
        code: "UnknownPool",
        message: known
          ? `address pool "${request.pool}" is not for this Service`
          : `there is no address pool "${request.pool}"; known are ${pools.map((pool) => pool.name).join(", ") || "none"}`,
      };
    }
    const current = byOwner.get(request.owner) ?? [];
    const offers = tried.map((pool) => ({ pool, addresses: offer(pool, request) }));
    // What a Service has stays, as long as any pool that is for it holds it and no family is missing that it must have.
    const keeps =
      current.length > 0 &&
      current.length >= (request.requireAll ? request.families.length : 1) &&
      current.every((address) => request.families.includes(familyOf(address)!) && !blockers(address, request).length);
    const keeper = pools.find(
      (pool) =>
        (request.pool ?? pool.name) === pool.name &&
        serves(pool, request) &&
        current.every((address) => poolContains(pool, address)),
    );
    if (keeps && keeper !== undefined) {
      const more = offer(keeper, request);
      return { pool: keeper.name, addresses: more.length > current.length ? more : current };
    }
    const enough = (count: number) => offers.find((entry) => entry.addresses.length >= count);
    const chosen = enough(request.families.length) ?? (request.requireAll ? undefined : enough(1));
    if (chosen !== undefined) return { pool: chosen.pool.name, addresses: chosen.addresses };
    if (tried.length === 0) return { code: "NoPool", message: "no address pool assigns addresses by itself" };
    const names = tried.map((pool) => pool.name).join(", ");
    return {
      code: "PoolExhausted",
      message: `no ${request.families.join(" and ")} address is free in pool ${names} (${uses.size} in use)`,
    };
  }

  return {
    find,
    release,
    addressesOf: (owner) => byOwner.get(owner) ?? [],
    useOf: (owner) => uses.get(byOwner.get(owner)?.[0] ?? "")?.find((use) => use.owner === owner),
    owners: () => [...byOwner.keys()],
    allocate(request) {
      const found = find(request);
      if (!("addresses" in found)) return found;
      release(request.owner);
      const use: AddressUse = {
        owner: request.owner,
        ports: request.ports,
        backendKey: request.backendKey,
        ...(request.sharingKey === undefined ? {} : { sharingKey: request.sharingKey }),
      };
      for (const address of found.addresses) uses.set(address, [...(uses.get(address) ?? []), use]);
      byOwner.set(request.owner, [...found.addresses]);
      return found;
    },
  };
}
