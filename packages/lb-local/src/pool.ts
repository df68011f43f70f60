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

/** Checks pools. @throws TypeError on malformed addresses, duplicate names and overlaps; the message names them */
export function parsePools(pools: readonly AddressPool[]): ParsedPool[] {
  const parsed = pools.map((pool) => ({
    name: pool.name,
    autoAssign: pool.autoAssign ?? true,
    avoidBuggyIPs: pool.avoidBuggyIPs ?? false,
    ranges: pool.addresses.map(parseRange),
  }));
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

/** What a Service asks for. */
export interface AllocationRequest {
  /** `namespace/name`. */
  readonly owner: string;
  readonly families: readonly IPFamily[];
  /** Every family must be given (RequireDualStack); otherwise what one pool offers is enough. */
  readonly requireAll: boolean;
  /** Addresses asked for, at most one of each family. */
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

interface Use {
  readonly owner: string;
  readonly ports: readonly string[];
  readonly sharingKey?: string;
  readonly backendKey: string;
}

/** Hands out addresses of pools. An owner keeps its addresses as long as they fit its request. */
export interface AddressAllocator {
  allocate(request: AllocationRequest): { readonly addresses: readonly string[] } | AllocationFailure;
  release(owner: string): void;
  addressesOf(owner: string): readonly string[];
  owners(): readonly string[];
}

/** Makes an allocator; nothing is in use at first. */
export function createAddressAllocator(pools: readonly ParsedPool[]): AddressAllocator {
  const uses = new Map<string, Use[]>();
  const byOwner = new Map<string, string[]>();

  function blockers(address: string, request: AllocationRequest): Use[] {
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

  function assign(addresses: readonly string[], request: AllocationRequest): { addresses: readonly string[] } {
    release(request.owner);
    const use: Use = {
      owner: request.owner,
      ports: request.ports,
      backendKey: request.backendKey,
      ...(request.sharingKey === undefined ? {} : { sharingKey: request.sharingKey }),
    };
    for (const address of addresses) uses.set(address, [...(uses.get(address) ?? []), use]);
    byOwner.set(request.owner, [...addresses]);
    return { addresses };
  }

  function explicit(request: AllocationRequest): { addresses: readonly string[] } | AllocationFailure {
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
      const pool = pools.find((each) => poolContains(each, address));
      if (pool === undefined || (request.pool !== undefined && pool.name !== request.pool)) {
        const names = request.pool ?? pools.map((each) => each.name).join(", ");
        return { code: "AddressNotInPool", message: `requested address ${address} is not in pool ${names}` };
      }
      const blocked = blockers(address, request);
      if (blocked.length > 0) {
        const holders = blocked.map((use) => use.owner).join(", ");
        return { code: "AddressInUse", message: `requested address ${address} is in use by ${holders}` };
      }
      wanted.push(address);
    }
    if (request.requireAll && wanted.length < request.families.length) {
      return { code: "BadRequest", message: "a dual-stack Service must request an address of each family" };
    }
    return assign(wanted, request);
  }

  return {
    release,
    addressesOf: (owner) => byOwner.get(owner) ?? [],
    owners: () => [...byOwner.keys()],
    allocate(request) {
      if (request.addresses.length > 0) return explicit(request);
      const candidates =
        request.pool === undefined
          ? pools.filter((pool) => pool.autoAssign)
          : pools.filter((pool) => pool.name === request.pool);
      if (request.pool !== undefined && candidates.length === 0) {
        return { code: "UnknownPool", message: `there is no address pool "${request.pool}"` };
      }
      const current = byOwner.get(request.owner) ?? [];
      const fits =
        current.length > 0 &&
        current.every((address) => blockers(address, request).length === 0) &&
        current.every((address) => request.families.includes(familyOf(address)!)) &&
        (!request.requireAll || current.length === request.families.length) &&
        (request.pool === undefined || candidates.some((pool) => current.every((a) => poolContains(pool, a)))) &&
        current.every((address) => pools.some((pool) => poolContains(pool, address)));
      if (fits) return assign(current, request);
      for (const pool of candidates) {
        const found: string[] = [];
        for (const family of request.families) {
          for (const address of poolAddresses(pool, family)) {
            if (blockers(address, request).length > 0) continue;
            found.push(address);
            break;
          }
        }
        const enough = request.requireAll ? found.length === request.families.length : found.length > 0;
        if (enough) return assign(found, request);
      }
      if (candidates.length === 0) return { code: "NoPool", message: "no address pool assigns addresses by itself" };
      const names = candidates.map((pool) => pool.name).join(", ");
      return {
        code: "PoolExhausted",
        message: `no ${request.families.join(" and ")} address is free in pool ${names} (${uses.size} in use)`,
      };
    },
  };
}
