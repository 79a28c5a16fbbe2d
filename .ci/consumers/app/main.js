// What every consumer builds and runs: stores rows, reads them back, and tells where that was done.
// The address's query holds the options of `Persistency.open`.

import { key, Persistency } from "persistency";

/** What the page itself did that a store in a worker leaves to the worker, and the workers it started. */
const seen = { databasesOpened: 0, workers: 0 };

globalThis.Worker = class extends globalThis.Worker {
  constructor(...args) {
    super(...args);
    seen.workers += 1;
  }
};
const { open } = IDBFactory.prototype;
IDBFactory.prototype.open = function (...args) {
  seen.databasesOpened += 1;
  return open.apply(this, args);
};

async function run() {
  const root = await Persistency.open("consumer", Object.fromEntries(new URLSearchParams(location.search)));
  const job = await root.openJob("alpha");
  for (const number of [1, 2, 3]) await job.persistPut("msg", key("c", number), Uint8Array.of(number));
  await job.flush();
  const rows = await job.scan("msg", { prefix: key("c"), reverse: true });
  const databases = await indexedDB.databases();
  return {
    rows: rows.map(({ payload }) => Array.from(payload)), stored: databases.map(({ name }) => name), ...seen,
  };
}

const tell = (result) => { document.querySelector("output").textContent = JSON.stringify(result); };

run().then(tell, ({ name, kind, message }) => tell({ name, kind, message }));
