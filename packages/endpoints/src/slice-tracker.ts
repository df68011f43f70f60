import type { EndpointSlice } from "@portolan/core";

/**
 * Remembers the generation of every slice as last written, by its owner's key, so that a cache that has not caught up is not taken
 * for the truth: from old slices a controller would make endpoints twice. (upstream `endpointslice/util` EndpointSliceTracker)
 */
export interface SliceTracker {
  /** The slice as the server answered a create or an update. */
  wrote(key: string, slice: EndpointSlice): void;
  /** The slice was deleted by the controller itself. */
  deleting(key: string, slice: EndpointSlice): void;
  /** Whether `slices`, all that the cache has of `key`, miss something that was written. */
  isStale(key: string, slices: readonly EndpointSlice[]): boolean;
  /** Whether a slice seen by the watch is news: made or changed by another writer. */
  isNews(key: string, slice: EndpointSlice): boolean;
  /** A deletion was seen by the watch. True when the controller did not do it itself. */
  deleted(key: string, slice: EndpointSlice): boolean;
  forget(key: string): void;
}

const deletionExpected = -1;

/** Makes a {@link SliceTracker}. */
export function createSliceTracker(): SliceTracker {
  const owners = new Map<string, Map<string, number>>();
  const uidOf = (slice: EndpointSlice): string => slice.metadata.uid ?? "";
  const generationOf = (slice: EndpointSlice): number => slice.metadata.generation ?? 0;

  function note(key: string, slice: EndpointSlice, generation: number): void {
    let slices = owners.get(key);
    if (slices === undefined) {
      slices = new Map();
      owners.set(key, slices);
    }
    slices.set(uidOf(slice), generation);
  }

  return {
    wrote: (key, slice) => note(key, slice, generationOf(slice)),
    deleting: (key, slice) => note(key, slice, deletionExpected),
    isStale(key, slices) {
      const written = owners.get(key);
      if (written === undefined) return false;
      const seen = new Set<string>();
      for (const slice of slices) {
        seen.add(uidOf(slice));
        const generation = written.get(uidOf(slice));
        if (generation === undefined) continue;
        if (generation === deletionExpected || generation > generationOf(slice)) return true;
      }
      for (const [uid, generation] of written) if (generation !== deletionExpected && !seen.has(uid)) return true;
      return false;
    },
    isNews(key, slice) {
      const generation = owners.get(key)?.get(uidOf(slice));
      return generation === undefined || generationOf(slice) > generation;
    },
    deleted(key, slice) {
      const slices = owners.get(key);
      const generation = slices?.get(uidOf(slice));
      slices?.delete(uidOf(slice));
      return generation !== deletionExpected;
    },
    forget: (key) => void owners.delete(key),
  };
}
