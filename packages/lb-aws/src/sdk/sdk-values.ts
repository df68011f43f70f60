import type { Tags } from "../port.ts";

/** All entries of a list that comes in pages. */
export async function pages<Page, Entry>(
  fetch: (token: string | undefined) => Promise<Page>,
  entries: (page: Page) => readonly Entry[] | undefined,
  next: (page: Page) => string | undefined,
): Promise<Entry[]> {
  const out: Entry[] = [];
  let token: string | undefined;
  do {
    const page = await fetch(token);
    out.push(...(entries(page) ?? []));
    token = next(page);
  } while (token !== undefined && token !== "");
  return out;
}

/** A list in pieces of a size. */
export function inPieces<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, index) =>
    list.slice(index * size, (index + 1) * size),
  );
}

/** Tags, or attributes, of the SDK's lists. */
export const tagsOf = (
  list: readonly { Key?: string | undefined; Value?: string | undefined }[] = [],
): Record<string, string> => Object.fromEntries(list.map(({ Key = "", Value = "" }) => [Key, Value]));
/** The other way. */
export const tagList = (tags: Tags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

/** Members that are set. */
export function set<T extends object>(value: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries) as { [Name in keyof T]: Exclude<T[Name], undefined> };
}
