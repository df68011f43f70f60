import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type ApiServer, createApiServer } from "@portolan/apiserver";
import { createApiClient } from "@portolan/client";
import { transportFromKubeconfig } from "@portolan/client/node";
import { resources, type Service } from "@portolan/core";
import {
  type CallContext,
  type Change,
  collectOrphans,
  createCallContext,
  type Diagnostic,
  findingsOf,
  findOrphans,
  type LoadBalancerProvider,
  type NodeReference,
  type Plan,
  ProviderError,
} from "@portolan/lb";
import { parseAllDocuments } from "yaml";
import { CommandError } from "./command-error.ts";
import { liveProvider, memoryProvider, type ProviderConfiguration } from "./providers.ts";

const usage = `usage: portolan lb plan -f FILE --provider NAME [options]
       portolan lb owned --provider NAME --config FILE
       portolan lb gc --provider NAME --config FILE [--kubeconfig FILE] [--dry-run]

plan   prints what a provider would do for the Services of a manifest, without an account: against an empty cloud, or against what
       it made of an earlier manifest (--from)
owned  lists what carries this cluster's mark in the cloud
gc     removes what is owned by Services that the cluster does not have any more

  -f, --filename FILE   manifest with Services (- is standard input)
  --from FILE           the manifest as it was: the plan is for the change
  --provider NAME       aws, azure, gcp or local
  --nodes N             nodes to plan for (default 3)
  --cluster NAME        name of the cluster in names and marks (default kubernetes)
  --config FILE         settings of the provider, JSON; "endpoint" in it asks another place than the cloud's usual one
  --kubeconfig FILE     the cluster whose Services count (default: as kubectl finds it)
  --dry-run             only say what would be removed
  -o, --output text|json
  -h, --help            this text`;

const signs: Readonly<Record<Change["action"], string>> = {
  create: "+",
  update: "~",
  replace: "-/+",
  delete: "-",
  adopt: "=",
};

function readText(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CommandError(`cannot read ${file}: ${(error as Error).message}`);
  }
}

/** Services that a manifest holds, as they stand in it. */
function manifestServices(file: string): Service[] {
  const documents = parseAllDocuments(readText(file));
  const wrong = documents.flatMap((document) => document.errors)[0];
  if (wrong !== undefined) throw new CommandError(`${file}: ${wrong.message}`);
  const given = documents
    .map((document) => document.toJS() as (Service & { readonly items?: readonly Service[] }) | null)
    .flatMap((object) => (object?.items === undefined ? [object] : [...object.items]))
    .filter((object): object is Service => object?.kind === "Service");
  if (given.length === 0) throw new CommandError(`${file} has no Service`);
  return given;
}

/**
 * Services of a manifest after an API server has applied it: with defaults, cluster addresses and node ports. A Service that an
 * earlier manifest had keeps what it was given.
 */
async function applied(server: ApiServer, file: string): Promise<Service[]> {
  const api = createApiClient(server.transport);
  const out: Service[] = [];
  for (const service of manifestServices(file)) {
    const namespace = service.metadata?.namespace ?? "default";
    const name = service.metadata?.name ?? "";
    try {
      if (namespace !== "default") {
        const object = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
        await api.create(resources.namespaces, object).catch(() => {});
      }
      const body = { ...service, apiVersion: "v1", metadata: { ...service.metadata, namespace } };
      const options = { patchType: "application/apply-patch+yaml", fieldManager: "portolan", force: true } as const;
      const { metadata, spec } = await api.patch<Service>(resources.services, { namespace, name }, body, options);
      // A fixed UID makes the same plan each time.
      const digest = createHash("sha256").update(`${namespace}/${name}`).digest("hex");
      const uid = [
        digest.slice(0, 8),
        digest.slice(8, 12),
        digest.slice(12, 16),
        digest.slice(16, 20),
        digest.slice(20, 32),
      ];
      out.push({
        apiVersion: "v1",
        kind: "Service",
        metadata: { ...metadata, uid: uid.join("-") },
        ...(spec === undefined ? {} : { spec }),
      });
    } catch (error) {
      throw new CommandError(`${file}: ${(error as Error).message}`);
    }
  }
  return out;
}

function nodesFor(count: number): NodeReference[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `node${index + 1}`,
    providerID: `plan:///zone-${"abc"[index % 3]}/i-${String(index + 1).padStart(17, "0")}`,
    addresses: [`172.18.0.${index + 2}`],
    zone: `zone-${"abc"[index % 3]}`,
    labels: {},
  }));
}

const contextFor = (service: Service | undefined, signal: AbortSignal): CallContext =>
  createCallContext({ signal, idempotencyKey: service?.metadata.uid ?? "command-line" });

interface PlannedService {
  readonly service: string;
  readonly provider: string;
  readonly claimed: boolean;
  readonly diagnostics: readonly Diagnostic[];
  readonly plan?: Plan<unknown>;
  readonly error?: { readonly code: string; readonly message: string };
}

async function planService(
  provider: LoadBalancerProvider,
  service: Service,
  before: Service | undefined,
  nodes: readonly NodeReference[],
  signal: AbortSignal,
): Promise<PlannedService> {
  const { namespace = "", name = "", uid = "" } = service.metadata;
  const result = { service: `${namespace}/${name}`, provider: provider.id };
  const key = { namespace, name, uid };
  if (service.spec?.type !== "LoadBalancer" || provider.claim(service) !== "mine") {
    return { ...result, claimed: false, diagnostics: [] };
  }
  if (before !== undefined) await settle(provider, before, nodes, signal);
  const diagnostics = findingsOf(provider, service);
  if (diagnostics.some((entry) => entry.severity === "error")) return { ...result, claimed: true, diagnostics };
  try {
    const context = contextFor(service, signal);
    const plan = provider.plan({ service, nodes, observed: await provider.observe(context, key), endpointSlices: [] });
    return { ...result, claimed: true, diagnostics: [...diagnostics, ...plan.diagnostics], plan };
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return { ...result, claimed: true, diagnostics, error: { code: error.code, message: error.message } };
  }
}

/** Makes the cloud in memory what it was. */
async function settle(
  provider: LoadBalancerProvider,
  service: Service,
  nodes: readonly NodeReference[],
  signal: AbortSignal,
): Promise<void> {
  const { namespace = "", name = "", uid = "" } = service.metadata;
  for (let attempt = 0; ; attempt++) {
    try {
      const context = contextFor(service, signal);
      const observed = await provider.observe(context, { namespace, name, uid });
      const outcome = await provider.apply(context, provider.plan({ service, nodes, observed, endpointSlices: [] }));
      if (outcome.ingress.length > 0) return;
    } catch (error) {
      const passes = error instanceof ProviderError && ["NotReady", "Throttled", "Concurrency"].includes(error.code);
      if (!passes || attempt > 100) throw error;
    }
  }
}

function valueText(value: unknown): string {
  const text = value === undefined ? "(none)" : typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

function planLines(planned: PlannedService): string[] {
  const lines = [`${planned.service} by provider ${planned.provider}`];
  if (!planned.claimed) return [...lines, "  is not for this provider (type, or spec.loadBalancerClass)"];
  for (const { severity, message } of planned.diagnostics) lines.push(`  ${severity}: ${message}`);
  if (planned.error !== undefined) return [...lines, `  error: ${planned.error.message} (${planned.error.code})`];
  if (planned.plan === undefined) return lines;
  const { changes } = planned.plan;
  for (const change of changes) {
    const mark = change.disruptive === "none" ? "" : `  [${change.disruptive}]`;
    lines.push(
      `  ${signs[change.action].padEnd(3)} ${change.resource.kind} ${change.resource.name}${mark}  (${change.because})`,
    );
    for (const [path, before, after] of change.fields) {
      lines.push(`        ${path}: ${before === undefined ? "" : `${valueText(before)} → `}${valueText(after)}`);
    }
  }
  const count = (...actions: Change["action"][]): number =>
    changes.filter((change) => actions.includes(change.action)).length;
  lines.push(
    changes.length === 0
      ? "  nothing to do"
      : `  ${count("create", "adopt")} to add, ${count("update")} to change, ${count("replace")} to replace, ${count("delete")} to remove`,
  );
  return lines;
}

async function configurationOf(file: string | undefined): Promise<ProviderConfiguration> {
  if (file === undefined) throw new CommandError("--config is missing: a JSON file with the provider's settings", 2);
  try {
    return JSON.parse(readText(file)) as ProviderConfiguration;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(`${file} is no JSON: ${(error as Error).message}`);
  }
}

/**
 * `portolan lb …`. @returns the exit code: 0, 1 if something is wrong with a Service or could not be removed
 *
 * @throws CommandError for wrong usage
 */
export async function loadBalancers(
  argv: readonly string[],
  signal: AbortSignal,
  print: (text: string) => void,
): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(argv);
  } catch (error) {
    throw new CommandError(`${(error as Error).message}\n\n${usage}`, 2);
  }
  const { values, positionals } = parsed;
  const [command, ...rest] = positionals;
  if (values.help) {
    print(usage);
    return 0;
  }
  if (rest.length > 0 || command === undefined || !["plan", "owned", "gc"].includes(command)) {
    throw new CommandError(
      command === undefined ? usage : `there is no command "lb ${positionals.join(" ")}"\n\n${usage}`,
      2,
    );
  }
  if (values.output !== "text" && values.output !== "json") {
    throw new CommandError(`--output is text or json, not "${values.output}"`, 2);
  }
  const asJson = values.output === "json";
  if (command === "plan") {
    if (values.filename === undefined) throw new CommandError(`--filename is missing\n\n${usage}`, 2);
    const count = Number(values.nodes);
    if (!/^\d+$/.test(values.nodes) || count > 1000) {
      throw new CommandError(`--nodes takes a number from 0 to 1000, not "${values.nodes}"`, 2);
    }
    const provider = await memoryProvider(values.provider, values.cluster);
    const server = await createApiServer();
    const planned: PlannedService[] = [];
    try {
      const former = values.from === undefined ? [] : await applied(server, values.from);
      for (const service of await applied(server, values.filename)) {
        const before = former.find((each) => each.metadata.uid === service.metadata.uid);
        planned.push(await planService(provider, service, before, nodesFor(count), signal));
      }
    } finally {
      await server.close();
    }
    if (asJson) print(JSON.stringify(planned, undefined, 2));
    else for (const each of planned) for (const line of planLines(each)) print(line);
    const failed = planned.some(
      (each) => each.error !== undefined || each.diagnostics.some((entry) => entry.severity === "error"),
    );
    return failed ? 1 : 0;
  }
  const provider = await liveProvider(values.provider, await configurationOf(values.config));
  const context = contextFor(undefined, signal);
  if (command === "owned") {
    const owned = [];
    for await (const { kind, id, key } of provider.listOwned(context)) owned.push({ kind, id, key });
    if (asJson) print(JSON.stringify(owned, undefined, 2));
    else for (const { kind, id, key } of owned) print(`${key.namespace}/${key.name}  ${kind}  ${id}`);
    if (!asJson && owned.length === 0) print("nothing is owned");
    return 0;
  }
  const api = createApiClient(await transportFromKubeconfig(values.kubeconfig));
  const services = (await api.list<Service>(resources.services, {})).items;
  const dryRun = values["dry-run"] ?? false;
  const orphans = dryRun
    ? await findOrphans(context, provider, services)
    : await collectOrphans(context, provider, services);
  if (asJson) {
    print(JSON.stringify(orphans, (_key, value: unknown) => (value instanceof Error ? value.message : value), 2));
  } else {
    for (const orphan of orphans) {
      const name = orphan.key.name === "" ? orphan.key.uid : `${orphan.key.namespace}/${orphan.key.name}`;
      const error = "error" in orphan ? (orphan.error as Error | undefined) : undefined;
      const done = error === undefined ? (dryRun ? "would be removed" : "removed") : `not removed: ${error.message}`;
      print(`${name}: ${orphan.resources.map((each) => `${each.kind} ${each.id}`).join(", ")}: ${done}`);
    }
    if (orphans.length === 0) print("no orphans");
  }
  return orphans.some((orphan) => "error" in orphan && orphan.error !== undefined) ? 1 : 0;
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      filename: { type: "string", short: "f" },
      from: { type: "string" },
      provider: { type: "string" },
      nodes: { type: "string", default: "3" },
      cluster: { type: "string", default: "kubernetes" },
      config: { type: "string" },
      kubeconfig: { type: "string" },
      "dry-run": { type: "boolean" },
      output: { type: "string", short: "o", default: "text" },
      help: { type: "boolean", short: "h" },
    },
  });
}
