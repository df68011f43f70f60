const SHARDS = 256;

/**
 * A map from names, in many small ones: a map that grows copies itself, which for tens of thousands of names would be a pause of
 * milliseconds. It has no order.
 */
export class NameIndex<Value> {
  readonly #shards: readonly Map<string, Value>[] = Array.from({ length: SHARDS }, () => new Map());

  get(name: string): Value | undefined {
    return this.#shards[shardOf(name)]!.get(name);
  }

  set(name: string, value: Value): void {
    this.#shards[shardOf(name)]!.set(name, value);
  }

  delete(name: string): void {
    this.#shards[shardOf(name)]!.delete(name);
  }
}

function shardOf(name: string): number {
  let hash = name.length;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (SHARDS - 1);
}
