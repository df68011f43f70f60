import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

// What `tsc` has put into dist stays.
export default defineConfig({ ...base, platform: "node", clean: ["!**/*.d.ts", "!**/*.d.ts.map"] });
