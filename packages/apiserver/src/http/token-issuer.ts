import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { User } from "../authorization.ts";

/** Makes and reads bearer tokens. */
export interface TokenIssuer {
  /** @param expires milliseconds since the epoch; absent for a token that is good as long as the key */
  issue(user: User, now: number, expires?: number): string;
  /** Whose token it is; `undefined` for a forged or expired one. */
  userOf(token: string, now: number): User | undefined;
}

/** Bytes of a key. */
const keySize = 32;

/** A key for {@link createTokenIssuer}. */
export function createTokenKey(): Buffer {
  return randomBytes(keySize);
}

interface Claims {
  readonly iss: string;
  readonly sub: string;
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly exp?: number;
  /** Makes two tokens of one second differ. */
  readonly jti: string;
  readonly "portolan.dev/user": User;
}

const issuer = "https://kubernetes.default.svc.cluster.local";
const header = Buffer.from(JSON.stringify({ alg: "HS256", typ: "JWT" })).toString("base64url");

/**
 * Tokens are JSON Web Tokens (RFC 7519) that say who the user is, signed with HMAC-SHA-256: the server remembers none of them, and those of one
 * key stay good over restarts.
 */
export function createTokenIssuer(key: Uint8Array): TokenIssuer {
  const sign = (text: string): Buffer => createHmac("sha256", key).update(text).digest();
  return {
    issue(user, now, expires) {
      const claims: Claims = {
        iss: issuer,
        sub: user.name,
        iat: Math.floor(now / 1000),
        ...(expires === undefined ? {} : { exp: Math.floor(expires / 1000) }),
        jti: randomBytes(12).toString("base64url"),
        "portolan.dev/user": user,
      };
      const text = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
      return `${text}.${sign(text).toString("base64url")}`;
    },
    userOf(token, now) {
      const end = token.lastIndexOf(".");
      const signature = Buffer.from(token.slice(end + 1), "base64url");
      const wanted = sign(token.slice(0, Math.max(0, end)));
      if (signature.length !== wanted.length || !timingSafeEqual(signature, wanted)) return undefined;
      const claims = JSON.parse(Buffer.from(token.slice(header.length + 1, end), "base64url").toString()) as Claims;
      return claims.exp === undefined || claims.exp * 1000 >= now ? claims["portolan.dev/user"] : undefined;
    },
  };
}
