import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { CertificateSet } from "./certificates.ts";

/** What a kubeconfig for the administrator says. */
export interface KubeconfigOptions {
  readonly url: string;
  readonly certificates: CertificateSet;
  readonly path: string;
  /** Name of cluster, user and context. */
  readonly name: string;
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

/**
 * Writes a kubeconfig that only its owner can read (0600): it holds the administrator's key. A file of that name is replaced at once, never half.
 */
export function writeKubeconfig(options: KubeconfigOptions): void {
  const { url, certificates, path, name } = options;
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server: url, "certificate-authority-data": base64(certificates.authority) } }],
    users: [
      {
        name,
        user: {
          "client-certificate-data": base64(certificates.admin.certificate),
          "client-key-data": base64(certificates.admin.key),
        },
      },
    ],
    contexts: [{ name, context: { cluster: name, user: name } }],
    "current-context": name,
  };
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.new`;
  // JSON is YAML.
  writeFileSync(temporary, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(temporary, 0o600);
  renameSync(temporary, path);
}
