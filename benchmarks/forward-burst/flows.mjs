/** Octets of every frame. */
export const frameLength = 64;
export const backendsPerService = 3;
/** Our address and the neighbour's on the two links: the clients' and the network's. */
export const links = {
  clients: { own: "02:00:00:11:01:01", peer: "02:00:00:11:01:02" },
  network: { own: "02:00:00:22:01:01", peer: "02:00:00:22:01:02" },
};
const octets = (mac) => mac.split(":").map((octet) => Number.parseInt(octet, 16));
const wire = { clients: [], network: [] };
for (const [name, { own, peer }] of Object.entries(links)) wire[name] = [...octets(own), ...octets(peer), 0x08, 0x00];

export const addressText = (n) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
export const clientAddress = (flow) => 0x0af40000 + (flow & 0xffff);
export const clientPort = (flow) => 1024 + (flow >>> 16);
export const serviceAddress = (service) => 0x0a600001 + service;
export const servicePort = 80;
/** Every eighth Service is UDP. */
export const serviceProtocol = (service) => (service % 8 === 7 ? 17 : 6);
export const backendAddress = (service, k) => 0x0a800000 + service * backendsPerService + k;
export const backendPort = 8080;
export const flags = { SYN: 0x02, SYN_ACK: 0x12, ACK: 0x10 };

function sum(bytes, at, length) {
  let total = 0;
  for (let i = at; i < at + length; i += 2) total += (bytes[i] << 8) | bytes[i + 1];
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function write16(bytes, at, value) {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function write32(bytes, at, value) {
  write16(bytes, at, value >>> 16);
  write16(bytes, at + 2, value & 0xffff);
}

/** Writes a whole frame of a minimal length: 20 octets of IPv4, then TCP and 10 octets or UDP and 22. */
export function writeFrame(bytes, at, { link, source, sourcePort, destination, destinationPort, protocol, tcpFlags }) {
  bytes.fill(0, at, at + frameLength);
  bytes.set(wire[link], at);
  const network = at + 14;
  const transport = at + 34;
  bytes[network] = 0x45;
  write16(bytes, network + 2, 50);
  bytes[network + 6] = 0x40;
  bytes[network + 8] = 64;
  bytes[network + 9] = protocol;
  write32(bytes, network + 12, source);
  write32(bytes, network + 16, destination);
  write16(bytes, network + 10, ~sum(bytes, network, 20) & 0xffff);
  write16(bytes, transport, sourcePort);
  write16(bytes, transport + 2, destinationPort);
  if (protocol === 6) {
    bytes[transport + 12] = 0x50;
    bytes[transport + 13] = tcpFlags;
    write16(bytes, transport + 14, 0xffff);
  } else write16(bytes, transport + 4, 30);
  const pseudo = sum(bytes, network + 12, 8) + protocol + 30 + sum(bytes, transport, 30);
  const checksum = ~((pseudo & 0xffff) + (pseudo >>> 16)) & 0xffff;
  write16(bytes, transport + (protocol === 6 ? 16 : 6), checksum || 0xffff);
}

/** Frames that open flow `i` and that continue it. */
export function writeFlow(opening, forward, i, serviceCount) {
  const service = i % serviceCount;
  const frame = {
    link: "clients",
    source: clientAddress(i),
    sourcePort: clientPort(i),
    destination: serviceAddress(service),
    destinationPort: servicePort,
    protocol: serviceProtocol(service),
  };
  writeFrame(opening, i * frameLength, { ...frame, tcpFlags: flags.SYN });
  writeFrame(forward, i * frameLength, { ...frame, tcpFlags: flags.ACK });
}

/** The answer of the backend that flow `i`'s forwarded frame at `at` went to. */
export function writeReply(replies, i, serviceCount, frames, at, tcpFlags) {
  writeFrame(replies, i * frameLength, {
    link: "network",
    source: ((frames[at + 30] << 24) | (frames[at + 31] << 16) | (frames[at + 32] << 8) | frames[at + 33]) >>> 0,
    sourcePort: (frames[at + 36] << 8) | frames[at + 37],
    destination: clientAddress(i),
    destinationPort: clientPort(i),
    protocol: serviceProtocol(i % serviceCount),
    tcpFlags,
  });
}

/** Throws unless a frame that left is what flow `i`'s should be: one hop less, both checksums right, sent to one of three backends. */
export function requireForwarded(frames, at, i, serviceCount) {
  const network = at + 14;
  const transport = at + 34;
  const service = i % serviceCount;
  const view = new DataView(frames.buffer, frames.byteOffset + at, frameLength);
  const k = view.getUint32(30) - backendAddress(service, 0);
  const protocol = serviceProtocol(service);
  const pseudo = sum(frames, network + 12, 8) + protocol + 30 + sum(frames, transport, 30);
  const right =
    frames[network + 8] === 63 &&
    sum(frames, network, 20) === 0xffff &&
    (pseudo & 0xffff) + (pseudo >>> 16) === 0xffff &&
    k >= 0 &&
    k < backendsPerService &&
    view.getUint16(36) === backendPort &&
    view.getUint32(26) === clientAddress(i) &&
    octets(links.network.peer).every((octet, n) => frames[at + n] === octet);
  if (!right)
    throw new Error(`flow ${i}: wrong frame ${Buffer.from(frames.subarray(at, at + frameLength)).toString("hex")}`);
}

/** The same of an answer that left: the Service's address has to be its source. */
export function requireReturned(frames, at, i, serviceCount) {
  const view = new DataView(frames.buffer, frames.byteOffset + at, frameLength);
  const service = i % serviceCount;
  const pseudo = sum(frames, at + 26, 8) + serviceProtocol(service) + 30 + sum(frames, at + 34, 30);
  const right =
    frames[at + 22] === 63 &&
    sum(frames, at + 14, 20) === 0xffff &&
    (pseudo & 0xffff) + (pseudo >>> 16) === 0xffff &&
    view.getUint32(26) === serviceAddress(service) &&
    view.getUint16(34) === servicePort &&
    view.getUint32(30) === clientAddress(i) &&
    view.getUint16(36) === clientPort(i);
  if (!right)
    throw new Error(`flow ${i}: wrong answer ${Buffer.from(frames.subarray(at, at + frameLength)).toString("hex")}`);
}
