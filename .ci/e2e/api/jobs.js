// Roots and jobs: opening, options, handles, closing, dropping, the page's one instance, what a job tells.

import { equal, failure, isError, ok, pause, rejects, show, string, throws } from "./checks.js";

const DEFAULTS = {
  durability: "relaxed", queueOperations: 100_000, queueBytes: 16 * 1024 * 1024, deadlineMs: 30_000,
  log: undefined, mode: "create",
};

export const jobTests = {
  "a root tells its name and where it runs": async (t) => {
    const name = `${t.freshName()} \u00e9/..%`;
    const root = await t.open(name);
    const mode = t.options.worker === "none" ? "page" : "worker";
    equal([root.root, root.mode], [name, mode]);
    const job = await root.openJob("alpha");
    equal([(await job.info()).mode, job.id, job.isOpen(), job.options()], [mode, "alpha", true, DEFAULTS]);
    ok(job instanceof t.Job && root instanceof t.Persistency);
    equal(/^\d+\.\d+\.\d+/.test(t.version), true);
  },
  "a root is nothing before its first job, and jobs are listed in order": async (t) => {
    const root = await t.open();
    equal(await root.listJobs(), []);
    for (const id of ["b", "\u00e9 /..", "a", "x".repeat(64)]) await root.openJob(id);
    await root.closeJob("a");
    equal(await root.listJobs(), ["a", "b", "x".repeat(64), "\u00e9 /.."]);
  },
  "jobs are opened once, whoever asks, and joined without options": async (t) => {
    const root = await t.open();
    const options = { durability: "strict", queueOperations: 7, queueBytes: 8, deadlineMs: null,
      log: { lastBytes: 9 }, mode: "create" };
    const jobs = await Promise.all([root.openJob("alpha", options), root.openJob("alpha"),
      root.openJob("alpha", { ...options, log: { lastBytes: 9n } })]);
    for (const job of jobs) equal(job.options(), { ...options, log: { lastBytes: 9n } });
    await jobs[0].putAcked("c", t.key(1), "v");
    equal([string(await jobs[2].get("c", t.key(1))), jobs[1].committedSeq()], ["v", 1n]);
    for (const [name, value] of Object.entries({ durability: "relaxed", queueOperations: 8, queueBytes: 7,
      deadlineMs: 1, log: "off", mode: "mustExist" })) {
      const error = await rejects(root.openJob("alpha", { ...options, [name]: value }), "InvalidArgument",
        "NotApplied", name);
      ok(error.message.includes("other options"), error.message);
    }
    await rejects(root.openJob("alpha", {}), "InvalidArgument");
    const opening = root.openJob("beta");
    await rejects(root.openJob("beta", { durability: "strict" }), "InvalidArgument");
    await opening;
    equal((await root.openJob("beta", {})).options(), DEFAULTS);
  },
  "a job that must exist or is only read is not created": async (t) => {
    const { root, job } = await t.job();
    const { Batch, key } = t;
    await rejects(root.openJob("absent", { mode: "mustExist" }), "JobNotFound");
    await rejects(root.openJob("absent", { mode: "readOnly" }), "JobNotFound");
    equal([await root.listJobs(), root.hasJob("absent")], [["alpha"], false]);
    await job.putAcked("c", key(1), "v");
    await root.closeJob("alpha");
    const there = await root.openJob("alpha", { mode: "mustExist" });
    equal([string(await there.get("c", key(1))), (await there.info()).openMode], ["v", "mustExist"]);
    await root.closeJob("alpha");
    const reader = await root.openJob("alpha", { mode: "readOnly" });
    equal([string(await reader.get("c", key(1))), (await reader.info()).openMode], ["v", "readOnly"]);
    const writes = {
      persist: () => reader.persist(new Batch()), persistPut: () => reader.persistPut("c", key(1), "w"),
      persistDelete: () => reader.persistDelete("c", key(1)),
      persistDeletePrefix: () => reader.persistDeletePrefix("c", key(1)),
      persistAcked: () => reader.persistAcked(new Batch()), putAcked: () => reader.putAcked("c", key(1), "w"),
      deleteAcked: () => reader.deleteAcked("c", key(1)), compact: () => reader.compact(),
      holdLog: () => reader.holdLog("h"),
      advanceLog: () => reader.advanceLog("h", 1n), releaseLog: () => reader.releaseLog("h"),
    };
    for (const [name, write] of Object.entries(writes)) await rejects(write(), "Unsupported", "NotApplied",
      name);
    throws(() => reader.tryPersist(new Batch()), "Unsupported");
    // It reads beside somebody who writes.
    const writer = await (await t.open(root.root)).openJob("alpha");
    await writer.putAcked("c", key(1), "w");
    equal(string(await reader.get("c", key(1))), "w");
    await reader.flush();
    await reader.close();
  },
  "the last handle that is given back closes the job": async (t) => {
    const { root, job } = await t.job();
    const [second, third] = [await root.openJob("alpha"), root.job("alpha")];
    const receipt = await job.persistPut("c", t.key(1), "v");
    await job.close();
    await job.close();
    equal([job.isOpen(), second.isOpen(), third.isOpen(), root.hasJob("alpha")], [false, true, true, true]);
    await rejects(job.get("c", t.key(1)), "Closed");
    equal(string(await second.get("c", t.key(1))), "v");
    await second.close();
    equal([third.isOpen(), string(await third.get("c", t.key(1)))], [true, "v"]);
    await third.close();
    equal([third.isOpen(), root.hasJob("alpha"), await receipt.durable()], [false, false, 1n]);
    throws(() => root.job("alpha"), "JobNotFound");
    const again = await root.openJob("alpha");
    equal(string(await again.get("c", t.key(1))), "v");
    await rejects(third.get("c", t.key(1)), "Closed");
    await third.close();
    equal(again.isOpen(), true);
  },
  "every call on a job that is closed answers Closed, and on one that is dropped JobNotFound": async (t) => {
    const { Batch, key } = t;
    for (const [end, kind] of [["close", "Closed"], ["closeJob", "Closed"], ["dropJob", "JobNotFound"],
      ["root", "Closed"]]) {
      const { root, job } = await t.job();
      const position = await job.position();
      if (end === "close") await job.close();
      else if (end === "root") await root.close();
      else await root[end]("alpha");
      const calls = {
        persist: () => job.persist(new Batch()), persistPut: () => job.persistPut("c", key(1), "w"),
        persistDelete: () => job.persistDelete("c", key(1)),
        persistDeletePrefix: () => job.persistDeletePrefix("c", key(1)),
        persistAcked: () => job.persistAcked(new Batch()), putAcked: () => job.putAcked("c", key(1), "w"),
        deleteAcked: () => job.deleteAcked("c", key(1)), flush: () => job.flush(),
        get: () => job.get("c", key(1)), getMany: () => job.getMany("c", []),
        exists: () => job.exists("c", key(1)),
        existsMany: () => job.existsMany("c", []), count: () => job.count("c"), scan: () => job.scan("c"),
        scanPrefix: () => job.scanPrefix("c", key(1)), rows: () => job.rows("c").next(),
        categories: () => job.categories(),
        position: () => job.position(), holdLog: () => job.holdLog("h"),
        advanceLog: () => job.advanceLog("h", 1n),
        releaseLog: () => job.releaseLog("h"), info: () => job.info(), stats: () => job.stats(),
        check: () => job.check(),
        compact: () => job.compact(), watch: async () => job.watch("c").next(),
        watchFrom: async () => job.watchFrom(position, "c").next(),
        logFrom: async () => job.logFrom(position).next(),
        tryPersist: async () => job.tryPersist(new Batch()),
      };
      for (const [name, call] of Object.entries(calls)) await rejects(call(), kind, "NotApplied",
        `${end}, ${name}`);
      equal([job.isOpen(), job.id, job.committedSeq()], [false, "alpha", 0n]);
      await job.close();
    }
  },
  "closing keeps what was accepted, and opening waits for it": async (t) => {
    const { root, job } = await t.job();
    for (let number = 0; number < 100; number += 1) void job.persistPut("c", t.key(number), "v");
    const closing = root.closeJob("alpha");
    equal(root.hasJob("alpha"), false);
    const [again] = await Promise.all([root.openJob("alpha"), closing, root.closeJob("alpha"),
      root.closeJob("never opened")]);
    equal([await again.count("c"), (await again.info()).durableSeq], [100n, 100n]);
    for (let number = 100; number < 200; number += 1) void again.persistPut("c", t.key(number), "v");
    await root.close();
    await root.close();
    const later = await (await t.open(root.root)).openJob("alpha");
    equal(await later.count("c"), 200n);
  },
  "closing tells the errors that nobody was told, and closes all the same": async (t) => {
    const root = await t.open();
    const { Batch, key } = t;
    const conflicting = new Batch().requirePresent("c", key("absent"));
    const fail = async (id, times) => {
      const job = await root.openJob(id);
      for (let time = 0; time < times; time += 1) void job.persist(conflicting);
      void job.persistPut("c", key(1), "v");
      return job;
    };
    const first = await fail("alpha", 2);
    const error = await rejects(root.closeJob("alpha"), "Conflict");
    ok(error.message.endsWith("; 1 other write failed"), error.message);
    equal([first.isOpen(), root.hasJob("alpha")], [false, false]);
    const second = await fail("alpha", 1);
    await rejects(second.close(), "Conflict");
    const third = await fail("alpha", 1);
    await rejects(root.dropJob("alpha"), "Conflict").catch(() => undefined);
    equal(third.isOpen(), false);
    await fail("beta", 1);
    await fail("gamma", 1);
    const closing = await rejects(root.close(), "Conflict");
    ok(closing.message.endsWith("; other jobs that failed: 1"), closing.message);
    await root.close();
    const again = await t.open(root.root);
    equal(await (await again.openJob("beta")).count("c"), 1n);
  },
  "a dropped job is gone, and another one of its id has another life": async (t) => {
    const { root, job } = await t.job();
    const { key } = t;
    const before = await job.info();
    const receipt = await job.persistPut("c", key(1), "v");
    const dropping = root.dropJob("alpha");
    equal([root.hasJob("alpha"), job.isOpen()], [false, false]);
    const again = await root.openJob("alpha");
    await dropping;
    equal(await receipt.committed().catch(({ kind }) => kind), 1n);
    const after = await again.info();
    equal([await again.count("c"), after.generation !== before.generation, after.committedSeq],
      [0n, true, 0n]);
    await rejects(job.get("c", key(1)), "JobNotFound");
    await Promise.all([root.dropJob("alpha"), root.dropJob("never there")]);
    equal(await root.listJobs(), []);
    // Not open here.
    await (await root.openJob("beta")).close();
    await root.dropJob("beta");
    equal(await root.listJobs(), []);
  },
  "a job that another root drops is JobNotFound here": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    await (await t.open(root.root)).dropJob("alpha");
    await rejects(job.putAcked("c", t.key(1), "v"), "JobNotFound");
    await rejects(job.get("c", t.key(1)), "JobNotFound");
    equal([job.isOpen(), root.hasJob("alpha")], [false, false]);
    const again = await root.openJob("alpha");
    equal(await again.count("c"), 0n);
  },
  "whenever another root drops a job, each call here is answered or JobNotFound": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    const other = await t.open(root.root);
    let going = true;
    const dropping = other.dropJob("alpha").finally(() => { going = false; });
    const calls = [];
    while (going || job.isOpen()) {
      const made = [job.get("c", t.key(1)), job.putAcked("c", t.key(1), "v"), job.position(), job.flush()];
      calls.push(...made.map((call) => call.then(() => undefined, (error) => error)));
      await pause();
    }
    await dropping;
    const errors = (await Promise.all(calls)).filter(Boolean);
    for (const error of errors) equal(error.kind, "JobNotFound", error.message);
    ok(errors.length > 0);
    await rejects(root.closeJob("alpha"), "JobNotFound").catch(() => undefined);
  },
  "jobs are isolated, and roots too": async (t) => {
    const root = await t.open();
    const jobs = await Promise.all(["alpha", "beta"].map((id) => root.openJob(id)));
    const other = await (await t.open()).openJob("alpha");
    await Promise.all([...jobs, other].map((job, at) => job.putAcked("c", t.key(1), String(at))));
    equal(await Promise.all([...jobs, other].map(async (job) => [string(await job.get("c", t.key(1))),
      job.committedSeq()])),
      [["0", 1n], ["1", 1n], ["2", 1n]]);
    equal((await Promise.all([...jobs, other].map((job) => job.info()))).map(({ shared }) => shared),
      [true, true, true]);
  },
  "the root in memory keeps its jobs until they are closed": async (t) => {
    const root = await t.open(":memory:");
    const job = await root.openJob("alpha");
    const receipt = await job.persistPut("c", t.key(1), "v");
    equal([await receipt.committed(), job.durableSeq(), await root.listJobs(), (await job.info()).shared],
      [1n, 1n, ["alpha"], false]);
    const apart = await t.open(":memory:");
    equal([await apart.listJobs(), await job.check(), string(await job.get("c", t.key(1)))], [[], [], "v"]);
    await job.close();
    equal(await root.listJobs(), []);
    equal(await (await root.openJob("alpha")).count("c"), 0n);
    const databases = await globalThis.indexedDB.databases();
    equal(databases.filter(({ name }) => name.includes("memory")), []);
  },
  "every method of a job that reads or writes takes the job's id on the root": async (t) => {
    const { root, job } = await t.job();
    const { Batch, Job, key, Persistency } = t;
    const own = ["constructor", "id", "options", "isOpen", "close"];
    const names = Object.getOwnPropertyNames(Job.prototype).filter((name) => !own.includes(name));
    equal(names.filter((name) => typeof Persistency.prototype[name] !== "function"), []);
    ok(names.length > 25, show(names));
    await (await root.persistPut("alpha", "c", key(1), "one")).committed();
    equal([await root.putAcked("alpha", "c", key(2), "two"),
      await root.persistAcked("alpha", new Batch().put("c", key(3), "three"))], [2n, 3n]);
    equal(string(await root.get("alpha", "c", key(1))), "one");
    equal((await root.getMany("alpha", "c", [key(2), key(9)])).map(string), ["two", undefined]);
    equal([await root.count("alpha", "c", { gt: key(1) }), await root.exists("alpha", "c", key(3))],
      [2n, true]);
    equal((await root.scan("alpha", "c", { reverse: true, limit: 1 })).map((row) => string(row.payload)),
      ["three"]);
    for await (const row of root.rows("alpha", "c", { prefix: key(2) })) equal(string(row.payload), "two");
    const watch = root.watch("alpha", "c");
    const item = watch.next();
    equal([await root.deleteAcked("alpha", "c", key(1)), (await item).value.seq], [true, 4n]);
    await watch.return();
    equal([root.committedSeq("alpha"), root.tryPersist("alpha", new Batch()) instanceof t.Receipt,
      (await root.info("alpha")).id], [4n, true, "alpha"]);
    await root.flush("alpha");
    equal([root.durableSeq("alpha"), await root.categories("alpha")], [4n, ["c"]]);
    await rejects(root.get("beta", "c", key(1)), "JobNotFound");
    for (const name of ["committedSeq", "watch", "rows"]) throws(() => root[name]("beta", "c"),
      "JobNotFound");
    // They hold no handle.
    await job.close();
    await rejects(root.count("alpha", "c"), "JobNotFound");
  },
  "the page has one instance": async (t) => {
    const { Persistency } = t;
    const [name, other] = [t.freshName(), t.freshName()];
    await Persistency.reset();
    await rejects(Persistency.current(), "Closed");
    await rejects(Persistency.instance(""), "InvalidArgument");
    await rejects(Persistency.current(), "Closed");
    const [root, again] = await Promise.all([Persistency.instance(name, t.options),
      Persistency.instance(name)]);
    ok(root === again && root === await Persistency.current() && root.root === name);
    await rejects(Persistency.instance(other), "InvalidArgument");
    const job = await root.openJob("alpha");
    await job.persistPut("c", t.key(1), "v");
    await Persistency.reset();
    await Persistency.reset();
    await rejects(Persistency.current(), "Closed");
    await rejects(job.get("c", t.key(1)), "Closed");
    const next = await Persistency.instance(other, t.options);
    equal(next.root, other);
    await Persistency.reset();
    const last = await Persistency.instance(name, t.options);
    equal(string(await (await last.openJob("alpha")).get("c", t.key(1))), "v");
    await Persistency.reset();
    await rejects(Persistency.instance(name, { worker: "required", workerUrl: "/nowhere.js" }),
      "Unsupported");
    await rejects(Persistency.current(), "Closed");
  },
  "a job tells what it is and what it has done": async (t) => {
    const { root, job } = await t.job();
    const { key } = t;
    const started = Date.now();
    await job.putAcked("c", key(1), "v");
    await Promise.all([job.get("c", key(1)), job.get("c", key(2))]);
    await failure(job.persistAcked(new t.Batch().requireAbsent("c", key(1))));
    await job.flush();
    const { generation, createdMs, bytes, ...info } = await job.info();
    equal(info, {
      id: "alpha", committedSeq: 1n, durableSeq: 1n, shared: true, mode: root.mode, openMode: "create",
      log: "off", logFirstSeq: 2n, logHolders: [],
    });
    ok(/^[0-9a-f]{32}$/.test(generation) && Math.abs(createdMs - started) < 60_000);
    ok(bytes === undefined || bytes > 0, show(bytes));
    const { groups, reads, ...stats } = await job.stats();
    equal(stats, { queuedOperations: 0, queuedBytes: 0, batchesCommitted: 1, batchesFailed: 1, syncs: 1 });
    ok(reads >= 2 && groups >= 1);
    equal(await job.check(), []);
    equal(await job.compact(), undefined);
    void job.persistPut("c", key(3), new Uint8Array(100));
    const { queuedOperations, queuedBytes } = await (job.persistPut("c", key(3), "v"), job.stats());
    ok(queuedOperations <= 2 && queuedBytes <= 200);
    const again = (await root.job("alpha").info()).generation;
    equal(again, generation);
  },
  "roots, jobs and iterators are closed by what disposes of them": async (t) => {
    const dispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");
    const { root, job } = await t.job();
    await job.putAcked("c", t.key(1), "v");
    for (const iterator of [job.rows("c"), job.watch("c"), job.watchFrom(await job.position(), "c"),
      job.logFrom(await job.position()), job.watchCommittedSeq()]) {
      equal(await iterator[dispose](), undefined);
      equal(await iterator.next(), { done: true, value: undefined });
    }
    await job[dispose]();
    equal([job.isOpen(), root.hasJob("alpha")], [false, false]);
    await root[dispose]();
    await rejects(root.listJobs(), "Closed");
    if (!("asyncDispose" in Symbol)) return;
    const { within } = await import("./using.js");
    const next = await t.open();
    const used = await within(() => next.openJob("alpha"), async (each) => {
      await each.putAcked("c", t.key(1), "v");
      equal(await within(() => each.rows("c"), async (rows) => string((await rows.next()).value.payload)),
        "v");
      return each;
    });
    equal([used.isOpen(), next.hasJob("alpha")], [false, false]);
    await within(() => next, () => undefined);
    await rejects(next.openJob("alpha"), "Closed");
  },
  "what the browser tells of its room never fails": async (t) => {
    const { usage, quota, persisted, ...rest } = await t.estimate();
    equal(rest, {});
    for (const number of [usage, quota]) ok(number === undefined || Number.isFinite(number));
    ok(persisted === undefined || typeof persisted === "boolean");
    const { navigator } = globalThis;
    const storage = Object.getOwnPropertyDescriptor(Navigator.prototype, "storage");
    const broken = [
      undefined, {}, { estimate: () => Promise.reject(new Error("no")),
        persisted: () => { throw new Error("no"); }, persist: () => Promise.reject(new Error("no")) },
      { estimate: async () => ({}), persisted: async () => true, persist: async () => undefined },
    ];
    try {
      for (const value of broken) {
        Object.defineProperty(navigator, "storage", { value, configurable: true });
        equal([await t.estimate(), await t.requestPersistence()],
          [value === broken[3] ? { persisted: true } : {}, false]);
      }
    } finally {
      delete navigator.storage;
    }
    ok(storage && navigator.storage);
  },
  "limits are refused on the page": (t) => {
    isError(thrownBy(() => new t.Batch().put("x".repeat(256), t.key(), "")), "TooLarge");
  },
};

function thrownBy(work) {
  try {
    return work();
  } catch (error) {
    return error;
  }
}
