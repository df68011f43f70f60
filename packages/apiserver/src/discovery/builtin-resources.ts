import type { ResourceDefinition, SubresourceDefinition } from "../resource-definition.ts";

const all: readonly string[] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const readWrite: readonly string[] = ["get", "patch", "update"];
const connect: readonly string[] = ["create", "get"];
const proxy: readonly string[] = ["create", "delete", "get", "patch", "update"];

interface Options {
  readonly namespaced?: boolean;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly verbs?: readonly string[];
  readonly subresources?: readonly SubresourceDefinition[];
}

function define(
  apiVersion: string,
  kind: string,
  resource: string,
  singular: string,
  options: Options = {},
): ResourceDefinition {
  const slash = apiVersion.indexOf("/");
  const { namespaced = true, verbs = all, ...rest } = options;
  return {
    group: slash < 0 ? "" : apiVersion.slice(0, slash),
    version: apiVersion.slice(slash + 1),
    apiVersion,
    kind,
    resource,
    singular,
    namespaced,
    verbs,
    ...rest,
  };
}

function status(kind: string): SubresourceDefinition {
  return { name: "status", kind, verbs: readWrite };
}

const scale: SubresourceDefinition = {
  name: "scale",
  kind: "Scale",
  group: "autoscaling",
  version: "v1",
  verbs: readWrite,
};

/** Kinds with schemas and rules of their own. */
const modelledResources: readonly ResourceDefinition[] = [
  define("v1", "Binding", "bindings", "binding", { verbs: ["create"] }),
  define("v1", "ConfigMap", "configmaps", "configmap", { shortNames: ["cm"] }),
  define("v1", "Endpoints", "endpoints", "endpoints", { shortNames: ["ep"] }),
  define("v1", "Event", "events", "event", { shortNames: ["ev"] }),
  define("v1", "Namespace", "namespaces", "namespace", {
    namespaced: false,
    shortNames: ["ns"],
    verbs: all.filter((verb) => verb !== "deletecollection"),
    subresources: [{ name: "finalize", kind: "Namespace", verbs: ["update"] }, status("Namespace")],
  }),
  define("v1", "Node", "nodes", "node", {
    namespaced: false,
    shortNames: ["no"],
    subresources: [{ name: "proxy", kind: "NodeProxyOptions", verbs: proxy }, status("Node")],
  }),
  define("v1", "Pod", "pods", "pod", {
    shortNames: ["po"],
    categories: ["all"],
    subresources: [
      { name: "attach", kind: "PodAttachOptions", verbs: connect },
      { name: "binding", kind: "Binding", verbs: ["create"] },
      { name: "ephemeralcontainers", kind: "Pod", verbs: readWrite },
      { name: "eviction", kind: "Eviction", group: "policy", version: "v1", verbs: ["create"] },
      { name: "exec", kind: "PodExecOptions", verbs: connect },
      { name: "log", kind: "Pod", verbs: ["get"] },
      { name: "portforward", kind: "PodPortForwardOptions", verbs: connect },
      { name: "proxy", kind: "PodProxyOptions", verbs: proxy },
      { name: "resize", kind: "Pod", verbs: readWrite },
      status("Pod"),
    ],
  }),
  define("v1", "Secret", "secrets", "secret"),
  define("v1", "ServiceAccount", "serviceaccounts", "serviceaccount", {
    shortNames: ["sa"],
    subresources: [
      { name: "token", kind: "TokenRequest", group: "authentication.k8s.io", version: "v1", verbs: ["create"] },
    ],
  }),
  define("v1", "Service", "services", "service", {
    shortNames: ["svc"],
    categories: ["all"],
    subresources: [{ name: "proxy", kind: "ServiceProxyOptions", verbs: proxy }, status("Service")],
  }),
  define(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "customresourcedefinition",
    {
      namespaced: false,
      shortNames: ["crd", "crds"],
      categories: ["api-extensions"],
      subresources: [status("CustomResourceDefinition")],
    },
  ),
  define("apps/v1", "DaemonSet", "daemonsets", "daemonset", {
    shortNames: ["ds"],
    categories: ["all"],
    subresources: [status("DaemonSet")],
  }),
  define("apps/v1", "Deployment", "deployments", "deployment", {
    shortNames: ["deploy"],
    categories: ["all"],
    subresources: [scale, status("Deployment")],
  }),
  define("apps/v1", "ReplicaSet", "replicasets", "replicaset", {
    shortNames: ["rs"],
    categories: ["all"],
    subresources: [scale, status("ReplicaSet")],
  }),
  define("apps/v1", "StatefulSet", "statefulsets", "statefulset", {
    shortNames: ["sts"],
    categories: ["all"],
    subresources: [scale, status("StatefulSet")],
  }),
  define("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authentication.k8s.io/v1", "TokenReview", "tokenreviews", "tokenreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define(
    "authorization.k8s.io/v1",
    "LocalSubjectAccessReview",
    "localsubjectaccessreviews",
    "localsubjectaccessreview",
    {
      verbs: ["create"],
    },
  ),
  define("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("batch/v1", "Job", "jobs", "job", { categories: ["all"], subresources: [status("Job")] }),
  define("coordination.k8s.io/v1", "Lease", "leases", "lease"),
  define("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "endpointslice"),
  define("events.k8s.io/v1", "Event", "events", "event", { shortNames: ["ev"] }),
  define("networking.k8s.io/v1", "IngressClass", "ingressclasses", "ingressclass", { namespaced: false }),
  define("networking.k8s.io/v1", "Ingress", "ingresses", "ingress", {
    shortNames: ["ing"],
    subresources: [status("Ingress")],
  }),
  define("networking.k8s.io/v1", "IPAddress", "ipaddresses", "ipaddress", { namespaced: false, shortNames: ["ip"] }),
  define("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "networkpolicy", { shortNames: ["netpol"] }),
  define("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", "servicecidr", {
    namespaced: false,
    subresources: [status("ServiceCIDR")],
  }),
];

const readOnly: readonly string[] = ["get", "list"];
const extension: Options = { namespaced: false, categories: ["api-extensions"] };
const cluster: Options = { namespaced: false };

/**
 * Kinds that are kept as they come, known in outline and without rules: manifests of whole applications have them beside their
 * Services, and `kubectl get all` asks for some.
 */
const storedResources: readonly ResourceDefinition[] = [
  define("v1", "ComponentStatus", "componentstatuses", "componentstatus", {
    namespaced: false,
    shortNames: ["cs"],
    verbs: readOnly,
  }),
  define("v1", "LimitRange", "limitranges", "limitrange", { shortNames: ["limits"] }),
  define("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", {
    shortNames: ["pvc"],
    subresources: [status("PersistentVolumeClaim")],
  }),
  define("v1", "PersistentVolume", "persistentvolumes", "persistentvolume", {
    namespaced: false,
    shortNames: ["pv"],
    subresources: [status("PersistentVolume")],
  }),
  define("v1", "PodTemplate", "podtemplates", "podtemplate"),
  define("v1", "ReplicationController", "replicationcontrollers", "replicationcontroller", {
    shortNames: ["rc"],
    categories: ["all"],
    subresources: [scale, status("ReplicationController")],
  }),
  define("v1", "ResourceQuota", "resourcequotas", "resourcequota", {
    shortNames: ["quota"],
    subresources: [status("ResourceQuota")],
  }),
  define(
    "admissionregistration.k8s.io/v1",
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicy",
    extension,
  ),
  define(
    "admissionregistration.k8s.io/v1",
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
    "mutatingadmissionpolicybinding",
    extension,
  ),
  define(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    "mutatingwebhookconfiguration",
    extension,
  ),
  define(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    "validatingadmissionpolicy",
    {
      ...extension,
      subresources: [status("ValidatingAdmissionPolicy")],
    },
  ),
  define(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    "validatingadmissionpolicybinding",
    extension,
  ),
  define(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    "validatingwebhookconfiguration",
    extension,
  ),
  define("apiregistration.k8s.io/v1", "APIService", "apiservices", "apiservice", {
    ...extension,
    subresources: [status("APIService")],
  }),
  define("apps/v1", "ControllerRevision", "controllerrevisions", "controllerrevision"),
  ...["autoscaling/v1", "autoscaling/v2"].map((version) =>
    define(version, "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler", {
      shortNames: ["hpa"],
      categories: ["all"],
      subresources: [status("HorizontalPodAutoscaler")],
    }),
  ),
  define("batch/v1", "CronJob", "cronjobs", "cronjob", {
    shortNames: ["cj"],
    categories: ["all"],
    subresources: [status("CronJob")],
  }),
  define(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    "certificatesigningrequest",
    {
      namespaced: false,
      shortNames: ["csr"],
      subresources: [
        { name: "approval", kind: "CertificateSigningRequest", verbs: readWrite },
        status("CertificateSigningRequest"),
      ],
    },
  ),
  define("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas", "flowschema", {
    namespaced: false,
    subresources: [status("FlowSchema")],
  }),
  define(
    "flowcontrol.apiserver.k8s.io/v1",
    "PriorityLevelConfiguration",
    "prioritylevelconfigurations",
    "prioritylevelconfiguration",
    { namespaced: false, subresources: [status("PriorityLevelConfiguration")] },
  ),
  define("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", "runtimeclass", cluster),
  define("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", {
    shortNames: ["pdb"],
    subresources: [status("PodDisruptionBudget")],
  }),
  define("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", cluster),
  define("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", "clusterrole", cluster),
  define("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", "rolebinding"),
  define("rbac.authorization.k8s.io/v1", "Role", "roles", "role"),
  define("resource.k8s.io/v1", "DeviceClass", "deviceclasses", "deviceclass", cluster),
  define("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", "resourceclaim", {
    subresources: [status("ResourceClaim")],
  }),
  define("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate"),
  define("resource.k8s.io/v1", "ResourceSlice", "resourceslices", "resourceslice", cluster),
  define("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "priorityclass", {
    namespaced: false,
    shortNames: ["pc"],
  }),
  define("storage.k8s.io/v1", "CSIDriver", "csidrivers", "csidriver", cluster),
  define("storage.k8s.io/v1", "CSINode", "csinodes", "csinode", cluster),
  define("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity"),
  define("storage.k8s.io/v1", "StorageClass", "storageclasses", "storageclass", {
    namespaced: false,
    shortNames: ["sc"],
  }),
  define("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", "volumeattachment", {
    namespaced: false,
    subresources: [status("VolumeAttachment")],
  }),
  define("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass", {
    namespaced: false,
    shortNames: ["vac"],
  }),
];

/**
 * The kinds that the API server serves unless it is given others: all that a real v1.36 server lists in discovery by default, with
 * their singular and short names, categories, verbs and subresources.
 *
 * `selfsubjectaccessreviews` and the other reviews are create-only. Endpoints and the two `events` are served side by side, as
 * the real server does. Kinds of storage, admission, access control and the like are known in outline and have no rules here.
 */
export const builtinResources: readonly ResourceDefinition[] = [...modelledResources, ...storedResources];
