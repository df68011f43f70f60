/** Local programs in the place of container images. */

export { type ImageReference, matchesImage, parseImageReference } from "./image-reference.ts";
export {
  createImageTable,
  type ImageEntry,
  type ImageFailure,
  type ImageProgram,
  type ImageTable,
  type ImageTableOptions,
  type ProgramContext,
  type ResolvedImage,
} from "./image-table.ts";
