import type { RequestMetrics } from "./request-handler.ts";

/** Counts requests under the names that a real server's `/metrics` has. */
export function createRequestMetrics(gauges: () => Readonly<Record<string, number>>): RequestMetrics {
  const counts = new Map<string, number>();
  const sums = new Map<string, { count: number; seconds: number }>();
  return {
    observe(verb, resource, code, seconds) {
      const labels = `code="${code}",resource="${resource.replaceAll(/[^a-z0-9.-]/g, "").slice(0, 63)}",verb="${verb.toUpperCase().replaceAll(/[^A-Z]/g, "")}"`;
      // Names come from URLs: their number is bounded, so that nobody can fill the memory with them.
      if (!counts.has(labels) && counts.size >= 2000) return;
      counts.set(labels, (counts.get(labels) ?? 0) + 1);
      const key = verb.toUpperCase();
      const sum = sums.get(key) ?? { count: 0, seconds: 0 };
      sum.count++;
      sum.seconds += seconds;
      if (sums.size < 64 || sums.has(key)) sums.set(key, sum);
    },
    text() {
      const lines = [
        "# HELP apiserver_request_total [STABLE] Counter of apiserver requests broken out for each verb, resource and HTTP response code.",
        "# TYPE apiserver_request_total counter",
        ...[...counts].map(([labels, count]) => `apiserver_request_total{${labels}} ${count}`),
        "# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds for each verb.",
        "# TYPE apiserver_request_duration_seconds summary",
        ...[...sums].flatMap(([verb, { count, seconds }]) => [
          `apiserver_request_duration_seconds_sum{verb="${verb}"} ${seconds}`,
          `apiserver_request_duration_seconds_count{verb="${verb}"} ${count}`,
        ]),
      ];
      for (const [name, value] of Object.entries(gauges()))
        lines.push(`# TYPE ${name.split("{")[0]} gauge`, `${name} ${value}`);
      return `${lines.join("\n")}\n`;
    },
  };
}
