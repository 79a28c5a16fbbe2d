// The death of the worker, brought about by `terminate`: what is under way, what comes after, jobs that were
// dropped meanwhile, and watches that go on.

import { equal, failure, isError, next, ok, pause, rejects, string, take, throws } from "./checks.js";

const LOGGED = { log: { lastBytes: 1_000_000 } };

export const deathTests = {
  "calls under way reject as Unknown, and the next call starts a new worker": async (t) => {
    const { root, job } = await t.job();
    const { Batch, key } = t;
    await job.putAcked("c", key(1), "kept");
    const receipt = await job.persistPut("c", key(2), "perhaps");
    const calls = {
      get: job.get("c", key(1)), scan: job.scan("c"), count: job.count("c"),
      put: job.putAcked("c", key(3), "v"), flush: job.flush(),
      committed: receipt.committed(), list: root.listJobs(), open: root.openJob("beta"), info: job.info(),
    };
    const dying = Object.entries(calls).map(([name, call]) => [name, failure(call, name)]);
    root.terminate();
    for (const [name, error] of dying) isError(await error, "Backend", "Unknown", name);
    equal([root.hasJob("alpha"), job.isOpen()], [true, true]);
    equal([string(await job.get("c", key(1))), await job.count("c") >= 1n], ["kept", true]);
    const seq = await job.persistAcked(new Batch().put("c", key(2), "again").put("c", key(3), "again"));
    equal([job.committedSeq(), (await job.scan("c")).map(({ payload }) => string(payload))],
      [seq, ["kept", "again", "again"]]);
    await (await root.openJob("beta")).putAcked("c", key(1), "v");
    root.terminate();
    root.terminate();
    equal([await root.listJobs(), await job.count("c")], [["alpha", "beta"], 3n]);
    await job.flush();
    equal(job.durableSeq(), seq);
  },
  "an ignored write that died is told by the next flush, and only by it": async (t) => {
    const { root, job } = await t.job();
    void job.persistPut("c", t.key(1), "v");
    void job.persistPut("c", t.key(2), "v");
    root.terminate();
    const error = await rejects(job.flush(), "Backend", "Unknown");
    ok(error.message.endsWith("; 1 other write failed"), error.message);
    await job.flush();
    await root.close();
  },
  "calls that wait for a worker that dies before it is there were not applied, and can be repeated": async (t) => {
    const { root, job } = await t.job({ queueOperations: 2 });
    const { key } = t;
    await job.putAcked("c", key(0), "kept");
    await job.flush();
    root.terminate();
    const calls = {
      put: () => job.putAcked("c", key(1), "v"), persist: () => job.persistPut("c", key(2), "v"),
      get: () => job.get("c", key(0)), flush: () => job.flush(), list: () => root.listJobs(),
      open: () => root.openJob("beta"), info: () => job.info(),
    };
    const dying = Object.entries(calls).map(([name, call]) => [name, failure(call(), name)]);
    // The next one is being started since the first of them.
    root.terminate();
    const later = job.count("c");
    for (const [name, told] of dying) {
      const error = await told;
      isError(error, "Backend", "NotApplied", name);
      equal([error.retryable, error.message.endsWith("it was terminated by the page")], [true, true], name);
    }
    equal([await later, root.hasJob("beta"), job.committedSeq()], [1n, false, 1n]);
    for (const call of Object.values(calls)) await call();
    equal([await job.count("c"), root.hasJob("beta")], [3n, true]);
  },
  "a watch goes on where worker after worker dies before it is there": async (t) => {
    const { root, job } = await t.job(LOGGED);
    const watch = job.watch("c");
    const first = watch.next();
    await job.putAcked("c", t.key(1), "v");
    await first;
    const parked = next(watch);
    for (let death = 0; death < 4; death += 1) {
      root.terminate();
      // A moment after which it asks again.
      await pause(1);
    }
    await job.putAcked("c", t.key(2), "v");
    equal((await parked).map(({ type, seq }) => [type, seq]), [["commit", 2n]]);
    await watch.return();
  },
  "what waits for a worker when the root is closed is Closed": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    await job.flush();
    root.terminate();
    const waiting = [root.listJobs(), job.get("c", t.key(1)), job.putAcked("c", t.key(2), "v")];
    const told = waiting.map((call) => call.then(() => undefined, (error) => error));
    await root.close();
    // In the page the next one may be there before the closing is.
    for (const error of await Promise.all(told)) {
      if (error || t.options.worker === "required") isError(error, "Closed", "NotApplied");
    }
  },
  "order is that of the calls, also where they wait for the new worker": async (t) => {
    const { root, job } = await t.job({ queueOperations: 2 });
    const { key } = t;
    await job.putAcked("c", key(), "0");
    root.terminate();
    const payload = new Uint8Array(1).fill(0x31);
    const order = [];
    const puts = Array.from({ length: 8 }, (_, at) => {
      payload.fill(0x31 + at);
      return job.persistPut("c", key(), payload).then((receipt) => order.push(at) && receipt);
    });
    payload.fill(0);
    const read = job.get("c", key()).then(string);
    const receipts = await Promise.all(puts);
    equal(order, [0, 1, 2, 3, 4, 5, 6, 7]);
    equal(await Promise.all(receipts.map((receipt) => receipt.committed())),
      [2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n]);
    ok(/^[0-8]$/.test(await read), await read);
    equal(string(await job.get("c", key())), "8");
  },
  "writes that wait for room are written by the next worker": async (t) => {
    const { root, job } = await t.job({ queueOperations: 2 });
    const puts = Array.from({ length: 10 }, (_, at) => job.persistPut("c", t.key(at), "v"));
    root.terminate();
    const receipts = await Promise.all(puts);
    const settled = await Promise.allSettled(receipts.map((receipt) => receipt.committed()));
    const lost = settled.filter(({ status }) => status === "rejected");
    for (const { reason } of lost) isError(reason, "Backend", "Unknown");
    ok(lost.length <= 2, `${lost.length} lost`);
    const found = await job.existsMany("c", receipts.map((_, at) => t.key(at)));
    equal(found.filter((there, at) => !there && settled[at].status === "fulfilled"), []);
  },
  "a caller that waits for room when the worker dies is not overtaken by a later one": async (t) => {
    const { root, job } = await t.job({ queueOperations: 2 });
    const full = failure(job.persist(new t.Batch().put("c", t.key(1), "v").put("c", t.key(2), "v"))
      .then((receipt) => receipt.committed()));
    const waiting = job.persistPut("c", t.key(), "first");
    await pause(0);
    root.terminate();
    const later = job.persistPut("c", t.key(), "second");
    const seqs = await Promise.all([waiting, later].map(async (receipt) => (await receipt).committed()));
    ok(seqs[0] < seqs[1], `${seqs}`);
    equal(string(await job.get("c", t.key())), "second");
    isError(await full, "Backend", "Unknown");
  },
  "closing makes durable what the worker before had committed": async (t) => {
    for (const close of ["job", "root"]) {
      const name = t.freshName();
      const root = await t.open(name);
      const job = await root.openJob("alpha");
      const seq = await job.putAcked("c", t.key(1), "v");
      root.terminate();
      await (close === "job" ? job : root).close();
      const again = await t.open(name);
      const reopened = await again.openJob("alpha");
      equal([reopened.committedSeq(), reopened.durableSeq()], [seq, seq], close);
    }
  },
  "a job that is closed while it is opened again can be opened with other options": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    await job.flush();
    root.terminate();
    const read = failure(job.get("c", t.key(1)).then(() => { throw new Error("answered"); }));
    await pause(1);
    await root.closeJob("alpha");
    await read;
    const again = await root.openJob("alpha", { durability: "strict" });
    equal(string(await again.get("c", t.key(1))), "v");
  },
  "tryPersist without a worker is Overloaded, and brings one about": async (t) => {
    const { root, job } = await t.job();
    root.terminate();
    const batch = new t.Batch().put("c", t.key(1), "v");
    throws(() => job.tryPersist(batch), "Overloaded");
    for (let receipt; receipt === undefined; await pause(10)) {
      try {
        receipt = job.tryPersist(batch);
      } catch (error) {
        isError(error, "Overloaded");
      }
    }
    await job.flush();
    equal(string(await job.get("c", t.key(1))), "v");
  },
  "a job that was dropped meanwhile is JobNotFound, and the others go on": async (t) => {
    const root = await t.open();
    const { key } = t;
    const jobs = await Promise.all(["dropped", "again", "kept"].map((id) => root.openJob(id)));
    await Promise.all(jobs.map((job) => job.putAcked("c", key(1), "v")));
    root.terminate();
    const other = await t.open(root.root);
    await other.dropJob("dropped");
    await other.dropJob("again");
    const anew = await other.openJob("again");
    await anew.putAcked("c", key(2), "another life");
    const calls = [() => jobs[0].get("c", key(1)), () => jobs[0].persistPut("c", key(1), "v"),
      () => jobs[1].putAcked("c", key(1), "v"), () => jobs[1].flush(),
      () => jobs[1].rows("c").next(), async () => jobs[0].watch("c").next(), () => jobs[0].info()];
    const failed = calls.map((call) => failure(call()));
    equal(string(await jobs[2].get("c", key(1))), "v");
    for (const [at, error] of failed.entries()) isError(await error, "JobNotFound", "NotApplied",
      `call ${at}`);
    for (const call of calls) await rejects(call(), "JobNotFound");
    equal([root.hasJob("dropped"), root.hasJob("again"), root.hasJob("kept"), jobs[1].isOpen()],
      [false, false, true, false]);
    const reopened = await root.openJob("again");
    equal([await reopened.count("c"), string(await reopened.get("c", key(2)))], [1n, "another life"]);
    await root.closeJob("dropped");
  },
  "jobs in memory go with their worker": async (t) => {
    const root = await t.open(":memory:");
    const job = await root.openJob("alpha");
    await job.putAcked("c", t.key(1), "v");
    const watch = job.watch("c");
    await job.position();
    const parked = failure(watch.next());
    root.terminate();
    const error = await parked;
    ok(["Backend", "Closed"].includes(error.kind), error.kind);
    await rejects(job.get("c", t.key(1)), "Closed");
    await rejects(job.putAcked("c", t.key(1), "v"), "Closed");
    equal([job.isOpen(), root.hasJob("alpha"), await root.listJobs()], [false, false, []]);
    const again = await root.openJob("alpha");
    equal(await again.count("c"), 0n);
  },
  "a read-only job is opened again as it was, and a closed one is not": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    await (await root.openJob("beta")).close();
    await job.close();
    const reader = await root.openJob("alpha", { mode: "readOnly", queueOperations: 5 });
    root.terminate();
    equal([string(await reader.get("c", t.key(1))), (await reader.info()).openMode,
      reader.options().queueOperations], ["v", "readOnly", 5]);
    equal([root.hasJob("beta"), await root.listJobs()], [false, ["alpha", "beta"]]);
  },
  "closing and dropping work without a worker": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    root.terminate();
    await root.closeJob("alpha");
    await rejects(job.get("c", t.key(1)), "Closed");
    const again = await root.openJob("alpha");
    equal(await again.count("c"), 1n);
    root.terminate();
    await root.dropJob("alpha");
    await rejects(again.get("c", t.key(1)), "JobNotFound");
    equal(await root.listJobs(), []);
    await root.openJob("alpha");
    root.terminate();
    await root.close();
    await rejects(root.listJobs(), "Closed");
    root.terminate();
    await rejects(root.openJob("alpha"), "Closed");
  },
  "a watch with a log goes on from its position, without a gap": async (t) => {
    const { root, job } = await t.job(LOGGED);
    const { key } = t;
    const watch = job.watch("c");
    const first = watch.next();
    await job.putAcked("c", key(1), "v");
    equal((await first).value.seq, 1n);
    const parked = next(watch, 3);
    await job.position();
    root.terminate();
    for (let number = 2; number <= 4; number += 1) await job.putAcked("c", key(number), "v");
    equal((await parked).map(({ type, seq }) => [type, seq]),
      [["commit", 2n], ["commit", 3n], ["commit", 4n]]);
    // Nobody waits when the worker dies.
    root.terminate();
    await job.putAcked("c", key(5), "v");
    equal([(await next(watch))[0].seq, watch.position().seq], [5n, 5n]);
    const log = job.logFrom({ ...watch.position(), seq: 0n });
    equal((await next(log))[0].seq, 1n);
    root.terminate();
    equal((await take(log)).map(({ seq }) => seq), [2n, 3n, 4n, 5n]);
    await watch.return();
  },
  "a watch without a log tells the gap and goes on": async (t) => {
    const { root, job } = await t.job();
    const { key } = t;
    const watch = job.watch("c");
    const first = watch.next();
    await job.putAcked("c", key(1), "v");
    await first;
    root.terminate();
    await job.putAcked("c", key(2), "v");
    await job.putAcked("c", key(3), "v");
    const [gap] = await next(watch);
    equal([gap.type, gap.from, gap.to >= 2n], ["lagged", 2n, true]);
    const rest = next(watch, Number(4n - gap.to));
    await job.putAcked("c", key(4), "v");
    equal((await rest).at(-1).seq, 4n);
    await watch.return();
  },
  "a watch of a job that was dropped meanwhile is JobNotFound": async (t) => {
    const { root, job } = await t.job(LOGGED);
    const watch = job.watch("c");
    const first = watch.next();
    await job.putAcked("c", t.key(1), "v");
    await first;
    root.terminate();
    await (await t.open(root.root)).dropJob("alpha");
    await rejects(watch.next(), "JobNotFound");
    equal(await watch.next(), { done: true, value: undefined });
  },
  "an iterator of rows goes on with the next page": async (t) => {
    const { root, job } = await t.job();
    const batch = new t.Batch();
    for (let number = 0; number < 4100; number += 1) batch.put("c", t.key(number), "v");
    await job.persistAcked(batch);
    const rows = job.rows("c");
    equal((await next(rows, 4096)).length, 4096);
    root.terminate();
    equal((await take(rows)).length, 4);
  },
  "watermarks are kept, and go on": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    const waiting = job.watchCommittedSeq().atLeast(2n);
    root.terminate();
    equal([job.committedSeq(), job.durableSeq()], [1n, 0n]);
    await job.putAcked("c", t.key(2), "v");
    equal(await waiting, 2n);
    const receipt = await job.persistPut("c", t.key(3), "v");
    await receipt.committed();
    root.terminate();
    equal([await receipt.committed(), await receipt.durable(), job.durableSeq()], [3n, 3n, 3n]);
  },
};
