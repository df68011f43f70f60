/**
 * What any informer must do, as cases that need no test runner: through cut, stalled, ended and refused connections, duplicated and
 * reordered events, compaction and error statuses, its store and what it told its handlers end up equal to the server's state, with
 * one watch at a time, and with a bounded number of requests.
 *
 * ```ts
 * import { informerConformance } from "@portolan/client/conformance";
 * for (const { name, run } of informerConformance(subject)) test(name, run);
 * ```
 *
 * @packageDocumentation
 */
export {
  type ConformanceCase,
  type ConformanceEnvironment,
  type InformerSubject,
  informerConformance,
} from "./informer-conformance.ts";
