import type { Service, ServicePort } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { annotationOf, annotationPrefix, badAnnotation, choiceOf, flagOf, listOf, pairsOf } from "./annotations.ts";
import type { AwsConfiguration, ListenerProtocol } from "./configuration.ts";

/** Policies of Application-Layer Protocol Negotiation. */
const alpnPolicies = ["None", "HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred"] as const;

/** One listener and the ports of the Service behind it: one, or a TCP and a UDP one. */
export interface ListenerPort {
  /** The first of its ports, whose node port or target port it forwards to. */
  readonly port: ServicePort;
  readonly protocol: ListenerProtocol;
  readonly targetProtocol: ListenerProtocol;
}

/** Whether ports with one number and both protocols become one listener. */
export function mergesTcpAndUdp(
  service: Service,
  configuration: Pick<AwsConfiguration, "enableTcpUdpListener">,
): boolean {
  return flagOf(service, "enable-tcp-udp-listener") ?? configuration.enableTcpUdpListener ?? false;
}

/** @throws ProviderError UserConfig unless ports of one number are exactly one TCP and one UDP port */
export function requireMergeable(ports: readonly ServicePort[]): void {
  const protocols = ports.map((port) => port.protocol ?? "TCP");
  const [first, second] = protocols;
  if (ports.length === 2 && first !== second && protocols.every((each) => each === "TCP" || each === "UDP")) return;
  throw new ProviderError(
    "UserConfig",
    `port ${ports[0]?.port} is used by ${protocols.join(", ")}: one listener serves one TCP and one UDP port`,
  );
}

const contains = (entries: ReadonlySet<string>, port: ServicePort): boolean =>
  (port.name !== undefined && entries.has(port.name)) || entries.has(String(port.port));

/**
 * Entries of annotation `ssl-ports`; an empty set, or `*`, stands for all ports.
 *
 * @throws ProviderError UserConfig if an entry is no port of the Service
 */
export function tlsPorts(service: Service): ReadonlySet<string> {
  const entries = new Set(listOf(service, "ssl-ports") ?? []);
  if (entries.has("*")) return new Set();
  const unused = [...entries].filter((entry) => !service.spec?.ports?.some((port) => contains(new Set([entry]), port)));
  if (unused.length === 0) return entries;
  throw badAnnotation(service, "ssl-ports", `the Service has no port ${unused.join(", ")}`);
}

/** Certificates of TLS listeners; the first is the default one. */
export function certificates(service: Service): string[] {
  return listOf(service, "ssl-cert") ?? [];
}

/** The listeners of a Service, with protocols, in the order of its ports. */
export function listenerPorts(
  service: Service,
  configuration: Pick<AwsConfiguration, "enableTcpUdpListener">,
): ListenerPort[] {
  const groups = new Map<number, ServicePort[]>();
  for (const port of service.spec?.ports ?? []) groups.set(port.port, [...(groups.get(port.port) ?? []), port]);
  const merges = mergesTcpAndUdp(service, configuration);
  const tls = tlsPorts(service);
  const quic = new Set(listOf(service, "quic-enabled-ports") ?? []);
  const hasCertificates = certificates(service).length > 0;
  return [...groups.values()].map((ports): ListenerPort => {
    const port = ports[0]!;
    const plain = port.protocol ?? "TCP";
    if (ports.some((each) => each.protocol === "SCTP")) {
      throw new ProviderError("UserConfig", `port ${port.port}: Network Load Balancers do not know SCTP`);
    }
    let protocol = plain as ListenerProtocol;
    let targetProtocol = protocol;
    if (ports.length > 1) {
      requireMergeable(ports);
      if (!merges) {
        const key = `${annotationPrefix}enable-tcp-udp-listener`;
        const message = `port ${port.port} is used by TCP and UDP, which needs annotation ${key}: "true"`;
        throw new ProviderError("UserConfig", message);
      }
      protocol = "TCP_UDP";
      targetProtocol = "TCP_UDP";
    } else if (protocol === "TCP" && hasCertificates && (tls.size === 0 || contains(tls, port))) {
      protocol = "TLS";
      if (annotationOf(service, "backend-protocol") === "ssl") targetProtocol = "TLS";
    }
    if (contains(quic, port)) {
      if (protocol !== "UDP" && protocol !== "TCP_UDP") {
        throw badAnnotation(
          service,
          "quic-enabled-ports",
          `port ${port.port} has protocol ${protocol}, QUIC needs UDP`,
        );
      }
      protocol = protocol === "UDP" ? "QUIC" : "TCP_QUIC";
      targetProtocol = protocol;
    }
    return { port, protocol, targetProtocol };
  });
}

/** ALPN policy of a listener; only TLS listeners have one. */
export function alpnPolicy(service: Service, protocol: ListenerProtocol): string[] | undefined {
  if (protocol !== "TLS") return undefined;
  const policy = choiceOf(service, "alpn-policy", alpnPolicies);
  return policy === undefined ? undefined : [policy];
}

/** Attributes of a listener. */
export function listenerAttributes(service: Service, protocol: ListenerProtocol, port: number): Record<string, string> {
  return Object.fromEntries(pairsOf(service, `listener-attributes.${protocol}-${port}`) ?? []);
}
