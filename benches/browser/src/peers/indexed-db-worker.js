// The same in a worker, as a page does it that must not be disturbed.

import { destroyDatabase } from "../indexed-db.js";
import { Rpc, storeBehind } from "../rpc.js";

export const name = "raw IndexedDB in a worker";
export const chosen = "the same as raw IndexedDB, behind one message for each call and one for its answer";

const CALLS = ["putBatch", "deleteBatch", "put", "get", "scan", "last", "count", "size"];

export async function open(database) {
  const rpc = new Rpc(new Worker(new URL("./indexed-db.worker.js", import.meta.url), { type: "module" }));
  await rpc.call("open", database);
  return storeBehind(rpc, CALLS);
}

export const destroy = destroyDatabase;
