import type { Section } from "../section.ts";
import { layers, readiness } from "./claims.ts";
import { application, commands, scenarios, troubleshooting } from "./commands.ts";
import { affinity, discovery, environment, namedPorts, names, ports } from "./discovery.ts";
import {
  basics,
  clusterIP,
  externalName,
  headless,
  loadBalancer,
  necessity,
  nodePort,
  withoutSelector,
} from "./services.ts";
import { externalCluster, externalLocal, internalLocal, proxy } from "./traffic-policies.ts";

/** The article from top to bottom. */
export const sections: readonly Section[] = [
  necessity,
  basics,
  withoutSelector,
  clusterIP,
  nodePort,
  loadBalancer,
  externalName,
  headless,
  discovery,
  names,
  environment,
  affinity,
  ports,
  namedPorts,
  externalCluster,
  externalLocal,
  internalLocal,
  proxy,
  troubleshooting,
  layers,
  readiness,
  commands,
  scenarios,
  application,
];
