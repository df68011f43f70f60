// Begins a package from one that works: `pnpm new provider NAME` makes packages/lb-NAME, a load-balancer provider for a cloud in
// memory that passes the conformance kit; its author replaces the cloud by the real one, call by call.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const usage = "usage: pnpm new provider NAME   (NAME: small letters, digits and dashes, as in `acme` or `acme-edge`)";

function fail(message) {
  console.error(`${message}\n${usage}`);
  process.exit(2);
}

const [what, name, ...rest] = process.argv.slice(2);
if (what === undefined || what === "--help" || what === "-h") {
  console.log(usage);
  process.exit(what === undefined ? 2 : 0);
}
if (what !== "provider") fail(`there is nothing to begin that is called "${what}"`);
if (name === undefined || rest.length > 0 || !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name) || name.length > 40) {
  fail(`"${[name, ...rest].filter(Boolean).join(" ")}" is no name for a provider`);
}
const folder = join(root, "packages", `lb-${name}`);
if (existsSync(folder)) fail(`packages/lb-${name} exists already`);

const type = name
  .split("-")
  .map((part) => part[0].toUpperCase() + part.slice(1))
  .join("");
const variable = type[0].toLowerCase() + type.slice(1);
const example = join(root, "apps", "custom-provider");

/** A file of the example in the new provider's names. */
function renamed(path) {
  return readFileSync(join(example, path), "utf8")
    .replaceAll("harbour.example", `${name}.example`)
    .replaceAll("./harbour.ts", "./cloud.ts")
    .replaceAll(/\bHarbour/g, type)
    .replaceAll(/\bharbour(?=[A-Z])/g, variable)
    .replaceAll("harbour", name);
}

const manifest = JSON.parse(readFileSync(join(root, "packages", "lb-local", "package.json"), "utf8"));
manifest.name = `@portolan/lb-${name}`;
manifest.description = `A load-balancer provider for ${type}.`;
manifest.repository.directory = `packages/lb-${name}`;
manifest.dependencies = { "@portolan/lb": "workspace:^" };
const tsconfig = JSON.parse(readFileSync(join(root, "packages", "lb-local", "tsconfig.json"), "utf8"));
tsconfig.references = [{ path: "../lb" }];

const files = {
  "package.json": `${JSON.stringify(manifest, undefined, 2)}\n`,
  "tsconfig.json": `${JSON.stringify(tsconfig, undefined, 2)}\n`,
  "turbo.json": readFileSync(join(root, "packages", "lb-local", "turbo.json"), "utf8"),
  "README.md": `# @portolan/lb-${name}

A load-balancer provider for ${type}. \`src/cloud.ts\` holds the calls that it makes and a cloud in memory that answers them; the kit of
\`@portolan/lb/conformance\` runs in \`test/\`.
`,
  "src/index.ts": `/**
 * A load-balancer provider for ${type}.
 *
 * @packageDocumentation
 */
export { type Balancer, ${type}, type ${type}Port } from "./cloud.ts";
export { ${variable}Provider } from "./provider.ts";
`,
  "src/cloud.ts": renamed("src/harbour.ts"),
  "src/provider.ts": renamed("src/provider.ts"),
  "test/subject.ts": renamed("src/subject.ts").replaceAll(/"\.\/(cloud|provider)\.ts"/g, '"../src/$1.ts"'),
  "test/kit.test.ts": `import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it } from "vitest";
import { ${variable}Subject } from "./subject.ts";

registerProviderTests(${variable}Subject, { describe, it });
`,
};
for (const [path, text] of Object.entries(files)) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}
spawnSync("pnpm", ["exec", "biome", "check", "--write", folder], { cwd: root, stdio: "ignore" });
console.log(`packages/lb-${name} is begun. Next:

  pnpm install
  pnpm exec vitest run packages/lb-${name}     # passes, on the cloud in memory
  edit packages/lb-${name}/src/cloud.ts        # the calls of the real cloud
`);
