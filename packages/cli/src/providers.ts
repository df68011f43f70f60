import type { LoadBalancerProvider } from "@portolan/lb";
import { CommandError } from "./command-error.ts";

/** How a provider is made for the command line. */
interface ProviderEntry {
  /** A cloud in memory, empty: plans need no account. */
  memory(cluster: string): Promise<LoadBalancerProvider>;
  /** The cloud itself, with the credentials that its own tools use. */
  live?(configuration: ProviderConfiguration): Promise<LoadBalancerProvider>;
  /** Members of the configuration that `live` needs. */
  readonly needs: readonly string[];
}

/** Settings of a provider, as its own package documents them, and where the cloud's interface is if not at its usual place. */
export type ProviderConfiguration = Readonly<Record<string, unknown>> & { readonly endpoint?: string };

async function optional<T>(name: string, why: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw cause;
    throw new CommandError(`${why} needs the package ${name}; run: npm install ${name}`);
  }
}

/** A token from the environment, else from the cloud's own library. */
function azureCredential(): { getToken(scope: string): Promise<{ token: string } | null> } {
  const token = process.env["AZURE_ACCESS_TOKEN"];
  if (token) return { getToken: async () => ({ token }) };
  type Identity = { DefaultAzureCredential: new () => { getToken(scope: string): Promise<{ token: string } | null> } };
  return {
    async getToken(scope) {
      const why = "signing in to Azure without AZURE_ACCESS_TOKEN";
      const identity = await optional<Identity>("@azure/identity", why);
      return await new identity.DefaultAzureCredential().getToken(scope);
    },
  };
}

const providers: Readonly<Record<string, ProviderEntry>> = {
  aws: {
    needs: ["clusterName", "region"],
    async memory(cluster) {
      const { awsProvider } = await import("@portolan/lb-aws");
      const { MemoryCloud } = await import("@portolan/lb-aws/testing");
      const tags = { [`kubernetes.io/cluster/${cluster}`]: "owned" };
      const nodes = { id: "sg-00000000000000001", name: "nodes", vpcId: "vpc-1", tags, ingress: [] };
      return awsProvider({
        clusterName: cluster,
        port: new MemoryCloud({ securityGroups: [nodes] }),
      }) as LoadBalancerProvider;
    },
    async live(configuration) {
      const { awsProvider } = await import("@portolan/lb-aws");
      const { sdkPort } = await import("@portolan/lb-aws/sdk");
      const { endpoint, ...settings } = configuration as unknown as Omit<Parameters<typeof awsProvider>[0], "port"> & {
        readonly region: string;
        readonly endpoint?: string;
      };
      const port = await sdkPort({ region: settings.region, ...(endpoint === undefined ? {} : { endpoint }) });
      return awsProvider({ ...settings, port }) as LoadBalancerProvider;
    },
  },
  azure: {
    needs: ["clusterName", "subscription", "resourceGroup", "location", "vnetName", "subnetName"],
    async memory(cluster) {
      const { azureProvider } = await import("@portolan/lb-azure");
      const { AzureCloud } = await import("@portolan/lb-azure/testing");
      return azureProvider({
        port: new AzureCloud({ securityGroup: `${cluster}-nsg` }),
        configuration: {
          clusterName: cluster,
          resourceGroup: "rg",
          location: "westeurope",
          vnetName: "vnet",
          subnetName: "subnet",
        },
      }) as LoadBalancerProvider;
    },
    async live(configuration) {
      const { azureProvider, resourceManagerPort } = await import("@portolan/lb-azure");
      const settings = configuration as unknown as Parameters<typeof azureProvider>[0]["configuration"] & {
        readonly subscription: string;
        readonly endpoint?: string;
      };
      const { subscription, resourceGroup, endpoint } = settings;
      const port = resourceManagerPort({
        subscription,
        resourceGroup,
        credential: azureCredential(),
        ...(endpoint === undefined ? {} : { endpoint }),
      });
      return azureProvider({ port, configuration: settings, subscription }) as LoadBalancerProvider;
    },
  },
  gcp: {
    needs: ["project", "region", "kubeSystemUID", "network", "subnetwork", "nodeTags"],
    async memory() {
      const { gcpProvider } = await import("@portolan/lb-gcp");
      const { createMemoryCloud, memoryPort } = await import("@portolan/lb-gcp/testing");
      return gcpProvider({
        port: memoryPort(createMemoryCloud()),
        configuration: {
          project: "project",
          region: "europe-west1",
          kubeSystemUID: "00000000-0000-0000-0000-000000000000",
          network: "default",
          subnetwork: "default",
          nodeTags: ["node"],
        },
      }) as LoadBalancerProvider;
    },
    async live(configuration) {
      const { gcpProvider } = await import("@portolan/lb-gcp");
      const { googleAuthToken, restPort } = await import("@portolan/lb-gcp/rest");
      const settings = configuration as unknown as Parameters<typeof gcpProvider>[0]["configuration"] & {
        readonly endpoint?: string;
      };
      const { endpoint } = settings;
      const token = process.env["GOOGLE_OAUTH_ACCESS_TOKEN"];
      const port = restPort({
        token: token ? () => token : googleAuthToken(),
        ...(endpoint === undefined ? {} : { endpoint }),
      });
      return gcpProvider({ port, configuration: settings }) as LoadBalancerProvider;
    },
  },
  local: {
    needs: [],
    async memory() {
      const { localProvider } = await import("@portolan/lb-local");
      const pools = [{ name: "default", addresses: ["172.18.255.1-172.18.255.250"] }];
      return localProvider({ pools }) as LoadBalancerProvider;
    },
  },
};

function entryOf(name: string | undefined): ProviderEntry {
  const entry = name === undefined || !Object.hasOwn(providers, name) ? undefined : providers[name];
  if (entry !== undefined) return entry;
  const known = Object.keys(providers).join(", ");
  throw new CommandError(
    name === undefined
      ? `--provider is missing; it is one of ${known}`
      : `--provider is one of ${known}, not "${name}"`,
    2,
  );
}

/** A provider on an empty cloud in memory. @throws CommandError for a name that is none */
export function memoryProvider(name: string | undefined, cluster: string): Promise<LoadBalancerProvider> {
  return entryOf(name).memory(cluster);
}

/** A provider on the cloud itself. @throws CommandError if it has none, or settings are missing */
export async function liveProvider(
  name: string | undefined,
  configuration: ProviderConfiguration,
): Promise<LoadBalancerProvider> {
  const entry = entryOf(name);
  if (entry.live === undefined) throw new CommandError(`provider ${name} keeps nothing outside of its cluster`, 2);
  const missing = entry.needs.filter((key) => configuration[key] === undefined);
  if (missing.length > 0) {
    throw new CommandError(
      `the configuration of provider ${name} lacks ${missing.join(", ")}; give a file with --config`,
      2,
    );
  }
  return await entry.live(configuration);
}
