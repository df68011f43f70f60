import type { Section, Step } from "../section.ts";
import { must, mustBe, mustSay, type Session } from "../session.ts";

/** A command that has to say something on standard output. */
const says = (command: string, ...pieces: readonly (string | RegExp)[]): Step => ({
  command,
  run: async (session) => mustSay((await session.run(command)).stdout, ...pieces),
});

/** `kubectl run --rm -it`: with a terminal, the pod's output, and no pod left over. */
async function runsOnce(
  session: Session,
  command: string,
  code: number | "any",
  piece: string | RegExp,
): Promise<void> {
  const { stdout } = await session.run(command, { terminal: true, code });
  mustSay(stdout, piece, 'pod "test" deleted');
  await session.until(async () => void (await session.run("kubectl get pod test", { code: 1 })));
}

const ownResolver = {
  mode: "netns",
  reason: "pods of mode gateway have no resolver of their own, so that short names mean those of namespace default",
} as const;

const searchNote =
  "busybox asks every search domain and complains of those that have no such name, although the first has answered";

export const troubleshooting: Section = {
  title: "Troubleshooting",
  namespace: "article-troubleshooting",
  prepare: (session) => session.deploy("web", "web-service"),
  steps: [
    says(
      "kubectl get svc web-service -o wide",
      /^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE +SELECTOR\n/,
      /app=web$/m,
    ),
    says("kubectl get endpoints web-service", /^web-service +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080 /m),
    says("kubectl get pods --show-labels", /app=web,pod-template-hash=/),
    says("kubectl get pods -l app=web", /^web-\S+ +1\/1 +Running/m),
    says("kubectl get pods -l app=web -o wide", /^web-\S+ +1\/1 +Running +0 +\S+ +10\.244\.\d+\.\d+ +node[12] /m),
    {
      command: "kubectl run test --rm -it --image=busybox -- nslookup web-service",
      terminal: true,
      only: ownResolver,
      note: `${searchNote}; without --restart=Never the pod would be started again and again`,
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await runsOnce(session, this.command, "any", `Address: ${address}`);
      },
    },
    {
      command: "kubectl run test --rm -it --image=curlimages/curl -- curl web-service:80",
      terminal: true,
      only: ownResolver,
      run: async (session) =>
        await runsOnce(
          session,
          "kubectl run test --rm -it --image=curlimages/curl -- curl web-service:80",
          "any",
          /pod: +web-/,
        ),
    },
    {
      command: "a selector that no pod matches: <none> in the list of Endpoints",
      async run(session) {
        await session.run(`kubectl patch svc web-service -p '{"spec":{"selector":{"app":"nobody"}}}'`);
        await session.until(async () =>
          mustSay((await session.run("kubectl get endpoints web-service")).stdout, /^web-service +<none> /m),
        );
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await session.deploy("client");
        await session.until(async () =>
          mustBe((await session.inPod(`curl -s -m 2 -f http://${address}/`)).code !== 0, true, "curl fails"),
        );
        await session.run(`kubectl patch svc web-service -p '{"spec":{"selector":{"app":"web"}}}'`);
      },
    },
    {
      command: "a targetPort that nothing listens on: connections are refused",
      async run(session) {
        await session.run(
          `kubectl patch svc web-service --type json -p '[{"op":"replace","path":"/spec/ports/0/targetPort","value":8081}]'`,
        );
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await session.until(async () =>
          mustBe((await session.inPod(`curl -s -m 2 -f http://${address}/`)).code !== 0, true, "curl fails"),
        );
      },
    },
  ],
};

const create = (type: string, more = ""): string => `kubectl create service ${type} web-svc --tcp=80:8080${more}`;
const expose = (type: string): string => `kubectl expose deployment web --port=80 --target-port=8080 --type=${type}`;

function creates(
  command: string,
  name: string,
  type: string,
  check: (session: Session) => Promise<void>,
  first = false,
): Step {
  return {
    command,
    ...(first
      ? {}
      : {
          note: "after the lines before it the name exists (AlreadyExists, exit code 1), so the Service before is deleted first",
        }),
    async run(session) {
      if (!first) {
        mustSay((await session.run(command, { code: 1 })).stderr, `services "${name}" already exists`);
        await session.run(`kubectl delete svc ${name}`);
      }
      mustSay((await session.run(command)).stdout, new RegExp(`^service/${name} (created|exposed)`));
      mustBe(await session.value(`svc ${name}`, "{.spec.type}"), type, "type");
      await check(session);
    },
  };
}

const created = async (session: Session): Promise<void> => {
  mustBe(await session.value("svc web-svc", "{.spec.selector}"), '{"app":"web-svc"}', "selector");
  mustBe(await session.value("svc web-svc", "{.spec.ports[0].name}"), "80-8080", "name of the port");
};
const exposed = async (session: Session): Promise<void> => {
  mustBe(await session.value("svc web", "{.spec.selector}"), '{"app":"web"}', "selector");
  await session.until(async () => {
    mustSay(await session.value("endpoints web", "{.subsets[*].addresses[*].ip}"), /^10\.244\.\S+ 10\.244\.\S+$/);
  });
};

export const commands: Section = {
  title: "Commands for the exam",
  namespace: "article-exam",
  lane: "node port 30080",
  prepare: (session) => session.deploy("client", "web", "web-service"),
  steps: [
    creates(create("clusterip"), "web-svc", "ClusterIP", created, true),
    creates(create("nodeport", " --node-port=30080"), "web-svc", "NodePort", async (session) => {
      await created(session);
      mustBe(await session.value("svc web-svc", "{.spec.ports[0].nodePort}"), "30080", "nodePort");
    }),
    creates(create("loadbalancer"), "web-svc", "LoadBalancer", async (session) => {
      await created(session);
      await session.until(async () =>
        mustSay(await session.value("svc web-svc", "{.status.loadBalancer.ingress[0].ip}"), /^172\.18\.255\./),
      );
    }),
    creates(expose("ClusterIP"), "web", "ClusterIP", exposed, true),
    creates(expose("NodePort"), "web", "NodePort", exposed),
    creates(expose("LoadBalancer"), "web", "LoadBalancer", exposed),
    {
      command: "kubectl expose pod nginx --port=80 --name=nginx-svc",
      note: "the pod has to carry labels; kubectl run gives it run=nginx",
      async run(session) {
        await session.run("kubectl run nginx --image=nginx");
        await session.run("kubectl wait --for=condition=Ready pod/nginx --timeout=30s");
        mustSay((await session.run(this.command)).stdout, "service/nginx-svc exposed");
        mustSay(await session.value("svc nginx-svc", "{.spec.selector}"), '"run":"nginx"');
        const [answer] = await session.until(() =>
          session.fetchInPod("http://nginx-svc.article-exam.svc.cluster.local", 1),
        );
        mustBe(answer?.pod, "nginx", "who answers");
      },
    },
    says("kubectl get svc -o wide", /SELECTOR\n/, /^web-service +ClusterIP .*app=web$/m),
    says(
      "kubectl describe svc web-service",
      /^Name: +web-service$/m,
      /^Selector: +app=web$/m,
      /^Type: +ClusterIP$/m,
      /^TargetPort: +8080\/TCP$/m,
      /^Endpoints: +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080$/m,
      /^Session Affinity: +None$/m,
      /^Internal Traffic Policy: +Cluster$/m,
    ),
    says("kubectl get endpoints web-service", /^web-service +10\.244\./m),
    {
      command: "kubectl run test --rm -it --image=busybox --restart=Never -- nslookup web-service",
      terminal: true,
      only: ownResolver,
      note: `${searchNote} (exit code 1)`,
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await runsOnce(session, this.command, "any", `Address: ${address}`);
      },
    },
    {
      command: "kubectl run test --rm -it --image=curlimages/curl --restart=Never -- curl -s web-service:80",
      terminal: true,
      only: ownResolver,
      async run(session) {
        await runsOnce(session, this.command, 0, /pod: +web-/);
      },
    },
    {
      command: "kubectl edit svc web-service",
      note: "the editor here is a program that replaces port 80 by 81",
      async run(session) {
        const environment = { KUBE_EDITOR: "sed -i 's/port: 80$/port: 81/'" };
        mustSay((await session.run(this.command, { environment })).stdout, "service/web-service edited");
        mustBe(await session.value("svc web-service", "{.spec.ports[0].port}"), "81", "port");
      },
    },
    {
      command: `kubectl patch svc web-service -p '{"spec":{"type":"NodePort"}}'`,
      async run(session) {
        const before = await session.value("svc web-service", "{.spec.clusterIP}");
        mustSay((await session.run(this.command)).stdout, "service/web-service patched");
        mustSay(await session.value("svc web-service", "{.spec.ports[0].nodePort}"), /^3\d{4}$/);
        mustBe(await session.value("svc web-service", "{.spec.clusterIP}"), before, "clusterIP");
        mustBe(
          await session.value("svc web-service", "{.spec.externalTrafficPolicy}"),
          "Cluster",
          "externalTrafficPolicy",
        );
      },
    },
    {
      command: "kubectl delete svc web-service",
      async run(session) {
        mustSay((await session.run(this.command)).stdout, 'service "web-service" deleted');
        await session.run("kubectl get svc web-service", { code: 1 });
        await session.until(async () => void (await session.run("kubectl get endpoints web-service", { code: 1 })));
        await session.until(async () =>
          mustBe(
            await session.value(
              "endpointslices -l kubernetes.io/service-name=web-service",
              "{.items[*].metadata.name}",
            ),
            "",
            "slices",
          ),
        );
      },
    },
  ],
};

export const scenarios: Section = {
  title: "Scenarios of the exam",
  namespace: "article-scenarios",
  prepare: async (session) => {
    await session.deploy("client", "web", "web-service");
    await session.run("kubectl create deployment frontend --image=nginx:1.24 --port=8080 --replicas=2");
    await session.run("kubectl rollout status deployment/frontend --timeout=30s");
  },
  steps: [
    {
      command: "kubectl expose deployment frontend --port=80 --target-port=8080 --type=NodePort --name=frontend-svc",
      async run(session) {
        mustSay((await session.run(this.command)).stdout, "service/frontend-svc exposed");
        const port = Number(await session.value("svc frontend-svc", "{.spec.ports[0].nodePort}"));
        const [node] = session.cluster.nodes;
        await session.until(async () => {
          const [answer] = await session.fetchOutside({ address: node!.address, port, node: node!.name });
          mustSay(answer?.pod ?? "no answer", /^frontend-/);
        });
      },
    },
    {
      command: "kubectl create service nodeport web --tcp=80:8080 --node-port=30100",
      note: "30100 lies in the band that automatic choices are made from, so another Service may have it already",
      async run(session) {
        mustSay((await session.run(this.command)).stdout, "service/web created");
        for (const node of session.cluster.nodes) {
          await session.until(async () => {
            const [answer] = await session.fetchOutside({ address: node.address, port: 30100, node: node.name });
            mustSay(answer?.pod ?? "no answer", /^web-/);
          });
        }
      },
    },
    {
      command: `kubectl patch svc web-service -p '{"spec":{"selector":{"app":"web-v2"}}}'`,
      note: "keys are merged: other keys of the selector would stay",
      async run(session) {
        mustSay((await session.run(this.command)).stdout, "service/web-service patched");
        mustBe(await session.value("svc web-service", "{.spec.selector}"), '{"app":"web-v2"}', "selector");
        await session.until(async () =>
          mustBe(await session.value("endpoints web-service", "{.subsets}"), "", "subsets"),
        );
        await session.run("kubectl run web-v2 --image=nginx --port=8080 --labels=app=web-v2");
        const [answer] = await session.until(() =>
          session.fetchInPod("http://web-service.article-scenarios.svc.cluster.local", 1),
        );
        mustBe(answer?.pod, "web-v2", "who answers");
      },
    },
    {
      command: "kubectl create service externalname ext-api --external-name=api.external.com",
      note: "a selector app=ext-api is set as well",
      async run(session) {
        mustSay((await session.run(this.command)).stdout, "service/ext-api created");
        mustBe(
          await session.value("svc ext-api", "{.spec.externalName} {.spec.selector}"),
          'api.external.com {"app":"ext-api"}',
          "spec",
        );
      },
    },
  ],
};

export const application: Section = {
  title: "A whole application",
  namespace: "article-application",
  prepare: (session) => session.deploy("client", "application"),
  steps: [
    {
      command: "kubectl apply -f application.yaml",
      async run(session) {
        const { stdout } = await session.run("kubectl get deployments,statefulsets");
        mustSay(
          stdout,
          /^deployment\.apps\/frontend +3\/3/m,
          /^deployment\.apps\/backend +3\/3/m,
          /^statefulset\.apps\/mysql +3\/3/m,
        );
      },
    },
    {
      command: "frontend-svc: its address outside, port 80",
      async run(session) {
        const address = await session.until(async () => {
          const found = await session.value("svc frontend-svc", "{.status.loadBalancer.ingress[0].ip}");
          mustSay(found, /^172\.18\.255\./);
          return found;
        });
        await session.until(async () => {
          const answers = await session.fetchOutside({ address, port: 80 }, 16);
          for (const answer of answers) mustSay(answer?.pod ?? "no answer", /^frontend-/);
          must(new Set(answers.map((answer) => answer?.pod)).size === 3, "not all three pods answered");
        });
      },
    },
    {
      command: "curl http://backend-svc",
      async run(session) {
        const answers = await session.until(() =>
          session.fetchInPod("http://backend-svc.article-application.svc.cluster.local", 24),
        );
        must(new Set(answers.map(({ pod }) => pod)).size === 3, "not all three pods answered");
        for (const { pod } of answers) mustSay(pod, /^backend-/);
      },
    },
    {
      command: "mysql-0, mysql-1, mysql-2 below mysql-headless",
      async run(session) {
        for (const i of [0, 1, 2]) {
          const address = await session.value(`pod mysql-${i}`, "{.status.podIP}");
          const name = `mysql-${i}.mysql-headless.article-application.svc.cluster.local`;
          await session.until(async () =>
            mustSay((await session.inPod(`nslookup ${name}`)).stdout, `Address: ${address}`),
          );
          mustSay(
            (await session.inPod(`curl -s -m 3 --output - telnet://${name}:3306 </dev/null`)).stdout,
            `pod=mysql-${i}`,
          );
        }
      },
    },
    {
      command: "mysql-svc:3306 reaches any of the same pods",
      note: "its slices carry no hostnames, so there are no names of pods below it",
      async run(session) {
        const name = "mysql-svc.article-application.svc.cluster.local";
        mustSay(
          (await session.inPod(`curl -s -m 3 --output - telnet://${name}:3306 </dev/null`)).stdout,
          /pod=mysql-[012]/,
        );
        mustSay((await session.inPod(`nslookup mysql-0.${name}`)).stdout, "NXDOMAIN");
      },
    },
  ],
};
