import { providerProperties } from "@portolan/lb/conformance";
import { harbourSubject } from "./subject.ts";

/** Puts the provider to every property of the kit and prints what came out. */
let failed = 0;
for (const { id, title, skipped, run } of providerProperties(harbourSubject)) {
  if (skipped !== undefined) {
    console.log(`skip ${id.padEnd(4)} ${title} (${skipped})`);
    continue;
  }
  try {
    await run();
    console.log(`ok   ${id.padEnd(4)} ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${id.padEnd(4)} ${title}\n     ${(error as Error).message}`);
  }
}
console.log(failed === 0 ? "The provider passes the kit." : `${failed} properties do not hold.`);
process.exitCode = failed === 0 ? 0 : 1;
