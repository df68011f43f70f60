import { headerFlags } from "../message/message.ts";
import { recordTypeName, recordTypes, responseCodeName } from "../message/record-type.ts";
import type { ForwardEvent } from "./forwarder.ts";
import {
  type Counter,
  createMetricsRegistry,
  exponentialBuckets,
  type Histogram,
  type MetricsRegistry,
} from "./metrics.ts";
import type { QueryReport } from "./query-handler.ts";

/** The metrics of a server under CoreDNS's names, so that dashboards and alerts go on working; our own begin with `portolan_dns_`. */
export interface ServerMetrics {
  readonly registry: MetricsRegistry;
  /** Takes note of one query. */
  query(report: QueryReport): void;
  /** The same for a question that the zone's map answered; `type` is an index into A, AAAA, SRV, `duration` in milliseconds. */
  mapped(
    zone: string,
    client: QueryReport["client"],
    type: number,
    dnssecOk: boolean,
    request: Uint8Array,
    reply: Uint8Array,
    duration: number,
  ): void;
  forward(event: ForwardEvent): void;
  /** Takes note of endpoints that are answered now, and of how long ago, in seconds, they changed. */
  programming(kind: "cluster_ip" | "headless_with_selector", seconds: number): void;
  readonly panics: Counter;
  readonly reloadFailures: Counter;
  /** The server's own look at `/health`, once a second; in milliseconds. */
  readonly healthDuration: Histogram;
  readonly healthFailures: Counter;
}

/** `dns://:53`. */
export type ServerLabel = string;

const sizeBuckets = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3];

interface Series {
  readonly requests: Counter;
  readonly requestSize: Histogram;
  readonly responseSize: Histogram;
  readonly duration: Histogram;
}

/** Creates the metrics of one server. */
export function createServerMetrics(server: ServerLabel, version: string): ServerMetrics {
  const registry = createMetricsRegistry();
  registry.gauges("coredns_build_info", "Version of the server.", ["version", "revision", "goversion"], () => [
    [[version, "", ""], 1],
  ]);
  const requests = registry.counter("coredns_dns_requests_total", "DNS requests.", [
    "server",
    "zone",
    "view",
    "proto",
    "family",
    "type",
  ]);
  const duration = registry.histogram(
    "coredns_dns_request_duration_seconds",
    "Time from a request to its response.",
    exponentialBuckets(0.00025, 2, 16),
    ["server", "zone", "view"],
  );
  const requestSize = registry.histogram(
    "coredns_dns_request_size_bytes",
    "Size of requests (64 KB for TCP).",
    sizeBuckets,
    ["server", "zone", "view", "proto"],
  );
  const responseSize = registry.histogram("coredns_dns_response_size_bytes", "Size of responses.", sizeBuckets, [
    "server",
    "zone",
    "view",
    "proto",
  ]);
  const dnssecOk = registry.counter("coredns_dns_do_requests_total", "Requests with the DO bit.", [
    "server",
    "zone",
    "view",
  ]);
  const responses = registry.counter("coredns_dns_responses_total", "Responses by code.", [
    "server",
    "zone",
    "view",
    "rcode",
    "plugin",
  ]);
  const panics = registry.counter("coredns_panics_total", "Queries that ended in an internal error.")();
  const reloadFailures = registry.counter("coredns_reload_failed_total", "Configurations that could not be used.")();
  const healthDuration = registry.histogram(
    "coredns_health_request_duration_seconds",
    "Time of the server's own requests for /health.",
    exponentialBuckets(0.00025, 10, 5),
  )();
  const healthFailures = registry.counter(
    "coredns_health_request_failures_total",
    "The server's own requests for /health that failed.",
  )();
  const autopathSuccesses = registry.counter("coredns_autopath_success_total", "Names found on behalf of clients.", [
    "server",
  ]);
  const aclDecisions = {
    allow: registry.counter("coredns_acl_allowed_requests_total", "Requests that rules allow.", ["server", "view"]),
    block: registry.counter("coredns_acl_blocked_requests_total", "Requests that rules refuse.", [
      "server",
      "zone",
      "view",
    ]),
    filter: registry.counter("coredns_acl_filtered_requests_total", "Requests that rules empty.", [
      "server",
      "zone",
      "view",
    ]),
    drop: registry.counter("coredns_acl_dropped_requests_total", "Requests that rules drop.", [
      "server",
      "zone",
      "view",
    ]),
  };
  const faults = registry.counter(
    "portolan_dns_malformed_total",
    "Messages that were no good query, by what was wrong.",
    ["reason"],
  );
  const truncated = registry.counter("portolan_dns_truncated_responses_total", "Responses with TC.", ["proto"]);
  const upstreamDuration = registry.histogram(
    "coredns_proxy_request_duration_seconds",
    "Time of exchanges with upstreams.",
    exponentialBuckets(0.00025, 2, 16),
    ["proxy_name", "to", "rcode"],
  );
  const probeFailures = registry.counter("coredns_proxy_healthcheck_failures_total", "Failed health checks.", [
    "proxy_name",
    "to",
  ]);
  const connections = registry.counter(
    "coredns_proxy_conn_cache_misses_total",
    "Queries for which a socket was opened: every one has its own, so that its port cannot be guessed.",
    ["proxy_name", "to", "proto"],
  );
  const broken = registry.counter("coredns_forward_healthcheck_broken_total", "Times that no upstream was healthy.")();
  const rejected = registry.counter(
    "coredns_forward_max_concurrent_rejects_total",
    "Questions refused because too many were under way.",
  )();
  const mismatches = registry.counter(
    "portolan_dns_upstream_mismatches_total",
    "Datagrams that answered no question of ours.",
    ["to"],
  );
  const failures = registry.counter("portolan_dns_upstream_failures_total", "Exchanges without an answer.", ["to"]);
  const coalesced = registry.counter(
    "portolan_dns_coalesced_questions_total",
    "Questions that waited for the same one.",
  )();
  const cacheRequests = registry.counter("coredns_cache_requests_total", "Lookups in the cache.", [
    "server",
    "zones",
    "view",
  ]);
  const cacheHits = registry.counter("coredns_cache_hits_total", "Answers from the cache.", [
    "server",
    "type",
    "zones",
    "view",
  ]);
  const cacheMisses = registry.counter("coredns_cache_misses_total", "Lookups without an answer.", [
    "server",
    "zones",
    "view",
  ]);
  const prefetches = registry.counter("coredns_cache_prefetch_total", "Entries fetched before their end.", [
    "server",
    "zones",
    "view",
  ]);
  const stale = registry.counter("coredns_cache_served_stale_total", "Answers given after their end.", [
    "server",
    "zones",
    "view",
  ]);

  const programming = registry.histogram(
    "coredns_kubernetes_dns_programming_duration_seconds",
    "Time from a change of endpoints to its being answered.",
    exponentialBuckets(0.001, 2, 20),
    ["service_kind"],
  );

  // Label text is made once per combination, not once per query.
  const series = new Map<string, Map<number, Series>>();
  const responseCounters = new Map<string, Map<string, Counter[]>>();
  const mappedTypes = [recordTypes.A, recordTypes.AAAA, recordTypes.SRV] as const;
  let mappedZone = "";
  let mappedSeries: (Series | undefined)[] = [];
  let mappedCounters: Counter[] = [];

  function seriesOf(zone: string, type: number | undefined, transport: "udp" | "tcp", six: boolean): Series {
    const code = ((type ?? 0) << 2) | (transport === "tcp" ? 2 : 0) | (six ? 1 : 0);
    let ofZone = series.get(zone);
    if (ofZone === undefined) {
      ofZone = new Map();
      series.set(zone, ofZone);
    }
    let one = ofZone.get(code);
    if (one === undefined) {
      const typeName = type === undefined ? "other" : recordTypeName(type);
      // Types nobody knows share one label: a sender must not be able to make labels.
      const label = typeName.startsWith("TYPE") ? "other" : typeName;
      one = {
        requests: requests(server, zone, "", transport, six ? "2" : "1", label),
        requestSize: requestSize(server, zone, "", transport),
        responseSize: responseSize(server, zone, "", transport),
        duration: duration(server, zone, ""),
      };
      if (ofZone.size < 1024) ofZone.set(code, one);
    }
    return one;
  }

  function responseCounter(zone: string, plugin: string, rcode: number): Counter {
    let ofPlugin = responseCounters.get(zone);
    if (ofPlugin === undefined) {
      ofPlugin = new Map();
      responseCounters.set(zone, ofPlugin);
    }
    let counters = ofPlugin.get(plugin);
    if (counters === undefined) {
      counters = [];
      ofPlugin.set(plugin, counters);
    }
    let counter = counters[rcode];
    if (counter === undefined) {
      counter = responses(server, zone, "", responseCodeName(rcode), plugin);
      counters[rcode] = counter;
    }
    return counter;
  }

  return {
    registry,
    panics,
    reloadFailures,
    healthDuration,
    healthFailures,
    programming: (kind, seconds) => programming(kind).observe(seconds),
    query(report) {
      const { query, client, reply, zone, plugin } = report;
      if (report.fault !== undefined) {
        faults(report.fault).increment();
        if (report.fault === "panic") panics.increment();
      }
      if (report.access === "allow") aclDecisions.allow(server, "").increment();
      else if (report.access !== undefined) aclDecisions[report.access](server, zone, "").increment();
      if (plugin === "autopath") autopathSuccesses(server).increment();
      if (query === undefined && reply === undefined) return;
      const six = client.address.includes(":");
      const one = seriesOf(zone, query?.type, client.transport, six);
      one.requests.increment();
      one.requestSize.observe(report.request.length);
      one.duration.observe(report.duration / 1000);
      if (query?.dnssecOk === true) dnssecOk(server, zone, "").increment();
      if (reply === undefined) return;
      one.responseSize.observe(reply.length);
      if ((reply[2]! & (headerFlags.TC >>> 8)) !== 0) truncated(client.transport).increment();
      responseCounter(zone, plugin, report.rcode).increment();
    },
    mapped(zone, client, type, hasDnssecOk, request, reply, milliseconds) {
      if (zone !== mappedZone) {
        mappedZone = zone;
        mappedSeries = [];
        mappedCounters = [];
      }
      const six = client.address.includes(":");
      const code = (type << 2) | (client.transport === "tcp" ? 2 : 0) | (six ? 1 : 0);
      let one = mappedSeries[code];
      if (one === undefined) {
        one = seriesOf(zone, mappedTypes[type], client.transport, six);
        mappedSeries[code] = one;
      }
      const rcode = reply[3]! & 15;
      one.requests.increment();
      one.requestSize.observe(request.length);
      one.duration.observe(milliseconds / 1000);
      if (hasDnssecOk) dnssecOk(server, zone, "").increment();
      one.responseSize.observe(reply.length);
      let counter = mappedCounters[rcode];
      if (counter === undefined) {
        counter = responseCounter(zone, "kubernetes", rcode);
        mappedCounters[rcode] = counter;
      }
      counter.increment();
    },
    forward(event) {
      switch (event.kind) {
        case "exchange":
          upstreamDuration("forward", event.to, responseCodeName(event.rcode)).observe(event.duration / 1000);
          break;
        case "connect":
          connections("forward", event.to, event.transport).increment();
          break;
        case "failure":
          failures(event.to).increment();
          break;
        case "health-check-failure":
          probeFailures("forward", event.to).increment();
          break;
        case "mismatch":
          mismatches(event.to).increment();
          break;
        case "broken":
          broken.increment();
          break;
        case "rejected":
          rejected.increment();
          break;
        case "coalesced":
          coalesced.increment();
          break;
        case "prefetch":
          prefetches(server, ".", "").increment();
          break;
        case "served-stale":
          stale(server, ".", "").increment();
          break;
        case "cache-request":
          cacheRequests(server, ".", "").increment();
          break;
        case "cache-miss":
          cacheMisses(server, ".", "").increment();
          break;
        case "cache-hit":
          cacheHits(server, event.negative ? "denial" : "success", ".", "").increment();
          break;
      }
    },
  };
}
