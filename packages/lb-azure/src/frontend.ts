/** A part of a load balancer that points to frontends. */
interface FrontendUser {
  readonly name?: string;
  readonly properties?: {
    readonly frontendIPConfiguration?: { readonly id?: string };
    readonly frontendIPConfigurations?: readonly { readonly id?: string }[];
  };
}

/** What of a load balancer says who uses a frontend, in the shape of Azure Resource Manager. */
export interface FrontendUsers {
  readonly properties?: {
    readonly loadBalancingRules?: readonly FrontendUser[];
    readonly outboundRules?: readonly FrontendUser[];
    readonly inboundNatRules?: readonly FrontendUser[];
    readonly inboundNatPools?: readonly FrontendUser[];
  };
}

/**
 * Whether removing a frontend would break something that is not the Service's: an outbound rule, an inbound NAT rule or pool, or a
 * load-balancing rule of another prefix.
 *
 * @param servicePrefix prefix of the names of the Service's own rules
 */
export function isFrontendInForeignUse(
  loadBalancer: FrontendUsers,
  frontendId: string,
  servicePrefix: string,
): boolean {
  const uses = (user: FrontendUser): boolean =>
    [user.properties?.frontendIPConfiguration, ...(user.properties?.frontendIPConfigurations ?? [])].some(
      (reference) => reference?.id?.toLowerCase() === frontendId.toLowerCase(),
    );
  const {
    loadBalancingRules = [],
    outboundRules = [],
    inboundNatRules = [],
    inboundNatPools = [],
  } = loadBalancer.properties ?? {};
  if ([...outboundRules, ...inboundNatRules, ...inboundNatPools].some(uses)) return true;
  return loadBalancingRules.some(
    (rule) => uses(rule) && !(rule.name ?? "").toLowerCase().startsWith(servicePrefix.toLowerCase()),
  );
}

/** Whether an update of nodes has something to do. */
export function shouldUpdate(service: {
  readonly deleted: boolean;
  readonly type: string | undefined;
  readonly existsInCloud: boolean;
}): boolean {
  return !service.deleted && service.type === "LoadBalancer" && service.existsInCloud;
}
