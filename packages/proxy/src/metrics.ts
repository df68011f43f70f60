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
  /** Service ports, by policy, that have endpoints somewhere and none here. */
  readonly noLocalEndpoints: { readonly internal: number; readonly external: number };
  /** Trigger times (ms since the epoch) of the slices that this sync applied. */
  readonly triggerTimes: Iterable<number>;
}

/** Metrics under kube-proxy's names. */
export interface ProxyMetrics {
  readonly serviceChanges: ChangeCounter;
  readonly endpointChanges: ChangeCounter;
  /** Syncs that failed, in part or as a whole. */
  failures: number;
  queued(): void;
  /** Milliseconds that the UDP clean-up after a sync took. */
  flushed(milliseconds: number): void;
  /** An answer of the health port. */
  answered(path: string, status: number): void;
  synced(sample: SyncSample): void;
  /** Text exposition format of Prometheus. */
  render(): string;
}

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

/** Makes the metrics of one proxy. `now` gives milliseconds since the epoch; `mode` decides under which names failures are counted. */
export function createProxyMetrics(now: () => number, mode = "nftables"): ProxyMetrics {
  const sync = histogram(syncBounds);
  const fullSync = histogram(syncBounds);
  const partialSync = histogram(syncBounds);
  const programming = histogram(programmingBounds);
  const reconciler = histogram(syncBounds);
  const answers = new Map<string, number>();
  let lastQueued = 0;
  let lastSynced = 0;
  let withoutLocal = { internal: 0, external: 0 };
  const metrics: ProxyMetrics = {
    serviceChanges: { pending: 0, total: 0 },
    endpointChanges: { pending: 0, total: 0 },
    failures: 0,
    queued() {
      lastQueued = now();
    },
    flushed(milliseconds) {
      observe(reconciler, milliseconds / 1000);
    },
    answered(path, status) {
      if (path !== "/healthz" && path !== "/livez") return;
      const name = `proxy_${path.slice(1)}_total{code="${status}"}`;
      answers.set(name, (answers.get(name) ?? 0) + 1);
    },
    synced(sample) {
      const end = now();
      const seconds = (end - sample.started) / 1000;
      observe(sync, seconds);
      observe(sample.full ? fullSync : partialSync, seconds);
      lastSynced = end;
      metrics.serviceChanges.pending = 0;
      metrics.endpointChanges.pending = 0;
      withoutLocal = { ...sample.noLocalEndpoints };
      for (const trigger of sample.triggerTimes) observe(programming, Math.max(0, (end - trigger) / 1000));
    },
    render() {
      const lines: string[] = [];
      const gauge = (name: string, help: string, value: number, labels = "", type = "gauge"): void => {
        const head = `# HELP kubeproxy_${name} ${help}`;
        if (!lines.includes(head)) lines.push(head, `# TYPE kubeproxy_${name} ${type}`);
        lines.push(`kubeproxy_${name}${labels} ${value}`);
      };
      const distribution = (name: string, help: string, data: Histogram): void => {
        lines.push(`# HELP kubeproxy_${name} ${help}`, `# TYPE kubeproxy_${name} histogram`);
        data.bounds.forEach((bound, i) => {
          lines.push(`kubeproxy_${name}_bucket{le="${Number(bound.toPrecision(6))}"} ${data.counts[i]}`);
        });
        lines.push(`kubeproxy_${name}_bucket{le="+Inf"} ${data.count}`);
        lines.push(`kubeproxy_${name}_sum ${data.sum}`, `kubeproxy_${name}_count ${data.count}`);
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
      const failures =
        mode === "nftables"
          ? "sync_proxy_rules_nftables_sync_failures_total"
          : "sync_proxy_rules_iptables_restore_failures_total";
      gauge(failures, "Syncs that failed.", metrics.failures, "", "counter");
      for (const [name, count] of [...answers].sort()) {
        const brace = name.indexOf("{");
        gauge(name.slice(0, brace), "Answers of the health port.", count, name.slice(brace), "counter");
      }
      const { serviceChanges, endpointChanges } = metrics;
      gauge("sync_proxy_rules_service_changes_pending", "Service changes waiting for a sync.", serviceChanges.pending);
      gauge("sync_proxy_rules_service_changes_total", "Service changes seen.", serviceChanges.total, "", "counter");
      gauge(
        "sync_proxy_rules_endpoint_changes_pending",
        "Endpoint changes waiting for a sync.",
        endpointChanges.pending,
      );
      gauge("sync_proxy_rules_endpoint_changes_total", "Endpoint changes seen.", endpointChanges.total, "", "counter");
      gauge("sync_proxy_rules_last_timestamp_seconds", "Time of the last sync.", lastSynced / 1000);
      gauge("sync_proxy_rules_last_queued_timestamp_seconds", "Time a sync was last asked for.", lastQueued / 1000);
      for (const policy of ["internal", "external"] as const) {
        gauge(
          "sync_proxy_rules_no_local_endpoints_total",
          "Service ports with policy Local, endpoints somewhere and none on this node.",
          withoutLocal[policy],
          `{traffic_policy="${policy}"}`,
        );
      }
      return `${lines.join("\n")}\n`;
    },
  };
  return metrics;
}
