/** A recorded request. `$NS` and `${step/json/pointer}` in it stand for values of the run; a header of null is not sent. */
export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly body?: unknown;
  /** `none`: without credentials. */
  readonly auth?: string;
}

/** What the real server answered; placeholders stand for values that differ from run to run. */
export interface RecordedResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  /** Of a watch. */
  readonly "content-type"?: string;
  readonly events?: readonly unknown[];
}

/** Condition of a poll. */
export interface Until {
  readonly status?: number;
  readonly ptr?: string;
  readonly eq?: unknown;
  readonly list?: string;
  readonly len?: number;
}

/** One step of a case. */
export interface RecordedStep {
  readonly req?: RecordedRequest;
  readonly watch?: {
    readonly path: string;
    readonly query?: string;
    readonly headers?: Readonly<Record<string, string | null>>;
    readonly during?: readonly RecordedRequest[];
    readonly max?: number;
  };
  /** Seconds. */
  readonly sleep?: number;
  readonly until?: Until;
  readonly pick?: "status" | "names" | "keys";
  readonly res?: RecordedResponse;
}

/** One case of `api-service.jsonl` or `api-generic.jsonl`. */
export interface RecordedCase {
  readonly id: string;
  readonly title: string;
  readonly steps: readonly RecordedStep[];
  readonly quirk?: string;
  readonly unstable?: readonly string[];
}

const floatMark = "\u0001float:";

/**
 * Reads a case without losing how numbers were written: `80.0` is another request than `80`. Such numbers become marked text, which
 * {@link encodeJson} turns back.
 */
export function readCase(line: string): RecordedCase {
  const marked = line.replace(/"(?:\\.|[^"\\])*"|-?\d+\.\d+(?:[eE][+-]?\d+)?/g, (token) =>
    token.startsWith('"') ? token : JSON.stringify(`${floatMark}${token}`),
  );
  return JSON.parse(marked) as RecordedCase;
}

/** JSON text of a value that {@link readCase} read. */
export function encodeJson(value: unknown): string {
  const mark = JSON.stringify(floatMark).slice(1, -1).replaceAll("\\", "\\\\");
  return JSON.stringify(value).replace(new RegExp(`"${mark}([^"]*)"`, "g"), "$1");
}
