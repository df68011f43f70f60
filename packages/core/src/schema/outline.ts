import { kindFields, objectMeta } from "./meta.ts";
import { type Fields, nested, object } from "./notation.ts";
import type { Schema } from "./schema.ts";

/** A kind of which no more is known than its top-level fields; their contents are taken as they come. */
export interface OutlinedKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly schema: Schema;
}

const specAndStatus = { spec: "What the object is to be.", status: "State of the object." };
const specAlone = { spec: specAndStatus.spec };

/** Outlined fields have no protobuf numbers: such kinds are sent as JSON. */
function outline(
  apiVersion: string,
  kind: string,
  description: string,
  fields: Readonly<Record<string, string>>,
): OutlinedKind {
  const [group = "", version = ""] = apiVersion.includes("/") ? apiVersion.split("/") : ["core", apiVersion];
  const reference = `io.k8s.api.${group.replace(/\.k8s\.io$|\.apiserver\.k8s\.io$/, "")}.${version}.${kind}`;
  const schema = object(reference, description, (): Fields => {
    const outlined = Object.entries(fields).map(([name, text]): [string, Schema] => [
      name,
      { type: "any", description: text },
    ]);
    return {
      ...kindFields,
      metadata: nested(1, objectMeta, "Standard metadata of the object."),
      ...Object.fromEntries(outlined),
    };
  });
  return { apiVersion, kind, schema };
}

const admission = "admissionregistration.k8s.io/v1";
const storage = "storage.k8s.io/v1";
const autoscaler = "HorizontalPodAutoscaler scales a workload by its load.";

/** Kinds that manifests of whole applications contain, and that nothing here acts upon. */
export const outlinedKinds: readonly OutlinedKind[] = [
  outline("v1", "ComponentStatus", "ComponentStatus is deprecated.", { conditions: "Conditions of the component." }),
  outline("v1", "LimitRange", "LimitRange bounds the resources of a namespace's objects.", specAlone),
  outline("v1", "PersistentVolume", "PersistentVolume is a piece of storage.", specAndStatus),
  outline("v1", "PodTemplate", "PodTemplate is a template of Pods.", { template: "Template of the Pods." }),
  outline("v1", "ReplicationController", "ReplicationController keeps a number of equal Pods running.", specAndStatus),
  outline(admission, "MutatingAdmissionPolicy", "MutatingAdmissionPolicy changes objects on admission.", specAlone),
  outline(admission, "MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding applies a policy.", specAlone),
  outline(
    admission,
    "MutatingWebhookConfiguration",
    "MutatingWebhookConfiguration lists webhooks that change objects.",
    {
      webhooks: "The webhooks.",
    },
  ),
  outline(
    admission,
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicy checks objects on admission.",
    specAndStatus,
  ),
  outline(
    admission,
    "ValidatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicyBinding applies a policy.",
    specAlone,
  ),
  outline(
    admission,
    "ValidatingWebhookConfiguration",
    "ValidatingWebhookConfiguration lists webhooks that check objects.",
    {
      webhooks: "The webhooks.",
    },
  ),
  outline(
    "apiregistration.k8s.io/v1",
    "APIService",
    "APIService names the server of a group and version.",
    specAndStatus,
  ),
  outline("apps/v1", "ControllerRevision", "ControllerRevision keeps a former state of a workload.", {
    data: "The state.",
    revision: "Number of the revision.",
  }),
  outline("autoscaling/v1", "HorizontalPodAutoscaler", autoscaler, specAndStatus),
  outline("autoscaling/v2", "HorizontalPodAutoscaler", autoscaler, specAndStatus),
  outline(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    "CertificateSigningRequest asks for a certificate.",
    specAndStatus,
  ),
  outline("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "FlowSchema sorts requests.", specAndStatus),
  outline(
    "flowcontrol.apiserver.k8s.io/v1",
    "PriorityLevelConfiguration",
    "PriorityLevelConfiguration bounds requests.",
    specAndStatus,
  ),
  outline("node.k8s.io/v1", "RuntimeClass", "RuntimeClass names a way to run containers.", {
    handler: "Name of the runtime's handler.",
    overhead: "Resources that running a Pod costs.",
    scheduling: "Nodes that have the runtime.",
  }),
  outline("resource.k8s.io/v1", "DeviceClass", "DeviceClass is a class of devices.", specAlone),
  outline("resource.k8s.io/v1", "ResourceClaim", "ResourceClaim asks for devices.", specAndStatus),
  outline("resource.k8s.io/v1", "ResourceClaimTemplate", "ResourceClaimTemplate is a template of claims.", specAlone),
  outline("resource.k8s.io/v1", "ResourceSlice", "ResourceSlice lists devices of a node.", specAlone),
  outline(storage, "CSIDriver", "CSIDriver describes a storage driver.", specAlone),
  outline(storage, "CSINode", "CSINode lists the storage drivers of a node.", specAlone),
  outline(storage, "CSIStorageCapacity", "CSIStorageCapacity says how much storage is left.", {
    capacity: "Storage that is left.",
    maximumVolumeSize: "Size of the largest volume.",
    nodeTopology: "Nodes that can reach the storage.",
    storageClassName: "Class of the storage.",
  }),
  outline(storage, "StorageClass", "StorageClass is a class of storage.", {
    allowVolumeExpansion: "Volumes can grow.",
    allowedTopologies: "Nodes for which volumes can be made.",
    mountOptions: "Options of mounts.",
    parameters: "Settings for the provisioner.",
    provisioner: "Who makes volumes.",
    reclaimPolicy: "What becomes of volumes: Delete or Retain.",
    volumeBindingMode: "When volumes are made: Immediate or WaitForFirstConsumer.",
  }),
  outline(storage, "VolumeAttachment", "VolumeAttachment attaches a volume to a node.", specAndStatus),
  outline(storage, "VolumeAttributesClass", "VolumeAttributesClass is a class of volume attributes.", {
    driverName: "Driver of the volumes.",
    parameters: "Settings for the driver.",
  }),
];
