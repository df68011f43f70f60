import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it, vi } from "vitest";
import { classic, classicLimit, memorySubject } from "./subject.ts";

// Other work may share the machine.
vi.setConfig({ testTimeout: 120_000 });

registerProviderTests(memorySubject("aws in memory"), { describe, it });

registerProviderTests(memorySubject("aws in memory, in-tree semantics", {}, { type: "nlb" }), { describe, it });

registerProviderTests(memorySubject("aws in memory, classic", classicLimit, classic), { describe, it });

const slow = { provisioningPolls: 3, lingeringInterfacePolls: 8 };
registerProviderTests(memorySubject("aws in memory, slow", slow), { describe, it });

const slowClassic = { ...classicLimit, lingeringInterfacePolls: 8 };
registerProviderTests(memorySubject("aws in memory, classic, slow", slowClassic, classic), { describe, it });
