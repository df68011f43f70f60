import { deviceCases } from "@portolan/netio/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createNetworkNamespace, createTapDevice, type NetworkNamespace, probe, type TapDevice } from "../src/index.ts";

const capabilities = probe();
const missing = [capabilities.namespaces, capabilities.tap].find((c) => !c.available);
if (missing !== undefined) console.log(`skipped: TAP devices: ${missing.reason}`);

describe.skipIf(missing !== undefined)("TAP devices joined by a bridge keep the contract of devices", () => {
  let namespace: NetworkNamespace;
  let count = 0;
  beforeAll(() => {
    namespace = createNetworkNamespace("taps");
    // Nothing but the frames of the test: no neighbour discovery of the system.
    namespace.setSysctl("ipv6/conf/default/disable_ipv6", 1);
  });
  afterAll(() => namespace?.close());

  const makeTap = (link: string, bridge: string): TapDevice => {
    const device = namespace.run(() => createTapDevice({ link }));
    namespace.links.setLink(link, { master: bridge });
    namespace.links.setLink(link, { up: true });
    return device;
  };
  const makeLink = (): readonly [TapDevice, TapDevice] => {
    const bridge = `bridge${++count}`;
    namespace.links.addBridge(bridge);
    namespace.links.setLink(bridge, { up: true });
    return [makeTap(`left${count}`, bridge), makeTap(`right${count}`, bridge)];
  };

  for (const { name, run } of deviceCases({ makeLink })) test(name, run);

  test("its link goes with it", () => {
    const device = namespace.run(() => createTapDevice({ link: "gone" }));
    expect(namespace.links.listLinks().some(({ name }) => name === "gone")).toBe(true);
    device.close();
    expect(namespace.links.listLinks().some(({ name }) => name === "gone")).toBe(false);
  });

  test("a name that is taken is an error", () => {
    const device = namespace.run(() => createTapDevice({ link: "twice" }));
    expect(() => namespace.run(() => createTapDevice({ link: "twice" }))).toThrow(/EBUSY/);
    device.close();
  });
});
