import { type Lease, resources } from "@portolan/core";
import { linkAbort, untilAborted } from "./abort.ts";
import type { KubernetesApi } from "./api.ts";
import { isNotFound } from "./api-error.ts";
import { type Clock, sleep, systemClock } from "./clock.ts";

/** Options of {@link createLeaderElector}; times in milliseconds. */
export interface LeaderElectorOptions {
  readonly api: KubernetesApi;
  /** Namespace and name of the Lease all candidates share. */
  readonly namespace: string;
  readonly name: string;
  /** Unique among the candidates; pod name plus a random part is usual. */
  readonly identity: string;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** How long others wait after the last renewal they saw before they take over. Default 15 000. */
  readonly leaseDuration?: number;
  /** A leader that could not renew for this long steps down. Must be shorter than `leaseDuration`. Default 10 000. */
  readonly renewDeadline?: number;
  /** Time between attempts; candidates wait up to 1.2 times this more. Default 2 000. */
  readonly retryPeriod?: number;
  /** Gives the Lease back on shutdown, so that another candidate need not wait. Default true. */
  readonly release?: boolean;
  /** Told about failed attempts; the elector goes on by itself. */
  readonly onError?: (error: unknown) => void;
  /** Told when another candidate, or this one, is seen as leader. */
  readonly onNewLeader?: (identity: string) => void;
}

/** Elects one leader among the replicas of a controller by a Lease (`coordination.k8s.io/v1`), compatible with client-go's candidates. */
export interface LeaderElector {
  /**
   * Waits for leadership, then runs `lead` with a signal that fires when leadership is lost or `signal` fires. Resolves when `signal`
   * has fired, or `lead` has returned; the Lease is released then. Rejects with a `LeadershipLostError` when leadership was lost:
   * by then another candidate may lead, and a process usually exits and starts anew. Rejects with whatever `lead` throws.
   */
  run(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void>;
  readonly isLeader: boolean;
  /** Identity of the leader as last seen, empty when none was. */
  readonly leader: string;
}

/** Leadership was lost: it could not be renewed in time. */
export class LeadershipLostError extends Error {
  override readonly name: string = "LeadershipLostError";
  readonly code: "leadership-lost" = "leadership-lost";
}

/** RFC 3339 with microseconds, as `metav1.MicroTime`. */
function microTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/Z$/, "000Z");
}

/**
 * Makes a {@link LeaderElector}. It never trusts the clocks of others: a Lease counts as held until it has been seen unchanged for its
 * own `leaseDurationSeconds` on the local clock. Writes carry the resourceVersion, so that of two candidates only one succeeds.
 */
export function createLeaderElector(options: LeaderElectorOptions): LeaderElector {
  const { api, namespace, name, identity } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const leaseDuration = options.leaseDuration ?? 15_000;
  const renewDeadline = options.renewDeadline ?? 10_000;
  const retryPeriod = options.retryPeriod ?? 2_000;
  if (!(leaseDuration > renewDeadline && renewDeadline > retryPeriod * 1.2 && retryPeriod > 0))
    throw new RangeError(
      `leader election needs leaseDuration > renewDeadline > 1.2 · retryPeriod > 0, got ${leaseDuration}, ${renewDeadline}, ${retryPeriod}`,
    );
  if (identity === "") throw new RangeError("leader election needs a non-empty identity");

  let observed: Lease | undefined;
  let observedAt = 0;
  let isLeader = false;
  let leader = "";

  function observe(lease: Lease): void {
    if (observed?.metadata.resourceVersion !== lease.metadata.resourceVersion || observed === undefined) {
      observed = lease;
      observedAt = clock.now();
    }
    const holder = lease.spec?.holderIdentity ?? "";
    if (holder !== leader) {
      leader = holder;
      if (holder !== "") options.onNewLeader?.(holder);
    }
  }

  function specFor(now: number, previous: Lease | undefined): NonNullable<Lease["spec"]> {
    const renewing = previous?.spec?.holderIdentity === identity;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDuration / 1000),
      acquireTime: renewing && previous?.spec?.acquireTime !== undefined ? previous.spec.acquireTime : microTime(now),
      renewTime: microTime(now),
      leaseTransitions: (previous?.spec?.leaseTransitions ?? 0) + (previous !== undefined && !renewing ? 1 : 0),
    };
  }

  /** One attempt to acquire or renew. Throws when the API fails; false when another candidate holds the Lease. */
  async function attempt(signal: AbortSignal): Promise<boolean> {
    const now = clock.now();
    let lease: Lease;
    try {
      lease = await api.get<Lease>(resources.leases, { namespace, name }, { signal });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const created = await api.create<Lease>(
        resources.leases,
        { metadata: { name, namespace }, spec: specFor(now, undefined) },
        { signal },
      );
      observe(created);
      return true;
    }
    observe(lease);
    const holder = lease.spec?.holderIdentity ?? "";
    const validity = Math.max((lease.spec?.leaseDurationSeconds ?? 0) * 1000, 0);
    if (holder !== "" && holder !== identity && clock.now() < observedAt + validity) return false;
    observe(
      await api.update<Lease>(
        resources.leases,
        { ...lease, spec: { ...lease.spec, ...specFor(now, lease) } },
        { signal },
      ),
    );
    return true;
  }

  /** An attempt that gives up at `deadline`, so that a hanging request cannot keep a leader in the belief that it leads. */
  async function attemptBefore(deadline: number, signal: AbortSignal): Promise<boolean> {
    const abort = linkAbort(signal);
    const cancel = clock.schedule(() => abort.abort(), Math.max(0, deadline - clock.now()));
    try {
      return await untilAborted(attempt(abort.signal), abort.signal);
    } catch (error) {
      if (!signal.aborted) options.onError?.(error);
      return false;
    } finally {
      cancel();
      abort.release();
    }
  }

  async function release(): Promise<void> {
    if (observed === undefined || observed.spec?.holderIdentity !== identity) return;
    const now = microTime(clock.now());
    try {
      observe(
        await api.update<Lease>(resources.leases, {
          ...observed,
          spec: {
            ...observed.spec,
            holderIdentity: "",
            leaseDurationSeconds: 1,
            acquireTime: now,
            renewTime: now,
          },
        }),
      );
    } catch (error) {
      options.onError?.(error);
    }
  }

  async function run(signal: AbortSignal, lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    while (!signal.aborted && !(await attemptBefore(clock.now() + renewDeadline, signal)))
      await sleep(clock, retryPeriod * (1 + 1.2 * random()), signal);
    if (signal.aborted) return;

    isLeader = true;
    const term = linkAbort(signal);
    let failed: { error: unknown } | undefined;
    let lost = false;
    const leading = lead(term.signal).then(
      () => term.abort(),
      (error: unknown) => {
        failed = { error };
        term.abort();
      },
    );
    let deadline = clock.now() + renewDeadline;
    while (!term.signal.aborted) {
      await sleep(clock, Math.min(retryPeriod, Math.max(0, deadline - clock.now())), term.signal);
      if (term.signal.aborted) break;
      const asked = clock.now();
      if (await attemptBefore(deadline, term.signal)) deadline = asked + renewDeadline;
      else if (leader !== identity || clock.now() >= deadline) {
        lost = true;
        break;
      }
    }
    isLeader = false;
    term.abort(new LeadershipLostError(`leadership of ${namespace}/${name} lost`));
    await leading;
    term.release();
    if (!lost && (options.release ?? true)) await release();
    if (failed !== undefined) throw failed.error;
    if (lost)
      throw new LeadershipLostError(
        `${identity} lost the leadership of ${namespace}/${name}: it could not renew the Lease within ${renewDeadline} ms`,
      );
  }

  return {
    run,
    get isLeader() {
      return isLeader;
    },
    get leader() {
      return leader;
    },
  };
}
