/**
 * The portolan command.
 *
 * @packageDocumentation
 */
export { main } from "./main.ts";
