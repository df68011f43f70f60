import type { Section } from "../section.ts";
import { distinct, must, mustBe, mustSay, rows, type Session } from "../session.ts";

const webReady = (session: Session): Promise<void> => session.deploy("client", "web");

/** Waits for as many addresses in the Endpoints of a Service. */
async function endpointsBecome(session: Session, service: string, count: number): Promise<string[]> {
  return await session.until(async () => {
    const addresses = (await session.value(`endpoints ${service}`, "{.subsets[*].addresses[*].ip}")).split(" ");
    mustBe(addresses.filter((address) => address !== "").length, count, `addresses of Endpoints ${service}`);
    return addresses.sort();
  });
}

export const necessity: Section = {
  title: "Limits of pod addresses",
  namespace: "article-pod",
  prepare: (session) => session.deploy("pod-web-app", "clients"),
  steps: [
    {
      command: "kubectl apply -f pod-web-app.yaml",
      note: "claim: an address is not kept by a pod that is made anew",
      async run(session) {
        const uid = await session.value("pod web-app", "{.metadata.uid}");
        mustSay(await session.value("pod web-app", "{.status.podIP}"), /^10\.244\./);
        await session.run("kubectl delete pod web-app --grace-period=1");
        // Another pod takes an address first, so that getting the same one again would be no coincidence of an empty pool.
        await session.apply("pod-web-app");
        await session.run("kubectl wait --for=condition=Ready pod/web-app --timeout=30s");
        must((await session.value("pod web-app", "{.metadata.uid}")) !== uid, "the pod is the old one");
        mustSay(await session.value("pod web-app", "{.status.podIP}"), /^10\.244\./);
        const address = await session.value("pod web-app", "{.status.podIP}");
        const [answer] = await session.fetchInPod(`http://${address}/`, 1, "client-node1");
        mustBe(answer?.pod, "web-app", "who answers at the new address");
      },
    },
  ],
};

export const basics: Section = {
  title: "Service and Endpoints",
  namespace: "default",
  prepare: webReady,
  steps: [
    {
      command: "kubectl apply -f web-service.yaml",
      async run(session) {
        mustSay(
          (await session.run(`kubectl apply -f ${session.manifest("web-service")}`)).stdout,
          "service/web-service created",
        );
        mustSay(
          (await session.run(`kubectl apply -f ${session.manifest("web-service")}`)).stdout,
          "service/web-service unchanged",
        );
      },
    },
    {
      command: "kubectl get svc web-service",
      async run(session) {
        const { stdout } = await session.run(this.command);
        mustSay(stdout, /^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE\n/);
        mustSay(stdout, /^web-service +ClusterIP +10\.96\.\d+\.\d+ +<none> +80\/TCP +\d+s$/m);
      },
    },
    {
      command: "kubectl get endpoints web-service",
      note: "the page's `,...` is ` + N more...` from the fourth address on; a deprecation warning comes with it",
      async run(session) {
        await endpointsBecome(session, "web-service", 2);
        const { stdout, stderr } = await session.run(this.command);
        mustSay(stdout, /^web-service +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080 +\d+s$/m);
        mustSay(stderr, "v1 Endpoints is deprecated in v1.33+");
        await session.run("kubectl scale deployment web --replicas=5");
        await endpointsBecome(session, "web-service", 5);
        mustSay((await session.run(this.command)).stdout, /8080 \+ 2 more\.\.\./);
        await session.run("kubectl scale deployment web --replicas=2");
        await endpointsBecome(session, "web-service", 2);
      },
    },
    {
      command: "ClusterIP:80 reaches all pods that the selector matches",
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        const answers = await session.fetchInPod(`http://${address}/`, 24);
        const names = (await session.value("pods -l app=web", "{.items[*].metadata.name}")).split(" ");
        mustBe(distinct(answers.map(({ pod }) => pod)), names.sort(), "pods that answered");
      },
    },
  ],
};

export const withoutSelector: Section = {
  title: "Service without selector",
  namespace: "article-external",
  prepare: (session) => session.deploy("client"),
  steps: [
    {
      command: "kubectl apply -f external-db.yaml",
      async run(session) {
        await session.apply("external-db");
        mustBe(
          await session.value("endpoints external-db", "{.subsets[*].addresses[*].ip}"),
          "192.168.1.100 192.168.1.101",
          "addresses",
        );
        await session.until(async () => {
          const slices = "endpointslices -l kubernetes.io/service-name=external-db";
          mustBe(
            await session.value(slices, "{.items[*].endpoints[*].addresses[*]} {.items[*].ports[*].port}"),
            "192.168.1.100 192.168.1.101 3306",
            "mirrored slice",
          );
        });
      },
    },
    {
      command: "ClusterIP:3306 leads to the addresses of the Endpoints",
      note: "the page's addresses exist nowhere here: the connection is led to them, and there is no way to them; a Service without endpoints refuses instead",
      async run(session) {
        const address = await session.value("svc external-db", "{.spec.clusterIP}");
        await session.run("kubectl create service clusterip empty --tcp=3306");
        const empty = await session.value("svc empty", "{.spec.clusterIP}");
        const dial = async (to: string): Promise<string> =>
          (await session.inPod(`curl -v -m 3 telnet://${to}:3306 </dev/null`)).stderr;
        await session.until(async () => {
          if (session.cluster.mode === "netns") {
            mustSay(await dial(address), /unreachable|No route to host/);
            mustSay(await dial(empty), "Connection refused");
          } else {
            await dial(address);
            const activity = await session.cluster.serviceActivity(session.namespace, "external-db");
            must((activity?.connections ?? 0) > 0, "no connection was translated");
          }
        });
      },
    },
    {
      command: "own Endpoints with the address of a database outside of the cluster",
      note: "the same pattern with a server that exists",
      async run(session) {
        await session.apply("outside-database");
        await session.until(async () => {
          mustSay(
            (
              await session.inPod(
                "curl -s -m 3 --output - telnet://outside-database.article-external.svc.cluster.local:3306 </dev/null",
              )
            ).stdout,
            "pod=outside-database",
          );
        });
      },
    },
    {
      command: "kubectl delete -f external-db.yaml",
      note: "deleting the Service takes its Endpoints along, so that the second delete finds nothing and exits with 1",
      async run(session) {
        await session.run(`kubectl delete -f ${session.manifest("external-db")}`, { code: "any" });
        await session.run("kubectl get svc external-db", { code: 1 });
        await session.run("kubectl get endpoints external-db", { code: 1 });
      },
    },
  ],
};

export const clusterIP: Section = {
  title: "Type ClusterIP",
  namespace: "default",
  prepare: (session) => session.deploy("backend", "backend-service"),
  steps: [
    {
      command: "kubectl apply -f backend-service.yaml",
      async run(session) {
        mustBe(await session.value("svc backend-service", "{.spec.type}"), "ClusterIP", "type");
        await endpointsBecome(session, "backend-service", 2);
      },
    },
    {
      command: "curl http://backend-service:80",
      async run(session) {
        mustSay((await session.inPod("curl -s -m 5 http://backend-service:80")).stdout, /^pod: +backend-/m);
        const answers = await session.fetchInPod("http://backend-service:80", 16);
        mustBe(distinct(answers.map(({ pod }) => pod)).length, 2, "pods that answered");
        const client = await session.value("pod client", "{.status.podIP}");
        if (session.cluster.mode === "netns")
          mustBe(distinct(answers.map((answer) => answer.client)), [client], "clients seen");
      },
    },
    {
      command: "curl http://backend-service.default.svc.cluster.local:80",
      note: "run in a pod of another namespace, where the short name means nothing",
      async run(session) {
        await session.run("kubectl create namespace article-other");
        try {
          await session.run(`kubectl apply -n article-other -f ${session.manifest("client")}`);
          await session.run("kubectl wait -n article-other --for=condition=Ready pod/client --timeout=30s");
          const inOther = (line: string): string => `kubectl exec -n article-other client -c curl -- ${line}`;
          mustSay((await session.run(inOther(`curl -s -m 5 ${this.command.slice(5)}`))).stdout, /^pod: +backend-/m);
          if (session.cluster.mode === "netns") {
            await session.run(inOther("curl -s -m 5 http://backend-service:80"), { code: 6 });
          }
        } finally {
          await session.run("kubectl delete namespace article-other --wait=false", { code: "any" });
        }
      },
    },
    {
      command: "ClusterIP is not reachable from outside",
      only: { mode: "netns", reason: "in mode gateway the outside is the gateway itself" },
      note: "nothing of it listens on the nodes; who is given a route to the Service addresses by a node reaches it all the same, as on every cluster",
      async run(session) {
        const address = await session.value("svc backend-service", "{.spec.clusterIP}");
        mustSay(address, /^10\.96\./);
        const nodePorts = await session.value("svc backend-service", "{.spec.ports[*].nodePort}");
        mustBe(nodePorts, "", "node ports of a ClusterIP Service");
        for (const { address: node, name } of session.cluster.nodes) {
          mustBe(
            await session.fetchOutside({ address: node, port: 80, node: name }),
            [null],
            `an answer of ${name} on port 80`,
          );
        }
      },
    },
  ],
};

export const nodePort: Section = {
  title: "Type NodePort",
  namespace: "article-nodeport",
  lane: "node port 30080",
  prepare: webReady,
  steps: [
    {
      command: "kubectl apply -f web-nodeport.yaml",
      async run(session) {
        await session.apply("web-nodeport");
        mustSay(
          (await session.run("kubectl get svc web-nodeport")).stdout,
          /^web-nodeport +NodePort +10\.96\.\S+ +<none> +80:30080\/TCP/m,
        );
        await endpointsBecome(session, "web-nodeport", 2);
      },
    },
    {
      command: "NodeIP:30080 → ClusterIP:80 → Pod:8080, on any node",
      async run(session) {
        for (const node of session.cluster.nodes) {
          await session.until(async () => {
            const answers = await session.fetchOutside({ address: node.address, port: 30080, node: node.name }, 8);
            must(!answers.includes(undefined), `${node.name}:30080 did not always answer`);
            mustBe(
              distinct(answers.map((answer) => answer?.pod ?? "")).length,
              2,
              `pods that answered by ${node.name}`,
            );
          });
        }
        const address = await session.value("svc web-nodeport", "{.spec.clusterIP}");
        mustBe((await session.fetchInPod(`http://${address}/`, 2)).length, 2, "answers of its ClusterIP");
      },
    },
    {
      command: "node ports: 30000-32767, chosen when left out",
      async run(session) {
        await session.run("kubectl expose deployment web --name=chosen --port=80 --type=NodePort");
        const port = Number(await session.value("svc chosen", "{.spec.ports[0].nodePort}"));
        must(port >= 30000 && port <= 32767, `node port ${port}`);
        const taken = await session.run("kubectl create service nodeport other --tcp=80:80 --node-port=30080", {
          code: 1,
        });
        mustSay(taken.stderr, "provided port is already allocated");
        const below = await session.run("kubectl create service nodeport other --tcp=80:80 --node-port=29999", {
          code: 1,
        });
        mustSay(below.stderr, "The range of valid ports is 30000-32767");
      },
    },
  ],
};

export const loadBalancer: Section = {
  title: "Type LoadBalancer",
  namespace: "article-loadbalancer",
  prepare: webReady,
  steps: [
    {
      command: "kubectl apply -f web-lb.yaml",
      note: "without a provider EXTERNAL-IP stays <pending>; the cluster has one of its own, which ignores annotations of clouds",
      async run(session) {
        await session.apply("web-lb");
        await session.until(async () => {
          mustSay(
            (await session.run("kubectl get svc web-lb")).stdout,
            /^web-lb +LoadBalancer +10\.96\.\S+ +172\.18\.255\.\d+ +80:3\d{4}\/TCP/m,
          );
        });
        mustBe(await session.value("svc web-lb", "{.status.loadBalancer.ingress[0].ipMode}"), "VIP", "ipMode");
      },
    },
    {
      command: "External IP → node port → ClusterIP → Pod",
      async run(session) {
        const address = await session.value("svc web-lb", "{.status.loadBalancer.ingress[0].ip}");
        await session.until(async () => {
          const answers = await session.fetchOutside({ address, port: 80 }, 8);
          must(!answers.includes(undefined), `${address}:80 did not always answer: ${JSON.stringify(answers)}`);
          mustBe(distinct(answers.map((answer) => answer?.pod ?? "")).length, 2, "pods that answered");
        });
        const port = Number(await session.value("svc web-lb", "{.spec.ports[0].nodePort}"));
        const [node] = session.cluster.nodes;
        const [byNode] = await session.fetchOutside({ address: node!.address, port, node: node!.name });
        must(byNode !== undefined, `its node port ${port} did not answer`);
        const inside = await session.value("svc web-lb", "{.spec.clusterIP}");
        mustBe((await session.fetchInPod(`http://${inside}/`, 2)).length, 2, "answers of its ClusterIP");
      },
    },
    ...(["aws", "gcp", "azure"] as const).map((cloud) => ({
      command: `annotations of ${{ aws: "AWS", gcp: "GCP", azure: "Azure" }[cloud]} for internal load balancers`,
      ...(cloud === "gcp"
        ? {
            note: "the page calls it a static IP; networking.gke.io/load-balancer-type: Internal asks for an internal one",
          }
        : {}),
      async run(session: Session) {
        const file = session.manifest(`annotations-${cloud}`);
        await session.run(`kubectl patch svc web-lb --type merge --patch-file ${file}`);
        const keys = {
          aws: "service.beta.kubernetes.io/aws-load-balancer-internal",
          gcp: "networking.gke.io/load-balancer-type",
          azure: "service.beta.kubernetes.io/azure-load-balancer-internal",
        };
        mustSay(await session.value("svc web-lb", "{.metadata.annotations}"), `"${keys[cloud]}"`);
      },
    })),
  ],
};

export const externalName: Section = {
  title: "Type ExternalName",
  namespace: "default",
  prepare: (session) => session.apply("external-api"),
  steps: [
    {
      command: "kubectl apply -f external-api.yaml",
      async run(session) {
        const { stdout } = await session.run("kubectl get svc external-api");
        mustSay(stdout, /^external-api +ExternalName +<none> +api\.external-service\.com +<none>/m);
        await session.run("kubectl get endpoints external-api", { code: 1 });
      },
    },
    {
      command: "curl http://external-api.default.svc.cluster.local",
      note: "no redirect: DNS answers with a CNAME, and the Host header stays as it was; the page's domain is reached only with a network",
      async run(session) {
        if (session.cluster.mode === "netns") {
          const { stdout } = await session.inPod("nslookup external-api.default.svc.cluster.local");
          mustSay(stdout, "canonical name = api.external-service.com");
        }
        await session.run(
          "kubectl create service externalname inside-api --external-name=backend-service.default.svc.cluster.local",
        );
        const [answer] = await session.until(() =>
          session.fetchInPod("http://inside-api.default.svc.cluster.local", 1),
        );
        mustSay(answer?.pod ?? "", /^backend-/);
        mustBe(answer?.host, "inside-api.default.svc.cluster.local", "Host header");
      },
    },
  ],
};

export const headless: Section = {
  title: "Headless Service",
  namespace: "default",
  prepare: (session) => session.deploy("db-headless", "database"),
  steps: [
    {
      command: "kubectl apply -f db-headless.yaml",
      async run(session) {
        mustBe(await session.value("svc db-headless", "{.spec.clusterIP}"), "None", "clusterIP");
        const [row] = rows((await session.run("kubectl get svc db-headless")).stdout);
        mustBe(row?.slice(0, 5), ["db-headless", "ClusterIP", "None", "<none>", "5432/TCP"], "row");
        await endpointsBecome(session, "db-headless", 3);
      },
    },
    {
      command: "nslookup web-service.default.svc.cluster.local",
      async run(session) {
        const address = await session.value("svc web-service", "{.spec.clusterIP}");
        mustSay((await session.inPod(this.command)).stdout, `Address: ${address}`);
      },
    },
    {
      command: "nslookup db-headless.default.svc.cluster.local",
      async run(session) {
        await session.until(async () => {
          const { stdout } = await session.inPod(this.command);
          const found = [...stdout.matchAll(/^Address: (\d\S+)$/gm)].map((match) => match[1]!);
          mustBe(distinct(found), await endpointsBecome(session, "db-headless", 3), "addresses");
        });
      },
    },
    ...[0, 1].map((i) => ({
      command: `nslookup mysql-${i}.db-headless.default.svc.cluster.local`,
      note: "takes serviceName db-headless and pods that match its selector",
      async run(session: Session) {
        const address = await session.value(`pod mysql-${i}`, "{.status.podIP}");
        mustSay(
          (await session.inPod(`nslookup mysql-${i}.db-headless.default.svc.cluster.local`)).stdout,
          `Address: ${address}`,
        );
      },
    })),
    {
      command: "mysql-N.db-headless:5432 is pod N itself",
      note: "no virtual address: the client chooses, the pod sees the client's address",
      async run(session) {
        for (const i of [0, 1, 2]) {
          const { stdout } = await session.inPod(
            `curl -s -m 3 --output - telnet://mysql-${i}.db-headless:5432 </dev/null`,
          );
          mustSay(stdout, `pod=mysql-${i}`);
          if (session.cluster.mode === "netns")
            mustSay(stdout, `client=${await session.value("pod client", "{.status.podIP}")}:`);
        }
      },
    },
  ],
};
