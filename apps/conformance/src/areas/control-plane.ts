import type { Area, CaseFile, CaseResult } from "../area.ts";
import { endpointRunners } from "../control-plane/endpoint-vectors.ts";
import { loadBalancerRunners } from "../control-plane/load-balancer-vectors.ts";
import { seedRunners } from "../control-plane/seed-vectors.ts";
import { serviceRunners } from "../control-plane/service-vectors.ts";
import { NotDecidableError, notImplemented, type Vector, type VectorRunner } from "../control-plane/vector.ts";

const runners: Readonly<Record<string, VectorRunner>> = {
  ...serviceRunners,
  ...endpointRunners,
  ...loadBalancerRunners,
  ...seedRunners,
};

function vectorsOf(file: CaseFile): readonly Vector[] {
  const document = JSON.parse(file.text) as { readonly vectors?: readonly Vector[] };
  if (!Array.isArray(document.vectors)) throw new Error(`${file.path}: no list "vectors"`);
  return document.vectors;
}

async function run(vector: Vector): Promise<CaseResult> {
  let difference: string | undefined;
  try {
    const runner = Object.hasOwn(runners, vector.area) ? runners[vector.area]! : notImplemented;
    difference = await runner(vector);
  } catch (error) {
    if (error instanceof NotDecidableError)
      return { id: vector.id, outcome: "skipped", difference: `${vector.area}: ${error.message}` };
    difference = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
  return difference === undefined
    ? { id: vector.id, outcome: "passed" }
    : { id: vector.id, outcome: "failed", difference: `${vector.area}: ${difference}` };
}

/**
 * Acceptance vectors of the control plane. Vectors of pure decisions call the function that decides; requests go to an
 * API server in this process, a new one for each. What nothing decides yet fails as not implemented.
 */
export const area: Area = {
  name: "control-plane",
  async *run(files, only) {
    for (const file of files) {
      for (const vector of vectorsOf(file)) if (only(vector.id)) yield await run(vector);
    }
  },
};
