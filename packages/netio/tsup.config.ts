import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

// What `tsc` has put into dist stays.
export default defineConfig({
  ...base,
  entry: { index: "src/index.ts", conformance: "src/conformance/index.ts" },
  platform: "neutral",
  clean: ["!**/*.d.ts", "!**/*.d.ts.map"],
});
