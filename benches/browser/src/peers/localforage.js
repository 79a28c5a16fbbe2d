// localForage: a map with string keys. It has no batches and no ranges.

import localforage from "localforage";

export const name = "localForage";
export const chosen =
  "its IndexedDB driver with string keys; a batch is as many `setItem` at once, which is what it has; `iterate` " +
  "for the scan; the browser's durability (relaxed)";

const STORE = "rows";
const utf8 = new TextEncoder();
const text = new TextDecoder();

const instance = (database) =>
  localforage.createInstance({ name: database, storeName: STORE, driver: localforage.INDEXEDDB });

export async function open(database) {
  const store = instance(database);
  await store.ready();
  const put = (key, payload) => store.setItem(text.decode(key), payload);
  return {
    putBatch: (rows) => Promise.all(rows.map(({ key, payload }) => put(key, payload))),
    put,
    get: (key) => store.getItem(text.decode(key)),
    async scan() {
      const found = [];
      await store.iterate((payload, key) => void found.push({ key: utf8.encode(key), payload }));
      return found;
    },
    size: () => store.length(),
    // It has no way to close; what it holds goes with the frame or with the database.
    close: async () => {},
  };
}

/** Asked of an instance of this database, since the default one would make its own. */
export const destroy = (database) => instance(database).dropInstance({ name: database });
