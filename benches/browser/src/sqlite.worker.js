// SQLite over OPFS, in the worker that its pool of files needs. One connection, prepared statements.

import sqlite3InitModule from "@sqlite.org/sqlite-wasm";
import { answerCalls } from "./rpc.js";

/** What the pool begins with: the database, its write-ahead log, and room for what SQLite makes beside them. */
const FILES = 6;

/** Committed is what survives the death of the tab, as with the others: a sync costs as much here as there. */
const SETTINGS = `
  PRAGMA locking_mode = exclusive;
  PRAGMA journal_mode = wal;
  PRAGMA synchronous = normal;
  CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
`;

const SQL = {
  put: "INSERT INTO rows VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET payload = ?2",
  delete: "DELETE FROM rows WHERE key = ?1",
  get: "SELECT payload FROM rows WHERE key = ?1",
  scan: "SELECT key, payload FROM rows ORDER BY key",
  last: "SELECT key, payload FROM rows ORDER BY key DESC LIMIT ?1",
  count: "SELECT count(*) FROM rows WHERE key >= ?1 AND key < ?2",
  size: "SELECT count(*) FROM rows",
};

async function openStore(name) {
  const sqlite3 = await sqlite3InitModule();
  const pool = await sqlite3.installOpfsSAHPoolVfs({ directory: `.${name}`, name, initialCapacity: FILES });
  const db = new pool.OpfsSAHPoolDb("/rows.db");
  db.exec(SETTINGS);
  const statements = Object.fromEntries(Object.entries(SQL).map(([what, sql]) => [what, db.prepare(sql)]));

  const run = (what, ...values) => statements[what].bind(values).stepReset();
  const one = (what, ...values) => {
    const statement = values.length > 0 ? statements[what].bind(values) : statements[what];
    const value = statement.step() ? statement.get(0) : undefined;
    statement.reset();
    return value;
  };
  const rows = (what, ...values) => {
    const statement = values.length > 0 ? statements[what].bind(values) : statements[what];
    const found = [];
    while (statement.step()) found.push({ key: statement.getBlob(0), payload: statement.getBlob(1) });
    statement.reset();
    return found;
  };
  const close = () => {
    for (const statement of Object.values(statements)) statement.finalize();
    db.close();
  };
  const store = {
    putBatch: (list) => db.transaction(() => {
      for (const { key, payload } of list) run("put", key, payload);
    }),
    deleteBatch: (keys) => db.transaction(() => {
      for (const key of keys) run("delete", key);
    }),
    put: (key, payload) => void run("put", key, payload),
    get: (key) => one("get", key),
    scan: () => rows("scan"),
    last: (limit) => rows("last", limit),
    count: (from, to) => one("count", from, to),
    size: () => one("size"),
    close: () => {
      close();
      // Gives the files back, which belong to whoever opened them first.
      pool.pauseVfs();
    },
    destroy: async () => {
      close();
      await pool.removeVfs();
    },
  };
  return store;
}

answerCalls(globalThis, openStore);
