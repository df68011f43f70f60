import { kind, protocol } from "./meta.ts";
import { boolean, int32, list, nested, object, oneOf, pointer, string, stringMap, strings } from "./notation.ts";
import { objectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";

/** EndpointSlice (`k8s.io/api/discovery/v1`). */
const prefix = "io.k8s.api.discovery.v1.";

const endpointConditions = object(
  `${prefix}EndpointConditions`,
  "EndpointConditions says in which state an endpoint is.",
  () => ({
    ready: pointer(
      boolean(
        1,
        "The endpoint takes traffic; false while it terminates, unless the Service publishes addresses that are not ready.",
      ),
    ),
    serving: pointer(boolean(2, "The endpoint answers, whether it terminates or not.")),
    terminating: pointer(boolean(3, "The endpoint is being shut down.")),
  }),
);

const forZone = object(
  `${prefix}ForZone`,
  "ForZone names a zone that should use an endpoint.",
  () => ({ name: string(1, "Name of the zone.") }),
  { required: ["name"] },
);

const forNode = object(
  `${prefix}ForNode`,
  "ForNode names a node that should use an endpoint.",
  () => ({ name: string(1, "Name of the node.") }),
  { required: ["name"] },
);

const endpointHints = object(`${prefix}EndpointHints`, "EndpointHints says who should use an endpoint.", () => ({
  forNodes: list(2, forNode, "Nodes that should use the endpoint, at most 8."),
  forZones: list(1, forZone, "Zones that should use the endpoint, at most 8."),
}));

const endpoint = object(
  `${prefix}Endpoint`,
  "Endpoint is one backend of a Service.",
  () => ({
    addresses: strings(
      1,
      "Addresses of the endpoint, of the slice's type; all of the same machine, and only the first is used.",
      {
        listType: "set",
      },
    ),
    conditions: nested(2, endpointConditions, "State of the endpoint."),
    deprecatedTopology: stringMap(5, "Topology that older versions kept; only converted, never written."),
    hints: nested(8, endpointHints, "Who should use the endpoint."),
    hostname: pointer(string(3, "Host name of the endpoint, by which DNS tells it apart from the others.")),
    nodeName: pointer(string(6, "Node on which the endpoint runs.")),
    targetRef: nested(4, objectReference, "Object behind the endpoint, most often a Pod."),
    zone: pointer(string(7, "Zone in which the endpoint runs.")),
  }),
  { required: ["addresses"] },
);

const endpointPort = object(
  `${prefix}EndpointPort`,
  "EndpointPort is one port of all endpoints of a slice.",
  () => ({
    appProtocol: pointer(string(4, "Protocol spoken over the port, as a hint.")),
    name: pointer(string(1, "Name of the port, the same as in the Service; empty for a port without a name.")),
    port: pointer(int32(3, "Port of the endpoints; not given when it is up to the reader.")),
    protocol: pointer(protocol(2, "IP protocol of the port; TCP unless given.")),
  }),
  { atomic: true },
);

export const endpointSlice: Schema = kind(
  `${prefix}EndpointSlice`,
  "EndpointSlice holds a part of the endpoints of a Service; the label kubernetes.io/service-name says of which.",
  () => ({
    addressType: oneOf(
      4,
      ["FQDN", "IPv4", "IPv6"],
      "Type of all addresses in the slice; it cannot be changed. FQDN is deprecated.",
    ),
    endpoints: list(2, endpoint, "Endpoints of the slice, at most 1000."),
    ports: list(3, endpointPort, "Ports that each endpoint of the slice offers, at most 100."),
  }),
  { required: ["addressType", "endpoints"] },
);
