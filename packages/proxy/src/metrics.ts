import type { IPFamily } from "@portolan/net";

/** Counts of changes: waiting for a sync, and since the start. */
export interface ChangeCounter {
  pending: number;
  total: number;
}

/** What one sync contributes. */
export interface SyncSample {
  /** Milliseconds since the epoch. */
  readonly started: number;
  readonly full: boolean;
  /** Families that it was for. */
  readonly families: Iterable<IPFamily>;
  /** Service ports, by family and policy, that have endpoints somewhere and none here. */
  readonly noLocalEndpoints: NoLocalEndpoints;
  /** The slices that this sync applied and that say when they were triggered (ms since the epoch). */
  readonly triggers: Iterable<{ readonly family: IPFamily; readonly time: number }>;
}

/** Service ports without endpoints on this node, by family and policy. */
export type NoLocalEndpoints = Readonly<Record<IPFamily, { readonly internal: number; readonly external: number }>>;

/**
 * Metrics under kube-proxy's names, and with its label `ip_family`: kube-proxy syncs each family by itself, here one sync is for the
 * families that its changes concern.
 */
export interface ProxyMetrics {
  readonly serviceChanges: ChangeCounter;
  readonly endpointChanges: ChangeCounter;
  queued(families: Iterable<IPFamily>): void;
  /** A sync failed, in part or as a whole. */
  failed(families: Iterable<IPFamily>, full: boolean): void;
  /** The UDP clean-up after a sync: milliseconds, and flows removed where the dataplane tells. */
  flushed(family: IPFamily, milliseconds: number, deleted: number | undefined): void;
  /** An answer of the health port. */
  answered(path: string, status: number): void;
  synced(sample: SyncSample): void;
  /** Text exposition format of Prometheus. */
  render(): string;
}

export const families: readonly IPFamily[] = ["IPv4", "IPv6"];

interface Histogram {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum: number;
  count: number;
}

function histogram(bounds: readonly number[]): Histogram {
  return { bounds, counts: bounds.map(() => 0), sum: 0, count: 0 };
}

function observe(target: Histogram, value: number): void {
  target.sum += value;
  target.count++;
  target.bounds.forEach((bound, i) => {
    if (value <= bound) target.counts[i]!++;
  });
}

const syncBounds = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
const programmingBounds = [
  0.25,
  0.5,
  ...Array.from({ length: 59 }, (_, i) => i + 1),
  ...Array.from({ length: 12 }, (_, i) => 60 + 5 * i),
  ...Array.from({ length: 7 }, (_, i) => 120 + 30 * i),
];

/** One value for each family that has any; in a counter that is absent nothing was counted yet. */
class ByFamily<Value> {
  readonly #values = new Map<IPFamily, Value>();
  readonly #initial: () => Value;

  constructor(initial: () => Value) {
    this.#initial = initial;
  }

  of(family: IPFamily): Value {
    const known = this.#values.get(family);
    if (known !== undefined) return known;
    const value = this.#initial();
    this.#values.set(family, value);
    return value;
  }

  set(family: IPFamily, value: Value): void {
    this.#values.set(family, value);
  }

  get entries(): [IPFamily, Value][] {
    return families.flatMap((family) => {
      const value = this.#values.get(family);
      return value === undefined ? [] : [[family, value]];
    });
  }
}

/** Makes the metrics of one proxy. `now` gives milliseconds since the epoch; `mode` decides under which names failures are counted. */
export function createProxyMetrics(now: () => number, mode = "nftables"): ProxyMetrics {
  const timing = () => new ByFamily(() => histogram(syncBounds));
  const sync = timing();
  const fullSync = timing();
  const partialSync = timing();
  const reconciler = timing();
  const programming = new ByFamily(() => histogram(programmingBounds));
  const deleted = new ByFamily(() => 0);
  const failures = new ByFamily(() => 0);
  const partialFailures = new ByFamily(() => 0);
  const lastQueued = new ByFamily(() => 0);
  const lastSynced = new ByFamily(() => 0);
  const withoutLocal = new ByFamily(() => ({ internal: 0, external: 0 }));
  const answers = new Map<string, number>();
  const metrics: ProxyMetrics = {
    serviceChanges: { pending: 0, total: 0 },
    endpointChanges: { pending: 0, total: 0 },
    queued(concerned) {
      for (const family of concerned) lastQueued.set(family, now() / 1000);
    },
    failed(concerned, full) {
      for (const family of concerned) {
        failures.set(family, failures.of(family) + 1);
        if (!full) partialFailures.set(family, partialFailures.of(family) + 1);
      }
    },
    flushed(family, milliseconds, count) {
      observe(reconciler.of(family), milliseconds / 1000);
      if (count !== undefined) deleted.set(family, deleted.of(family) + count);
    },
    answered(path, status) {
      if (path !== "/healthz" && path !== "/livez") return;
      const name = `proxy_${path.slice(1)}_total{code="${status}"}`;
      answers.set(name, (answers.get(name) ?? 0) + 1);
    },
    synced(sample) {
      const end = now();
      const seconds = (end - sample.started) / 1000;
      for (const family of sample.families) {
        observe(sync.of(family), seconds);
        observe((sample.full ? fullSync : partialSync).of(family), seconds);
        lastSynced.set(family, end / 1000);
        withoutLocal.set(family, { ...sample.noLocalEndpoints[family] });
      }
      metrics.serviceChanges.pending = 0;
      metrics.endpointChanges.pending = 0;
      for (const { family, time } of sample.triggers) observe(programming.of(family), Math.max(0, (end - time) / 1000));
    },
    render() {
      const lines: string[] = [];
      const head = (name: string, help: string, type: string): void => {
        lines.push(`# HELP kubeproxy_${name} ${help}`, `# TYPE kubeproxy_${name} ${type}`);
      };
      const value = (name: string, help: string, type: "gauge" | "counter", number: number): void => {
        head(name, help, type);
        lines.push(`kubeproxy_${name} ${number}`);
      };
      const values = (name: string, help: string, type: "gauge" | "counter", numbers: ByFamily<number>): void => {
        if (numbers.entries.length > 0) head(name, help, type);
        for (const [family, number] of numbers.entries)
          lines.push(`kubeproxy_${name}{ip_family="${family}"} ${number}`);
      };
      const distribution = (name: string, help: string, data: ByFamily<Histogram>): void => {
        if (data.entries.length > 0) head(name, help, "histogram");
        for (const [family, { bounds, counts, sum, count }] of data.entries) {
          const label = `ip_family="${family}"`;
          bounds.forEach((bound, i) => {
            lines.push(`kubeproxy_${name}_bucket{${label},le="${Number(bound.toPrecision(6))}"} ${counts[i]}`);
          });
          lines.push(`kubeproxy_${name}_bucket{${label},le="+Inf"} ${count}`);
          lines.push(`kubeproxy_${name}_sum{${label}} ${sum}`, `kubeproxy_${name}_count{${label}} ${count}`);
        }
      };
      distribution(
        "network_programming_duration_seconds",
        "Time from an endpoint's change to its packets.",
        programming,
      );
      distribution("sync_proxy_rules_duration_seconds", "Time of a sync.", sync);
      distribution("sync_full_proxy_rules_duration_seconds", "Time of a full sync.", fullSync);
      distribution("sync_partial_proxy_rules_duration_seconds", "Time of a partial sync.", partialSync);
      distribution("conntrack_reconciler_sync_duration_seconds", "Time of the UDP clean-up after a sync.", reconciler);
      values("conntrack_reconciler_deleted_entries_total", "UDP flows removed by the clean-up.", "counter", deleted);
      if (mode === "nftables")
        values("sync_proxy_rules_nftables_sync_failures_total", "Syncs that failed.", "counter", failures);
      else {
        values("sync_proxy_rules_iptables_restore_failures_total", "Syncs that failed.", "counter", failures);
        const help = "Partial syncs that failed.";
        values("sync_proxy_rules_iptables_partial_restore_failures_total", help, "counter", partialFailures);
      }
      let last = "";
      for (const [series, count] of [...answers].sort()) {
        const name = series.slice(0, series.indexOf("{"));
        if (name !== last) head(name, "Answers of the health port.", "counter");
        last = name;
        lines.push(`kubeproxy_${series} ${count}`);
      }
      const { serviceChanges, endpointChanges } = metrics;
      const prefix = "sync_proxy_rules";
      value(
        `${prefix}_service_changes_pending`,
        "Service changes waiting for a sync.",
        "gauge",
        serviceChanges.pending,
      );
      value(`${prefix}_service_changes_total`, "Service changes seen.", "counter", serviceChanges.total);
      const waiting = "Endpoint changes waiting for a sync.";
      value(`${prefix}_endpoint_changes_pending`, waiting, "gauge", endpointChanges.pending);
      value(`${prefix}_endpoint_changes_total`, "Endpoint changes seen.", "counter", endpointChanges.total);
      values(`${prefix}_last_timestamp_seconds`, "Time of the last sync.", "gauge", lastSynced);
      values(`${prefix}_last_queued_timestamp_seconds`, "Time a sync was last asked for.", "gauge", lastQueued);
      const none = "Service ports with policy Local, endpoints somewhere and none on this node.";
      if (withoutLocal.entries.length > 0) head(`${prefix}_no_local_endpoints_total`, none, "gauge");
      for (const [family, counts] of withoutLocal.entries) {
        for (const policy of ["internal", "external"] as const) {
          const labels = `ip_family="${family}",traffic_policy="${policy}"`;
          lines.push(`kubeproxy_${prefix}_no_local_endpoints_total{${labels}} ${counts[policy]}`);
        }
      }
      return `${lines.join("\n")}\n`;
    },
  };
  return metrics;
}
