import { createGarbageCollector, createNamespaceController, createServiceCIDRController } from "@portolan/apiserver";
import type { Clock, EventRecorder, InformerFactory, KubernetesApi } from "@portolan/client";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
} from "@portolan/endpoints";
import { createScheduler } from "./scheduler/index.ts";
import {
  createDaemonSetController,
  createDeploymentController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "./workloads/index.ts";

/** What a controller of the cluster works with. */
export interface ControllerSurroundings {
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  readonly clock?: Clock;
  readonly events: EventRecorder;
  readonly onError: (error: unknown) => void;
}

/** A part of the cluster that runs until its signal fires. */
export interface ClusterPart {
  run(signal: AbortSignal): Promise<void>;
}

/**
 * The controllers that every cluster has, by what is said of them in errors: those of kube-controller-manager that Services and their pods need,
 * those of the API server, and the scheduler.
 *
 * @param of surroundings of a controller by its component name
 */
export function createControllers(
  of: (component: string) => ControllerSurroundings,
): readonly (readonly [string, ClusterPart])[] {
  const endpoints = of("endpoint-controller");
  const slices = of("endpoint-slice-controller");
  const mirroring = of("endpoint-slice-mirroring-controller");
  return [
    ["endpoints", createEndpointsController(endpoints.api, endpoints)],
    ["endpoint slices", createEndpointSliceController(slices.api, slices)],
    ["mirrored slices", createEndpointSliceMirroringController(mirroring.api, mirroring)],
    ["deployments", createDeploymentController(of("deployment-controller"))],
    ["replica sets", createReplicaSetController(of("replicaset-controller"))],
    ["stateful sets", createStatefulSetController(of("statefulset-controller"))],
    ["daemon sets", createDaemonSetController(of("daemonset-controller"))],
    ["jobs", createJobController(of("job-controller"))],
    ["garbage collector", createGarbageCollector(of("garbage-collector"))],
    ["service CIDRs", createServiceCIDRController(of("service-cidr-controller"))],
    ["namespaces", createNamespaceController(of("namespace-controller"))],
    ["scheduler", createScheduler(of("default-scheduler"))],
  ];
}
