import { type NetworkCapabilities, probe } from "@portolan/netio-linux";
import { expect, test, vi } from "vitest";
import { chooseMode } from "../src/index.ts";

vi.mock("@portolan/netio-linux", async (importOriginal) => ({ ...(await importOriginal<object>()), probe: vi.fn() }));

const yes = { available: true };
const machine = (without: Partial<Record<keyof NetworkCapabilities, string>>): void => {
  const capabilities = { namespaces: yes, xdp: yes, packets: yes, tap: yes, launcher: yes };
  for (const [name, reason] of Object.entries(without))
    Object.assign(capabilities, { [name]: { available: false, reason } });
  vi.mocked(probe).mockReturnValue(capabilities);
};

test("frames go through AF_XDP where the machine has it, else through packet sockets, and the reason tells", () => {
  machine({});
  expect(chooseMode("auto")).toMatchObject({ mode: "netns", frames: "af-xdp" });
  expect(chooseMode("netns")).toEqual({ mode: "netns", frames: "af-xdp", reason: "asked for" });
  machine({ xdp: "socket(AF_XDP) failed with EAFNOSUPPORT" });
  for (const wanted of ["auto", "netns"] as const) {
    const chosen = chooseMode(wanted);
    expect(chosen).toMatchObject({ mode: "netns", frames: "packet" });
    expect(chosen.reason).toContain("EAFNOSUPPORT");
  }
  machine({ xdp: "no AF_XDP", packets: "no packet sockets" });
  expect(chooseMode("auto")).toMatchObject({ mode: "gateway", reason: expect.stringContaining("no packet sockets") });
});

test("a way of frames that is asked for is had or refused", () => {
  machine({});
  expect(chooseMode("netns", "packet")).toMatchObject({ mode: "netns", frames: "packet" });
  machine({ xdp: "no AF_XDP" });
  expect(() => chooseMode("netns", "af-xdp")).toThrow("no AF_XDP");
  expect(chooseMode("auto", "af-xdp")).toMatchObject({ mode: "gateway" });
  expect(chooseMode("gateway", "packet")).toEqual({ mode: "gateway", reason: "asked for" });
});
