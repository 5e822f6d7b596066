/** A storage adapter of Keyv over the SQLite that Node brings (22.5 or later): `@keyv/sqlite` has to be compiled. */

import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';

interface Statement {
  get(...values: (string | number)[]): unknown;
  run(...values: (string | number)[]): { changes: number | bigint };
}
interface Database {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}
interface Sqlite {
  readonly DatabaseSync: new (path: string) => Database;
}

/** `undefined` where Node has none, or only behind a flag. */
export const sqlite = loadSqlite();

function loadSqlite(): Sqlite | undefined {
  const { emitWarning } = process;
  try {
    // Some versions warn that it is experimental.
    process.emitWarning = () => {};
    return createRequire(import.meta.url)('node:sqlite') as Sqlite;
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

export class SqliteAdapter extends EventEmitter {
  readonly opts = {};
  namespace?: string;
  readonly #database: Database;
  readonly #get: Statement;
  readonly #set: Statement;
  readonly #delete: Statement;

  constructor(path: string) {
    super();
    if (sqlite === undefined) throw new Error('this Node has no SQLite');
    this.#database = new sqlite.DatabaseSync(path);
    this.#database.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL');
    this.#database.exec('CREATE TABLE IF NOT EXISTS keyv (key TEXT PRIMARY KEY COLLATE NOCASE, value TEXT NOT NULL)');
    this.#get = this.#database.prepare('SELECT value FROM keyv WHERE key = ?');
    this.#set = this.#database.prepare('INSERT OR REPLACE INTO keyv VALUES (?, ?)');
    this.#delete = this.#database.prepare('DELETE FROM keyv WHERE key = ?');
  }

  async get(key: string): Promise<unknown> {
    return (this.#get.get(key) as { value: string } | undefined)?.value;
  }

  async set(key: string, value: string): Promise<void> {
    this.#set.run(key, value);
  }

  async delete(key: string): Promise<boolean> {
    return Number(this.#delete.run(key).changes) > 0;
  }

  async clear(): Promise<void> {
    this.#database.exec('DELETE FROM keyv');
  }

  async disconnect(): Promise<void> {
    this.#database.close();
  }
}
