import { spawnSync } from "node:child_process";

/** Rules as kube-proxy's nftables mode writes them: a verdict map by cluster IP, a chain per Service, one per endpoint. */
export function nftRules(list) {
  const chains = [];
  const elements = [];
  list.forEach((spec, i) => {
    const [{ address, port }] = spec.frontends;
    chains.push(...serviceChains(spec, i));
    elements.push(`${address} . tcp . ${port} : goto service-${i}`);
  });
  return [
    "table ip kube-proxy {",
    " chain mark-for-masquerade { meta mark set meta mark or 0x4000; }",
    ...chains,
    ` map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ${elements.join(", ")} } }`,
    " chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }",
    " chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }",
    " chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; meta mark and 0x4000 != 0 masquerade fully-random; }",
    "}",
  ].join("\n");
}

function serviceChains(spec, i) {
  const [{ address, port }] = spec.frontends;
  const targets = spec.cluster.map((_, e) => `${e} : goto endpoint-${i}-${e}`).join(", ");
  return [
    ...spec.cluster.map(
      (endpoint, e) =>
        ` chain endpoint-${i}-${e} { ip saddr ${endpoint.address} jump mark-for-masquerade; meta l4proto tcp dnat to ${endpoint.address}:${endpoint.port}; }`,
    ),
    ` chain service-${i} { ip daddr ${address} tcp dport ${port} ip saddr != 10.244.0.0/16 jump mark-for-masquerade; numgen random mod ${spec.cluster.length} vmap { ${targets} }; }`,
  ];
}

/** One Service gets other endpoints: its chain written anew, in a transaction of its own. */
export function nftChange(spec) {
  const i = Number(/service-(\d+)/.exec(spec.id)[1]);
  return (k) => {
    const targets = [0, 1, 2].slice(k & 1).map((e, at) => `${at} : goto endpoint-${i}-${e}`);
    return [
      `flush chain ip kube-proxy service-${i}`,
      `add rule ip kube-proxy service-${i} numgen random mod ${targets.length} vmap { ${targets.join(", ")} }`,
    ].join("\n");
  };
}

/** Rules as the iptables mode writes them, for iptables-restore. */
export function iptablesRules(list) {
  const [chains, rules] = [[], []];
  list.forEach((spec, i) => {
    const [{ address, port }] = spec.frontends;
    const protocol = spec.protocol.toLowerCase();
    const match = `-d ${address}/32 -p ${protocol} -m ${protocol} --dport ${port}`;
    chains.push(`:KUBE-SVC-${i} - [0:0]`);
    rules.push(`-A KUBE-SERVICES ${match} -j KUBE-SVC-${i}`);
    rules.push(`-A KUBE-SVC-${i} ! -s 10.244.0.0/16 ${match} -j KUBE-MARK-MASQ`);
    spec.cluster.forEach((endpoint, e) => {
      chains.push(`:KUBE-SEP-${i}-${e} - [0:0]`);
      const left = spec.cluster.length - e;
      const chance = left > 1 ? ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}` : "";
      rules.push(`-A KUBE-SVC-${i}${chance} -j KUBE-SEP-${i}-${e}`);
      rules.push(`-A KUBE-SEP-${i}-${e} -s ${endpoint.address}/32 -j KUBE-MARK-MASQ`);
      rules.push(`-A KUBE-SEP-${i}-${e} -p ${protocol} -j DNAT --to-destination ${endpoint.address}:${endpoint.port}`);
    });
  });
  return [
    "*nat",
    ":KUBE-SERVICES - [0:0]",
    ":KUBE-MARK-MASQ - [0:0]",
    ...chains,
    "-F PREROUTING",
    "-A PREROUTING -j KUBE-SERVICES",
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    ...rules,
    "COMMIT",
    "",
  ].join("\n");
}

/**
 * Loads rules in a network namespace of its own, which is removed at the end.
 *
 * @returns milliseconds of loads and of changes, or why there are none
 */
export function kernelPeer(command, rules, change) {
  if (process.getuid?.() !== 0) return "needs root";
  for (const program of ["ip", command[0]]) {
    if (spawnSync(program, ["-V"]).error !== undefined) return `there is no ${program} here`;
  }
  const figures = { load: [], change: [] };
  const name = `table-swap-${process.pid}`;
  const run = (input) => {
    const started = performance.now();
    const ran = spawnSync("ip", ["netns", "exec", name, ...command], { input, encoding: "utf8", timeout: 120_000 });
    if (ran.status !== 0) throw new Error(`${command.join(" ")}: ${ran.stderr.slice(0, 300) || ran.signal}`);
    return performance.now() - started;
  };
  for (let round = 0; round < 3; round++) {
    const added = spawnSync("ip", ["netns", "add", name], { encoding: "utf8" });
    if (added.status !== 0) return `no network namespace: ${added.stderr.trim()}`;
    try {
      figures.load.push(run(rules));
      if (change !== undefined) for (let k = 0; k < 10; k++) figures.change.push(run(change(k)));
    } catch (error) {
      return error.message;
    } finally {
      spawnSync("ip", ["netns", "delete", name]);
    }
  }
  return figures;
}
