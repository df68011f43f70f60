/** Vectors that need controllers: manifests applied to a server in this process with the endpoint controllers running. */
import { createApiClient, createInformerFactory, systemClock } from "@portolan/client";
import type { EndpointSlice, Endpoints, KubernetesObject, Pod, Service } from "@portolan/core";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
} from "@portolan/endpoints";
import { parseAddress, parsePrefix, prefixContains } from "@portolan/net";
import { Comparison, type MatchContext } from "./expectation.ts";
import { runKubectlRequest } from "./kubectl-vectors.ts";
import { type Answer, type ServerFixture, withServer } from "./server-fixture.ts";
import { notImplemented, type Vector, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };
const core = "/api/v1/namespaces/default";
const discovery = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/** Quiet time after which controllers are taken to be done, in milliseconds. */
const quiet = 150;

async function settled(server: ServerFixture): Promise<void> {
  let seen = -1;
  while (seen !== server.server.store.revision) {
    seen = server.server.store.revision;
    await new Promise<void>((resolve) => systemClock.schedule(resolve, quiet));
  }
}

async function withControllers(
  use: (server: ServerFixture) => Promise<string | undefined>,
): Promise<string | undefined> {
  return withServer(undefined, async (server) => {
    const abort = new AbortController();
    const api = createApiClient(server.server.transport);
    const informers = createInformerFactory(api);
    const options = { informers };
    const running = [
      createEndpointsController(api, options),
      createEndpointSliceController(api, options),
      createEndpointSliceMirroringController(api, options),
    ].map((controller) => controller.run(abort.signal));
    informers.start(abort.signal);
    try {
      return await use(server);
    } finally {
      abort.abort();
      await Promise.allSettled(running);
    }
  });
}

async function slicesOf(server: ServerFixture, service: string): Promise<EndpointSlice[]> {
  const { object } = await server.request(
    "GET",
    `${discovery}?labelSelector=kubernetes.io%2Fservice-name%3D${service}`,
  );
  return (object?.["items"] ?? []) as EndpointSlice[];
}

/** Cells agree; `$ipIn` stands for an address of a block and `$age` for any age. */
function compareCells(comparison: Comparison, expected: readonly unknown[], actual: readonly unknown[]): void {
  for (const [index, cell] of expected.entries()) {
    const got = String(actual[index]);
    if (typeof cell !== "object" || cell === null) comparison.equal(cell, actual[index], `cell ${index}`);
    else if ("$ipIn" in cell) {
      const address = parseAddress(got);
      const good = address !== undefined && prefixContains(parsePrefix(String(cell.$ipIn))!, address);
      comparison.equal(true, good, `cell ${index} (${got})`);
    } else comparison.equal(true, /^([0-9]+[smhdy])+$/.test(got), `cell ${index} (${got})`);
  }
}

const knownExpectations = [
  "table",
  "httpStatus",
  "endpointsObjectCreated",
  "endpointSliceCreated",
  "serviceHasClusterIP",
  "endpointsNotOverwritten",
  "mirroredSlice",
  "endpointsTableCell",
  "portsCell",
  "endpointPorts",
];

async function applySeed(vector: Vector, server: ServerFixture): Promise<string | undefined> {
  const { input, expected } = vector;
  const objects = [input.apply].flat() as KubernetesObject[];
  const name = objects[0]?.metadata?.name ?? "";
  if (input.pod !== undefined) {
    // A pod without a node, or with an unknown one, is no endpoint.
    await server.create({ apiVersion: "v1", kind: "Node", metadata: { name: "node-1" } });
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "pod", labels: input.pod.labels },
      spec: { nodeName: "node-1", containers: [{ name: "c", image: "i", ports: input.pod.ports }] },
    } as Pod;
    const created = await server.create(pod);
    if (created.object === undefined) return `the pod: ${created.status?.message}`;
    const status = { podIP: "10.244.0.5", podIPs: [{ ip: "10.244.0.5" }], phase: "Running" };
    await server.request(
      "PATCH",
      server.pathOf(pod, "status"),
      { status: { ...status, conditions: [{ type: "Ready", status: "True" }] } },
      { "content-type": "application/merge-patch+json" },
    );
  }
  const answers: Answer[] = [];
  for (const object of objects) answers.push(await server.create(object));
  const failed = answers.find((answer) => answer.object === undefined);
  if (failed !== undefined) return failed.status?.message;
  await settled(server);

  const comparison = new Comparison(noContext);
  const service = (await server.request("GET", `${core}/services/${name}`)).object as Service | undefined;
  const endpoints = (await server.request("GET", `${core}/endpoints/${name}`)).object as Endpoints | undefined;
  const slices = await slicesOf(server, name);
  const row = (await server.table(`${core}/services/${name}`)).rows[0]?.cells ?? [];
  if (expected.httpStatus !== undefined) comparison.equal(expected.httpStatus, answers[0]?.code, "HTTP status");
  if (expected.table !== undefined) compareCells(comparison, expected.table, row);
  if (expected.portsCell !== undefined) comparison.equal(expected.portsCell, row[4], "ports");
  if (expected.endpointsObjectCreated !== undefined) {
    comparison.equal(expected.endpointsObjectCreated, endpoints !== undefined, "Endpoints");
  }
  if (expected.endpointSliceCreated !== undefined) {
    comparison.equal(expected.endpointSliceCreated, slices.length > 0, "EndpointSlice");
  }
  if (expected.serviceHasClusterIP !== undefined) {
    comparison.equal(
      expected.serviceHasClusterIP,
      parseAddress(service?.spec?.clusterIP ?? "") !== undefined,
      "clusterIP",
    );
  }
  if (expected.endpointsNotOverwritten === true) {
    const applied = objects.find((object) => object.kind === "Endpoints") as Endpoints | undefined;
    comparison.subset(applied?.subsets, endpoints?.subsets, "subsets");
  }
  if (expected.endpointsTableCell !== undefined) {
    const cells = (await server.table(`${core}/endpoints/${name}`)).rows[0]?.cells ?? [];
    comparison.equal(expected.endpointsTableCell, cells[1], "endpoints");
  }
  if (expected.mirroredSlice !== undefined) {
    const { addresses, labels, ...rest } = expected.mirroredSlice;
    comparison.equal(1, slices.length, "slices");
    comparison.subset(rest, slices[0], "slice").subset(labels ?? {}, slices[0]?.metadata.labels, "labels");
    comparison.equal(
      addresses,
      (slices[0]?.endpoints ?? []).flatMap((endpoint) => endpoint.addresses).sort(),
      "addresses",
    );
  }
  if (expected.endpointPorts !== undefined) {
    const ports = (slices[0]?.ports ?? []).map((port) => ({ name: port.name, port: port.port }));
    const sorted = (list: unknown[]) => list.map((item) => JSON.stringify(item)).sort();
    comparison.equal(sorted(expected.endpointPorts), sorted(ports), "endpoint ports");
  }
  return comparison.result;
}

const runSeed: VectorRunner = (vector) => {
  const unknown = Object.keys(vector.expected).find((key) => !knownExpectations.includes(key));
  if (unknown !== undefined || vector.input.apply === undefined) return notImplemented(vector);
  return withControllers((server) => applySeed(vector, server));
};

/** Whether the running controller writes Endpoints for a Service at all. */
export const runEndpointsOfService: VectorRunner = ({ input, expected }) =>
  withControllers(async (server) => {
    const { name = "web", ...spec } = input.service;
    const created = await server.create({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name },
      spec: { ...spec, ...(spec.type === "ExternalName" ? { externalName: "example.com" } : {}) },
    } as Service);
    if (created.object === undefined) return created.status?.message;
    await settled(server);
    const { code } = await server.request("GET", `${core}/endpoints/${name}`);
    return new Comparison(noContext).equal(expected.writes, code === 404 ? 0 : 1, "writes").result;
  });

/** Areas decided by a server with controllers. */
export const seedRunners: Readonly<Record<string, VectorRunner>> = {
  seed: runSeed,
  "kubectl-request": runKubectlRequest,
};
