import type { Service } from "@portolan/core";
import { type AnnotationType, checkAnnotations } from "../annotations.ts";
import { type NodeReference, ProviderError } from "../provider.ts";
import type { ProviderProperty, ProviderSubject } from "./subject.ts";
import { Crash, sampleNodes, Workbench } from "./workbench.ts";

function fail(message: string): never {
  throw new Error(message);
}

function same(actual: string, expected: string, what: string): void {
  if (actual === expected) return;
  const left = expected.split("\n");
  const right = actual.split("\n");
  const at = left.findIndex((line, index) => line !== right[index]);
  const around = (lines: string[]): string => lines.slice(Math.max(0, at - 3), at + 4).join("\n");
  fail(`${what}\nwanted …\n${around(left)}\ngot …\n${around(right)}`);
}

/** Fails if an error that passes by itself was taken for one that somebody has to mend. */
function mayPass(error: unknown, where: string): void {
  if (!(error instanceof ProviderError) || ["Throttled", "NotReady", "Transient", "Concurrency"].includes(error.code)) {
    return;
  }
  fail(`a failure of ${where} that passes by itself became ${error.code}: ${error.message}`);
}

/** A value that a type does not allow, or undefined if it allows all. */
function badValue(type: AnnotationType): string | undefined {
  switch (type.kind) {
    case "boolean":
      return type.reading === "strict" ? "perhaps" : undefined;
    case "integer":
      return type.minimum === undefined ? "many" : String(type.minimum - 1);
    case "enumeration":
      return "\u0000none of these";
    case "string":
      return type.maximumLength === undefined ? undefined : "x".repeat(type.maximumLength + 1);
    case "map":
      return "no pair";
    case "cidrs":
      return "300.0.0.0/8";
    case "addresses":
      return "300.0.0.1";
    case "json":
      return "{";
    case "list":
      return undefined;
  }
}

/** A changed copy of a Service. */
function changed(service: Service, change: (spec: NonNullable<Service["spec"]>, service: Service) => void): Service {
  const copy = structuredClone(service);
  change(copy.spec!, copy);
  return copy;
}

/** Changes of a Service that are made in both directions. */
const edits: readonly { id: string; title: string; edit: (spec: NonNullable<Service["spec"]>) => void }[] = [
  {
    id: "C16",
    title: "a port is added",
    edit: (spec) => {
      spec.ports = [...spec.ports!, { name: "admin", protocol: "TCP", port: 8443, targetPort: 8443, nodePort: 30443 }];
    },
  },
  {
    id: "C17",
    title: "the protocol of a port changes",
    edit: (spec) => {
      spec.ports = [{ ...spec.ports![0]!, protocol: "UDP" }];
    },
  },
  {
    id: "C19",
    title: "a node port changes",
    edit: (spec) => {
      spec.ports = [{ ...spec.ports![0]!, nodePort: 31999 }];
    },
  },
  {
    id: "C20",
    title: "source ranges are set",
    edit: (spec) => {
      spec.loadBalancerSourceRanges = ["198.51.100.0/24", "203.0.113.0/24"];
    },
  },
  {
    id: "C21",
    title: "session affinity is set",
    edit: (spec) => {
      spec.sessionAffinity = "ClientIP";
      spec.sessionAffinityConfig = { clientIP: { timeoutSeconds: 600 } };
    },
  },
  {
    id: "C22",
    title: "externalTrafficPolicy becomes Local",
    edit: (spec) => {
      spec.externalTrafficPolicy = "Local";
      spec.healthCheckNodePort = 32000;
    },
  },
];

/** A pseudo-random sequence, the same for the same seed. */
function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}

/**
 * The properties that a provider must have, as far as they can be seen from outside: each is independent and makes its own clouds.
 * Any test runner can run them; see `registerProviderTests`.
 *
 * @param seed of the random keys (C6)
 */
export function providerProperties<Cloud>(subject: ProviderSubject<Cloud>, seed = 1): readonly ProviderProperty[] {
  const out: ProviderProperty[] = [];
  const property = (
    id: string,
    title: string,
    run: (bench: Workbench<Cloud>) => Promise<void>,
    unavailable?: string,
  ): void => {
    const skipped = subject.skip?.[id] ?? unavailable;
    out.push({
      id,
      title,
      ...(skipped === undefined ? {} : { skipped }),
      async run() {
        const bench = await Workbench.create(subject);
        try {
          await run(bench);
        } finally {
          await bench.provider.close?.();
          await subject.close?.(bench.cloud);
        }
      },
    });
  };
  const fresh = (): Promise<Workbench<Cloud>> => Workbench.create(subject);

  /** What the cloud holds after a Service was ensured in an empty one. */
  async function resultOf(service: Service, nodes?: readonly NodeReference[]): Promise<string> {
    const bench = await fresh();
    await bench.ensure(service, nodes);
    return bench.snapshot();
  }

  /** Runs `work` once per call that it makes, each time with a fault at another one, until all had their turn. */
  async function atEveryCall(
    prepare: (bench: Workbench<Cloud>) => Promise<void>,
    work: (bench: Workbench<Cloud>) => Promise<unknown>,
    fault: (index: number) => NonNullable<Workbench<Cloud>["fault"]>,
    afterwards: (bench: Workbench<Cloud>, where: string, error: unknown) => Promise<void>,
  ): Promise<void> {
    for (let index = 0; ; index++) {
      const bench = await fresh();
      await prepare(bench);
      const start = bench.calls.length;
      bench.fault = (call, phase) => fault(index)({ ...call, index: call.index - start }, phase);
      const error: unknown = await work(bench).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      bench.fault = undefined;
      const call = bench.calls[start + index];
      if (call === undefined) return;
      await afterwards(bench, `call ${index} (${call.method})`, error);
      if (index > 500) fail("more than 500 calls for one Service");
    }
  }

  property("C1", "a Service in an empty cloud gets a status of the declared kind", async (bench) => {
    const ingress = await bench.ensure(bench.service());
    if (ingress.length === 0) fail("no ingress");
    const { status, ipMode } = bench.provider.capabilities;
    for (const entry of ingress) {
      if (entry[status] === undefined) fail(`an entry without ${status}: ${JSON.stringify(entry)}`);
      if (entry.ipMode !== undefined && entry.ipMode !== ipMode) fail(`ipMode ${entry.ipMode}, declared is ${ipMode}`);
      if (entry.hostname !== undefined && entry.hostname !== entry.hostname.toLowerCase()) {
        fail(`host name ${entry.hostname} is not in lower case`);
      }
    }
  });

  property("C2", "ensuring twice writes nothing the second time", async (bench) => {
    await bench.ensure(bench.service());
    const before = bench.snapshot();
    const writes = bench.writes;
    await bench.ensure(bench.service());
    if (bench.writes !== writes) {
      const late = bench.calls.filter((call) => call.mutates).slice(writes);
      fail(`the second time wrote ${late.map((call) => call.method).join(", ")}`);
    }
    same(bench.snapshot(), before, "the second time changed the cloud");
  });

  property(
    "C3",
    "drift is mended",
    async () => {
      for (const [index, drift] of (subject.drift ?? []).entries()) {
        const bench = await fresh();
        await bench.ensure(bench.service());
        const before = bench.snapshot();
        await drift(bench.cloud);
        if (bench.snapshot() === before) fail(`drift ${index} changed nothing`);
        await bench.ensure(bench.service());
        same(bench.snapshot(), before, `drift ${index} was not mended`);
      }
    },
    subject.drift === undefined ? "the subject has no drift" : undefined,
  );

  property("C4", "two concurrent ensures of one Service make one load balancer", async (bench) => {
    const expected = await resultOf(bench.service());
    await Promise.allSettled([bench.once(bench.service()), bench.once(bench.service())]);
    await bench.ensure(bench.service());
    same(bench.snapshot(), expected, "two at once gave something else than one");
  });

  property("C5", "many Services at once are all served, and leave nothing to do", async (bench) => {
    const services = Array.from({ length: 20 }, (_, index) =>
      bench.service(`web-${index}`, (service) => {
        service.spec!.ports![0]!.nodePort = 30100 + index;
        service.spec!.clusterIPs = [`10.96.1.${index + 1}`];
        service.spec!.clusterIP = `10.96.1.${index + 1}`;
      }),
    );
    await Promise.all(services.map((service) => bench.ensure(service)));
    const writes = bench.writes;
    for (const service of services) await bench.ensure(service);
    if (bench.writes !== writes) fail(`${bench.writes - writes} writes were left over`);
    const owned = new Set((await bench.owned()).map((each) => each.key.name));
    for (const service of services)
      if (!owned.has(service.metadata.name!)) fail(`${service.metadata.name} owns nothing`);
  });

  property("C6", "names are stable and differ for different Services", async (bench) => {
    const random = sequence(seed);
    const seen = new Set<string>();
    for (let index = 0; index < 10_000; index++) {
      const uid = [random(), random(), random(), random()].map((each) => each.toString(16).padStart(8, "0")).join("-");
      const key = { namespace: `ns-${random() % 50}`, name: `service-${random() % 50}`, uid };
      const names = JSON.stringify(bench.provider.nameFor(key));
      if (names !== JSON.stringify(bench.provider.nameFor({ ...key }))) fail(`names of ${key.name} are not stable`);
      if (seen.has(names)) fail(`two Services have the names ${names} (seed ${seed})`);
      seen.add(names);
    }
    if (bench.calls.length > 0) fail("naming made calls");
  });

  property("C7", "the status does not flap", async (bench) => {
    const first = JSON.stringify(await bench.ensure(bench.service()));
    for (let index = 0; index < 5; index++) {
      const again = JSON.stringify(await bench.ensure(bench.service()));
      if (again !== first) fail(`the status went from ${first} to ${again}`);
    }
  });

  /** A creation with a fault at each of its calls ends like one without. */
  function creationSurvives(
    id: string,
    title: string,
    fault: (index: number) => NonNullable<Workbench<Cloud>["fault"]>,
    options: { readonly restarts?: boolean; readonly passes?: boolean } = {},
  ): void {
    property(id, title, async (bench) => {
      const service = bench.service();
      const expected = await resultOf(service);
      await atEveryCall(
        async () => {},
        (each) => each.once(service),
        fault,
        async (each, where, error) => {
          if (options.passes) mayPass(error, where);
          if (options.restarts) await each.restart();
          await each.ensure(service);
          same(each.snapshot(), expected, `after a fault at ${where} the cloud ended up different`);
        },
      );
    });
  }

  for (const phase of ["before", "after"] as const) {
    creationSurvives(
      "C8",
      `a crash ${phase} any call of a creation leaves nothing that the next run does not finish`,
      (index) => (call, now) => {
        if (call.index > index || (call.index === index && now === phase)) throw new Crash("the process died");
      },
      { restarts: true },
    );
  }
  creationSurvives("C9", "an answer that is lost makes no second object", (index) => (call, phase) => {
    if (call.index === index && phase === "after") throw new ProviderError("Transient", "timed out");
  });
  creationSurvives(
    "C10",
    "throttling of any call delays and breaks nothing",
    (index) => (call, phase) => {
      if (call.index !== index || phase !== "before") return;
      throw new ProviderError("Throttled", "slow down", { retryAfter: 10 });
    },
    { passes: true },
  );
  creationSurvives(
    "C11",
    "a burst of server errors at any call breaks nothing",
    (index) => (call, phase) => {
      const hit = call.index >= index && call.index < index + 3 && phase === "before";
      if (hit) throw new ProviderError("Transient", "503");
    },
    { passes: true },
  );

  property(
    "C12",
    "a refused call never leaves clients let in without what protects and serves them",
    async (bench) => {
      const service = bench.service();
      await atEveryCall(
        async () => {},
        (each) => each.once(service),
        (index) => (call, phase) => {
          if (call.index >= index && phase === "before") throw new ProviderError("Auth", "access denied");
        },
        async (each, where) => {
          if (subject.exposed!(each.cloud)) fail(`clients get in after ${where} was refused`);
        },
      );
    },
    subject.exposed === undefined ? "the subject does not tell exposure" : undefined,
  );

  for (const { id, title, edit } of edits) {
    property(id, `${title}, and back: the cloud is as if made anew`, async (bench) => {
      const plain = bench.service();
      const other = changed(plain, edit);
      try {
        bench.check(other);
        await (await fresh()).ensure(other);
      } catch (error) {
        // What a provider cannot do it must say, and then nothing is to be compared.
        if (error instanceof ProviderError && ["UserConfig", "Unsupported"].includes(error.code)) return;
        throw error;
      }
      await bench.ensure(plain);
      await bench.ensure(other);
      same(bench.snapshot(), await resultOf(other), `when ${title}`);
      await bench.ensure(plain);
      same(bench.snapshot(), await resultOf(plain), `when that is undone (${title})`);
    });
  }

  property("C18", "ports in another order, and two that swap their node ports", async (bench) => {
    const two = bench.service("web", (service) => {
      service.spec!.ports!.push({ name: "admin", protocol: "TCP", port: 8443, targetPort: 8443, nodePort: 30443 });
    });
    const swapped = changed(two, (spec) => {
      const [first, second] = spec.ports!;
      spec.ports = [
        { ...first!, nodePort: second!.nodePort! },
        { ...second!, nodePort: first!.nodePort! },
      ];
    });
    await bench.ensure(two);
    await bench.ensure(swapped);
    same(bench.snapshot(), await resultOf(swapped), "after two ports swapped their node ports");
  });

  property(
    "C24",
    "from outside to inside and back: the plan says that the address changes, and nothing of the other side stays",
    async (bench) => {
      const outside = bench.service();
      const inside = subject.internal!(structuredClone(outside));
      await bench.ensure(outside);
      const plan = await bench.plan(inside);
      if (!plan.changes.some((change) => change.disruptive === "ip-change")) fail("no change is marked ip-change");
      await bench.ensure(inside);
      same(bench.snapshot(), await resultOf(inside), "after the change to internal");
      await bench.ensure(outside);
      same(bench.snapshot(), await resultOf(outside), "after the change back");
    },
    subject.internal === undefined ? "the provider has no internal load balancers" : undefined,
  );

  property(
    "C25",
    "an annotation that is removed restores the default",
    async () => {
      for (const annotations of subject.annotations ?? []) {
        const bench = await fresh();
        const plain = bench.service();
        const annotated = changed(plain, (_spec, service) => {
          service.metadata.annotations = { ...service.metadata.annotations, ...annotations };
        });
        await bench.ensure(annotated);
        await bench.ensure(plain);
        same(bench.snapshot(), await resultOf(plain), `after removing ${Object.keys(annotations).join(", ")}`);
      }
    },
    subject.annotations === undefined ? "the subject names no annotations" : undefined,
  );

  property("C27", "nodes come, go and return; none and many are served", async (bench) => {
    const service = bench.service();
    for (const count of [3, 1, 5, 120, 3]) {
      await bench.ensure(service, sampleNodes(count));
      same(bench.snapshot(), await resultOf(service, sampleNodes(count)), `with ${count} nodes`);
    }
    await bench.once(service, []).catch((error: unknown) => {
      if (!(error instanceof ProviderError)) throw error;
    });
    await bench.ensure(service);
    same(bench.snapshot(), await resultOf(service), "after a time without nodes");
    const key = bench.keyOf(service);
    if (bench.provider.updateNodes === undefined) return;
    await bench.provider.updateNodes(bench.context(key), key, sampleNodes(5));
    same(bench.snapshot(), await resultOf(service, sampleNodes(5)), "updateNodes differs from a full run");
  });

  property("C28", "an address is lost only where the plan says so", async (bench) => {
    const service = bench.service();
    let before = JSON.stringify(await bench.ensure(service));
    for (const { title, edit } of edits) {
      const other = changed(service, edit);
      try {
        const plan = await bench.plan(other);
        const after = JSON.stringify(await bench.ensure(other));
        const told = plan.changes.some((change) => change.disruptive === "ip-change");
        if (after !== before && !told)
          fail(`${title}: the status went from ${before} to ${after}, not told by the plan`);
        before = after;
      } catch (error) {
        if (!(error instanceof ProviderError && ["UserConfig", "Unsupported"].includes(error.code))) throw error;
      }
    }
  });

  property("C30", "every value that the registry does not allow is refused before any call", async (bench) => {
    for (const row of bench.provider.annotations.rows) {
      const value = badValue(row.type);
      if (value === undefined || row.badValue === "warning" || row.key.includes("{")) continue;
      const service = changed(bench.service(), (_spec, copy) => {
        copy.metadata.annotations = { ...copy.metadata.annotations, [row.key]: value };
      });
      const error = await bench.once(service).then(
        () => fail(`${row.key}=${value} is accepted`),
        (thrown: unknown) => thrown,
      );
      if (!(error instanceof ProviderError) || error.code !== "UserConfig")
        fail(`${row.key}=${value}: ${String(error)}`);
    }
    if (bench.calls.length > 0) fail(`${bench.calls.length} calls were made`);
  });

  property("C32", "a misspelt key is found, with the right one", async (bench) => {
    const { rows, prefixes } = bench.provider.annotations;
    for (const row of rows) {
      const at = row.key.length - 2;
      const key = row.key.slice(0, at) + row.key.slice(at + 1);
      const plain = !row.key.includes("{") && prefixes.some((prefix) => key.startsWith(prefix));
      if (!plain || rows.some((other) => other.key === key)) continue;
      const found = checkAnnotations(bench.provider.annotations, { [key]: "x" });
      if (!found.some((entry) => entry.code === "UnknownAnnotation" && entry.message.includes("did you mean"))) {
        fail(`${key} is not recognised as ${row.key}`);
      }
    }
  });

  property("C33", "a protocol that is not among the declared ones is refused without a write", async (bench) => {
    for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
      if (bench.provider.capabilities.protocols.includes(protocol)) continue;
      const service = changed(bench.service(), (spec) => {
        spec.ports = [{ ...spec.ports![0]!, protocol }];
      });
      const error = await bench.once(service).then(
        () => fail(`${protocol} is accepted`),
        (thrown: unknown) => thrown,
      );
      if (!(error instanceof ProviderError) || !["UserConfig", "Unsupported"].includes(error.code)) {
        fail(`${protocol}: ${String(error)}`);
      }
    }
    if (bench.writes > 0) fail(`${bench.writes} writes were made`);
  });

  property("C35", "destroying what is not there succeeds without a write", async (bench) => {
    await bench.destroy(bench.service());
    if (bench.writes > 0) fail(`${bench.writes} writes were made`);
  });

  property("C36", "a creation that died at any call is removed without a rest", async (bench) => {
    const service = bench.service();
    const empty = bench.snapshot();
    await atEveryCall(
      async () => {},
      (each) => each.once(service),
      (index) => (call) => {
        if (call.index > index) throw new Crash("the process is dead");
      },
      async (each, where) => {
        await each.restart();
        await each.destroy(service);
        same(each.snapshot(), empty, `after a creation that ended with ${where} something was left`);
      },
    );
  });

  property("C37", "a removal that died at any call is finished by the next", async (bench) => {
    const service = bench.service();
    const empty = bench.snapshot();
    await atEveryCall(
      async (each) => {
        await each.ensure(service);
      },
      (each) => each.provider.destroy(each.context(each.keyOf(service)), each.keyOf(service)),
      (index) => (call) => {
        if (call.index > index) throw new Crash("the process is dead");
      },
      async (each, where) => {
        await each.restart();
        await each.destroy(service);
        same(each.snapshot(), empty, `after a removal that ended with ${where} something was left`);
      },
    );
    for (const [index, drift] of (subject.drift ?? []).entries()) {
      const each = await fresh();
      await each.ensure(service);
      await drift(each.cloud);
      await each.destroy(service);
      same(each.snapshot(), empty, `after drift ${index} the removal left something`);
    }
  });

  property(
    "C39",
    "objects of others are never changed or removed, whatever their name",
    async (bench) => {
      const service = bench.service();
      await subject.plantForeign!(bench.cloud, bench.provider.nameFor(bench.keyOf(service)));
      const before = JSON.stringify(subject.foreign!(bench.cloud));
      await bench.ensure(service).catch((error: unknown) => {
        if (!(error instanceof ProviderError) || error.code !== "Conflict") throw error;
      });
      if (JSON.stringify(subject.foreign!(bench.cloud)) !== before) fail("ensuring changed a foreign object");
      await bench.destroy(service);
      if (JSON.stringify(subject.foreign!(bench.cloud)) !== before) fail("destroying changed a foreign object");
    },
    subject.plantForeign === undefined || subject.foreign === undefined ? "the subject plants nothing" : undefined,
  );

  property(
    "C41",
    "what was made is found and removed by its marks, after a restart and without the Service",
    async (bench) => {
      const empty = bench.snapshot();
      await bench.ensure(bench.service());
      await bench.restart();
      await bench.destroy(bench.service());
      same(bench.snapshot(), empty, "something was left");
    },
  );

  property("C43", "listOwned tells what was made, and nothing after it was removed", async (bench) => {
    const service = bench.service();
    if ((await bench.owned()).length > 0) fail("something is owned in an empty cloud");
    await bench.ensure(service);
    const owned = await bench.owned();
    if (owned.length === 0) fail("nothing is owned");
    const wrong = owned.find(({ key }) => key.namespace !== "default" || key.name !== "web");
    if (wrong !== undefined)
      fail(`${wrong.kind} ${wrong.id} is said to be of ${wrong.key.namespace}/${wrong.key.name}`);
    await bench.destroy(service);
    const rest = await bench.owned();
    if (rest.length > 0) fail(`${rest[0]!.kind} ${rest[0]!.id} is still owned`);
  });

  property("C45", "two clusters in one account do not see each other", async (bench) => {
    const other = await Workbench.create(subject, { cloud: bench.cloud, cluster: "other" });
    const service = bench.service();
    await bench.ensure(service);
    const alone = bench.snapshot();
    if ((await other.owned()).length > 0) fail("the other cluster owns what this one made");
    const theirs = changed(service, (_spec, copy) => {
      copy.metadata.uid = "99999999-2222-3333-4444-555555555555";
    });
    await other.ensure(theirs);
    await other.destroy(theirs);
    same(bench.snapshot(), alone, "the other cluster's removal touched this one's objects");
  });

  property("C47", "claim and validate make no calls", async (bench) => {
    const service = bench.service();
    if (bench.provider.claim(service) !== "mine") fail("the prepared Service is not claimed");
    bench.provider.validate(service);
    if (bench.calls.length > 0) fail(`${bench.calls.length} calls were made`);
  });

  property("C48", "an abort at any call stops the work and leaves what the next run finishes", async (bench) => {
    const service = bench.service();
    const expected = await resultOf(service);
    for (let index = 0; ; index++) {
      const each = await fresh();
      const stop = new AbortController();
      each.fault = (call, phase) => {
        if (call.index !== index || phase !== "after") return;
        stop.abort(new Error("stop"));
        throw stop.signal.reason;
      };
      await each.once(service, undefined, stop.signal).catch(() => {});
      if (each.calls.length <= index) return;
      const late = each.calls.slice(index + 1).filter((call) => call.mutates);
      if (late.length > 1) fail(`${late.length} writes were made after the abort at call ${index}`);
      each.fault = undefined;
      await each.ensure(service);
      same(each.snapshot(), expected, `after an abort at call ${index} the cloud ended up different`);
    }
  });

  property("C51", "Services and nodes that are given are not changed", async (bench) => {
    // They are frozen all the way down: a write throws.
    const service = bench.service();
    const before = JSON.stringify(service);
    await bench.ensure(service);
    await bench.destroy(service);
    if (JSON.stringify(service) !== before) fail("the Service was changed");
  });

  property("C52", "a sync without a change reads no more than declared", async (bench) => {
    await bench.ensure(bench.service());
    const before = bench.calls.length;
    await bench.once(bench.service());
    const reads = bench.calls.length - before;
    const { steadyReads } = bench.provider.capabilities.callBudget;
    if (reads > steadyReads) fail(`${reads} reads, declared are ${steadyReads}`);
  });

  property("C54", "the order of nodes does not matter", async (bench) => {
    await bench.ensure(bench.service(), sampleNodes(4));
    const writes = bench.writes;
    await bench.ensure(bench.service(), sampleNodes(4).reverse());
    if (bench.writes !== writes) fail(`${bench.writes - writes} writes for the same nodes in another order`);
  });

  property("C55", "a plan for what is already so has no changes", async (bench) => {
    await bench.ensure(bench.service());
    const plan = await bench.plan(bench.service());
    if (plan.changes.length > 0) fail(`it would ${plan.changes[0]!.action} ${plan.changes[0]!.resource.kind}`);
  });

  property("C58", "a plan is the same each time, in the same order, with its dependencies inside", async (bench) => {
    const first = await bench.plan(bench.service());
    const second = await bench.plan(bench.service());
    if (JSON.stringify(first.changes) !== JSON.stringify(second.changes)) fail("two plans differ");
    const ids = new Set(first.changes.map((change) => change.id));
    if (ids.size !== first.changes.length) fail("two changes have one id");
    const missing = first.changes.flatMap((change) => change.dependsOn).find((id) => !ids.has(id));
    if (missing !== undefined) fail(`a change depends on ${missing}, which is not in the plan`);
    if (first.changes.some((change) => change.because === "")) fail("a change does not say why");
  });

  property(
    "C60",
    "secrets do not show up in messages",
    async (bench) => {
      const service = bench.service();
      for (let index = 0; index < 20; index++) {
        const start = bench.calls.length;
        bench.fault = (call, phase) => {
          if (call.index === start + index && phase === "before") throw new ProviderError("Transient", "503");
        };
        await bench.once(service).catch((error: unknown) => bench.messages.push(String((error as Error).stack)));
      }
      const leaked = subject.secrets!.find((secret) => bench.messages.some((message) => message.includes(secret)));
      if (leaked !== undefined) fail("a message holds a secret");
    },
    subject.secrets === undefined ? "the subject has no secrets" : undefined,
  );

  return out;
}

/** The functions of a test runner that the kit needs: vitest, jest, mocha and node:test have them. */
export interface TestRunner {
  describe(name: string, body: () => void): void;
  it: ((name: string, body: () => Promise<void>, timeout?: number) => void) & {
    skip(name: string, body: () => Promise<void>): void;
  };
}

/**
 * Registers all properties as tests of a runner; those that are skipped say why in their title.
 *
 * @param options.timeout milliseconds for one property, as third argument of `it`. Default 120,000
 */
export function registerProviderTests<Cloud>(
  subject: ProviderSubject<Cloud>,
  runner: TestRunner,
  options: { readonly seed?: number; readonly timeout?: number } = {},
): void {
  const { seed, timeout = 120_000 } = options;
  runner.describe(`provider ${subject.name}`, () => {
    for (const { id, title, skipped, run } of providerProperties(subject, seed)) {
      if (skipped === undefined) runner.it(`${id} ${title}`, run, timeout);
      else runner.it.skip(`${id} ${title} (skipped: ${skipped})`, run);
    }
  });
}
