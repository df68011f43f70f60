/**
 * What tests of DNS need: master files, and a small authoritative server to forward to.
 *
 * @packageDocumentation
 */
export {
  type AuthoritativeServer,
  type AuthoritativeServerOptions,
  createAuthoritativeServer,
} from "./authoritative-server.ts";
export { readMasterFile } from "./master-file.ts";
