import { registerProviderTests } from "@portolan/lb/conformance";
import { beforeAll, describe, it, vi } from "vitest";
import { sdkPort } from "../src/sdk/index.ts";
import { classic, sdkSubject } from "./subject.ts";

// Other work may share the machine.
vi.setConfig({ testTimeout: 120_000 });

// Loading the SDK takes seconds on a busy machine.
beforeAll(async () => {
  await sdkPort({ region: "us-east-1" });
}, 60_000);

// Pages of three entries make every list come in several.
registerProviderTests(sdkSubject("aws by SDK and fake endpoint", { pageSize: 3 }), { describe, it });

registerProviderTests(sdkSubject("aws by SDK and fake endpoint, classic", { pageSize: 3 }, classic), { describe, it });
