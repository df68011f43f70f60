/**
 * SipHash-2-4 with a 128-bit key (Aumasson and Bernstein 2012): 8 octets, little-endian as the reference code writes them. Arithmetic
 * on 64-bit numbers as pairs of 32-bit halves, for engines without fast 64-bit integers.
 */
export function sipHash24(key: Uint8Array, data: Uint8Array): Uint8Array {
  // Low and high halves of v0 to v3.
  const v = new Int32Array(8);
  const word = (bytes: Uint8Array, at: number): number =>
    (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
  const k0 = word(key, 0);
  const k1 = word(key, 4);
  const k2 = word(key, 8);
  const k3 = word(key, 12);
  v[0] = k0 ^ 0x70736575;
  v[1] = k1 ^ 0x736f6d65;
  v[2] = k2 ^ 0x6e646f6d;
  v[3] = k3 ^ 0x646f7261;
  v[4] = k0 ^ 0x6e657261;
  v[5] = k1 ^ 0x6c796765;
  v[6] = k2 ^ 0x79746573;
  v[7] = k3 ^ 0x74656462;
  const add = (a: number, b: number): void => {
    const low = (v[a]! >>> 0) + (v[b]! >>> 0);
    v[a + 1] = v[a + 1]! + v[b + 1]! + (low > 0xffffffff ? 1 : 0);
    v[a] = low;
  };
  /** Rotates left by less than 32, then xors with another. */
  const rotate = (a: number, bits: number, other: number): void => {
    const low = v[a]!;
    const high = v[a + 1]!;
    v[a] = ((low << bits) | (high >>> (32 - bits))) ^ v[other]!;
    v[a + 1] = ((high << bits) | (low >>> (32 - bits))) ^ v[other + 1]!;
  };
  const swap = (a: number): void => {
    const low = v[a]!;
    v[a] = v[a + 1]!;
    v[a + 1] = low;
  };
  const round = (): void => {
    add(0, 2);
    add(4, 6);
    rotate(2, 13, 0);
    rotate(6, 16, 4);
    swap(0);
    add(4, 2);
    add(0, 6);
    rotate(2, 17, 4);
    rotate(6, 21, 0);
    swap(4);
  };
  const whole = data.length & ~7;
  for (let at = 0; at < whole; at += 8) {
    const low = word(data, at);
    const high = word(data, at + 4);
    v[6] = v[6]! ^ low;
    v[7] = v[7]! ^ high;
    round();
    round();
    v[0] = v[0]! ^ low;
    v[1] = v[1]! ^ high;
  }
  const rest = new Uint8Array(8);
  rest.set(data.subarray(whole));
  rest[7] = data.length & 0xff;
  const low = word(rest, 0);
  const high = word(rest, 4);
  v[6] = v[6]! ^ low;
  v[7] = v[7]! ^ high;
  round();
  round();
  v[0] = v[0]! ^ low;
  v[1] = v[1]! ^ high;
  v[4] = v[4]! ^ 0xff;
  for (let count = 0; count < 4; count++) round();
  const hash = new Uint8Array(8);
  const view = new DataView(hash.buffer);
  view.setInt32(0, v[0]! ^ v[2]! ^ v[4]! ^ v[6]!, true);
  view.setInt32(4, v[1]! ^ v[3]! ^ v[5]! ^ v[7]!, true);
  return hash;
}
