import { formatAddress, type IPAddress, parseAddress } from "@portolan/net";

/**
 * Reads the address in the first label of a pod's name: `10-244-1-61`, `2001-db8--1`. Three dashes and no two in a row mean IPv4; in all
 * other cases dashes are colons. Undefined when that gives no address.
 */
export function addressFromPodLabel(label: string): IPAddress | undefined {
  const dashes = label.split("-").length - 1;
  if (dashes === 3 && !label.includes("--")) return parseAddress(label.replaceAll("-", "."));
  if (label.includes(":") || label.includes(".")) return undefined;
  const address = parseAddress(label.replaceAll("-", ":"));
  return address?.family === "IPv6" ? address : undefined;
}

/**
 * The label of an endpoint without a name of its own: the canonical address with dashes. A label must not end in a dash, so a
 * trailing `::` gets a zero: `2001:db8:1::` is `2001-db8-1--0`.
 */
export function labelFromAddress(address: IPAddress): string {
  const label = formatAddress(address).replaceAll(/[.:]/g, "-");
  return label.endsWith("-") ? `${label}0` : label;
}
