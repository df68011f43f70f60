/**
 * Stable codes of {@link DataplaneError}:
 *
 * - `INVALID_SERVICE_PORT`, `INVALID_NODE`, `INVALID_PORT`, `INVALID_ROUTE`, `INVALID_OPTION`: an argument is not acceptable; nothing changed.
 * - `MAP_FULL`: a map has no room for the change; nothing changed. Capacities are fixed at creation.
 * - `REPLACEMENT_OVER`: a replacement was committed, refused or given up before.
 * - `MEMORY_TOO_SMALL`: a memory that was passed in cannot hold the maps.
 * - `TRAPPED`: the module trapped before; the instance cannot be used any more.
 */
export type DataplaneErrorCode =
  | "INVALID_SERVICE_PORT"
  | "INVALID_NODE"
  | "INVALID_PORT"
  | "INVALID_ROUTE"
  | "INVALID_OPTION"
  | "MAP_FULL"
  | "REPLACEMENT_OVER"
  | "MEMORY_TOO_SMALL"
  | "TRAPPED";

/** Failure of a control call. The packet path does not throw: it returns verdicts with reasons. */
export class DataplaneError extends Error {
  override readonly name: string = "DataplaneError";
  readonly code: DataplaneErrorCode;

  constructor(code: DataplaneErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
