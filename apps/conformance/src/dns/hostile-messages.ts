import { createSocket } from "node:dgram";
import { connect } from "node:net";
import {
  DnsMessageError,
  decodeMessage,
  encodeMessage,
  frameMessage,
  type Message,
  nameFromText,
  queryMessage,
  readQuery,
  recordTypes,
  responseCodeName,
} from "@portolan/dns/message";
import { type RecordedRecord, recordDifferences, toRecorded } from "./record-comparison.ts";

/** What is sent: octets of one datagram, or segments of a TCP stream. */
export interface HostileMessage {
  readonly id: string;
  readonly transport: "udp" | "tcp";
  readonly hex?: string;
  readonly pad?: { readonly octet: string; readonly count: number } | undefined;
  readonly chunks?: readonly string[];
  readonly fin?: boolean;
  readonly accept: readonly string[];
  /** Every reply to it must have an OPT record. */
  readonly optPresent?: boolean;
  /** Recorded outcome of another server, with its replies. */
  readonly recorded?: {
    readonly outcome: string;
    readonly replies: readonly RecordedReply[];
    /** The outcome was found good, by the list or as something that mature servers do as well. */
    readonly inAccept: boolean;
    /** What reading the other server's source foretold. */
    readonly foreseen: string;
  };
}

export interface RecordedReply {
  readonly rcode: string;
  readonly answer?: readonly RecordedRecord[];
  readonly authority?: readonly RecordedRecord[];
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

const goodName = "kubernetes.default.svc.cluster.local.";

/** Sends a datagram and gives the replies to it, and whether a good query sent after it was answered. */
function overUdp(port: number, payload: Uint8Array): Promise<{ replies: Uint8Array[]; alive: boolean }> {
  return new Promise((resolve, reject) => {
    const hostile = createSocket("udp4");
    const good = createSocket("udp4");
    const replies: Uint8Array[] = [];
    let done = false;
    const finish = (alive: boolean): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      hostile.close();
      good.close();
      resolve({ replies, alive });
    };
    const timer = setTimeout(() => finish(false), 1000);
    hostile.on("message", (reply) => replies.push(reply));
    hostile.on("error", reject);
    good.on("error", reject);
    // Datagrams are handled in order, so once the good query is answered the hostile one has been dealt with.
    good.on("message", () => setTimeout(() => finish(true), 40));
    hostile.send(payload, port, "127.0.0.1", (error) => {
      if (error !== null && error !== undefined) return reject(error);
      const question = { name: nameFromText(goodName), type: recordTypes.A, class: 1 };
      good.send(encodeMessage(queryMessage(99, question)), port, "127.0.0.1");
    });
  });
}

/** Writes segments to a TCP connection and gives the replies and the state of the connection at the end. */
function overTcp(
  port: number,
  chunks: readonly Uint8Array[],
  fin: boolean,
  wait: number,
): Promise<{ replies: Uint8Array[]; closed: boolean }> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    let received = new Uint8Array(0);
    let timer: NodeJS.Timeout | undefined;
    let closed = false;
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      const replies: Uint8Array[] = [];
      for (let at = 0; at + 2 <= received.length; ) {
        const length = (received[at]! << 8) | received[at + 1]!;
        replies.push(received.slice(at + 2, at + 2 + length));
        at += 2 + length;
      }
      resolve({ replies, closed });
    };
    const later = (): void => {
      clearTimeout(timer);
      timer = setTimeout(finish, wait);
    };
    socket.on("data", (chunk) => {
      const all = new Uint8Array(received.length + chunk.length);
      all.set(received);
      all.set(chunk, received.length);
      received = all;
      later();
    });
    const ended = (): void => {
      closed = true;
      finish();
    };
    socket.on("end", ended);
    socket.on("error", ended);
    socket.on("close", ended);
    socket.on("connect", () => {
      let index = 0;
      const next = (): void => {
        if (socket.destroyed) return;
        if (index === chunks.length) {
          if (fin) socket.end();
          later();
          return;
        }
        socket.write(chunks[index++]!, () => setImmediate(next));
      };
      next();
    });
  });
}

function rcodeOf(reply: Uint8Array): string {
  try {
    return responseCodeName(decodeMessage(reply).rcode);
  } catch (error) {
    return error instanceof DnsMessageError ? `UNREADABLE(${error.code})` : String(error);
  }
}

/** `X,X,X` for `X*3`. */
function expanded(outcome: string): string {
  return outcome
    .split(",")
    .flatMap((part) => {
      const match = /^(.+)\*([0-9]+)$/.exec(part);
      return match === null ? [part] : Array.from({ length: Number(match[2]) }, () => match[1]!);
    })
    .join();
}

/** What must hold of every reply to a datagram, whatever was in it. */
function invariantDifferences(request: Uint8Array, reply: Uint8Array, optPresent: boolean): string[] {
  const differences: string[] = [];
  const check = (what: string, good: boolean): void => {
    if (!good) differences.push(what);
  };
  if (reply.length < 12) return [`a reply of ${reply.length} octets`];
  check("the ID differs", reply[0] === request[0] && reply[1] === request[1]);
  check("QR is 0", (reply[2]! & 0x80) !== 0);
  check("the opcode differs", (reply[2]! & 0x78) === (request[2]! & 0x78));
  check("Z or AD is set", (reply[3]! & 0x60) === 0);
  let message: Message;
  try {
    message = decodeMessage(reply);
  } catch (error) {
    return [...differences, `the reply cannot be read: ${(error as Error).message}`];
  }
  const query = readQuery(request);
  const rcode = responseCodeName(message.rcode);
  if (rcode !== "NOTIMP") check("RD differs", ((reply[2]! ^ request[2]!) & 0x01) === 0);
  if (message.questions.length > 0) {
    let end = 12;
    while (reply[end]! > 0) end += 1 + reply[end]!;
    end += 5;
    for (let at = 12; at < end; at++) check("the question is not what was asked", reply[at] === request[at]);
  }
  if (rcode === "FORMERR" || rcode === "NOTIMP")
    check(
      `a ${rcode} of ${reply.length} octets to ${request.length}`,
      reply.length <= Math.max(request.length, 12) + 11,
    );
  if (query.outcome === "query") {
    const asked = query.optionsOffset >= 0;
    const limit = Math.min(query.udpPayloadSize, 1232);
    check(`${reply.length} octets, ${limit} are allowed`, reply.length <= limit);
    if (!asked) check("OPT without having been asked for", message.edns === undefined);
    else if (rcode !== "FORMERR" && rcode !== "NOTIMP") {
      check("no OPT", message.edns !== undefined);
      check("EDNS version is not 0", message.edns?.version === 0);
      check("DO differs", message.edns?.dnssecOk === query.dnssecOk);
      check("reserved EDNS flags are set", message.edns?.reservedFlags === 0);
    }
  }
  if (optPresent && rcode !== "FORMERR") check("no OPT", message.edns !== undefined);
  return [...new Set(differences)];
}

/** Sends one hostile message to a server and says what is wrong with what came; undefined when nothing is. */
export async function hostileDifference(port: number, message: HostileMessage): Promise<string | undefined> {
  const accept = message.accept.map(expanded);
  const lines: string[] = [];
  let outcome: string;
  let replies: Uint8Array[];
  if (message.transport === "udp") {
    const head = bytesOf(message.hex ?? "");
    const request = new Uint8Array(head.length + (message.pad?.count ?? 0));
    request.set(head);
    if (message.pad !== undefined) request.fill(Number.parseInt(message.pad.octet, 16), head.length);
    const result = await overUdp(port, request);
    replies = result.replies;
    outcome = replies.length === 0 ? "DROP" : replies.map(rcodeOf).join();
    if (replies.length > 1) lines.push(`${replies.length} replies to one datagram`);
    for (const reply of replies) lines.push(...invariantDifferences(request, reply, message.optPresent === true));
    if (!result.alive) lines.push("the next good query was not answered");
    if (!accept.includes(outcome)) lines.push(`expected ${message.accept.join(" or ")}, got ${outcome}`);
  } else {
    const namesState = accept.some((one) => /(?:OPEN|CLOSE)$/.test(one));
    const chunks = (message.chunks ?? []).map(bytesOf);
    const result = await overTcp(port, chunks, message.fin === true, namesState ? 1200 : 250);
    replies = result.replies;
    const codes = replies.map(rcodeOf);
    const state = result.closed ? "CLOSE" : "OPEN";
    outcome = [...codes, state].join();
    if (!accept.includes(outcome) && !accept.includes(codes.join()))
      lines.push(`expected ${message.accept.join(" or ")}, got ${outcome}`);
    const question = { name: nameFromText(goodName), type: recordTypes.A, class: 1 };
    const good = await overTcp(port, [frameMessage(encodeMessage(queryMessage(99, question)))], true, 1000);
    if (good.replies.length !== 1) lines.push("the next good query was not answered");
  }
  const { recorded } = message;
  if (recorded !== undefined) {
    const strip = (text: string): string => text.replace(/,(?:OPEN|CLOSE)$/, "");
    const claimed = expanded(recorded.outcome);
    const fits = accept.includes(claimed) || accept.includes(strip(claimed));
    const tolerated = recorded.inAccept && expanded(recorded.foreseen) === claimed;
    if (fits ? !recorded.inAccept : recorded.inAccept && !tolerated)
      lines.push(
        `the recording contradicts itself: ${recorded.outcome} is ${fits ? "" : "not "}among ${message.accept.join()}`,
      );
    if (strip(claimed) === strip(outcome))
      for (const [index, theirs] of recorded.replies.entries()) {
        const ours = replies[index] === undefined ? undefined : decodeMessage(replies[index]!);
        if (ours === undefined || ours.truncated) continue;
        const rules = { exactCase: true, ttlAtMost: false, ignoreWeights: false };
        lines.push(...recordDifferences("answer", theirs.answer ?? [], ours.answers.map(toRecorded), rules));
        lines.push(...recordDifferences("authority", theirs.authority ?? [], ours.authorities.map(toRecorded), rules));
      }
  }
  return lines.length === 0 ? undefined : lines.join("; ");
}
