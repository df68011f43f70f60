import { createDnsProgram, type DnsProgram } from "@portolan/dataplane/dns";
import { feedDataplane, type QueryHandler } from "@portolan/dns";
import { decodeMessage, recordToText } from "@portolan/dns/message";
import type { ClusterZone } from "@portolan/dns/zone";

interface Fed {
  readonly program: DnsProgram;
  flush(): void;
}

const programs = new WeakMap<QueryHandler, Fed>();
const schedule = { soon: () => undefined, later: () => undefined, now: () => 0 };

function fedBy(handler: QueryHandler, zone: ClusterZone): Fed {
  let fed = programs.get(handler);
  if (fed === undefined) {
    const program = createDnsProgram({ octets: 1 << 20, seed: 1 });
    const feed = feedDataplane(handler, zone, program, schedule);
    fed = { program, flush: () => feed?.flush() };
    programs.set(handler, fed);
  }
  fed.flush();
  return fed;
}

/** A message with its records in an order of their own: a server may turn addresses round. */
function inAnyOrder(octets: Uint8Array): string {
  const { answers, authorities, additionals, ...rest } = decodeMessage(octets);
  const sections = [answers, authorities, additionals].map((records) => records.map(recordToText).sort());
  return JSON.stringify([rest, sections]);
}

/** Throws when the dataplane's DNS program answers a message, and not as the server that feeds it did. */
export function requireAgreement(
  { handler, zone }: { readonly handler: QueryHandler; readonly zone: ClusterZone },
  request: Uint8Array,
  transport: "udp" | "tcp",
  reply: Uint8Array | undefined,
): void {
  const mapped = fedBy(handler, zone).program.answer(request, transport === "tcp");
  if (mapped === undefined) return;
  if (reply === undefined || inAnyOrder(mapped) !== inAnyOrder(reply))
    throw new Error(
      `the dataplane says ${inAnyOrder(mapped)}, the server ${reply === undefined ? "nothing" : inAnyOrder(reply)}`,
    );
}
