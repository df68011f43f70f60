/** Numbers of record types (IANA registry "Resource Record (RR) TYPEs"), query-only types included. */
export const recordTypes = {
  A: 1,
  NS: 2,
  MD: 3,
  MF: 4,
  CNAME: 5,
  SOA: 6,
  MB: 7,
  MG: 8,
  MR: 9,
  NULL: 10,
  WKS: 11,
  PTR: 12,
  HINFO: 13,
  MINFO: 14,
  MX: 15,
  TXT: 16,
  RP: 17,
  AFSDB: 18,
  X25: 19,
  ISDN: 20,
  RT: 21,
  NSAP: 22,
  SIG: 24,
  KEY: 25,
  PX: 26,
  GPOS: 27,
  AAAA: 28,
  LOC: 29,
  NXT: 30,
  EID: 31,
  NIMLOC: 32,
  SRV: 33,
  NAPTR: 35,
  KX: 36,
  CERT: 37,
  DNAME: 39,
  OPT: 41,
  APL: 42,
  DS: 43,
  SSHFP: 44,
  IPSECKEY: 45,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  DHCID: 49,
  NSEC3: 50,
  NSEC3PARAM: 51,
  TLSA: 52,
  SMIMEA: 53,
  HIP: 55,
  CDS: 59,
  CDNSKEY: 60,
  OPENPGPKEY: 61,
  CSYNC: 62,
  ZONEMD: 63,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  NID: 104,
  L32: 105,
  L64: 106,
  LP: 107,
  EUI48: 108,
  EUI64: 109,
  TKEY: 249,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255,
  URI: 256,
  CAA: 257,
  TA: 32768,
  DLV: 32769,
} as const;

/** Mnemonic of a type in {@link recordTypes}. */
export type RecordTypeName = keyof typeof recordTypes;

const typeNames = new Map<number, string>(Object.entries(recordTypes).map(([name, number]) => [number, name]));

/** Mnemonic of a type, `TYPE65280` for types without one (RFC 3597 section 5). */
export function recordTypeName(type: number): string {
  return typeNames.get(type) ?? `TYPE${type}`;
}

/** Number of a mnemonic or of `TYPEnnn`; undefined when the text is neither. */
export function recordTypeFromName(text: string): number | undefined {
  const upper = text.toUpperCase();
  if (Object.hasOwn(recordTypes, upper)) return recordTypes[upper as RecordTypeName];
  const match = /^TYPE([0-9]{1,5})$/.exec(upper);
  const number = match === null ? undefined : Number(match[1]);
  return number !== undefined && number <= 0xffff ? number : undefined;
}

/** Numbers of classes (RFC 6895 section 3.2). */
export const recordClasses = { IN: 1, CH: 3, HS: 4, NONE: 254, ANY: 255 } as const;

const classNames = new Map<number, string>(Object.entries(recordClasses).map(([name, number]) => [number, name]));

/** Mnemonic of a class, `CLASSnnn` for classes without one. */
export function recordClassName(number: number): string {
  return classNames.get(number) ?? `CLASS${number}`;
}

/** Number of a class mnemonic or of `CLASSnnn`; undefined when the text is neither. */
export function recordClassFromName(text: string): number | undefined {
  const upper = text.toUpperCase();
  if (Object.hasOwn(recordClasses, upper)) return recordClasses[upper as keyof typeof recordClasses];
  const match = /^CLASS([0-9]{1,5})$/.exec(upper);
  const number = match === null ? undefined : Number(match[1]);
  return number !== undefined && number <= 0xffff ? number : undefined;
}

/** Response codes, those above 15 need EDNS (RFC 6895 section 2.3). */
export const responseCodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  YXRRSET: 7,
  NXRRSET: 8,
  NOTAUTH: 9,
  NOTZONE: 10,
  DSOTYPENI: 11,
  BADVERS: 16,
  BADKEY: 17,
  BADTIME: 18,
  BADMODE: 19,
  BADNAME: 20,
  BADALG: 21,
  BADTRUNC: 22,
  BADCOOKIE: 23,
} as const;

/** Mnemonic of a response code in {@link responseCodes}. */
export type ResponseCodeName = keyof typeof responseCodes;

const responseCodeNames = new Map<number, string>(Object.entries(responseCodes).map(([name, code]) => [code, name]));

/** Mnemonic of a response code, `RCODEnnn` for codes without one. */
export function responseCodeName(code: number): string {
  return responseCodeNames.get(code) ?? `RCODE${code}`;
}

/** Operation codes (RFC 6895 section 2.2). */
export const operationCodes = { QUERY: 0, IQUERY: 1, STATUS: 2, NOTIFY: 4, UPDATE: 5, DSO: 6 } as const;
