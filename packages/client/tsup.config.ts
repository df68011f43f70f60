import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

export default defineConfig({
  ...base,
  entry: ["src/index.ts", "src/node.ts", "src/testing/index.ts", "src/conformance/index.ts"],
  platform: "node",
});
