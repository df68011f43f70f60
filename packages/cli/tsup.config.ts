import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

export default defineConfig({
  ...base,
  platform: "node",
  entry: { index: "src/index.ts", bin: "src/bin.ts", "programs/prober": "src/programs/prober.ts" },
});
