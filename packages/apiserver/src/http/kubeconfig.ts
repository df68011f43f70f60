import type { CertificateSet } from "./certificates.ts";
import { writePrivateFile } from "./credentials.ts";

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

/** Writes a kubeconfig that only its owner can read: it holds the administrator's key. */
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
  // JSON is YAML.
  writePrivateFile(path, `${JSON.stringify(config, undefined, 2)}\n`);
}
