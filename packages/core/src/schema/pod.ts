import { kind, labelSelector, objectMeta, protocol } from "./meta.ts";
import {
  boolean,
  embedded,
  type Fields,
  int32,
  int64,
  integers,
  intOrString,
  keyedList,
  list,
  nested,
  object,
  oneOf,
  pointer,
  quantities,
  string,
  stringMap,
  strings,
  time,
} from "./notation.ts";
import { localObjectReference, objectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";
import {
  objectFieldSelector,
  resourceFieldSelector,
  volume,
  volumeDevice,
  volumeMount,
  volumeMountStatus,
} from "./volume.ts";

/** Pods and their containers (`k8s.io/api/core/v1`). */
const prefix = "io.k8s.api.core.v1.";

function type(
  name: string,
  description: string,
  fields: () => Fields,
  required?: readonly string[],
  atomic = false,
): Schema {
  return object(`${prefix}${name}`, description, fields, required === undefined ? { atomic } : { required, atomic });
}

// --- Containers -----------------------------------------------------------------------------------------------------------

const containerPort = type(
  "ContainerPort",
  "ContainerPort is a port on which a container listens.",
  () => ({
    containerPort: int32(3, "Port on the address of the Pod."),
    hostIP: string(5, "Address of the node to which the host port is bound."),
    hostPort: int32(2, "Port of the node."),
    name: string(1, "Name of the port, to which Services may refer."),
    protocol: protocol(4, "IP protocol of the port; TCP unless given.", { default: "TCP" }),
  }),
  ["containerPort"],
);

const keySelector = (of: string): (() => Fields) => {
  return () => ({
    key: string(2, "Key to take."),
    ...embedded(1, localObjectReference),
    optional: pointer(boolean(3, `The ${of} or its key may be missing.`)),
  });
};

const fileKeySelector = type(
  "FileKeySelector",
  "FileKeySelector chooses a key of a file with variables.",
  () => ({
    key: string(3, "Key to take."),
    optional: pointer(boolean(4, "The file or its key may be missing.", { default: false })),
    path: string(2, "Path of the file in the volume."),
    volumeName: string(1, "Name of the volume."),
  }),
  ["volumeName", "path", "key"],
  true,
);

const envVarSource = type("EnvVarSource", "EnvVarSource is where the value of a variable comes from.", () => ({
  configMapKeyRef: nested(
    3,
    type(
      "ConfigMapKeySelector",
      "ConfigMapKeySelector chooses a key of a ConfigMap.",
      keySelector("ConfigMap"),
      ["key"],
      true,
    ),
    "Key of a ConfigMap.",
  ),
  fieldRef: nested(1, objectFieldSelector, "Field of the Pod."),
  fileKeyRef: nested(5, fileKeySelector, "Key of a file with variables."),
  resourceFieldRef: nested(2, resourceFieldSelector, "Limit or request of a container."),
  secretKeyRef: nested(
    4,
    type("SecretKeySelector", "SecretKeySelector chooses a key of a Secret.", keySelector("Secret"), ["key"], true),
    "Key of a Secret.",
  ),
}));

const envVar = type(
  "EnvVar",
  "EnvVar is an environment variable of a container.",
  () => ({
    name: string(1, "Name of the variable."),
    value: string(2, "Value of the variable; $(NAME) stands for variables defined before."),
    valueFrom: nested(3, envVarSource, "Where the value comes from."),
  }),
  ["name"],
);

const envSource = (name: string, of: string): Schema =>
  type(name, `${name} takes all keys of a ${of} as variables.`, () => ({
    ...embedded(1, localObjectReference),
    optional: pointer(boolean(2, `The ${of} may be missing.`)),
  }));

const envFromSource = type("EnvFromSource", "EnvFromSource is a set of variables.", () => ({
  configMapRef: nested(2, envSource("ConfigMapEnvSource", "ConfigMap"), "ConfigMap to take."),
  prefix: string(1, "Prefix of the names."),
  secretRef: nested(3, envSource("SecretEnvSource", "Secret"), "Secret to take."),
}));

const resourceClaim = type(
  "ResourceClaim",
  "ResourceClaim names an entry of the Pod's resource claims.",
  () => ({ name: string(1, "Name of the entry."), request: string(2, "Request within the claim.") }),
  ["name"],
);

const resourceRequirements = type(
  "ResourceRequirements",
  "ResourceRequirements says how much a container needs and may use.",
  () => ({
    claims: list(3, resourceClaim, "Claims that the container uses.", { listType: "map", listMapKeys: ["name"] }),
    limits: quantities(1, "Most that may be used."),
    requests: quantities(2, "Least that is needed."),
  }),
);

const containerResizePolicy = type(
  "ContainerResizePolicy",
  "ContainerResizePolicy says what happens when a resource is resized.",
  () => ({ resourceName: string(1, "cpu or memory."), restartPolicy: string(2, "NotRequired or RestartContainer.") }),
  ["resourceName", "restartPolicy"],
);

const containerRestartRuleOnExitCodes = type(
  "ContainerRestartRuleOnExitCodes",
  "ContainerRestartRuleOnExitCodes looks at exit codes.",
  () => ({ operator: string(1, "In or NotIn."), values: integers(2, "int32", "Exit codes.", { listType: "set" }) }),
  ["operator"],
);

const containerRestartRule = type(
  "ContainerRestartRule",
  "ContainerRestartRule says what follows the exit of a container.",
  () => ({
    action: string(1, "Restart or RestartAllContainers."),
    exitCodes: nested(2, containerRestartRuleOnExitCodes, "Exit codes to which it applies."),
  }),
  ["action"],
);

const execAction = type("ExecAction", "ExecAction runs a command in the container.", () => ({
  command: strings(1, "Command and arguments, without a shell."),
}));

const httpHeader = type(
  "HTTPHeader",
  "HTTPHeader is a header of a request.",
  () => ({ name: string(1, "Name of the header."), value: string(2, "Value of the header.") }),
  ["name", "value"],
);

const httpGetAction = type(
  "HTTPGetAction",
  "HTTPGetAction sends a GET request.",
  () => ({
    host: string(3, "Host to connect to; the Pod unless given."),
    httpHeaders: list(5, httpHeader, "Headers of the request."),
    path: string(1, "Path of the request."),
    port: intOrString(2, "Number or name of the port."),
    scheme: string(4, "HTTP or HTTPS."),
  }),
  ["port"],
);

const tcpSocketAction = type(
  "TCPSocketAction",
  "TCPSocketAction opens a connection.",
  () => ({
    host: string(2, "Host to connect to; the Pod unless given."),
    port: intOrString(1, "Number or name of the port."),
  }),
  ["port"],
);

const grpcAction = type(
  "GRPCAction",
  "GRPCAction asks a gRPC health service.",
  () => ({ port: int32(1, "Port of the service."), service: pointer(string(2, "Name to ask for.", { default: "" })) }),
  ["port"],
);

const sleepAction = type("SleepAction", "SleepAction waits.", () => ({ seconds: int64(1, "Seconds to wait.") }), [
  "seconds",
]);

const probeHandler = type("ProbeHandler", "ProbeHandler is what a probe does.", () => ({
  exec: nested(1, execAction, "Run a command."),
  grpc: nested(4, grpcAction, "Ask a gRPC health service."),
  httpGet: nested(2, httpGetAction, "Send a GET request."),
  tcpSocket: nested(3, tcpSocketAction, "Open a connection."),
}));

const probe = type("Probe", "Probe finds out whether a container is well.", () => ({
  ...embedded(1, probeHandler),
  failureThreshold: int32(6, "Failures in a row after which the probe has failed."),
  initialDelaySeconds: int32(2, "Seconds before the first probe."),
  periodSeconds: int32(4, "Seconds between probes."),
  successThreshold: int32(5, "Successes in a row after which the probe has succeeded."),
  terminationGracePeriodSeconds: pointer(int64(7, "Seconds the Pod has to end after a failure.")),
  timeoutSeconds: int32(3, "Seconds after which a probe fails."),
}));

const lifecycleHandler = type("LifecycleHandler", "LifecycleHandler is what a hook does.", () => ({
  exec: nested(1, execAction, "Run a command."),
  httpGet: nested(2, httpGetAction, "Send a GET request."),
  sleep: nested(4, sleepAction, "Wait."),
  tcpSocket: nested(3, tcpSocketAction, "Deprecated and not supported."),
}));

const lifecycle = type("Lifecycle", "Lifecycle is what happens when a container starts and ends.", () => ({
  postStart: nested(1, lifecycleHandler, "After the start."),
  preStop: nested(2, lifecycleHandler, "Before the end."),
  stopSignal: pointer(string(3, "Signal that ends the container.")),
}));

const capabilities = type("Capabilities", "Capabilities adds and drops POSIX capabilities.", () => ({
  add: strings(1, "Capabilities to add."),
  drop: strings(2, "Capabilities to drop."),
}));

const seLinuxOptions = type("SELinuxOptions", "SELinuxOptions is an SELinux context.", () => ({
  level: string(4, "Level."),
  role: string(2, "Role."),
  type: string(3, "Type."),
  user: string(1, "User."),
}));

const windowsSecurityContextOptions = type(
  "WindowsSecurityContextOptions",
  "WindowsSecurityContextOptions holds settings for Windows.",
  () => ({
    gmsaCredentialSpec: pointer(string(2, "GMSA credential spec.")),
    gmsaCredentialSpecName: pointer(string(1, "Name of the GMSA credential spec.")),
    hostProcess: pointer(boolean(4, "Run as a host process.")),
    runAsUserName: pointer(string(3, "User of the process.")),
  }),
);

const profile = (name: string): Schema =>
  type(
    name,
    `${name} chooses a security profile.`,
    () => ({
      localhostProfile: pointer(string(2, "Profile of the node.")),
      type: string(1, "Localhost, RuntimeDefault or Unconfined."),
    }),
    ["type"],
  );
const seccompProfile = profile("SeccompProfile");
const appArmorProfile = profile("AppArmorProfile");

const securityContext = type("SecurityContext", "SecurityContext holds security settings of a container.", () => ({
  allowPrivilegeEscalation: pointer(boolean(7, "The process may gain privileges.")),
  appArmorProfile: nested(12, appArmorProfile, "AppArmor profile."),
  capabilities: nested(1, capabilities, "POSIX capabilities."),
  privileged: pointer(boolean(2, "Run privileged.")),
  procMount: pointer(string(9, "Default or Unmasked.")),
  readOnlyRootFilesystem: pointer(boolean(6, "Mount the root file system read-only.")),
  runAsGroup: pointer(int64(8, "Group of the process.")),
  runAsNonRoot: pointer(boolean(5, "Refuse to run as root.")),
  runAsUser: pointer(int64(4, "User of the process.")),
  seLinuxOptions: nested(3, seLinuxOptions, "SELinux context."),
  seccompProfile: nested(11, seccompProfile, "Seccomp profile."),
  windowsOptions: nested(10, windowsSecurityContextOptions, "Settings for Windows."),
}));

function containerFields(): Fields {
  return {
    args: strings(4, "Arguments of the command."),
    command: strings(3, "Command, without a shell; the image's unless given."),
    env: keyedList(7, envVar, ["name"], "Environment variables."),
    envFrom: list(19, envFromSource, "Sets of environment variables."),
    image: string(2, "Image of the container."),
    imagePullPolicy: oneOf(14, ["Always", "IfNotPresent", "Never"], "When to pull the image."),
    lifecycle: nested(12, lifecycle, "What happens when the container starts and ends."),
    livenessProbe: nested(10, probe, "Restart the container when this fails."),
    name: string(1, "Name of the container, unique within the Pod."),
    ports: keyedList(6, containerPort, ["containerPort", "protocol"], "Ports on which the container listens."),
    readinessProbe: nested(11, probe, "Take the Pod out of Services when this fails."),
    resizePolicy: list(23, containerResizePolicy, "What happens when resources are resized."),
    resources: nested(8, resourceRequirements, "Resources that the container needs and may use."),
    restartPolicy: pointer(string(24, "Restart policy of this container; Always makes an init container a sidecar.")),
    restartPolicyRules: list(25, containerRestartRule, "What follows which exit."),
    securityContext: nested(15, securityContext, "Security settings."),
    startupProbe: nested(22, probe, "Hold back the other probes until this succeeds."),
    stdin: boolean(16, "Keep standard input."),
    stdinOnce: boolean(17, "Close standard input after the first attach."),
    terminationMessagePath: string(13, "File with the message of the end."),
    terminationMessagePolicy: oneOf(20, ["FallbackToLogsOnError", "File"], "Where the message of the end comes from."),
    tty: boolean(18, "Allocate a terminal."),
    volumeDevices: keyedList(21, volumeDevice, ["devicePath"], "Block devices."),
    volumeMounts: keyedList(9, volumeMount, ["mountPath"], "Volumes to mount."),
    workingDir: string(5, "Working directory."),
  };
}

const container = type("Container", "Container is one application within a Pod.", containerFields, ["name"]);

const ephemeralContainerCommon = type("EphemeralContainerCommon", "Fields shared with Container.", containerFields);

const ephemeralContainer = type(
  "EphemeralContainer",
  "EphemeralContainer is a container added to a running Pod, to look into it.",
  () => ({
    ...embedded(1, ephemeralContainerCommon),
    targetContainerName: string(2, "Container whose namespaces are shared."),
  }),
  ["name"],
);

// --- Scheduling -----------------------------------------------------------------------------------------------------------

const nodeSelectorRequirement = type(
  "NodeSelectorRequirement",
  "NodeSelectorRequirement relates a label of a node to values.",
  () => ({
    key: string(1, "Label to look at."),
    operator: string(2, "In, NotIn, Exists, DoesNotExist, Gt or Lt."),
    values: strings(3, "Values to compare with."),
  }),
  ["key", "operator"],
);

const nodeSelectorTerm = type(
  "NodeSelectorTerm",
  "NodeSelectorTerm chooses nodes; all requirements must hold.",
  () => ({
    matchExpressions: list(1, nodeSelectorRequirement, "Requirements on labels."),
    matchFields: list(2, nodeSelectorRequirement, "Requirements on fields."),
  }),
  undefined,
  true,
);

export const nodeSelector: Schema = type(
  "NodeSelector",
  "NodeSelector chooses nodes; one of the terms must hold.",
  () => ({ nodeSelectorTerms: list(1, nodeSelectorTerm, "Terms.") }),
  ["nodeSelectorTerms"],
  true,
);

const preferredSchedulingTerm = type(
  "PreferredSchedulingTerm",
  "PreferredSchedulingTerm is a preference for nodes.",
  () => ({ preference: nested(2, nodeSelectorTerm, "Nodes."), weight: int32(1, "Weight, 1 to 100.") }),
  ["weight", "preference"],
);

const nodeAffinity = type("NodeAffinity", "NodeAffinity says on which nodes a Pod runs.", () => ({
  preferredDuringSchedulingIgnoredDuringExecution: list(2, preferredSchedulingTerm, "Preferences."),
  requiredDuringSchedulingIgnoredDuringExecution: nested(1, nodeSelector, "Requirements."),
}));

const podAffinityTerm = type(
  "PodAffinityTerm",
  "PodAffinityTerm chooses Pods to be near to, or away from.",
  () => ({
    labelSelector: nested(1, labelSelector, "Labels of the Pods."),
    matchLabelKeys: strings(5, "Labels in which the Pods must agree with this one."),
    mismatchLabelKeys: strings(6, "Labels in which the Pods must differ from this one."),
    namespaceSelector: nested(4, labelSelector, "Labels of the namespaces."),
    namespaces: strings(2, "Names of the namespaces."),
    topologyKey: string(3, "Label of nodes that tells what is near."),
  }),
  ["topologyKey"],
);

const weightedPodAffinityTerm = type(
  "WeightedPodAffinityTerm",
  "WeightedPodAffinityTerm is a preference for being near to Pods.",
  () => ({ podAffinityTerm: nested(2, podAffinityTerm, "Pods."), weight: int32(1, "Weight, 1 to 100.") }),
  ["weight", "podAffinityTerm"],
);

const podAffinityOf = (name: string): Schema =>
  type(name, `${name} relates the place of a Pod to that of others.`, () => ({
    preferredDuringSchedulingIgnoredDuringExecution: list(2, weightedPodAffinityTerm, "Preferences."),
    requiredDuringSchedulingIgnoredDuringExecution: list(1, podAffinityTerm, "Requirements."),
  }));
const podAffinity = podAffinityOf("PodAffinity");
const podAntiAffinity = podAffinityOf("PodAntiAffinity");

const affinity = type("Affinity", "Affinity says where a Pod is to run.", () => ({
  nodeAffinity: nested(1, nodeAffinity, "On which nodes."),
  podAffinity: nested(2, podAffinity, "Near to which Pods."),
  podAntiAffinity: nested(3, podAntiAffinity, "Away from which Pods."),
}));

const toleration = type("Toleration", "Toleration lets a Pod run on nodes with a taint.", () => ({
  effect: string(4, "Effect of the taint; any unless given."),
  key: string(1, "Key of the taint; any unless given."),
  operator: string(2, "Exists, Equal, Lt or Gt."),
  tolerationSeconds: pointer(int64(5, "Seconds for which NoExecute is tolerated.")),
  value: string(3, "Value of the taint."),
}));

const topologySpreadConstraint = type(
  "TopologySpreadConstraint",
  "TopologySpreadConstraint spreads Pods over a topology.",
  () => ({
    labelSelector: nested(4, labelSelector, "Labels of the Pods to count."),
    matchLabelKeys: strings(8, "Labels in which the Pods must agree with this one."),
    maxSkew: int32(1, "Largest difference that is allowed."),
    minDomains: pointer(int32(5, "Least number of domains.")),
    nodeAffinityPolicy: pointer(string(6, "Honor or Ignore the Pod's node affinity.")),
    nodeTaintsPolicy: pointer(string(7, "Honor or Ignore taints.")),
    topologyKey: string(2, "Label of nodes that tells the domains."),
    whenUnsatisfiable: string(3, "DoNotSchedule or ScheduleAnyway."),
  }),
  ["maxSkew", "topologyKey", "whenUnsatisfiable"],
);

// --- Spec -----------------------------------------------------------------------------------------------------------------

const sysctl = type(
  "Sysctl",
  "Sysctl is a kernel parameter.",
  () => ({ name: string(1, "Name of the parameter."), value: string(2, "Value of the parameter.") }),
  ["name", "value"],
);

const podSecurityContext = type(
  "PodSecurityContext",
  "PodSecurityContext holds security settings of all containers.",
  () => ({
    appArmorProfile: nested(11, appArmorProfile, "AppArmor profile."),
    fsGroup: pointer(int64(5, "Group of volumes.")),
    fsGroupChangePolicy: pointer(string(9, "OnRootMismatch or Always.")),
    runAsGroup: pointer(int64(6, "Group of processes.")),
    runAsNonRoot: pointer(boolean(3, "Refuse to run as root.")),
    runAsUser: pointer(int64(2, "User of processes.")),
    seLinuxChangePolicy: pointer(string(13, "MountOption or Recursive.")),
    seLinuxOptions: nested(1, seLinuxOptions, "SELinux context."),
    seccompProfile: nested(10, seccompProfile, "Seccomp profile."),
    supplementalGroups: integers(4, "int64", "Further groups of processes."),
    supplementalGroupsPolicy: pointer(string(12, "Merge or Strict.")),
    sysctls: list(7, sysctl, "Kernel parameters."),
    windowsOptions: nested(8, windowsSecurityContextOptions, "Settings for Windows."),
  }),
);

const hostAlias = type(
  "HostAlias",
  "HostAlias is an entry of the Pod's hosts file.",
  () => ({ hostnames: strings(2, "Names."), ip: string(1, "Address.") }),
  ["ip"],
);

const podDNSConfigOption = type("PodDNSConfigOption", "PodDNSConfigOption is an option of the resolver.", () => ({
  name: string(1, "Name of the option."),
  value: pointer(string(2, "Value of the option.")),
}));

const podDNSConfig = type("PodDNSConfig", "PodDNSConfig adds to the resolver's configuration.", () => ({
  nameservers: strings(1, "Addresses of name servers."),
  options: list(3, podDNSConfigOption, "Options."),
  searches: strings(2, "Search domains."),
}));

const named = (name: string, description: string): Schema =>
  type(name, description, () => ({ name: string(1, "Name.") }), ["name"]);

const podResourceClaim = type(
  "PodResourceClaim",
  "PodResourceClaim is a resource claim of a Pod.",
  () => ({
    name: string(1, "Name within the Pod."),
    resourceClaimName: pointer(string(3, "Claim to use.")),
    resourceClaimTemplateName: pointer(string(4, "Template of the claim.")),
  }),
  ["name"],
);

const podSchedulingGroup = type(
  "PodSchedulingGroup",
  "PodSchedulingGroup names the group with which a Pod is scheduled.",
  () => ({
    podGroupName: pointer(string(1, "Name of the group.")),
  }),
);

export const podSpec: Schema = type(
  "PodSpec",
  "PodSpec says what a Pod is to be.",
  () => ({
    activeDeadlineSeconds: pointer(int64(5, "Seconds after which the Pod is ended.")),
    affinity: nested(18, affinity, "Where the Pod is to run."),
    automountServiceAccountToken: pointer(boolean(21, "Mount a token of the service account.")),
    containers: keyedList(2, container, ["name"], "Containers of the Pod, at least one."),
    dnsConfig: nested(26, podDNSConfig, "Additions to the resolver's configuration."),
    dnsPolicy: oneOf(6, ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], "Which resolver the Pod uses."),
    enableServiceLinks: pointer(
      boolean(30, "Put addresses of Services into environment variables; true unless given."),
    ),
    ephemeralContainers: keyedList(34, ephemeralContainer, ["name"], "Containers added to the running Pod."),
    hostAliases: keyedList(23, hostAlias, ["ip"], "Entries of the hosts file."),
    hostIPC: boolean(13, "Use the node's IPC namespace."),
    hostNetwork: boolean(11, "Use the node's network."),
    hostPID: boolean(12, "Use the node's process namespace."),
    hostUsers: pointer(boolean(37, "Use the node's user namespace.")),
    hostname: string(16, "Host name of the Pod."),
    hostnameOverride: pointer(string(41, "Host name that the Pod itself sees, without effect on DNS.")),
    imagePullSecrets: keyedList(15, localObjectReference, ["name"], "Secrets with which images are pulled."),
    initContainers: keyedList(20, container, ["name"], "Containers that run, in order, before the others."),
    nodeName: string(10, "Node on which the Pod runs."),
    nodeSelector: stringMap(7, "Labels that the node must have.", { mapType: "atomic" }),
    os: nested(36, named("PodOS", "PodOS names an operating system."), "Operating system of the containers."),
    overhead: quantities(32, "Resources that running the Pod costs."),
    preemptionPolicy: pointer(string(31, "Never or PreemptLowerPriority.")),
    priority: pointer(int32(25, "Priority of the Pod.")),
    priorityClassName: string(24, "Priority class of the Pod."),
    readinessGates: list(
      28,
      type(
        "PodReadinessGate",
        "PodReadinessGate names a condition.",
        () => ({ conditionType: string(1, "Type of the condition.") }),
        ["conditionType"],
      ),
      "Conditions that must be True for the Pod to be ready.",
    ),
    resourceClaims: keyedList(39, podResourceClaim, ["name"], "Resource claims of the Pod.", {
      patchStrategy: "merge,retainKeys",
    }),
    resources: nested(40, resourceRequirements, "Resources of all containers together."),
    restartPolicy: oneOf(3, ["Always", "Never", "OnFailure"], "When containers are restarted."),
    runtimeClassName: pointer(string(29, "Runtime class of the Pod.")),
    schedulerName: string(19, "Scheduler that places the Pod."),
    schedulingGates: keyedList(
      38,
      named("PodSchedulingGate", "PodSchedulingGate holds back scheduling."),
      ["name"],
      "Gates that hold back scheduling.",
    ),
    schedulingGroup: nested(43, podSchedulingGroup, "Group with which the Pod is scheduled."),
    securityContext: nested(14, podSecurityContext, "Security settings of all containers."),
    serviceAccount: string(9, "Deprecated: older name of serviceAccountName."),
    serviceAccountName: string(8, "Service account of the Pod."),
    setHostnameAsFQDN: pointer(boolean(35, "Use the fully qualified name as host name.")),
    shareProcessNamespace: pointer(boolean(27, "Let containers see each other's processes.")),
    subdomain: string(17, "Subdomain of the Pod: the name of the headless Service under which it is found."),
    terminationGracePeriodSeconds: pointer(int64(4, "Seconds the Pod has to end; 30 unless given.")),
    tolerations: list(22, toleration, "Taints that the Pod tolerates."),
    topologySpreadConstraints: keyedList(
      33,
      topologySpreadConstraint,
      ["topologyKey", "whenUnsatisfiable"],
      "How Pods are spread over the topology.",
    ),
    volumes: keyedList(1, volume, ["name"], "Volumes of the Pod.", { patchStrategy: "merge,retainKeys" }),
  }),
  ["containers"],
);

export const podTemplateSpec: Schema = type("PodTemplateSpec", "PodTemplateSpec is the template of a Pod.", () => ({
  metadata: nested(1, objectMeta, "Labels and annotations of the Pods."),
  spec: nested(2, podSpec, "What the Pods are to be."),
}));

// --- Status ---------------------------------------------------------------------------------------------------------------

const containerStateRunning = type("ContainerStateRunning", "ContainerStateRunning is a running container.", () => ({
  startedAt: time(1, "When the container started."),
}));

const containerStateTerminated = type(
  "ContainerStateTerminated",
  "ContainerStateTerminated is a container that has ended.",
  () => ({
    containerID: string(7, "ID of the container."),
    exitCode: int32(1, "Exit code."),
    finishedAt: time(6, "When the container ended."),
    message: string(4, "Message of the end."),
    reason: string(3, "Reason for the end."),
    signal: int32(2, "Signal that ended the container."),
    startedAt: time(5, "When the container started."),
  }),
  ["exitCode"],
);

const containerStateWaiting = type(
  "ContainerStateWaiting",
  "ContainerStateWaiting is a container that has not started.",
  () => ({
    message: string(2, "Explanation for people."),
    reason: string(1, "Why the container has not started."),
  }),
);

const containerState = type("ContainerState", "ContainerState is the state of a container.", () => ({
  running: nested(2, containerStateRunning, "The container runs."),
  terminated: nested(3, containerStateTerminated, "The container has ended."),
  waiting: nested(1, containerStateWaiting, "The container has not started."),
}));

const linuxContainerUser = type(
  "LinuxContainerUser",
  "LinuxContainerUser is the identity of a process on Linux.",
  () => ({
    gid: int64(2, "Group."),
    supplementalGroups: integers(3, "int64", "Further groups."),
    uid: int64(1, "User."),
  }),
  ["uid", "gid"],
);

const containerUser = type("ContainerUser", "ContainerUser is the identity of a process.", () => ({
  linux: nested(1, linuxContainerUser, "Identity on Linux."),
}));

const resourceHealth = type(
  "ResourceHealth",
  "ResourceHealth is the health of a device.",
  () => ({ health: string(2, "Healthy, Unhealthy or Unknown."), resourceID: string(1, "ID of the device.") }),
  ["resourceID"],
);

const resourceStatus = type(
  "ResourceStatus",
  "ResourceStatus is the state of an allocated resource.",
  () => ({
    name: string(1, "Name of the resource."),
    resources: list(2, resourceHealth, "Health of its devices.", { listType: "map", listMapKeys: ["resourceID"] }),
  }),
  ["name"],
);

const containerStatus = type(
  "ContainerStatus",
  "ContainerStatus is the state of a container over time.",
  () => ({
    allocatedResources: quantities(10, "Resources that the node has allocated."),
    allocatedResourcesStatus: keyedList(14, resourceStatus, ["name"], "State of allocated resources."),
    containerID: string(8, "ID of the container."),
    image: string(6, "Image of the container."),
    imageID: string(7, "ID of the image."),
    lastState: nested(3, containerState, "State before the last restart."),
    name: string(1, "Name of the container."),
    ready: boolean(4, "The container is ready."),
    resources: nested(11, resourceRequirements, "Resources in force."),
    restartCount: int32(5, "How often the container was restarted."),
    started: pointer(boolean(9, "The container has started.")),
    state: nested(2, containerState, "State of the container."),
    stopSignal: pointer(string(15, "Signal that ends the container.")),
    user: nested(13, containerUser, "Identity of the first process."),
    volumeMounts: keyedList(12, volumeMountStatus, ["mountPath"], "State of mounts."),
  }),
  ["name", "ready", "restartCount", "image", "imageID"],
);

const podCondition = type(
  "PodCondition",
  "PodCondition is one aspect of a Pod's state.",
  () => ({
    lastProbeTime: time(3, "When the condition was last looked at."),
    lastTransitionTime: time(4, "When the status last changed."),
    message: string(6, "Explanation for people."),
    observedGeneration: int64(7, "Generation on which the condition is based."),
    reason: string(5, "Reason for the last change."),
    status: string(2, "True, False or Unknown."),
    type: string(1, "Name of the condition."),
  }),
  ["type", "status"],
);

const address = (name: string): Schema =>
  type(name, `${name} is an address.`, () => ({ ip: string(1, "Address.") }), ["ip"]);

const podResourceClaimStatus = type(
  "PodResourceClaimStatus",
  "PodResourceClaimStatus is the state of a resource claim.",
  () => ({ name: string(1, "Name within the Pod."), resourceClaimName: pointer(string(2, "Claim that was made.")) }),
  ["name"],
);

const containerExtendedResourceRequest = type(
  "ContainerExtendedResourceRequest",
  "ContainerExtendedResourceRequest maps an extended resource to a request.",
  () => ({
    containerName: string(1, "Container."),
    requestName: string(3, "Request of the claim."),
    resourceName: string(2, "Extended resource."),
  }),
  ["containerName", "resourceName", "requestName"],
);

const podExtendedResourceClaimStatus = type(
  "PodExtendedResourceClaimStatus",
  "PodExtendedResourceClaimStatus is the claim made for extended resources.",
  () => ({
    requestMappings: list(1, containerExtendedResourceRequest, "Requests of containers."),
    resourceClaimName: string(2, "Claim that was made."),
  }),
  ["requestMappings", "resourceClaimName"],
);

const podStatus = type("PodStatus", "PodStatus is the state of a Pod.", () => ({
  allocatedResources: quantities(19, "Resources that the node has allocated."),
  conditions: keyedList(2, podCondition, ["type"], "Conditions of the Pod."),
  containerStatuses: list(8, containerStatus, "State of the containers."),
  ephemeralContainerStatuses: list(13, containerStatus, "State of ephemeral containers."),
  extendedResourceClaimStatus: nested(18, podExtendedResourceClaimStatus, "Claim made for extended resources."),
  hostIP: string(5, "Address of the node."),
  hostIPs: list(16, address("HostIP"), "Addresses of the node.", { patchMergeKey: "ip", patchStrategy: "merge" }),
  initContainerStatuses: list(10, containerStatus, "State of init containers."),
  message: string(3, "Explanation for people."),
  nominatedNodeName: string(11, "Node for which the Pod preempts others."),
  observedGeneration: int64(17, "Generation on which the status is based."),
  phase: oneOf(1, ["Failed", "Pending", "Running", "Succeeded", "Unknown"], "Where the Pod is in its life."),
  podIP: string(6, "Address of the Pod."),
  podIPs: keyedList(12, address("PodIP"), ["ip"], "Addresses of the Pod, at most one of each IP family."),
  qosClass: oneOf(9, ["BestEffort", "Burstable", "Guaranteed"], "Quality of service."),
  reason: string(4, "Why the Pod is in this state."),
  resize: string(14, "Deprecated: state of a resize."),
  resourceClaimStatuses: keyedList(15, podResourceClaimStatus, ["name"], "State of resource claims.", {
    patchStrategy: "merge,retainKeys",
  }),
  resources: nested(20, resourceRequirements, "Resources in force for the whole Pod."),
  startTime: time(7, "When the node took up the Pod."),
}));

export const pod: Schema = kind(
  `${prefix}Pod`,
  "Pod is a group of containers that share one network address and run together on a node.",
  () => ({
    spec: nested(2, podSpec, "What the Pod is to be."),
    status: nested(3, podStatus, "State of the Pod, written by its node."),
  }),
);

export const binding: Schema = kind(
  `${prefix}Binding`,
  "Binding places a Pod on a node.",
  () => ({ target: nested(2, objectReference, "Node on which the Pod is to run.") }),
  { required: ["target"] },
);
