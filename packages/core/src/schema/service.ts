import { conditions, kind, protocol } from "./meta.ts";
import {
  boolean,
  int32,
  intOrString,
  keyedList,
  list,
  nested,
  object,
  oneOf,
  pointer,
  string,
  stringMap,
  strings,
} from "./notation.ts";
import { objectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";

/** Service and Endpoints (`k8s.io/api/core/v1`). */
const prefix = "io.k8s.api.core.v1.";

const servicePort = object(
  `${prefix}ServicePort`,
  "ServicePort is one port of a Service.",
  () => ({
    appProtocol: pointer(
      string(
        6,
        "Protocol spoken over the port, as a hint: an IANA service name, a name prefixed with kubernetes.io/ such as kubernetes.io/h2c, or a name with another domain as its prefix.",
      ),
    ),
    name: string(
      1,
      "Name of the port, unique within the Service and needed as soon as there is more than one port; endpoints carry the same name.",
    ),
    nodePort: int32(
      5,
      "Port on every node for the types NodePort and LoadBalancer; allocated when not given, refused when taken, out of range or of no use for the type.",
    ),
    port: int32(3, "Port on the addresses of the Service."),
    protocol: protocol(2, "IP protocol of the port; TCP unless given.", { default: "TCP" }),
    targetPort: intOrString(
      4,
      "Port on the selected Pods: a number, or the name of a container port that is looked up in each Pod; the same as `port` unless given.",
    ),
  }),
  { required: ["port"] },
);

const clientIPConfig = object(
  `${prefix}ClientIPConfig`,
  "ClientIPConfig configures affinity by client address.",
  () => ({
    timeoutSeconds: pointer(
      int32(1, "Seconds for which a client keeps its endpoint: 1 to 86400, and 10800 unless given."),
    ),
  }),
);

const sessionAffinityConfig = object(
  `${prefix}SessionAffinityConfig`,
  "SessionAffinityConfig configures session affinity.",
  () => ({ clientIP: nested(1, clientIPConfig, "Settings of affinity by client address.") }),
);

const serviceSpec = object(`${prefix}ServiceSpec`, "ServiceSpec says what a Service is to be.", () => ({
  allocateLoadBalancerNodePorts: pointer(
    boolean(
      20,
      "Whether ports of a LoadBalancer get node ports of themselves; true unless given. Only for type LoadBalancer; node ports that are asked for are given in any case.",
    ),
  ),
  clusterIP: string(
    3,
    'Virtual address of the Service: allocated when not given, "None" for a headless Service, empty for ExternalName. It cannot be changed, except when the type changes from or to ExternalName.',
  ),
  clusterIPs: strings(
    18,
    "Virtual addresses of the Service, at most one of each IP family and in the order of ipFamilies; the first is clusterIP.",
  ),
  externalIPs: strings(
    5,
    "Further addresses at which nodes accept traffic for the Service. Bringing the traffic to a node is up to the user. Deprecated since v1.36.",
  ),
  externalName: string(
    10,
    "DNS name for which the Service stands, answered as CNAME; needs type ExternalName and a lower-case RFC 1123 name.",
  ),
  externalTrafficPolicy: oneOf(
    11,
    ["Cluster", "Local"],
    "How nodes spread traffic that comes to node ports, external addresses and load balancer addresses: Cluster to all endpoints, Local to those of the node alone and with the address of the client kept.",
  ),
  healthCheckNodePort: int32(
    12,
    "Node port at which load balancers ask whether a node has endpoints; for type LoadBalancer with externalTrafficPolicy Local, allocated when not given, and fixed from then on.",
  ),
  internalTrafficPolicy: pointer(
    oneOf(
      22,
      ["Cluster", "Local"],
      "How traffic to the cluster address is spread: Cluster to all endpoints, Local to those of the client's node alone.",
    ),
  ),
  ipFamilies: strings(
    19,
    "IP families of the Service in order of preference, IPv4 and IPv6; the second can be added and removed, the first not changed.",
  ),
  ipFamilyPolicy: pointer(
    oneOf(
      17,
      ["PreferDualStack", "RequireDualStack", "SingleStack"],
      "How many IP families the Service has: SingleStack one, PreferDualStack two where the cluster has them, RequireDualStack two or none at all.",
    ),
  ),
  loadBalancerClass: pointer(
    string(
      21,
      "Load balancer implementation that serves the Service; the default one unless given. Only for type LoadBalancer, and fixed once set.",
    ),
  ),
  loadBalancerIP: string(
    8,
    "Deprecated: address that the load balancer should get, where the cloud provider can do so.",
  ),
  loadBalancerSourceRanges: strings(
    9,
    "CIDRs of the clients that the load balancer admits, where the cloud provider can do so.",
  ),
  ports: keyedList(1, servicePort, ["port", "protocol"], "Ports that the Service offers."),
  publishNotReadyAddresses: boolean(
    13,
    "Treat all endpoints as ready, as peers need that must find each other while they start.",
  ),
  selector: stringMap(
    2,
    "Labels of the Pods to which the Service sends traffic; without it somebody else keeps the endpoints. Ignored for ExternalName.",
    { mapType: "atomic" },
  ),
  sessionAffinity: oneOf(
    7,
    ["ClientIP", "None"],
    "ClientIP keeps a client with the endpoint it had first; None, the default, does not.",
  ),
  sessionAffinityConfig: nested(14, sessionAffinityConfig, "Settings of session affinity."),
  trafficDistribution: pointer(
    string(
      23,
      "Which endpoints to prefer: PreferSameZone those of the client's zone, PreferSameNode those of its node; PreferClose is an older name of PreferSameZone.",
    ),
  ),
  type: oneOf(
    4,
    ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    "How the Service is reached: ClusterIP at a virtual address within the cluster, NodePort also at a port of every node, LoadBalancer also at a load balancer, ExternalName as an alias of a DNS name.",
  ),
}));

const portStatus = object(
  `${prefix}PortStatus`,
  "PortStatus is the state of one port of a load balancer.",
  () => ({
    error: pointer(string(3, "What is wrong with the port, in CamelCase.")),
    port: int32(1, "Port of the Service."),
    protocol: protocol(2, "Protocol of the port."),
  }),
  { required: ["port", "protocol"] },
);

const loadBalancerIngress = object(
  `${prefix}LoadBalancerIngress`,
  "LoadBalancerIngress is one point at which a load balancer takes traffic.",
  () => ({
    hostname: string(2, "Name of the point, for load balancers known by name."),
    ip: string(1, "Address of the point, for load balancers known by address."),
    ipMode: pointer(
      string(
        3,
        "VIP when packets reach the node with the load balancer's address as destination, Proxy when with the node's or Pod's.",
      ),
    ),
    ports: list(4, portStatus, "State of every port of the Service."),
  }),
);

const loadBalancerStatus = object(
  `${prefix}LoadBalancerStatus`,
  "LoadBalancerStatus is the state of a load balancer.",
  () => ({
    ingress: list(1, loadBalancerIngress, "Points at which the load balancer takes traffic."),
  }),
);

const serviceStatus = object(`${prefix}ServiceStatus`, "ServiceStatus is the state of a Service.", () => ({
  conditions: conditions(2, "Conditions of the Service."),
  loadBalancer: nested(1, loadBalancerStatus, "State of the load balancer."),
}));

export const service: Schema = kind(
  `${prefix}Service`,
  "Service gives a set of Pods one name, virtual addresses and ports, and spreads traffic over them.",
  () => ({
    spec: nested(2, serviceSpec, "What the Service is to be."),
    status: nested(3, serviceStatus, "State of the Service, written by controllers."),
  }),
);

const endpointAddress = object(
  `${prefix}EndpointAddress`,
  "EndpointAddress is one address behind a Service. Deprecated since v1.33.",
  () => ({
    hostname: string(3, "Host name of the endpoint."),
    ip: string(1, "Address of the endpoint; neither loopback nor link-local."),
    nodeName: pointer(string(4, "Node on which the endpoint runs.")),
    targetRef: nested(2, objectReference, "Object behind the endpoint, most often a Pod."),
  }),
  { required: ["ip"], atomic: true },
);

const endpointPort = object(
  `${prefix}EndpointPort`,
  "EndpointPort is one port behind a Service. Deprecated since v1.33.",
  () => ({
    appProtocol: pointer(string(4, "Protocol spoken over the port, as a hint.")),
    name: string(1, "Name of the port, the same as in the Service."),
    port: int32(2, "Port of the endpoint."),
    protocol: protocol(3, "IP protocol of the port; TCP unless given."),
  }),
  { required: ["port"], atomic: true },
);

const endpointSubset = object(
  `${prefix}EndpointSubset`,
  "EndpointSubset is a set of addresses that share ports: each address offers each of the ports. Deprecated since v1.33.",
  () => ({
    addresses: list(1, endpointAddress, "Addresses that are ready."),
    notReadyAddresses: list(2, endpointAddress, "Addresses that are not ready."),
    ports: list(3, endpointPort, "Ports of all the addresses."),
  }),
);

export const endpoints: Schema = kind(
  `${prefix}Endpoints`,
  "Endpoints lists the addresses and ports behind the Service of the same name. Deprecated since v1.33: use EndpointSlice.",
  () => ({ subsets: list(2, endpointSubset, "Addresses grouped by the ports they share.") }),
);
