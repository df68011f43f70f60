/**
 * A capture through a dataplane: what would have become of each packet, and what would have come out.
 *
 * ```ts
 * import { replay } from "@portolan/dataplane/replay";
 *
 * const results = replay(dataplane, readCapture(bytes));
 * await writeFile("out.pcapng", writePcapng(annotatedCapture(results, linkType)));
 * ```
 *
 * @packageDocumentation
 */
import { type Capture, type CapturedPacket, type InterfaceCapture, linkTypes } from "@portolan/net";
import type { Dataplane, ProcessResult } from "./dataplane.ts";
import { DataplaneError } from "./errors.ts";
import type { TraceStep } from "./trace.ts";

/** Options of {@link replay}. */
export interface ReplayOptions {
  /** Port that frames of an Ethernet capture come in on. Default 0. */
  readonly ingress?: number;
  /** Also say why, packet by packet. Costs about as much again. */
  readonly trace?: boolean;
}

/** What became of one packet of a capture. */
export interface ReplayedPacket extends ProcessResult {
  readonly input: CapturedPacket;
  /** With `trace`: the decisions before this packet changed anything. */
  readonly steps?: readonly TraceStep[];
}

/**
 * Runs a capture in the order of its packets, by its clock: connections open, time out and close as they would have. Packets that were
 * cut when they were captured are run as they are, and mostly found malformed.
 *
 * @throws DataplaneError `INVALID_OPTION` for link types other than Ethernet and raw IP
 */
export function replay(dataplane: Dataplane, capture: Capture, options: ReplayOptions = {}): ReplayedPacket[] {
  const { linkType } = capture;
  if (linkType !== linkTypes["ethernet"] && linkType !== linkTypes["raw"]) {
    throw new DataplaneError(
      "INVALID_OPTION",
      `captures of link type ${linkType} cannot be replayed: Ethernet and raw IP can`,
    );
  }
  const isLink = linkType === linkTypes["ethernet"];
  const ingress = options.ingress ?? 0;
  const first = capture.packets[0]?.time ?? 0;
  return capture.packets.map((input) => {
    // Clocks of captures begin in 1970; that of a dataplane wraps after years.
    const at = { now: input.time - first, ingress };
    const { bytes } = input;
    const steps = options.trace
      ? isLink
        ? dataplane.traceFrame(bytes, at)
        : dataplane.trace(bytes, { now: at.now })
      : undefined;
    const result = isLink ? dataplane.processFrame(bytes, at) : dataplane.process(bytes, { now: at.now });
    return { input, ...result, ...(steps === undefined ? {} : { steps }) };
  });
}

/** A line about a packet: verdict, reason, port, and with a trace the decisions. */
export function describeReplayed(packet: ReplayedPacket): string {
  const head = [
    packet.verdict,
    ...(packet.reason === undefined ? [] : [packet.reason]),
    ...(packet.egress === undefined ? [] : [`port ${packet.egress}`]),
  ].join(" ");
  return [head, ...(packet.steps ?? []).map((step) => step.text)].join("\n");
}

/** What came out, without what was dropped. */
export function outputCapture(packets: readonly ReplayedPacket[], linkType: number): Capture {
  return {
    linkType,
    packets: packets.flatMap(({ packet, input }) =>
      packet === undefined ? [] : [{ time: input.time, bytes: packet }],
    ),
  };
}

/** One packet for each that came in: as it came out, or as it came in when it was dropped; the comment says which, and why. */
export function annotatedCapture(packets: readonly ReplayedPacket[], linkType: number): InterfaceCapture {
  return {
    interfaces: [{ name: "dataplane", linkType }],
    packets: packets.map((one) => ({
      interface: 0,
      time: one.input.time,
      bytes: one.packet ?? one.input.bytes,
      comment: describeReplayed(one),
    })),
  };
}
