import type { Answers } from "./vector.ts";

/** Rules of the service controller. */
export const answers: Answers = {};
