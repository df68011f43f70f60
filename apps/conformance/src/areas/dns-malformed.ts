import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { KubernetesObject } from "@portolan/core";
import { type DnsServer, startDnsServer } from "@portolan/dns";
import type { Area, CaseFile } from "../area.ts";
import { jsonLines } from "../area.ts";
import { type HostileMessage, hostileDifference, type RecordedReply } from "../dns/hostile-messages.ts";

interface VectorFile {
  readonly format: string;
  readonly state: readonly KubernetesObject[];
  readonly vectors: readonly {
    readonly id: string;
    readonly transport: "udp" | "tcp";
    readonly hex?: string;
    readonly pad?: { readonly octet: string; readonly count: number };
    readonly chunks?: readonly string[];
    readonly fin?: boolean;
    readonly expect: { readonly accept: readonly string[]; readonly reply?: { readonly opt_present?: boolean } };
  }[];
}

interface RecordedMessage {
  readonly id: string;
  readonly transport: "udp" | "tcp";
  readonly sent: {
    readonly hex?: string;
    readonly pad?: { readonly octet: string; readonly count: number };
    readonly chunks?: readonly string[];
    readonly fin?: boolean;
  };
  readonly outcome: string;
  readonly replies: readonly RecordedReply[];
  readonly in_accept: boolean;
  readonly coredns_model?: string;
  readonly accept: readonly string[];
}

/** The server that the messages go to: the cluster's zone alone, nothing forwarded. */
const corefile = `cluster.local {
  kubernetes cluster.local {
    ttl 30
  }
}`;

function serve(objects: readonly KubernetesObject[]): Promise<DnsServer> {
  return startDnsServer({ corefile, listen: [{ host: "127.0.0.1", port: 0 }] }).then((server) => {
    for (const object of objects) server.zone.apply(object);
    return server;
  });
}

/** Objects of the recorded cluster, which lie beside a recording, and of the vectors if they are among the files. */
function recordedObjects(file: CaseFile, others: readonly CaseFile[]): KubernetesObject[] {
  const beside = (name: string): string | undefined => {
    const path = join(dirname(file.path), name);
    return existsSync(path) ? readFileSync(path, "utf8") : undefined;
  };
  const state = beside("dns-state.json");
  const objects = state === undefined ? [] : [...(JSON.parse(state) as { items: KubernetesObject[] }).items];
  const vectors = others.find(({ path }) => path.endsWith("dns-malformed.json"))?.text ?? beside("dns-malformed.json");
  if (vectors !== undefined) objects.push(...(JSON.parse(vectors) as VectorFile).state);
  return objects;
}

/** Malformed and hostile messages, sent over loopback to a real server (`dns-malformed/1`, and recordings of CoreDNS as JSON lines). */
export const area: Area = {
  name: "dns-malformed",
  async *run(files, only) {
    for (const file of files) {
      let messages: HostileMessage[];
      let objects: readonly KubernetesObject[];
      if (file.path.endsWith(".jsonl")) {
        objects = recordedObjects(file, files);
        messages = (jsonLines(file) as RecordedMessage[]).map(
          ({ id, transport, sent, accept, outcome, replies, in_accept, coredns_model }) => ({
            id,
            transport,
            ...sent,
            accept,
            recorded: { outcome, replies, inAccept: in_accept, foreseen: coredns_model ?? outcome },
          }),
        );
      } else {
        const vectors = JSON.parse(file.text) as VectorFile;
        if (!vectors.format.startsWith("dns-malformed/"))
          throw new Error(`${file.path} has format "${vectors.format}"; dns-malformed/1 is known`);
        objects = vectors.state;
        messages = vectors.vectors.map(({ expect, ...rest }) => ({
          ...rest,
          accept: expect.accept,
          optPresent: expect.reply?.opt_present === true,
        }));
      }
      const server = await serve(objects);
      const port = server.addresses.find(({ transport }) => transport === "udp")!.port;
      try {
        for (const message of messages) {
          if (!only(message.id)) continue;
          try {
            const difference = await hostileDifference(port, message);
            yield difference === undefined
              ? { id: message.id, outcome: "passed" }
              : { id: message.id, outcome: "failed", difference };
          } catch (error) {
            yield { id: message.id, outcome: "failed", difference: (error as Error).stack ?? String(error) };
          }
        }
      } finally {
        await server.close({ lameduck: 0 });
      }
    }
  },
};
