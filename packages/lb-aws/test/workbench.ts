import type { Service } from "@portolan/core";
import { createCallContext, createLockTable, type LoadBalancerProvider, type NodeReference } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { awsProvider } from "../src/index.ts";
import type { AwsObservation } from "../src/observation.ts";
import type { AwsPort } from "../src/port.ts";
import type { AwsPlan, AwsProviderOptions } from "../src/provider.ts";
import { MemoryCloud, type MemoryCloudOptions } from "../src/testing/index.ts";
import { annotated } from "./subject.ts";

/** A provider on a cloud in memory, whose calls are recorded. */
export interface Workbench {
  readonly cloud: MemoryCloud;
  readonly provider: LoadBalancerProvider<AwsPlan, AwsObservation>;
  /** Names of the calls that were made. */
  readonly calls: string[];
  readonly messages: string[];
  plan(service: Service, nodes?: readonly NodeReference[]): Promise<ReturnType<LoadBalancerProvider<AwsPlan>["plan"]>>;
  /** One pass. @returns host names of the status */
  once(service: Service, nodes?: readonly NodeReference[]): Promise<string[]>;
  destroy(service: Service): Promise<void>;
}

/** Makes a {@link Workbench}. */
export function createWorkbench(
  cloudOptions: MemoryCloudOptions = {},
  options: Partial<AwsProviderOptions> = {},
): Workbench {
  const cloud = new MemoryCloud(cloudOptions);
  const calls: string[] = [];
  const messages: string[] = [];
  const recorded = new Proxy<AwsPort>(cloud, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== "function") return member;
      return (...parameters: unknown[]): unknown => {
        calls.push(String(property));
        return Reflect.apply(member, target, parameters);
      };
    },
  });
  const provider = awsProvider({ clusterName: "kit", vpcId: "vpc-1", port: recorded, ...options });
  const locks = createLockTable();
  const keyOf = ({ metadata }: Service) => {
    const { namespace = "", name = "", uid = "" } = metadata;
    return { namespace, name, uid };
  };
  let now = 0;
  const context = (key: string) =>
    createCallContext({
      signal: new AbortController().signal,
      idempotencyKey: key,
      locks,
      // Waiting costs nothing; time goes on all the same.
      clock: {
        now: () => now,
        schedule(callback, milliseconds) {
          now += milliseconds;
          const timer = setImmediate(callback);
          return () => clearImmediate(timer);
        },
      },
      report: (_type, reason, message) => messages.push(`${reason}: ${message}`),
    });
  const plan: Workbench["plan"] = async (service, nodes = sampleNodes()) => {
    const key = keyOf(service);
    return provider.plan({ service, nodes, observed: await provider.observe(context(key.uid), key) });
  };
  return {
    cloud,
    provider,
    calls,
    messages,
    plan,
    async once(service, nodes) {
      const made = await plan(service, nodes);
      const { ingress } = await provider.apply(context(made.key.uid), made as never);
      return ingress.map((entry) => entry.hostname ?? "");
    },
    async destroy(service) {
      await provider.destroy(context("destroy"), keyOf(service));
    },
  };
}

/** A sample Service with annotations of AWS. */
export function serviceWith(
  values: Readonly<Record<string, string>>,
  change: (service: Service) => void = () => {},
): Service {
  return annotated(sampleService("web", change), values);
}
