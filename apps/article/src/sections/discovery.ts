import type { Section } from "../section.ts";
import { distinct, must, mustBe, mustSay, type Session } from "../session.ts";

export const discovery: Section = {
  title: "Discovery by DNS",
  namespace: "production",
  lane: "default",
  prepare: (session) => session.deploy("client", "web", "web-service"),
  steps: [
    {
      command: "nslookup web-service.production.svc.cluster.local",
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await session.until(async () => mustSay((await session.inPod(this.command)).stdout, `Address: ${address}`));
      },
    },
    {
      command: "nslookup -type=SRV _http._tcp.web-service.production.svc.cluster.local",
      note: "the page's web-service has an unnamed port and so no such record; it is there once the port is named http",
      async run(session) {
        mustSay((await session.inPod(this.command)).stdout, "NXDOMAIN");
        await session.run(
          `kubectl patch svc web-service --type json -p '[{"op":"add","path":"/spec/ports/0/name","value":"http"}]'`,
        );
        await session.until(async () =>
          mustSay(
            (await session.inPod(this.command)).stdout,
            /service = 0 100 80 web-service\.production\.svc\.cluster\.local/,
          ),
        );
      },
    },
    {
      command: "<pod-ip-dashed>.<namespace>.pod.cluster.local",
      async run(session) {
        const address = await session.value("pod client", "{.status.podIP}");
        const { stdout } = await session.inPod(`nslookup ${address.replaceAll(".", "-")}.production.pod.cluster.local`);
        mustSay(stdout, `Address: ${address}`);
      },
    },
  ],
};

const fetchedBy = (command: string) => ({
  command,
  async run(session: Session) {
    mustSay((await session.inPod(command.replace("curl ", "curl -sS -m 5 "))).stdout, /^pod: +web-/m);
  },
});

export const names: Section = {
  title: "Names from the same namespace",
  namespace: "default",
  prepare: (session) => session.deploy("client", "web", "web-service"),
  steps: [
    fetchedBy("curl http://web-service"),
    fetchedBy("curl http://web-service.default"),
    fetchedBy("curl http://web-service.default.svc.cluster.local"),
  ],
};

export const environment: Section = {
  title: "Discovery by environment variables",
  namespace: "article-environment",
  prepare: (session) => session.deploy("client", "web-service"),
  steps: [
    {
      command: "env | grep WEB_SERVICE",
      note: "there are seven variables for a port, not three",
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await session.deploy("clients");
        const lines = (await session.run(`kubectl exec client-node1 -- sh -c '${this.command}'`)).stdout
          .trim()
          .split("\n");
        mustBe(
          lines.sort(),
          [
            `WEB_SERVICE_PORT=tcp://${address}:80`,
            `WEB_SERVICE_PORT_80_TCP=tcp://${address}:80`,
            `WEB_SERVICE_PORT_80_TCP_ADDR=${address}`,
            "WEB_SERVICE_PORT_80_TCP_PORT=80",
            "WEB_SERVICE_PORT_80_TCP_PROTO=tcp",
            `WEB_SERVICE_SERVICE_HOST=${address}`,
            "WEB_SERVICE_SERVICE_PORT=80",
          ],
          "variables",
        );
      },
    },
    {
      command: "a Service made after the pod is not among its variables",
      async run(session) {
        await session.run("kubectl create service clusterip later --tcp=80");
        const { stdout } = await session.run("kubectl exec client-node1 -- env");
        must(!stdout.includes("LATER_SERVICE_HOST"), "LATER_SERVICE_HOST is set");
      },
    },
  ],
};

export const affinity: Section = {
  title: "Session affinity",
  namespace: "article-affinity",
  prepare: (session) => session.deploy("clients", "client", "web", "sticky-service"),
  steps: [
    {
      command: "kubectl apply -f sticky-service.yaml",
      async run(session) {
        mustBe(await session.value("svc sticky-service", "{.spec.sessionAffinity}"), "ClientIP", "sessionAffinity");
        mustBe(
          await session.value("svc sticky-service", "{.spec.sessionAffinityConfig.clientIP.timeoutSeconds}"),
          "3600",
          "timeoutSeconds",
        );
        await session.run("kubectl expose deployment web --name=usual --port=80 --session-affinity=ClientIP");
        mustBe(
          await session.value("svc usual", "{.spec.sessionAffinityConfig.clientIP.timeoutSeconds}"),
          "10800",
          "default timeoutSeconds",
        );
        await session.run("kubectl expose deployment web --name=plain --port=80");
        mustBe(await session.value("svc plain", "{.spec.sessionAffinity}"), "None", "default sessionAffinity");
      },
    },
    {
      command: "requests of one client go to one pod",
      async run(session) {
        for (const client of ["client-node1", "client-node2", "client-node3"]) {
          await session.until(async () => {
            const answers = await session.fetchInPod(
              "http://sticky-service.article-affinity.svc.cluster.local",
              12,
              client,
            );
            mustBe(distinct(answers.map(({ pod }) => pod)).length, 1, `pods that answered ${client}`);
          });
        }
      },
    },
    {
      command: "None: requests of one client go to all pods",
      note: "the page says round-robin; endpoints are chosen at random in the default mode",
      async run(session) {
        const answers = await session.fetchInPod("http://plain.article-affinity.svc.cluster.local", 24, "client-node1");
        mustBe(distinct(answers.map(({ pod }) => pod)).length, 2, "pods that answered");
      },
    },
  ],
};

export const ports: Section = {
  title: "Ports",
  namespace: "article-ports",
  prepare: (session) => session.deploy("client", "web", "multi-port-service"),
  steps: [
    {
      command: "kubectl apply -f multi-port-service.yaml",
      async run(session) {
        mustSay((await session.run("kubectl get svc multi-port-service")).stdout, /80\/TCP,443\/TCP,9090\/TCP/);
        for (const [port, target] of [
          [80, 8080],
          [443, 8443],
          [9090, 9090],
        ]) {
          const answers = await session.until(() =>
            session.fetchInPod(`http://multi-port-service.article-ports.svc.cluster.local:${port}`, 2),
          );
          mustBe(answers.length, 2, `answers of port ${port} (${target})`);
        }
      },
    },
    {
      command: "names are required with several ports",
      async run(session) {
        const patch = `[{"op":"remove","path":"/spec/ports/0/name"}]`;
        const { stderr } = await session.run(`kubectl patch svc multi-port-service --type json -p '${patch}'`, {
          code: 1,
        });
        mustSay(stderr, "spec.ports[0].name: Required value");
      },
    },
  ],
};

export const namedPorts: Section = {
  title: "Named ports",
  namespace: "article-named-ports",
  prepare: (session) => session.deploy("client", "named-ports"),
  steps: [
    {
      command: "kubectl apply -f named-ports.yaml",
      async run(session) {
        await session.until(async () => {
          mustBe(
            await session.value("endpoints web-service", "{range .subsets[*].ports[*]}{.name}={.port} {end}"),
            "http=80 https=443 ",
            "ports of the Endpoints",
          );
        });
        for (const port of [80, 443]) {
          const [answer] = await session.until(() =>
            session.fetchInPod(`http://web-service.article-named-ports.svc.cluster.local:${port}`, 1),
          );
          mustBe(answer?.pod, "web-pod", `who answers on ${port}`);
        }
      },
    },
    {
      command: "another number below the same name needs no change of the Service",
      async run(session) {
        await session.run("kubectl delete pod web-pod --grace-period=1");
        await session.deploy("renumbered-pod");
        await session.until(async () => {
          mustSay(await session.value("endpoints web-service", "{.subsets[*].ports[*].port}"), "8080");
          const [answer] = await session.fetchInPod("http://web-service.article-named-ports.svc.cluster.local", 1);
          mustBe(answer?.pod, "web-pod", "who answers");
        });
      },
    },
  ],
};
