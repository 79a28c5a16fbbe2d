// SQLite over the origin's private file system, in its worker.

import { Rpc, storeBehind } from "../rpc.js";

export const name = "SQLite in OPFS";
export const chosen =
  "`opfs-sahpool` in a worker behind one message for each call; prepared statements, a table `WITHOUT ROWID`, " +
  "WAL with exclusive locking and `synchronous=NORMAL`, which syncs no commit; one tab at a time";

/** Its files belong to one connection at a time. */
export const oneTab = true;

const CALLS = ["putBatch", "deleteBatch", "put", "get", "scan", "last", "count", "size"];

async function start(database) {
  const rpc = new Rpc(new Worker(new URL("./sqlite.worker.js", import.meta.url), { type: "module" }));
  await rpc.call("open", database);
  return rpc;
}

export const open = async (database) => storeBehind(await start(database), CALLS);

export async function destroy(database) {
  const rpc = await start(database);
  await rpc.call("destroy");
  rpc.end();
}
