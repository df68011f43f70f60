import {
  type DomainName,
  equalNames,
  type Message,
  nameFromText,
  nameToText,
  presentationWords,
  type ResourceRecord,
  recordClassName,
  recordDataFromText,
  recordDataToText,
  recordTypeFromName,
  recordTypeName,
  responseCodeName,
} from "@portolan/dns/message";

/** A record as recordings have it. `ttl` "*" fits any. */
export interface RecordedRecord {
  readonly name: string;
  readonly ttl: number | string;
  readonly class?: string;
  readonly type: string;
  readonly data: string;
}

/** A record of ours in the form of recordings. */
export function toRecorded(record: ResourceRecord): RecordedRecord {
  return {
    name: nameToText(record.name),
    ttl: record.ttl,
    class: recordClassName(record.class),
    type: recordTypeName(record.type),
    data: recordDataToText(record.type, record.data),
  };
}

/** How two lists of records are compared. */
export interface RecordRules {
  /** Owners must have the letters of the recording; names in data never must. */
  readonly exactCase: boolean;
  /** TTLs may be lower than recorded. */
  readonly ttlAtMost: boolean;
  /** Priority and weight of SRV records do not count. */
  readonly ignoreWeights: boolean;
}

/** Data in one spelling: names folded, IPv6 canonical, serial numbers out. */
function normalData(type: string, data: string, ignoreWeights: boolean): string {
  const number = recordTypeFromName(type);
  if (number === undefined || data.startsWith("\\#")) return data.toLowerCase();
  if (type === "TXT" || type === "HINFO") return data;
  if (type === "SOA")
    return data
      .split(/\s+/)
      .map((word, index) => (index === 2 ? "*" : word.toLowerCase()))
      .join(" ");
  let text = data;
  if (type === "SRV" && ignoreWeights) text = text.replace(/^\S+ \S+/, "0 0");
  try {
    return recordDataToText(number, recordDataFromText(number, presentationWords(text))).toLowerCase();
  } catch {
    return text.toLowerCase();
  }
}

function normalName(name: string): string {
  return nameToText(nameFromText(name)).toLowerCase();
}

/** What a record is for the comparison, without its TTL. */
function keyOf(record: RecordedRecord, rules: RecordRules): string {
  const name = rules.exactCase ? nameToText(nameFromText(record.name)) : normalName(record.name);
  return `${name} ${record.class ?? "IN"} ${record.type} ${normalData(record.type, record.data, rules.ignoreWeights)}`;
}

/** One line for a message. */
export function shownRecord({ name, ttl, type, data }: RecordedRecord): string {
  const text = `${name} ${ttl} ${type} ${data}`;
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

/**
 * Differences of two multisets of records, empty when there are none. With `subset` ours may lack records.
 */
export function recordDifferences(
  section: string,
  expected: readonly RecordedRecord[],
  got: readonly RecordedRecord[],
  rules: RecordRules,
  subset = false,
): string[] {
  const open = new Map<string, RecordedRecord[]>();
  for (const record of expected) {
    const key = keyOf(record, rules);
    open.set(key, [...(open.get(key) ?? []), record]);
  }
  const differences: string[] = [];
  for (const record of got) {
    const candidates = open.get(keyOf(record, rules));
    const index =
      candidates?.findIndex(
        ({ ttl }) => ttl === "*" || (rules.ttlAtMost ? Number(record.ttl) <= Number(ttl) : record.ttl === ttl),
      ) ?? -1;
    if (index >= 0) candidates!.splice(index, 1);
    else if (candidates !== undefined && candidates.length > 0)
      differences.push(`${section}: expected TTL ${candidates[0]!.ttl}, got ${shownRecord(record)}`);
    else differences.push(`${section}: not expected: ${shownRecord(record)}`);
  }
  if (!subset)
    for (const records of open.values())
      for (const record of records) differences.push(`${section}: missing: ${shownRecord(record)}`);
  return differences.slice(0, 8);
}

/** Aliases must stand in front of what they point to. */
export function aliasOrderDifference(answers: readonly ResourceRecord[], question: DomainName): string | undefined {
  let name = question;
  for (const record of answers) {
    if (record.type !== 5) continue;
    if (!equalNames(record.name, name)) return `alias ${nameToText(record.name)} does not follow ${nameToText(name)}`;
    name = record.data;
  }
  return undefined;
}

/** Short text of a message, for lines about failed cases. */
export function shownMessage(message: Message | undefined): string {
  if (message === undefined) return "no reply";
  const flags = [
    message.authoritative && "aa",
    message.truncated && "tc",
    message.recursionDesired && "rd",
    message.recursionAvailable && "ra",
    message.checkingDisabled && "cd",
  ].filter(Boolean);
  const list = (records: readonly ResourceRecord[]): string =>
    `${records.length}[${records
      .slice(0, 3)
      .map((record) => shownRecord(toRecorded(record)))
      .join("; ")}]`;
  return `${responseCodeName(message.rcode)} ${flags.join("+")} answer ${list(message.answers)} authority ${list(message.authorities)} additional ${list(message.additionals)}`;
}
