const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

function withRest(whole: number, unit: string, rest: number, restUnit: string): string {
  return rest === 0 ? `${whole}${unit}` : `${whole}${unit}${rest}${restUnit}`;
}

/**
 * A duration as the AGE column shows it: the largest unit, and a second one while the first is small (`119s`, `2m5s`, `70m`,
 * `3h5m`, `2d1h`, `5y30d`). A second in the future is `0s`, anything further `<invalid>`.
 *
 * @param seconds may have a fraction, which is cut off
 * @see k8s.io/apimachinery/pkg/util/duration
 */
export function humanDuration(seconds: number): string {
  const total = Math.trunc(seconds);
  if (total < -1) return "<invalid>";
  if (total < 0) return "0s";
  if (total < 2 * minute) return `${total}s`;
  const minutes = Math.floor(total / minute);
  if (minutes < 10) return withRest(minutes, "m", total % minute, "s");
  if (minutes < 3 * 60) return `${minutes}m`;
  const hours = Math.floor(total / hour);
  if (hours < 8) return withRest(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(total / day);
  if (hours < 8 * 24) return withRest(days, "d", hours % 24, "h");
  if (days < 2 * 365) return `${days}d`;
  const years = Math.floor(days / 365);
  if (years < 8) return withRest(years, "y", days % 365, "d");
  return `${years}y`;
}

/** Age of an RFC 3339 timestamp; `<unknown>` without one. */
export function age(timestamp: string | null | undefined, now: Date): string {
  if (timestamp === undefined || timestamp === null || timestamp === "") return "<unknown>";
  const then = Date.parse(timestamp);
  if (Number.isNaN(then)) return "<unknown>";
  return humanDuration((now.getTime() - then) / 1000);
}
