import { notAcceptableStatus } from "@portolan/core";

/** How an object is to be answered. */
export interface Representation {
  readonly format: "json" | "yaml";
  readonly as: "object" | "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList";
  /** Version of `meta.k8s.io`, for tables and partial objects. */
  readonly version: "v1" | "v1beta1";
}

interface MediaRange {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** Media ranges of an `Accept` header in order of preference. */
export function parseAccept(accept: string): MediaRange[] {
  const ranges: MediaRange[] = [];
  for (const text of accept.slice(0, 4096).split(",")) {
    const [type = "", ...rest] = text.split(";").map((part) => part.trim());
    if (type === "") continue;
    const parameters = new Map<string, string>();
    let quality = 1;
    for (const parameter of rest) {
      const equals = parameter.indexOf("=");
      if (equals < 0) continue;
      const name = parameter.slice(0, equals).trim().toLowerCase();
      const value = parameter.slice(equals + 1).trim();
      if (name === "q") quality = Number(value) || 0;
      else parameters.set(name, value);
    }
    ranges.push({ type: type.toLowerCase(), parameters, quality });
  }
  return ranges
    .map((range, index) => ({ range, index }))
    .sort((a, b) => b.range.quality - a.range.quality || a.index - b.index)
    .map(({ range }) => range);
}

const formats: Readonly<Record<string, "json" | "yaml" | undefined>> = {
  "*/*": "json",
  "application/*": "json",
  "application/json": "json",
  "application/yaml": "yaml",
};

/** Media types that objects can be had in. */
export const objectMediaTypes: readonly string[] = [
  "application/json",
  "application/yaml",
  "application/vnd.kubernetes.protobuf",
];

/**
 * Chooses how to answer.
 *
 * @param allowTransforms whether tables and partial objects can be made of the answer
 * @throws StatusError 406
 */
export function negotiate(accept: string | undefined, allowTransforms: boolean): Representation {
  if (accept === undefined || accept === "") return { format: "json", as: "object", version: "v1" };
  for (const { type, parameters } of parseAccept(accept)) {
    const format = formats[type];
    if (format === undefined) continue;
    const as = parameters.get("as");
    if (as === undefined) return { format, as: "object", version: "v1" };
    if (!allowTransforms || parameters.get("g") !== "meta.k8s.io") continue;
    const version = parameters.get("v");
    if (version !== "v1" && version !== "v1beta1") continue;
    if (as === "Table" || as === "PartialObjectMetadata" || as === "PartialObjectMetadataList")
      return { format, as, version };
  }
  // Bodies are read in protobuf; answers are never written in it, and who can read nothing else should know.
  const protobuf = "application/vnd.kubernetes.protobuf";
  const isProtobuf = parseAccept(accept).some(({ type }) => type === protobuf);
  throw notAcceptableStatus(isProtobuf ? objectMediaTypes.filter((type) => type !== protobuf) : objectMediaTypes);
}

/** `application/json` of `application/json; charset=utf-8`. */
export function mediaTypeOf(contentType: string | undefined): string {
  return (contentType ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
}
