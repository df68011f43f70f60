import type { Section } from "../section.ts";
import { distinct, must, mustBe, mustSay, type Session } from "../session.ts";

const nodesOfPods = async (session: Session): Promise<string[]> =>
  distinct((await session.value("pods -l app=web", "{.items[*].spec.nodeName}")).split(" "));

export const externalCluster: Section = {
  title: "externalTrafficPolicy: Cluster",
  namespace: "article-external-cluster",
  lane: "node port 30080",
  prepare: (session) => session.deploy("web", "external-traffic-cluster"),
  steps: [
    {
      command: "kubectl apply -f external-traffic-cluster.yaml",
      async run(session) {
        mustBe(
          await session.value("svc web-service", "{.spec.externalTrafficPolicy}"),
          "Cluster",
          "externalTrafficPolicy",
        );
        mustBe(await session.value("svc web-service", "{.spec.ports[0].targetPort}"), "80", "targetPort by default");
      },
    },
    {
      command: "every node accepts, all pods answer",
      async run(session) {
        for (const { name, address } of session.cluster.nodes) {
          await session.until(async () => {
            const answers = await session.fetchOutside({ address, port: 30080, node: name }, 8);
            must(!answers.includes(undefined), `${name} did not always answer`);
            mustBe(distinct(answers.map((answer) => answer?.pod ?? "")).length, 2, `pods that answered by ${name}`);
          });
        }
      },
    },
    {
      command: "the client's address is replaced by the node's (SNAT)",
      only: { mode: "netns", reason: "in mode gateway pods see the gateway's connection on loopback" },
      async run(session) {
        for (const { name, address } of session.cluster.nodes) {
          const answers = await session.fetchOutside({ address, port: 30080, node: name }, 6);
          const index = session.cluster.nodes.findIndex((node) => node.name === name) + 1;
          for (const answer of answers) {
            must(
              answer !== undefined && [address, `10.244.${index}.1`].includes(answer.client),
              `by ${name} a pod saw ${answer?.client}, neither of the node's addresses (${address}, 10.244.${index}.1)`,
            );
          }
        }
        const activity = await session.cluster.serviceActivity(session.namespace, "web-service");
        must((activity?.masqueraded ?? 0) > 0, "the dataplanes count no masqueraded connection");
      },
    },
  ],
};

export const externalLocal: Section = {
  title: "externalTrafficPolicy: Local",
  namespace: "article-external-local",
  lane: "node port 30080",
  prepare: (session) => session.deploy("client", "web", "external-traffic-local"),
  steps: [
    {
      command: "kubectl apply -f external-traffic-local.yaml",
      note: "a health check node port is given to type LoadBalancer only",
      async run(session) {
        mustBe(
          await session.value("svc web-service", "{.spec.externalTrafficPolicy}"),
          "Local",
          "externalTrafficPolicy",
        );
        mustBe(await session.value("svc web-service", "{.spec.healthCheckNodePort}"), "", "healthCheckNodePort");
      },
    },
    {
      command: "only pods of the node itself answer",
      async run(session) {
        const with_ = await nodesOfPods(session);
        mustBe(with_, ["node1", "node2"], "nodes with pods");
        for (const { name, address } of session.cluster.nodes.filter((node) => with_.includes(node.name))) {
          await session.until(async () => {
            const answers = await session.fetchOutside({ address, port: 30080, node: name }, 6);
            mustBe(
              distinct(answers.map((answer) => answer?.node ?? "no answer")),
              [name],
              `nodes of the pods that answered by ${name}`,
            );
          });
        }
      },
    },
    {
      command: "a node without pods does not answer",
      async run(session) {
        const node = session.cluster.nodes.find(({ name }) => name === "node3")!;
        mustBe(
          await session.fetchOutside({ address: node.address, port: 30080, node: node.name }, 2),
          [null, null],
          "answers of node3",
        );
      },
    },
    {
      command: "the client's address is kept",
      only: { mode: "netns", reason: "in mode gateway pods see the gateway's connection on loopback" },
      async run(session) {
        const [node] = session.cluster.nodes;
        const answers = await session.fetchOutside({ address: node!.address, port: 30080, node: node!.name }, 4);
        mustBe(distinct(answers.map((answer) => answer?.client ?? "no answer")), ["172.18.0.100"], "clients seen");
      },
    },
    {
      command: "LoadBalancer with Local: the client's address is kept behind the load balancer too",
      async run(session) {
        await session.run(`kubectl patch svc web-service -p '{"spec":{"type":"LoadBalancer"}}'`);
        const address = await session.until(async () => {
          const found = await session.value("svc web-service", "{.status.loadBalancer.ingress[0].ip}");
          mustSay(found, /^172\.18\.255\./);
          return found;
        });
        mustSay(await session.value("svc web-service", "{.spec.healthCheckNodePort}"), /^3\d{4}$/);
        await session.until(async () => {
          const answers = await session.fetchOutside({ address, port: 80 }, 4);
          must(!answers.includes(undefined), "not every request was answered");
          if (session.cluster.mode === "netns") {
            mustBe(distinct(answers.map((answer) => answer?.client ?? "")), ["172.18.0.100"], "clients seen");
          }
        });
      },
    },
  ],
};

export const internalLocal: Section = {
  title: "internalTrafficPolicy: Local",
  namespace: "article-internal-local",
  prepare: (session) => session.deploy("clients", "web", "local-service"),
  steps: [
    {
      command: "kubectl apply -f local-service.yaml",
      note: "alpha in 1.21, beta in 1.22, stable in 1.26: the page says 1.21 and 1.22",
      async run(session) {
        mustBe(
          await session.value("svc local-service", "{.spec.internalTrafficPolicy}"),
          "Local",
          "internalTrafficPolicy",
        );
        for (const node of await nodesOfPods(session)) {
          await session.until(async () => {
            const answers = await session.fetchInPod(
              "http://local-service.article-internal-local.svc.cluster.local",
              8,
              `client-${node}`,
            );
            mustBe(
              distinct(answers.map((answer) => answer.node)),
              [node],
              `nodes of the pods that answered on ${node}`,
            );
          });
        }
      },
    },
    {
      command: "a node without pods: connections fail",
      async run(session) {
        const url = "http://local-service.article-internal-local.svc.cluster.local";
        const { code } = await session.run(`kubectl exec client-node3 -- curl -s -f -m 2 ${url}`, { code: "any" });
        must(code !== 0, "a request on node3 was answered");
      },
    },
    {
      command: "Cluster: pods of all nodes",
      async run(session) {
        await session.run(`kubectl patch svc local-service -p '{"spec":{"internalTrafficPolicy":"Cluster"}}'`);
        await session.until(async () => {
          const answers = await session.fetchInPod(
            "http://local-service.article-internal-local.svc.cluster.local",
            16,
            "client-node3",
          );
          mustBe(distinct(answers.map((answer) => answer.node)), ["node1", "node2"], "nodes of the pods that answered");
        });
      },
    },
  ],
};

export const proxy: Section = {
  title: "kube-proxy and how Services are made",
  namespace: "article-proxy",
  prepare: (session) => session.deploy("client", "web", "web-service"),
  steps: [
    {
      command: "iptables -t nat -L -n | grep web-service",
      notApplicable:
        "there are no iptables rules: the proxy writes the same Services as tables of the dataplane; the next line looks at what these count",
    },
    {
      command: "dataplane: connections of article-proxy/web-service",
      note: "in the place of the iptables and IPVS listings",
      async run(session) {
        const count = async (): Promise<number> =>
          (await session.cluster.serviceActivity(session.namespace, "web-service"))?.connections ?? 0;
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        await session.until(() => session.fetchInPod(`http://${address}/`, 1));
        const before = await count();
        await session.fetchInPod(`http://${address}/`, 7);
        mustBe((await count()) - before, 7, "connections counted for 7 requests");
      },
    },
    {
      command: "ipvsadm -Ln",
      notApplicable: "there is no IPVS: the line before shows the same; IPVS is deprecated since 1.35",
    },
    {
      command: "kubectl apply -f kube-proxy-configuration.yaml",
      note: "accepted as data; nothing here reads it, and a real kube-proxy needs kind KubeProxyConfiguration in it",
      async run(session) {
        await session.apply("kube-proxy-configuration");
        mustSay(await session.value("configmap kube-proxy -n kube-system", "{.data}"), "ipvs");
      },
    },
  ],
};
