import { type Pod, resources } from "@portolan/core";
import type { Section } from "../section.ts";
import { distinct, must, mustBe, mustSay, type Session } from "../session.ts";

const slices = (service: string): string => `endpointslices -l kubernetes.io/service-name=${service}`;
const addresses = (session: Session, service: string, list: "addresses" | "notReadyAddresses"): Promise<string> =>
  session.value(`endpoints ${service}`, `{.subsets[*].${list}[*].ip}`);

/** Makes the readiness probe of a web pod fail, or succeed again. */
async function setReadiness(session: Session, pod: string, ready: boolean): Promise<void> {
  const address = await session.value(`pod ${pod}`, "{.status.podIP}");
  const { stdout } = await session.inPod(
    `curl -s -m 3 -X POST "http://${address}:80/healthz?status=${ready ? 200 : 503}"`,
  );
  must(stdout !== "", `${pod} did not answer`);
  await session.run(`kubectl wait --for=condition=Ready=${ready ? "true" : "false"} pod/${pod} --timeout=30s`);
}

export const readiness: Section = {
  title: "Readiness and termination",
  namespace: "article-readiness",
  prepare: (session) => session.deploy("client", "web", "web-service", "early-service"),
  steps: [
    {
      command: "a pod that is not ready gets no traffic",
      note: "the page says that it is removed: it moves to notReadyAddresses, and stays in the slice with ready: false",
      async run(session) {
        const [pod, other] = (await session.value("pods -l app=web", "{.items[*].metadata.name}")).split(" ");
        const address = await session.value(`pod ${pod}`, "{.status.podIP}");
        await setReadiness(session, pod!, false);
        await session.until(async () => {
          mustBe(await addresses(session, "web-service", "notReadyAddresses"), address, "notReadyAddresses");
          const ready = await session.value(
            slices("web-service"),
            `{.items[*].endpoints[?(@.targetRef.name=="${pod}")].conditions.ready}`,
          );
          mustBe(ready, "false", "condition ready in the slice");
          const answers = await session.fetchInPod("http://web-service.article-readiness.svc.cluster.local", 12);
          mustBe(distinct(answers.map((answer) => answer.pod)), [other], "pods that answered");
        });
      },
    },
    {
      command: "publishNotReadyAddresses: true keeps it",
      async run(session) {
        await session.until(async () => {
          mustBe((await addresses(session, "early-service", "addresses")).split(" ").length, 2, "addresses");
          const { stdout } = await session.inPod("nslookup early-service.article-readiness.svc.cluster.local");
          mustBe([...stdout.matchAll(/^Address: \d\S+$/gm)].length, 2, "addresses in DNS");
        });
        await session.run("kubectl expose deployment web --name=early --port=80 --target-port=8080");
        await session.run(`kubectl patch svc early -p '{"spec":{"publishNotReadyAddresses":true}}'`);
        await session.until(async () => {
          const answers = await session.fetchInPod("http://early.article-readiness.svc.cluster.local", 16);
          mustBe(distinct(answers.map((answer) => answer.pod)).length, 2, "pods that answered");
        });
      },
    },
    {
      command: "ready again: traffic again",
      async run(session) {
        const names = (await session.value("pods -l app=web", "{.items[*].metadata.name}")).split(" ");
        for (const name of names) await setReadiness(session, name, true);
        await session.until(async () => {
          const answers = await session.fetchInPod("http://web-service.article-readiness.svc.cluster.local", 16);
          mustBe(distinct(answers.map((answer) => answer.pod)).length, 2, "pods that answered");
        });
      },
    },
    {
      command: "a terminating pod leaves Endpoints at once",
      note: "it stays in the slice with ready: false, serving: true, terminating: true until it has ended",
      async run(session) {
        await session.deploy("slow-to-stop");
        await session.until(async () =>
          mustSay(await addresses(session, "slow-to-stop", "addresses"), /^10\.244\.\S+ 10\.244\.\S+$/),
        );
        const address = await session.value("pod slow-to-stop-1", "{.status.podIP}");
        await session.run("kubectl delete pod slow-to-stop-1 --wait=false");
        await session.until(async () => {
          must(
            !(await addresses(session, "slow-to-stop", "addresses")).split(" ").includes(address),
            "still in Endpoints",
          );
          const { conditions } = JSON.parse(
            await session.value(slices("slow-to-stop"), '{.items[*].endpoints[?(@.targetRef.name=="slow-to-stop-1")]}'),
          ) as { conditions: Record<string, boolean> };
          mustBe(
            [conditions["ready"], conditions["serving"], conditions["terminating"]],
            [false, true, true],
            "ready, serving, terminating",
          );
        });
        await session.until(async () => {
          const answers = await session.fetchInPod("http://slow-to-stop.article-readiness.svc.cluster.local", 8);
          mustBe(distinct(answers.map((answer) => answer.pod)), ["slow-to-stop-2"], "pods that answered");
        });
      },
    },
  ],
};

export const layers: Section = {
  title: "Answers of the interview",
  namespace: "article-interview",
  prepare: (session) => session.deploy("client", "web"),
  steps: [
    {
      command: "LoadBalancer ⊃ NodePort ⊃ ClusterIP",
      async run(session) {
        await session.run("kubectl expose deployment web --name=layers --port=80 --type=LoadBalancer");
        await session.until(async () => {
          const fields = "{.spec.clusterIP} {.spec.ports[0].nodePort} {.status.loadBalancer.ingress[0].ip}";
          mustSay(await session.value("svc layers", fields), /^10\.96\.\S+ 3\d{4} 172\.18\.255\.\d+$/);
        });
        await session.run(`kubectl patch svc layers -p '{"spec":{"type":"ClusterIP"}}'`);
        mustBe(
          await session.value("svc layers", "{.spec.ports[0].nodePort}"),
          "",
          "nodePort after the change to ClusterIP",
        );
      },
    },
    {
      command: "a headless Service over a Deployment: addresses of all pods, but no names of pods",
      async run(session) {
        await session.run("kubectl expose deployment web --name=without-address --port=80 --cluster-ip=None");
        const pods = (await session.value("pods -l app=web", "{.items[*].status.podIP}")).split(" ").sort();
        const name = "without-address.article-interview.svc.cluster.local";
        await session.until(async () => {
          const { stdout } = await session.inPod(`nslookup ${name}`);
          mustBe(distinct([...stdout.matchAll(/^Address: (\d\S+)$/gm)].map((match) => match[1]!)), pods, "addresses");
        });
        const [pod] = (await session.value("pods -l app=web", "{.items[*].metadata.name}")).split(" ");
        mustSay((await session.inPod(`nslookup ${pod}.${name}`)).stdout, "NXDOMAIN");
      },
    },
    {
      command: "SRV of a headless Service: a record for each pod, with the port",
      async run(session) {
        await session.deploy("members");
        const name = "members.article-interview.svc.cluster.local";
        await session.until(async () => {
          const { stdout } = await session.inPod(`nslookup -type=SRV _peer._tcp.${name}`);
          mustSay(stdout, `8080 member-0.${name}`, `8080 member-1.${name}`);
        });
      },
    },
    {
      command: "EndpointSlices hold at most 100 endpoints",
      note: "pods of a node that nothing runs on, with addresses written into their status; Endpoints are cut at 1000, slices are full at 100",
      async run(session) {
        const { api } = session.cluster;
        await session.apply("many");
        await session.run(
          `echo '{"apiVersion":"v1","kind":"Node","metadata":{"name":"nowhere"}}' | kubectl apply -f -`,
        );
        await Promise.all(
          Array.from({ length: 150 }, async (_, i) => {
            const path = { namespace: session.namespace, name: `many-${i}` };
            await api.create<Pod>(resources.pods, {
              apiVersion: "v1",
              kind: "Pod",
              metadata: { ...path, labels: { app: "many" } },
              spec: {
                nodeName: "nowhere",
                terminationGracePeriodSeconds: 0,
                containers: [{ name: "none", image: "none" }],
              },
            });
            const podIP = `10.244.200.${i + 1}`;
            const status = {
              phase: "Running",
              podIP,
              podIPs: [{ ip: podIP }],
              conditions: [{ type: "Ready", status: "True" }],
            };
            await api.patch<Pod>(resources.pods, { ...path, subresource: "status" }, { status });
          }),
        );
        await session.until(async () => {
          const { stdout } = await session.run(`kubectl get ${slices("many")} -o json`);
          const { items } = JSON.parse(stdout) as { items: { endpoints: unknown[] | null }[] };
          const sizes = items.map(({ endpoints }) => endpoints?.length ?? 0);
          mustBe(
            [Math.max(...sizes) <= 100, sizes.length >= 2, sizes.reduce((sum, size) => sum + size, 0)],
            [true, true, 150],
            `no slice over 100, several slices, 150 endpoints (sizes ${sizes.join(", ")})`,
          );
        });
        // No kubelet looks after them: without this they would hold up the end of the namespace.
        await session.run("kubectl delete pods -l app=many --force --grace-period=0 --wait=false");
        await session.run("kubectl delete node nowhere");
      },
    },
  ],
};
