import type { Outcome } from "./run.ts";

const width = 96;

/** Lines of at most so many characters, broken between words. */
function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && line.length + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines.map((line) => `${indent}${line}`).join("\n");
}

/** All commands with outcome and duration, by section; notes, reasons and failures below them. */
export function renderOutcomes(outcomes: readonly Outcome[]): string {
  const lines: string[] = ["OUTCOME         TIME     COMMAND"];
  let section = "";
  const indent = " ".repeat(27);
  for (const { section: title, step, result, milliseconds, reason } of outcomes) {
    if (title !== section) lines.push("", title);
    section = title;
    const time = result === "ok" || result === "FAILED" ? `${(milliseconds / 1000).toFixed(2)} s` : "-";
    lines.push(`${result.padEnd(14)}  ${time.padEnd(7)}  ${step.command}`);
    if (reason !== undefined) lines.push(wrap(reason, indent));
    if (step.note !== undefined) lines.push(wrap(`(${step.note})`, indent));
  }
  return lines.join("\n");
}
