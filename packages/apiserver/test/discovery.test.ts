import { describe, expect, test } from "vitest";
import { builtinResources, discoveryResponse, type VersionInfo } from "../src/discovery/index.ts";

const version: VersionInfo = {
  major: "1",
  minor: "36",
  gitVersion: "v1.36.2",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "",
  compiler: "",
  platform: "",
};

interface Resource {
  name: string;
  storageVersionHash?: string;
  [field: string]: unknown;
}

function get(path: string, accept = "application/json") {
  const response = discoveryResponse(path, accept, builtinResources, version);
  return response === undefined ? undefined : { ...response, body: JSON.parse(response.body) };
}

const aggregatedAccept =
  "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

describe("discovery", () => {
  test("groups and versions", () => {
    expect(get("/api")?.body.versions).toEqual(["v1"]);
    expect(get("/apis/apps")?.body).toEqual({
      kind: "APIGroup",
      apiVersion: "v1",
      name: "apps",
      versions: [{ groupVersion: "apps/v1", version: "v1" }],
      preferredVersion: { groupVersion: "apps/v1", version: "v1" },
    });
    const names = get("/apis")?.body.groups.map((group: { name: string }) => group.name);
    expect(names.slice(0, 2)).toEqual(["apiregistration.k8s.io", "apps"]);
    expect(get("/version")?.body.gitVersion).toBe("v1.36.2");
  });

  test("what is not served is not answered", () => {
    for (const path of ["/", "/apis/nothing", "/apis/apps/v2", "/api/v2", "/api/v1/pods", "/healthz"]) {
      expect(get(path), path).toBeUndefined();
    }
  });

  test("resources of a version, with their subresources in order", () => {
    const body: { groupVersion: string; resources: Resource[] } = get("/api/v1")?.body;
    const { groupVersion, resources } = body;
    expect(groupVersion).toBe("v1");
    const names = resources.map(({ name }) => name);
    expect(names).toEqual([...names].sort());
    const find = (name: string) => resources.find((resource) => resource.name === name);
    expect(find("services")).toEqual({
      name: "services",
      singularName: "service",
      namespaced: true,
      kind: "Service",
      verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
      shortNames: ["svc"],
      categories: ["all"],
      storageVersionHash: "0/CO1lhkEBI=",
    });
    expect(find("pods/eviction")).toEqual({
      name: "pods/eviction",
      singularName: "",
      namespaced: true,
      group: "policy",
      version: "v1",
      kind: "Eviction",
      verbs: ["create"],
    });
    expect(find("configmaps")?.storageVersionHash).toBe("qFsyl6wFWjQ=");
    expect(find("pods")?.storageVersionHash).toBe("xPOwRZ+Yhw8=");
    expect(find("bindings")?.storageVersionHash).toBeUndefined();
  });

  test("events are one kind in two groups", () => {
    expect(get("/apis/events.k8s.io/v1")?.body.resources[0].storageVersionHash).toBe("r2yiGXH7wu8=");
  });

  test("one document with everything, for those who ask", () => {
    const response = get("/apis", aggregatedAccept);
    expect(response?.contentType).toBe("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    const apps = response?.body.items.find((item: { metadata: { name: string } }) => item.metadata.name === "apps");
    expect(
      apps.versions[0].resources.find((each: { resource: string }) => each.resource === "deployments"),
    ).toMatchObject({
      responseKind: { group: "apps", version: "v1", kind: "Deployment" },
      scope: "Namespaced",
      singularResource: "deployment",
      shortNames: ["deploy"],
      subresources: [
        { subresource: "scale", responseKind: { group: "autoscaling", version: "v1", kind: "Scale" } },
        { subresource: "status", responseKind: { group: "apps", version: "v1", kind: "Deployment" } },
      ],
    });
    expect(get("/api", aggregatedAccept)?.body.items).toHaveLength(1);
  });

  test("what the client does not accept is 406", () => {
    expect(get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")?.status).toBe(406);
    expect(get("/api/v1", aggregatedAccept)?.body.kind).toBe("APIResourceList");
    expect(get("/apis", "text/html")?.body).toMatchObject({ kind: "Status", reason: "NotAcceptable", code: 406 });
    expect(get("/apis", "*/*")?.body.kind).toBe("APIGroupList");
    expect(get("/apis", "")?.body.kind).toBe("APIGroupList");
    expect(get("/apis", `application/json;q=0.5,${aggregatedAccept.split(",")[0]}`)?.body.kind).toBe(
      "APIGroupDiscoveryList",
    );
  });
});
