import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { type IPAddress, parseAddress } from "@portolan/net";
import {
  bitString,
  boolean,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  tagged,
  time,
  utf8String,
} from "./der.ts";

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

/** Certificates of the embedded server are for one machine and its tests; ten years are as good as for ever. */
const lifetime = 10 * 365 * 24 * 3600 * 1000;
/** Validity begins a little earlier, for clients whose clocks lag. */
const clockSkew = 3600_000;

const oid = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  ecdsaWithSHA256: "1.2.840.10045.4.3.2",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAlternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

const signatureAlgorithm = sequence(objectIdentifier(oid.ecdsaWithSHA256));

/** Who a certificate is about: organizations become groups. */
interface Subject {
  readonly commonName: string;
  readonly organization?: string;
}

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

function newKeys(): KeyPair {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function encodeName({ commonName, organization }: Subject): Uint8Array {
  const attribute = (type: string, value: string): Uint8Array =>
    set(sequence(objectIdentifier(type), utf8String(value)));
  return sequence(
    ...(organization === undefined ? [] : [attribute(oid.organization, organization)]),
    attribute(oid.commonName, commonName),
  );
}

function publicKeyInfo(key: KeyObject): Uint8Array {
  return key.export({ type: "spki", format: "der" });
}

/** SHA-1 of the key, as RFC 5280 (section 4.2.1.2) proposes. It identifies and proves nothing. */
function keyIdentifier(key: KeyObject): Uint8Array {
  const point = publicKeyInfo(key).subarray(-65);
  return createHash("sha1").update(point).digest();
}

function extension(type: string, isCritical: boolean, value: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(type), ...(isCritical ? [boolean(true)] : []), octetString(value));
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

interface CertificateRequest {
  readonly subject: Subject;
  readonly keys: KeyPair;
  readonly issuer: Subject;
  readonly issuerKeys: KeyPair;
  readonly now: number;
  readonly extensions: readonly Uint8Array[];
}

/**
 * One certificate (RFC 5280, section 4.1):
 *
 * ```
 *   Certificate = { TBSCertificate, signatureAlgorithm, signature }
 *   TBSCertificate = { [0] version, serial, algorithm, issuer, validity, subject, key, [3] extensions }
 * ```
 */
function issue({ subject, keys, issuer, issuerKeys, now, extensions }: CertificateRequest): string {
  const toBeSigned = sequence(
    tagged(0, integer(Uint8Array.of(2)), true),
    integer(randomBytes(16)),
    signatureAlgorithm,
    encodeName(issuer),
    sequence(time(new Date(now - clockSkew)), time(new Date(now + lifetime))),
    encodeName(subject),
    publicKeyInfo(keys.publicKey),
    tagged(3, sequence(...extensions), true),
  );
  const signature = sign("sha256", toBeSigned, issuerKeys.privateKey);
  return pem("CERTIFICATE", sequence(toBeSigned, signatureAlgorithm, bitString(signature)));
}

/** Bits of `keyUsage`, the first one leftmost. */
const digitalSignature = 0x80;
const certificateSigning = 0x04;
const listSigning = 0x02;

function keyUsage(bits: number): Uint8Array {
  let unused = 0;
  while (((bits >> unused) & 1) === 0) unused++;
  return extension(oid.keyUsage, true, bitString(Uint8Array.of(bits), unused));
}

const authoritySubject: Subject = { commonName: "portolan-ca" };

/**
 * Makes a certificate authority. Keys are ECDSA P-256, signatures SHA-256, here and below.
 *
 * @param now milliseconds since the epoch
 */
export function createAuthority(now: number): KeyedCertificate {
  const keys = newKeys();
  const certificate = issue({
    subject: authoritySubject,
    keys,
    issuer: authoritySubject,
    issuerKeys: keys,
    now,
    extensions: [
      extension(oid.basicConstraints, true, sequence(boolean(true))),
      keyUsage(digitalSignature | certificateSigning | listSigning),
      extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(keys.publicKey))),
    ],
  });
  return { certificate, key: pemOf(keys) };
}

function pemOf(keys: KeyPair): string {
  return keys.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/**
 * Makes a server certificate for the given names and addresses, and a client certificate of the group `system:masters`. It takes a few
 * milliseconds.
 *
 * @param authority who signs them
 * @param now milliseconds since the epoch
 */
export function createCertificates(
  authority: KeyedCertificate,
  names: readonly string[],
  addresses: readonly string[],
  now: number,
): CertificateSet {
  const privateKey = createPrivateKey(authority.key);
  const authorityKeys: KeyPair = { privateKey, publicKey: createPublicKey(privateKey) };

  function leaf(subject: Subject, usage: string, further: readonly Uint8Array[]): KeyedCertificate {
    const keys = newKeys();
    const certificate = issue({
      subject,
      keys,
      issuer: authoritySubject,
      issuerKeys: authorityKeys,
      now,
      extensions: [
        extension(oid.basicConstraints, true, sequence()),
        keyUsage(digitalSignature),
        extension(oid.extendedKeyUsage, false, sequence(objectIdentifier(usage))),
        extension(
          oid.authorityKeyIdentifier,
          false,
          sequence(tagged(0, keyIdentifier(authorityKeys.publicKey), false)),
        ),
        ...further,
      ],
    });
    return { certificate, key: pemOf(keys) };
  }

  const parsed = addresses.map(parseAddress).filter((address): address is IPAddress => address !== undefined);
  const alternativeNames = sequence(
    ...names.map((name) => tagged(2, Buffer.from(name, "latin1"), false)),
    ...parsed.map((address) => tagged(7, address.bytes, false)),
  );
  return {
    authority: authority.certificate,
    server: leaf({ commonName: "kube-apiserver" }, oid.serverAuth, [
      extension(oid.subjectAlternativeName, false, alternativeNames),
    ]),
    admin: leaf({ commonName: "admin", organization: "system:masters" }, oid.clientAuth, []),
  };
}
