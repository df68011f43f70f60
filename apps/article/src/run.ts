import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Cluster } from "@portolan/cluster";
import type { Section, Step } from "./section.ts";
import { openSession, type Session } from "./session.ts";

/** How a step went. */
export interface Outcome {
  readonly section: string;
  readonly step: Step;
  readonly result: "ok" | "FAILED" | "skipped" | "not applicable";
  readonly milliseconds: number;
  /** Why it failed, was skipped or is not applicable. */
  readonly reason?: string;
}

/** Programs that are on no folder of the PATH. */
export function missingPrograms(names: readonly string[]): string[] {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return names.filter((name) => !folders.some((folder) => existsSync(join(folder, name))));
}

async function attempt(work: () => Promise<unknown>): Promise<{ milliseconds: number; failure?: string }> {
  const started = performance.now();
  try {
    await work();
    return { milliseconds: performance.now() - started };
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    return { milliseconds: performance.now() - started, failure };
  }
}

function whyNot(step: Step, cluster: Cluster): Pick<Outcome, "result" | "reason"> | undefined {
  if (step.notApplicable !== undefined) return { result: "not applicable", reason: step.notApplicable };
  if (step.only !== undefined && step.only.mode !== cluster.mode) {
    return { result: "skipped", reason: step.only.reason };
  }
  if (step.terminal === true && missingPrograms(["script"]).length > 0) {
    return {
      result: "skipped",
      reason: "needs a terminal, which the program script gives: not on this machine's PATH",
    };
  }
  return undefined;
}

/** How to run sections. */
export interface RunSettings {
  readonly directory: string;
  readonly signal: AbortSignal;
  /** Lanes that run at a time. */
  readonly lanes: number;
  readonly onStep?: (outcome: Outcome) => void;
}

/**
 * Runs sections, each in its namespace, which is removed after it (but for the two that the article names); lanes of sections run
 * beside each other. A section whose preparation fails fails with all of its steps.
 *
 * @returns outcomes in the article's order
 */
export async function runSections(
  cluster: Cluster,
  sections: readonly Section[],
  settings: RunSettings,
): Promise<readonly Outcome[]> {
  const lanes = new Map<string, Section[]>();
  for (const section of sections) {
    const lane = section.lane ?? section.namespace;
    lanes.set(lane, [...(lanes.get(lane) ?? []), section]);
  }
  const outcomes = new Map<Section, readonly Outcome[]>();
  // The longest ones first, so that none of them is alone in the end.
  const waiting = [...lanes.values()].sort((a, b) => b.length - a.length);
  const work = async (): Promise<void> => {
    for (let lane = waiting.shift(); lane !== undefined; lane = waiting.shift()) {
      for (const section of lane) outcomes.set(section, await runSection(cluster, section, settings));
    }
  };
  await Promise.all(Array.from({ length: settings.lanes }, work));
  return sections.flatMap((section) => outcomes.get(section) ?? []);
}

async function runSection(
  cluster: Cluster,
  section: Section,
  { directory, signal, onStep }: RunSettings,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  if (signal.aborted) return outcomes;
  let session: Session | undefined;
  const prepared = await attempt(async () => {
    session = await openSession(cluster, { namespace: section.namespace, directory, signal });
    await section.prepare?.(session);
  });
  for (const step of section.steps) {
    if (signal.aborted) return outcomes;
    const other = whyNot(step, cluster);
    let outcome: Outcome = { section: section.title, step, result: "ok", milliseconds: 0, ...other };
    if (prepared.failure !== undefined) {
      outcome = { ...outcome, result: "FAILED", reason: `preparing the section: ${prepared.failure}` };
    } else if (other === undefined) {
      const { milliseconds, failure } = await attempt(async () => {
        if (step.run !== undefined) await step.run(session!);
        else await session!.run(step.command, step.terminal === true ? { terminal: true } : {});
      });
      outcome = {
        ...outcome,
        milliseconds,
        ...(failure === undefined ? {} : { result: "FAILED", reason: failure }),
      };
    }
    outcomes.push(outcome);
    onStep?.(outcome);
  }
  if (section.namespace.startsWith("article-") && session !== undefined && !signal.aborted) {
    // Node ports and load balancer addresses of the next section may be the same.
    await session.run(`kubectl delete namespace ${section.namespace} --timeout=60s`, { code: "any" });
  }
  return outcomes;
}
