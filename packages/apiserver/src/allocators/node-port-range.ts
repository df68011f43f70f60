import { nodePortBands } from "@portolan/core";

/**
 * The range of node ports with its two bands: ports that are asked for may lie anywhere, chosen ones come from the upper band first (KEP-3668).
 */
export interface NodePortRange {
  readonly first: number;
  readonly last: number;
  /** `30000-32767`, as messages show it. */
  readonly text: string;
  contains(port: number): boolean;
  /** A free port, or `undefined` when there is none. `random` is in [0, 1). */
  next(isTaken: (port: number) => boolean, random: () => number): number | undefined;
}

/**
 * Reads a range such as `30000-32767`, `30000+2768` (base and size) or a single port.
 *
 * @throws RangeError when it is none
 */
export function createNodePortRange(text: string): NodePortRange {
  const bands = nodePortBands(text);
  if (bands === undefined) throw new RangeError(`"${text}" is not a range of ports; give one such as 30000-32767`);
  const { first, last, bandOffset } = bands;

  function scan(from: number, to: number, start: number, isTaken: (port: number) => boolean): number | undefined {
    for (let i = 0, port = start; i <= to - from; i++) {
      if (!isTaken(port)) return port;
      port = port === to ? from : port + 1;
    }
    return undefined;
  }

  return {
    first,
    last,
    text: `${first}-${last}`,
    contains: (port) => Number.isInteger(port) && port >= first && port <= last,
    next(isTaken, random) {
      const dynamic = first + bandOffset;
      return (
        scan(dynamic, last, dynamic + Math.floor(random() * (last - dynamic + 1)), isTaken) ??
        (bandOffset === 0 ? undefined : scan(first, dynamic - 1, first, isTaken))
      );
    },
  };
}
