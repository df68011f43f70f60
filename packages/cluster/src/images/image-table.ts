import { createHash } from "node:crypto";
import type { Container } from "@portolan/core";
import { builtInImages } from "./built-in-images.ts";
import { type ImageReference, matchesImage, parseImageReference } from "./image-reference.ts";

/** What the program of an image may know about the pod it runs in. */
export interface ProgramContext {
  readonly podName: string;
  readonly podNamespace: string;
  readonly podAddress: string;
  readonly nodeName: string;
  /** Ports that the container declares, or else the image's own. */
  readonly ports: readonly { readonly port: number; readonly protocol: "TCP" | "UDP" | "SCTP" }[];
}

/** The local program that plays an image. */
export interface ImageProgram {
  /** Like ENTRYPOINT of an image: a container's `command` replaces it. */
  readonly entrypoint?: readonly string[];
  /** Like CMD: a container's `args` (or its `command`) replace it. */
  readonly arguments?: readonly string[];
  /**
   * Takes the place of `entrypoint` when a container gives `args` alone, as entry point scripts do that accept both options
   * and commands.
   */
  readonly entrypointFor?: (args: readonly string[]) => readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** More variables, for programs that speak about their pod. Only when the image's own entry point runs. */
  readonly podEnvironment?: (context: ProgramContext) => Readonly<Record<string, string>>;
  /** Ports that the program listens on when the container declares none. */
  readonly ports?: readonly number[];
  /** Commands found before those of the machine: name → program and first arguments. */
  readonly commands?: (options: { readonly isolated: boolean }) => Readonly<Record<string, readonly string[]>>;
  readonly workingDirectory?: string;
}

/** An entry of the table: a command line, or a program with its details; a function is given the parsed reference. */
export type ImageEntry = readonly string[] | ImageProgram | ((reference: ImageReference) => ImageProgram);

/** An image that the table knows. */
export interface ResolvedImage {
  /** As in the pod, completed: `docker.io/library/nginx:1.24`. */
  readonly image: string;
  /** Stable for a reference. */
  readonly imageId: string;
  readonly program: ImageProgram;
}

/** Why an image has no program. */
export type ImageFailure = {
  readonly reason: "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull";
  readonly message: string;
};

/** Table of images. */
export interface ImageTable {
  /** The program of an image, or why there is none. */
  resolve(image: string): ResolvedImage | ImageFailure;
}

/** Options of {@link createImageTable}. */
export interface ImageTableOptions {
  /** Pattern (see `matchesImage`) → program. Searched in order, before the built-in ones. */
  readonly images?: Readonly<Record<string, ImageEntry>>;
  /** Whether nginx, busybox, curl and the like are known. Default true. */
  readonly builtIn?: boolean;
}

function toProgram(entry: ImageEntry, reference: ImageReference): ImageProgram {
  if (typeof entry === "function") return entry(reference);
  return Array.isArray(entry) ? { entrypoint: entry as readonly string[] } : (entry as ImageProgram);
}

/**
 * A table from image names to programs of this machine: nothing is downloaded. Give your own images as
 * `createImageTable({ images: { "registry.example.com/shop/*": ["node", "shop.js"] } })`.
 */
export function createImageTable(options: ImageTableOptions = {}): ImageTable {
  // As most images do; programs of users start where this one did.
  const atRoot = ([pattern, entry]: [string, ImageEntry]): [string, ImageEntry] => [
    pattern,
    (reference) => ({ workingDirectory: "/", ...toProgram(entry, reference) }),
  ];
  const entries = [
    ...Object.entries(options.images ?? {}),
    ...(options.builtIn === false ? [] : Object.entries(builtInImages()).map(atRoot)),
  ];
  return {
    resolve(image) {
      const reference = parseImageReference(image);
      if (reference === undefined) {
        return {
          reason: "InvalidImageName",
          message: `Failed to apply default image tag "${image}": couldn't parse image name "${image}": invalid reference format`,
        };
      }
      const found = entries.find(([pattern]) => matchesImage(pattern, reference));
      const { registry, repository, tag, digest } = reference;
      const full = `${registry}/${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
      if (found === undefined) {
        return {
          reason: "ErrImagePull",
          message:
            `no program of this machine stands for image "${full}"; give one in the image table, ` +
            `for example createImageTable({ images: { "${image.replace(/[:@].*$/, "")}": ["program", "argument"] } })`,
        };
      }
      const hash = createHash("sha256").update(full).digest("hex");
      let program: ImageProgram;
      try {
        program = toProgram(found[1], reference);
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        return {
          reason: "ErrImagePull",
          message: `the program for image "${full}" is not on this machine: ${problem}`,
        };
      }
      const imageId = digest === undefined ? `${registry}/${repository}@sha256:${hash}` : full;
      return { image: full, imageId, program };
    },
  };
}

/**
 * The command line of a container: its `command` replaces the image's entry point and arguments, its `args` the arguments
 * alone. Empty when neither says what to run.
 */
export function containerArgv(
  container: Pick<Container, "command" | "args">,
  program: ImageProgram,
): { readonly argv: readonly string[]; readonly ownEntrypoint: boolean } {
  const command = container.command ?? [];
  const args = container.args ?? [];
  if (command.length > 0) return { argv: [...command, ...args], ownEntrypoint: false };
  const rest = args.length > 0 ? args : (program.arguments ?? []);
  if (program.entrypointFor !== undefined) {
    const argv = program.entrypointFor(rest);
    const own = program.entrypoint?.every((part, index) => argv[index] === part) === true;
    return { argv, ownEntrypoint: own };
  }
  return { argv: [...(program.entrypoint ?? []), ...rest], ownEntrypoint: (program.entrypoint ?? []).length > 0 };
}
