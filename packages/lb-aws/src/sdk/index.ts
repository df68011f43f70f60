/**
 * The provider's calls to AWS over the official SDK, whose packages are loaded when the port is made.
 *
 * @packageDocumentation
 */
export { type SdkPortOptions, sdkPort } from "./sdk-port.ts";
