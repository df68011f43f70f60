/**
 * The cloud over its REST API with `fetch`: no SDK. Tokens come from a function, or from `google-auth-library` where that is
 * installed.
 *
 * @packageDocumentation
 */
export { googleAuthToken } from "./google-auth.ts";
export { type RestOptions, restPort } from "./rest.ts";
