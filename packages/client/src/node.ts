/**
 * Transports over the network: HTTP(S), Unix sockets, kubeconfigs, service accounts. Needs Node.
 *
 * @packageDocumentation
 */
export * from "./http-transport.ts";
export {
  type KubeconfigContext,
  KubeconfigError,
  type KubeconfigOptions,
  readKubeconfigContext,
  transportFromKubeconfig,
  transportFromServiceAccount,
} from "./kubeconfig.ts";
