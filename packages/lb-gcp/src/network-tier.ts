import type { Service } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { annotationKeys } from "./annotations.ts";

/** How traffic reaches Google's network: `PREMIUM` enters it near the client, `STANDARD` near the region. */
export type NetworkTier = "PREMIUM" | "STANDARD";

const tiers: Readonly<Record<string, NetworkTier>> = { Premium: "PREMIUM", Standard: "STANDARD" };

/** The tier that a Service asks for, and whether it does ask: a text that is no tier counts as silence. */
export function networkTier(service: Service): { readonly networkTier: NetworkTier; readonly fromAnnotation: boolean } {
  const found = tiers[service.metadata.annotations?.[annotationKeys.networkTier] ?? ""];
  return { networkTier: found ?? "PREMIUM", fromAnnotation: found !== undefined };
}

/**
 * As {@link networkTier}, for the in-tree controller.
 *
 * @throws ProviderError `UserConfig` on a text that is no tier
 */
export function strictNetworkTier(service: Service): NetworkTier {
  const text = service.metadata.annotations?.[annotationKeys.networkTier];
  const found = networkTier(service);
  if (text === undefined || found.fromAnnotation) return found.networkTier;
  throw new ProviderError(
    "UserConfig",
    `annotation ${annotationKeys.networkTier} is "${text}": must be "Premium" or "Standard"`,
  );
}

/**
 * Checks that the tier can serve the Service's families.
 *
 * @throws ProviderError `UserConfig` if IPv6 is asked for in the Standard tier
 */
export function checkTierOfFamilies(service: Service): void {
  if (networkTier(service).networkTier !== "STANDARD" || !(service.spec?.ipFamilies ?? []).includes("IPv6")) return;
  throw new ProviderError(
    "UserConfig",
    `annotation ${annotationKeys.networkTier} is "Standard", which has no IPv6; use "Premium" or drop IPv6 from spec.ipFamilies`,
  );
}
