// idb: promises over IndexedDB, used as its README shows.

import { deleteDB, openDB } from "idb";

export const name = "idb";
export const chosen =
  "its shortcuts for single rows, which take the browser's durability (relaxed); `tx.store` with all requests " +
  "at once and `tx.done` for batches, relaxed; `getAllRecords` backwards";

const STORE = "rows";

export async function open(database) {
  const db = await openDB(database, 1, { upgrade: (made) => void made.createObjectStore(STORE) });
  const batch = async (issue) => {
    const transaction = db.transaction(STORE, "readwrite", { durability: "relaxed" });
    await Promise.all([...issue(transaction.store), transaction.done]);
  };
  const rowsOf = (keys, payloads) => keys.map((key, at) => ({ key: new Uint8Array(key), payload: payloads[at] }));
  return {
    putBatch: (rows) => batch((store) => rows.map(({ key, payload }) => store.put(payload, key))),
    deleteBatch: (keys) => batch((store) => keys.map((key) => store.delete(key))),
    put: (key, payload) => db.put(STORE, payload, key),
    get: (key) => db.get(STORE, key),
    async scan() {
      const { store } = db.transaction(STORE);
      return rowsOf(...(await Promise.all([store.getAllKeys(), store.getAll()])));
    },
    async last(limit) {
      const { store } = db.transaction(STORE);
      if ("getAllRecords" in IDBObjectStore.prototype) {
        const records = await store.getAllRecords({ direction: "prev", count: limit });
        return rowsOf(records.map(({ key }) => key), records.map(({ value }) => value));
      }
      const found = [];
      for await (const { key, value } of store.iterate(null, "prev")) {
        found.push({ key: new Uint8Array(key), payload: value });
        if (found.length === limit) break;
      }
      return found;
    },
    count: (from, to) => db.count(STORE, IDBKeyRange.bound(from, to, false, true)),
    size: () => db.count(STORE),
    async close() {
      db.close();
    },
  };
}

export const destroy = (database) => deleteDB(database);
