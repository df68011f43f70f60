/**
 * What tests of clients and controllers need: a clock to turn, an API to watch, faults on command.
 *
 * @packageDocumentation
 */
export * from "./fake-clock.ts";
export * from "./fault-injector.ts";
export * from "./memory-api.ts";
