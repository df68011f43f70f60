import { nameFromText } from "../message/name.ts";
import { type ResourceRecord, recordToText } from "../message/record.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";
import type { ClusterZone } from "../zone/cluster-zone.ts";
import { formatResolvConf, type ResolvConf } from "./resolv-conf.ts";
import {
  type LookupFamily,
  type ResolverLibrary,
  type SearchWalk,
  searchWalk,
  type WalkQuery,
  type WalkResult,
} from "./search-walk.ts";

/** Options of {@link explainLookup}. */
export interface LookupOptions {
  readonly zone: ClusterZone;
  readonly conf: ResolvConf;
  /** Default `glibc`. */
  readonly libc?: ResolverLibrary;
  readonly family?: LookupFamily;
  /** What names outside the zone come to; by default they do not exist. */
  readonly outside?: (query: WalkQuery) => WalkResult;
}

/** One query, the reply, and its records as text. */
export interface ExplainedQuery extends WalkQuery {
  readonly result: WalkResult;
  readonly records: readonly string[];
  /** The zone does not hold the name; an upstream was asked. */
  readonly outside: boolean;
}

/** Everything that happens when an application looks up a name. */
export interface LookupExplanation {
  readonly name: string;
  readonly queries: readonly ExplainedQuery[];
  readonly outcome: string;
  readonly found?: string;
  readonly addresses: readonly string[];
  readonly remarks: readonly string[];
  readonly walk: SearchWalk;
  /** The explanation as lines for people. */
  toText(): string;
}

/** Looks a name up as a Pod would, against a zone, and says what was asked and why. */
export function explainLookup(name: string, options: LookupOptions): LookupExplanation {
  const { zone, conf, libc = "glibc", outside = () => "NXDOMAIN" as const } = options;
  const queries: ExplainedQuery[] = [];
  const addresses: string[] = [];
  const walk = searchWalk(name, conf, {
    libc,
    ...(options.family === undefined ? {} : { family: options.family }),
    ask: (query) => {
      const answer = zone.answer(nameFromText(query.name), recordTypes[query.type]);
      let result: WalkResult;
      let records: readonly ResourceRecord[] = [];
      if (answer === undefined) result = outside(query);
      else {
        records = answer.answers;
        const has = records.some(({ type }) => type === recordTypes[query.type]);
        if (answer.chase !== undefined) result = outside({ ...query, name: recordTarget(records) });
        else if (answer.rcode === responseCodes.NXDOMAIN) result = "NXDOMAIN";
        else if (answer.rcode === responseCodes.SERVFAIL) result = "SERVFAIL";
        else if (answer.rcode === responseCodes.REFUSED) result = "REFUSED";
        else result = has ? "ANSWER" : "NODATA";
      }
      const texts = records.map(recordToText);
      if (result === "ANSWER")
        for (const record of records)
          if (record.type === recordTypes[query.type]) addresses.push(recordToText(record).split(" ").at(-1)!);
      queries.push({ ...query, result, records: texts, outside: answer === undefined || answer.chase !== undefined });
      return result;
    },
  });
  const remarks = [...walk.remarks];
  const misses = queries.filter(({ result }) => result === "NXDOMAIN").length;
  if (misses >= 4 && walk.found !== undefined)
    remarks.push(`${misses} of ${queries.length} queries found nothing; a dot at the end of the name would save them`);
  return {
    name,
    queries,
    outcome: walk.outcome,
    ...(walk.found === undefined ? {} : { found: walk.found }),
    addresses: [...new Set(addresses)],
    remarks,
    walk,
    toText() {
      const lines = [
        `${name} with ${libc}:`,
        ...formatResolvConf(conf)
          .trimEnd()
          .split("\n")
          .map((line) => `    ${line}`),
      ];
      for (const query of queries) {
        lines.push(
          `  ${query.type.padEnd(4)} ${query.name} ${query.result}${query.outside ? " (not in the cluster's zone)" : ""}`,
        );
        for (const record of query.records) lines.push(`       ${record}`);
      }
      for (const remark of remarks) lines.push(`  - ${remark}`);
      lines.push(`  ${walk.outcome}${addresses.length > 0 ? ` ${[...new Set(addresses)].join(" ")}` : ""}`);
      return lines.join("\n");
    },
  };
}

function recordTarget(records: readonly ResourceRecord[]): string {
  const alias = records.findLast(({ type }) => type === recordTypes.CNAME);
  return alias === undefined ? "." : recordToText(alias).split(" ").at(-1)!;
}
