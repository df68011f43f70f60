import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
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

const kubectlProgram = findProgram("kubectl");
const missing = !modes.includes("netns") ? "needs Linux and root" : kubectlProgram === undefined ? "needs kubectl" : "";
if (missing !== "") console.log(`skipped: what pods can be told: ${missing}`);

const loop = "while :; do sleep 0.1; done";
const manifest = `
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { COLOUR: blue, app.conf: "level=debug" }
---
apiVersion: v1
kind: Secret
metadata: { name: credentials }
stringData: { USERNAME: admin, password: s3cret }
---
apiVersion: v1
kind: Pod
metadata: { name: everything, labels: { tier: front }, annotations: { note: "two\\nlines" } }
spec:
  terminationGracePeriodSeconds: 8
  readinessGates: [{ conditionType: example.com/gate }]
  initContainers:
    - name: prepare
      image: busybox
      command: [sh, -c, 'echo prepared by $(hostname); echo made > /portolan-work/made']
      volumeMounts: [{ name: work, mountPath: /portolan-work }]
    - name: sidecar
      image: busybox
      restartPolicy: Always
      command: [sh, -c, 'echo up; trap "echo down; exit 0" TERM; ${loop}']
      startupProbe: { exec: { command: ["true"] }, periodSeconds: 1 }
    - name: second
      image: busybox
      command: [cat, /portolan-work/made]
      volumeMounts: [{ name: work, mountPath: /portolan-work }]
  containers:
    - name: main
      image: busybox
      command: [sh, -c, 'trap "cat /portolan-work/hooks; echo ends; exit 0" TERM; ${loop}']
      lifecycle:
        postStart: { exec: { command: [sh, -c, "echo postStart >> /portolan-work/hooks"] } }
        preStop: { exec: { command: [sh, -c, "echo preStop >> /portolan-work/hooks"] } }
      resources: { requests: { cpu: 250m, memory: 32Mi }, limits: { cpu: 500m, memory: 64Mi } }
      env:
        - { name: NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
        - { name: GREETING, value: "$(NAME) $(MISSING) $$(NAME)" }
        - { name: TIER, valueFrom: { fieldRef: { fieldPath: "metadata.labels['tier']" } } }
        - { name: IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
        - { name: CPU, valueFrom: { resourceFieldRef: { resource: limits.cpu } } }
        - { name: MILLI, valueFrom: { resourceFieldRef: { resource: requests.cpu, divisor: 1m } } }
        - { name: MEMORY, valueFrom: { resourceFieldRef: { resource: limits.memory, divisor: 1Mi } } }
        - { name: KEY, valueFrom: { secretKeyRef: { name: credentials, key: password } } }
        - { name: ABSENT, valueFrom: { configMapKeyRef: { name: none, key: x, optional: true } } }
      envFrom:
        - { configMapRef: { name: settings }, prefix: SETTING_ }
        - { secretRef: { name: credentials } }
      volumeMounts:
        - { name: work, mountPath: /portolan-work }
        - { name: settings, mountPath: /etc/portolan-single.conf, subPath: app.conf }
        - { name: credentials, mountPath: /etc/portolan-credentials, readOnly: true }
        - { name: all, mountPath: /portolan-projected/deep }
  volumes:
    - { name: work, emptyDir: {} }
    - { name: settings, configMap: { name: settings } }
    - { name: credentials, secret: { secretName: credentials, defaultMode: 0400, items: [{ key: password, path: of/admin }] } }
    - name: all
      projected:
        sources:
          - { configMap: { name: settings, items: [{ key: app.conf, path: conf/app.conf, mode: 0600 }] } }
          - { secret: { name: credentials, items: [{ key: USERNAME, path: user }] } }
          - downwardAPI:
              items:
                - { path: labels, fieldRef: { fieldPath: metadata.labels } }
                - { path: cpu, resourceFieldRef: { containerName: main, resource: limits.cpu, divisor: 1m } }
          - { serviceAccountToken: { path: token, audience: vault, expirationSeconds: 600 } }
---
apiVersion: v1
kind: Pod
metadata: { name: on-host }
spec:
  hostNetwork: true
  containers: [{ name: web, image: "myapp/api:1.0", ports: [{ containerPort: 8080 }], readinessProbe: { tcpSocket: { port: 8080 } } }]
---
apiVersion: v1
kind: Pod
metadata: { name: crashing }
spec: { containers: [{ name: main, image: busybox, command: [sh, -c, "echo run; exit 3"] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: waiting }
spec: { containers: [{ name: main, image: busybox, command: [sleep, "100"], envFrom: [{ configMapRef: { name: later } }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: stubborn }
spec: { terminationGracePeriodSeconds: 1, containers: [{ name: main, image: busybox, command: [sh, -c, "trap '' TERM; ${loop}"] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: probed }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox
      command: [sh, -c, "touch /portolan-work/live /portolan-work/ready; sleep 0.5; touch /portolan-work/started; ${loop}"]
      startupProbe: { exec: { command: [cat, /portolan-work/started] }, periodSeconds: 1, failureThreshold: 30 }
      readinessProbe: { exec: { command: [cat, /portolan-work/ready] }, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 1 }
      livenessProbe: { exec: { command: [cat, /portolan-work/live] }, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 1 }
      volumeMounts: [{ name: work, mountPath: /portolan-work }]
  volumes: [{ name: work, emptyDir: {} }]
`;

describe.skipIf(missing !== "")("what pods can be told", () => {
  let cluster: Running;
  let folder: string;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    folder = temporaryFolder();
    const directory = join(folder, "run");
    cluster = start(process.execPath, [mainProgram, "--mode", "netns", "--empty", "--directory", directory]);
    await cluster.printed("Ctrl-C ends");
    environment = { ...process.env, KUBECONFIG: join(directory, "kubeconfig"), HOME: folder };
    const applied = await run(kubectlProgram!, ["apply", "-f", "-"], { env: environment, input: manifest });
    expect(applied.code, applied.stderr).toBe(0);
  });

  afterAll(async () => {
    cluster?.child.kill("SIGINT");
    await cluster?.ended;
    removeFolders();
  });

  async function kubectl(...args: string[]): Promise<string> {
    const outcome = await run(kubectlProgram!, args, { env: environment, cwd: folder });
    expect(outcome.code, `kubectl ${args.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
    return outcome.stdout;
  }
  const inside = (script: string): Promise<string> =>
    kubectl("exec", "everything", "-c", "main", "--", "sh", "-c", script);
  const field = (pod: string, path: string): Promise<string> => kubectl("get", "pod", pod, "-o", `jsonpath={${path}}`);
  const condition = (pod: string, type: string): Promise<string> =>
    kubectl(
      "get",
      "pod",
      pod,
      "-o",
      `jsonpath={range .status.conditions[?(@.type=="${type}")]}{.status} {.reason}{end}`,
    );

  it("runs init containers and sidecars in their order, each with its log", async () => {
    await kubectl("wait", "--for=condition=ContainersReady", "pod/everything", "--timeout=30s");
    expect(await kubectl("logs", "everything", "-c", "prepare")).toBe("prepared by everything\n");
    expect(await kubectl("logs", "everything", "-c", "sidecar")).toBe("up\n");
    expect(await kubectl("logs", "everything", "-c", "second")).toBe("made\n");
    expect(await condition("everything", "Initialized")).toBe("True ");
  });

  it("gives fields, resources, ConfigMaps and Secrets as variables", async () => {
    const lines = (await kubectl("exec", "everything", "-c", "main", "--", "env")).split("\n");
    const address = await field("everything", ".status.podIP");
    for (const line of [
      "GREETING=everything $(MISSING) $(NAME)",
      "TIER=front",
      `IP=${address}`,
      "CPU=1",
      "MILLI=250",
      "MEMORY=64",
      "KEY=s3cret",
      "SETTING_COLOUR=blue",
      "USERNAME=admin",
      "password=s3cret",
    ]) {
      expect(lines).toContain(line);
    }
    expect(lines.some((line) => line.startsWith("ABSENT="))).toBe(false);
    expect(await inside("pwd")).toBe("/\n");
  });

  it("gives them as files, with their modes, also at paths that the machine does not have", async () => {
    expect(await inside("cat /etc/portolan-single.conf")).toBe("level=debug");
    expect(
      await inside("stat -c '%a' /etc/portolan-credentials/of/admin; cat /etc/portolan-credentials/of/admin"),
    ).toBe("400\ns3cret");
    expect(
      await inside("cd /portolan-projected/deep; stat -c '%a %n' conf/app.conf user; cat user; echo; cat labels cpu"),
    ).toMatch(/^600 conf\/app.conf\n644 user\nadmin\n(.*\n)*tier="front"(\n.*)*500$/);
    expect(await inside("cat /portolan-projected/deep/token")).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect(await inside("echo x > /portolan-work/written && cat /portolan-work/written")).toBe("x\n");
  });

  it("copies files in and out", async () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) & 255));
    writeFileSync(join(folder, "source"), bytes);
    await kubectl("cp", "source", "everything:/portolan-work/copy", "-c", "main");
    await kubectl("cp", "everything:/portolan-work/copy", "back", "-c", "main");
    expect(readFileSync(join(folder, "back")).equals(bytes)).toBe(true);
  });

  it("is ready when its readiness gate says so", async () => {
    expect(await condition("everything", "Ready")).toBe("False ReadinessGatesNotReady");
    const status = { conditions: [{ type: "example.com/gate", status: "True" }] };
    await kubectl("patch", "pod", "everything", "--subresource=status", "-p", JSON.stringify({ status }));
    await eventually(async () => expect(await condition("everything", "Ready")).toBe("True "));
  });

  it("calls postStart and preStop, and ends sidecars last", async () => {
    const logs = ["main", "sidecar"].map((name) =>
      start(kubectlProgram!, ["logs", "-f", "everything", "-c", name], { env: environment, cwd: folder }),
    );
    await logs[1]!.printed("up");
    await kubectl("delete", "pod", "everything");
    const [main, sidecar] = await Promise.all(logs.map(async ({ ended }) => (await ended).stdout));
    expect(main).toBe("postStart\npreStop\nends\n");
    expect(sidecar).toBe("up\ndown\n");
  });

  it("kills what does not end within its grace period", async () => {
    await kubectl("wait", "--for=condition=Ready", "pod/stubborn", "--timeout=30s");
    await kubectl("delete", "pod", "stubborn", "--timeout=20s");
  });

  it("shares the node's network and name on request", async () => {
    await kubectl("wait", "--for=condition=Ready", "pod/on-host", "--timeout=30s");
    const address = await field("on-host", ".status.hostIP");
    expect(await field("on-host", ".status.podIP")).toBe(address);
    expect((await kubectl("exec", "on-host", "--", "hostname")).trim()).toBe(await field("on-host", ".spec.nodeName"));
  });

  it("backs off from containers that crash, and keeps the log of the run before", async () => {
    await eventually(async () => expect(await kubectl("get", "pod", "crashing")).toContain("CrashLoopBackOff"), 20);
    expect(await field("crashing", ".status.containerStatuses[0].lastState.terminated.exitCode")).toBe("3");
    expect(await kubectl("logs", "crashing", "--previous")).toBe("run\n");
  });

  it("waits for a ConfigMap that is not there yet", async () => {
    expect(await kubectl("get", "pod", "waiting")).toContain("CreateContainerConfigError");
    await kubectl("create", "configmap", "later", "--from-literal=A=1");
    await kubectl("wait", "--for=condition=Ready", "pod/waiting", "--timeout=30s");
  });

  it("follows probes: ready, unready, restarted", async () => {
    await kubectl("wait", "--for=condition=Ready", "pod/probed", "--timeout=30s");
    expect(await field("probed", ".status.containerStatuses[0].restartCount")).toBe("0");
    await kubectl("exec", "probed", "--", "rm", "/portolan-work/ready");
    await kubectl("wait", "--for=condition=Ready=false", "pod/probed", "--timeout=20s");
    expect(await field("probed", ".status.containerStatuses[0].restartCount")).toBe("0");
    await kubectl("exec", "probed", "--", "rm", "/portolan-work/live");
    await kubectl(
      "wait",
      "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
      "pod/probed",
      "--timeout=20s",
    );
    await kubectl("wait", "--for=condition=Ready", "pod/probed", "--timeout=30s");
  });
});
