import { attemptsOf, ndotsOf, type ResolvConf } from "./resolv-conf.ts";

/**
 * Whose behaviour is shown: the C libraries' `getaddrinfo`, BIND's tools, BusyBox's `nslookup` (1.30 and later), or Node's `dns.resolve`
 * (c-ares), which does not search.
 */
export type ResolverLibrary = "glibc" | "musl" | "dig" | "nslookup" | "busybox" | "c-ares";

/** Address families that an application asks for. */
export type LookupFamily = "unspec" | "inet" | "inet6";

/** One query of a walk. Names are absolute. */
export interface WalkQuery {
  readonly name: string;
  readonly type: "A" | "AAAA";
}

/** What a query came to. `ANSWER` has records of the type. */
export type WalkResult = "ANSWER" | "NODATA" | "NXDOMAIN" | "SERVFAIL" | "REFUSED";

/** A query with its result. */
export interface WalkStep extends WalkQuery {
  readonly result: WalkResult;
}

/** A whole walk. */
export interface SearchWalk {
  readonly steps: readonly WalkStep[];
  /** What the call returns: `OK`, an EAI code of the C libraries, a response code or `FAIL` of the tools. */
  readonly outcome: string;
  /** Exit code of a tool. */
  readonly exitCode?: number;
  /** The name that the answer belongs to. */
  readonly found?: string;
  /** Why the walk took this course, one sentence per turn. */
  readonly remarks: readonly string[];
}

/** Options of {@link searchWalk}. */
export interface SearchWalkOptions {
  readonly libc: ResolverLibrary;
  /** Default `unspec`: A and AAAA. */
  readonly family?: LookupFamily;
  /** Asks a server. Called once per query in the order in which the client sends them. */
  readonly ask: (query: WalkQuery) => WalkResult;
}

function absolute(name: string): string {
  return name.endsWith(".") ? name : `${name}.`;
}

/**
 * Candidates of a name in the order in which a resolver tries them, absolute. With a final dot, only the name itself.
 */
export function searchCandidates(name: string, conf: ResolvConf, libc: ResolverLibrary): string[] {
  if (name.endsWith(".")) return [name];
  const dots = name.split(".").length - 1;
  const searched = conf.searches.map((domain) => absolute(`${name}.${domain}`));
  if (libc === "c-ares") return dots > 0 ? [absolute(name)] : [...searched, absolute(name)];
  // BusyBox appends search domains to single labels only.
  if (libc === "busybox") return dots > 0 ? [absolute(name)] : searched.length > 0 ? searched : [absolute(name)];
  if (dots >= ndotsOf(conf.options)) return libc === "musl" ? [absolute(name)] : [absolute(name), ...searched];
  return [...searched, absolute(name)];
}

/**
 * The queries of one application call, with their results: which names are asked, in which order, and where the walk ends
 * (glibc `res_search`, musl `src/network/lookup_name.c`, BIND's tools as executed, BusyBox `networking/nslookup.c`).
 */
export function searchWalk(name: string, conf: ResolvConf, options: SearchWalkOptions): SearchWalk {
  const { libc, family = "unspec", ask } = options;
  const types: readonly WalkQuery["type"][] = family === "inet" ? ["A"] : family === "inet6" ? ["AAAA"] : ["A", "AAAA"];
  const candidates = searchCandidates(name, conf, libc);
  const steps: WalkStep[] = [];
  const remarks: string[] = [];
  const query = (candidate: string, type: WalkQuery["type"]): WalkResult => {
    const result = ask({ name: candidate, type });
    steps.push({ name: candidate, type, result });
    return result;
  };
  const dots = name.replace(/\.$/, "").split(".").length - 1;
  const ndots = ndotsOf(conf.options);
  if (name.endsWith(".")) remarks.push("the name ends in a dot, so it is asked as it is");
  else if (libc === "busybox" && dots > 0)
    remarks.push("BusyBox never combines a name with a dot with the search list");
  else if (dots >= ndots)
    remarks.push(
      libc === "musl"
        ? `${dots} dots are not fewer than ndots (${ndots}): musl asks the name as it is and nothing else`
        : `${dots} dots are not fewer than ndots (${ndots}): the name is asked as it is first`,
    );
  else remarks.push(`${dots} dots are fewer than ndots (${ndots}): the search list comes first`);

  if (libc === "glibc" || libc === "c-ares") {
    let noData = false;
    let failed = false;
    const attempts = libc === "glibc" ? attemptsOf(conf.options) : 1;
    for (const candidate of candidates) {
      let results: WalkResult[] = [];
      for (let attempt = 0; attempt < attempts; attempt++) {
        results = types.map((type) => query(candidate, type));
        if (!results.every((result) => result === "SERVFAIL" || result === "REFUSED")) break;
        if (attempt + 1 < attempts) remarks.push(`${candidate}: the server failed, so it is asked again`);
      }
      if (results.includes("ANSWER")) return { steps, outcome: "OK", found: candidate, remarks };
      if (results.some((result) => result === "SERVFAIL" || result === "REFUSED")) failed = true;
      else if (results.includes("NODATA")) {
        noData = true;
        remarks.push(`${candidate} exists without addresses of the family; the search goes on`);
      }
    }
    return { steps, outcome: failed ? "EAI_AGAIN" : noData ? "EAI_NODATA" : "EAI_NONAME", remarks };
  }

  if (libc === "musl") {
    for (const candidate of candidates) {
      const results = types.map((type) => query(candidate, type));
      if (results.includes("ANSWER")) return { steps, outcome: "OK", found: candidate, remarks };
      if (results.some((result) => result === "SERVFAIL" || result === "REFUSED")) {
        remarks.push(
          `${candidate}: musl takes no failure for an answer and waits its full five seconds, then gives up`,
        );
        return { steps, outcome: "EAI_AGAIN", remarks };
      }
      if (results.includes("NODATA")) {
        remarks.push(`${candidate} exists without addresses of the family; musl stops there`);
        return { steps, outcome: "EAI_NODATA", found: candidate, remarks };
      }
    }
    return { steps, outcome: "EAI_NONAME", remarks };
  }

  if (libc === "dig") {
    let last: WalkResult = "NXDOMAIN";
    for (const candidate of candidates) {
      last = query(candidate, types[0]!);
      if (last !== "NXDOMAIN") return { steps, outcome: last === "ANSWER" ? "OK" : last, found: candidate, remarks };
    }
    return { steps, outcome: last, remarks };
  }

  if (libc === "nslookup") {
    for (const candidate of candidates) {
      const result = query(candidate, types[0]!);
      if (result === "NXDOMAIN") continue;
      if (result !== "ANSWER" && result !== "NODATA") return { steps, outcome: result, exitCode: 1, remarks };
      let any = result === "ANSWER";
      for (const type of types.slice(1)) any = query(candidate, type) === "ANSWER" || any;
      return { steps, outcome: any ? "OK" : "NODATA", exitCode: any ? 0 : 1, found: candidate, remarks };
    }
    return { steps, outcome: "NXDOMAIN", exitCode: 1, remarks };
  }

  // BusyBox sends all queries at once and complains about each NXDOMAIN, whatever the others say.
  let found: string | undefined;
  let denied = false;
  for (const candidate of candidates)
    for (const type of types) {
      const result = query(candidate, type);
      if (result === "ANSWER") found ??= candidate;
      else if (result !== "NODATA") denied = true;
    }
  if (denied && found !== undefined)
    remarks.push("BusyBox exits with 1 because some candidates do not exist, although it printed the answer");
  const failed = denied || found === undefined;
  return {
    steps,
    outcome: found === undefined ? "FAIL" : "OK",
    exitCode: failed ? 1 : 0,
    ...(found === undefined ? {} : { found }),
    remarks,
  };
}
