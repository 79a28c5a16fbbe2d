// What all layers share on the page, shown by one of them: arguments, signals, ends, bounds, and the worker they need.

import { bytes, equal, failure, rejects, throws } from "../checks.js";

const DISPOSE = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");
/** Objects of layers that a job may have. */
const OBJECTS_MAX = 1024;

export const remoteTests = {
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
  "layers: those that are open are bounded, and make room when they are closed": async (t) => {
    const { job } = await t.job();
    const opened = await Promise.all(Array.from({ length: OBJECTS_MAX }, () => t.JobPersistence.open(job)));
    const error = await rejects(t.JobPersistence.open(job), "Overloaded");
    equal(error.retryable, true);
    await opened[7].close();
    const another = await t.JobPersistence.open(job);
    await another.saveLamport("general", 7n);
    equal((await opened[0].loadAllForChannel("general")).lamport, 7n);
  },
  "layers: the worker of the first entry is another": async (t) => {
    if (t.options.worker === "none") return;
    const opening = t.open(t.freshName(), { workerUrl: "/pkg/worker.js" });
    equal(/protocol/.test((await rejects(opening, "Unsupported")).message), true);
  },
};
