import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

// Nothing is cleaned: `codegen` has put the module into dist before this runs.
export default defineConfig({
  ...base,
  entry: ["src/index.ts", "src/index.workerd.ts"],
  platform: "neutral",
  clean: false,
});
