import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it } from "vitest";
import { sdkSubject } from "./subject.ts";

// Pages of three entries make every list come in several.
registerProviderTests(sdkSubject("aws by SDK and fake endpoint", { pageSize: 3 }), { describe, it });
