/**
 * An embedded Kubernetes API server that real kubectl talks to.
 *
 * ```ts
 * import { createApiServer } from "@portolan/apiserver";
 *
 * const server = await createApiServer();
 * const { kubeconfigPath } = await server.listen({ directory: "/tmp/cluster" });
 * // kubectl --kubeconfig /tmp/cluster/kubeconfig get services
 * await server.close();
 * ```
 *
 * The server keeps objects in a {@link Store} (memory by default), answers as Kubernetes v1.36 does, and opens no port until it is told to.
 * `server.transport` reaches it without one: give it to `createApiClient` of `@portolan/client`.
 *
 * @packageDocumentation
 */
export {
  type ApiServer,
  type ApiServerOptions,
  createApiServer,
  type Listening,
  type ListenOptions,
} from "./api-server.ts";
export { type Access, adminUser, anonymousUser, type User } from "./authorization.ts";
export type { AdvertisedAddress } from "./bootstrap.ts";
export {
  type ApiController,
  type ApiControllerOptions,
  createGarbageCollector,
} from "./controllers/garbage-collector.ts";
export { createNamespaceController } from "./controllers/namespace-controller.ts";
export {
  createServiceAccountController,
  type ServiceAccountControllerOptions,
} from "./controllers/service-account-controller.ts";
export { createServiceCIDRController } from "./controllers/service-cidr-controller.ts";
export { builtinResources, type VersionInfo } from "./discovery/index.ts";
export type { FaultMatch, Faults, RequestFault } from "./faults.ts";
export type { FeatureGates } from "./feature-gates.ts";
export type {
  PodConnection,
  PodLogOptions,
  PodStreams,
  RemoteCommandOptions,
  RemoteCommandResult,
  RemoteCommandStreams,
} from "./pod-streams.ts";
export type { ResourceDefinition, SubresourceDefinition } from "./resource-definition.ts";
export { createMemoryStore, type MemoryStoreOptions } from "./store/memory-store.ts";
export { openSqliteStore, type SqliteStoreOptions } from "./store/sqlite-store.ts";
export {
  type Store,
  StoreConflictError,
  type StoredObject,
  type StoreEvent,
  StoreFailedError,
  type StorePosition,
  type StoreState,
  type StoreWrite,
} from "./store/store.ts";
