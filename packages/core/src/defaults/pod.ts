import { fieldOf, isJsonObject, type JsonObject, objectOf, pathOf, textOf } from "../json.ts";
import type { Pod, PodTemplateSpec } from "../types/workload.ts";
import { ensureObject, fill, fillText, objectsIn } from "./fill.ts";

/** `Always` for a tag `latest` or none, `IfNotPresent` for any other tag or a digest. */
function imagePullPolicyOf(image: string): "Always" | "IfNotPresent" {
  const name = image.slice(image.lastIndexOf("/") + 1);
  if (name.includes("@")) return "IfNotPresent";
  const colon = name.indexOf(":");
  return colon < 0 || name.slice(colon + 1) === "latest" ? "Always" : "IfNotPresent";
}

function defaultHttpGet(handler: JsonObject): void {
  const httpGet = handler.httpGet;
  if (!isJsonObject(httpGet)) return;
  fillText(httpGet, "path", "/");
  fillText(httpGet, "scheme", "HTTP");
}

function fillNumber(object: JsonObject, name: string, value: number): void {
  if (object[name] === 0) object[name] = value;
  fill(object, name, value);
}

function defaultProbe(probe: unknown): void {
  if (!isJsonObject(probe)) return;
  defaultHttpGet(probe);
  if (isJsonObject(probe.grpc)) fill(probe.grpc, "service", "");
  fillNumber(probe, "timeoutSeconds", 1);
  fillNumber(probe, "periodSeconds", 10);
  fillNumber(probe, "successThreshold", 1);
  fillNumber(probe, "failureThreshold", 3);
}

function defaultContainer(container: JsonObject): void {
  if (textOf(container.imagePullPolicy) === "") {
    fillText(container, "imagePullPolicy", imagePullPolicyOf(textOf(container.image)));
  }
  fillText(container, "terminationMessagePath", "/dev/termination-log");
  fillText(container, "terminationMessagePolicy", "File");
  fill(container, "resources", {});
  for (const port of objectsIn(container.ports)) fillText(port, "protocol", "TCP");
  for (const variable of objectsIn(container.env)) {
    const fieldRef = pathOf(variable, "valueFrom", "fieldRef");
    if (isJsonObject(fieldRef)) fillText(fieldRef, "apiVersion", "v1");
    const resourceFieldRef = pathOf(variable, "valueFrom", "resourceFieldRef");
    if (isJsonObject(resourceFieldRef)) fill(resourceFieldRef, "divisor", "0");
  }
  defaultProbe(container.livenessProbe);
  defaultProbe(container.readinessProbe);
  defaultProbe(container.startupProbe);
  for (const hook of ["postStart", "preStop"]) {
    const handler = pathOf(container, "lifecycle", hook);
    if (isJsonObject(handler)) defaultHttpGet(handler);
  }
}

const defaultVolumeMode = 0o644;

function defaultDownwardItems(source: JsonObject): void {
  for (const item of objectsIn(source.items)) {
    if (isJsonObject(item.fieldRef)) fillText(item.fieldRef, "apiVersion", "v1");
    if (isJsonObject(item.resourceFieldRef)) fill(item.resourceFieldRef, "divisor", "0");
  }
}

function defaultVolume(volume: JsonObject): void {
  if (!Object.keys(volume).some((key) => key !== "name" && volume[key] !== undefined && volume[key] !== null)) {
    volume.emptyDir = {};
  }
  for (const source of ["secret", "configMap", "projected", "downwardAPI"]) {
    const value = volume[source];
    if (isJsonObject(value)) fill(value, "defaultMode", defaultVolumeMode);
  }
  if (isJsonObject(volume.hostPath)) fill(volume.hostPath, "type", "");
  if (isJsonObject(volume.downwardAPI)) defaultDownwardItems(volume.downwardAPI);
  for (const source of objectsIn(pathOf(volume, "projected", "sources"))) {
    if (isJsonObject(source.serviceAccountToken)) fill(source.serviceAccountToken, "expirationSeconds", 3600);
    if (isJsonObject(source.downwardAPI)) defaultDownwardItems(source.downwardAPI);
  }
}

function containersOf(spec: JsonObject): JsonObject[] {
  return [...objectsIn(spec.initContainers), ...objectsIn(spec.containers), ...objectsIn(spec.ephemeralContainers)];
}

function defaultPodSpec(spec: JsonObject): void {
  fillText(spec, "dnsPolicy", "ClusterFirst");
  fillText(spec, "restartPolicy", "Always");
  fill(spec, "securityContext", {});
  fill(spec, "terminationGracePeriodSeconds", 30);
  fillText(spec, "schedulerName", "default-scheduler");
  const account = textOf(spec.serviceAccountName) || textOf(spec.serviceAccount);
  if (account !== "") {
    fillText(spec, "serviceAccountName", account);
    fillText(spec, "serviceAccount", account);
  }
  for (const container of containersOf(spec)) defaultContainer(container);
  for (const volume of objectsIn(spec.volumes)) defaultVolume(volume);
}

/** Decode-time defaults of a pod template, in place. Returns the same object. */
export function defaultPodTemplate<T extends PodTemplateSpec>(template: T): T {
  if (isJsonObject(template) && isJsonObject(template.spec)) defaultPodSpec(template.spec);
  return template;
}

/**
 * Decode-time defaults of a Pod, in place: those of its template, `enableServiceLinks`, requests taken from limits, and host ports of
 * pods in the host's network. Returns the same object.
 */
export function defaultPod<T extends Pod>(pod: T): T {
  if (!isJsonObject(pod)) return pod;
  const spec = ensureObject(pod as JsonObject, "spec");
  if (spec === undefined) return pod;
  defaultPodSpec(spec);
  fill(spec, "enableServiceLinks", true);
  for (const container of [...objectsIn(spec.initContainers), ...objectsIn(spec.containers)]) {
    const limits = objectOf(fieldOf(container.resources, "limits"));
    if (Object.keys(limits).length > 0 && isJsonObject(container.resources)) {
      const requests = ensureObject(container.resources, "requests");
      if (requests !== undefined) for (const [name, value] of Object.entries(limits)) fill(requests, name, value);
    }
    if (spec.hostNetwork === true) {
      for (const port of objectsIn(container.ports)) {
        if (port.hostPort === 0) delete port.hostPort;
        if (port.containerPort !== undefined) fill(port, "hostPort", port.containerPort);
      }
    }
  }
  return pod;
}
