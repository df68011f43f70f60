/**
 * Names and their rules. Each function answers a list of problems in Kubernetes' words, empty when the text is good
 * (apimachinery `util/validation`). Lengths are bytes of UTF-8.
 *
 * @packageDocumentation
 */

function byteLength(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      bytes += 4;
      i++;
    } else bytes += 3;
  }
  return bytes;
}

function regexProblem(message: string, regex: string, ...examples: readonly string[]): string {
  const list = examples.map((example) => `'${example}', `).join(" or ");
  return `${message} (${list === "" ? "" : `e.g. ${list}`}regex used for validation is '${regex}')`;
}

const labelPattern = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const label1035Pattern = "[a-z]([-a-z0-9]*[a-z0-9])?";
const subdomainPattern = `${labelPattern}(\\.${labelPattern})*`;
const qualifiedPattern = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const labelValuePattern = `(${qualifiedPattern})?`;
const configMapKeyPattern = "[-._a-zA-Z0-9]+";
const percentPattern = "[0-9]+%";

const labelRegex = new RegExp(`^${labelPattern}$`);
const label1035Regex = new RegExp(`^${label1035Pattern}$`);
const subdomainRegex = new RegExp(`^${subdomainPattern}$`);
const qualifiedRegex = new RegExp(`^${qualifiedPattern}$`);
const labelValueRegex = new RegExp(`^${labelValuePattern}$`);
const configMapKeyRegex = new RegExp(`^${configMapKeyPattern}$`);

const labelText = regexProblem(
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
  labelPattern,
  "my-name",
  "123-abc",
);
const label1035Text = regexProblem(
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
  label1035Pattern,
  "my-name",
  "abc-123",
);
const subdomainText = regexProblem(
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
  subdomainPattern,
  "example.com",
);
const qualifiedMessage =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const qualifiedText = regexProblem(qualifiedMessage, qualifiedPattern, "MyName", "my.name", "123-abc");
const labelValueText = regexProblem(
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
  labelValuePattern,
  "MyValue",
  "my_value",
  "12345",
);

function atMost(text: string, maximum: number, unit: "characters" | "bytes"): string[] {
  return byteLength(text) > maximum ? [`must be no more than ${maximum} ${unit}`] : [];
}

/** DNS label of RFC 1123: at most 63, lower case, may start with a digit. */
export function dnsLabelProblems(text: string): string[] {
  const out = atMost(text, 63, "characters");
  if (!labelRegex.test(text)) out.push(subdomainRegex.test(text) ? "must not contain dots" : labelText);
  return out;
}

/** DNS label of RFC 1035: as above but starting with a letter. */
export function dns1035LabelProblems(text: string): string[] {
  const out = atMost(text, 63, "characters");
  if (!label1035Regex.test(text)) out.push(label1035Text);
  return out;
}

/** DNS name of RFC 1123: at most 253, labels joined by dots. */
export function dnsSubdomainProblems(text: string): string[] {
  const out = atMost(text, 253, "characters");
  if (!subdomainRegex.test(text)) out.push(subdomainText);
  return out;
}

/** `[prefix/]name`, as label keys, finalizers and protocols are: the prefix a DNS name, the name at most 63. */
export function qualifiedNameProblems(text: string): string[] {
  const parts = text.split("/");
  const out: string[] = [];
  let name: string;
  if (parts.length === 1) {
    name = text;
  } else if (parts.length === 2) {
    const prefix = parts[0]!;
    name = parts[1]!;
    if (prefix === "") out.push("prefix part must be non-empty");
    else out.push(...dnsSubdomainProblems(prefix).map((problem) => `prefix part ${problem}`));
  } else {
    return [
      `a valid label key ${qualifiedText} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  if (name === "") out.push("name part must be non-empty");
  out.push(...atMost(name, 63, "bytes").map((problem) => `name part ${problem}`));
  if (!qualifiedRegex.test(name)) out.push(`name part ${qualifiedText}`);
  return out;
}

/** Value of a label: empty, or at most 63 of letters, digits, `-`, `_`, `.`. */
export function labelValueProblems(text: string): string[] {
  const out = atMost(text, 63, "bytes");
  if (!labelValueRegex.test(text)) out.push(labelValueText);
  return out;
}

/** Domain-prefixed path such as `example.com/key`; both parts are needed. */
export function domainPrefixedPathProblems(text: string): string[] {
  if (text === "") return ["must be non-empty"];
  const slash = text.indexOf("/");
  if (slash < 0 || slash === 0 || slash === text.length - 1)
    return ['must be a domain-prefixed path (such as "acme.io/foo")'];
  return dnsSubdomainProblems(text.slice(0, slash)).map((problem) => `prefix part ${problem}`);
}

/** IANA service name of RFC 6335, as container ports and named target ports are: at most 15, one letter at least. */
export function portNameProblems(text: string): string[] {
  const out = atMost(text, 15, "characters");
  if (!/^[-a-z0-9]+$/.test(text)) {
    out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  }
  if (!/[a-z]/.test(text)) out.push("must contain at least one letter (a-z)");
  if (text.includes("--")) out.push("must not contain consecutive hyphens");
  if (text !== "" && (text.startsWith("-") || text.endsWith("-"))) out.push("must not begin or end with a hyphen");
  return out;
}

/** Port number: 1–65535. */
export function portNumberProblems(port: number): string[] {
  return Number.isInteger(port) && port >= 1 && port <= 65535 ? [] : ["must be between 1 and 65535, inclusive"];
}

/** Name of an environment variable: printable ASCII without `=` (relaxed rule, GA in 1.34). */
export function environmentNameProblems(text: string): string[] {
  return /^[ -<>-~]+$/.test(text)
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}

function pathStepProblems(text: string): string[] {
  if (text === ".") return ["must not be '.'"];
  if (text === "..") return ["must not be '..'"];
  return text.startsWith("..") ? ["must not start with '..'"] : [];
}

/** Key of a ConfigMap or Secret: at most 253 of letters, digits, `-`, `_`, `.`. */
export function configMapKeyProblems(text: string): string[] {
  const out = atMost(text, 253, "characters");
  if (!configMapKeyRegex.test(text)) {
    out.push(
      regexProblem(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        configMapKeyPattern,
        "key.name",
        "KEY_NAME",
        "key-name",
      ),
    );
  }
  return [...out, ...pathStepProblems(text)];
}

/** Percentage such as `25%`. */
export function percentProblems(text: string): string[] {
  return /^[0-9]+%$/.test(text)
    ? []
    : [
        regexProblem(
          "a valid percent string must be a numeric string followed by an ending '%'",
          percentPattern,
          "1%",
          "93%",
        ),
      ];
}

/** Name that becomes part of a URL path. */
export function pathSegmentNameProblems(text: string): string[] {
  if (text === "." || text === "..") return [`may not be '${text}'`];
  return ["/", "%"]
    .filter((character) => text.includes(character))
    .map((character) => `may not contain '${character}'`);
}

/** Number of UTF-8 bytes of a text. */
export function utf8Length(text: string): number {
  return byteLength(text);
}
