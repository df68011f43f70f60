import { describe, expect, it } from "vitest";
import {
  applyDefaults,
  formatFieldErrors,
  invalidStatus,
  resources,
  type Service,
  type ServiceSpec,
  validateObject,
  validateService,
  validateServiceStatusUpdate,
  validateServiceUpdate,
} from "../src/index.ts";

function service(spec: Partial<ServiceSpec> & Record<string, unknown> = {}, metadata = {}): Service {
  return applyDefaults({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default", ...metadata },
    spec: { selector: { app: "web" }, ports: [{ port: 80 }], ...spec } as ServiceSpec,
  });
}

const allocated = {
  clusterIP: "10.96.0.5",
  clusterIPs: ["10.96.0.5"],
  ipFamilies: ["IPv4" as const],
  ipFamilyPolicy: "SingleStack" as const,
};

describe("validateService", () => {
  it("accepts a manifest after defaulting, before anything is allocated", () => {
    expect(validateService(service())).toEqual([]);
    expect(validateService(service({ type: "LoadBalancer", externalTrafficPolicy: "Local" }))).toEqual([]);
  });

  it("states what is wrong in Kubernetes' words and order", () => {
    const errors = validateService(service({ type: "Headless" as "ClusterIP", ports: [{ port: 0, name: "A_" }] }));
    expect(errors.map((error) => error.field)).toEqual([
      "spec.ports[0].name",
      "spec.ports[0].port",
      "spec.ports[0].targetPort",
      "spec.type",
    ]);
    expect(invalidStatus(resources.services, "web", errors.slice(-1)).message).toBe(
      'Service "web" is invalid: spec.type: Unsupported value: "Headless": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
    );
  });

  it("reports a port without a number as 0", () => {
    const errors = validateService(service({ ports: [{} as { port: number }] }));
    expect(formatFieldErrors(errors)).toBe(
      "[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]",
    );
  });

  it("reads a quoted number as a name", () => {
    expect(formatFieldErrors(validateService(service({ ports: [{ port: 80, targetPort: "80" }] })))).toBe(
      'spec.ports[0].targetPort: Invalid value: "80": must contain at least one letter (a-z)',
    );
  });

  it("refuses leading zeros unless the gate is off or the old object has them", () => {
    const spec = { externalIPs: ["203.000.113.5"] };
    expect(formatFieldErrors(validateService(service(spec)))).toContain("must not have leading 0s");
    expect(validateService(service(spec), { StrictIPCIDRValidation: false })).toEqual([]);
    expect(validateServiceUpdate(service(spec), service(spec))).toEqual([]);
  });

  it("lets names start with a digit, and not with the gate off", () => {
    expect(validateService(service({}, { name: "9a" }))).toEqual([]);
    expect(
      formatFieldErrors(validateService(service({}, { name: "9a" }), { RelaxedServiceNameValidation: false })),
    ).toMatch(/^metadata\.name: Invalid value: "9a": a DNS-1035 label must/);
  });

  it("trims source ranges and names their field with a capital letter", () => {
    expect(validateService(service({ type: "LoadBalancer", loadBalancerSourceRanges: [" 10.0.0.0/8 "] }))).toEqual([]);
    expect(
      validateService(service({ type: "LoadBalancer", loadBalancerSourceRanges: ["10.1.0.0/8"] })).map((e) => e.field),
    ).toEqual(["spec.LoadBalancerSourceRanges[0]"]);
  });

  it("shows a duplicate port as Go prints it", () => {
    const errors = validateService(
      service({
        ports: [
          { name: "a", port: 80 },
          { name: "b", port: 80 },
        ],
      }),
    );
    expect(formatFieldErrors(errors)).toBe(
      'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}',
    );
  });

  it("reports values of a wrong JSON type and goes on", () => {
    const errors = validateService(service({ selector: 5 as never, ports: "x" as never }));
    expect(errors.map((error) => [error.type, error.field])).toEqual(
      expect.arrayContaining([
        ["FieldValueTypeInvalid", "spec.selector"],
        ["FieldValueTypeInvalid", "spec.ports"],
      ]),
    );
  });
});

describe("validateServiceUpdate", () => {
  it("keeps the primary cluster IP", () => {
    const errors = validateServiceUpdate(
      service({ ...allocated, clusterIP: "10.96.0.9", clusterIPs: ["10.96.0.9"] }),
      service(allocated),
    );
    expect(formatFieldErrors(errors)).toBe('spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set');
  });

  it("keeps the health-check node port while it is needed", () => {
    const spec = { ...allocated, type: "LoadBalancer" as const, externalTrafficPolicy: "Local" as const };
    const errors = validateServiceUpdate(
      service({ ...spec, healthCheckNodePort: 31000 }),
      service({ ...spec, healthCheckNodePort: 31001 }),
    );
    expect(formatFieldErrors(errors)).toBe("spec.healthCheckNodePort: Forbidden: field is immutable");
  });

  it("refuses new finalizers on an object that is being deleted", () => {
    const old = service(allocated, { deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: ["a.b/c"] });
    const changed = service(allocated, { deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: ["a.b/c", "x.y/z"] });
    expect(formatFieldErrors(validateServiceUpdate(changed, old))).toBe(
      'metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x.y/z"}',
    );
  });

  it("shows repeated causes once in the message and all of them as causes", () => {
    const errors = validateObject(service(allocated, { uid: "b" }), service(allocated, { uid: "a" }));
    const { status } = invalidStatus(resources.services, "web", errors);
    expect(status.message).toBe('Service "web" is invalid: metadata.uid: Invalid value: "b": field is immutable');
    expect(status.details?.causes).toHaveLength(2);
  });
});

describe("validateServiceStatusUpdate", () => {
  const balanced = (ingress: unknown[], type: "LoadBalancer" | "ClusterIP" = "LoadBalancer") => ({
    ...service({ type }),
    status: { loadBalancer: { ingress: ingress as [] } },
  });

  it("wants a mode with an address, and no address as a hostname", () => {
    const errors = validateServiceStatusUpdate(balanced([{ ip: "192.0.2.1" }, { hostname: "192.0.2.1" }]), service());
    expect(formatFieldErrors(errors)).toBe(
      '[status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set, status.loadBalancer.ingress[1].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address]',
    );
  });

  it("has no ingress on other types", () => {
    expect(
      formatFieldErrors(validateServiceStatusUpdate(balanced([{ hostname: "a.b" }], "ClusterIP"), service())),
    ).toBe("status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'");
  });
});
