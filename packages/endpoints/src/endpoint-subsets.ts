import type { EndpointAddress, EndpointSubset, EndpointsPort } from "@portolan/core";

/** Most addresses an Endpoints object holds (KEP-752: the object would be too big to be sent around). */
export const maximumEndpointsAddresses = 1000;

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function portKey(port: EndpointsPort): string {
  return JSON.stringify([port.name ?? "", port.protocol ?? "TCP", port.port, port.appProtocol ?? null]);
}

function comparePorts(a: EndpointsPort, b: EndpointsPort): number {
  return (
    compare(a.name ?? "", b.name ?? "") ||
    a.port - b.port ||
    compare(a.protocol ?? "TCP", b.protocol ?? "TCP") ||
    compare(a.appProtocol ?? "", b.appProtocol ?? "")
  );
}

/**
 * The shortest equal form of subsets: ports with the same addresses share a subset. An address is known by its IP and the UID of what
 * it refers to; its first mention counts. One that is ready and not ready on a port is not ready. Addresses are ordered by IP and UID,
 * ports and subsets by name and number. A subset without ports goes into one with ports that has the same addresses, as upstream's does.
 * (upstream `pkg/api/v1/endpoints` RepackSubsets)
 */
export function repackSubsets(subsets: readonly EndpointSubset[]): EndpointSubset[] {
  const addresses = new Map<string, EndpointAddress>();
  // Subsets without ports belong together under a port of their own.
  const ports = new Map<string, { port: EndpointsPort | undefined; readiness: Map<string, boolean> }>();
  for (const subset of subsets) {
    const list: (EndpointsPort | undefined)[] = subset.ports?.length ? subset.ports : [undefined];
    for (const port of list) {
      const key = port === undefined ? "" : portKey(port);
      let entry = ports.get(key);
      if (entry === undefined) {
        entry = { port, readiness: new Map() };
        ports.set(key, entry);
      }
      const note = (address: EndpointAddress, ready: boolean): void => {
        const identity = JSON.stringify([address.ip, address.targetRef?.uid ?? ""]);
        if (!addresses.has(identity)) addresses.set(identity, address);
        if (entry.readiness.get(identity) !== false) entry.readiness.set(identity, ready);
      };
      for (const address of subset.addresses ?? []) note(address, true);
      for (const address of subset.notReadyAddresses ?? []) note(address, false);
    }
  }

  const merged = new Map<string, { ports: EndpointsPort[]; readiness: Map<string, boolean> }>();
  for (const { port, readiness } of ports.values()) {
    if (readiness.size === 0) continue;
    const key = JSON.stringify([...readiness].sort(([a], [b]) => compare(a, b)));
    const group = merged.get(key) ?? { ports: [], readiness };
    if (port !== undefined) group.ports.push(port);
    merged.set(key, group);
  }

  const ordered = (readiness: ReadonlyMap<string, boolean>, ready: boolean): EndpointAddress[] =>
    [...readiness]
      .filter(([, state]) => state === ready)
      .map(([identity]) => addresses.get(identity)!)
      .sort((a, b) => compare(a.ip, b.ip) || compare(a.targetRef?.uid ?? "", b.targetRef?.uid ?? ""));
  return [...merged.values()]
    .map(({ ports: list, readiness }) => {
      const ready = ordered(readiness, true);
      const notReady = ordered(readiness, false);
      return {
        ...(ready.length === 0 ? {} : { addresses: ready }),
        ...(notReady.length === 0 ? {} : { notReadyAddresses: notReady }),
        ...(list.length === 0 ? {} : { ports: [...list].sort(comparePorts) }),
      };
    })
    .sort((a: EndpointSubset, b: EndpointSubset) => {
      for (let at = 0; ; at++) {
        const left = a.ports?.[at];
        const right = b.ports?.[at];
        if (left === undefined || right === undefined)
          return left === right ? compare(firstAddress(a), firstAddress(b)) : left === undefined ? -1 : 1;
        const order = comparePorts(left, right);
        if (order !== 0) return order;
      }
    });
}

function firstAddress(subset: EndpointSubset): string {
  return subset.addresses?.[0]?.ip ?? subset.notReadyAddresses?.[0]?.ip ?? "";
}

/**
 * Cuts subsets to `capacity` addresses. Ready ones go first: as long as they fit, only those not ready are cut; otherwise these all go.
 * What is cut is cut in proportion, rounded up per subset until nothing is left to give.
 * Subsets keep their places, also those that lose all addresses.
 */
export function truncateSubsets(
  subsets: readonly EndpointSubset[],
  capacity: number = maximumEndpointsAddresses,
): { readonly subsets: EndpointSubset[]; readonly truncated: boolean } {
  let ready = 0;
  let notReady = 0;
  for (const subset of subsets) {
    ready += subset.addresses?.length ?? 0;
    notReady += subset.notReadyAddresses?.length ?? 0;
  }
  if (ready + notReady <= capacity) return { subsets: [...subsets], truncated: false };
  const cutsReady = ready > capacity;
  const total = cutsReady ? ready : notReady;
  const places = cutsReady ? capacity : capacity - ready;
  let left = places;
  const share = (list: readonly EndpointAddress[] = []): EndpointAddress[] => {
    const kept = list.slice(0, Math.min(left, Math.ceil((list.length / total) * places)));
    left -= kept.length;
    return kept;
  };
  return {
    truncated: true,
    subsets: subsets.map(({ addresses, notReadyAddresses, ...rest }) => {
      const kept = share(cutsReady ? addresses : notReadyAddresses);
      const stay = cutsReady ? kept : (addresses ?? []);
      const wait = cutsReady ? [] : kept;
      return {
        ...(stay.length === 0 ? {} : { addresses: stay }),
        ...(wait.length === 0 ? {} : { notReadyAddresses: wait }),
        ...rest,
      };
    }),
  };
}
