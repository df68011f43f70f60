import { kind } from "./meta.ts";
import {
  boolean,
  bytesMap,
  type Fields,
  int32,
  int64,
  keyedList,
  list,
  microTime,
  nested,
  object,
  pointer,
  quantities,
  string,
  stringMap,
  strings,
  time,
} from "./notation.ts";
import { localObjectReference, objectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";

/** The other kinds of the core group (`k8s.io/api/core/v1`). */
const prefix = "io.k8s.api.core.v1.";

function type(name: string, description: string, fields: () => Fields, required?: readonly string[]): Schema {
  return object(`${prefix}${name}`, description, fields, required === undefined ? {} : { required });
}

export const configMap: Schema = kind(
  `${prefix}ConfigMap`,
  "ConfigMap holds configuration as keys and values.",
  () => ({
    binaryData: bytesMap(3, "Values that are not UTF-8 text, as base64."),
    data: stringMap(2, "Values that are text."),
    immutable: pointer(boolean(4, "The values cannot be changed any more.")),
  }),
);

export const secret: Schema = kind(`${prefix}Secret`, "Secret holds confidential values.", () => ({
  data: bytesMap(2, "Values, as base64."),
  immutable: pointer(boolean(5, "The values cannot be changed any more.")),
  stringData: stringMap(4, "Values as text; written into `data` and never read back."),
  type: string(3, "What the Secret is for."),
}));

export const serviceAccount: Schema = kind(
  `${prefix}ServiceAccount`,
  "ServiceAccount is an identity for Pods.",
  () => ({
    automountServiceAccountToken: pointer(boolean(4, "Mount a token into Pods.")),
    imagePullSecrets: list(3, localObjectReference, "Secrets with which images are pulled."),
    secrets: keyedList(2, objectReference, ["name"], "Secrets that Pods may use."),
  }),
);

const namespaceCondition = type(
  "NamespaceCondition",
  "NamespaceCondition is one aspect of a namespace's state.",
  () => ({
    lastTransitionTime: time(4, "When the status last changed."),
    message: string(6, "Explanation for people."),
    reason: string(5, "Reason for the last change."),
    status: string(2, "True, False or Unknown."),
    type: string(1, "Name of the condition."),
  }),
  ["type", "status"],
);

const namespaceSpec = type("NamespaceSpec", "NamespaceSpec says what a namespace is to be.", () => ({
  finalizers: strings(1, "Who must act before the namespace is removed."),
}));

const namespaceStatus = type("NamespaceStatus", "NamespaceStatus is the state of a namespace.", () => ({
  conditions: keyedList(2, namespaceCondition, ["type"], "Conditions of the namespace."),
  phase: string(1, "Active or Terminating."),
}));

export const namespace: Schema = kind(`${prefix}Namespace`, "Namespace is a scope for names.", () => ({
  spec: nested(2, namespaceSpec, "What the namespace is to be."),
  status: nested(3, namespaceStatus, "State of the namespace."),
}));

const taint = type(
  "Taint",
  "Taint keeps Pods off a node that do not tolerate it.",
  () => ({
    effect: string(3, "NoSchedule, PreferNoSchedule or NoExecute."),
    key: string(1, "Key of the taint."),
    timeAdded: time(4, "When the taint was added."),
    value: string(2, "Value of the taint."),
  }),
  ["key", "effect"],
);

const configMapNodeConfigSource = type(
  "ConfigMapNodeConfigSource",
  "Deprecated: a ConfigMap with the configuration of a node.",
  () => ({
    kubeletConfigKey: string(5, "Key."),
    name: string(2, "Name."),
    namespace: string(1, "Namespace."),
    resourceVersion: string(4, "Version."),
    uid: string(3, "UID."),
  }),
  ["namespace", "name", "kubeletConfigKey"],
);

const nodeConfigSource = type("NodeConfigSource", "Deprecated: where the configuration of a node comes from.", () => ({
  configMap: nested(2, configMapNodeConfigSource, "ConfigMap."),
}));

const nodeSpec = type("NodeSpec", "NodeSpec says what a node is to be.", () => ({
  configSource: nested(6, nodeConfigSource, "Deprecated: where the configuration comes from."),
  externalID: string(2, "Deprecated."),
  podCIDR: string(1, "Addresses of the node's Pods."),
  podCIDRs: strings(7, "Addresses of the node's Pods, at most one range of each IP family.", {
    listType: "set",
    patchStrategy: "merge",
  }),
  providerID: string(3, "ID of the machine with the cloud provider."),
  taints: list(5, taint, "Taints of the node."),
  unschedulable: boolean(4, "No new Pods are placed on the node."),
}));

const nodeCondition = type(
  "NodeCondition",
  "NodeCondition is one aspect of a node's state.",
  () => ({
    lastHeartbeatTime: time(3, "When the node last said so."),
    lastTransitionTime: time(4, "When the status last changed."),
    message: string(6, "Explanation for people."),
    reason: string(5, "Reason for the last change."),
    status: string(2, "True, False or Unknown."),
    type: string(1, "Name of the condition."),
  }),
  ["type", "status"],
);

const nodeAddress = type(
  "NodeAddress",
  "NodeAddress is an address of a node.",
  () => ({
    address: string(2, "The address."),
    type: string(1, "Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS."),
  }),
  ["type", "address"],
);

const daemonEndpoint = type(
  "DaemonEndpoint",
  "DaemonEndpoint is a port of a daemon.",
  () => ({ Port: int32(1, "Port.") }),
  ["Port"],
);

const nodeSystemInfo = type(
  "NodeSystemInfo",
  "NodeSystemInfo describes the machine of a node.",
  () => ({
    architecture: string(10, "Architecture."),
    bootID: string(3, "ID of the boot."),
    containerRuntimeVersion: string(6, "Version of the container runtime."),
    kernelVersion: string(4, "Version of the kernel."),
    kubeProxyVersion: string(8, "Deprecated: version of kube-proxy."),
    kubeletVersion: string(7, "Version of the kubelet."),
    machineID: string(1, "ID of the machine."),
    operatingSystem: string(9, "Operating system."),
    osImage: string(5, "Name of the distribution."),
    swap: nested(
      11,
      type("NodeSwapStatus", "NodeSwapStatus describes swap.", () => ({ capacity: int64(1, "Bytes of swap.") })),
      "Swap of the machine.",
    ),
    systemUUID: string(2, "UUID of the system."),
  }),
  [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
  ],
);

const containerImage = type("ContainerImage", "ContainerImage is an image on a node.", () => ({
  names: strings(1, "Names of the image."),
  sizeBytes: int64(2, "Size of the image."),
}));

const attachedVolume = type(
  "AttachedVolume",
  "AttachedVolume is a volume attached to a node.",
  () => ({ devicePath: string(2, "Path of the device."), name: string(1, "Name of the volume.") }),
  ["name", "devicePath"],
);

const nodeConfigStatus = type("NodeConfigStatus", "Deprecated: state of a node's configuration.", () => ({
  active: nested(2, nodeConfigSource, "In use."),
  assigned: nested(1, nodeConfigSource, "To be used."),
  error: string(4, "What went wrong."),
  lastKnownGood: nested(3, nodeConfigSource, "To fall back to."),
}));

const nodeRuntimeHandlerFeatures = type(
  "NodeRuntimeHandlerFeatures",
  "NodeRuntimeHandlerFeatures lists what a runtime handler can do.",
  () => ({
    recursiveReadOnlyMounts: boolean(1, "Recursive read-only mounts."),
    userNamespaces: boolean(2, "User namespaces."),
  }),
);

const nodeRuntimeHandler = type("NodeRuntimeHandler", "NodeRuntimeHandler is a runtime handler of a node.", () => ({
  features: nested(2, nodeRuntimeHandlerFeatures, "What it can do."),
  name: string(1, "Name; empty for the default."),
}));

const nodeFeatures = type("NodeFeatures", "NodeFeatures lists what a node's runtime can do.", () => ({
  supplementalGroupsPolicy: boolean(1, "Supplemental groups policy."),
}));

const nodeStatus = type("NodeStatus", "NodeStatus is the state of a node.", () => ({
  addresses: keyedList(5, nodeAddress, ["type"], "Addresses of the node."),
  allocatable: quantities(2, "Resources that Pods may use."),
  capacity: quantities(1, "Resources of the machine."),
  conditions: keyedList(4, nodeCondition, ["type"], "Conditions of the node."),
  config: nested(11, nodeConfigStatus, "Deprecated: state of the configuration."),
  daemonEndpoints: nested(
    6,
    type("NodeDaemonEndpoints", "NodeDaemonEndpoints lists ports of daemons.", () => ({
      kubeletEndpoint: nested(1, daemonEndpoint, "Port of the kubelet."),
    })),
    "Ports of daemons.",
  ),
  declaredFeatures: strings(14, "Features that the node declares."),
  features: nested(13, nodeFeatures, "What the runtime can do."),
  images: list(8, containerImage, "Images on the node."),
  nodeInfo: nested(7, nodeSystemInfo, "The machine."),
  phase: string(3, "Deprecated: never set."),
  runtimeHandlers: list(12, nodeRuntimeHandler, "Runtime handlers of the node."),
  volumesAttached: list(10, attachedVolume, "Attached volumes."),
  volumesInUse: strings(9, "Mounted volumes."),
}));

export const node: Schema = kind(`${prefix}Node`, "Node is a machine on which Pods run.", () => ({
  spec: nested(2, nodeSpec, "What the node is to be."),
  status: nested(3, nodeStatus, "State of the node, written by its kubelet."),
}));

const eventSource = type("EventSource", "EventSource says who reports an event.", () => ({
  component: string(1, "Component."),
  host: string(2, "Node."),
}));

const eventSeries = type("EventSeries", "EventSeries says how often an event came again.", () => ({
  count: int32(1, "How often."),
  lastObservedTime: microTime(2, "When last."),
}));

export const event: Schema = kind(
  `${prefix}Event`,
  "Event reports what happened to an object; events are kept for a short time only.",
  () => ({
    action: string(12, "What was done."),
    count: int32(8, "How often it happened."),
    eventTime: microTime(10, "When it first happened."),
    firstTimestamp: time(6, "When it was first recorded."),
    involvedObject: nested(2, objectReference, "Object to which it happened."),
    lastTimestamp: time(7, "When it was last recorded."),
    message: string(4, "What happened, for people."),
    reason: string(3, "What happened, for machines."),
    related: nested(13, objectReference, "Another object concerned."),
    reportingComponent: string(14, "Controller that reports it."),
    reportingInstance: string(15, "Instance of the controller."),
    series: nested(11, eventSeries, "How often it came again."),
    source: nested(5, eventSource, "Who reports it."),
    type: string(9, "Normal or Warning."),
  }),
  { required: ["metadata", "involvedObject"] },
);

const eventsSeries = object(
  "io.k8s.api.events.v1.EventSeries",
  "EventSeries says how often an event came again.",
  () => ({ count: int32(1, "How often."), lastObservedTime: microTime(2, "When last.") }),
  { required: ["count", "lastObservedTime"] },
);

/** The same events in the group `events.k8s.io`. */
export const eventsEvent: Schema = kind(
  "io.k8s.api.events.v1.Event",
  "Event reports what happened to an object; events are kept for a short time only.",
  () => ({
    action: string(6, "What was done."),
    deprecatedCount: int32(15, "Count of the core kind."),
    deprecatedFirstTimestamp: time(13, "First time of the core kind."),
    deprecatedLastTimestamp: time(14, "Last time of the core kind."),
    deprecatedSource: nested(12, eventSource, "Source of the core kind."),
    eventTime: microTime(2, "When it first happened."),
    note: string(10, "What happened, for people."),
    reason: string(7, "What happened, for machines."),
    regarding: nested(8, objectReference, "Object to which it happened."),
    related: nested(9, objectReference, "Another object concerned."),
    reportingController: string(4, "Controller that reports it."),
    reportingInstance: string(5, "Instance of the controller."),
    series: nested(3, eventsSeries, "How often it came again."),
    type: string(11, "Normal or Warning."),
  }),
  { required: ["eventTime"] },
);
