/** A prepared statement, as far as it is used here. */
export interface SqliteStatement {
  run(...parameters: (string | number)[]): unknown;
  get(...parameters: (string | number)[]): Record<string, unknown> | undefined;
  iterate(...parameters: (string | number)[]): Iterable<Record<string, unknown>>;
}

/** A database, as `node:sqlite` has it. */
export interface SqliteDatabase {
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

interface SqliteModule {
  readonly DatabaseSync: new (path: string) => SqliteDatabase;
}

/**
 * SQLite: Node's own (from 22.13 on), else `@photostructure/sqlite`, which is an optional dependency with the same interface.
 *
 * @throws Error when there is neither
 */
async function loadSqlite(): Promise<SqliteModule> {
  // `import` would make bundlers look for a module that this version of Node may not have.
  const builtin = process.getBuiltinModule?.("node:sqlite") as SqliteModule | undefined;
  if (builtin !== undefined) return builtin;
  try {
    return (await import("@photostructure/sqlite")) as unknown as SqliteModule;
  } catch (error) {
    throw new Error(
      `a data directory needs SQLite: use Node 22.13 or newer, or install @photostructure/sqlite (${(error as Error).message})`,
      { cause: error },
    );
  }
}

/** Opens a database file; makes it when it is absent. */
export async function openSqlite(path: string): Promise<SqliteDatabase> {
  const { DatabaseSync } = await loadSqlite();
  return new DatabaseSync(path);
}
