// Who is measured. Each is loaded only when it is asked for, so that a page pays for nobody else.
// Decides nothing about what is measured.

/** By the names of the modules under `peers/`; each has `name`, `chosen`, `open(database)` and `destroy(database)`. */
const PEERS = {
  "persistency": () => import("./peers/persistency.js"),
  "indexed-db": () => import("./peers/indexed-db.js"),
  "indexed-db-worker": () => import("./peers/indexed-db-worker.js"),
  "idb": () => import("./peers/idb.js"),
  "dexie": () => import("./peers/dexie.js"),
  "idb-keyval": () => import("./peers/idb-keyval.js"),
  "localforage": () => import("./peers/localforage.js"),
  "browser-level": () => import("./peers/browser-level.js"),
  "sqlite": () => import("./peers/sqlite.js"),
};

/** Us, and whom the targets name. */
export const OURS = "persistency";
export const RAW = "indexed-db";
export const SQLITE = "sqlite";

export const everybody = Object.keys(PEERS);

/** The peer of this id. */
export async function peerOf(id) {
  if (!Object.hasOwn(PEERS, id)) throw new Error(`there is no peer ${id}`);
  return { id, ...(await PEERS[id]()) };
}
