import { afterEach, describe, expect, test } from "vitest";
import { type ApiServer, createApiServer, type User } from "../src/index.ts";
import { send } from "./client.ts";

const servers: ApiServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(): Promise<ApiServer> {
  const server = await createApiServer();
  servers.push(server);
  return server;
}

const rbac = "/apis/rbac.authorization.k8s.io/v1";
const jane: User = { name: "jane", groups: ["developers", "system:authenticated"], access: "none" };
const apiGroup = "rbac.authorization.k8s.io";

function role(kind: "Role" | "ClusterRole", name: string, rules: readonly object[]): object {
  return { apiVersion: "rbac.authorization.k8s.io/v1", kind, metadata: { name }, rules };
}

function binding(
  kind: "RoleBinding" | "ClusterRoleBinding",
  name: string,
  roleRef: { kind: string; name: string },
  subject: object = { kind: "User", name: "jane" },
): object {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind,
    metadata: { name },
    roleRef: { apiGroup, ...roleRef },
    subjects: [subject],
  };
}

const podReader = [{ apiGroups: [""], resources: ["pods", "pods/log"], verbs: ["get", "list"] }];

describe("roles and bindings", () => {
  test("allow what their rules say, where the binding is", async () => {
    const server = await start();
    const as = (method: string, path: string, body?: object) => send(server, method, path, body, {}, jane);
    const refused = await as("GET", "/api/v1/namespaces/default/pods");
    expect([refused.status, refused.body.message]).toEqual([
      403,
      'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
    ]);
    await send(server, "POST", `${rbac}/namespaces/default/roles`, role("Role", "pod-reader", podReader));
    const bound = await send(
      server,
      "POST",
      `${rbac}/namespaces/default/rolebindings`,
      binding("RoleBinding", "jane", { kind: "Role", name: "pod-reader" }),
    );
    expect(bound.body.subjects).toEqual([{ kind: "User", apiGroup, name: "jane" }]);
    expect((await as("GET", "/api/v1/namespaces/default/pods")).status).toBe(200);
    expect((await as("GET", "/api/v1/namespaces/kube-system/pods")).status).toBe(403);
    expect((await as("GET", "/api/v1/pods")).status).toBe(403);
    expect((await as("DELETE", "/api/v1/namespaces/default/pods/a")).status).toBe(403);
    expect((await as("GET", "/api/v1/namespaces/default/pods/a/log")).status).toBe(404);
    expect((await as("GET", "/api/v1/namespaces/default/pods/a/status")).status).toBe(403);
    await send(server, "DELETE", `${rbac}/namespaces/default/rolebindings/jane`);
    expect((await as("GET", "/api/v1/namespaces/default/pods")).status).toBe(403);
  });

  test("reach groups, names, wildcards and paths", async () => {
    const server = await start();
    const as = (method: string, path: string) => send(server, method, path, undefined, {}, jane);
    const rules = [
      { apiGroups: [""], resources: ["configmaps"], resourceNames: ["mine"], verbs: ["get"] },
      { apiGroups: ["apps"], resources: ["*"], verbs: ["*"] },
      { nonResourceURLs: ["/metrics", "/logs/*"], verbs: ["get"] },
    ];
    await send(server, "POST", `${rbac}/clusterroles`, role("ClusterRole", "mixed", rules));
    const group = { kind: "Group", name: "developers" };
    await send(
      server,
      "POST",
      `${rbac}/clusterrolebindings`,
      binding("ClusterRoleBinding", "developers", { kind: "ClusterRole", name: "mixed" }, group),
    );
    expect((await as("GET", "/api/v1/namespaces/default/configmaps/mine")).status).toBe(404);
    expect((await as("GET", "/api/v1/namespaces/default/configmaps/other")).status).toBe(403);
    expect((await as("GET", "/apis/apps/v1/deployments")).status).toBe(200);
    expect((await as("DELETE", "/apis/apps/v1/namespaces/default/deployments/a")).status).toBe(404);
    expect((await as("GET", "/metrics")).status).toBe(200);
    expect((await as("GET", "/logs/a")).status).toBe(404);
    expect((await as("GET", "/healthz")).status).toBe(200);
    expect((await as("GET", "/apis")).status).toBe(200);
    expect((await as("GET", "/other")).body.message).toBe('forbidden: User "jane" cannot get path "/other"');
  });

  test("say what is missing when a binding leads nowhere", async () => {
    const server = await start();
    await send(
      server,
      "POST",
      `${rbac}/clusterrolebindings`,
      binding("ClusterRoleBinding", "b", { kind: "ClusterRole", name: "gone" }),
    );
    const { body } = await send(server, "GET", "/api/v1/nodes", undefined, {}, jane);
    expect(body.message).toBe(
      'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found',
    );
  });

  test("the default roles are there; admin, edit and view gather theirs", async () => {
    const server = await start();
    const view = (await send(server, "GET", `${rbac}/clusterroles/view`)).body;
    expect(view.rules.length).toBeGreaterThan(5);
    const own = { ...role("ClusterRole", "crontab-view", [{ apiGroups: ["x.y"], resources: ["z"], verbs: ["get"] }]) };
    const labels = { "rbac.authorization.k8s.io/aggregate-to-view": "true" };
    await send(server, "POST", `${rbac}/clusterroles`, { ...own, metadata: { name: "crontab-view", labels } });
    for (const name of ["view", "edit", "admin"]) {
      const { rules } = (await send(server, "GET", `${rbac}/clusterroles/${name}`)).body;
      expect(rules).toContainEqual({ apiGroups: ["x.y"], resources: ["z"], verbs: ["get"] });
    }
    await send(
      server,
      "POST",
      `${rbac}/namespaces/default/rolebindings`,
      binding("RoleBinding", "v", { kind: "ClusterRole", name: "view" }),
    );
    const as = (method: string, path: string, body?: object) => send(server, method, path, body, {}, jane);
    expect((await as("GET", "/api/v1/namespaces/default/services")).status).toBe(200);
    expect((await as("GET", "/api/v1/namespaces/default/secrets")).status).toBe(403);
    expect((await as("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: "a" } })).status).toBe(403);
  });

  test("nobody grants what they do not have", async () => {
    const server = await start();
    const writeRoles = [
      { apiGroups: [apiGroup], resources: ["roles", "rolebindings"], verbs: ["create", "update", "patch", "get"] },
      { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    ];
    await send(server, "POST", `${rbac}/clusterroles`, role("ClusterRole", "roles", writeRoles));
    await send(
      server,
      "POST",
      `${rbac}/namespaces/default/rolebindings`,
      binding("RoleBinding", "r", { kind: "ClusterRole", name: "roles" }),
    );
    const roles = `${rbac}/namespaces/default/roles`;
    const as = (path: string, body: object) => send(server, "POST", path, body, {}, jane);
    expect(
      (await as(roles, role("Role", "ok", [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }]))).status,
    ).toBe(201);
    const more = await as(
      roles,
      role("Role", "more", [{ apiGroups: [""], resources: ["secrets"], verbs: ["get", "list"] }]),
    );
    expect([more.status, more.body.message]).toEqual([
      403,
      'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["developers" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n' +
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}\n{APIGroups:[""], Resources:["secrets"], Verbs:["list"]}',
    ]);
    const admin = binding("RoleBinding", "self", { kind: "ClusterRole", name: "cluster-admin" });
    expect((await as(`${rbac}/namespaces/default/rolebindings`, admin)).status).toBe(403);
  });

  test("that are wrong are refused", async () => {
    const server = await start();
    const causes = async (path: string, body: object) =>
      ((await send(server, "POST", path, body)).body.details?.causes ?? []).map(
        (cause: { field: string; message: string }) => `${cause.field}: ${cause.message}`,
      );
    const rules = [
      { verbs: [], apiGroups: [], resources: ["pods"] },
      { verbs: ["get"], nonResourceURLs: ["/a"] },
    ];
    expect(await causes(`${rbac}/namespaces/default/roles`, role("Role", "a", rules))).toEqual([
      "rules[0].verbs: Required value: verbs must contain at least one value",
      "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
      'rules[1].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs',
    ]);
    const wrong = binding("ClusterRoleBinding", "a", { kind: "Role", name: "" }, { kind: "Robot", name: "r" });
    expect(await causes(`${rbac}/clusterrolebindings`, wrong)).toEqual([
      'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
      "roleRef.name: Required value",
      'subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"',
    ]);
    await send(
      server,
      "POST",
      `${rbac}/clusterrolebindings`,
      binding("ClusterRoleBinding", "a", { kind: "ClusterRole", name: "view" }),
    );
    const changed = await send(
      server,
      "PATCH",
      `${rbac}/clusterrolebindings/a`,
      { roleRef: { name: "edit" } },
      { "content-type": "application/merge-patch+json" },
    );
    expect([changed.status, changed.body.message]).toEqual([422, expect.stringContaining("cannot change roleRef")]);
  });
});

describe("reviews", () => {
  test("say what somebody may do", async () => {
    const server = await start();
    await send(
      server,
      "POST",
      `${rbac}/clusterrolebindings`,
      binding("ClusterRoleBinding", "v", { kind: "ClusterRole", name: "view" }),
    );
    const reviews = "/apis/authorization.k8s.io/v1";
    const ask = async (verb: string, resource: string) => {
      const spec = { resourceAttributes: { verb, resource, namespace: "default" } };
      return (await send(server, "POST", `${reviews}/selfsubjectaccessreviews`, { spec }, {}, jane)).body.status;
    };
    expect(await ask("get", "pods")).toEqual({
      allowed: true,
      reason: 'RBAC: allowed by ClusterRoleBinding "v" of ClusterRole "view" to User "jane"',
    });
    expect(await ask("delete", "pods")).toEqual({ allowed: false });
    const spec = { user: "jane", resourceAttributes: { verb: "list", resource: "services" } };
    expect((await send(server, "POST", `${reviews}/subjectaccessreviews`, { spec })).body.status.allowed).toBe(true);
    expect((await send(server, "POST", `${reviews}/subjectaccessreviews`, { spec: {} })).status).toBe(422);
    const list = await send(
      server,
      "POST",
      `${reviews}/selfsubjectrulesreviews`,
      { spec: { namespace: "default" } },
      {},
      jane,
    );
    expect(list.body.status.incomplete).toBe(false);
    expect(list.body.status.resourceRules).toContainEqual({
      verbs: ["create"],
      apiGroups: ["authentication.k8s.io"],
      resources: ["selfsubjectreviews"],
    });
  });

  test("tokens of a service account are the account, as long as it is there", async () => {
    const server = await start();
    const accounts = "/api/v1/namespaces/default/serviceaccounts";
    await send(server, "POST", accounts, { metadata: { name: "robot" } });
    const made = await send(server, "POST", `${accounts}/robot/token`, { spec: {} });
    expect(made.body.spec).toMatchObject({ expirationSeconds: 3600 });
    expect((await send(server, "POST", `${accounts}/robot/token`, { spec: { expirationSeconds: 60 } })).status).toBe(
      422,
    );
    const { token } = made.body.status;
    const review = async () =>
      (await send(server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token } })).body.status;
    expect(await review()).toMatchObject({
      authenticated: true,
      user: {
        username: "system:serviceaccount:default:robot",
        groups: expect.arrayContaining(["system:serviceaccounts"]),
      },
    });
    await send(
      server,
      "POST",
      `${rbac}/namespaces/default/rolebindings`,
      binding(
        "RoleBinding",
        "robot",
        { kind: "ClusterRole", name: "view" },
        { kind: "ServiceAccount", name: "robot", namespace: "default" },
      ),
    );
    const headers = { authorization: `Bearer ${token}` };
    const anonymous: User = (await import("../src/index.ts")).anonymousUser;
    const get = (path: string) => send(server, "GET", path, undefined, headers, anonymous);
    expect((await get("/api/v1/namespaces/default/pods")).status).toBe(200);
    expect((await get("/api/v1/nodes")).status).toBe(403);
    await send(server, "DELETE", `${accounts}/robot`);
    expect(await review()).toMatchObject({ error: "[invalid bearer token]" });
    expect((await get("/api/v1/namespaces/default/pods")).status).toBe(401);
  });

  test("impersonation needs a permission", async () => {
    const server = await start();
    const headers = { "impersonate-user": "bob", "impersonate-group": "testers" };
    const refused = await send(server, "GET", "/api/v1/nodes", undefined, headers, jane);
    expect(refused.body.message).toBe(
      'users "bob" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope',
    );
    const rules = [{ apiGroups: [""], resources: ["users"], resourceNames: ["bob"], verbs: ["impersonate"] }];
    await send(server, "POST", `${rbac}/clusterroles`, role("ClusterRole", "imp", rules));
    await send(
      server,
      "POST",
      `${rbac}/clusterrolebindings`,
      binding("ClusterRoleBinding", "imp", { kind: "ClusterRole", name: "imp" }),
    );
    const groups = await send(server, "GET", "/api/v1/nodes", undefined, headers, jane);
    expect(groups.body.message).toContain('groups "testers" is forbidden');
    const bob = await send(server, "GET", "/api/v1/nodes", undefined, { "impersonate-user": "bob" }, jane);
    expect(bob.body.message).toContain('User "bob" cannot list resource "nodes"');
  });
});
