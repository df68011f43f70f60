/** One entry of an Accept header: `application/json;as=Table;v=v1;g=meta.k8s.io`. */
export interface MediaType {
  /** Lower case, without parameters. */
  readonly type: string;
  /** Names in lower case; `q` is among them. */
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * Entries of an Accept header in order of preference: by `q`, and where that is equal as they stand. An empty header accepts
 * everything (RFC 9110 section 12.5.1).
 */
export function parseAccept(accept: string): MediaType[] {
  const entries = accept
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "")
    .map((entry): MediaType => {
      const [type = "", ...rest] = entry.split(";").map((part) => part.trim());
      const parameters = rest.map((parameter): [string, string] => {
        const equals = parameter.indexOf("=");
        return equals < 0
          ? [parameter.toLowerCase(), ""]
          : [parameter.slice(0, equals).toLowerCase(), parameter.slice(equals + 1)];
      });
      return { type: type.toLowerCase(), parameters: new Map(parameters) };
    });
  if (entries.length === 0) return [{ type: "*/*", parameters: new Map() }];
  return entries
    .map((entry) => ({ entry, q: quality(entry) }))
    .sort((a, b) => b.q - a.q)
    .map(({ entry }) => entry);
}

function quality(entry: MediaType): number {
  const q = Number(entry.parameters.get("q") ?? "1");
  return Number.isNaN(q) ? 1 : q;
}

/** Whether an entry admits a type: the same one, or a wildcard. */
export function admits(entry: MediaType, type: string): boolean {
  return entry.type === type || entry.type === "*/*" || entry.type === `${type.slice(0, type.indexOf("/"))}/*`;
}
