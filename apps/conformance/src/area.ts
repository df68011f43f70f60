/** A file of recorded cases as it was named on the command line. */
export interface CaseFile {
  /** Absolute path; whatever else the cases need (states, zones, Corefiles) lies in its folder. */
  readonly path: string;
  readonly text: string;
}

/** What became of one case. `difference` says, for a failed one, what was expected and what came. */
export interface CaseResult {
  readonly id: string;
  readonly outcome: "passed" | "failed" | "skipped" | "listed";
  readonly difference?: string;
}

/**
 * Runs cases of one area against Portolan. An area knows formats and rules, never ids. It yields one result per case, whatever
 * happens: a case that throws is a failed case. `only` limits the run to ids that it accepts.
 */
export interface Area {
  readonly name: string;
  run(files: readonly CaseFile[], only: (id: string) => boolean): AsyncIterable<CaseResult>;
}

/** Records of a JSON-lines file. */
export function jsonLines(file: CaseFile): unknown[] {
  return file.text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as unknown);
}
