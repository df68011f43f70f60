// @peculiar/x509 is built on decorators and refuses to load without this polyfill.
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** A certificate with its key, both PEM. */
export interface KeyedCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** What a server and its administrator need to trust each other. */
export interface CertificateSet {
  /** PEM. */
  readonly authority: string;
  readonly server: KeyedCertificate;
  readonly admin: KeyedCertificate;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** Certificates of the embedded server live as long as its process; ten years are as good as for ever. */
const lifetime = 10 * 365 * 24 * 3600 * 1000;

type KeyPair = Awaited<ReturnType<typeof newKeys>>;

async function newKeys() {
  return await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function keyPem(keys: KeyPair): Promise<string> {
  const bytes = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

/** 127 random bits: positive whatever their first one is. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0] as number) & 0x7f;
  return bytes.toString("hex");
}

/**
 * Makes a certificate authority, a server certificate for the given names and addresses, and a client certificate of the group `system:masters`:
 * ECDSA P-256, signed with SHA-256.
 */
export async function createCertificates(
  names: readonly string[],
  addresses: readonly string[],
  now: number,
): Promise<CertificateSet> {
  // Validity begins a little earlier, for clients whose clocks lag.
  const notBefore = new Date(now - 3600_000);
  const notAfter = new Date(now + lifetime);
  const crypto = webcrypto as never;
  const [authorityKeys, serverKeys, adminKeys] = await Promise.all([newKeys(), newKeys(), newKeys()]);
  const authority = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: "CN=portolan-ca",
      notBefore,
      notAfter,
      signingAlgorithm: algorithm,
      keys: authorityKeys as never,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(
          KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign | KeyUsageFlags.digitalSignature,
          true,
        ),
        await SubjectKeyIdentifierExtension.create(authorityKeys.publicKey as never, false, crypto),
      ],
    },
    crypto,
  );

  async function issue(
    subject: string,
    keys: KeyPair,
    usage: ExtendedKeyUsage,
    alternativeNames: readonly JsonGeneralName[],
  ): Promise<X509Certificate> {
    return await X509CertificateGenerator.create(
      {
        serialNumber: serialNumber(),
        subject,
        issuer: authority.subject,
        notBefore,
        notAfter,
        signingAlgorithm: algorithm,
        publicKey: keys.publicKey as never,
        signingKey: authorityKeys.privateKey as never,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([usage]),
          await AuthorityKeyIdentifierExtension.create(authorityKeys.publicKey as never, false, crypto),
          ...(alternativeNames.length === 0 ? [] : [new SubjectAlternativeNameExtension([...alternativeNames])]),
        ],
      },
      crypto,
    );
  }

  const [server, admin] = await Promise.all([
    issue("CN=kube-apiserver", serverKeys, ExtendedKeyUsage.serverAuth, [
      ...names.map((value): JsonGeneralName => ({ type: "dns", value })),
      ...addresses.map((value): JsonGeneralName => ({ type: "ip", value })),
    ]),
    issue("CN=admin,O=system:masters", adminKeys, ExtendedKeyUsage.clientAuth, []),
  ]);
  return {
    authority: `${authority.toString("pem")}\n`,
    server: { certificate: `${server.toString("pem")}\n`, key: await keyPem(serverKeys) },
    admin: { certificate: `${admin.toString("pem")}\n`, key: await keyPem(adminKeys) },
  };
}
