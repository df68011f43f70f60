import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it, vi } from "vitest";
import { rememberingSubject, subject } from "./subject.ts";

// Faults at every call of every property are many runs, on machines that may be busy.
vi.setConfig({ testTimeout: 120_000 });

registerProviderTests(subject, { describe, it });
registerProviderTests(rememberingSubject, { describe, it });
