import type { Area } from "../area.ts";
import { answers as aws } from "../cloud/aws.ts";
import { answers as azure } from "../cloud/azure.ts";
import { answers as core } from "../cloud/core.ts";
import { answers as gcp } from "../cloud/gcp.ts";
import { answers as local } from "../cloud/local.ts";
import { type Answers, type CloudVector, judge } from "../cloud/vector.ts";

const providers: Readonly<Record<CloudVector["provider"], Answers>> = { core, local, aws, gcp, azure };

/** Rules of the cloud providers, extracted from their own tests: names, plans, validation, ownership, orders. */
export const area: Area = {
  name: "cloud",
  async *run(files, only) {
    for (const file of files) {
      const { vectors } = JSON.parse(file.text) as { vectors: CloudVector[] };
      for (const vector of vectors) {
        if (!only(vector.id)) continue;
        const answer = providers[vector.provider]?.[vector.kind];
        let difference: string | undefined;
        try {
          difference =
            answer === undefined
              ? `no answer for kind ${vector.kind} of provider ${vector.provider}`
              : await judge(vector, answer);
        } catch (error) {
          difference = (error as Error).stack ?? String(error);
        }
        yield {
          id: vector.id,
          ...(difference === undefined ? { outcome: "passed" } : { outcome: "failed", difference }),
        };
      }
    }
  },
};
