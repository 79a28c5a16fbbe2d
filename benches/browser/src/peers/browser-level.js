// browser-level: LevelDB's interface over IndexedDB. It has no count.

import { BrowserLevel } from "browser-level";

export const name = "browser-level";
export const chosen =
  "keys and values as `view`; `batch`, `put`, `get`, `iterator().all()`; the browser's durability (relaxed)";

export async function open(database) {
  const db = new BrowserLevel(database, { keyEncoding: "view", valueEncoding: "view" });
  await db.open();
  const rowsOf = (entries) => entries.map(([key, payload]) => ({ key, payload }));
  return {
    putBatch: (rows) => db.batch(rows.map(({ key, payload }) => ({ type: "put", key, value: payload }))),
    deleteBatch: (keys) => db.batch(keys.map((key) => ({ type: "del", key }))),
    put: (key, payload) => db.put(key, payload),
    get: (key) => db.get(key),
    scan: async () => rowsOf(await db.iterator().all()),
    last: async (limit) => rowsOf(await db.iterator({ reverse: true, limit }).all()),
    size: async () => (await db.keys().all()).length,
    close: () => db.close(),
  };
}

export const destroy = (database) => BrowserLevel.destroy(database);
