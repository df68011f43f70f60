/** Vectors of the service controller: it runs against a server in this process, with a provider that remembers its calls. */
import { createApiClient, createEventRecorder, createInformerFactory, systemClock } from "@portolan/client";
import type { KubernetesObject, LoadBalancerIngress, Node, Service } from "@portolan/core";
import { cleanupFinalizer, createServiceController, fromClassic, nodeChangeTriggersSync } from "@portolan/lb";
import { Comparison, type MatchContext } from "./expectation.ts";
import { type ServerFixture, withServer } from "./server-fixture.ts";
import { notImplemented, type VectorRunner } from "./vector.ts";

const noContext: MatchContext = { serviceCIDRs: [], nodePorts: [1, 0] };

const nodeFields = ["labels", "taints", "providerID", "ready", "unschedulable"];

/** A node of what a vector says about it. */
function nodeOf(input: {
  readonly labels?: Record<string, string>;
  readonly taints?: readonly string[];
  readonly providerID?: string;
  readonly ready?: boolean;
  readonly unschedulable?: boolean;
}): Node {
  const unknown = Object.keys(input).find((field) => !nodeFields.includes(field));
  if (unknown !== undefined) throw new Error(`a vector says "${unknown}" of a node, which is not understood here`);
  return {
    metadata: { name: "node", ...(input.labels === undefined ? {} : { labels: input.labels }) },
    spec: {
      ...(input.providerID === undefined ? {} : { providerID: input.providerID }),
      ...(input.unschedulable === undefined ? {} : { unschedulable: input.unschedulable }),
      ...(input.taints === undefined ? {} : { taints: input.taints.map((key) => ({ key, effect: "NoSchedule" })) }),
    },
    ...(input.ready === undefined
      ? {}
      : { status: { conditions: [{ type: "Ready", status: input.ready ? "True" : "False" }] } }),
  } as Node;
}

const runNodeChange: VectorRunner = ({ input, expected }) =>
  new Comparison(noContext).equal(
    expected.shouldSync,
    nodeChangeTriggersSync(nodeOf(input.old), nodeOf(input.new)),
    "shouldSync",
  ).result;

/** Quiet time after which the controller is taken to be done, in milliseconds. */
const quiet = 100;

async function settled(server: ServerFixture): Promise<void> {
  let seen = -1;
  while (seen !== server.server.store.revision) {
    seen = server.server.store.revision;
    await new Promise<void>((resolve) => systemClock.schedule(resolve, quiet));
  }
}

interface SyncEvent extends KubernetesObject {
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly source?: { readonly component?: string };
}

const knownExpectations = [
  "operation",
  "providerEnsureCalled",
  "providerDeleteCalled",
  "statusPatched",
  "finalizerPatched",
  "events",
  "source.component",
  "providerEnsureCalledWithNodes",
  "requeue",
];

const runSync: VectorRunner = (vector) => {
  const { input, expected } = vector;
  if (Object.keys(expected).some((key) => !knownExpectations.includes(key))) return notImplemented(vector);
  // How long a failed sync waits is seen by the controller's own tests, which have a clock of theirs.
  return withServer(undefined, async (server) => {
    const { ingress, finalizers, deletionTimestamp, ...spec } = input.service;
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", ...(finalizers === undefined ? {} : { finalizers }) },
      spec: { ports: [{ port: 80 }], ...spec },
    } as Service;
    const created = await server.create(service);
    if (created.object === undefined) return `the Service: ${created.status?.message}`;
    if (ingress !== undefined)
      await server.request(
        "PATCH",
        server.pathOf(service, "status"),
        { status: { loadBalancer: { ingress: ingress.map((ip: string) => ({ ip, ipMode: "VIP" })) } } },
        { "content-type": "application/merge-patch+json" },
      );
    if (deletionTimestamp === true) await server.request("DELETE", server.pathOf(service));
    for (let index = 0; index < (input.nodes ?? 1); index++)
      await server.create({ apiVersion: "v1", kind: "Node", metadata: { name: `node-${index}` } });
    const before = (await server.request("GET", server.pathOf(service))).object as Service | undefined;

    const ensured: string[][] = [];
    let deleted = 0;
    const balancer: readonly LoadBalancerIngress[] = [{ ip: "203.0.113.1" }];
    const provider = fromClassic(
      {
        get: async () => (input.cloudLBExists === true ? balancer : undefined),
        async ensure(_context, _service, nodes) {
          ensured.push(nodes.map((node) => node.name));
          if (input.providerError !== undefined) throw new Error(input.providerError);
          return balancer;
        },
        async delete() {
          deleted++;
        },
      },
      {
        id: "recorder",
        capabilities: {
          protocols: ["TCP", "UDP"],
          mixedProtocol: "full",
          status: "ip",
          ipMode: "VIP",
          dualStack: false,
          requestedIP: "none",
          sourceRanges: "ignored",
          sharedFrontend: false,
          needsNodePorts: true,
          targets: "node",
          internal: false,
          sessionAffinity: false,
          callBudget: { steadyReads: 1 },
        },
      },
    );
    const stop = new AbortController();
    const api = createApiClient(server.server.transport);
    const informers = createInformerFactory(api);
    const controller = createServiceController({
      api,
      informers,
      providers: [provider],
      events: createEventRecorder({ api, component: "service-controller" }),
      resync: 0,
    });
    const running = controller.run(stop.signal);
    informers.start(stop.signal);
    try {
      await settled(server);
    } finally {
      stop.abort();
      await Promise.allSettled([running]);
    }
    const after = (await server.request("GET", server.pathOf(service))).object as Service | undefined;
    const comparison = new Comparison(noContext);
    const hasFinalizer = (each: Service | undefined): boolean =>
      each?.metadata.finalizers?.includes(cleanupFinalizer) === true;
    const statusOf = (each: Service | undefined): string => JSON.stringify(each?.status?.loadBalancer ?? {});
    if (expected.operation === "ensure") comparison.equal(true, ensured.length > 0, "ensure");
    else if (expected.operation !== undefined) comparison.equal(0, ensured.length, "calls of ensure");
    if (expected.providerEnsureCalled !== undefined)
      comparison.equal(expected.providerEnsureCalled, ensured.length > 0, "ensure called");
    if (expected.providerDeleteCalled !== undefined)
      comparison.equal(expected.providerDeleteCalled, deleted > 0, "delete called");
    if (expected.statusPatched !== undefined)
      comparison.equal(expected.statusPatched, statusOf(before) !== statusOf(after), "status changed");
    if (expected.finalizerPatched !== undefined)
      comparison.equal(expected.finalizerPatched, hasFinalizer(before) !== hasFinalizer(after), "finalizer changed");
    if (expected.providerEnsureCalledWithNodes !== undefined)
      comparison.equal(expected.providerEnsureCalledWithNodes, ensured[0], "nodes");
    if (expected.events !== undefined) {
      const list = await server.request("GET", "/api/v1/namespaces/default/events");
      const events = ((list.object?.["items"] ?? []) as SyncEvent[]).filter(
        (event) => event.source?.component === (expected["source.component"] ?? "service-controller"),
      );
      const wanted = expected.events as readonly (readonly string[])[];
      const texts = events.map(({ type, reason, message }) => JSON.stringify([type, reason, message]));
      for (const event of wanted) {
        const text = JSON.stringify(event);
        if (!texts.includes(text)) comparison.equal(event, texts, "events");
      }
      comparison.equal(wanted.length, texts.length, "number of events");
    }
    return comparison.result;
  });
};

/** Areas of the service controller. */
export const loadBalancerRunners: Readonly<Record<string, VectorRunner>> = {
  "cloud-should-sync-node": runNodeChange,
  "cloud-sync": runSync,
};
