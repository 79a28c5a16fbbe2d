// Us: the package as its users get it. One job, relaxed as is the default.

import { Batch, Persistency } from "persistency";

export const name = "persistency";
export const chosen =
  "the default: one job in the Web Worker, relaxed; `persistAcked`, `putAcked`, `get`, `scan`, `count`";

const JOB = "bench";
const CATEGORY = "rows";

const openRoot = (database) => Persistency.open(database, { worker: "required" });

export async function open(database) {
  const root = await openRoot(database);
  const job = await root.openJob(JOB);
  return {
    putBatch(rows) {
      const batch = new Batch();
      for (const { key, payload } of rows) batch.put(CATEGORY, key, payload);
      return job.persistAcked(batch);
    },
    deleteBatch(keys) {
      const batch = new Batch();
      for (const key of keys) batch.delete(CATEGORY, key);
      return job.persistAcked(batch);
    },
    put: (key, payload) => job.putAcked(CATEGORY, key, payload),
    get: (key) => job.get(CATEGORY, key),
    scan: () => job.scan(CATEGORY),
    last: (limit) => job.scan(CATEGORY, { reverse: true, limit }),
    count: async (from, to) => Number(await job.count(CATEGORY, { gte: from, lt: to })),
    size: async () => Number(await job.count(CATEGORY)),
    close: () => root.close(),
  };
}

export async function destroy(database) {
  const root = await openRoot(database);
  await root.dropJob(JOB);
  await root.close();
}
