import { ProviderError } from "@portolan/lb";

/** A case of the cloud area: one rule of one provider, with its input and what must come out. */
export interface CloudVector {
  readonly id: string;
  readonly provider: "aws" | "gcp" | "azure" | "local" | "core";
  /** Which of a provider's semantics: `nlb-modern`, `rbs`, `standard`, `pool`, … */
  readonly mode: string;
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on provider and kind, known only to the answers.
  readonly input: any;
  readonly expect: Readonly<Record<string, unknown>>;
}

/**
 * Answers vectors of one kind with an object of the same shape as `expect`. A `ProviderError` that it throws is compared with
 * `expect.error`.
 */
export type Answer = (vector: CloudVector) => unknown;

/** Answers of one provider by kind. */
export type Answers = Readonly<Record<string, Answer>>;

/** Members whose lists are sets by convention of the vectors; all other lists compare in order. */
const sets: ReadonlySet<string> = new Set([
  "cidrs",
  "sourceRanges",
  "sources",
  "destinations",
  "sourceAddresses",
  "destinationAddresses",
  "destinationPorts",
  "ports",
  "firewalls",
  "rules",
  "probes",
  "loadBalancingRules",
  "securityRules",
  "tags",
  "targets",
  "nodes",
  "register",
  "deregister",
  "ingress",
  "nodeSecurityGroupIngress",
  "allowed",
]);

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, member]) => member !== undefined && member !== null);
  entries.sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(",")}}`;
}

/** First difference between what is expected and what came, or undefined. Members that are not expected are not looked at. */
export function differenceOf(expected: unknown, actual: unknown, path = ""): string | undefined {
  if (expected === null) {
    return actual === undefined || actual === null ? undefined : `${path}: wanted nothing, got ${canonical(actual)}`;
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return `${path}: wanted a list ${canonical(expected)}, got ${canonical(actual)}`;
    if (expected.length !== actual.length) {
      return `${path}: wanted ${expected.length} entries ${canonical(expected)}, got ${canonical(actual)}`;
    }
    const name = path.slice(path.lastIndexOf(".") + 1);
    if (!sets.has(name)) {
      for (const [index, entry] of expected.entries()) {
        const found = differenceOf(entry, actual[index], `${path}[${index}]`);
        if (found !== undefined) return found;
      }
      return undefined;
    }
    const left = [...actual];
    for (const entry of expected) {
      const index = left.findIndex((candidate) => differenceOf(entry, candidate) === undefined);
      if (index < 0) return `${path}: ${canonical(entry)} is missing in ${canonical(left)}`;
      left.splice(index, 1);
    }
    return undefined;
  }
  if (typeof expected === "object" && expected !== null) {
    if (typeof actual !== "object" || actual === null) {
      return `${path}: wanted ${canonical(expected)}, got ${canonical(actual)}`;
    }
    for (const [key, member] of Object.entries(expected)) {
      const found = differenceOf(
        member,
        (actual as Record<string, unknown>)[key],
        path === "" ? key : `${path}.${key}`,
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return expected === actual ? undefined : `${path}: wanted ${canonical(expected)}, got ${canonical(actual)}`;
}

/** Compares what an answer gave or threw with what a vector expects. */
export async function judge(vector: CloudVector, answer: Answer): Promise<string | undefined> {
  let outcome: unknown;
  try {
    outcome = await answer(vector);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    outcome = { error: { class: error.code, message: error.message } };
  }
  const wanted = vector.expect["error"] as { class?: string; mentions?: string[] } | undefined;
  const got = (outcome as { error?: { class?: string; message?: string } | null } | undefined)?.error;
  if (wanted === undefined || wanted === null) {
    if (got) return `error: wanted none, got ${got.class}: ${got.message}`;
    return differenceOf(vector.expect, outcome);
  }
  if (!got) return `error: wanted ${canonical(wanted)}, got ${canonical(outcome)}`;
  if (wanted.class !== undefined && wanted.class !== got.class) {
    return `error.class: wanted ${wanted.class}, got ${got.class} (${got.message})`;
  }
  const missing = (wanted.mentions ?? []).find((text) => !(got.message ?? "").includes(text));
  return missing === undefined ? undefined : `error.message: "${missing}" is not mentioned in "${got.message}"`;
}
