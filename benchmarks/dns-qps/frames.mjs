// Questions as frames, answered by the DNS program in the memory of a dataplane: no socket, no kernel.
import { createDataplane } from "@portolan/dataplane";
import { createDnsProgram } from "@portolan/dataplane/dns";
import { createQueryHandler, feedDataplane } from "@portolan/dns";
import { createClusterZone } from "@portolan/dns/zone";
import { packet } from "@portolan/net";
import { report, spread } from "../figures.mjs";

const batch = 256;
const region = 16 << 20;

const processorMilliseconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
};

/**
 * Runs batches of the frames for a while; `work` gets each batch after the frames were laid out anew. Nanoseconds of processor time per
 * frame.
 */
function measure(dataplane, frames, work, rounds) {
  const octets = new Uint8Array(dataplane.memory.buffer);
  const { descriptors } = dataplane;
  const { address, size } = dataplane.frames;
  const samples = [];
  for (let round = 0; round < rounds; round++) {
    const started = processorMilliseconds();
    let count = 0;
    while (processorMilliseconds() - started < 300) {
      for (let repeat = 0; repeat < 16; repeat++) {
        const from = (count / batch) % (frames.length / batch);
        for (let i = 0; i < batch; i++) {
          const frame = frames[from * batch + i];
          const at = address + i * size;
          octets.set(frame, at);
          descriptors.frame[i] = at;
          descriptors.length[i] = frame.length;
          descriptors.ingress[i] = 0;
        }
        work(batch);
        count += batch;
      }
    }
    samples.push(((processorMilliseconds() - started) * 1e6) / count);
  }
  return samples;
}

export function measureFrames(services, query) {
  const dataplane = createDataplane({ capacity: { reserved: region, frames: batch } });
  dataplane.configureNode({ addresses: ["192.168.0.2"], clusterCIDRs: ["10.244.0.0/16"] });
  dataplane.setPort(0, { kind: "pod", mac: "02:00:00:00:01:00", mtu: 1500 });
  dataplane.setRoute("10.244.1.0/24", { port: 0, nextHopMac: "02:00:00:00:01:01" });
  const program = createDnsProgram({
    dataplane,
    region: { address: dataplane.reserved.address, length: region },
    addresses: ["10.96.0.10"],
  });
  const zone = createClusterZone({ ttl: 30 });
  zone.apply({ kind: "Namespace", metadata: { name: "default" } });
  for (const service of services) zone.apply(service);
  const handler = createQueryHandler({ blocks: [{ origins: zone.zones, zone, loadbalance: true }] });
  const started = processorMilliseconds();
  feedDataplane(handler, zone, program, { soon: () => undefined, later: () => undefined, now: () => 0 }).flush();
  const fed = processorMilliseconds() - started;
  const frameOf = (payload, i) =>
    packet()
      .ethernet({ source: "02:00:00:00:01:01", destination: "02:00:00:00:01:00" })
      .ipv4({ source: `10.244.1.${i % 250}`, destination: "10.96.0.10" })
      .udp({ sourcePort: 1024 + (i % 50_000), destinationPort: 53 })
      .payload(payload)
      .build();
  const hits = Array.from({ length: 32 * batch }, (_, i) =>
    frameOf(query(i & 0xffff, `web-${(i * 7919) % services.length}.default.svc.cluster.local`), i),
  );
  const misses = Array.from({ length: 32 * batch }, (_, i) =>
    frameOf(query(i & 0xffff, `www.example${i}.com.default.svc.cluster.local`), i),
  );
  const others = Array.from({ length: batch }, (_, i) =>
    packet()
      .ethernet({ source: "02:00:00:00:01:01", destination: "02:00:00:00:01:00" })
      .ipv4({ source: `10.244.1.${i % 250}`, destination: "10.244.1.3" })
      .tcp({ sourcePort: 1024 + i, destinationPort: 80, flags: "A" })
      .build(),
  );
  let left = 0;
  const answer = (count) => {
    left += program.ingress(count);
  };
  const rounds = 7;
  measure(dataplane, hits, answer, 2);
  left = 0;
  const copying = measure(dataplane, hits, () => undefined, rounds);
  const found = measure(dataplane, hits, answer, rounds);
  const denied = measure(dataplane, misses, answer, rounds);
  if (left !== 0) throw new Error(`${left} questions were not answered`);
  // In turns, so that both see the same machine.
  const lookedAt = Array.from({ length: rounds }, () => {
    const [without] = measure(dataplane, others, () => undefined, 1);
    const [looking] = measure(dataplane, others, answer, 1);
    return looking - without;
  });
  const perSecond = (samples) =>
    spread(
      samples.map((nanoseconds) => 1e3 / nanoseconds),
      2,
    );
  report("frames in memory: laying one out, ns", spread(copying));
  report("A of existing Services, ns; million/s", `${spread(found)}; ${perSecond(found)}  (with laying out)`);
  report("names that do not exist, ns; million/s", `${spread(denied)}; ${perSecond(denied)}  (with laying out)`);
  report("looking at a frame that is no question, ns", spread(lookedAt, 1));
  const { names, octets } = program.size();
  report(
    `map of ${services.length} Services`,
    `${names} names, ${(octets / 2 ** 20).toFixed(1)} MiB, ${fed.toFixed(0)} ms`,
  );
}
