/** Places in the file system of a pod's programs for mounts whose paths this machine does not have. */
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import type { BindMount, DirectoryAddition } from "@portolan/netio-linux";
import type { PodMount } from "./pod-runtime.ts";

/** Folders that programs write to: shown with additions they would be read-only. */
const WRITTEN = new Set(["/tmp", "/var/tmp", "/dev/shm", "/root", "/home"]);

/** What a pod's mounts need; the folders that it makes are gone after `remove`. */
export interface MountPlaces {
  /** The mounts that can be had, and what has to be added to folders of this machine for them. */
  of(mounts: readonly PodMount[]): {
    readonly mounts: readonly BindMount[];
    readonly additions: readonly DirectoryAddition[];
  };
  remove(): void;
}

/** Makes the places of one pod; nothing is written before they are needed. */
export function createMountPlaces(): MountPlaces {
  let root: string | undefined;
  const folders = new Map<string, string>();

  /** The folder of entries that are added to a directory. */
  const entriesOf = (directory: string): string => {
    let entries = folders.get(directory);
    if (entries === undefined) {
      root ??= mkdtempSync(join(tmpdir(), "portolan-mounts-"));
      entries = join(root, String(folders.size));
      mkdirSync(entries, { mode: statSync(directory).mode });
      folders.set(directory, entries);
    }
    return entries;
  };

  return {
    of(mounts) {
      const shown: BindMount[] = [];
      const additions = new Map<string, DirectoryAddition>();
      for (const mount of mounts) {
        if (existsSync(mount.target)) {
          shown.push(mount);
          continue;
        }
        let above = dirname(mount.target);
        while (!existsSync(above)) above = dirname(above);
        const directory = realpathSync(above);
        if (WRITTEN.has(directory)) continue;
        const entries = entriesOf(directory);
        const place = join(entries, relative(above, mount.target));
        if (statSync(mount.source).isDirectory()) mkdirSync(place, { recursive: true });
        else {
          mkdirSync(dirname(place), { recursive: true });
          if (!existsSync(place)) writeFileSync(place, "");
        }
        additions.set(directory, { directory, entries });
        shown.push(mount);
      }
      return { mounts: shown, additions: [...additions.values()] };
    },
    remove() {
      if (root !== undefined) rmSync(root, { recursive: true, force: true });
    },
  };
}
