/** What is wrong with a message, a name or a record. Stable; branch on it, not on the text. */
export type DnsMessageErrorCode =
  | "message-too-short"
  | "message-too-long"
  | "name-truncated"
  | "name-too-long"
  | "label-too-long"
  | "label-type"
  | "pointer-not-backwards"
  | "name-syntax"
  | "question-truncated"
  | "record-truncated"
  | "record-data"
  | "record-syntax"
  | "edns-duplicate"
  | "edns-owner"
  | "edns-section"
  | "edns-options"
  | "frame-too-short"
  | "frame-too-long";

/**
 * Hostile or broken input to the codec. `offset` is the octet of the message (or the character of the text) at which reading stopped,
 * -1 when there is none.
 */
export class DnsMessageError extends Error {
  override readonly name = "DnsMessageError";
  readonly code: DnsMessageErrorCode;
  readonly offset: number;

  constructor(code: DnsMessageErrorCode, message: string, offset = -1) {
    super(offset < 0 ? message : `${message} (at octet ${offset})`);
    this.code = code;
    this.offset = offset;
  }
}
