import { labelSelector, objectMeta } from "./meta.ts";
import {
  boolean,
  embedded,
  type Fields,
  int32,
  int64,
  keyedList,
  list,
  nested,
  object,
  pointer,
  quantities,
  quantity,
  string,
  stringMap,
  strings,
  time,
} from "./notation.ts";
import { localObjectReference, typedLocalObjectReference, typedObjectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";

/** Volumes of Pods and claims for them (`k8s.io/api/core/v1`). */
const prefix = "io.k8s.api.core.v1.";

function source(name: string, description: string, fields: () => Fields, required?: readonly string[]): Schema {
  return object(`${prefix}${name}`, description, fields, required === undefined ? {} : { required });
}

const keyToPath = source(
  "KeyToPath",
  "KeyToPath puts one key into a file.",
  () => ({
    key: string(1, "Key to put."),
    mode: pointer(int32(3, "Mode bits of the file.")),
    path: string(2, "Path of the file in the volume."),
  }),
  ["key", "path"],
);

export const objectFieldSelector: Schema = object(
  `${prefix}ObjectFieldSelector`,
  "ObjectFieldSelector chooses a field of the Pod.",
  () => ({
    apiVersion: string(1, "Version of the path; v1 unless given."),
    fieldPath: string(2, "Path of the field."),
  }),
  { required: ["fieldPath"], atomic: true },
);

export const resourceFieldSelector: Schema = object(
  `${prefix}ResourceFieldSelector`,
  "ResourceFieldSelector chooses a limit or request of a container.",
  () => ({
    containerName: string(1, "Container to look at."),
    divisor: quantity(3, "Unit of the value."),
    resource: string(2, "Resource to choose, such as limits.cpu."),
  }),
  { required: ["resource"], atomic: true },
);

const downwardAPIVolumeFile = source(
  "DownwardAPIVolumeFile",
  "DownwardAPIVolumeFile puts one field of the Pod into a file.",
  () => ({
    fieldRef: nested(2, objectFieldSelector, "Field of the Pod."),
    mode: pointer(int32(4, "Mode bits of the file.")),
    path: string(1, "Path of the file in the volume."),
    resourceFieldRef: nested(3, resourceFieldSelector, "Limit or request of a container."),
  }),
  ["path"],
);

function accessMode(): Schema {
  return strings(1, "Ways in which the volume may be mounted.");
}

const volumeResourceRequirements = source(
  "VolumeResourceRequirements",
  "VolumeResourceRequirements says how large a volume is.",
  () => ({
    limits: quantities(1, "Upper bounds."),
    requests: quantities(2, "Lower bounds."),
  }),
);

const persistentVolumeClaimSpec = source(
  "PersistentVolumeClaimSpec",
  "PersistentVolumeClaimSpec says which volume is wanted.",
  () => ({
    accessModes: accessMode(),
    dataSource: nested(7, typedLocalObjectReference, "Snapshot or claim from which to fill the volume."),
    dataSourceRef: nested(8, typedObjectReference, "Object from which to fill the volume."),
    resources: nested(2, volumeResourceRequirements, "Size of the volume."),
    selector: nested(4, labelSelector, "Labels of acceptable volumes."),
    storageClassName: pointer(string(5, "Storage class of the volume.")),
    volumeAttributesClassName: pointer(string(9, "Class of the volume's attributes.")),
    volumeMode: pointer(string(6, "Filesystem or Block.")),
    volumeName: string(3, "Volume that backs the claim."),
  }),
);

const persistentVolumeClaimCondition = source(
  "PersistentVolumeClaimCondition",
  "PersistentVolumeClaimCondition is one aspect of a claim's state.",
  () => ({
    lastProbeTime: time(3, "When the condition was last looked at."),
    lastTransitionTime: time(4, "When the status last changed."),
    message: string(6, "Explanation for people."),
    reason: string(5, "Reason for the last change."),
    status: string(2, "True, False or Unknown."),
    type: string(1, "Name of the condition."),
  }),
  ["type", "status"],
);

const modifyVolumeStatus = source(
  "ModifyVolumeStatus",
  "ModifyVolumeStatus says how a change of a volume's attributes stands.",
  () => ({
    status: string(2, "Pending, InProgress or Infeasible."),
    targetVolumeAttributesClassName: string(1, "Wanted class."),
  }),
  ["status"],
);

const persistentVolumeClaimStatus = source(
  "PersistentVolumeClaimStatus",
  "PersistentVolumeClaimStatus is the state of a claim.",
  () => ({
    accessModes: strings(2, "Ways in which the volume can be mounted."),
    allocatedResourceStatuses: stringMap(7, "State of each resource that is being resized.", { mapType: "granular" }),
    allocatedResources: quantities(5, "Allocated resources."),
    capacity: quantities(3, "Size of the volume."),
    conditions: keyedList(4, persistentVolumeClaimCondition, ["type"], "Conditions of the claim."),
    currentVolumeAttributesClassName: pointer(string(8, "Class of attributes in use.")),
    modifyVolumeStatus: nested(9, modifyVolumeStatus, "State of a change of attributes."),
    phase: string(1, "Pending, Bound or Lost."),
  }),
);

/** A claim as StatefulSets carry it in their templates. */
export const persistentVolumeClaim: Schema = object(
  `${prefix}PersistentVolumeClaim`,
  "PersistentVolumeClaim asks for a volume.",
  () => ({
    apiVersion: { type: "string", description: "Version of this representation of the object." },
    kind: { type: "string", description: "Kind of the object." },
    metadata: nested(1, objectMeta, "Standard metadata of the object."),
    spec: nested(2, persistentVolumeClaimSpec, "Which volume is wanted."),
    status: nested(3, persistentVolumeClaimStatus, "State of the claim."),
  }),
);

const persistentVolumeClaimTemplate = source(
  "PersistentVolumeClaimTemplate",
  "PersistentVolumeClaimTemplate is a claim that is made together with a Pod.",
  () => ({
    metadata: nested(1, objectMeta, "Labels and annotations of the claim."),
    spec: nested(2, persistentVolumeClaimSpec, "Which volume is wanted."),
  }),
  ["spec"],
);

const secretProjection = source("SecretProjection", "SecretProjection puts a Secret into a projected volume.", () => ({
  items: list(2, keyToPath, "Keys to put; all unless given."),
  ...embedded(1, localObjectReference),
  optional: pointer(boolean(4, "The Secret may be missing.")),
}));

const configMapProjection = source(
  "ConfigMapProjection",
  "ConfigMapProjection puts a ConfigMap into a projected volume.",
  () => ({
    items: list(2, keyToPath, "Keys to put; all unless given."),
    ...embedded(1, localObjectReference),
    optional: pointer(boolean(4, "The ConfigMap may be missing.")),
  }),
);

const downwardAPIProjection = source(
  "DownwardAPIProjection",
  "DownwardAPIProjection puts fields of the Pod into a projected volume.",
  () => ({ items: list(1, downwardAPIVolumeFile, "Files of the volume.") }),
);

const serviceAccountTokenProjection = source(
  "ServiceAccountTokenProjection",
  "ServiceAccountTokenProjection puts a token into a projected volume.",
  () => ({
    audience: string(1, "For whom the token is."),
    expirationSeconds: pointer(int64(2, "Life of the token.")),
    path: string(3, "Path of the file in the volume."),
  }),
  ["path"],
);

const clusterTrustBundleProjection = source(
  "ClusterTrustBundleProjection",
  "ClusterTrustBundleProjection puts trust anchors into a projected volume.",
  () => ({
    labelSelector: nested(3, labelSelector, "Labels of the bundles."),
    name: string(1, "Name of one bundle."),
    optional: pointer(boolean(5, "The bundle may be missing.")),
    path: string(4, "Path of the file in the volume."),
    signerName: pointer(string(2, "Signer of the bundles.")),
  }),
  ["path"],
);

const podCertificateProjection = source(
  "PodCertificateProjection",
  "PodCertificateProjection puts a key and its certificate into a projected volume.",
  () => ({
    certificateChainPath: string(6, "Path of the certificate chain."),
    credentialBundlePath: string(4, "Path of key and certificates in one file."),
    keyPath: string(5, "Path of the key."),
    keyType: string(2, "Type of the key."),
    maxExpirationSeconds: pointer(int32(3, "Longest life of the certificate.")),
    signerName: string(1, "Signer to ask."),
    userAnnotations: stringMap(7, "Further information for the signer."),
  }),
  ["signerName", "keyType"],
);

const volumeProjection = source("VolumeProjection", "VolumeProjection is one source of a projected volume.", () => ({
  clusterTrustBundle: nested(5, clusterTrustBundleProjection, "Trust anchors."),
  configMap: nested(3, configMapProjection, "ConfigMap."),
  downwardAPI: nested(2, downwardAPIProjection, "Fields of the Pod."),
  podCertificate: nested(6, podCertificateProjection, "Key and certificate."),
  secret: nested(1, secretProjection, "Secret."),
  serviceAccountToken: nested(4, serviceAccountTokenProjection, "Token of the service account."),
}));

const fsType = (protobuf: number, initial?: string): Schema =>
  string(protobuf, "Type of the file system.", initial === undefined ? {} : { default: initial });
const readOnly = (protobuf: number): Schema => boolean(protobuf, "Mount the volume read-only.");
const secretRef = (protobuf: number): Schema => nested(protobuf, localObjectReference, "Secret with credentials.");

/** The kinds of volume, of which a volume has one. */
const volumeSource = source("VolumeSource", "VolumeSource is what a volume holds.", () => ({
  awsElasticBlockStore: nested(
    4,
    source(
      "AWSElasticBlockStoreVolumeSource",
      "An EBS disk.",
      () => ({
        fsType: fsType(2),
        partition: int32(3, "Partition."),
        readOnly: readOnly(4),
        volumeID: string(1, "ID of the disk."),
      }),
      ["volumeID"],
    ),
    "Deprecated: an EBS disk.",
  ),
  azureDisk: nested(
    22,
    source(
      "AzureDiskVolumeSource",
      "An Azure data disk.",
      () => ({
        cachingMode: pointer(string(3, "None, ReadOnly or ReadWrite.", { default: "ReadWrite" })),
        diskName: string(1, "Name of the disk."),
        diskURI: string(2, "URI of the disk."),
        fsType: fsType(4, "ext4"),
        kind: string(6, "Shared, Dedicated or Managed.", { default: "Shared" }),
        readOnly: boolean(5, "Mount the volume read-only.", { default: false }),
      }),
      ["diskName", "diskURI"],
    ),
    "Deprecated: an Azure data disk.",
  ),
  azureFile: nested(
    18,
    source(
      "AzureFileVolumeSource",
      "An Azure file share.",
      () => ({
        readOnly: readOnly(3),
        secretName: string(1, "Secret with credentials."),
        shareName: string(2, "Name of the share."),
      }),
      ["secretName", "shareName"],
    ),
    "Deprecated: an Azure file share.",
  ),
  cephfs: nested(
    14,
    source(
      "CephFSVolumeSource",
      "A Ceph file system.",
      () => ({
        monitors: strings(1, "Monitors."),
        path: string(2, "Root of the mount."),
        readOnly: readOnly(6),
        secretFile: string(4, "Path of the key ring."),
        secretRef: secretRef(5),
        user: string(3, "User."),
      }),
      ["monitors"],
    ),
    "Deprecated: a Ceph file system.",
  ),
  cinder: nested(
    13,
    source(
      "CinderVolumeSource",
      "A Cinder volume.",
      () => ({
        fsType: fsType(2),
        readOnly: readOnly(3),
        secretRef: secretRef(4),
        volumeID: string(1, "ID of the volume."),
      }),
      ["volumeID"],
    ),
    "Deprecated: a Cinder volume.",
  ),
  configMap: nested(
    19,
    source("ConfigMapVolumeSource", "Keys of a ConfigMap as files.", () => ({
      defaultMode: pointer(int32(3, "Mode bits of files.")),
      items: list(2, keyToPath, "Keys to put; all unless given."),
      ...embedded(1, localObjectReference),
      optional: pointer(boolean(4, "The ConfigMap may be missing.")),
    })),
    "Keys of a ConfigMap as files.",
  ),
  csi: nested(
    28,
    source(
      "CSIVolumeSource",
      "Ephemeral storage of a CSI driver.",
      () => ({
        driver: string(1, "Name of the driver."),
        fsType: fsType(3),
        nodePublishSecretRef: nested(5, localObjectReference, "Secret for the driver."),
        readOnly: readOnly(2),
        volumeAttributes: stringMap(4, "Settings for the driver."),
      }),
      ["driver"],
    ),
    "Ephemeral storage of a CSI driver.",
  ),
  downwardAPI: nested(
    16,
    source("DownwardAPIVolumeSource", "Fields of the Pod as files.", () => ({
      defaultMode: pointer(int32(2, "Mode bits of files.")),
      items: list(1, downwardAPIVolumeFile, "Files of the volume."),
    })),
    "Fields of the Pod as files.",
  ),
  emptyDir: nested(
    2,
    source("EmptyDirVolumeSource", "An empty directory.", () => ({
      medium: string(1, "Memory, or empty for the node's default."),
      sizeLimit: quantity(2, "Most that the directory may hold."),
    })),
    "Empty directory that lives as long as the Pod.",
  ),
  ephemeral: nested(
    29,
    source("EphemeralVolumeSource", "A volume with a claim of its own.", () => ({
      volumeClaimTemplate: nested(1, persistentVolumeClaimTemplate, "Claim to make."),
    })),
    "Volume with a claim that lives as long as the Pod.",
  ),
  fc: nested(
    17,
    source("FCVolumeSource", "A Fibre Channel volume.", () => ({
      fsType: fsType(3),
      lun: pointer(int32(2, "LUN.")),
      readOnly: readOnly(4),
      targetWWNs: strings(1, "World wide names."),
      wwids: strings(5, "World wide identifiers."),
    })),
    "Fibre Channel volume.",
  ),
  flexVolume: nested(
    12,
    source(
      "FlexVolumeSource",
      "A FlexVolume.",
      () => ({
        driver: string(1, "Name of the driver."),
        fsType: fsType(2),
        options: stringMap(5, "Settings for the driver."),
        readOnly: readOnly(4),
        secretRef: secretRef(3),
      }),
      ["driver"],
    ),
    "Deprecated: a FlexVolume.",
  ),
  flocker: nested(
    15,
    source("FlockerVolumeSource", "A Flocker volume.", () => ({
      datasetName: string(1, "Name of the dataset."),
      datasetUUID: string(2, "UUID of the dataset."),
    })),
    "Deprecated: a Flocker volume.",
  ),
  gcePersistentDisk: nested(
    3,
    source(
      "GCEPersistentDiskVolumeSource",
      "A GCE disk.",
      () => ({
        fsType: fsType(2),
        partition: int32(3, "Partition."),
        pdName: string(1, "Name of the disk."),
        readOnly: readOnly(4),
      }),
      ["pdName"],
    ),
    "Deprecated: a GCE disk.",
  ),
  gitRepo: nested(
    5,
    source(
      "GitRepoVolumeSource",
      "A Git repository.",
      () => ({ directory: string(3, "Directory."), repository: string(1, "URL."), revision: string(2, "Commit.") }),
      ["repository"],
    ),
    "Deprecated: a Git repository.",
  ),
  glusterfs: nested(
    9,
    source(
      "GlusterfsVolumeSource",
      "A Glusterfs volume.",
      () => ({ endpoints: string(1, "Name of the endpoints."), path: string(2, "Path."), readOnly: readOnly(3) }),
      ["endpoints", "path"],
    ),
    "Deprecated: a Glusterfs volume.",
  ),
  hostPath: nested(
    1,
    source(
      "HostPathVolumeSource",
      "A path of the node.",
      () => ({ path: string(1, "Path on the node."), type: string(2, "What has to be at the path.") }),
      ["path"],
    ),
    "Path of the node.",
  ),
  image: nested(
    30,
    source("ImageVolumeSource", "An OCI object.", () => ({
      pullPolicy: string(2, "Always, Never or IfNotPresent."),
      reference: string(1, "Reference of the object."),
    })),
    "OCI object, mounted read-only.",
  ),
  iscsi: nested(
    8,
    source(
      "ISCSIVolumeSource",
      "An iSCSI volume.",
      () => ({
        chapAuthDiscovery: boolean(8, "CHAP for discovery."),
        chapAuthSession: boolean(11, "CHAP for the session."),
        fsType: fsType(5),
        initiatorName: pointer(string(12, "Name of the initiator.")),
        iqn: string(2, "Qualified name of the target."),
        iscsiInterface: string(4, "Interface.", { default: "default" }),
        lun: int32(3, "LUN."),
        portals: strings(7, "Further portals."),
        readOnly: readOnly(6),
        secretRef: secretRef(10),
        targetPortal: string(1, "Portal of the target."),
      }),
      ["targetPortal", "iqn", "lun"],
    ),
    "iSCSI volume.",
  ),
  nfs: nested(
    7,
    source(
      "NFSVolumeSource",
      "An NFS export.",
      () => ({
        path: string(2, "Path of the export."),
        readOnly: readOnly(3),
        server: string(1, "Name or address of the server."),
      }),
      ["server", "path"],
    ),
    "NFS export.",
  ),
  persistentVolumeClaim: nested(
    10,
    source(
      "PersistentVolumeClaimVolumeSource",
      "The volume of a claim.",
      () => ({ claimName: string(1, "Name of the claim."), readOnly: readOnly(2) }),
      ["claimName"],
    ),
    "Volume of a claim.",
  ),
  photonPersistentDisk: nested(
    23,
    source(
      "PhotonPersistentDiskVolumeSource",
      "A Photon disk.",
      () => ({ fsType: fsType(2), pdID: string(1, "ID of the disk.") }),
      ["pdID"],
    ),
    "Deprecated: a Photon disk.",
  ),
  portworxVolume: nested(
    24,
    source(
      "PortworxVolumeSource",
      "A Portworx volume.",
      () => ({ fsType: fsType(2), readOnly: readOnly(3), volumeID: string(1, "ID of the volume.") }),
      ["volumeID"],
    ),
    "Deprecated: a Portworx volume.",
  ),
  projected: nested(
    26,
    source("ProjectedVolumeSource", "Several sources in one volume.", () => ({
      defaultMode: pointer(int32(2, "Mode bits of files.")),
      sources: list(1, volumeProjection, "Sources of the volume."),
    })),
    "Several sources in one volume.",
  ),
  quobyte: nested(
    21,
    source(
      "QuobyteVolumeSource",
      "A Quobyte volume.",
      () => ({
        group: string(5, "Group."),
        readOnly: readOnly(3),
        registry: string(1, "Registry."),
        tenant: string(6, "Tenant."),
        user: string(4, "User."),
        volume: string(2, "Name of the volume."),
      }),
      ["registry", "volume"],
    ),
    "Deprecated: a Quobyte volume.",
  ),
  rbd: nested(
    11,
    source(
      "RBDVolumeSource",
      "A Rados block device.",
      () => ({
        fsType: fsType(3),
        image: string(2, "Image."),
        keyring: string(6, "Path of the key ring.", { default: "/etc/ceph/keyring" }),
        monitors: strings(1, "Monitors."),
        pool: string(4, "Pool.", { default: "rbd" }),
        readOnly: readOnly(8),
        secretRef: secretRef(7),
        user: string(5, "User.", { default: "admin" }),
      }),
      ["monitors", "image"],
    ),
    "Deprecated: a Rados block device.",
  ),
  scaleIO: nested(
    25,
    source(
      "ScaleIOVolumeSource",
      "A ScaleIO volume.",
      () => ({
        fsType: fsType(9, "xfs"),
        gateway: string(1, "Gateway."),
        protectionDomain: string(5, "Protection domain."),
        readOnly: readOnly(10),
        secretRef: secretRef(3),
        sslEnabled: boolean(4, "Use TLS."),
        storageMode: string(7, "Storage mode.", { default: "ThinProvisioned" }),
        storagePool: string(6, "Storage pool."),
        system: string(2, "Name of the system."),
        volumeName: string(8, "Name of the volume."),
      }),
      ["gateway", "system", "secretRef"],
    ),
    "Deprecated: a ScaleIO volume.",
  ),
  secret: nested(
    6,
    source("SecretVolumeSource", "Keys of a Secret as files.", () => ({
      defaultMode: pointer(int32(3, "Mode bits of files.")),
      items: list(2, keyToPath, "Keys to put; all unless given."),
      optional: pointer(boolean(4, "The Secret may be missing.")),
      secretName: string(1, "Name of the Secret."),
    })),
    "Keys of a Secret as files.",
  ),
  storageos: nested(
    27,
    source("StorageOSVolumeSource", "A StorageOS volume.", () => ({
      fsType: fsType(3),
      readOnly: readOnly(4),
      secretRef: secretRef(5),
      volumeName: string(1, "Name of the volume."),
      volumeNamespace: string(2, "Namespace within StorageOS."),
    })),
    "Deprecated: a StorageOS volume.",
  ),
  vsphereVolume: nested(
    20,
    source(
      "VsphereVirtualDiskVolumeSource",
      "A vSphere volume.",
      () => ({
        fsType: fsType(2),
        storagePolicyID: string(4, "ID of the storage policy."),
        storagePolicyName: string(3, "Name of the storage policy."),
        volumePath: string(1, "Path of the volume."),
      }),
      ["volumePath"],
    ),
    "Deprecated: a vSphere volume.",
  ),
}));

export const volume: Schema = source(
  "Volume",
  "Volume is a volume that the containers of a Pod may mount.",
  () => ({ name: string(1, "Name of the volume, unique within the Pod."), ...embedded(2, volumeSource) }),
  ["name"],
);

export const volumeMount: Schema = source(
  "VolumeMount",
  "VolumeMount mounts a volume into a container.",
  () => ({
    mountPath: string(3, "Path in the container."),
    mountPropagation: pointer(string(5, "None, HostToContainer or Bidirectional.")),
    name: string(1, "Name of the volume."),
    readOnly: boolean(2, "Mount read-only."),
    recursiveReadOnly: pointer(string(7, "Disabled, IfPossible or Enabled.")),
    subPath: string(4, "Path in the volume."),
    subPathExpr: string(6, "Path in the volume, with variables of the container."),
  }),
  ["name", "mountPath"],
);

export const volumeDevice: Schema = source(
  "VolumeDevice",
  "VolumeDevice gives a raw block device to a container.",
  () => ({ devicePath: string(2, "Path in the container."), name: string(1, "Name of the claim.") }),
  ["name", "devicePath"],
);

const imageVolumeStatus = source(
  "ImageVolumeStatus",
  "ImageVolumeStatus is the state of an image volume.",
  () => ({ imageRef: string(1, "Digest of the image.") }),
  ["imageRef"],
);

const volumeStatus = source("VolumeStatus", "VolumeStatus is the state of a mounted volume.", () => ({
  image: nested(1, imageVolumeStatus, "State of an image volume."),
}));

export const volumeMountStatus: Schema = source(
  "VolumeMountStatus",
  "VolumeMountStatus is the state of a mount.",
  () => ({
    mountPath: string(2, "Path in the container."),
    name: string(1, "Name of the mount."),
    readOnly: boolean(3, "Mounted read-only."),
    recursiveReadOnly: pointer(string(4, "Disabled or Enabled.")),
    volumeStatus: nested(5, volumeStatus, "State that depends on the type of volume."),
  }),
  ["name", "mountPath"],
);
