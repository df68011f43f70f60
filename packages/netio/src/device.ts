/**
 * A frame device: one end of a link. Frames are Ethernet frames without preamble and check sequence.
 *
 * The contract, which `@portolan/netio/conformance` checks:
 *
 * - `transmit` copies: the caller may reuse its bytes at once. `receive` gives bytes that are the caller's alone.
 * - Neither blocks nor throws for what a network may do: a frame that does not fit, or that finds a full queue, is not taken,
 *   and `transmit` says so.
 * - Frames leave a device without faults in the order in which they came.
 * - After `close`, `transmit` takes nothing, `receive` gives what had already arrived and then nothing, and whoever waits is
 *   told.
 */
export interface Device {
  /** For people: `left`, `trace.pcap`, `eth0`. */
  readonly name: string;
  /** Octets of the longest frame that it takes, header included. */
  readonly maximumFrame: number;
  /**
   * Takes the oldest frame that arrived.
   *
   * @returns undefined when there is none now
   */
  receive(): Uint8Array | undefined;
  /**
   * Sends a frame.
   *
   * @returns false when it was not taken: longer than {@link maximumFrame}, shorter than an Ethernet header (14), no room, closed
   */
  transmit(frame: Uint8Array): boolean;
  /**
   * Waits until {@link receive} has something, or never will.
   *
   * @returns false when the device is closed and empty
   * @throws the signal's reason when it is aborted
   */
  readable(signal?: AbortSignal): Promise<boolean>;
  /** Ends it; a second time does nothing. */
  close(): void;
}

/** Octets of an Ethernet header: what every frame has at least. */
export const ETHERNET_HEADER_LENGTH = 14;
