#!/usr/bin/env node
/**
 * The server as a process: `node dist/main.js --api-socket PATH | --kubeconfig PATH --listen 0.0.0.0:53 --domain cluster.local
 * [--corefile FILE] [--upstream HOST:PORT]…`. Prints one line when it answers and knows the cluster, ends on SIGTERM.
 */
import cluster from "node:cluster";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createApiClient } from "@portolan/client";
import { createHttpTransport, transportFromKubeconfig } from "@portolan/client/node";
import { createAdmission } from "./server/admission.ts";
import { durationFromText, endpointFromText, readServerConfiguration } from "./server/configuration.ts";
import { DnsServerError, startDnsServer } from "./server/dns-server.ts";
import { runWorkers } from "./workers.ts";

const usage = `usage: main.js (--api-socket PATH | --kubeconfig PATH [--context NAME]) [--listen HOST:PORT]... [--domain NAME]
               [--corefile FILE] [--upstream HOST[:PORT]]... [--local-address IP]... [--lameduck DURATION]
               [--workers COUNT] [--cookies] [--rate-limit REPLIES_PER_SECOND] [--health HOST:PORT] [--ready HOST:PORT] [--metrics HOST:PORT]`;

/** Variable by which workers learn the secret that they share. */
const cookieSecret = "PORTOLAN_DNS_COOKIE_SECRET";

function fail(message: string): never {
  process.stderr.write(`dns: ${message}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  let values: ReturnType<typeof read>;
  function read() {
    return parseArgs({
      options: {
        "api-socket": { type: "string" },
        kubeconfig: { type: "string" },
        context: { type: "string" },
        listen: { type: "string", multiple: true },
        domain: { type: "string" },
        corefile: { type: "string" },
        upstream: { type: "string", multiple: true },
        "local-address": { type: "string", multiple: true },
        lameduck: { type: "string" },
        workers: { type: "string" },
        cookies: { type: "boolean" },
        "rate-limit": { type: "string" },
        health: { type: "string" },
        ready: { type: "string" },
        metrics: { type: "string" },
        help: { type: "boolean" },
      },
    }).values;
  }
  try {
    values = read();
  } catch (error) {
    fail(`${(error as Error).message}\n${usage}`);
  }
  if (values.help === true) {
    process.stdout.write(`${usage}\n`);
    return;
  }
  const place = (text: string, port: number): { host: string; port: number } => {
    const found = endpointFromText(text, port);
    if (found === undefined) fail(`"${text}" is no address with a port`);
    return found;
  };
  const socket = values["api-socket"];
  if ((socket === undefined) === (values.kubeconfig === undefined))
    fail(`give exactly one of --api-socket and --kubeconfig\n${usage}`);
  const transport =
    socket !== undefined
      ? createHttpTransport({ url: "http://localhost", socketPath: socket })
      : await transportFromKubeconfig(
          values.kubeconfig,
          values.context === undefined ? {} : { context: values.context },
        );
  const file = values.corefile;
  const text = file === undefined ? undefined : readFileSync(file, "utf8");
  const endpoints = {
    ...(values.health === undefined ? {} : { health: place(values.health, 8080) }),
    ...(values.ready === undefined ? {} : { ready: place(values.ready, 8181) }),
    ...(values.metrics === undefined ? {} : { metrics: place(values.metrics, 9153) }),
  };
  const count = values.workers ?? "1";
  if (!/^[1-9][0-9]?$/.test(count)) fail(`--workers: "${count}" is no number from 1 to 99`);
  const blocks = text === undefined ? [] : readServerConfiguration(text, { environment: process.env });
  if (cluster.isPrimary && count !== "1") {
    const places =
      Object.keys(endpoints).length > 0
        ? endpoints
        : {
            health: blocks.find(({ health }) => health !== undefined)?.health,
            ready: blocks.find(({ ready }) => ready !== undefined)?.ready,
            metrics: blocks.find(({ prometheus }) => prometheus !== undefined)?.prometheus,
          };
    await runWorkers({
      count: Number(count),
      environment: { [cookieSecret]: randomBytes(16).toString("hex") },
      endpoints: places,
      onReady: (line) => process.stdout.write(line),
      onError: (message) => process.stderr.write(`dns: ${message}\n`),
    });
    return;
  }
  const lameduck = values.lameduck === undefined ? undefined : durationFromText(values.lameduck);
  const limit = values["rate-limit"];
  if (limit !== undefined && !/^[1-9][0-9]*$/.test(limit)) fail(`--rate-limit: "${limit}" is no number of replies`);
  // A cookie that one worker gave must be taken by the others.
  const secret = cluster.isWorker ? process.env[cookieSecret] : undefined;
  const admission =
    values.cookies === true || limit !== undefined
      ? createAdmission({
          ...(values.cookies === true
            ? { cookies: { secret: secret === undefined ? randomBytes(16) : Buffer.from(secret, "hex") } }
            : {}),
          ...(limit === undefined ? {} : { rate: { repliesPerSecond: Math.ceil(Number(limit) / Number(count)) } }),
        })
      : undefined;
  let lastError = "";
  const server = await startDnsServer({
    api: createApiClient(transport),
    ...(values.domain === undefined ? {} : { domain: values.domain }),
    ...(text === undefined ? {} : { corefile: text, corefileName: file!, environment: process.env }),
    ...(values.listen === undefined
      ? text === undefined
        ? { listen: [{ host: "0.0.0.0", port: 53 }] }
        : {}
      : { listen: values.listen.map((one) => place(one, 53)) }),
    ...(values.upstream === undefined ? {} : { upstreams: values.upstream }),
    ...(values["local-address"] === undefined ? {} : { localAddresses: values["local-address"] }),
    // The first process speaks for all workers.
    ...(cluster.isWorker ? { endpoints: {}, shared: true } : Object.keys(endpoints).length === 0 ? {} : { endpoints }),
    ...(admission === undefined ? {} : { admission }),
    log: (line) => process.stdout.write(`${line}\n`),
    onError(error) {
      if (error instanceof DnsServerError && error.code === "loop") fail(error.message);
      // The same trouble again and again is one line.
      const message = (error as Error).message;
      if (message !== lastError) process.stderr.write(`dns: ${message}\n`);
      lastError = message;
    },
  });

  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    server.close(lameduck === undefined ? {} : { lameduck }).then(
      () => process.exit(0),
      (error: unknown) => fail((error as Error).message),
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);

  const reload = blocks.find((block) => block.reload !== undefined)?.reload;
  if (file !== undefined && reload !== undefined) {
    let known = text!;
    const look = (): void => {
      setTimeout(
        () => {
          let fresh = known;
          try {
            fresh = readFileSync(file, "utf8");
          } catch {
            // Between two versions of a ConfigMap the file may be missing for a moment.
          }
          if (fresh === known) return look();
          known = fresh;
          server
            .reload(fresh)
            .then(
              () => process.stdout.write(`reloaded ${file}\n`),
              (error: unknown) =>
                process.stderr.write(`dns: kept the old configuration: ${(error as Error).message}\n`),
            )
            .finally(look);
        },
        reload.interval + (Math.random() * 2 - 1) * reload.jitter,
      ).unref();
    };
    look();
  }

  await server.ready;
  const listening = [
    ...new Set(server.addresses.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`)),
  ];
  const line = `dns ready on ${listening.join(", ")}\n`;
  if (cluster.isWorker) {
    process.on("message", () => process.send?.({ metrics: server.metrics() }));
    process.send?.({ ready: line });
  } else process.stdout.write(line);
}

main().catch((error: unknown) => fail((error as Error).message));
