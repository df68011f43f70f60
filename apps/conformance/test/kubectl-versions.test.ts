import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiServer, createApiServer } from "@portolan/apiserver";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KubectlProgram, kubectlPrograms, run } from "../src/kubectl/kubectl-program.ts";

/*
 * What users type most, with every kubectl on this machine: the one on PATH and those that `node scripts/kubectl-versions.mjs` has
 * fetched. Old ones read OpenAPI 2 in protobuf, newer ones OpenAPI 3; some list and then watch, others watch from the start.
 */

const programs = await kubectlPrograms();
const folder = mkdtempSync(join(tmpdir(), "portolan-versions-"));
let server: ApiServer;
let config: string;

beforeAll(async () => {
  server = await createApiServer();
  config = (await server.listen({ directory: folder })).kubeconfigPath;
});

afterAll(async () => {
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

const definition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "boats.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "boats", kind: "Boat" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              spec: {
                type: "object",
                properties: { sails: { type: "integer", minimum: 1, description: "How many." } },
              },
            },
          },
        },
      },
    ],
  },
};

function service(name: string, port: number): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: name },
    spec: { selector: { app: "web" }, ports: [{ port, targetPort: 8080 }] },
  };
}

function kubectlOf(program: KubectlProgram) {
  const home = mkdtempSync(join(folder, "home-"));
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, KUBECONFIG: config };
  return async (line: string, input?: object): Promise<string> => {
    const stdin = input === undefined ? undefined : JSON.stringify(input);
    const output = await run(program.path, line.split(" "), { cwd: home, env, stdin, seconds: 60 });
    return output.exit === 0 ? output.stdout : `exit ${output.exit}: ${output.stdout}${output.stderr}`;
  };
}

describe.skipIf(programs.length === 0)(
  `kubectl${programs.length === 0 ? " (skipped: there is none on this machine)" : ""}`,
  () => {
    test.each(programs.map((program) => [program.fullVersion, program] as const))(
      "%s",
      async (_version, program) => {
        const kubectl = kubectlOf(program);
        const space = `v${program.version.replace(".", "-")}`;
        const at = `--namespace=${space}`;
        expect(await kubectl(`create namespace ${space}`)).toBe(`namespace/${space} created\n`);
        expect(await kubectl("apply -f -", service(space, 80))).toBe(`service/${space} created\n`);
        expect(await kubectl("apply -f -", service(space, 80))).toBe(`service/${space} unchanged\n`);
        expect(await kubectl("apply -f -", service(space, 81))).toBe(`service/${space} configured\n`);
        expect(await kubectl("apply --server-side --force-conflicts -f -", service(space, 81))).toContain(
          "serverside-applied",
        );
        const wrong = { ...service(space, 80), spec: { ports: [{ port: 80, prot: "x" }] } };
        expect(await kubectl("apply -f -", wrong)).toContain('unknown field "');
        expect(await kubectl(`get svc ${at}`)).toMatch(/^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE\n/);
        expect(await kubectl(`get svc ${space} ${at} -o jsonpath={.spec.ports[*].port}`)).toContain("81");
        expect(await kubectl(`create service nodeport web --tcp=80:8080 ${at}`)).toBe("service/web created\n");
        expect(await kubectl(`create deployment web --image=nginx ${at}`)).toBe("deployment.apps/web created\n");
        expect(await kubectl(`expose deployment web --port=80 --name=exposed ${at}`)).toBe("service/exposed exposed\n");
        expect(await kubectl(`describe svc web ${at}`)).toMatch(/^Name: +web\nNamespace: +v1-/);
        expect(await kubectl(`patch svc web ${at} -p {"spec":{"type":"ClusterIP"}}`)).toBe("service/web patched\n");
        expect(await kubectl(`label svc web tier=front ${at}`)).toContain("service/web");
        expect(await kubectl(`scale deployment web --replicas=3 ${at}`)).toBe("deployment.apps/web scaled\n");
        expect(await kubectl("explain service.spec.ports")).toContain("targetPort");
        expect(await kubectl(`run nginx --image=nginx ${at}`)).toContain("pod/nginx created");
        expect(await kubectl(`get all ${at} -o name`)).toContain("pod/nginx");
        expect(await kubectl("apply -f -", definition)).toContain("boats.example.com created");
        const boat = { apiVersion: "example.com/v1", kind: "Boat", metadata: { name: "b", namespace: space } };
        expect(await kubectl("apply -f -", { ...boat, spec: { sails: 2 } })).toBe("boat.example.com/b created\n");
        expect(await kubectl("apply -f -", { ...boat, spec: { sails: 3 } })).toBe("boat.example.com/b configured\n");
        expect(await kubectl("apply -f -", { ...boat, spec: { sails: 0 } })).toContain(
          "should be greater than or equal to 1",
        );
        expect(await kubectl("explain boats.spec.sails")).toContain("How many.");
        expect(await kubectl(`delete boat b ${at}`)).toContain('"b" deleted');
        expect(await kubectl("delete crd boats.example.com")).toContain("deleted");
        expect(await kubectl(`delete svc web exposed ${at}`)).toContain('service "web" deleted');
        expect(await kubectl(`auth can-i delete services ${at} --as=nobody`)).toBe("exit 1: no\n");
        expect(await kubectl("version --output=json")).toContain('"serverVersion"');
      },
      180_000,
    );
  },
);
