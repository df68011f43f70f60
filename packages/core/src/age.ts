function whole(value: number): number {
  return Math.floor(value);
}

/**
 * A duration as the AGE column shows it (apimachinery `duration.HumanDuration`): at most two units, small ones dropped as it grows.
 *
 * | below | printed | example |
 * |---|---|---|
 * | 2 min | seconds | `119s` |
 * | 10 min | minutes and seconds | `9m59s` |
 * | 3 h | minutes | `179m` |
 * | 8 h | hours and minutes | `7h59m` |
 * | 48 h | hours | `47h` |
 * | 8 d | days and hours | `7d23h` |
 * | 2 y | days | `729d` |
 * | 8 y | years and days | `7y364d` |
 * | | years | `10y` |
 *
 * A zero remainder is left out. A year has 365 days.
 *
 * @param seconds may be fractional; a little below zero (clock skew up to 2 s) prints `0s`, more prints `<invalid>`
 */
export function formatAge(seconds: number): string {
  if (Number.isNaN(seconds) || whole(seconds) < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  const pair = (large: number, largeUnit: string, small: number, smallUnit: string) =>
    small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
  const s = whole(seconds);
  if (s < 120) return `${s}s`;
  const minutes = whole(s / 60);
  if (minutes < 10) return pair(minutes, "m", s % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  const hours = whole(minutes / 60);
  if (hours < 8) return pair(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  const days = whole(hours / 24);
  if (hours < 192) return pair(days, "d", hours % 24, "h");
  if (days < 730) return `${days}d`;
  const years = whole(days / 365);
  return years < 8 ? pair(years, "y", days % 365, "d") : `${years}y`;
}

/**
 * Age of a timestamp at a given moment: {@link formatAge} of the difference, `<unknown>` for an absent or malformed timestamp.
 *
 * @param timestamp RFC 3339
 * @param now milliseconds since the epoch
 */
export function ageOf(timestamp: string | null | undefined, now: number): string {
  const then = typeof timestamp === "string" ? Date.parse(timestamp) : Number.NaN;
  return Number.isNaN(then) ? "<unknown>" : formatAge((now - then) / 1000);
}
