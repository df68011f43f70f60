/**
 * The portolan command.
 *
 * @packageDocumentation
 */
export {};
