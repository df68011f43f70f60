import { defineConfig } from "tsup";
import { base } from "../../tsup.base.ts";

const programs = ["commands", "mysql-responder", "network-responder", "relay"];

export default defineConfig({
  ...base,
  platform: "node",
  entry: {
    index: "src/index.ts",
    "forwarder-worker": "src/netns/forwarder-worker.ts",
    ...Object.fromEntries(programs.map((name) => [`programs/${name}`, `src/images/programs/${name}.ts`])),
  },
});
