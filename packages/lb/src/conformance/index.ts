/**
 * The conformance kit for load-balancer providers: numbered properties that hold for every good one, whatever its cloud.
 *
 * @packageDocumentation
 */
export { providerProperties, registerProviderTests, type TestRunner } from "./properties.ts";
export type { ProviderProperty, ProviderSubject } from "./subject.ts";
export { sampleNodes, sampleService } from "./workbench.ts";
