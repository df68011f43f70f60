import { canonicalText, fieldOf, isJsonObject, type JsonObject, listOf, objectOf, pathOf, textOf } from "../json.ts";
import type { Pod } from "../types/workload.ts";
import { addressProblems } from "./addresses.ts";
import { FieldCursor, type FieldError, fieldNotFound, forbidden } from "./field-error.ts";
import { checkLabelSelector } from "./label-selector.ts";
import {
  configMapKeyProblems,
  dnsLabelProblems,
  dnsSubdomainProblems,
  environmentNameProblems,
  labelValueProblems,
  portNameProblems,
  portNumberProblems,
  qualifiedNameProblems,
} from "./names.ts";
import { checkObjectMeta, checkObjectMetaUpdate, validateLabelMap } from "./object-meta.ts";

/** Reports a number below zero; absent is fine. */
export function checkNotNegative(number: FieldCursor): void {
  if ((number.integer() ?? 0) < 0) number.invalid("must be greater than or equal to 0");
}

/** Reports an absent or unsupported text. */
export function checkOneOf(cursor: FieldCursor, supported: readonly string[]): void {
  if (cursor.text() === "") cursor.required();
  else if (!supported.includes(cursor.text())) cursor.notSupported(supported);
}

function checkPortNumberOrName(port: FieldCursor): void {
  const value = port.integerOrText();
  if (typeof value === "string") port.invalidEach(portNameProblems(value));
  else port.invalidEach(portNumberProblems(value ?? 0), value ?? 0);
}

const protocols = ["SCTP", "TCP", "UDP"];

function checkContainerPorts(ports: FieldCursor, hostNetwork: boolean): void {
  const names = new Set<string>();
  for (const port of ports.items()) {
    const name = port.at("name");
    if (name.text() !== "") {
      const problems = portNameProblems(name.text());
      name.invalidEach(problems);
      if (problems.length === 0) {
        if (names.has(name.text())) name.duplicate();
        names.add(name.text());
      }
    }
    const containerPort = port.at("containerPort");
    const number = containerPort.integer() ?? 0;
    if (number === 0) containerPort.required();
    else containerPort.invalidEach(portNumberProblems(number));
    const hostPort = port.at("hostPort");
    const hostNumber = hostPort.integer() ?? 0;
    if (hostNumber !== 0) hostPort.invalidEach(portNumberProblems(hostNumber));
    if (hostNetwork && hostNumber !== 0 && hostNumber !== number) {
      containerPort.invalid("must match `hostPort` when `hostNetwork` is true");
    }
    const protocol = port.at("protocol");
    if (protocol.text() === "") protocol.required();
    else if (!protocols.includes(protocol.text())) protocol.notSupported(protocols);
  }
}

const environmentFields = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
];
const volumeFields = ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const resourceFields = [
  "limits.cpu",
  "limits.ephemeral-storage",
  "limits.memory",
  "requests.cpu",
  "requests.ephemeral-storage",
  "requests.memory",
];

function checkFieldRef(reference: FieldCursor, supported: readonly string[]): void {
  if (reference.at("apiVersion").text() === "") reference.at("apiVersion").required();
  const path = reference.at("fieldPath");
  const subscript = /^(metadata\.(?:labels|annotations))\['(.*)'\]$/.exec(path.text());
  if (path.text() === "") path.required();
  else if (subscript !== null) {
    path.invalidEach(qualifiedNameProblems((subscript[2] ?? "").toLowerCase()), subscript[2]);
  } else if (!supported.includes(path.text())) path.notSupported(supported);
}

function checkKeySelector(selector: FieldCursor): void {
  if (selector.at("name").text() === "") selector.at("name").required();
  const key = selector.at("key");
  if (key.text() === "") key.required();
  else key.invalidEach(configMapKeyProblems(key.text()));
}

function checkEnvironment(container: FieldCursor): void {
  for (const variable of container.at("env").items()) {
    const name = variable.at("name");
    if (name.text() === "") name.required();
    else name.invalidEach(environmentNameProblems(name.text()));
    variable.at("value").text();
    const source = variable.at("valueFrom");
    if (!source.object()) continue;
    let count = 0;
    if (source.at("fieldRef").object()) {
      count++;
      checkFieldRef(source.at("fieldRef"), environmentFields);
    }
    if (source.at("resourceFieldRef").object()) {
      count++;
      const resource = source.at("resourceFieldRef").at("resource");
      if (resource.text() === "") resource.required();
      else if (!resourceFields.includes(resource.text()) && !/^(limits|requests)\.hugepages-/.test(resource.text())) {
        resource.notSupported(resourceFields);
      }
    }
    for (const kind of ["configMapKeyRef", "secretKeyRef"]) {
      if (!source.at(kind).object()) continue;
      count++;
      checkKeySelector(source.at(kind));
    }
    if (source.at("fileKeyRef").object()) count++;
    if (count === 0) {
      source.invalid(
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        "",
      );
    } else if (variable.at("value").text() !== "") source.invalid("may not be specified when `value` is not empty", "");
    else if (count > 1) source.invalid("may not have more than one field specified at a time", "");
  }
  for (const source of container.at("envFrom").items()) {
    const prefix = source.at("prefix");
    if (prefix.text() !== "") prefix.invalidEach(environmentNameProblems(prefix.text()));
    const given = ["configMapRef", "secretRef"].filter((kind) => source.at(kind).object());
    for (const kind of given) if (source.at(kind).at("name").text() === "") source.at(kind).at("name").required();
    if (given.length === 0) source.invalid("must specify one of: `configMapRef` or `secretRef`", "");
    else if (given.length > 1) source.invalid("may not have more than one field specified at a time", "");
  }
}

function checkHandler(handler: FieldCursor, kinds: readonly string[]): void {
  let count = 0;
  for (const kind of kinds) {
    const action = handler.at(kind);
    if (!action.object()) continue;
    if (count++ > 0) {
      action.forbidden("may not specify more than 1 handler type");
      continue;
    }
    switch (kind) {
      case "exec":
        if (action.at("command").length === 0) action.at("command").required();
        break;
      case "httpGet": {
        if (action.at("path").text() === "") action.at("path").required();
        checkPortNumberOrName(action.at("port"));
        checkOneOf(action.at("scheme"), ["HTTP", "HTTPS"]);
        for (const header of action.at("httpHeaders").items()) {
          const name = header.at("name");
          if (!/^[-A-Za-z0-9_]+$/.test(name.text())) {
            name.invalid(
              "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
              name.text(),
            );
          }
        }
        break;
      }
      case "tcpSocket":
        checkPortNumberOrName(action.at("port"));
        break;
      case "grpc":
        action
          .at("port")
          .invalidEach(portNumberProblems(action.at("port").integer() ?? 0), action.at("port").value ?? 0);
        break;
      default:
        checkNotNegative(action.at("seconds"));
    }
  }
  if (count === 0) handler.required("must specify a handler type");
}

function checkProbes(container: FieldCursor): void {
  for (const name of ["livenessProbe", "readinessProbe", "startupProbe"]) {
    const probe = container.at(name);
    if (!probe.object()) continue;
    checkHandler(probe, ["exec", "httpGet", "tcpSocket", "grpc"]);
    for (const field of [
      "initialDelaySeconds",
      "timeoutSeconds",
      "periodSeconds",
      "successThreshold",
      "failureThreshold",
    ]) {
      checkNotNegative(probe.at(field));
    }
    const grace = probe.at("terminationGracePeriodSeconds");
    if (grace.present) {
      if (name === "readinessProbe") grace.invalid("must not be set for readinessProbes");
      else if ((grace.integer() ?? 0) <= 0) grace.invalid("must be greater than 0");
    }
    const success = probe.at("successThreshold");
    if (name !== "readinessProbe" && success.present && success.value !== 1) success.invalid("must be 1");
  }
  const lifecycle = container.at("lifecycle");
  for (const hook of ["postStart", "preStop"]) {
    if (lifecycle.at(hook).object()) checkHandler(lifecycle.at(hook), ["exec", "httpGet", "tcpSocket", "sleep"]);
  }
}

const quantityUnits: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The value of a quantity such as `100m`, `1.5Gi` or `2e3`; `undefined` when it is none. Precise to a double. */
export function quantityValue(quantity: unknown): number | undefined {
  if (typeof quantity === "number") return Number.isFinite(quantity) ? quantity : undefined;
  if (typeof quantity !== "string") return undefined;
  const match = /^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i))?$/.exec(quantity);
  if (match === null) return undefined;
  return Number(`${match[1]}${match[2] ?? ""}`) * quantityUnits[match[3] ?? ""]!;
}

function checkResources(resources: FieldCursor): void {
  if (!resources.object()) return;
  const limits = resources.at("limits");
  for (const list of [limits, resources.at("requests")]) {
    for (const [name, quantity] of list.entries()) {
      quantity.invalidEach(qualifiedNameProblems(name), name);
      const value = quantityValue(quantity.value);
      if (value === undefined) {
        quantity.invalid("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
      } else if (value < 0) quantity.invalid("must be greater than or equal to 0");
      if (list !== limits && value !== undefined) {
        const limit = quantityValue(limits.at(name).value);
        if (limit !== undefined && value > limit) {
          quantity.invalid(`must be less than or equal to ${name} limit of ${String(limits.at(name).value)}`);
        }
      }
    }
  }
}

function checkVolumeMounts(container: FieldCursor, volumes: ReadonlySet<string>): void {
  const paths = new Set<string>();
  for (const mount of container.at("volumeMounts").items()) {
    const name = mount.at("name");
    if (name.text() === "") name.required();
    else if (!volumes.has(name.text())) name.errors.push(fieldNotFound(name.path, name.text()));
    const path = mount.at("mountPath");
    if (path.text() === "") path.required();
    else if (paths.has(path.text())) path.invalid("must be unique");
    paths.add(path.text());
    const subPath = mount.at("subPath").text();
    if (subPath.startsWith("/")) mount.at("subPath").invalid("must be a relative path");
    if (subPath.split("/").includes("..")) mount.at("subPath").invalid("must not contain '..'");
  }
}

interface ContainerScope {
  readonly volumes: ReadonlySet<string>;
  readonly names: Set<string>;
  readonly hostNetwork: boolean;
}

function checkContainer(container: FieldCursor, scope: ContainerScope, kind: "regular" | "init" | "ephemeral"): void {
  if (!container.object()) container.at("name").required();
  const name = container.at("name");
  if (container.present) {
    if (name.text() === "") name.required();
    else name.invalidEach(dnsLabelProblems(name.text()));
  }
  const image = container.at("image");
  if (image.text() === "") image.required();
  else if (image.text() !== image.text().trim()) image.invalid("must not have leading or trailing whitespace");
  checkProbes(container);
  checkOneOf(container.at("terminationMessagePolicy"), ["FallbackToLogsOnError", "File"]);
  checkContainerPorts(container.at("ports"), scope.hostNetwork);
  checkEnvironment(container);
  checkVolumeMounts(container, scope.volumes);
  checkOneOf(container.at("imagePullPolicy"), ["Always", "IfNotPresent", "Never"]);
  checkResources(container.at("resources"));
  const policy = container.at("restartPolicy");
  if (kind === "init" && policy.present && !["Always", "Never", "OnFailure"].includes(policy.text())) {
    policy.notSupported(["Always", "Never", "OnFailure"]);
  }
  if (scope.names.has(name.text()) && name.text() !== "") name.duplicate();
  scope.names.add(name.text());
}

function checkVolumes(volumes: FieldCursor): Set<string> {
  const names = new Set<string>();
  for (const volume of volumes.items()) {
    const name = volume.at("name");
    if (name.text() === "") name.required();
    else {
      name.invalidEach(dnsLabelProblems(name.text()));
      if (names.has(name.text())) name.duplicate();
    }
    const sources = Object.keys(objectOf(volume.value)).filter((key) => key !== "name" && volume.at(key).present);
    if (sources.length === 0) volume.required("must specify a volume type");
    for (const source of sources.slice(1)) volume.at(source).forbidden("may not specify more than 1 volume type");
    if (volume.at("hostPath").object() && volume.at("hostPath").at("path").text() === "") {
      volume.at("hostPath").at("path").required();
    }
    if (volume.at("configMap").object() && volume.at("configMap").at("name").text() === "") {
      volume.at("configMap").at("name").required();
    }
    if (volume.at("secret").object() && volume.at("secret").at("secretName").text() === "") {
      volume.at("secret").at("secretName").required();
    }
    if (
      volume.at("persistentVolumeClaim").object() &&
      volume.at("persistentVolumeClaim").at("claimName").text() === ""
    ) {
      volume.at("persistentVolumeClaim").at("claimName").required();
    }
    for (const item of volume.at("downwardAPI").at("items").items()) {
      if (item.at("path").text() === "") item.at("path").required();
      if (item.at("fieldRef").object()) checkFieldRef(item.at("fieldRef"), volumeFields);
    }
    if (name.text() !== "") names.add(name.text());
  }
  return names;
}

function checkHostPorts(spec: FieldCursor): void {
  const seen = new Set<string>();
  for (const container of spec.at("containers").items()) {
    for (const port of container.at("ports").items()) {
      const hostPort = port.at("hostPort").integer() ?? 0;
      if (hostPort === 0) continue;
      const key = `${port.at("protocol").text()}/${port.at("hostIP").text()}/${hostPort}`;
      if (seen.has(key)) port.at("hostPort").duplicate(key);
      seen.add(key);
    }
  }
}

function checkTolerations(tolerations: FieldCursor): void {
  for (const toleration of tolerations.items()) {
    const key = toleration.at("key");
    const operator = toleration.at("operator");
    if (key.text() !== "") key.invalidEach(qualifiedNameProblems(key.text()));
    else if (operator.text() !== "Exists") {
      operator.invalid(
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        operator.text(),
      );
    }
    const effect = toleration.at("effect");
    if (toleration.at("tolerationSeconds").present && effect.text() !== "NoExecute") {
      effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set", effect.text());
    }
    const value = toleration.at("value");
    switch (operator.text()) {
      case "":
      case "Equal":
        if (labelValueProblems(value.text()).length > 0) {
          operator.invalid(labelValueProblems(value.text()).join(";"), value.text());
        }
        break;
      case "Exists":
        if (value.text() !== "") operator.invalid("value must be empty when `operator` is 'Exists'", operator.text());
        break;
      default:
        operator.notSupported(["Equal", "Exists"]);
    }
    const effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if (effect.text() !== "" && !effects.includes(effect.text())) effect.notSupported(effects);
  }
}

/** Checks a pod's spec after defaulting, in a Pod or a template. */
export function checkPodSpec(spec: FieldCursor): void {
  spec.object();
  const volumes = checkVolumes(spec.at("volumes"));
  const hostNetwork = spec.at("hostNetwork").boolean() ?? false;
  const scope: ContainerScope = { volumes, names: new Set(), hostNetwork };
  const containers = spec.at("containers");
  if (containers.items().length === 0) containers.required();
  for (const container of containers.items()) checkContainer(container, scope, "regular");
  for (const container of spec.at("initContainers").items()) checkContainer(container, scope, "init");
  for (const container of spec.at("ephemeralContainers").items()) checkContainer(container, scope, "ephemeral");
  checkHostPorts(spec);
  checkOneOf(spec.at("restartPolicy"), ["Always", "OnFailure", "Never"]);
  checkOneOf(spec.at("dnsPolicy"), ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
  validateLabelMap(spec.at("nodeSelector"));
  for (const constraint of spec.at("topologySpreadConstraints").items()) {
    const skew = constraint.at("maxSkew");
    if ((skew.integer() ?? 0) <= 0) skew.invalid("must be greater than zero", skew.value ?? 0);
    const key = constraint.at("topologyKey");
    if (key.text() === "") key.required("can not be empty");
    else key.invalidEach(qualifiedNameProblems(key.text()));
    const unsatisfiable = constraint.at("whenUnsatisfiable");
    if (!["DoNotSchedule", "ScheduleAnyway"].includes(unsatisfiable.text())) {
      unsatisfiable.notSupported(["DoNotSchedule", "ScheduleAnyway"], unsatisfiable.text());
    }
    checkLabelSelector(constraint.at("labelSelector"));
  }
  const dnsPolicy = spec.at("dnsPolicy").text();
  const nameservers = spec.at("dnsConfig").at("nameservers");
  if (dnsPolicy === "None" && nameservers.items().length === 0) {
    spec
      .at("dnsConfig")
      .at("nameservers")
      .required("must provide at least one DNS nameserver when `dnsPolicy` is None");
  }
  for (const nameserver of nameservers.items()) {
    nameserver.invalidEach(addressProblems(nameserver.text()), nameserver.text());
  }
  for (const gate of spec.at("readinessGates").items()) {
    gate
      .at("conditionType")
      .invalidEach(qualifiedNameProblems(gate.at("conditionType").text()), gate.at("conditionType").text());
  }
  for (const field of ["serviceAccountName", "nodeName", "priorityClassName"]) {
    if (spec.at(field).text() !== "") spec.at(field).invalidEach(dnsSubdomainProblems(spec.at(field).text()));
  }
  const deadline = spec.at("activeDeadlineSeconds");
  const seconds = deadline.integer();
  if (seconds !== undefined && (seconds < 1 || seconds > 2147483647)) {
    deadline.invalid("must be between 1 and 2147483647, inclusive");
  }
  for (const field of ["hostname", "subdomain"]) {
    if (spec.at(field).text() !== "") spec.at(field).invalidEach(dnsLabelProblems(spec.at(field).text()));
  }
  checkTolerations(spec.at("tolerations"));
  for (const alias of spec.at("hostAliases").items()) {
    alias.at("ip").invalidEach(addressProblems(alias.at("ip").text()), alias.at("ip").text());
    for (const hostname of alias.at("hostnames").items()) {
      hostname.invalidEach(dnsSubdomainProblems(hostname.text().replace(/^\*\./, "")), hostname.text());
    }
  }
  checkNotNegative(spec.at("terminationGracePeriodSeconds"));
}

/** Checks the pod template of a workload. */
export function checkPodTemplate(template: FieldCursor): void {
  validateLabelMap(template.at("metadata").at("labels"));
  for (const [key] of template.at("metadata").at("annotations").entries()) {
    template.at("metadata").at("annotations").invalidEach(qualifiedNameProblems(key.toLowerCase()), key);
  }
  checkPodSpec(template.at("spec"));
}

/** Checks a Pod after defaulting. Never throws. */
export function validatePod(pod: Pod): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(pod, "", errors);
  root.object();
  checkObjectMeta(root.at("metadata"), { namespaced: true });
  checkPodSpec(root.at("spec"));
  return errors;
}

function withoutMutable(spec: unknown): unknown {
  const copy: JsonObject = { ...objectOf(spec) };
  const withoutImages = (containers: unknown) =>
    listOf(containers).map((container) => (isJsonObject(container) ? { ...container, image: undefined } : container));
  copy.containers = withoutImages(copy.containers);
  copy.initContainers = withoutImages(copy.initContainers);
  delete copy.activeDeadlineSeconds;
  delete copy.terminationGracePeriodSeconds;
  delete copy.tolerations;
  delete copy.ephemeralContainers;
  // A pod that is held back by scheduling gates may still lose them, and nodeName comes by binding.
  delete copy.schedulingGates;
  return canonicalText(JSON.parse(JSON.stringify(copy)));
}

/**
 * Checks a change of a Pod: only images, deadline, grace period and added tolerations may change. The real message ends in a
 * difference of Go values, which is left out here. Never throws.
 */
export function validatePodUpdate(pod: Pod, old: Pod): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(pod, "", errors);
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  const spec = root.at("spec");
  checkObjectMeta(root.at("metadata"), { namespaced: true });
  checkPodSpec(spec);
  const oldSpec = objectOf(fieldOf(old, "spec"));
  for (const field of ["containers", "initContainers"]) {
    if (spec.at(field).items().length !== listOf(oldSpec[field]).length) {
      spec.at(field).forbidden("pod updates may not add or remove containers");
      return errors;
    }
  }
  for (const container of spec.at("containers").items()) {
    if (container.at("image").text() === "") container.at("image").required();
  }
  const tolerations = new Set(listOf(fieldOf(spec.value, "tolerations")).map(canonicalText));
  const lost = listOf(oldSpec.tolerations).some((toleration) => !tolerations.has(canonicalText(toleration)));
  if (lost) spec.at("tolerations").forbidden("existing toleration can not be modified except its tolerationSeconds");
  if (withoutMutable(spec.value) !== withoutMutable(oldSpec)) {
    errors.push(
      forbidden(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
      ),
    );
  }
  return errors;
}

/** Checks a write to a Pod's status: addresses, and a node name that may not change. Never throws. */
export function validatePodStatusUpdate(pod: Pod, old: Pod): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(pod, "", errors);
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  const status = root.at("status");
  const nodeName = root.at("spec").at("nodeName");
  if (nodeName.text() !== textOf(pathOf(old, "spec", "nodeName"))) {
    nodeName.as("status.nodeName").forbidden("may not be changed directly");
  }
  const nominated = status.at("nominatedNodeName");
  if (nominated.text() !== "") nominated.invalidEach(dnsSubdomainProblems(nominated.text()));
  for (const field of ["podIPs", "hostIPs"]) {
    const known = listOf(pathOf(old, "status", field)).map((entry) => fieldOf(entry, "ip"));
    for (const entry of status.at(field).items()) {
      const ip = entry.at("ip").text();
      entry.as(entry.path).invalidEach(addressProblems(ip, !known.includes(ip)), ip);
    }
  }
  return errors;
}
