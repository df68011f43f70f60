import { burst, stride } from "./bursts.mjs";
import {
  addressText,
  backendAddress,
  backendPort,
  backendsPerService,
  links,
  serviceAddress,
  servicePort,
  serviceProtocol,
} from "./flows.mjs";

const octets = (mac) => mac.split(":").map((octet) => Number.parseInt(octet, 16));
const swap = (ports) => ((ports << 16) | (ports >>> 16)) >>> 0;

/** How one would write it first: a Map of Services, a Map of flows, keys of text. It does what minimal.c does, and no more. */
export class MapsTarget {
  base = 0;
  frames = new Uint8Array(burst * stride);
  #view = new DataView(this.frames.buffer);
  #services = new Map();
  #flows = new Map();
  #verdicts = new Array(burst).fill(false);
  #link = [...octets(links.network.peer), ...octets(links.network.own)];
  #back = [...octets(links.clients.peer), ...octets(links.clients.own)];

  constructor(serviceCount) {
    for (let s = 0; s < serviceCount; s++) {
      this.#services.set(`${serviceAddress(s)}:${servicePort}:${serviceProtocol(s)}`, {
        name: addressText(serviceAddress(s)),
        backends: Array.from({ length: backendsPerService }, (_, k) => ({
          address: backendAddress(s, k),
          port: backendPort,
        })),
        packets: 0,
        bytes: 0,
      });
    }
  }

  prepare() {}

  process(count) {
    for (let k = 0; k < count; k++) this.#verdicts[k] = this.#forward(k * stride);
  }

  requireSent(count) {
    for (let k = 0; k < count; k++) if (!this.#verdicts[k]) throw new Error(`maps: frame ${k} was not forwarded`);
  }

  settle() {}

  forget() {
    this.#flows.clear();
  }

  #sum(at, length) {
    let total = 0;
    for (let i = at; i < at + length; i += 2) total += this.#view.getUint16(i);
    while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
    return total;
  }

  #adjust(at, delta) {
    let total = (~this.#view.getUint16(at) & 0xffff) + delta;
    total = (total & 0xffff) + (total >>> 16);
    this.#view.setUint16(at, ~total & 0xffff);
  }

  #forward(at) {
    const view = this.#view;
    const network = at + 14;
    const transport = at + 34;
    if (view.getUint16(at + 12) !== 0x0800 || view.getUint8(network) !== 0x45) return false;
    if ((view.getUint16(network + 6) & 0x3fff) !== 0 || this.#sum(network, 20) !== 0xffff) return false;
    const protocol = view.getUint8(network + 9);
    const source = view.getUint32(network + 12);
    const destination = view.getUint32(network + 16);
    const ports = view.getUint32(transport);
    const key = `${source}:${destination}:${ports}:${protocol}`;
    const flow = this.#flows.get(key) ?? this.#open(key, source, destination, ports, protocol);
    if (flow === undefined) return false;
    flow.service.packets++;
    flow.service.bytes += view.getUint16(network + 2);
    view.setUint32(network + 12, flow.source);
    view.setUint32(network + 16, flow.destination);
    view.setUint32(transport, flow.ports);
    view.setUint8(network + 8, view.getUint8(network + 8) - 1);
    this.#adjust(network + 10, flow.networkDelta);
    this.#adjust(network + 10, 0xfeff);
    const checksum = transport + (protocol === 6 ? 16 : 6);
    if (protocol === 6 || view.getUint16(checksum) !== 0) {
      this.#adjust(checksum, flow.transportDelta);
      if (protocol === 17 && view.getUint16(checksum) === 0) view.setUint16(checksum, 0xffff);
    }
    this.frames.set(flow.link, at);
    return true;
  }

  #open(key, source, destination, ports, protocol) {
    const service = this.#services.get(`${destination}:${ports & 0xffff}:${protocol}`);
    if (service === undefined) return undefined;
    const backend = service.backends[Math.floor(Math.random() * service.backends.length)];
    const translated = ((ports & 0xffff0000) | backend.port) >>> 0;
    const half = (n) => (n >>> 16) + (n & 0xffff);
    const fold = (n) => {
      while (n > 0xffff) n = (n & 0xffff) + (n >>> 16);
      return n;
    };
    const networkDelta = fold(half(~destination >>> 0) + half(backend.address));
    const transportDelta = fold(networkDelta + half(~ports >>> 0) + half(translated));
    const flow = {
      service,
      source,
      destination: backend.address,
      ports: translated,
      networkDelta,
      transportDelta,
      link: this.#link,
    };
    this.#flows.set(key, flow);
    this.#flows.set(`${backend.address}:${source}:${swap(translated)}:${protocol}`, {
      service,
      source: destination,
      destination: source,
      ports: swap(ports),
      networkDelta: ~networkDelta & 0xffff,
      transportDelta: ~transportDelta & 0xffff,
      link: this.#back,
    });
    return flow;
  }
}
