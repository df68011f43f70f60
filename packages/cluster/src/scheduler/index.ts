/** Assigns pods to nodes. */
export { type ClusterState, type SchedulingResult, schedulePod } from "./schedule.ts";
export { createScheduler, type Scheduler, type SchedulerOptions } from "./scheduler.ts";
