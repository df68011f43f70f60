import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

// What `codegen` and `tsc` have put into dist stays.
export default defineConfig({
  ...base,
  entry: ["src/index.ts", "src/index.workerd.ts", "src/testing.ts"],
  platform: "neutral",
  clean: ["!**/*.d.ts", "!**/*.d.ts.map", "!**/*.wasm"],
});
