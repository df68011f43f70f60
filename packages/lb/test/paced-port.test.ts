import { createFakeClock } from "@portolan/client/testing";
import { ProviderError, pacedPort } from "@portolan/lb";
import { describe, expect, it } from "vitest";

describe("a paced port", () => {
  it("lets a burst through, then so many calls a second, in order", async () => {
    const clock = createFakeClock();
    const start = clock.now();
    const seen: string[] = [];
    const cloud = {
      async describeThings(name: string) {
        seen.push(`${name}@${(clock.now() - start) / 1000}`);
      },
      async putThing(name: string) {
        seen.push(`put ${name}`);
      },
    };
    const port = pacedPort(cloud, { clock, paces: [{ methods: /^describe/, perSecond: 2, burst: 3 }] });
    const calls = Promise.all(["a", "b", "c", "d", "e"].map((name) => port.describeThings(name)));
    await port.putThing("x");
    await clock.advance(2000);
    await calls;
    expect(seen.filter((each) => !each.startsWith("put"))).toEqual(["a@0", "b@0", "c@0", "d@0.5", "e@1"]);
    expect(seen).toContain("put x");
  });

  it("makes all calls wait after a refusal, and gives up after so many", async () => {
    const clock = createFakeClock();
    let refuse = 1;
    const cloud = {
      async get() {
        if (refuse-- > 0) throw new ProviderError("Throttled", "slow down", { retryAfter: 5000 });
        return clock.now();
      },
    };
    const options = { clock, paces: [{ methods: /./, perSecond: 10, burst: 10 }], retries: 2 };
    const port = pacedPort(cloud, options);
    const start = clock.now();
    const first = port.get();
    await clock.advance(100);
    const second = port.get();
    await clock.advance(10_000);
    expect((await first) - start).toBeGreaterThanOrEqual(5000);
    expect((await second) - start).toBeGreaterThanOrEqual(5000);
    refuse = 100;
    const lost = port.get().catch((error: unknown) => (error as ProviderError).code);
    await clock.advance(60_000);
    expect(await lost).toBe("Throttled");
  });
});
