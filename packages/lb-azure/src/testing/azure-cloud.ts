import { ProviderError } from "@portolan/lb";
import {
  type AzurePort,
  type LoadBalancerResource,
  nameOfId,
  type PublicIPResource,
  ResourceIds,
  type SecurityGroupResource,
} from "../port.ts";

/** Options of {@link AzureCloud}. */
export interface AzureCloudOptions {
  readonly subscription?: string;
  readonly resourceGroup?: string;
  /** Name of a network security group that is there from the start. Default `kubernetes-nsg`. */
  readonly securityGroup?: string;
  /** Reads of a new public IP until it has its address. Default 0. */
  readonly allocationDelay?: number;
  /** Public IPs that the subscription may have. Default 1000. */
  readonly publicIPQuota?: number;
}

type Stored = { etag?: string; id?: string; name: string };

/**
 * A part of Azure in memory: load balancers, public IPs and security groups of one resource group, with the refusals that matter:
 * versions, references to what is not there, public IPs in use, priorities given twice, quotas.
 */
export class AzureCloud implements AzurePort {
  readonly loadBalancers: Map<string, LoadBalancerResource> = new Map();
  readonly publicIPs: Map<string, PublicIPResource> = new Map();
  readonly securityGroups: Map<string, SecurityGroupResource> = new Map();
  readonly ids: ResourceIds;
  private version = 0;
  private nextAddress = 10;
  private readonly waiting = new Map<string, number>();
  private readonly options: AzureCloudOptions;

  constructor(options: AzureCloudOptions = {}) {
    this.options = options;
    this.ids = new ResourceIds(
      options.subscription ?? "00000000-0000-0000-0000-000000000000",
      options.resourceGroup ?? "rg",
    );
    const name = options.securityGroup ?? "kubernetes-nsg";
    const id = this.ids.network("networkSecurityGroups", name);
    this.securityGroups.set(name, { name, id, etag: this.nextEtag(), properties: { securityRules: [] } });
  }

  private nextEtag(): string {
    this.version += 1;
    return `W/"${String(this.version).padStart(8, "0")}"`;
  }

  private store<T extends Stored>(map: Map<string, T>, kind: string, resource: T): T {
    const key = resource.name.toLowerCase();
    const before = map.get(key);
    if (resource.etag !== before?.etag) {
      throw new ProviderError(
        "Concurrency",
        `PreconditionFailed: the etag of ${kind} ${resource.name} is not ${resource.etag ?? "unset"} any more`,
      );
    }
    const stored = structuredClone({
      ...resource,
      id: before?.id ?? this.ids.network(kind, resource.name),
      etag: this.nextEtag(),
    });
    map.set(key, stored);
    return structuredClone(stored);
  }

  async listLoadBalancers(): Promise<readonly LoadBalancerResource[]> {
    return structuredClone([...this.loadBalancers.values()]);
  }

  async getLoadBalancer(name: string): Promise<LoadBalancerResource | undefined> {
    return structuredClone(this.loadBalancers.get(name.toLowerCase()));
  }

  async putLoadBalancer(resource: LoadBalancerResource): Promise<LoadBalancerResource> {
    const id = this.ids.network("loadBalancers", resource.name);
    const { frontendIPConfigurations = [], backendAddressPools = [], probes = [] } = resource.properties;
    const known = (parts: readonly { name: string }[], name: string): boolean =>
      parts.some((part) => part.name.toLowerCase() === name.toLowerCase());
    const seen = new Set<string>();
    for (const { name, properties } of resource.properties.loadBalancingRules ?? []) {
      const references = [
        ["frontendIPConfigurations", frontendIPConfigurations, properties.frontendIPConfiguration],
        ["backendAddressPools", backendAddressPools, properties.backendAddressPool],
        ["probes", probes, properties.probe],
      ] as const;
      for (const [kind, parts, reference] of references) {
        if (reference === undefined || known(parts, nameOfId(reference.id))) continue;
        throw new ProviderError(
          "UserConfig",
          `InvalidResourceReference: rule ${name}: there is no ${kind} ${reference.id}`,
        );
      }
      const port = `${nameOfId(properties.frontendIPConfiguration.id)}/${properties.protocol}/${properties.frontendPort}`;
      if (seen.has(port)) {
        throw new ProviderError("UserConfig", `RulesUseSameFrontendPortProtocolAndFrontendIPConfig: rule ${name}`);
      }
      seen.add(port);
    }
    const before = this.loadBalancers.get(resource.name.toLowerCase());
    const frontends = frontendIPConfigurations.map((frontend) => {
      const publicIP = nameOfId(frontend.properties.publicIPAddress?.id);
      if (publicIP !== "" && !this.publicIPs.has(publicIP.toLowerCase())) {
        throw new ProviderError("UserConfig", `InvalidResourceReference: there is no public IP ${publicIP}`);
      }
      const old = before?.properties.frontendIPConfigurations?.find((each) => each.name === frontend.name);
      const sameSubnet = nameOfId(old?.properties.subnet?.id) === nameOfId(frontend.properties.subnet?.id);
      const privateIPAddress =
        frontend.properties.privateIPAddress ??
        (publicIP !== ""
          ? undefined
          : ((sameSubnet ? old?.properties.privateIPAddress : undefined) ??
            this.privateAddress(frontend.properties.privateIPAddressVersion)));
      return {
        ...frontend,
        id: `${id}/frontendIPConfigurations/${frontend.name}`,
        properties: { ...frontend.properties, ...(privateIPAddress === undefined ? {} : { privateIPAddress }) },
      };
    });
    const properties = {
      ...resource.properties,
      frontendIPConfigurations: frontends,
      provisioningState: "Succeeded",
    };
    return this.store(this.loadBalancers, "loadBalancers", { ...resource, properties });
  }

  async deleteLoadBalancer(name: string): Promise<void> {
    this.loadBalancers.delete(name.toLowerCase());
  }

  async listPublicIPAddresses(_resourceGroup: string): Promise<readonly PublicIPResource[]> {
    for (const [key, resource] of this.publicIPs) {
      const left = this.waiting.get(key);
      if (left === undefined) continue;
      if (left > 0) {
        this.waiting.set(key, left - 1);
        continue;
      }
      this.waiting.delete(key);
      const ipAddress = this.publicAddress(resource.properties.publicIPAddressVersion);
      this.publicIPs.set(key, { ...resource, properties: { ...resource.properties, ipAddress } });
    }
    return structuredClone([...this.publicIPs.values()]);
  }

  async putPublicIPAddress(_resourceGroup: string, resource: PublicIPResource): Promise<PublicIPResource> {
    const key = resource.name.toLowerCase();
    const before = this.publicIPs.get(key);
    if (before === undefined && this.publicIPs.size >= (this.options.publicIPQuota ?? 1000)) {
      throw new ProviderError(
        "Quota",
        "PublicIPCountLimitReached: the subscription may have no more public IP addresses",
      );
    }
    const label = resource.properties.dnsSettings?.domainNameLabel;
    const holder = [...this.publicIPs.values()].find(
      (each) =>
        label !== undefined && each.name !== resource.name && each.properties.dnsSettings?.domainNameLabel === label,
    );
    if (holder !== undefined) {
      throw new ProviderError("Conflict", `DnsRecordInUse: DNS label ${label} is used by public IP ${holder.name}`);
    }
    const delay = this.options.allocationDelay ?? 0;
    if (before === undefined && delay > 0) this.waiting.set(key, delay);
    const ipAddress =
      before?.properties.ipAddress ??
      resource.properties.ipAddress ??
      (delay > 0 ? undefined : this.publicAddress(resource.properties.publicIPAddressVersion));
    const properties = {
      ...resource.properties,
      provisioningState: "Succeeded",
      ...(ipAddress === undefined ? {} : { ipAddress }),
    };
    return this.store(this.publicIPs, "publicIPAddresses", { ...resource, properties });
  }

  async deletePublicIPAddress(_resourceGroup: string, name: string): Promise<void> {
    for (const { name: loadBalancer, properties } of this.loadBalancers.values()) {
      for (const frontend of properties.frontendIPConfigurations ?? []) {
        if (nameOfId(frontend.properties.publicIPAddress?.id).toLowerCase() !== name.toLowerCase()) continue;
        throw new ProviderError(
          "NotReady",
          `PublicIPAddressCannotBeDeleted: ${name} is used by frontend ${frontend.name} of load balancer ${loadBalancer}`,
        );
      }
    }
    this.publicIPs.delete(name.toLowerCase());
  }

  async getSecurityGroup(name: string): Promise<SecurityGroupResource | undefined> {
    return structuredClone(this.securityGroups.get(name.toLowerCase()));
  }

  async putSecurityGroup(resource: SecurityGroupResource): Promise<SecurityGroupResource> {
    const seen = new Map<string, string>();
    for (const { name, properties } of resource.properties.securityRules ?? []) {
      const key = `${properties.direction}/${properties.priority}`;
      const other = seen.get(key);
      if (other !== undefined) {
        throw new ProviderError("UserConfig", `SecurityRuleConflict: rules ${other} and ${name} have one priority`);
      }
      seen.set(key, name);
    }
    const properties = { ...resource.properties, provisioningState: "Succeeded" };
    return this.store(this.securityGroups, "networkSecurityGroups", { ...resource, properties });
  }

  private publicAddress(family: string): string {
    const next = this.nextAddress++;
    return family === "IPv6" ? `2603:1030::${next.toString(16)}` : `52.0.${next >> 8}.${next & 255}`;
  }

  private privateAddress(family: string | undefined): string {
    const next = this.nextAddress++;
    return family === "IPv6" ? `fd00::${next.toString(16)}` : `10.240.${next >> 8}.${next & 255}`;
  }
}
