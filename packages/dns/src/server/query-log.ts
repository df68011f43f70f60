import { nameToText } from "../message/name.ts";
import { recordClassName, recordTypeName, responseCodeName, responseCodes } from "../message/record-type.ts";
import type { QueryReport } from "./query-handler.ts";

/** Which replies are logged: `denial` is NXDOMAIN and NODATA, `error` SERVFAIL, REFUSED, NOTIMP and the like. */
export type QueryLogClass = "success" | "denial" | "error" | "all";

/** Options of {@link createQueryLog}. */
export interface QueryLogOptions {
  /** Takes one line without its end. */
  readonly write: (line: string) => void;
  /** Default `all`. */
  readonly classes?: readonly QueryLogClass[];
  /** Logs one of so many queries. Default 1: every one; writing costs more than answering. */
  readonly sample?: number;
}

const flagNames: readonly (readonly [number, string])[] = [
  [0x8000, "qr"],
  [0x0400, "aa"],
  [0x0200, "tc"],
  [0x0100, "rd"],
  [0x0080, "ra"],
  [0x0040, "z"],
  [0x0020, "ad"],
  [0x0010, "cd"],
];

function classOf(report: QueryReport): Exclude<QueryLogClass, "all"> {
  if (report.rcode === responseCodes.NXDOMAIN) return "denial";
  if (report.rcode !== responseCodes.NOERROR) return "error";
  const { reply } = report;
  return reply !== undefined && reply[6] === 0 && reply[7] === 0 ? "denial" : "success";
}

/**
 * The line that CoreDNS's `log` writes: client, ID, question, rcode, flags, size, duration. Names are escaped (RFC 4343), so nobody
 * writes lines of their own into the log.
 */
export function queryLogLine(report: QueryReport): string {
  const { client, request, query, reply, rcode, duration } = report;
  const address = client.address.includes(":") ? `[${client.address}]` : client.address;
  const id = request.length >= 2 ? (request[0]! << 8) | request[1]! : 0;
  let question = "- - -";
  let edns = "false 512";
  if (query !== undefined) {
    const name = nameToText(request.subarray(12, query.nameEnd));
    question = `${recordTypeName(query.type)} ${recordClassName(query.class)} ${name}`;
    edns = `${query.dnssecOk} ${query.udpPayloadSize}`;
  }
  const flags = reply === undefined ? 0 : (reply[2]! << 8) | reply[3]!;
  const shown = flagNames.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name);
  const result = reply === undefined ? "-" : responseCodeName(rcode);
  return `${address}:${client.port} - ${id} "${question} ${client.transport} ${request.length} ${edns}" ${result} ${shown.join(",")} ${reply?.length ?? 0} ${(duration / 1000).toFixed(9)}s`;
}

/** Creates a function for `onQuery` of a server. */
export function createQueryLog(options: QueryLogOptions): (report: QueryReport) => void {
  const classes = new Set(options.classes ?? ["all"]);
  const sample = Math.max(1, Math.floor(options.sample ?? 1));
  let count = 0;
  return (report) => {
    if (count++ % sample !== 0) return;
    if (classes.has("all") || classes.has(classOf(report))) options.write(queryLogLine(report));
  };
}
