import type { Clock } from "@portolan/client";
import type { LoadBalancerIngress, Service } from "@portolan/core";
import { createCallContext, createLockTable, type LockTable } from "../call-context.ts";
import { findingsOf } from "../findings.ts";
import {
  type CallContext,
  type LoadBalancerProvider,
  type NodeReference,
  type Plan,
  ProviderError,
  type ServiceKey,
} from "../provider.ts";
import type { ProviderSubject } from "./subject.ts";

/** The process died: nothing after the call in question happens. */
export class Crash extends Error {
  override readonly name = "Crash";
}

/** One call to the cloud. */
export interface CloudCall {
  readonly index: number;
  readonly method: string;
  readonly mutates: boolean;
}

/** Throws to make a call fail: `before` it has an effect, or `after`, so that only its answer is lost. */
export type Fault = (call: CloudCall, phase: "before" | "after") => void;

/** A clock that does not wait: a timer is due as soon as the event loop turns, and time jumps there. */
export function createSkippingClock(): Clock {
  let time = Date.UTC(2026, 0, 1);
  return {
    now: () => time,
    schedule(callback, milliseconds) {
      const due = time + milliseconds;
      // Long timers are deadlines, which must not fire before the work that they bound has had its turns.
      const turns = milliseconds >= 30_000 ? 20_000 : 1;
      let left = turns;
      let timer: ReturnType<typeof setImmediate>;
      const turn = (): void => {
        left -= 1;
        if (left > 0) {
          timer = setImmediate(turn);
          return;
        }
        time = Math.max(time, due);
        callback();
      };
      timer = setImmediate(turn);
      return () => clearImmediate(timer);
    },
  };
}

/** A UID that differs early for different names, as random ones do. */
function uidOf(name: string): string {
  let hash = 2166136261;
  for (const letter of name) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619) >>> 0;
  const hex = hash.toString(16).padStart(8, "0");
  return `${hex}-2222-3333-4444-5555${hex}`;
}

/** A Service of type LoadBalancer with one port, as the API server would have completed it. */
export function sampleService(name = "web", change: (service: Service) => void = () => {}): Service {
  const index = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 200;
  const service: Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      namespace: "default",
      name,
      uid: uidOf(name),
    },
    spec: {
      type: "LoadBalancer",
      selector: { app: name },
      clusterIP: `10.96.0.${index + 10}`,
      clusterIPs: [`10.96.0.${index + 10}`],
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      sessionAffinity: "None",
      externalTrafficPolicy: "Cluster",
      internalTrafficPolicy: "Cluster",
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: 8080, nodePort: 30080 }],
    },
  };
  change(service);
  return service;
}

/** Nodes in three zones. */
export function sampleNodes(count = 3): NodeReference[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `node-${index + 1}`,
    providerID: `kit:///zone-${"abc"[index % 3]}/node-${index + 1}`,
    addresses: [`172.18.0.${index + 2}`],
    zone: `zone-${"abc"[index % 3]}`,
    labels: {},
  }));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}

const attempts = 200;

/** One cloud with one provider on it, all calls counted, any of them made to fail. */
export class Workbench<Cloud> {
  readonly calls: CloudCall[] = [];
  readonly messages: string[] = [];
  readonly clock: Clock = createSkippingClock();
  readonly locks: LockTable = createLockTable();
  fault: Fault | undefined;
  provider!: LoadBalancerProvider;
  readonly subject: ProviderSubject<Cloud>;
  readonly cloud: Cloud;
  readonly cluster: string;
  private readonly mutates: (method: string) => boolean;

  private constructor(subject: ProviderSubject<Cloud>, cloud: Cloud, cluster: string) {
    this.subject = subject;
    this.cloud = cloud;
    this.cluster = cluster;
    this.mutates = subject.mutates?.bind(subject) ?? ((method) => !/^(describe|get|list|find)/.test(method));
  }

  static async create<Cloud>(
    subject: ProviderSubject<Cloud>,
    options: { cloud?: Cloud; cluster?: string } = {},
  ): Promise<Workbench<Cloud>> {
    const cloud = options.cloud ?? (await subject.createCloud());
    const bench = new Workbench(subject, cloud, options.cluster ?? "kit");
    await bench.restart();
    return bench;
  }

  /** A new process: nothing of the provider but what is in the cloud is left. */
  async restart(services: readonly Service[] = []): Promise<void> {
    this.fault = undefined;
    this.provider = await this.subject.createProvider(this.cloud, {
      instrument: (port) => this.instrument(port),
      cluster: this.cluster,
      clock: this.clock,
    });
    this.provider.restore?.(services);
  }

  private instrument<Port extends object>(port: Port): Port {
    return new Proxy(port, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property, target);
        if (typeof member !== "function" || typeof property !== "string") return member;
        return (...parameters: unknown[]): unknown => {
          const call = { index: this.calls.length, method: property, mutates: this.mutates(property) };
          this.calls.push(call);
          // Asynchronous methods reject, others throw, as they would by themselves.
          const run = (): unknown => Reflect.apply(member, target, parameters);
          if (this.fault === undefined) return run();
          const { fault } = this;
          let failed: unknown;
          try {
            fault(call, "before");
          } catch (error) {
            failed = error;
          }
          if (failed !== undefined) {
            const isAsynchronous = member.constructor.name === "AsyncFunction";
            if (isAsynchronous) return Promise.reject(failed);
            throw failed;
          }
          const answer = run();
          if (!(answer instanceof Promise)) {
            fault(call, "after");
            return answer;
          }
          return answer.then((value: unknown) => {
            fault(call, "after");
            return value;
          });
        };
      },
    });
  }

  get writes(): number {
    return this.calls.filter((call) => call.mutates).length;
  }

  snapshot(): string {
    return JSON.stringify(this.subject.snapshot(this.cloud), undefined, 1);
  }

  context(key: ServiceKey, signal: AbortSignal = new AbortController().signal): CallContext {
    return createCallContext({
      signal,
      clock: this.clock,
      locks: this.locks,
      idempotencyKey: key.uid,
      report: (_type, reason, message) => this.messages.push(`${reason}: ${message}`),
    });
  }

  service(name = "web", change?: (service: Service) => void): Service {
    const plain = sampleService(name, change);
    return deepFreeze(this.subject.prepare?.(plain) ?? plain);
  }

  keyOf(service: Service): ServiceKey {
    const { namespace = "", name = "", uid = "" } = service.metadata;
    return { namespace, name, uid };
  }

  /** What the controller does before any call. @throws ProviderError for findings that are errors */
  check(service: Service): void {
    const findings = findingsOf(this.provider, service);
    const error = findings.find((entry) => entry.severity === "error");
    if (error !== undefined) throw new ProviderError("UserConfig", error.message);
  }

  async plan(service: Service, nodes: readonly NodeReference[] = sampleNodes()): Promise<Plan<unknown>> {
    this.check(service);
    const key = this.keyOf(service);
    const observed = await this.provider.observe(this.context(key), key);
    return this.provider.plan({ service, nodes: deepFreeze([...nodes]), observed, endpointSlices: [] });
  }

  /** One pass of observe, plan and apply. */
  async once(
    service: Service,
    nodes: readonly NodeReference[] = sampleNodes(),
    signal?: AbortSignal,
  ): Promise<readonly LoadBalancerIngress[]> {
    this.check(service);
    const key = this.keyOf(service);
    const context = this.context(key, signal);
    const observed = await this.provider.observe(context, key);
    const plan = this.provider.plan({ service, nodes: deepFreeze([...nodes]), observed, endpointSlices: [] });
    const outcome = await this.provider.apply(context, plan);
    if (outcome.ingress.length === 0 && outcome.requeueAfter === undefined) return [];
    if (outcome.ingress.length === 0) throw new ProviderError("NotReady", "no address yet");
    return outcome.ingress;
  }

  private async retry<T>(what: string, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        this.messages.push(String((error as Error).message));
        if (error instanceof Crash) throw error;
        const final =
          error instanceof ProviderError &&
          ["UserConfig", "Unsupported", "ImmutableField", "Conflict"].includes(error.code);
        if (final || attempt >= attempts) {
          throw attempt < attempts ? error : new Error(`${what} did not end after ${attempts} tries`, { cause: error });
        }
        await this.context({ namespace: "", name: "", uid: "" }).sleep(1000);
      }
    }
  }

  /** Passes until one succeeds, as the controller would do after failures that may pass. */
  ensure(service: Service, nodes?: readonly NodeReference[]): Promise<readonly LoadBalancerIngress[]> {
    return this.retry(`ensuring ${service.metadata.name}`, () => this.once(service, nodes));
  }

  /** Destroys until that succeeds. */
  async destroy(service: Service): Promise<void> {
    const key = this.keyOf(service);
    await this.retry(`destroying ${key.name}`, () => this.provider.destroy(this.context(key), key));
  }

  async owned(): Promise<{ kind: string; id: string; key: ServiceKey }[]> {
    const out = [];
    for await (const each of this.provider.listOwned(this.context({ namespace: "", name: "", uid: "" })))
      out.push(each);
    return out;
  }
}
