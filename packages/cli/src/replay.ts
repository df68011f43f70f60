import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { readManifests } from "@portolan/cluster";
import type { EndpointSlice, KubernetesObject, Node, Service } from "@portolan/core";
import { createDataplane } from "@portolan/dataplane";
import { annotatedCapture, describeReplayed, outputCapture, replay } from "@portolan/dataplane/replay";
import { linkTypes, PcapError, readCapture, writePcap, writePcapng } from "@portolan/net";
import { compileNodeSpec, compileServicePorts } from "@portolan/proxy";
import { CommandError } from "./command-error.ts";

const usage = `usage: portolan replay CAPTURE [options]

Runs a capture (pcap or pcapng, Ethernet or raw IP) through a dataplane that knows the given objects, by the capture's own clock, and
says what becomes of each packet.

  -f, --filename FILE        Services, EndpointSlices and Nodes in YAML or JSON (repeatable; - is standard input)
  -o, --output FILE          what comes out. FILE.pcapng has a packet for each that came in, with its verdict as comment, and those that
                             were dropped as they were; any other name gives a pcap file without those
  --node NAME                the node that the dataplane stands on (default: the first Node, else none)
  --cluster-cidr CIDR        addresses of pods (repeatable)
  --mode nftables|iptables|ipvs
                             which kube-proxy mode to follow where they differ (default nftables)
  --seed N                   seed of random choices (default 1)
  --trace                    also the decisions that led there
  -h, --help                 this text`;

const options = {
  filename: { type: "string", short: "f", multiple: true },
  output: { type: "string", short: "o" },
  node: { type: "string" },
  "cluster-cidr": { type: "string", multiple: true },
  mode: { type: "string", default: "nftables" },
  seed: { type: "string", default: "1" },
  trace: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** Runs `portolan replay`. @returns the exit code */
export function replayCapture(argv: readonly string[], print: (text: string) => void): number {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(argv);
  } catch (error) {
    throw new CommandError(`${(error as Error).message}\n\n${usage}`, 2);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    print(usage);
    return 0;
  }
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) throw new CommandError(usage, 2);
  const mode = (["nftables", "iptables", "ipvs"] as const).find((each) => each === values.mode);
  if (mode === undefined) throw new CommandError(`--mode is nftables, iptables or ipvs, not "${values.mode}"`, 2);
  if (!/^\d{1,10}$/.test(values.seed)) throw new CommandError(`--seed takes a number, not "${values.seed}"`, 2);

  const objects = (values.filename ?? []).flatMap((name) =>
    readManifests(readFileSync(name === "-" ? 0 : name, "utf8"), name),
  );
  const dataplane = dataplaneOf(objects, {
    mode,
    seed: Number(values.seed),
    clusterCIDRs: values["cluster-cidr"] ?? [],
    ...(values.node === undefined ? {} : { nodeName: values.node }),
  });
  const capture = captureOf(file);
  const results = replay(dataplane, capture, { trace: values.trace ?? false });
  results.forEach((result, i) => {
    print(`${i + 1} ${describeReplayed(result).replaceAll("\n", "\n    ")}`);
  });
  if (values.output !== undefined) {
    const bytes = values.output.endsWith(".pcapng")
      ? writePcapng(annotatedCapture(results, capture.linkType))
      : writePcap(outputCapture(results, capture.linkType));
    writeFileSync(values.output, bytes);
  }
  return 0;
}

function parse(argv: readonly string[]) {
  return parseArgs({ args: [...argv], allowPositionals: true, options });
}

function captureOf(file: string) {
  try {
    const capture = readCapture(readFileSync(file));
    if (capture.linkType === linkTypes["ethernet"] || capture.linkType === linkTypes["raw"]) return capture;
    throw new CommandError(
      `${file}: captures of link type ${capture.linkType} cannot be replayed, Ethernet and raw IP can`,
    );
  } catch (error) {
    if (error instanceof PcapError) throw new CommandError(`${file}: ${error.message}`);
    throw error;
  }
}

interface World {
  readonly mode: "nftables" | "iptables" | "ipvs";
  readonly seed: number;
  readonly clusterCIDRs: readonly string[];
  readonly nodeName?: string;
}

function dataplaneOf(objects: readonly KubernetesObject[], { mode, seed, clusterCIDRs, nodeName }: World) {
  const ofKind = <T>(kind: string): T[] => objects.filter((object) => object.kind === kind) as T[];
  const nodes = ofKind<Node>("Node");
  const node = nodeName === undefined ? nodes[0] : nodes.find((each) => each.metadata.name === nodeName);
  if (node === undefined && nodeName !== undefined)
    throw new CommandError(`there is no Node "${nodeName}" in the files`);
  const slices = ofKind<EndpointSlice>("EndpointSlice");
  const zone = node?.metadata.labels?.["topology.kubernetes.io/zone"];
  const topology = { nodeName: node?.metadata.name ?? "", ...(zone === undefined ? {} : { zone }) };
  const dataplane = createDataplane({ seed });
  dataplane.configureNode(compileNodeSpec(node ?? { metadata: { name: "" } }, { mode, clusterCIDRs }));
  dataplane.replaceServicePorts(
    ofKind<Service>("Service").flatMap((service) => {
      const { namespace, name } = service.metadata;
      const own = slices.filter(
        (slice) =>
          slice.metadata.namespace === namespace && slice.metadata.labels?.["kubernetes.io/service-name"] === name,
      );
      return compileServicePorts(service, own, topology).map((port) => port.spec);
    }),
  );
  return dataplane;
}
