import { createWorkQueue, isConflict, isNotFound, runController } from "@portolan/client";
import { type Condition, type IPAddressObject, resources, type ServiceCIDR } from "@portolan/core";
import { type IPPrefix, parseAddress, parsePrefix, prefixContains } from "@portolan/net";
import type { ApiController, ApiControllerOptions } from "./garbage-collector.ts";

/** Protects a range while addresses of it are in use. */
export const serviceCIDRFinalizer = "networking.k8s.io/service-cidr-finalizer";

const fieldManager = "service-cidr-controller";

/** How often a range that is still in use is looked at again, in ms. */
const recheck = 1_000;

function prefixesOf(cidr: ServiceCIDR): IPPrefix[] {
  return (cidr.spec?.cidrs ?? []).map(parsePrefix).filter((prefix): prefix is IPPrefix => prefix !== undefined);
}

function isReady(cidr: ServiceCIDR, status: "True" | "False"): boolean {
  return (
    cidr.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === status) === true
  );
}

/**
 * Makes ServiceCIDRs usable, and keeps those that are being deleted until no Service has an address of them that no other range holds.
 * Source: pkg/controller/servicecidrs; KEP-1880.
 */
export function createServiceCIDRController(options: ApiControllerOptions): ApiController {
  const { api, informers } = options;
  const cidrs = informers.informer<ServiceCIDR>(resources.serviceCIDRs);
  const queue = createWorkQueue<string>();

  async function setReady(cidr: ServiceCIDR, condition: Condition): Promise<void> {
    const configuration: ServiceCIDR = {
      apiVersion: resources.serviceCIDRs.apiVersion,
      kind: resources.serviceCIDRs.kind,
      metadata: { name: cidr.metadata.name ?? "" },
      status: { conditions: [{ lastTransitionTime: new Date().toISOString().replace(/\.\d+Z$/, "Z"), ...condition }] },
    };
    await api.patch(resources.serviceCIDRs, { name: cidr.metadata.name ?? "", subresource: "status" }, configuration, {
      patchType: "application/apply-patch+yaml",
      fieldManager,
      force: true,
    });
  }

  /** Whether a Service has an address that only this range holds. */
  async function isInUse(cidr: ServiceCIDR): Promise<boolean> {
    const own = prefixesOf(cidr);
    const others = cidrs.lister
      .list()
      .filter((other) => other.metadata.name !== cidr.metadata.name && other.metadata.deletionTimestamp === undefined)
      .flatMap(prefixesOf);
    const { items } = await api.list<IPAddressObject>(resources.ipAddresses);
    return items.some((item) => {
      const address = parseAddress(item.metadata.name ?? "");
      if (address === undefined) return false;
      return (
        own.some((prefix) => prefixContains(prefix, address)) &&
        !others.some((prefix) => prefixContains(prefix, address))
      );
    });
  }

  async function reconcile(name: string): Promise<void> {
    const cidr = cidrs.lister.get(undefined, name);
    if (cidr === undefined) return;
    const finalizers = cidr.metadata.finalizers ?? [];
    try {
      if (cidr.metadata.deletionTimestamp === undefined) {
        if (!finalizers.includes(serviceCIDRFinalizer)) {
          await api.patch(
            resources.serviceCIDRs,
            { name },
            { metadata: { finalizers: [...finalizers, serviceCIDRFinalizer] } },
          );
        }
        if (!isReady(cidr, "True")) {
          await setReady(cidr, {
            type: "Ready",
            status: "True",
            reason: "",
            message: "Kubernetes Service CIDR is ready",
          });
        }
        return;
      }
      if (!finalizers.includes(serviceCIDRFinalizer)) return;
      if (await isInUse(cidr)) {
        if (!isReady(cidr, "False")) {
          await setReady(cidr, {
            type: "Ready",
            status: "False",
            reason: "Terminating",
            message:
              "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
          });
        }
        queue.addAfter(name, recheck);
        return;
      }
      const left = finalizers.filter((finalizer) => finalizer !== serviceCIDRFinalizer);
      await api.patch(resources.serviceCIDRs, { name }, { metadata: { finalizers: left.length === 0 ? null : left } });
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      queue.addAfter(name, recheck);
    }
  }

  const look = (cidr: ServiceCIDR): void => queue.add(cidr.metadata.name ?? "");
  cidrs.addHandler({ add: look, update: (_old, cidr) => look(cidr) });

  return {
    async run(signal) {
      await cidrs.synced(signal);
      if (signal.aborted) return;
      await runController({
        name: "service-cidr",
        queue,
        reconcile,
        signal,
        ...(options.onError === undefined ? {} : { onError: options.onError }),
      });
    },
  };
}
