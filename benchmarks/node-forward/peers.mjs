// The systems compared: each makes two network namespaces, a client's and a backend's, and something between them that leads
// 10.96.0.10:80 (TCP and UDP) to ports 9001 to 9003 of the backend, beside any number of further Services.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createNetnsFabric } from "@portolan/cluster/netns";
import { createNetworkNamespace, namespaceCommand, setOffloads } from "@portolan/netio-linux";
import { iptablesRules } from "../table-swap/kernel-peers.mjs";

export const service = { address: "10.96.0.10", port: 80 };
export const endpointPorts = [9001, 9002, 9003];
const addresses = { client: "10.244.1.2", backend: "10.244.1.3" };
const filler = (i) => ({ address: `10.97.${i >> 8}.${i & 255}`, endpoint: `10.98.${i >> 8}.${i & 255}` });

/** Starts a program in a namespace and waits for its first line. */
export function startProgram(namespace, argv) {
  const { command, args } = namespaceCommand({ netns: namespace, argv });
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${argv[0]} ended with ${code}`)));
    child.stdout.once("data", () =>
      resolve({
        pid: child.pid,
        async end() {
          child.kill("SIGTERM");
          await ended;
        },
      }),
    );
  });
}

/** Runs a program in a namespace to its end; its standard output. */
export function runProgram(namespace, argv, input) {
  const { command, args } = namespaceCommand({ netns: namespace, argv });
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${argv[0]} ended with ${code}: ${errors.slice(0, 500)}`));
    });
  });
}

/** Processor time of a process of one thread, in nanoseconds. */
const processorOf = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]);

/** The Service that is measured, TCP and UDP, and as many others as make up the number: lists of Service ports. */
function specifications(services) {
  const specification = (name, address, endpoints) => (protocol) => ({
    id: `default/${name}:/${protocol}/IPv4`,
    family: "IPv4",
    protocol,
    frontends: [{ kind: "ClusterIP", address, port: service.port }],
    cluster: endpoints,
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  });
  const endpoints = endpointPorts.map((port) => ({ address: addresses.backend, port }));
  const list = [["TCP", "UDP"].map(specification("measured", service.address, endpoints))];
  for (let i = 1; i < services; i++) {
    const { address, endpoint } = filler(i);
    list.push(["TCP"].map(specification(`filler${i}`, address, [{ address: endpoint, port: 8080 }])));
  }
  return list;
}

/** Two namespaces joined to a third one by veth pairs; `offloads` off makes frames complete for AF_XDP. */
function threeNamespaces(offloads) {
  const node = createNetworkNamespace("node");
  const namespaces = { node };
  const macs = {};
  for (const [i, side] of ["client", "backend"].entries()) {
    const namespace = createNetworkNamespace(side);
    namespaces[side] = namespace;
    const link = `${side}0`;
    macs[side] = `02:00:00:00:00:1${i}`;
    const gatewayMac = `02:00:00:00:00:2${i}`;
    node.links.addVeth({ name: link, mac: gatewayMac }, { name: "eth0", mac: macs[side] }, namespace.fd);
    node.setSysctl(`ipv6/conf/${link}/disable_ipv6`, 1);
    namespace.setSysctl("ipv6/conf/eth0/disable_ipv6", 1);
    node.links.setLink(link, { up: true });
    namespace.links.addAddress("eth0", `${addresses[side]}/32`);
    namespace.links.setLink("eth0", { up: true });
    if (!offloads) {
      namespace.run(() => setOffloads("eth0", { tx: false, tso: false, gso: false, gro: false }));
    }
    namespace.links.setNeighbour("eth0", "169.254.1.1", gatewayMac);
    namespace.links.setRoute({ destination: "169.254.1.1/32", link: "eth0" });
    namespace.links.setRoute({ destination: "0.0.0.0/0", gateway: "169.254.1.1", link: "eth0" });
    if (offloads) {
      node.links.setNeighbour(link, addresses[side], macs[side]);
      node.links.setRoute({ destination: `${addresses[side]}/32`, link });
    }
  }
  return { ...namespaces, macs, close: () => Object.values(namespaces).forEach((namespace) => namespace.close()) };
}

/** The kernel routes and rewrites, by rules that a command is given. */
async function startKernel(command, rules) {
  const three = threeNamespaces(true);
  try {
    three.node.setSysctl("ipv4/ip_forward", 1);
    const began = performance.now();
    await runProgram(three.node, command, rules);
    return {
      ...three,
      loadSeconds: (performance.now() - began) / 1000,
      forwarder: () => 0,
      close: async () => three.close(),
    };
  } catch (error) {
    three.close();
    throw error;
  }
}

/** The node as users of kube-proxy's nftables mode have it: the kernel routes, and rewrites by a verdict map. */
export function startNftables(services) {
  const rules = ["table ip kube-proxy {", "  chain mark-for-masquerade { mark set mark or 0x4000; }"];
  const map = [];
  const add = (key, name, endpoints, protocols) => {
    for (const protocol of protocols) {
      const chain = `service-${name}-${protocol}`;
      for (const [address, port] of endpoints) {
        rules.push(`  chain endpoint-${name}-${protocol}-${port} {`);
        rules.push(`    ip saddr ${address} jump mark-for-masquerade`);
        rules.push(`    meta l4proto ${protocol} dnat to ${address}:${port}`, "  }");
      }
      // The Services that only fill the map get one endpoint: so that the kernel takes the rules in minutes, not in an hour.
      const choices = endpoints.map(([, port], i) => `${i} : goto endpoint-${name}-${protocol}-${port}`);
      rules.push(`  chain ${chain} {`);
      rules.push(`    ip daddr ${key} ${protocol} dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade`);
      if (choices.length > 1) rules.push(`    numgen random mod ${choices.length} vmap { ${choices.join(", ")} }`);
      else rules.push(`    goto endpoint-${name}-${protocol}-${endpoints[0][1]}`);
      rules.push("  }");
      map.push(`${key} . ${protocol} . 80 : goto ${chain}`);
    }
  };
  add(
    service.address,
    "measured",
    endpointPorts.map((port) => [addresses.backend, port]),
    ["tcp", "udp"],
  );
  for (let i = 1; i < services; i++) {
    const { address, endpoint } = filler(i);
    add(address, `filler${i}`, [[endpoint, 8080]], ["tcp"]);
  }
  rules.push("  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = {");
  rules.push(map.join(",\n"), "} }");
  rules.push(
    "  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }",
    "  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }",
    "  chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; mark and 0x4000 != 0 masquerade; }",
    "}",
  );
  return startKernel(["nft", "-f", "-"], rules.join("\n"));
}

/** The same in kube-proxy's iptables mode: a Service's rule is found by going along those of all others. */
export function startIptables(services) {
  const [measured, ...fillers] = specifications(services);
  // In the middle of the chain, as the average Service is.
  fillers.splice(fillers.length >> 1, 0, ...measured);
  return startKernel(["iptables-restore"], iptablesRules(fillers.flat()));
}

/** The forwarder in C over AF_XDP. */
export async function startAfXdp(services, program) {
  const three = threeNamespaces(false);
  try {
    const { macs } = three;
    const argv = [program, "client0", macs.client, "backend0", macs.backend, service.address, `${service.port}`];
    const running = await startProgram(three.node, [...argv, addresses.backend, `${endpointPorts[0]}`, `${services}`]);
    return {
      ...three,
      pid: running.pid,
      forwarder: () => processorOf(running.pid),
      async close() {
        await running.end();
        three.close();
      },
    };
  } catch (error) {
    three.close();
    throw error;
  }
}

/** A node of the embedded cluster, with two pods. */
export async function startNode(services, options = {}) {
  const fabric = await createNetnsFabric(options);
  try {
    const node = await fabric.addNode({ name: "node1", addresses: ["172.18.0.2"], podCIDRs: ["10.244.1.0/24"] });
    const client = await node.addPod({ name: "client", addresses: [addresses.client] });
    const backend = await node.addPod({ name: "backend", addresses: [addresses.backend] });
    node.configureNode({ addresses: node.addresses, clusterCIDRs: ["10.244.0.0/16"], serviceCIDRs: ["10.96.0.0/12"] });
    const specs = specifications(services).flat();
    const began = performance.now();
    node.replaceServicePorts(specs);
    await node.synchronize();
    const loadSeconds = (performance.now() - began) / 1000;
    return {
      node: node.namespace,
      client: client.namespace,
      backend: backend.namespace,
      loadSeconds,
      fabricNode: node,
      forwarder: () => node.processorNanoseconds(),
      close: () => fabric.close(),
    };
  } catch (error) {
    await fabric.close();
    throw error;
  }
}

/** Whether a program can be started. */
export const hasProgram = (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).error === undefined;
