/** Where a Corefile is wrong. `line` counts from 1. */
export class CorefileError extends Error {
  override readonly name = "CorefileError";
  readonly code: "syntax" | "unknown-directive" | "unknown-property" | "argument" | "import";
  readonly line: number;

  constructor(code: CorefileError["code"], file: string, line: number, message: string) {
    super(`${file}:${line}: ${message}`);
    this.code = code;
    this.line = line;
  }
}

/** A directive or a property: a word, its arguments, and what stands in braces behind it. */
export interface CorefileDirective {
  readonly name: string;
  readonly arguments: readonly string[];
  readonly body: readonly CorefileDirective[];
  readonly line: number;
}

/** `KEY KEY { … }`. */
export interface CorefileBlock {
  readonly keys: readonly string[];
  readonly directives: readonly CorefileDirective[];
  readonly line: number;
}

/** Options of {@link parseCorefile}. */
export interface CorefileOptions {
  /** Name of the file, for messages. Default `Corefile`. */
  readonly file?: string;
  /** Values of `{$NAME}`; absent ones are empty. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

interface Token {
  readonly text: string;
  readonly line: number;
  readonly quoted: boolean;
}

function tokensOf(text: string, file: string, environment: Readonly<Record<string, string | undefined>>): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    const character = text[at]!;
    if (character === "\n") {
      line++;
      at++;
    } else if (/\s/.test(character)) at++;
    else if (character === "#") while (at < text.length && text[at] !== "\n") at++;
    else if (character === '"') {
      const start = line;
      let value = "";
      for (at++; text[at] !== '"'; at++) {
        if (at >= text.length) throw new CorefileError("syntax", file, start, "a quoted string has no end");
        if (text[at] === "\\" && (text[at + 1] === '"' || text[at + 1] === "\\")) at++;
        if (text[at] === "\n") line++;
        value += text[at];
      }
      at++;
      tokens.push({ text: value, line: start, quoted: true });
    } else {
      let value = "";
      while (at < text.length && !/\s/.test(text[at]!)) value += text[at++];
      tokens.push({ text: value, line, quoted: false });
    }
  }
  return tokens.map((token) => ({
    ...token,
    text: token.text.replace(
      /\{\$(\w+)\}|\{%(\w+)%\}/g,
      (_, one?: string, two?: string) => environment[one ?? two!] ?? "",
    ),
  }));
}

/**
 * Reads the syntax of a Corefile: blocks, directives, braces, comments, quoted strings, `{$ENV}`, snippets and their import. What the
 * directives mean is decided by `readServerConfiguration`. Throws {@link CorefileError} with the line.
 */
export function parseCorefile(text: string, options: CorefileOptions = {}): CorefileBlock[] {
  const file = options.file ?? "Corefile";
  const tokens = tokensOf(text, file, options.environment ?? {});
  let at = 0;
  const snippets = new Map<string, readonly CorefileDirective[]>();
  const isOpen = (token: Token | undefined): boolean => token?.text === "{" && !token.quoted;
  const isClose = (token: Token | undefined): boolean => token?.text === "}" && !token.quoted;

  function directives(opened: number): CorefileDirective[] {
    const list: CorefileDirective[] = [];
    for (;;) {
      const token = tokens[at];
      if (token === undefined) throw new CorefileError("syntax", file, opened, `the brace opened here is never closed`);
      at++;
      if (isClose(token)) return list;
      if (isOpen(token)) throw new CorefileError("syntax", file, token.line, `"{" without a directive before it`);
      const words: string[] = [];
      let body: CorefileDirective[] = [];
      while (at < tokens.length && tokens[at]!.line === token.line && !isClose(tokens[at])) {
        if (isOpen(tokens[at])) {
          at++;
          body = directives(token.line);
          break;
        }
        words.push(tokens[at++]!.text);
      }
      if (token.text === "import" && !token.quoted) {
        const snippet = snippets.get(words[0] ?? "");
        if (snippet === undefined)
          throw new CorefileError(
            "import",
            file,
            token.line,
            `there is no snippet "${words[0] ?? ""}" above; only snippets of the same file can be imported`,
          );
        list.push(...snippet);
      } else list.push({ name: token.text, arguments: words, body, line: token.line });
    }
  }

  const blocks: CorefileBlock[] = [];
  while (at < tokens.length) {
    const first = tokens[at]!;
    const keys: string[] = [];
    while (at < tokens.length && !isOpen(tokens[at])) {
      if (isClose(tokens[at])) throw new CorefileError("syntax", file, tokens[at]!.line, `"}" closes nothing`);
      // Keys may be separated by commas.
      keys.push(...tokens[at++]!.text.split(",").filter((key) => key !== ""));
    }
    if (at >= tokens.length) throw new CorefileError("syntax", file, first.line, `"${keys.join(" ")}" has no "{"`);
    const opened = tokens[at++]!.line;
    if (keys.length === 0) throw new CorefileError("syntax", file, opened, "a block has no zone in front of it");
    const inside = directives(opened);
    const snippet = /^\((.+)\)$/.exec(keys[0]!);
    if (snippet !== null) snippets.set(snippet[1]!, inside);
    else blocks.push({ keys, directives: inside, line: first.line });
  }
  return blocks;
}
