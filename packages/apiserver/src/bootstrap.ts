import type {
  Condition,
  EndpointSlice,
  Endpoints,
  KubernetesObject,
  Namespace,
  Service,
  ServiceCIDR,
} from "@portolan/core";
import type { IPFamily } from "@portolan/net";
import { defaultClusterRoleBindings, defaultClusterRoles } from "./access-control/default-roles.ts";
import { serviceCIDRFinalizer } from "./controllers/service-cidr-controller.ts";
import { decodeObject } from "./encoding/decoding.ts";
import type { JsonValue } from "./encoding/json.ts";
import type { RequestHandler } from "./request-handler.ts";
import { documentOf } from "./requests/body.ts";

/** Where clients within the cluster reach the server. */
export interface AdvertisedAddress {
  readonly address: string;
  readonly port: number;
}

const namespaceNameLabel = "kubernetes.io/metadata.name";
const defaultServiceCIDR = "kubernetes";

const initialNamespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];

function seconds(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}

/**
 * Writes what a cluster has before anybody uses it: namespaces, the ServiceCIDR `kubernetes` and the Service `kubernetes` with its endpoints.
 * What is there already stays as it is.
 */
export function writeInitialObjects(
  handler: RequestHandler,
  serviceCIDRs: readonly string[],
  ipFamilies: readonly IPFamily[],
  advertise: AdvertisedAddress,
): void {
  const manager = "kube-apiserver";
  const options = { dryRun: false, fieldManager: manager, fieldValidation: "Ignore", force: undefined } as const;
  const strategy = handler.contextFor(false);

  function storage(collection: string) {
    const found = handler.storageOf(collection);
    if (found === undefined)
      throw new Error(`the registry has no ${collection}; pass the built-in resources to createApiServer`);
    return found;
  }
  function createMissing(collection: string, namespace: string, object: KubernetesObject): void {
    const target = storage(collection);
    if (strategy.store.get(target.collection, namespace, object.metadata?.name ?? "") !== undefined) return;
    target.create(namespace, object, { options, manager, subresource: "", strategy });
  }

  for (const name of initialNamespaces) {
    const namespace: Namespace = {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels: { [namespaceNameLabel]: name } },
      spec: {},
      status: {},
    };
    createMissing("namespaces", "", namespace);
  }

  // A registry without access control serves whoever is administrator.
  for (const object of [...defaultClusterRoles, ...defaultClusterRoleBindings]) {
    const collection = `${object.kind?.toLowerCase()}s.rbac.authorization.k8s.io`;
    if (handler.storageOf(collection) !== undefined) createMissing(collection, "", structuredClone(object));
  }

  const cidrs = storage("servicecidrs.networking.k8s.io");
  const cidr: ServiceCIDR = {
    apiVersion: "networking.k8s.io/v1",
    kind: "ServiceCIDR",
    metadata: { name: defaultServiceCIDR },
    spec: { cidrs: [...serviceCIDRs] },
    status: {},
  };
  createMissing(cidrs.collection, "", cidr);
  const isReady = (cidrs.get("", defaultServiceCIDR).object as ServiceCIDR).status?.conditions !== undefined;
  if (!isReady) {
    // The condition is first set by the server and then kept by the controller of ServiceCIDRs, both with server-side apply.
    const ready = { type: "Ready", status: "True" } as const;
    const conditions: readonly [string, Condition][] = [
      ["kubernetes-service-cidr-controller", ready],
      [
        "service-cidr-controller",
        {
          ...ready,
          lastTransitionTime: seconds(strategy.now),
          reason: "",
          message: "Kubernetes Service CIDR is ready",
        },
      ],
    ];
    for (const [applier, condition] of conditions) {
      const context = { options, manager: applier, subresource: "status", strategy };
      const configuration: ServiceCIDR = {
        apiVersion: cidr.apiVersion as string,
        kind: "ServiceCIDR",
        metadata: { name: defaultServiceCIDR },
        status: { conditions: [condition] },
      };
      const decode = (object: KubernetesObject): KubernetesObject =>
        decodeObject(documentOf(object as unknown as JsonValue), cidrs.schema).object as unknown as KubernetesObject;
      cidrs.update("", defaultServiceCIDR, cidrs.applyChange(configuration, context, decode), "apply", context);
    }
    cidrs.update(
      "",
      defaultServiceCIDR,
      (old) => {
        const object = structuredClone(old) as ServiceCIDR;
        object.metadata.finalizers = [serviceCIDRFinalizer];
        return { object };
      },
      "patch",
      { options, manager: "kube-controller-manager", subresource: "", strategy },
    );
  }

  const family = ipFamilies[0] ?? "IPv4";
  const first = strategy.allocator.ranges().find((range) => range.family === family);
  const service: Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kubernetes", namespace: "default", labels: { component: "apiserver", provider: "kubernetes" } },
    spec: {
      ports: [{ name: "https", protocol: "TCP", port: 443, targetPort: advertise.port }],
      ...(first === undefined ? {} : { clusterIP: first.first, clusterIPs: [first.first] }),
      type: "ClusterIP",
      sessionAffinity: "None",
      ipFamilies: [family],
      ipFamilyPolicy: "SingleStack",
      internalTrafficPolicy: "Cluster",
    },
    status: {},
  };
  createMissing("services", "default", service);

  const endpoints: Endpoints = {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: {
      name: "kubernetes",
      namespace: "default",
      labels: { "endpointslice.kubernetes.io/skip-mirror": "true" },
    },
    subsets: [
      { addresses: [{ ip: advertise.address }], ports: [{ name: "https", port: advertise.port, protocol: "TCP" }] },
    ],
  };
  createMissing("endpoints", "default", endpoints);
  const slice: EndpointSlice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "kubernetes", namespace: "default", labels: { "kubernetes.io/service-name": "kubernetes" } },
    addressType: advertise.address.includes(":") ? "IPv6" : "IPv4",
    endpoints: [{ addresses: [advertise.address], conditions: { ready: true } }],
    ports: [{ name: "https", port: advertise.port, protocol: "TCP" }],
  };
  createMissing("endpointslices.discovery.k8s.io", "default", slice);
}
