import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { dnsConstants, dnsEnumerations, dnsStructures } from "../assembly/dns/layout.mjs";
import { constants, enumerations, sizes, structures } from "../assembly/layout.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Fields of a structure with their offsets; refuses misaligned ones and sizes that do not hold them. */
function place(name, structure) {
  let at = 0;
  const placed = structure.fields.map(([field, type, comment, count = 1]) => {
    const size = sizes[type];
    if (at % size !== 0) throw new Error(`layout: ${name}.${field} (${type}) would lie at ${at}, which is not aligned`);
    const offset = at;
    at += size * count;
    return { field, type, comment, count, size, offset };
  });
  if (at > structure.size) throw new Error(`layout: ${name} needs ${at} bytes, declared are ${structure.size}`);
  return placed;
}

/** A drawing: one row for every eight bytes. */
export function draw(name, structure) {
  const width = 64;
  const rule = `        +${"-".repeat(width - 1)}+`;
  const lines = [
    `${name}, ${structure.size} bytes`,
    "",
    `        ${[0, 1, 2, 3, 4, 5, 6, 7].map((i) => ` ${i}`.padEnd(8)).join("")}`,
    rule,
  ];
  let row = "";
  let rowAt = 0;
  const cell = (text, bytes) => {
    const room = bytes * 8 - 1;
    return `${text.length > room ? `${text.slice(0, room - 1)}~` : text}`.padEnd(room).slice(0, room);
  };
  const flush = (end) => {
    if (row === "") return;
    const filled = end - rowAt;
    if (filled < 8) row += `${cell("", 8 - filled)}|`;
    lines.push(`${String(rowAt).padStart(6)}  |${row}`, rule);
    row = "";
  };
  let end = 0;
  for (const { field, size, count, offset } of place(name, structure)) {
    for (let i = 0; i < count; i++) {
      const at = offset + i * size;
      if (at % 8 === 0) {
        flush(at);
        rowAt = at;
      }
      row += `${cell(count > 1 ? `${field}[${i}]` : field, size)}|`;
      end = at + size;
    }
  }
  flush(end);
  if (end < structure.size) lines.push(`${String((end + 7) & ~7).padStart(6)}  (unused to ${structure.size})`);
  return lines.join("\n");
}

/** Writes both sides and the drawings of every module. Files that would not change are left alone. */
export function generateLayout() {
  generate({
    title: "Layout of the dataplane's memory",
    source: "assembly/layout.mjs",
    declared: { constants, enumerations, structures },
    files: { assembly: "assembly/generated/layout.ts", host: "src/generated/layout.ts", drawings: "LAYOUT.md" },
  });
  generate({
    title: "Layout of the DNS program's region",
    source: "assembly/dns/layout.mjs",
    declared: { constants: dnsConstants, enumerations: dnsEnumerations, structures: dnsStructures },
    files: {
      assembly: "assembly/generated/dns-layout.ts",
      host: "src/generated/dns-layout.ts",
      drawings: "assembly/dns/LAYOUT.md",
    },
  });
}

function generate({ title, source, declared, files }) {
  const { constants, enumerations, structures } = declared;
  const assembly = [`// Generated from ${source}. Do not edit.`, ""];
  const host = [`// Generated from ${source}. Do not edit.`, ""];
  const drawings = [
    `# ${title}`,
    "",
    `Generated from \`${source}\` by \`scripts/generate-layout.mjs\`. Each row is eight bytes, little-endian; fields that hold`,
    "bytes of the wire hold them in network order.",
    "",
    "## Fixed addresses",
    "",
    "| name | value | |",
    "|---|---|---|",
  ];
  for (const [name, value, comment] of constants) {
    assembly.push(`/** ${comment} */`, `export const ${name}: u32 = ${value};`);
    host.push(`/** ${comment} */`, `export const ${name} = ${value};`);
    drawings.push(`| ${name} | ${value} | ${comment} |`);
  }
  drawings.push("");
  for (const [name, { comment, values }] of Object.entries(enumerations)) {
    assembly.push("", `/** ${comment} */`, `export namespace ${name} {`);
    for (const [key, value] of Object.entries(values)) assembly.push(`  export const ${key}: u32 = ${value};`);
    assembly.push("}");
    host.push("", `/** ${comment} */`, `export const ${name} = {`);
    for (const [key, value] of Object.entries(values)) host.push(`  ${key}: ${value},`);
    host.push("} as const;");
  }
  if (enumerations.Reason !== undefined) {
    const reasons = Object.keys(enumerations.Reason.values).filter((key) => key !== "NONE");
    const name = (key) => key.toLowerCase().replaceAll("_", "-");
    host.push("", "/** Names of `Reason` in the public API. */", "export type ReasonName =");
    host.push(...reasons.map((key, i) => `  | "${name(key)}"${i === reasons.length - 1 ? ";" : ""}`));
  }
  drawings.push("## Structures");
  for (const [name, structure] of Object.entries(structures)) {
    const placed = place(name, structure);
    assembly.push(
      "",
      `/** ${structure.comment} */`,
      "// @ts-ignore: decorator",
      "@unmanaged",
      `export class ${name} {`,
    );
    host.push("", `/** ${structure.comment} */`, `export const ${name} = {`, `  SIZE: ${structure.size},`);
    for (const { field, type, comment, count, offset } of placed) {
      for (let i = 0; i < count; i++) {
        const suffix = count > 1 ? String(i) : "";
        if (comment) assembly.push(`  /** ${comment} */`);
        assembly.push(`  ${field}${suffix}: ${type};`);
      }
      host.push(`  ${field}: ${offset},`);
    }
    assembly.push("}", `export const ${name}_SIZE: u32 = ${structure.size};`);
    host.push("} as const;");
    drawings.push("", `### ${name}`, "", structure.comment, "", "```", draw(name, structure), "```", "");
    for (const { field, comment, offset } of placed) if (comment) drawings.push(`- ${offset} \`${field}\`: ${comment}`);
  }
  write(join(root, files.assembly), `${assembly.join("\n")}\n`);
  write(join(root, files.host), `${host.join("\n")}\n`);
  write(join(root, files.drawings), `${drawings.join("\n")}\n`);
}

/** Writes a file unless it already holds that text. */
export function write(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  let before;
  try {
    before = readFileSync(path, "utf8");
  } catch {
    before = undefined;
  }
  if (before !== text) writeFileSync(path, text);
}
