import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it } from "vitest";
import { memorySubject } from "./subject.ts";

registerProviderTests(memorySubject("aws in memory"), { describe, it });

registerProviderTests(memorySubject("aws in memory, in-tree semantics", {}, { type: "nlb" }), { describe, it });

const slow = { provisioningPolls: 3, lingeringInterfacePolls: 8 };
registerProviderTests(memorySubject("aws in memory, slow", slow), { describe, it });
