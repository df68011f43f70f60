import {
  createApiServer,
  createGarbageCollector,
  createNamespaceController,
  createServiceAccountController,
} from "@portolan/apiserver";
import { createApiClient, createInformerFactory, isNotFound } from "@portolan/client";
import { type ConfigMap, type Namespace, resources, type Secret } from "@portolan/core";
import { afterEach, describe, expect, it } from "vitest";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start() {
  const server = await createApiServer();
  const api = createApiClient(server.transport);
  const informers = createInformerFactory(api);
  const stop = new AbortController();
  const errors: unknown[] = [];
  const options = { api, informers, onError: (error: unknown) => void errors.push(error) };
  const running = [
    createGarbageCollector(options).run(stop.signal),
    createNamespaceController(options).run(stop.signal),
    createServiceAccountController({ ...options, certificateAuthority: "authority" }).run(stop.signal),
  ];
  informers.start(stop.signal);
  await informers.synced(stop.signal);
  ends.push(async () => {
    stop.abort();
    await Promise.allSettled(running);
    await server.close();
    expect(errors).toEqual([]);
  });
  return api;
}

type Api = Awaited<ReturnType<typeof start>>;
const at = (name: string, namespace = "default") => ({ name, namespace });

async function owner(api: Api, name: string): Promise<ConfigMap> {
  return await api.create<ConfigMap>(resources.configMaps, { apiVersion: "v1", kind: "ConfigMap", metadata: at(name) });
}

async function dependent(api: Api, name: string, owners: readonly ConfigMap[], block = false): Promise<Secret> {
  const ownerReferences = owners.map((each) => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    name: each.metadata.name!,
    uid: each.metadata.uid!,
    blockOwnerDeletion: block,
  }));
  return await api.create<Secret>(resources.secrets, {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { ...at(name), ownerReferences },
  });
}

async function exists(api: Api, type: typeof resources.secrets, name: string, namespace = "default"): Promise<boolean> {
  try {
    await api.get(type, at(name, namespace));
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      return await check();
    } catch (error) {
      if (i > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

describe("garbage collector", () => {
  it("deletes dependents in the background, and theirs", async () => {
    const api = await start();
    const one = await owner(api, "one");
    await dependent(api, "child", [one]);
    await api.delete(resources.configMaps, at("one"), { propagationPolicy: "Background" });
    await eventually(async () => expect(await exists(api, resources.secrets, "child")).toBe(false));
  });

  it("keeps a dependent that another owner has, and takes the missing one off", async () => {
    const api = await start();
    const [one, two] = [await owner(api, "one"), await owner(api, "two")];
    await dependent(api, "child", [one, two]);
    await api.delete(resources.configMaps, at("one"));
    await eventually(async () => {
      const child = await api.get<Secret>(resources.secrets, at("child"));
      expect(child.metadata.ownerReferences?.map((each) => each.name)).toEqual(["two"]);
    });
  });

  it("lets dependents go first when the deletion is in the foreground", async () => {
    const api = await start();
    const one = await owner(api, "one");
    const child = await dependent(api, "child", [one], true);
    await api.patch(
      resources.secrets,
      at("child"),
      { metadata: { finalizers: ["example.com/hold"] } },
      { patchType: "application/merge-patch+json" },
    );
    await api.delete(resources.configMaps, at("one"), { propagationPolicy: "Foreground" });
    await eventually(async () => {
      const held = await api.get<Secret>(resources.secrets, at("child"));
      expect(held.metadata.deletionTimestamp).toBeDefined();
      expect(held.metadata.uid).toBe(child.metadata.uid);
    });
    expect(await exists(api, resources.configMaps, "one")).toBe(true);
    await api.patch(
      resources.secrets,
      at("child"),
      { metadata: { finalizers: null } },
      { patchType: "application/merge-patch+json" },
    );
    await eventually(async () => {
      expect(await exists(api, resources.secrets, "child")).toBe(false);
      expect(await exists(api, resources.configMaps, "one")).toBe(false);
    });
  });

  it("leaves dependents behind when they are orphaned", async () => {
    const api = await start();
    const one = await owner(api, "one");
    await dependent(api, "child", [one]);
    await api.delete(resources.configMaps, at("one"), { propagationPolicy: "Orphan" });
    await eventually(async () => expect(await exists(api, resources.configMaps, "one")).toBe(false));
    const child = await api.get<Secret>(resources.secrets, at("child"));
    expect(child.metadata.ownerReferences ?? []).toEqual([]);
  });

  it("deletes an object that is made for an owner that is gone", async () => {
    const api = await start();
    const one = await owner(api, "one");
    await api.delete(resources.configMaps, at("one"));
    await dependent(api, "late", [one]);
    await eventually(async () => expect(await exists(api, resources.secrets, "late")).toBe(false));
  });
});

describe("namespace controller", () => {
  it("empties a namespace and lets it go", async () => {
    const api = await start();
    await api.create<Namespace>(resources.namespaces, {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "short" },
    });
    await api.create<ConfigMap>(resources.configMaps, {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: at("inside", "short"),
    });
    await api.delete(resources.namespaces, { name: "short" });
    await eventually(async () => {
      await expect(api.get(resources.namespaces, { name: "short" })).rejects.toThrow(/not found/);
    });
    expect(await exists(api, resources.configMaps, "inside", "short")).toBe(false);
  });
});

describe("service account controller", () => {
  it("gives every namespace an account and the authority, also again", async () => {
    const api = await start();
    await api.create<Namespace>(resources.namespaces, { metadata: { name: "own" } });
    const authority = async () => {
      try {
        return (await api.get<ConfigMap>(resources.configMaps, at("kube-root-ca.crt", "own"))).data?.["ca.crt"];
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    };
    for (const namespace of ["default", "own"])
      await expect.poll(() => exists(api, resources.serviceAccounts, "default", namespace)).toBe(true);
    await expect.poll(authority).toBe("authority");
    await api.delete(resources.serviceAccounts, at("default", "own"));
    await api.patch(resources.configMaps, at("kube-root-ca.crt", "own"), { data: { "ca.crt": "forged" } });
    await expect.poll(() => exists(api, resources.serviceAccounts, "default", "own")).toBe(true);
    await expect.poll(authority).toBe("authority");
    await api.delete(resources.namespaces, { name: "own" });
    await expect.poll(() => exists(api, resources.namespaces, "own", "")).toBe(false);
  });
});
