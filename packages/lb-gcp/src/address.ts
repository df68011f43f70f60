import type { Service } from "@portolan/core";
import { ProviderError, readList } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { annotationKeys } from "./annotations.ts";
import { nameOfLink, plainAddress } from "./forwarding-rule.ts";
import type { NetworkTier } from "./network-tier.ts";

/** An address that someone reserved in the region. */
export interface ReservedAddress {
  readonly name: string;
  readonly address: string;
  /** Default: `IPV4`. */
  readonly ipVersion?: string;
  readonly networkTier?: string;
}

/** Addresses that a Service names in its annotation, by family. */
export interface NamedAddresses {
  readonly ipv4: string;
  readonly ipv4Name: string;
  readonly ipv6: string;
  readonly ipv6Name: string;
}

const addressName = /^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** Names in the annotation that count: a load balancer has at most one address of each family. */
export function addressNames(service: Service): string[] {
  const text = service.metadata.annotations?.[annotationKeys.addresses] ?? "";
  return readList(text.split(",").slice(0, 2).join(","));
}

/**
 * Looks up the addresses that a Service names; of each family the first one that exists. Names of none are passed over.
 *
 * @throws ProviderError `UserConfig` if a text cannot be a name
 */
export function namedAddresses(service: Service, reserved: readonly ReservedAddress[]): NamedAddresses {
  const names = addressNames(service);
  const bad = names.find((name) => !addressName.test(name));
  if (bad !== undefined) {
    throw new ProviderError(
      "UserConfig",
      `annotation ${annotationKeys.addresses}: "${bad}" cannot be the name of an address`,
    );
  }
  const found = names.flatMap((name) => reserved.find((entry) => entry.name === name) ?? []);
  const ipv4 = found.find((entry) => (entry.ipVersion || "IPV4") === "IPV4");
  const ipv6 = found.find((entry) => entry.ipVersion === "IPV6");
  return {
    ipv4: ipv4?.address ?? "",
    ipv4Name: ipv4?.name ?? "",
    ipv6: ipv6?.address ?? "",
    ipv6Name: ipv6?.name ?? "",
  };
}

/** What is known when an address is chosen. */
export interface AddressChoice {
  readonly service: Service;
  readonly family: IPFamily;
  readonly reserved: readonly ReservedAddress[];
  /** Subnet that the address is to come from; empty: any. */
  readonly subnetwork: string;
  /** The rule that is there. */
  readonly existing?: ExistingAddress;
}

/** The address of a rule that is there, and where it came from. */
export interface ExistingAddress {
  readonly address: string;
  readonly subnetwork?: string;
  readonly networkTier?: string;
}

/**
 * The address a rule is to have, and the name of its reservation if the user made one: named in the annotation, else
 * `spec.loadBalancerIP` (IPv4), else the one it has while its subnet stays. Empty: the cloud picks one.
 */
export function addressToUse(choice: AddressChoice): { readonly ip: string; readonly addressName: string } {
  const { service, family, existing } = choice;
  const named = namedAddresses(service, choice.reserved);
  const [ip, name] = family === "IPv4" ? [named.ipv4, named.ipv4Name] : [plainAddress(named.ipv6), named.ipv6Name];
  if (ip !== "") return { ip, addressName: name };
  const asked = service.spec?.loadBalancerIP ?? "";
  if (asked !== "" && asked.includes(":") === (family === "IPv6")) return { ip: asked, addressName: "" };
  if (existing === undefined) return { ip: "", addressName: "" };
  const stays = nameOfLink(existing.subnetwork ?? "") === nameOfLink(choice.subnetwork);
  return { ip: stays ? plainAddress(existing.address) : "", addressName: "" };
}

/**
 * Whether a requested external address is the user's own reservation, so that it is never given back here.
 *
 * @throws ProviderError `UserConfig` if it is reserved in another tier, or neither reserved nor the one in use
 */
export function isUserOwned(
  requested: string | undefined,
  inUse: string | undefined,
  tier: NetworkTier,
  reserved: readonly ReservedAddress[],
): boolean {
  if (!requested) return false;
  const found = reserved.find((entry) => entry.address === requested);
  if (found !== undefined) {
    const has = found.networkTier || "PREMIUM";
    if (has === tier) return true;
    throw new ProviderError(
      "UserConfig",
      `requested address ${requested} (${found.name}) is of the network tier ${has}, but ${tier} is asked for`,
    );
  }
  if (requested === inUse) return false;
  throw new ProviderError(
    "UserConfig",
    `requested address ${requested} is neither reserved in the region nor in use by this load balancer; reserve it first`,
  );
}
