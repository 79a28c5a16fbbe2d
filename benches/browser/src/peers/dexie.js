// Dexie: objects in tables, with its bulk calls.

import { Dexie } from "dexie";

export const name = "Dexie";
export const chosen =
  "one table of `{ key, payload }`, `chromeTransactionDurability: \"relaxed\"`; `bulkPut`, `bulkDelete`, `put`, " +
  "`get`, `toArray`, `reverse().limit()`, `between().count()`";

export async function open(database) {
  const db = new Dexie(database, { chromeTransactionDurability: "relaxed" });
  db.version(1).stores({ rows: "key" });
  await db.open();
  const { rows } = db;
  const bytes = (found) => found.map(({ key, payload }) => ({ key: new Uint8Array(key), payload }));
  return {
    putBatch: (list) => rows.bulkPut(list),
    deleteBatch: (keys) => rows.bulkDelete(keys),
    put: (key, payload) => rows.put({ key, payload }),
    get: async (key) => (await rows.get(key))?.payload,
    scan: async () => bytes(await rows.toArray()),
    last: async (limit) => bytes(await rows.toCollection().reverse().limit(limit).toArray()),
    count: (from, to) => rows.where("key").between(from, to).count(),
    size: () => rows.count(),
    async close() {
      db.close();
    },
  };
}

export const destroy = (database) => Dexie.delete(database);
