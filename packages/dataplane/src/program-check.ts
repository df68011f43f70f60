import { globals } from "./web-assembly.ts";

/**
 * Why a program is refused:
 *
 * - `NOT_WASM`: not a module that this engine accepts, or larger than a program may be.
 * - `IMPORTS`: it imports something else than `env.memory`: a program has no way out of the dataplane.
 * - `MEMORY`: it brings a memory of its own, or would grow the memory that it is given.
 * - `DATA`: it writes data into the memory when it is loaded; static strings and arrays do that.
 * - `START`: it runs code when it is loaded.
 * - `EXPORTS`: `program` is not exported as a function of one i32 that returns one, or `initialize` not as one of two that returns none.
 * - `SLOTS`: all sixteen slots are taken, or the program's memory does not fit.
 */
export type ProgramRefusal = "NOT_WASM" | "IMPORTS" | "MEMORY" | "DATA" | "START" | "EXPORTS" | "SLOTS";

/** A program that was not loaded. Nothing of it ran, and nothing changed. */
export class ProgramRefusedError extends Error {
  override readonly name: string = "ProgramRefusedError";
  readonly code: ProgramRefusal;

  constructor(code: ProgramRefusal, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const LARGEST = 1 << 20;
const I32 = 0x7f;

/** A cursor over a module's bytes. The engine has accepted them, so that they are well-formed. */
class Reader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  byte(): number {
    return this.bytes[this.at++]!;
  }

  /** LEB128, signed or not: only unsigned values below 2^32 come out right, others are stepped over. */
  number(): number {
    let result = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) return result;
      scale *= 128;
    }
  }

  text(): string {
    const length = this.number();
    let text = "";
    for (let i = 0; i < length; i++) text += String.fromCharCode(this.byte());
    return text;
  }

  skip(count: number): void {
    this.at += count;
  }

  limits(): void {
    const flags = this.byte();
    this.number();
    if ((flags & 1) !== 0) this.number();
  }
}

interface Shape {
  readonly types: string[];
  readonly functions: number[];
  readonly imports: { readonly from: string; readonly kind: number }[];
  readonly exports: Map<string, { readonly kind: number; readonly index: number }>;
  memories: number;
  data: number;
  hasStart: boolean;
  /** Where function bodies begin and end. */
  readonly bodies: (readonly [start: number, end: number])[];
}

function readTypes(reader: Reader, shape: Shape): void {
  for (let count = reader.number(); count > 0; count--) {
    reader.byte();
    const part = (): string => {
      const length = reader.number();
      return Array.from({ length }, () => (reader.byte() === I32 ? "i32" : "other")).join(",");
    };
    shape.types.push(`${part()}->${part()}`);
  }
}

function readImports(reader: Reader, shape: Shape): void {
  for (let count = reader.number(); count > 0; count--) {
    const from = `${reader.text()}.${reader.text()}`;
    const kind = reader.byte();
    if (kind === 0) shape.functions.push(reader.number());
    else if (kind === 1) {
      reader.byte();
      reader.limits();
    } else if (kind === 2) reader.limits();
    else reader.skip(2);
    shape.imports.push({ from, kind });
  }
}

function readShape(bytes: Uint8Array): Shape {
  const shape: Shape = {
    types: [],
    functions: [],
    imports: [],
    exports: new Map(),
    memories: 0,
    data: 0,
    hasStart: false,
    bodies: [],
  };
  const reader = new Reader(bytes, 8);
  while (reader.at < bytes.length) {
    const section = reader.byte();
    const size = reader.number();
    const end = reader.at + size;
    if (section === 1) readTypes(reader, shape);
    else if (section === 2) readImports(reader, shape);
    else if (section === 3) {
      for (let count = reader.number(); count > 0; count--) shape.functions.push(reader.number());
    } else if (section === 5) shape.memories = reader.number();
    else if (section === 7) {
      for (let count = reader.number(); count > 0; count--) {
        const name = reader.text();
        shape.exports.set(name, { kind: reader.byte(), index: reader.number() });
      }
    } else if (section === 8) shape.hasStart = true;
    else if (section === 10) {
      for (let count = reader.number(); count > 0; count--) {
        const length = reader.number();
        shape.bodies.push([reader.at, reader.at + length]);
        reader.skip(length);
      }
    } else if (section === 11) shape.data = reader.number();
    reader.at = end;
  }
  return shape;
}

/** Steps over what follows an opcode. */
function skipImmediates(reader: Reader, opcode: number): void {
  if (opcode === 0x0e) {
    for (let count = reader.number(); count >= 0; count--) reader.number();
  } else if (opcode === 0x1c) {
    for (let count = reader.number(); count > 0; count--) reader.number();
  } else if (opcode === 0x11 || opcode === 0x13 || (opcode >= 0x28 && opcode <= 0x3e)) {
    reader.number();
    reader.number();
  } else if (opcode === 0x43) reader.skip(4);
  else if (opcode === 0x44) reader.skip(8);
  else if (opcode === 0xfc) {
    const sub = reader.number();
    if (sub >= 8) reader.number();
    if (sub === 8 || sub === 10 || sub === 12 || sub === 14) reader.number();
  } else if (opcode === 0xfd) {
    const sub = reader.number();
    if (sub <= 11 || (sub >= 84 && sub <= 93)) {
      reader.number();
      reader.number();
    }
    if (sub === 12 || sub === 13) reader.skip(16);
    if ((sub >= 21 && sub <= 34) || (sub >= 84 && sub <= 91)) reader.skip(1);
  } else if (opcode === 0xfe) {
    if (reader.number() === 3) reader.skip(1);
    else {
      reader.number();
      reader.number();
    }
  } else if (
    (opcode >= 0x02 && opcode <= 0x04) ||
    opcode === 0x0c ||
    opcode === 0x0d ||
    opcode === 0x10 ||
    opcode === 0x12 ||
    (opcode >= 0x20 && opcode <= 0x26) ||
    (opcode >= 0x3f && opcode <= 0x42) ||
    opcode === 0xd0 ||
    opcode === 0xd2
  )
    reader.number();
}

function growsMemory(bytes: Uint8Array, [start, end]: readonly [number, number]): boolean {
  const reader = new Reader(bytes, start);
  for (let groups = reader.number(); groups > 0; groups--) {
    reader.number();
    reader.byte();
  }
  while (reader.at < end) {
    const opcode = reader.byte();
    if (opcode === 0x40) return true;
    skipImmediates(reader, opcode);
  }
  return false;
}

/**
 * Checks a program without running anything of it. What cannot be checked is where it writes: it shares the dataplane's memory.
 *
 * @returns the compiled module
 * @throws ProgramRefusedError
 */
export function checkProgram(bytes: Uint8Array): object {
  if (bytes.length > LARGEST) {
    throw new ProgramRefusedError("NOT_WASM", `the program has ${bytes.length} bytes; ${LARGEST} is the limit`);
  }
  let module: object;
  try {
    module = new globals.WebAssembly.Module(bytes);
  } catch (error) {
    throw new ProgramRefusedError("NOT_WASM", `not a WebAssembly module: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const shape = readShape(bytes);
  for (const { from, kind } of shape.imports) {
    if (from === "env.memory" && kind === 2) continue;
    const hint = from === "env.abort" ? " (compile with --use abort=)" : "";
    throw new ProgramRefusedError("IMPORTS", `it imports ${from}; a program may import env.memory alone${hint}`);
  }
  if (shape.memories > 0) {
    throw new ProgramRefusedError(
      "MEMORY",
      "it brings a memory of its own; compile with --importMemory --noExportMemory",
    );
  }
  if (shape.data > 0) {
    throw new ProgramRefusedError(
      "DATA",
      "it writes static data when it is loaded; use its own memory and initialize()",
    );
  }
  if (shape.hasStart) throw new ProgramRefusedError("START", "it runs code when it is loaded; use initialize()");
  requireFunction(shape, "program", "i32->i32", true);
  requireFunction(shape, "initialize", "i32,i32->", false);
  if (shape.bodies.some((body) => growsMemory(bytes, body))) {
    throw new ProgramRefusedError("MEMORY", "it grows the memory: new, arrays and strings cannot be used in programs");
  }
  return module;
}

function requireFunction(shape: Shape, name: string, wanted: string, isNeeded: boolean): void {
  const found = shape.exports.get(name);
  if (found === undefined && !isNeeded) return;
  if (found === undefined || found.kind !== 0) {
    throw new ProgramRefusedError("EXPORTS", `it exports no function ${name}`);
  }
  const type = shape.types[shape.functions[found.index]!]!;
  if (type !== wanted) {
    const text = (of: string): string => of.replace("->", ") -> (");
    throw new ProgramRefusedError("EXPORTS", `${name} must have the type (${text(wanted)}), not (${text(type)})`);
  }
}
