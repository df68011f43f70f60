import { conditions, kind, labelSelector, protocol } from "./meta.ts";
import {
  embedded,
  type Fields,
  int32,
  intOrString,
  list,
  nested,
  object,
  oneOf,
  pointer,
  string,
  strings,
} from "./notation.ts";
import { typedLocalObjectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";

/** Networking (`k8s.io/api/networking/v1`). */
const prefix = "io.k8s.api.networking.v1.";

function type(name: string, description: string, fields: () => Fields, required?: readonly string[]): Schema {
  return object(`${prefix}${name}`, description, fields, required === undefined ? {} : { required });
}

const serviceCIDRSpec = type("ServiceCIDRSpec", "ServiceCIDRSpec says which addresses Services get.", () => ({
  cidrs: strings(1, "Ranges of addresses, at most one of each IP family; they cannot be changed."),
}));

const serviceCIDRStatus = type("ServiceCIDRStatus", "ServiceCIDRStatus is the state of a ServiceCIDR.", () => ({
  conditions: conditions(1, "Conditions of the ServiceCIDR."),
}));

export const serviceCIDR: Schema = kind(
  `${prefix}ServiceCIDR`,
  "ServiceCIDR is a range from which cluster addresses of Services come.",
  () => ({
    spec: nested(2, serviceCIDRSpec, "The range."),
    status: nested(3, serviceCIDRStatus, "State of the ServiceCIDR."),
  }),
);

const parentReference = type(
  "ParentReference",
  "ParentReference names the object that uses an address.",
  () => ({
    group: string(1, "Group of the object."),
    name: string(4, "Name of the object."),
    namespace: string(3, "Namespace of the object."),
    resource: string(2, "Resource of the object."),
  }),
  ["resource", "name"],
);

const ipAddressSpec = type(
  "IPAddressSpec",
  "IPAddressSpec says who uses an address.",
  () => ({ parentRef: nested(1, parentReference, "Object that uses the address.") }),
  ["parentRef"],
);

export const ipAddress: Schema = kind(
  `${prefix}IPAddress`,
  "IPAddress marks one address as taken; its name is the address.",
  () => ({
    spec: nested(2, ipAddressSpec, "Who uses the address."),
  }),
);

const networkPolicyPort = type("NetworkPolicyPort", "NetworkPolicyPort is a port, or a range of ports.", () => ({
  endPort: pointer(int32(3, "Last port of a range that starts at `port`.")),
  port: pointer(intOrString(2, "Number or name of the port; all unless given.")),
  protocol: pointer(protocol(1, "IP protocol of the port; TCP unless given.")),
}));

const ipBlock = type(
  "IPBlock",
  "IPBlock is a range of addresses.",
  () => ({ cidr: string(1, "The range."), except: strings(2, "Ranges to leave out.") }),
  ["cidr"],
);

const networkPolicyPeer = type("NetworkPolicyPeer", "NetworkPolicyPeer is who may talk, or be talked to.", () => ({
  ipBlock: nested(3, ipBlock, "Addresses."),
  namespaceSelector: nested(2, labelSelector, "Labels of namespaces."),
  podSelector: nested(1, labelSelector, "Labels of Pods."),
}));

const networkPolicySpec = type("NetworkPolicySpec", "NetworkPolicySpec says which traffic is allowed.", () => ({
  egress: list(
    3,
    type("NetworkPolicyEgressRule", "NetworkPolicyEgressRule allows traffic from the Pods.", () => ({
      ports: list(1, networkPolicyPort, "Ports; all unless given."),
      to: list(2, networkPolicyPeer, "To whom; anybody unless given."),
    })),
    "Traffic that the Pods may send.",
  ),
  ingress: list(
    2,
    type("NetworkPolicyIngressRule", "NetworkPolicyIngressRule allows traffic to the Pods.", () => ({
      from: list(2, networkPolicyPeer, "From whom; anybody unless given."),
      ports: list(1, networkPolicyPort, "Ports; all unless given."),
    })),
    "Traffic that the Pods may receive.",
  ),
  podSelector: nested(1, labelSelector, "Labels of the Pods to which the policy applies."),
  policyTypes: strings(4, "Ingress, Egress or both."),
}));

export const networkPolicy: Schema = kind(
  `${prefix}NetworkPolicy`,
  "NetworkPolicy says which traffic Pods may send and receive.",
  () => ({
    spec: nested(2, networkPolicySpec, "Which traffic is allowed."),
  }),
);

const serviceBackendPort = object(
  `${prefix}ServiceBackendPort`,
  "ServiceBackendPort is a port of a Service.",
  () => ({ name: string(1, "Name of the port."), number: int32(2, "Number of the port.") }),
  { atomic: true },
);

const ingressBackend = type("IngressBackend", "IngressBackend is where traffic goes.", () => ({
  resource: nested(3, typedLocalObjectReference, "Another object than a Service."),
  service: nested(
    4,
    type(
      "IngressServiceBackend",
      "IngressServiceBackend is a Service to which traffic goes.",
      () => ({ name: string(1, "Name of the Service."), port: nested(2, serviceBackendPort, "Port of the Service.") }),
      ["name"],
    ),
    "A Service.",
  ),
}));

const httpIngressPath = type(
  "HTTPIngressPath",
  "HTTPIngressPath sends requests for a path to a backend.",
  () => ({
    backend: nested(2, ingressBackend, "Where requests go."),
    path: string(1, "Path of the requests."),
    pathType: pointer(oneOf(3, ["Exact", "ImplementationSpecific", "Prefix"], "How the path is compared.")),
  }),
  ["pathType", "backend"],
);

const ingressRuleValue = type("IngressRuleValue", "IngressRuleValue holds the rules of a host.", () => ({
  http: nested(
    1,
    type(
      "HTTPIngressRuleValue",
      "HTTPIngressRuleValue lists paths.",
      () => ({ paths: list(1, httpIngressPath, "Paths.") }),
      ["paths"],
    ),
    "Rules for HTTP.",
  ),
}));

const ingressSpec = type("IngressSpec", "IngressSpec says how traffic comes in.", () => ({
  defaultBackend: nested(1, ingressBackend, "Where requests go to which no rule applies."),
  ingressClassName: pointer(string(4, "Class of the Ingress.")),
  rules: list(
    3,
    type("IngressRule", "IngressRule holds the rules of a host.", () => ({
      host: string(1, "Name of the host; any unless given."),
      ...embedded(2, ingressRuleValue),
    })),
    "Rules.",
  ),
  tls: list(
    2,
    type("IngressTLS", "IngressTLS names the certificate of hosts.", () => ({
      hosts: strings(1, "Hosts."),
      secretName: string(2, "Secret with the certificate."),
    })),
    "Certificates.",
  ),
}));

const ingressPortStatus = type(
  "IngressPortStatus",
  "IngressPortStatus is the state of one port.",
  () => ({
    error: pointer(string(3, "What is wrong with the port.")),
    port: int32(1, "Port."),
    protocol: protocol(2, "Protocol."),
  }),
  ["port", "protocol"],
);

const ingressStatus = type("IngressStatus", "IngressStatus is the state of an Ingress.", () => ({
  loadBalancer: nested(
    1,
    type("IngressLoadBalancerStatus", "IngressLoadBalancerStatus is the state of the load balancer.", () => ({
      ingress: list(
        1,
        type("IngressLoadBalancerIngress", "IngressLoadBalancerIngress is one point that takes traffic.", () => ({
          hostname: string(2, "Name of the point."),
          ip: string(1, "Address of the point."),
          ports: list(4, ingressPortStatus, "State of the ports."),
        })),
        "Points that take traffic.",
      ),
    })),
    "State of the load balancer.",
  ),
}));

export const ingress: Schema = kind(
  `${prefix}Ingress`,
  "Ingress brings HTTP traffic from outside to Services.",
  () => ({
    spec: nested(2, ingressSpec, "How traffic comes in."),
    status: nested(3, ingressStatus, "State of the Ingress."),
  }),
);

const ingressClassParametersReference = type(
  "IngressClassParametersReference",
  "IngressClassParametersReference names an object with settings.",
  () => ({
    apiGroup: pointer(string(1, "Group of the object.")),
    kind: string(2, "Kind of the object."),
    name: string(3, "Name of the object."),
    namespace: pointer(string(5, "Namespace of the object.")),
    scope: pointer(string(4, "Cluster or Namespace.")),
  }),
  ["kind", "name"],
);

const ingressClassSpec = type("IngressClassSpec", "IngressClassSpec says who serves a class.", () => ({
  controller: string(1, "Controller that serves the class."),
  parameters: nested(2, ingressClassParametersReference, "Object with settings."),
}));

export const ingressClass: Schema = kind(
  `${prefix}IngressClass`,
  "IngressClass is a class of Ingresses, served by one controller.",
  () => ({
    spec: nested(2, ingressClassSpec, "Who serves the class."),
  }),
);
