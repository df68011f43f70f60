// How long after an endpoint changed in the API its new address is answered over a socket.
import { createSocket } from "node:dgram";
import { createApiClient } from "@portolan/client";
import { createMemoryApi } from "@portolan/client/testing";
import { resources } from "@portolan/core";
import { startDnsServer } from "@portolan/dns";
import { quantile, report } from "../figures.mjs";

const rounds = 200;

export async function measureChanges(services, query) {
  const api = createMemoryApi();
  api.apply(resources.namespaces, { kind: "Namespace", apiVersion: "v1", metadata: { name: "default" } });
  for (const service of services) api.apply(resources.services, { apiVersion: "v1", ...service });
  api.apply(resources.services, {
    kind: "Service",
    apiVersion: "v1",
    metadata: { name: "db", namespace: "default" },
    spec: { clusterIP: "None", clusterIPs: ["None"], ports: [{ name: "sql", port: 5432, protocol: "TCP" }] },
  });
  const slice = (address) => ({
    kind: "EndpointSlice",
    apiVersion: "discovery.k8s.io/v1",
    metadata: { name: "db-1", namespace: "default", labels: { "kubernetes.io/service-name": "db" } },
    addressType: "IPv4",
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports: [{ name: "sql", port: 5432, protocol: "TCP" }],
  });
  const server = await startDnsServer({
    api: createApiClient(api.transport),
    listen: [{ host: "127.0.0.1", port: 0 }],
  });
  await server.ready;
  const { port } = server.addresses[0];
  const socket = createSocket("udp4");
  let resolve;
  socket.on("message", (reply) => resolve(reply));
  const question = query(1, "db.default.svc.cluster.local");
  const ask = () =>
    new Promise((answered) => {
      resolve = answered;
      socket.send(question, port, "127.0.0.1");
    });
  for (let turn = 0; turn < 500; turn++) await ask();
  const samples = [];
  const old = [];
  for (let round = 0; round < rounds; round++) {
    const address = [10, 2, round >> 8, round & 255];
    const started = performance.now();
    api.apply(resources.endpointSlices, slice(address.join(".")));
    for (let asked = 0; ; asked++) {
      const reply = await ask();
      if (address.every((octet, i) => reply[reply.length - 4 + i] === octet)) {
        old.push(asked);
        break;
      }
    }
    samples.push(performance.now() - started);
  }
  socket.close();
  await server.close();
  const text = [0.5, 0.99, 1].map((q) => quantile(samples, q).toFixed(2)).join(" / ");
  report("endpoint changed to answered, ms p50 / p99 / most", text);
  report("old answers after the change, p50 / most", [0.5, 1].map((q) => quantile(old, q)).join(" / "));
}
