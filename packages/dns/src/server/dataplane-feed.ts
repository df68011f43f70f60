import type { DnsAnswerSpec, DnsAnswers, DnsNameSpec, DnsZoneSpec } from "@portolan/dataplane/dns";
import { foldCase, joinNames, labelsOf, nameFromLabels } from "../message/name.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";
import type { ClusterZone } from "../zone/cluster-zone.ts";
import type { PlainAnswer, QueryHandler } from "./query-handler.ts";

/** Keeps the map of a DNS program equal to what a server answers. */
export interface DataplaneFeed {
  /** Brings the map up to date now; else it happens on its own, in pieces, and until then the program leaves every question to the server. */
  flush(): void;
  /** Ends it; the program answers nothing any more. */
  close(): void;
}

/** Where pieces of work wait: before anything else happens, or after what waits already. */
export interface FeedSchedule {
  soon(task: () => void): void;
  later(task: () => void): void;
  /** Monotonic milliseconds. */
  now(): number;
}

/** Milliseconds for computing at a time, so that questions do not wait long. */
const piece = 1;
const types = [recordTypes.A, recordTypes.AAAA, recordTypes.SRV] as const;
/** Names of the zone that the compression of its SOA record, or more than the map, depends on. */
const servers = [["dns"], ["hostmaster"]] as const;
const furniture = [["pod"], ["dns-version"]] as const;

/**
 * Feeds a DNS program with the answers of a zone, computed and encoded by the handler of the server that has it, so that both say
 * the same. Undefined when more than the zone decides about answers: who asks, how often, or what others know.
 */
export function feedDataplane(
  handler: Pick<QueryHandler, "plainZone" | "plainAnswer">,
  zone: ClusterZone,
  answers: DnsAnswers,
  schedule: FeedSchedule,
): DataplaneFeed | undefined {
  const domain = zone.domain.map(foldCase);
  const plain = handler.plainZone(domain);
  if (plain === undefined) return undefined;
  const { anyOrder, denies, elsewhere, payloadSize } = plain;
  /** Services as `namespace/name`, namespaces as `namespace/`. */
  const changed = new Set<string>();
  let waiting = false;
  let answering = false;
  let closed = false;

  function front(labels: readonly (string | Uint8Array)[]): Uint8Array {
    const name = nameFromLabels(labels).map(foldCase);
    return name.subarray(0, name.length - 1);
  }

  function answerSpec(found: PlainAnswer | undefined): DnsNameSpec["answers"][number] {
    if (found === undefined || found.rcode !== responseCodes.NOERROR) return undefined;
    const { answers: list, authorities, additionals } = found;
    if (list.length === 0) return authorities.length === 1 && additionals.length === 0 ? "no-data" : undefined;
    if (authorities.length > 0) return undefined;
    const addresses =
      additionals.length === 0 && list.every(({ type }) => type === recordTypes.A || type === recordTypes.AAAA);
    const spec: DnsAnswerSpec = {
      records: found.records(),
      answers: list.length,
      additionals: additionals.length,
      anyOrder: addresses && anyOrder,
      exact: !addresses,
    };
    return spec;
  }

  function nameSpec(labels: readonly string[], isClosed: boolean, wanted: readonly number[] = types): DnsNameSpec {
    const name = joinNames(nameFromLabels(labels), domain);
    return {
      name: front(labels),
      closed: isClosed,
      answers: types.map((type) => (wanted.includes(type) ? answerSpec(handler.plainAnswer(name, type)) : undefined)),
    };
  }

  function setService(key: string): void {
    const slash = key.indexOf("/");
    const names = zone.namesOf(key.slice(0, slash), key.slice(slash + 1));
    if (names === undefined) {
      answers.setNames(key, []);
      return;
    }
    const [own, ...others] = names as [readonly string[], ...(readonly string[])[]];
    const service = nameSpec(own, false);
    const specs = [service];
    // What has no address of its own is an alias, or empty, or unfinished: the server knows.
    if (service.answers.some((answer) => answer !== undefined))
      for (const labels of others) {
        // Names of ports and protocols are asked for SRV; what else is asked there is rare.
        const spec = nameSpec(labels, false, labels[0]!.startsWith("_") ? [recordTypes.SRV] : types);
        if (spec.answers.some((answer) => answer !== undefined)) specs.push(spec);
      }
    answers.setNames(key, specs);
  }

  function setFurniture(): void {
    const opaque = (name: Uint8Array): DnsNameSpec => ({ name, closed: false, answers: [] });
    // Names on the way to somebody else's zone exist, whatever this one says; `svc` leads to everything anyway.
    const ways = elsewhere.flatMap((name) => {
      const labels = labelsOf(name).slice(0, -labelsOf(domain).length);
      return labels.map((_, index) => front(labels.slice(index)));
    });
    const svc = front(["svc"]).join();
    answers.setNames("", [
      ...servers.map((labels) => opaque(front(labels))),
      ...ways.filter((name) => name.join() !== svc).map(opaque),
      nameSpec([], true),
      nameSpec(["svc"], true),
      ...furniture.map((labels) => nameSpec(labels, false)),
    ]);
  }

  /** The SOA record of the zone and where the pointers in its data are; undefined when it is not of the usual form. */
  function authority(): DnsZoneSpec["authority"] {
    if (!denies || !zone.synced) return undefined;
    const found = handler.plainAnswer(domain, recordTypes.A);
    const soa = found?.authorities[0];
    if (found === undefined || soa?.type !== recordTypes.SOA || found.answers.length > 0) return undefined;
    const records = found.records();
    const pointers: number[] = [];
    for (let at = 12; pointers.length < 2; at += 2) {
      while (records[at]! > 0 && records[at]! < 64) at += 1 + records[at]!;
      pointers.push(at);
    }
    const [server, mailbox] = pointers as [number, number];
    const isPointer = (at: number): boolean => records[at] === 0xc0 && records[at + 1] === 12;
    if (![0, server, mailbox].every(isPointer)) return undefined;
    return { record: records, server, mailbox };
  }

  function run(time: number): void {
    waiting = false;
    if (closed) return;
    const end = schedule.now() + time;
    for (const key of changed) {
      if (schedule.now() >= end) {
        waiting = true;
        schedule.later(() => run(piece));
        return;
      }
      changed.delete(key);
      if (!key.endsWith("/")) {
        setService(key);
        continue;
      }
      const namespace = key.slice(0, -1);
      const { namespaces, services } = zone.contents();
      answers.setNames(key, namespaces.includes(namespace) ? [nameSpec([namespace, "svc"], true)] : []);
      for (const service of services) if (service.startsWith(key)) changed.add(service);
    }
    const soa = authority();
    answers.setZone({ name: domain, payloadSize, rotate: anyOrder, ...(soa === undefined ? {} : { authority: soa }) });
    answering = true;
  }

  function note(): void {
    // Nothing old is said from here on.
    if (answering) answers.setZone(undefined);
    answering = false;
    if (waiting) return;
    waiting = true;
    schedule.soon(() => run(piece));
  }

  const end = zone.watch((namespace, service) => {
    if (namespace !== "" || service !== "") changed.add(`${namespace}/${service}`);
    note();
  });
  const { namespaces, services } = zone.contents();
  answers.clear();
  // First, so that these names stay what they are.
  setFurniture();
  for (const namespace of namespaces) answers.setNames(`${namespace}/`, [nameSpec([namespace, "svc"], true)]);
  for (const service of services) changed.add(service);
  note();

  return {
    flush() {
      if (waiting) run(Number.POSITIVE_INFINITY);
    },
    close() {
      closed = true;
      end();
      answers.setZone(undefined);
    },
  };
}
