import { readFileSync } from "node:fs";
import type { CaseResult } from "./area.ts";

/** Reasons by id, for cases of one area in which Portolan differs on purpose. */
export type ExpectedDifferences = Readonly<Record<string, string>>;

/** Reads the reasons of an area from `expected-differences.json`. */
export function readExpectedDifferences(area: string): ExpectedDifferences {
  const text = readFileSync(new URL("../expected-differences.json", import.meta.url), "utf8");
  const all = JSON.parse(text) as Readonly<Record<string, ExpectedDifferences>>;
  return Object.hasOwn(all, area) ? (all[area] as ExpectedDifferences) : {};
}

/** A result in the light of the list: a listed case may differ, and has to. */
export function judge(result: CaseResult, differences: ExpectedDifferences): CaseResult {
  const reason = Object.hasOwn(differences, result.id) ? differences[result.id] : undefined;
  if (reason === undefined || result.outcome === "skipped") return result;
  if (result.outcome === "failed") return { ...result, outcome: "listed", difference: reason };
  return { ...result, outcome: "failed", difference: `passes, though it is listed as different: ${reason}` };
}

/**
 * Listed ids that a whole run has not met. The list is about one recording: a run that has met none of its ids is about another, and says
 * nothing of them.
 */
export function unknownDifferences(results: readonly CaseResult[], differences: ExpectedDifferences): string[] {
  const met = new Set(results.map(({ id }) => id));
  const listed = Object.keys(differences);
  return listed.some((id) => met.has(id)) ? listed.filter((id) => !met.has(id)) : [];
}
