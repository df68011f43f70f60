import { DnsMessageError } from "../message/message-error.ts";
import { type DomainName, nameFromText, rootName } from "../message/name.ts";
import { presentationWords, type ResourceRecord, recordDataFromText } from "../message/record.ts";
import { recordClasses, recordTypeFromName } from "../message/record-type.ts";

/**
 * Reads a master file (RFC 1035 section 5): `$ORIGIN`, `$TTL`, relative names, repeated owners, parentheses, comments. Throws
 * `DnsMessageError` `record-syntax` with the line in its text.
 */
export function readMasterFile(text: string, origin: DomainName = rootName): ResourceRecord[] {
  const records: ResourceRecord[] = [];
  let base = origin;
  let defaultTtl: number | undefined;
  let owner: DomainName = base;
  let statement = "";
  let depth = 0;
  let first = 0;
  text.split("\n").forEach((raw, index) => {
    let line = "";
    let quoted = false;
    for (let at = 0; at < raw.length; at++) {
      const character = raw[at]!;
      if (character === "\\") {
        line += character + (raw[++at] ?? "");
        continue;
      }
      if (character === '"') quoted = !quoted;
      if (!quoted && character === ";") break;
      if (!quoted && character === "(") depth++;
      else if (!quoted && character === ")") depth--;
      else line += character;
    }
    if (statement === "") first = index + 1;
    statement = statement === "" ? line : `${statement} ${line}`;
    if (depth > 0) return;
    const whole = statement;
    statement = "";
    if (whole.trim() === "") return;
    const words = presentationWords(whole);
    const fail = (message: string): DnsMessageError =>
      new DnsMessageError("record-syntax", `line ${first}: ${message}`);
    if (words[0]!.text === "$ORIGIN") {
      base = nameFromText(words[1]?.text ?? "", base);
      return;
    }
    if (words[0]!.text === "$TTL") {
      defaultTtl = Number(words[1]?.text);
      return;
    }
    let at = 0;
    if (!/^\s/.test(whole)) owner = nameFromText(words[at++]!.text, base);
    let ttl = defaultTtl;
    for (; at < words.length; at++) {
      if (/^[0-9]+$/.test(words[at]!.text)) ttl = Number(words[at]!.text);
      else if (words[at]!.text.toUpperCase() !== "IN") break;
    }
    const type = recordTypeFromName(words[at]?.text ?? "");
    if (type === undefined) throw fail(`"${words[at]?.text ?? ""}" is no record type`);
    if (ttl === undefined) throw fail("the record has no TTL and there is no $TTL");
    try {
      const data = recordDataFromText(type, words.slice(at + 1), base);
      records.push({ name: owner, type, class: recordClasses.IN, ttl, data });
    } catch (error) {
      throw fail((error as Error).message);
    }
  });
  return records;
}
