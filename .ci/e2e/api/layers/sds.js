// The layer `sds` on the page: what it keeps, over closing and over the worker's death, and what it refuses.

import { bytes, equal, failure, isError, rejects, throws } from "../checks.js";

const DISPOSE = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

export const sdsTests = {
  "sds: what is saved is there for who opens the job again, and gone when the channel is dropped": async (t) => {
    const { root, job } = await t.job();
    const store = await t.JobPersistence.open(job);
    equal((await store.loadAllForChannel("general")).lamport, 0n);
    const lamport = 2n ** 63n - 1n;
    await store.saveLamport("general", lamport);
    await store.setRetrievalHint("general", "m1", bytes("hint"));
    await store.setRetrievalHint("general", "m2", new Uint8Array());
    await root.closeJob("alpha");
    await rejects(store.saveLamport("general", 1n), "Closed");

    const again = await t.JobPersistence.open(await root.openJob("alpha"));
    const loaded = await again.loadAllForChannel("general");
    equal([loaded.lamport, loaded.retrievalHints], [lamport, { m1: bytes("hint"), m2: new Uint8Array() }]);
    equal(loaded.retrievalHints.m1.buffer.byteLength, 4);
    await again.dropChannel("general");
    equal((await again.loadAllForChannel("general")).lamport, 0n);
  },
  "sds: a layer goes on after the worker's death with what was committed": async (t) => {
    const { root, job } = await t.job();
    const store = await t.JobPersistence.open(job);
    await store.saveLamport("general", 7n);
    const dying = failure(store.saveLamport("general", 8n));
    root.terminate();
    isError(await dying, "Backend", "Unknown");
    const { lamport } = await store.loadAllForChannel("general");
    equal([7n, 8n].includes(lamport), true);
    await store.saveLamport("general", 9n);
    equal((await store.loadAllForChannel("general")).lamport, 9n);
  },
  "layers: what is no job of this entry, no argument or no channel is refused": async (t) => {
    const { job } = await t.job();
    const { JobPersistence } = t;
    throws(() => new JobPersistence(job), "InvalidArgument");
    for (const other of [undefined, null, {}, "alpha"]) await rejects(JobPersistence.open(other), "InvalidArgument");
    const store = await JobPersistence.open(job);
    for (const lamport of [1, "1", 2n ** 63n, undefined]) {
      await rejects(store.saveLamport("general", lamport), "InvalidArgument", "NotApplied", String(lamport));
    }
    for (const channel of [undefined, 7, bytes("general"), () => {}, { a: 1n }, [["a"]], "\ud800"]) {
      await rejects(store.saveLamport(channel, 1n), "InvalidArgument", "NotApplied", String(channel));
    }
    await store.saveLamport("general", 1n);
  },
  "layers: a read can be aborted, a layer and its job's handle end it": async (t) => {
    const { root, job } = await t.job();
    const store = await t.JobPersistence.open(job);
    await rejects(store.loadAllForChannel("general", new AbortController().signal), "InvalidArgument");
    const stop = new AbortController();
    const reading = store.loadAllForChannel("general", { signal: stop.signal });
    stop.abort("enough");
    equal(await failure(reading), "enough");
    equal(await failure(store.loadAllForChannel("general", { signal: stop.signal })), "enough");

    await store.close();
    await store.close();
    await rejects(store.loadAllForChannel("general"), "Closed");
    const [other, second] = [await root.openJob("alpha"), await t.JobPersistence.open(job)];
    await (await t.JobPersistence.open(other))[DISPOSE]();
    await job.close();
    await rejects(second.saveLamport("general", 1n), "Closed");
    equal(other.isOpen(), true);
  },
};
