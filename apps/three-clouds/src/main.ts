import { clouds } from "./clouds.ts";
import { type Observation, observe } from "./rack.ts";
import { tableOf } from "./table.ts";

/**
 * The same Service and the same packets behind the load balancers of three clouds. What each cloud makes of the annotations comes
 * from its provider, on a cloud in memory; what its balancer does to packets is done by the dataplane, and so is what nodes do.
 */
const observations: Observation[] = [];
for (const cloud of clouds) {
  for (const scheme of ["external", "internal"] as const) {
    for (const policy of ["Cluster", "Local"] as const) {
      observations.push(await observe(cloud.name, cloud.provider(), cloud[scheme], policy));
    }
  }
}
console.log("Service web-lb, port 80; pods on node1 and node2, none on node3; 300 flows of one client.\n");
for (const line of tableOf(observations)) console.log(line);
