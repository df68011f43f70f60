import { batchVerdicts, createDataplane } from "@portolan/dataplane";
import { burst, stride } from "./bursts.mjs";
import {
  addressText,
  backendAddress,
  backendPort,
  backendsPerService,
  frameLength,
  links,
  serviceAddress,
  servicePort,
  serviceProtocol,
} from "./flows.mjs";

export function servicePortSpec(s) {
  const protocol = serviceProtocol(s) === 6 ? "TCP" : "UDP";
  return {
    id: `default/service-${s}:/${protocol}/IPv4`,
    family: "IPv4",
    protocol,
    frontends: [{ kind: "ClusterIP", address: addressText(serviceAddress(s)), port: servicePort }],
    cluster: Array.from({ length: backendsPerService }, (_, k) => ({
      address: addressText(backendAddress(s, k)),
      port: backendPort,
    })),
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  };
}

const powerOfTwo = (n) => 2 ** Math.ceil(Math.log2(n));

/** A node with a link to its clients and one to the network, routes to both, and Services; events are read between bursts. */
export class PortolanTarget {
  #dataplane;
  #now = 1;
  #unread = 0;

  /** `events`: the kinds to record, all but closed connections unless told. */
  constructor(serviceCount, flowCount, events) {
    const dataplane = createDataplane({
      seed: 1,
      ...(events === undefined ? {} : { events }),
      capacity: {
        connections: powerOfTwo(Math.max(1024, flowCount)),
        servicePorts: powerOfTwo(serviceCount),
        backends: powerOfTwo(serviceCount * backendsPerService),
        frontends: powerOfTwo(serviceCount),
      },
    });
    dataplane.configureNode({
      addresses: ["192.168.0.2"],
      clusterCIDRs: ["10.128.0.0/9"],
      serviceCIDRs: ["10.96.0.0/12"],
    });
    dataplane.replaceServicePorts(Array.from({ length: serviceCount }, (_, s) => servicePortSpec(s)));
    dataplane.setPort(0, { mac: links.clients.own, kind: "uplink", addresses: ["192.168.1.2"] });
    dataplane.setPort(1, { mac: links.network.own, kind: "uplink", addresses: ["192.168.0.2"] });
    dataplane.setRoute("10.244.0.0/16", { port: 0, nextHopMac: links.clients.peer });
    dataplane.setRoute("10.128.0.0/9", { port: 1, nextHopMac: links.network.peer });
    dataplane.setRoute("0.0.0.0/0", { port: 1, nextHopMac: links.network.peer, masquerade: true });
    const { frames, descriptors } = dataplane;
    for (let k = 0; k < burst; k++) descriptors.frame[k] = frames.address + k * stride;
    this.#dataplane = dataplane;
    this.frames = new Uint8Array(dataplane.memory.buffer);
    this.base = frames.address;
    this.size = dataplane.size();
  }

  prepare(count, side) {
    const { descriptors } = this.#dataplane;
    for (let k = 0; k < count; k++) {
      descriptors.length[k] = frameLength;
      descriptors.ingress[k] = side === 2 ? (k & 1) ^ 1 : side;
    }
  }

  process(count) {
    this.#dataplane.ingress(count, this.#now);
  }

  requireSent(count) {
    const { verdict, reason } = this.#dataplane.descriptors;
    for (let k = 0; k < count; k++) {
      if (verdict[k] !== batchVerdicts.REDIRECT)
        throw new Error(
          `frame ${k}: verdict ${verdict[k]}, reason ${reason[k]}, ${JSON.stringify(this.#dataplane.size())}`,
        );
    }
    // The ring holds 4096: read it before it is full.
    this.#unread += count;
    if (this.#unread + 256 <= 4096) return;
    this.#unread = 0;
    this.#dataplane.events();
  }

  /** Lets three seconds pass: UDP flows become conversations. */
  settle() {
    this.#now += 3;
  }

  forget() {
    this.#now += 10_000_000;
    while (this.#dataplane.tick(this.#now) > 0);
    this.#dataplane.events();
  }
}
