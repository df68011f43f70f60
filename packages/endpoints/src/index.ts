/**
 * EndpointSlice, Endpoints and EndpointSliceMirroring controllers.
 *
 * @packageDocumentation
 */
export {};
