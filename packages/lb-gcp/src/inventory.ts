import type { GcpConfiguration } from "./configuration.ts";
import { readMark } from "./mark.ts";
import { listResources, type MarkedResource } from "./observation.ts";
import type { GcpPort, Operation } from "./port.ts";
import { type Body, collections, type ResourceKind } from "./resources.ts";

/** What is in the cloud, remembered for a while so that not each pass has to read all of it. */
export interface Inventory {
  /** The port by which everything has to be written: what passes it is what is remembered. */
  readonly port: GcpPort;
  /** Everything of the kinds that load balancers are made of. `now` in milliseconds. */
  all(now: number): Promise<readonly MarkedResource[]>;
  /** Forgets everything: something was not as remembered. */
  forget(): void;
}

const kinds = new Map(Object.entries(collections).map(([kind, collection]) => [collection, kind as ResourceKind]));

const kindOf = (path: string): ResourceKind | undefined => kinds.get(path.split("/").at(-2) as never);

/**
 * Makes an {@link Inventory}. It is read again when it is older than `maximumAge` milliseconds; until then the objects that were
 * written here are looked at one by one, and what others change is not seen. Age 0: nothing is remembered.
 */
export function createInventory(
  port: GcpPort,
  configuration: GcpConfiguration,
  options: { readonly inTree: boolean; readonly maximumAge: number },
): Inventory {
  const { inTree, maximumAge } = options;
  if (maximumAge <= 0) {
    return { port, all: () => listResources(port, configuration, inTree), forget: () => {} };
  }
  let objects = new Map<string, MarkedResource>();
  let members = new Map<string, readonly string[]>();
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;
  /** Written since they were looked at. */
  const dirty = new Set<string>();
  const targets = new Map<string, { readonly path: string; readonly removes: boolean }>();

  function keep(path: string, body: Body | undefined): void {
    const kind = kindOf(path);
    if (kind === undefined) return;
    if (body === undefined) objects.delete(path);
    else objects.set(path, { kind, name: String(body["name"]), path, body, mark: readMark(body["description"]) });
  }

  function touch(path: string): void {
    dirty.add(path);
    members.delete(path);
  }

  function settled(path: string, removed: boolean): void {
    touch(path);
    if (!removed) return;
    dirty.delete(path);
    objects.delete(path);
  }

  /** An operation changes its object when it begins, or when it is done, or at any time between. */
  async function write(
    path: string,
    work: () => Promise<Operation | undefined>,
    removes = false,
  ): Promise<Operation | undefined> {
    touch(path);
    const operation = await work();
    if (operation?.done === false) targets.set(operation.path, { path, removes });
    settled(path, removes && operation?.done !== false && operation?.error === undefined);
    return operation;
  }

  const watching: GcpPort = {
    ...port,
    async get(path) {
      const body = await port.get(path);
      keep(path, body);
      return body;
    },
    list: port.list.bind(port),
    async listMembers(group) {
      const known = members.get(group);
      if (known !== undefined) return known;
      const found = await port.listMembers(group);
      members.set(group, found);
      return found;
    },
    insert: async (collection, body) =>
      (await write(`${collection}/${body["name"]}`, () => port.insert(collection, body)))!,
    patch: async (path, body) => (await write(path, () => port.patch(path, body)))!,
    delete: (path) => write(path, () => port.delete(path), true),
    addMembers: async (group, added) => (await write(group, () => port.addMembers(group, added)))!,
    removeMembers: async (group, removed) => (await write(group, () => port.removeMembers(group, removed)))!,
    async getOperation(path) {
      const operation = await port.getOperation(path);
      const target = targets.get(path);
      if (target !== undefined && operation.done) {
        targets.delete(path);
        settled(target.path, target.removes && operation.error === undefined);
      }
      return operation;
    },
  };

  async function readAll(now: number): Promise<void> {
    // What is written from here on may be in the lists or not.
    dirty.clear();
    const listed = await listResources(port, configuration, inTree);
    objects = new Map(listed.map((entry) => [entry.path, entry]));
    members = new Map();
    readAt = now;
  }

  return {
    port: watching,
    async all(now) {
      if (now - readAt >= maximumAge) {
        reading ??= readAll(now).finally(() => {
          reading = undefined;
        });
      }
      await reading;
      for (const path of [...dirty]) {
        dirty.delete(path);
        try {
          keep(path, await port.get(path));
        } catch (error) {
          dirty.add(path);
          throw error;
        }
      }
      return [...objects.values()];
    },
    forget() {
      readAt = Number.NEGATIVE_INFINITY;
    },
  };
}
