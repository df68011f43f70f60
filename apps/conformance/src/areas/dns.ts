import type { KubernetesObject } from "@portolan/core";
import type { Area } from "../area.ts";
import { type AnswerVector, runAnswerVectors, runSequences, type Sequence } from "../dns/answer-vectors.ts";
import {
  type ResolvConfVector,
  runResolvConfVectors,
  runSearchWalks,
  type SearchWalkVector,
} from "../dns/client-vectors.ts";
import { runRecordedAnswers } from "../dns/recorded-answers.ts";

interface VectorFile {
  readonly format: string;
  readonly states: Readonly<Record<string, { readonly objects: readonly KubernetesObject[] }>>;
  readonly vectors?: readonly AnswerVector[];
  readonly sequences?: readonly Sequence[];
  readonly resolvconf?: readonly ResolvConfVector[];
  readonly search_walks?: readonly SearchWalkVector[];
}

/** Answers of the cluster's DNS: recordings of CoreDNS (JSON lines) and vectors (`k8s-dns-vectors/1`). */
export const area: Area = {
  name: "dns",
  async *run(files, only) {
    for (const file of files) {
      if (file.path.endsWith(".jsonl")) {
        yield* runRecordedAnswers(file, only);
        continue;
      }
      const vectors = JSON.parse(file.text) as VectorFile;
      if (!vectors.format.startsWith("k8s-dns-vectors/"))
        throw new Error(`${file.path} has format "${vectors.format}"; k8s-dns-vectors/1 is known`);
      yield* runAnswerVectors(vectors.vectors ?? [], vectors.states, only);
      yield* runSequences(vectors.sequences ?? [], vectors.states, only);
      yield* runResolvConfVectors(vectors.resolvconf ?? [], only);
      yield* runSearchWalks(vectors.search_walks ?? [], vectors.states, only);
    }
  },
};
