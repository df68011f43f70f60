import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

export default defineConfig([
  {
    ...base,
    entry: {
      index: "src/index.ts",
      "message/index": "src/message/index.ts",
      "zone/index": "src/zone/index.ts",
      "resolver/index": "src/resolver/index.ts",
      "testing/index": "src/testing/index.ts",
    },
    platform: "node",
  },
  // The process carries everything it needs: one file to mount into a pod.
  { ...base, entry: { main: "src/main.ts" }, platform: "node", clean: false, noExternal: [/.*/] },
]);
