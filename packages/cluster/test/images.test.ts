import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { containerArgv } from "../src/images/image-table.ts";
import { createImageTable, matchesImage, parseImageReference, type ResolvedImage } from "../src/images/index.ts";

const resolved = (image: string, table = createImageTable()): ResolvedImage => {
  const found = table.resolve(image);
  if ("reason" in found) throw new Error(found.message);
  return found;
};

describe("image references", () => {
  it.each([
    ["nginx", { registry: "docker.io", repository: "library/nginx", tag: "latest" }],
    ["nginx:1.24", { registry: "docker.io", repository: "library/nginx", tag: "1.24" }],
    ["myapp/api:1.0", { registry: "docker.io", repository: "myapp/api", tag: "1.0" }],
    ["registry.k8s.io/pause:3.9", { registry: "registry.k8s.io", repository: "pause", tag: "3.9" }],
    ["localhost:5000/a/b", { registry: "localhost:5000", repository: "a/b", tag: "latest" }],
  ])("%s", (text, expected) => {
    expect(parseImageReference(text)).toEqual(expected);
  });

  it("refuses what is none, and never throws", () => {
    for (const text of ["", "UPPER/case", "a b", "nginx:", ":x", "nginx:tag:tag"])
      expect(parseImageReference(text)).toBeUndefined();
    fc.assert(fc.property(fc.string(), (text) => void parseImageReference(text)));
  });

  it("match patterns by name, and by tag where the pattern has one", () => {
    const nginx = parseImageReference("nginx:1.24")!;
    expect(matchesImage("nginx", nginx)).toBe(true);
    expect(matchesImage("nginx:1.*", nginx)).toBe(true);
    expect(matchesImage("nginx:2.*", nginx)).toBe(false);
    expect(matchesImage("docker.io/library/nginx", nginx)).toBe(true);
    expect(matchesImage("ngin", nginx)).toBe(false);
    expect(matchesImage("n.inx", nginx)).toBe(false);
    expect(
      matchesImage("registry.example.com:5000/team/*", parseImageReference("registry.example.com:5000/team/shop:7")!),
    ).toBe(true);
  });
});

describe("image table", () => {
  it("knows the images of the usual examples", () => {
    for (const image of [
      "nginx",
      "nginx:1.24",
      "nginx:alpine",
      "myapp/api:1.0",
      "mysql:8.0",
      "busybox",
      "busybox:1.36",
      "curlimages/curl",
      "registry.k8s.io/pause:3.9",
      "registry.k8s.io/e2e-test-images/agnhost:2.47",
    ]) {
      expect(resolved(image).program).toBeDefined();
    }
  });

  it("says for unknown images how to add them, and tells malformed names apart", () => {
    expect(createImageTable().resolve("ghcr.io/acme/shop:7")).toEqual({
      reason: "ErrImagePull",
      message: expect.stringContaining(
        'createImageTable({ images: { "ghcr.io/acme/shop": ["program", "argument"] } })',
      ),
    });
    expect(createImageTable().resolve("Bad Name")).toMatchObject({ reason: "InvalidImageName" });
  });

  it("prefers the user's programs, of any form", () => {
    const table = createImageTable({
      images: {
        "nginx:2.*": ["my-nginx"],
        nginx: { entrypoint: ["other"], arguments: ["-x"] },
        "acme/*": ({ tag }) => ({ entrypoint: ["shop", tag ?? ""] }),
      },
    });
    expect(containerArgv({}, resolved("nginx:2.1", table).program).argv).toEqual(["my-nginx"]);
    expect(containerArgv({}, resolved("nginx:1", table).program).argv).toEqual(["other", "-x"]);
    expect(containerArgv({ args: ["-y"] }, resolved("nginx:1", table).program).argv).toEqual(["other", "-y"]);
    expect(containerArgv({ command: ["sh"] }, resolved("nginx:1", table).program).argv).toEqual(["sh"]);
    expect(containerArgv({}, resolved("acme/a:7", table).program).argv).toEqual(["shop", "7"]);
    expect(createImageTable({ builtIn: false }).resolve("nginx")).toHaveProperty("reason");
  });

  it("runs commands given as arguments where the image's entry point would", () => {
    const { program } = resolved("curlimages/curl");
    expect(containerArgv({ args: ["curl", "-s", "web"] }, program).argv).toEqual(["curl", "-s", "web"]);
    expect(containerArgv({ args: ["-s", "web"] }, program).argv).toEqual(["curl", "-s", "web"]);
    expect(containerArgv({ args: ["sh"] }, program).argv).toEqual(["sh"]);
    expect(containerArgv({ args: ["nslookup", "web"] }, resolved("busybox").program).argv).toEqual(["nslookup", "web"]);
    expect(containerArgv({ args: ["nginx", "-g", "daemon off;"] }, resolved("nginx").program).ownEntrypoint).toBe(true);
    expect(containerArgv({ args: ["sleep", "1"] }, resolved("nginx").program)).toEqual({
      argv: ["sleep", "1"],
      ownEntrypoint: false,
    });
  });
});
