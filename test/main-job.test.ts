import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  eventually,
  findProgram,
  mainProgram,
  modes,
  type Running,
  removeFolders,
  run,
  start,
  temporaryFolder,
} from "./portolan.ts";

afterAll(removeFolders);

describe.each(modes)("portolan up --once in mode %s", (mode) => {
  it("sends requests through every kind of Service and prints who answered", async () => {
    const folder = temporaryFolder();
    const outcome = await run(process.execPath, [
      mainProgram,
      "--once",
      "--mode",
      mode,
      "--directory",
      join(folder, "run"),
    ]);
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout).not.toContain("FAILED");
    expect(outcome.code).toBe(0);
    for (const service of [
      "frontend",
      "backend",
      "backend-sticky",
      "backend-nodeport",
      "backend-ports",
      "database",
      "database-headless",
      "external-api",
      "external-database",
    ]) {
      expect(outcome.stdout).toMatch(new RegExp(`^${service} `, "m"));
    }
    expect(outcome.stdout).toMatch(/^backend-sticky .*affinity hit/m);
    expect(outcome.stdout).toMatch(/DNAT/);
    expect(existsSync(join(folder, "run"))).toBe(false);
  });
});

it.skipIf(!modes.includes("netns"))(
  "portolan up --once does the same with packet sockets in place of AF_XDP",
  async () => {
    const folder = join(temporaryFolder(), "run");
    const options = ["--once", "--mode", "netns", "--frames", "packet", "--directory", folder];
    const outcome = await run(process.execPath, [mainProgram, ...options]);
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout).toContain("every packet goes through packet sockets");
    expect(outcome.stdout).toMatch(/^frontend .*outside/m);
    expect(outcome.stdout).not.toContain("FAILED");
    expect(outcome.code).toBe(0);
  },
);

describe.each(modes)("a running cluster in mode %s", (mode) => {
  let cluster: Running;
  let folder: string;
  let kubeconfig: string;
  const kubectlProgram = findProgram("kubectl");
  const dig = findProgram("dig");
  const curl = findProgram("curl");
  const env = (): NodeJS.ProcessEnv => ({ ...process.env, KUBECONFIG: kubeconfig, HOME: folder });

  beforeAll(async () => {
    folder = temporaryFolder();
    cluster = start(process.execPath, [mainProgram, "--mode", mode, "--directory", join(folder, "run")]);
    await cluster.printed("Ctrl-C ends");
    kubeconfig = join(folder, "run", "kubeconfig");
  });
  afterAll(async () => {
    cluster?.child.kill("SIGINT");
    await cluster?.ended;
  });
  afterEach(() => {
    expect(cluster.child.exitCode, cluster.output()).toBe(null);
  });

  async function kubectl(...args: string[]): Promise<string> {
    const outcome = await run(kubectlProgram!, args, { env: env(), cwd: folder });
    expect(outcome.code, `kubectl ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
    return outcome.stdout;
  }

  it("keeps its kubeconfig to its owner", () => {
    expect(statSync(kubeconfig).mode & 0o777).toBe(0o600);
    expect(readFileSync(kubeconfig, "utf8")).toContain("https://127.0.0.1:");
  });

  it("prints only commands that work", async () => {
    const lines = cluster
      .output()
      .split("\n")
      .filter((line) => /^ {2}(kubectl|dig|curl) /.test(line))
      .map((line) => line.trim());
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) {
      const [program] = line.split(" ");
      if (findProgram(program!) === undefined || / -w$/.test(line)) continue;
      const outcome = await run("/bin/sh", ["-c", line], { env: env(), cwd: folder });
      expect(outcome.code, `${line}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
      expect(outcome.stdout, line).not.toBe("");
    }
  });

  it.skipIf(kubectlProgram === undefined)("shows objects as kubectl expects them", async () => {
    const wide = await kubectl("get", "nodes,pods,svc,endpoints,endpointslices,deploy,rs,sts", "-A", "-o", "wide");
    for (const text of [
      "node/node1",
      "pod/database-0",
      "service/frontend",
      "LoadBalancer",
      "app=backend",
      "statefulset.apps/database",
    ]) {
      expect(wide).toContain(text);
    }
    expect(await kubectl("get", "svc", "backend", "-o", "yaml")).toContain("targetPort: 8080");
    expect(await kubectl("describe", "svc", "frontend")).toMatch(/LoadBalancer Ingress: +172\.18\./);
    expect(await kubectl("explain", "service.spec")).toContain("clusterIP");
  });

  it.skipIf(kubectlProgram === undefined)("creates, exposes, labels, patches, edits and deletes", async () => {
    await kubectl("create", "service", "clusterip", "web-svc", "--tcp=80:8080");
    await kubectl("delete", "service", "web-svc");
    await kubectl("create", "service", "nodeport", "web-svc", "--tcp=80:8080", "--node-port=30090");
    await kubectl("create", "service", "loadbalancer", "web-lb", "--tcp=80:8080");
    await kubectl("create", "service", "externalname", "ext-api", "--external-name=api.external.com");
    await kubectl("create", "deployment", "web", "--image=nginx:1.24", "--replicas=2");
    await kubectl("expose", "deployment", "web", "--port=80");
    await kubectl("rollout", "status", "deployment/web", "--timeout=30s");
    await kubectl("label", "service", "web", "tier=test");
    await kubectl("patch", "svc", "web", "-p", '{"spec":{"type":"NodePort"}}');
    expect(await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.type} {.spec.ports[0].nodePort}")).toMatch(
      /^NodePort 3\d{4}$/,
    );
    const edit = await run(kubectlProgram!, ["edit", "svc", "web"], {
      env: { ...env(), EDITOR: "sed -i s/tier:.*/tier:\\ edited/" },
      cwd: folder,
    });
    expect(edit.code, edit.stderr).toBe(0);
    expect(await kubectl("get", "svc", "web", "--show-labels")).toContain("tier=edited");
    await kubectl("delete", "deployment/web", "svc/web", "svc/web-svc", "svc/web-lb", "svc/ext-api");
  });

  it.skipIf(kubectlProgram === undefined || dig === undefined)(
    "follows a scaled Deployment in endpoints, DNS and traffic",
    async () => {
      const port = /dig @127\.0\.0\.1 -p (\d+)/.exec(cluster.output())![1]!;
      await kubectl("create", "deployment", "echo", "--image=myapp/api:1.0", "--replicas=1");
      await kubectl("expose", "deployment", "echo", "--port=80", "--target-port=8080", "--cluster-ip=None");
      const resolve = async (): Promise<string[]> => {
        const outcome = await run(dig!, ["@127.0.0.1", "-p", port, "+short", "echo.default.svc.cluster.local"]);
        return outcome.stdout.split("\n").filter((line) => line !== "");
      };
      await eventually(async () => expect(await resolve()).toHaveLength(1));
      await kubectl("scale", "deployment", "echo", "--replicas=4");
      await eventually(async () => expect(await resolve()).toHaveLength(4));
      const [victim] = (await kubectl("get", "pods", "-l", "app=echo", "-o", "name")).split("\n");
      await kubectl("delete", victim!, "--wait=false");
      await kubectl("scale", "deployment", "echo", "--replicas=2");
      await eventually(async () => expect(await resolve()).toHaveLength(2), 40);
      await kubectl("delete", "deployment/echo", "svc/echo");
    },
  );

  it.skipIf(kubectlProgram === undefined || mode !== "netns")(
    "answers the health checks of a Service with externalTrafficPolicy Local (netns only: elsewhere nodes have no address)",
    async () => {
      await kubectl("patch", "svc", "frontend", "-p", '{"spec":{"externalTrafficPolicy":"Local"}}');
      const port = await kubectl("get", "svc", "frontend", "-o", "jsonpath={.spec.healthCheckNodePort}");
      const health = (path: string): Promise<string> =>
        kubectl("exec", "client", "--", "curl", "-s", "-m", "5", "-w", " %{http_code}", path);
      await eventually(async () => {
        const answer = await health(`http://172.18.0.2:${port}/`);
        expect(answer).toMatch(/"localEndpoints": [1-9]/);
        expect(answer).toMatch(/ 200$/);
      });
      expect(await health("http://172.18.0.2:10256/healthz")).toMatch(/"healthy":true.* 200$/);
      await kubectl("patch", "svc", "frontend", "-p", '{"spec":{"externalTrafficPolicy":"Cluster"}}');
      await eventually(async () => {
        const answer = await run(
          kubectlProgram!,
          ["exec", "client", "--", "curl", "-s", `http://172.18.0.2:${port}/`],
          {
            env: env(),
            cwd: folder,
          },
        );
        expect(answer.code).not.toBe(0);
      });
    },
  );

  it.skipIf(kubectlProgram === undefined || mode !== "netns")(
    "lets pods speak to the API server as their service account, and to nothing else of this machine (netns only)",
    async () => {
      const account = "/var/run/secrets/kubernetes.io/serviceaccount";
      const asked = async (path: string): Promise<string> =>
        kubectl(
          "exec",
          "client",
          "--",
          "sh",
          "-c",
          `curl -sS -m 5 -o /dev/null -w '%{http_code}' --cacert ${account}/ca.crt ` +
            `-H "Authorization: Bearer $(cat ${account}/token)" https://kubernetes.default.svc${path}`,
        );
      expect(await kubectl("exec", "client", "--", "cat", `${account}/namespace`)).toBe("default");
      expect(await asked("/version")).toBe("200");
      const pods = "/api/v1/namespaces/default/pods";
      expect(await asked(pods)).toBe("403");
      await kubectl("create", "rolebinding", "seer", "--clusterrole=view", "--serviceaccount=default:default");
      await eventually(async () => expect(await asked(pods)).toBe("200"));
      await kubectl("delete", "rolebinding", "seer");
      const port = /https:\/\/127\.0\.0\.1:(\d+)/.exec(readFileSync(kubeconfig, "utf8"))![1]!;
      for (const address of [`172.18.0.1:${port}`, `127.0.0.1:${port}`]) {
        const refused = await run(
          kubectlProgram!,
          ["exec", "client", "--", "curl", "-sk", "-m", "3", `https://${address}/version`],
          { env: env(), cwd: folder },
        );
        expect(refused.code, address).not.toBe(0);
      }
    },
  );

  it.skipIf(kubectlProgram === undefined || mode !== "netns")(
    "answers at both addresses of a dual-stack Service (netns only: loopback stands for IPv4)",
    async () => {
      const manifest = {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "dual" },
        spec: {
          type: "LoadBalancer",
          ipFamilyPolicy: "PreferDualStack",
          selector: { app: "backend" },
          ports: [{ port: 80, targetPort: 8080 }],
        },
      };
      const applied = await run(kubectlProgram!, ["apply", "-f", "-"], {
        env: env(),
        input: JSON.stringify(manifest),
      });
      expect(applied.code, applied.stderr).toBe(0);
      const value = (path: string): Promise<string> => kubectl("get", "svc", "dual", "-o", `jsonpath=${path}`);
      const [four, six] = (await value("{.spec.clusterIPs[*]}")).split(" ");
      const nodePort = await value("{.spec.ports[0].nodePort}");
      await eventually(async () =>
        expect((await value("{.status.loadBalancer.ingress[*].ip}")).split(" ")).toHaveLength(2),
      );
      const [, balancer] = (await value("{.status.loadBalancer.ingress[*].ip}")).split(" ");
      const client = (...argv: string[]): Promise<string> => kubectl("exec", "client", "--", ...argv);
      const targets = [four, `[${six}]`, `[fd00:172:18::2]:${nodePort}`, `[${balancer}]`];
      for (const target of targets) {
        await eventually(async () =>
          expect(await client("curl", "-s", "-m", "5", `http://${target}/`)).toContain("pod:"),
        );
      }
      const own = /fd00:10:244:\S+/.exec(
        await kubectl("get", "pod", "client", "-o", "jsonpath={.status.podIPs[*].ip}"),
      )![0];
      expect(await client("curl", "-s", "-6", "-m", "5", "http://dual/")).toContain(`client:    ${own}`);
      await kubectl("delete", "svc", "dual");
    },
  );

  it.skipIf(curl === undefined)("refuses what has no endpoints, and reaches what has", async () => {
    const port = /socks5h:\/\/127\.0\.0\.1:(\d+)/.exec(cluster.output())![1]!;
    const through = async (url: string, ...more: string[]): Promise<string> =>
      (await run(curl!, ["-s", "-o", "-", "-m", "5", "-w", "%{http_code}", ...more, url])).stdout;
    expect(await through("http://backend/", "--proxy", `socks5h://127.0.0.1:${port}`)).toContain("200");
    expect(await through("http://backend/", "--proxy", `http://127.0.0.1:${port}`)).toContain("200");
    expect(await through("http://backend/", "-p", "--proxy", `http://127.0.0.1:${port}`)).toContain("200");
    expect(
      await through("http://nobody.default.svc.cluster.local/", "--proxy", `socks5h://127.0.0.1:${port}`),
    ).toContain("000");
  });
});
