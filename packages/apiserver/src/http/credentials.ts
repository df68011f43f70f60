import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createAuthority, type KeyedCertificate } from "./certificates.ts";
import { createTokenKey } from "./token-issuer.ts";

/** What makes clients of one server know it, and it them. */
export interface Credentials {
  readonly authority: KeyedCertificate;
  readonly tokenKey: Uint8Array;
}

/** Writes a file that only its owner can read (mode 0600). A file of that name is replaced at once, never half. */
export function writePrivateFile(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, content, { mode: 0o600, flush: true });
  chmodSync(temporary, 0o600);
  renameSync(temporary, path);
}

/** Reads a file, or makes it. */
function kept<T extends string | Buffer>(path: string, read: (path: string) => T, create: () => T): T {
  try {
    return read(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const content = create();
    writePrivateFile(path, content);
    return content;
  }
}

/** Credentials that nobody else has; they end with the process. */
export function createCredentials(now: number): Credentials {
  return { authority: createAuthority(now), tokenKey: createTokenKey() };
}

/**
 * Reads the credentials in a folder, and makes those that are missing: `ca.pem` (key and certificate, PEM) and `token.key`.
 *
 * @throws Error when a file cannot be read or is damaged
 */
export function loadCredentials(directory: string, now: number): Credentials {
  const authorityPath = join(directory, "ca.pem");
  const text = kept(
    authorityPath,
    (path) => readFileSync(path, "utf8"),
    () => {
      const { key, certificate } = createAuthority(now);
      return key + certificate;
    },
  );
  const block = (label: string): string => {
    const found = new RegExp(`-----BEGIN ${label}-----[^-]*-----END ${label}-----\\n?`).exec(text)?.[0];
    if (found === undefined)
      throw new Error(`${authorityPath} has no ${label}; remove it to have a new authority made`);
    return found;
  };
  const tokenKey = kept(join(directory, "token.key"), (path) => readFileSync(path), createTokenKey);
  return { authority: { key: block("PRIVATE KEY"), certificate: block("CERTIFICATE") }, tokenKey };
}
