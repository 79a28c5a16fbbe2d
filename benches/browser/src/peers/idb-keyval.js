// idb-keyval: a map over IndexedDB. It has no ranges, and a count only by reading all keys.

import { createStore, delMany, entries, get, keys, set, setMany } from "idb-keyval";
import { destroyDatabase } from "../indexed-db.js";

export const name = "idb-keyval";
export const chosen =
  "a store of its own; `setMany`, `delMany`, `set`, `get`, `entries`; the browser's durability (relaxed)";

const STORE = "rows";

export async function open(database) {
  const store = createStore(database, STORE);
  return {
    putBatch: (rows) => setMany(rows.map(({ key, payload }) => [key, payload]), store),
    deleteBatch: (list) => delMany(list, store),
    put: (key, payload) => set(key, payload, store),
    get: (key) => get(key, store),
    scan: async () => (await entries(store)).map(([key, payload]) => ({ key: new Uint8Array(key), payload })),
    size: async () => (await keys(store)).length,
    close: () => store("readonly", ({ transaction }) => transaction.db.close()),
  };
}

export const destroy = destroyDatabase;
