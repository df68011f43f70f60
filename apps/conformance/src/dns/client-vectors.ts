import type { KubernetesObject } from "@portolan/core";
import { nameFromText, recordTypes, responseCodes } from "@portolan/dns/message";
import {
  limitNameservers,
  limitSearches,
  mergeResolverOptions,
  parseResolvConf,
  podDnsSource,
  type ResolverLibrary,
  resolvConf,
  resolvConfLimits,
  searchWalk,
  type WalkQuery,
  type WalkResult,
} from "@portolan/dns/resolver";
import type { CaseResult } from "../area.ts";
import { type VectorConfiguration, vectorSubject } from "./answer-vectors.ts";

interface NameValue {
  readonly name: string;
  readonly value?: string;
}

/** One case of the making of a resolv.conf; which fields are there depends on `kind`. */
export interface ResolvConfVector {
  readonly id: string;
  readonly kind: "parse" | "search-limits" | "nameserver-limits" | "merge-options" | "policy" | "pod" | (string & {});
  readonly input?: string | readonly string[];
  readonly limits?: { readonly paths: number; readonly chars: number };
  readonly existing?: readonly string[];
  readonly dnsConfigOptions?: readonly NameValue[];
  readonly dnsPolicy?: string;
  readonly hostNetwork?: boolean;
  readonly namespace?: string;
  readonly dnsConfig?: {
    readonly nameservers?: readonly string[];
    readonly searches?: readonly string[];
    readonly options?: readonly NameValue[];
  } | null;
  readonly host?: {
    readonly nameservers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  readonly kubelet?: { readonly clusterDNS?: readonly string[]; readonly clusterDomain?: string };
  readonly expect: {
    readonly nameservers?: readonly string[];
    readonly searches?: readonly string[];
    readonly options?: readonly string[];
    readonly options_set?: readonly string[];
    readonly warning_event?: string | null;
    readonly type?: string;
    readonly error?: unknown;
  };
}

interface Made {
  readonly nameservers?: readonly string[];
  readonly searches?: readonly string[];
  readonly options?: readonly string[];
  readonly warnings?: readonly string[];
  readonly type?: string;
}

function make(vector: ResolvConfVector): Made {
  const list = Array.isArray(vector.input) ? (vector.input as readonly string[]) : [];
  switch (vector.kind) {
    case "parse":
      return parseResolvConf(String(vector.input ?? ""));
    case "search-limits": {
      const { paths, chars } = vector.limits ?? {
        paths: resolvConfLimits.searches,
        chars: resolvConfLimits.searchCharacters,
      };
      const { searches, warning } = limitSearches(list, { nameservers: 3, searches: paths, searchCharacters: chars });
      return { searches, warnings: warning === undefined ? [] : [warning.reason] };
    }
    case "nameserver-limits": {
      const { nameservers, warning } = limitNameservers(list);
      return { nameservers, warnings: warning === undefined ? [] : [warning.reason] };
    }
    case "merge-options": {
      const added = (vector.dnsConfigOptions ?? []).map(({ name, value }) =>
        value === undefined || value === "" ? name : `${name}:${value}`,
      );
      return { options: mergeResolverOptions(vector.existing ?? [], added) };
    }
    case "policy":
      return { type: podDnsSource(vector.dnsPolicy, vector.hostNetwork ?? false) };
    case "pod": {
      const made = resolvConf(
        {
          metadata: { namespace: vector.namespace ?? "default" },
          spec: {
            ...(vector.dnsPolicy === undefined ? {} : { dnsPolicy: vector.dnsPolicy }),
            hostNetwork: vector.hostNetwork ?? false,
            ...(vector.dnsConfig === undefined || vector.dnsConfig === null ? {} : { dnsConfig: vector.dnsConfig }),
          },
        },
        {
          clusterDns: vector.kubelet?.clusterDNS ?? [],
          domain: vector.kubelet?.clusterDomain ?? "",
          ...(vector.host === undefined ? {} : { nodeResolvConf: vector.host }),
        },
      );
      return { ...made, warnings: made.warnings.map(({ reason }) => reason) };
    }
    default:
      throw new Error(`no rule for kind "${vector.kind}"`);
  }
}

/** Runs cases of resolv.conf. */
export function* runResolvConfVectors(
  vectors: readonly ResolvConfVector[],
  only: (id: string) => boolean,
): Iterable<CaseResult> {
  for (const vector of vectors) {
    if (!only(vector.id)) continue;
    const { expect } = vector;
    const lines: string[] = [];
    try {
      const made = make(vector);
      const compare = (
        what: string,
        expected: readonly string[] | string | undefined,
        got: readonly string[] | string | undefined,
      ): void => {
        if (expected !== undefined && JSON.stringify(expected) !== JSON.stringify(got ?? []))
          lines.push(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
      };
      if (expect.error !== undefined && expect.error !== null && expect.error !== false)
        lines.push("expected an error");
      compare("nameservers", expect.nameservers, made.nameservers);
      compare("searches", expect.searches, made.searches);
      compare("options", expect.options, made.options);
      if (expect.options_set !== undefined)
        compare("options", [...expect.options_set].sort(), [...(made.options ?? [])].sort());
      compare("type", expect.type, made.type);
      if (expect.warning_event === null) compare("warnings", [], made.warnings);
      else if (expect.warning_event !== undefined && made.warnings?.includes(expect.warning_event) !== true)
        lines.push(`expected the event ${expect.warning_event}, got ${JSON.stringify(made.warnings)}`);
    } catch (error) {
      if (expect.error === undefined || expect.error === null || expect.error === false)
        lines.push((error as Error).message);
    }
    yield lines.length === 0
      ? { id: vector.id, outcome: "passed" }
      : { id: vector.id, outcome: "failed", difference: lines.join("; ") };
  }
}

/** One walk of a stub resolver. */
export interface SearchWalkVector {
  readonly id: string;
  readonly client: string;
  readonly state: string;
  readonly config: VectorConfiguration;
  readonly resolv: { readonly search: readonly string[]; readonly ndots?: number; readonly attempts?: number };
  readonly name: string;
  readonly family: "unspec" | "inet" | "inet6";
  readonly expect: {
    readonly queries: readonly { readonly name: string; readonly type: string; readonly result: string }[];
    readonly queries_order?: string;
    readonly result: string;
    readonly exit_code?: number;
  };
}

function libraryOf(client: string): ResolverLibrary {
  const first = client.toLowerCase();
  for (const [word, library] of [
    ["busybox", "busybox"],
    ["nslookup", "nslookup"],
    ["dig", "dig"],
    ["musl", "musl"],
    ["glibc", "glibc"],
    ["c-ares", "c-ares"],
    ["node", "c-ares"],
  ] as const)
    if (first.startsWith(word)) return library;
  throw new Error(`no rule for client "${client}"`);
}

/** Runs walks against a zone. Names outside the zone come to what the vector says that they came to. */
export function* runSearchWalks(
  vectors: readonly SearchWalkVector[],
  states: Readonly<Record<string, { readonly objects: readonly KubernetesObject[] }>>,
  only: (id: string) => boolean,
): Iterable<CaseResult> {
  for (const vector of vectors) {
    if (!only(vector.id)) continue;
    const { expect, resolv } = vector;
    const lines: string[] = [];
    try {
      const { zone } = vectorSubject(vector.config, states[vector.state]?.objects ?? []);
      const environment = (query: WalkQuery): WalkResult => {
        const known = expect.queries.find(({ name, type }) => name === query.name && type === query.type);
        return (known?.result as WalkResult | undefined) ?? "NXDOMAIN";
      };
      const walk = searchWalk(
        vector.name,
        {
          nameservers: ["10.96.0.10"],
          searches: resolv.search,
          options: [
            ...(resolv.ndots === undefined ? [] : [`ndots:${resolv.ndots}`]),
            ...(resolv.attempts === undefined ? [] : [`attempts:${resolv.attempts}`]),
          ],
        },
        {
          libc: libraryOf(vector.client),
          family: vector.family,
          ask: (query) => {
            const type = recordTypes[query.type];
            const answer = zone.answer(nameFromText(query.name), type);
            if (answer === undefined || answer.chase !== undefined) return environment(query);
            if (answer.rcode === responseCodes.NXDOMAIN) return "NXDOMAIN";
            if (answer.rcode === responseCodes.SERVFAIL) return "SERVFAIL";
            return answer.answers.some((record) => record.type === type) ? "ANSWER" : "NODATA";
          },
        },
      );
      const shown = (list: readonly { name: string; type: string; result: string }[]): string[] => {
        const texts = list.map(({ name, type, result }) => `${name} ${type} ${result}`);
        return expect.queries_order?.startsWith("any") === true ? texts.sort() : texts;
      };
      const expected = shown(expect.queries);
      const got = shown(walk.steps);
      if (JSON.stringify(expected) !== JSON.stringify(got))
        lines.push(`queries: expected ${expected.join(", ")}; got ${got.join(", ")}`);
      if (walk.outcome !== expect.result) lines.push(`result: expected ${expect.result}, got ${walk.outcome}`);
      if (expect.exit_code !== undefined && expect.exit_code !== walk.exitCode)
        lines.push(`exit code: expected ${expect.exit_code}, got ${walk.exitCode}`);
    } catch (error) {
      lines.push((error as Error).message);
    }
    yield lines.length === 0
      ? { id: vector.id, outcome: "passed" }
      : { id: vector.id, outcome: "failed", difference: lines.join("; ") };
  }
}
