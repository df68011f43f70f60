/** Parts of an image reference after the rules of container runtimes: `nginx` is `docker.io/library/nginx:latest`. */
export interface ImageReference {
  readonly registry: string;
  readonly repository: string;
  /** Absent when a digest is given without a tag. */
  readonly tag?: string;
  /** `sha256:…`. */
  readonly digest?: string;
}

/** Parses `[registry/]repository[:tag][@digest]`. Undefined when the text is no reference (`InvalidImageName`). */
export function parseImageReference(image: string): ImageReference | undefined {
  const match =
    /^(?<name>[a-zA-Z0-9.:_/-]+?)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?<digest>[a-z0-9]+:[a-f0-9]{32,}))?$/.exec(
      image,
    );
  const name = match?.groups?.["name"];
  if (name === undefined) return undefined;
  const { tag, digest } = match?.groups ?? {};
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const hasRegistry = first === "localhost" || /[.:]/.test(first);
  const registry = hasRegistry ? first : "docker.io";
  const path = hasRegistry ? name.slice(slash + 1) : name;
  const repository = registry === "docker.io" && !path.includes("/") ? `library/${path}` : path;
  if (!/^[a-z0-9]+(?:(?:[._]|__|-+|\/)[a-z0-9]+)*$/.test(repository)) return undefined;
  return {
    registry,
    repository,
    ...(tag !== undefined ? { tag } : digest === undefined ? { tag: "latest" } : {}),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The reference as people write it: without `docker.io/library/`, without the tag. */
export function familiarName(reference: ImageReference): string {
  if (reference.registry !== "docker.io") return `${reference.registry}/${reference.repository}`;
  return reference.repository.startsWith("library/") ? reference.repository.slice(8) : reference.repository;
}

/**
 * True when a pattern covers the image. A pattern is a reference in which `*` stands for any characters; one without a tag covers
 * all tags. `nginx`, `nginx:1.*`, `registry.example.com/team/*`.
 */
export function matchesImage(pattern: string, reference: ImageReference): boolean {
  const colon = pattern.lastIndexOf(":");
  const hasTag = colon > pattern.lastIndexOf("/");
  const parsedName = hasTag ? pattern.slice(0, colon) : pattern;
  const name = parsedName.replace(/^docker\.io\/(library\/)?/, "");
  if (!globMatches(name, familiarName(reference))) return false;
  return !hasTag || globMatches(pattern.slice(colon + 1), reference.tag ?? "");
}

function globMatches(glob: string, text: string): boolean {
  const source = glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${source}$`).test(text);
}
