import { describe, expect, it } from "vitest";
import {
  ageOf,
  alreadyExistsStatus,
  applyConflictStatus,
  applyDefaults,
  conflictStatus,
  type Deployment,
  expandVariables,
  forbiddenStatus,
  formatAge,
  formatFieldErrors,
  internalErrorStatus,
  type KubernetesObject,
  notFoundStatus,
  type Pod,
  resources,
  type Service,
  StatusError,
  serviceEnvironment,
  serviceVariables,
  statusErrorOf,
  tooLargeResourceVersionStatus,
  validateObject,
} from "../src/index.ts";

describe("Status", () => {
  it("names resources with their group", () => {
    expect(notFoundStatus(resources.deployments, "web").status).toEqual({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: 'deployments.apps "web" not found',
      reason: "NotFound",
      details: { name: "web", group: "apps", kind: "deployments" },
      code: 404,
    });
    expect(alreadyExistsStatus(resources.services, "a").message).toBe('services "a" already exists');
    expect(conflictStatus(resources.services, "a").message).toBe(
      'Operation cannot be fulfilled on services "a": the object has been modified; please apply your changes to the latest version and try again',
    );
  });

  it("has the forms of Forbidden", () => {
    expect(forbiddenStatus(undefined, "", 'User "u" cannot get path "/api"').message).toBe(
      'forbidden: User "u" cannot get path "/api"',
    );
    expect(forbiddenStatus(resources.nodes, "", "no").message).toBe("nodes is forbidden: no");
    expect(forbiddenStatus(resources.namespaces, "kube-system", "this namespace may not be deleted").message).toBe(
      'namespaces "kube-system" is forbidden: this namespace may not be deleted',
    );
  });

  it("keeps the causes of internal errors, timeouts and apply conflicts", () => {
    expect(internalErrorStatus("boom").status.details).toEqual({ causes: [{ message: "boom" }] });
    expect(tooLargeResourceVersionStatus(9, 3).status).toMatchObject({
      message: "Timeout: Too large resource version: 9, current: 3",
      details: { retryAfterSeconds: 1 },
      code: 504,
    });
    const owner = '"creator" using v1';
    expect(applyConflictStatus([{ owner, field: ".spec.selector" }]).message).toBe(
      'Apply failed with 1 conflict: conflict with "creator" using v1: .spec.selector',
    );
    expect(
      applyConflictStatus([
        { owner, field: ".spec.a" },
        { owner, field: ".spec.b" },
      ]).message,
    ).toBe('Apply failed with 2 conflicts: conflicts with "creator" using v1:\n- .spec.a\n- .spec.b');
  });

  it("is made of anything thrown", () => {
    const error = statusErrorOf(new Error("raw"));
    expect(error).toBeInstanceOf(StatusError);
    expect(error.status).toEqual({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: "raw",
      code: 500,
    });
  });
});

describe("defaults", () => {
  it("of a Deployment", () => {
    const deployment: Deployment = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web" },
      spec: {
        selector: { matchLabels: { app: "web" } },
        template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "c", image: "nginx:1.24" }] } },
      },
    };
    expect(applyDefaults(deployment).spec).toEqual({
      replicas: 1,
      selector: { matchLabels: { app: "web" } },
      template: {
        metadata: { labels: { app: "web" } },
        spec: {
          containers: [
            {
              name: "c",
              image: "nginx:1.24",
              resources: {},
              terminationMessagePath: "/dev/termination-log",
              terminationMessagePolicy: "File",
              imagePullPolicy: "IfNotPresent",
            },
          ],
          restartPolicy: "Always",
          terminationGracePeriodSeconds: 30,
          dnsPolicy: "ClusterFirst",
          securityContext: {},
          schedulerName: "default-scheduler",
        },
      },
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "25%", maxSurge: "25%" } },
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
    });
    expect(validateObject({ ...deployment, metadata: { name: "web", namespace: "default" } })).toEqual([]);
  });

  it.each([
    ["nginx", "Always"],
    ["nginx:latest", "Always"],
    ["nginx:1", "IfNotPresent"],
    ["host:5000/nginx", "Always"],
    ["nginx@sha256:0123", "IfNotPresent"],
  ])("pull policy of %s is %s", (image, policy) => {
    const pod: Pod = { kind: "Pod", metadata: {}, spec: { containers: [{ name: "c", image }] } };
    expect(applyDefaults(pod).spec?.containers[0]?.imagePullPolicy).toBe(policy);
  });

  it("enable service links of pods but not of templates", () => {
    const pod: Pod = { kind: "Pod", metadata: {}, spec: { containers: [] } };
    expect(applyDefaults(pod).spec?.enableServiceLinks).toBe(true);
  });
});

describe("validation of other kinds", () => {
  const text = (object: unknown) => {
    const defaulted = applyDefaults(object as KubernetesObject);
    return formatFieldErrors(validateObject(defaulted));
  };

  it("Pod", () => {
    const metadata = { name: "p", namespace: "default" };
    expect(text({ kind: "Pod", metadata, spec: {} })).toBe("spec.containers: Required value");
    const containers = [{ name: "A_", ports: [{}, { name: "UPPER", containerPort: 80, protocol: "X" }] }];
    const errors = validateObject(
      applyDefaults({ kind: "Pod", metadata, spec: { containers } } as unknown as KubernetesObject),
    );
    expect(errors.map((error) => error.field)).toEqual([
      "spec.containers[0].name",
      "spec.containers[0].image",
      "spec.containers[0].ports[0].containerPort",
      "spec.containers[0].ports[1].name",
      "spec.containers[0].ports[1].name",
      "spec.containers[0].ports[1].protocol",
    ]);
  });

  it("Deployment: the selector must match the template", () => {
    const template = { metadata: { labels: { app: "y" } }, spec: { containers: [{ name: "c", image: "i" }] } };
    const deployment = (selector?: unknown) => ({
      kind: "Deployment",
      metadata: { name: "d", namespace: "default" },
      spec: { template: structuredClone(template), ...(selector === undefined ? {} : { selector }) },
    });
    const mismatch =
      'spec.template.metadata.labels: Invalid value: {"app":"y"}: `selector` does not match template `labels`';
    expect(text(deployment({ matchLabels: { app: "x" } }))).toBe(mismatch);
    expect(text(deployment())).toBe(`[spec.selector: Required value, ${mismatch}]`);
    expect(text(deployment({ matchLabels: { app: "y" } }))).toBe("");
  });

  it("EndpointSlice", () => {
    const slice = (endpoint: unknown, addressType = "IPv4") => ({
      kind: "EndpointSlice",
      metadata: { name: "s", namespace: "default" },
      addressType,
      endpoints: [endpoint],
    });
    expect(text(slice({ addresses: ["::1"] }))).toBe(
      '[endpoints[0].addresses: Invalid value: "::1": must be an IPv4 address, endpoints[0].addresses[0]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)]',
    );
    expect(text(slice({ addresses: ["10.0.0.1"] }, "IPv5"))).toBe(
      'addressType: Unsupported value: "IPv5": supported values: "FQDN", "IPv4", "IPv6"',
    );
    expect(text(slice({ addresses: [] }))).toBe(
      "endpoints[0].addresses: Required value: must contain at least 1 address",
    );
  });

  it("ConfigMap keeps what is immutable", () => {
    const map = (data: Record<string, string>) => ({
      kind: "ConfigMap",
      metadata: { name: "c", namespace: "default" },
      data,
      immutable: true,
    });
    expect(
      formatFieldErrors(validateObject(map({ a: "2" }) as KubernetesObject, map({ a: "1" }) as KubernetesObject)),
    ).toBe("data: Forbidden: field is immutable when `immutable` is set");
  });

  it("ServiceCIDR and IPAddress", () => {
    expect(text({ kind: "ServiceCIDR", metadata: { name: "c" }, spec: { cidrs: ["fd00::/48"] } })).toContain(
      "shortest allowed prefix length for service CIDR is 64, got 48",
    );
    const parentRef = { group: "", resource: "services", namespace: "default", name: "web" };
    expect(text({ kind: "IPAddress", metadata: { name: "10.96.0.1" }, spec: { parentRef } })).toBe("");
    expect(text({ kind: "IPAddress", metadata: { name: "10.96.0.01" }, spec: { parentRef } })).toContain(
      "metadata.name",
    );
  });
});

describe("ages", () => {
  it.each([
    [-1, "0s"],
    [-5, "<invalid>"],
    [0, "0s"],
    [119.9, "119s"],
    [120, "2m"],
    [599, "9m59s"],
    [600, "10m"],
    [10800, "3h"],
    [11100, "3h5m"],
    [172799, "47h"],
    [176400, "2d1h"],
    [691200, "8d"],
    [63072000, "2y"],
    [63072000 + 86400, "2y1d"],
    [315360000, "10y"],
  ])("%d s is %s", (seconds, text) => {
    expect(formatAge(seconds)).toBe(text);
  });

  it("of a timestamp", () => {
    expect(ageOf("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:05:00Z"))).toBe("5m");
    expect(ageOf(null, 0)).toBe("<unknown>");
  });
});

describe("service variables", () => {
  const service = (namespace: string, name: string, clusterIP: string): Service => ({
    metadata: { name, namespace },
    spec: { clusterIP, ports: [{ port: 80, protocol: "TCP" }] },
  });

  it("are seven for one port", () => {
    expect(serviceVariables(service("default", "web-service", "10.96.0.7"))).toEqual([
      { name: "WEB_SERVICE_SERVICE_HOST", value: "10.96.0.7" },
      { name: "WEB_SERVICE_SERVICE_PORT", value: "80" },
      { name: "WEB_SERVICE_PORT", value: "tcp://10.96.0.7:80" },
      { name: "WEB_SERVICE_PORT_80_TCP", value: "tcp://10.96.0.7:80" },
      { name: "WEB_SERVICE_PORT_80_TCP_PROTO", value: "tcp" },
      { name: "WEB_SERVICE_PORT_80_TCP_PORT", value: "80" },
      { name: "WEB_SERVICE_PORT_80_TCP_ADDR", value: "10.96.0.7" },
    ]);
  });

  it("hold the API server always and neighbours with service links", () => {
    const services = [
      service("default", "kubernetes", "10.96.0.1"),
      service("default", "other", "10.96.0.2"),
      service("a", "kubernetes", "10.96.0.3"),
      service("a", "web", "10.96.0.4"),
      service("a", "headless", "None"),
    ];
    const hosts = (links: boolean) =>
      serviceEnvironment(services, "a", links)
        .filter((variable) => variable.name.endsWith("_HOST"))
        .map((variable) => variable.value);
    expect(hosts(true)).toEqual(["10.96.0.3", "10.96.0.4"]);
    expect(hosts(false)).toEqual(["10.96.0.1"]);
  });

  it("can be referred to", () => {
    const variables = new Map([["HOST", "h"]]);
    expect(expandVariables("$(HOST):$$(HOST) $(NONE) $x $( $", variables)).toBe("h:$(HOST) $(NONE) $x $( $");
  });
});
