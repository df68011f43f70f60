import type { Observation } from "./rack.ts";

const columns: readonly (readonly [keyof Observation, string])[] = [
  ["cloud", "cloud"],
  ["scheme", "scheme"],
  ["policy", "policy"],
  ["address", "address"],
  ["healthCheck", "health check"],
  ["destination", "destination seen by nodes"],
  ["source", "source seen by pods"],
  ["spread", "flows per node"],
  ["failure", "node2 fails"],
];

/** Host names of some clouds are longer than a line. */
const longest = 40;

function cellOf(text: string): string {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

/** Observations as lines of a table. */
export function tableOf(observations: readonly Observation[]): string[] {
  const widths = columns.map(([key, title]) =>
    Math.max(title.length, ...observations.map((each) => cellOf(each[key]).length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => cell.padEnd(widths[index]!))
      .join("  ")
      .trimEnd();
  return [
    line(columns.map(([, title]) => title)),
    line(widths.map((width) => "─".repeat(width))),
    ...observations.map((each) => line(columns.map(([key]) => cellOf(each[key])))),
  ];
}
