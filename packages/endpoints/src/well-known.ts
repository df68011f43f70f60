/** Labels and annotations of the endpoint controllers. */

/** Label of slices: the Service they belong to. */
export const serviceNameLabel = "kubernetes.io/service-name";
/** Label of slices: the controller that owns them. */
export const sliceManagedByLabel = "endpointslice.kubernetes.io/managed-by";
/** Label of Endpoints: the controller that owns them (1.33 and later). */
export const endpointsManagedByLabel = "endpoints.kubernetes.io/managed-by";
/** Label of slices and Endpoints of a Service without a cluster IP; its value is empty. */
export const headlessLabel = "service.kubernetes.io/headless";
/** Label of Endpoints: `true` keeps the mirroring controller away. */
export const skipMirrorLabel = "endpointslice.kubernetes.io/skip-mirror";
/** Value of {@link sliceManagedByLabel} of the EndpointSlice controller. */
export const endpointSliceControllerName = "endpointslice-controller.k8s.io";
/** Value of {@link sliceManagedByLabel} of the mirroring controller. */
export const mirroringControllerName = "endpointslicemirroring-controller.k8s.io";
/** Value of {@link endpointsManagedByLabel} of the Endpoints controller. */
export const endpointsControllerName = "endpoint-controller";

/** Annotation: when the change happened that made the controller write (RFC 3339). */
export const triggerTimeAnnotation = "endpoints.kubernetes.io/last-change-trigger-time";
/** Annotation of Endpoints that hold fewer addresses than there are; its value is `truncated`. */
export const overCapacityAnnotation = "endpoints.kubernetes.io/over-capacity";
export const lastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration";
/** Annotation of Endpoints that serve as a lock of leader elections. */
export const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader";
export const topologyModeAnnotation = "service.kubernetes.io/topology-mode";
export const topologyHintsAnnotation = "service.kubernetes.io/topology-aware-hints";

export const zoneLabel = "topology.kubernetes.io/zone";
