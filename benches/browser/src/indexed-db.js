// IndexedDB as it comes, written as well as we know: the yardstick. One record for each row.
// Runs on a page and in a worker, and knows nothing of either.

const STORE = "rows";

export const promised = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const completed = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onabort = () => reject(transaction.error);
});

/** Deletes the database; one that is not there is fine. */
export const destroyDatabase = (name) => promised(indexedDB.deleteDatabase(name));

export async function openDatabase(name) {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const db = await promised(opening);

  const reading = () => db.transaction(STORE, "readonly").objectStore(STORE);
  /** Issues all that `issue(store)` does, and resolves when the transaction is complete. */
  const write = (issue) => {
    const transaction = db.transaction(STORE, "readwrite", { durability: "relaxed" });
    issue(transaction.objectStore(STORE));
    transaction.commit();
    return completed(transaction);
  };
  const rowsOf = (keys, payloads) => keys.map((key, at) => ({ key: new Uint8Array(key), payload: payloads[at] }));

  return {
    putBatch: (rows) => write((store) => {
      for (const { key, payload } of rows) store.put(payload, key);
    }),
    deleteBatch: (keys) => write((store) => {
      for (const key of keys) store.delete(key);
    }),
    put: (key, payload) => write((store) => store.put(payload, key)),
    get: (key) => promised(reading().get(key)),
    async scan() {
      const store = reading();
      const [keys, payloads] = await Promise.all([promised(store.getAllKeys()), promised(store.getAll())]);
      return rowsOf(keys, payloads);
    },
    async last(limit) {
      const store = reading();
      if ("getAllRecords" in store) {
        const records = await promised(store.getAllRecords({ direction: "prev", count: limit }));
        return rowsOf(records.map(({ key }) => key), records.map(({ value }) => value));
      }
      const found = [];
      await new Promise((resolve, reject) => {
        const walking = store.openCursor(null, "prev");
        walking.onerror = () => reject(walking.error);
        walking.onsuccess = () => {
          const cursor = walking.result;
          if (cursor !== null) found.push({ key: new Uint8Array(cursor.key), payload: cursor.value });
          if (cursor === null || found.length === limit) resolve();
          else cursor.continue();
        };
      });
      return found;
    },
    count: (from, to) => promised(reading().count(IDBKeyRange.bound(from, to, false, true))),
    size: () => promised(reading().count()),
    async close() {
      db.close();
    },
  };
}
