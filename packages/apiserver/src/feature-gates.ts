import type { ValidationGates } from "@portolan/core";

/** Feature gates that change what the server does. Defaults are those of Kubernetes 1.36: all on. */
export interface FeatureGates extends ValidationGates {
  /** Watches may begin with what is there (`sendInitialEvents`, KEP-3157); refused with 422 when off, so that clients list instead. */
  readonly WatchList?: boolean;
}
