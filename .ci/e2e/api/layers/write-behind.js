// The layer `write_behind` on the page: marks, flushes, strong writes, and a worker that dies in between.

import { bytes, equal, failure, ok, pause, rejects, string, throws } from "../checks.js";

/** A program whose memory is the truth: hosts and their pages, and what is configured. */
async function program(t, options) {
  const { root, job } = await t.job();
  const [hosts, pages] = [new Map(), new Map()];
  const reads = { hosts: 0, broken: false };
  const engine = await t.WriteBehind.open(job, [
    { category: "config" },
    {
      category: "host",
      read(key) {
        reads.hosts += 1;
        if (reads.broken) throw new Error("broken");
        return hosts.get(string(key));
      },
    },
    { category: "page", read: (key) => pages.get(string(key)) },
  ], options);
  const [config, host, page] = [engine.strong("config"), engine.weak("host"), engine.weak("page")];
  const set = (name, value) => {
    hosts.set(name, value);
    host.mark(bytes(name));
  };
  return { root, job, engine, hosts, pages, reads, config, host, page, set };
}

const stored = async (job, category) =>
  Object.fromEntries((await job.scan(category)).map(({ key, payload }) => [string(key), string(payload)]));

/** Waits until nothing is dirty. */
async function clean(engine) {
  for (let waits = 0; engine.dirty > 0; waits += 1) {
    ok(waits < 1000, "it is never flushed");
    await pause(10);
  }
}

export const writeBehindTests = {
  "write_behind: what is marked is flushed as memory has it then, parents and children in one commit": async (t) => {
    const { job, engine, hosts, pages, page, set, reads } = await program(t);
    for (let round = 0; round < 1000; round += 1) set("a", `${round}`);
    pages.set("a/1", "one");
    page.mark(bytes("a/1"));
    page.mark(bytes("a/2"));
    equal(engine.dirty, 3);
    equal((await engine.status()).dirty, 3);
    hosts.set("a", "last");
    const seq = (await job.position()).seq;
    const flushed = await engine.flush();
    equal([flushed.upserts, flushed.deletes, flushed.seq, reads.hosts], [2, 1, seq + 1n, 1]);
    await clean(engine);
    equal([await stored(job, "host"), await stored(job, "page")], [{ a: "last" }, { "a/1": "one" }]);
    equal(await engine.flush(), { upserts: 0, deletes: 0, seq: undefined });
  },
  "write_behind: a key that is marked for deletion goes, whatever memory says": async (t) => {
    const { job, engine, host, set } = await program(t);
    set("a", "1");
    set("b", "2");
    await engine.flush();
    host.markDelete(bytes("a"));
    equal((await engine.flush()).deletes, 1);
    equal(await stored(job, "host"), { b: "2" });
  },
  "write_behind: marks made while a flush runs are left for the next, and none is lost": async (t) => {
    const { job, engine, set } = await program(t);
    for (let round = 0; round < 5; round += 1) {
      for (let n = 0; n < 20; n += 1) set(`${n}`, `${round}`);
      const flush = engine.flush();
      await pause();
      set("0", `${round} again`);
      set(`new ${round}`, "x");
      await flush;
    }
    await engine.stop();
    await clean(engine);
    const rows = await stored(job, "host");
    equal([rows["0"], rows["19"], Object.keys(rows).length], ["4 again", "4", 25]);
  },
  "write_behind: a reader that throws fails the flush and every mark stays": async (t) => {
    const { job, engine, set, reads } = await program(t);
    set("a", "1");
    reads.broken = true;
    const error = await failure(engine.flush());
    equal([error.kind, error.message.includes("broken")], ["InvalidArgument", true]);
    const status = await engine.status();
    equal([engine.dirty, status.dirty, status.failures, typeof status.error], [1, 1, 1, "string"]);
    reads.broken = false;
    equal((await engine.stop()).upserts, 1);
    equal(await stored(job, "host"), { a: "1" });
  },
  "write_behind: the flusher flushes by count, and its policy can be changed": async (t) => {
    const { job, engine, set } = await program(t, { tickMs: 5, policy: { marks: 3, intervalMs: 1e9 } });
    equal([await engine.start(), await engine.start()], [true, false]);
    set("a", "1");
    set("b", "2");
    await pause(100);
    equal(await stored(job, "host"), {});
    set("c", "3");
    await clean(engine);
    equal(Object.keys(await stored(job, "host")), ["a", "b", "c"]);
    set("a", "4");
    await engine.setPolicy({ intervalMs: 0 });
    await clean(engine);
    equal((await stored(job, "host")).a, "4");
    equal([(await engine.stop()).seq, (await engine.status()).running], [undefined, false]);
  },
  "write_behind: a page that is hidden flushes": async (t) => {
    if (typeof document !== "object") return;
    const { job, engine, set } = await program(t);
    set("a", "1");
    const shown = Object.getOwnPropertyDescriptor(document, "visibilityState");
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    try {
      document.dispatchEvent(new Event("visibilitychange"));
    } finally {
      if (shown) Object.defineProperty(document, "visibilityState", shown);
      else delete document.visibilityState;
    }
    await clean(engine);
    equal(await stored(job, "host"), { a: "1" });
  },
  "write_behind: strong writes say what they did, and are durable": async (t) => {
    const { job, engine, config } = await program(t);
    const key = bytes("k");
    equal([await config.put(key, "1"), await config.put(key, "2")], ["created", "updated"]);
    equal([await config.ensure(key, "3"), string(await config.get(key))], [false, "2"]);
    await rejects(config.insert(key, "4"), "Conflict");
    equal(await config.update(key, (old) => `${string(old)}+`), "updated");
    equal(await config.update(key, () => undefined), "unchanged");
    equal(string(await config.get(key)), "2+");
    equal(job.durableSeq(), job.committedSeq());
    equal([await config.remove(key), await config.remove(key), await config.get(key)], [true, false, undefined]);
    equal(await config.update(key, (old) => `${old}`), "created");
    const batch = new t.Batch().requireAbsent("name", bytes("n")).put("name", bytes("n"), "1");
    ok(await engine.write(batch) > 0n);
    const again = new t.Batch().requireAbsent("name", bytes("n")).put("name", bytes("n"), "2");
    await rejects(engine.write(again), "Conflict");
  },
  "write_behind: updates of one row by many are all counted": async (t) => {
    const { config } = await program(t);
    const one = () => config.update(bytes("n"), (old) => `${Number(string(old) ?? 0) + 1}`);
    await Promise.all([one(), one(), one(), one(), one()]);
    equal(string(await config.get(bytes("n"))), "5");
  },
  "write_behind: a strong write is newer than the mark on its key": async (t) => {
    const { job, engine, host, set } = await program(t);
    set("a", "weak");
    await host.put(bytes("a"), "strong");
    equal([engine.dirty, (await engine.flush()).seq], [0, undefined]);
    equal(await stored(job, "host"), { a: "strong" });
    set("a", "weak again");
    await engine.flush();
    equal(await stored(job, "host"), { a: "weak again" });
    await clean(engine);
    for (const name of ["a", "b", "c"]) host.markDelete(bytes(name));
    await engine.write(new t.Batch().put("host", bytes("a"), "strong").deletePrefix("host", bytes("b")));
    equal(await host.ensure(bytes("a"), "x"), false);
    equal(engine.dirty, 1);
    host.mark(bytes("a"));
    equal([await host.ensure(bytes("a"), "x"), engine.dirty], [false, 2]);
  },
  "write_behind: a worker that dies takes no mark along": async (t) => {
    const { root, job, engine, set } = await program(t, { tickMs: 5, policy: { marks: 1000, intervalMs: 1e9 } });
    await engine.start();
    set("a", "1");
    equal((await engine.status()).dirty, 1);
    root.terminate();
    set("b", "2");
    await engine.setPolicy({ marks: 1 });
    await clean(engine);
    equal(await stored(job, "host"), { a: "1", b: "2" });
    equal((await engine.status()).running, true);
    set("c", "3");
    const flush = engine.flush().catch(() => {});
    root.terminate();
    await flush;
    await engine.stop();
    await clean(engine);
    equal(Object.keys(await stored(job, "host")), ["a", "b", "c"]);
  },
  "write_behind: too many marks are refused before anything is marked": async (t) => {
    const { engine, host } = await program(t, { marks: 2 });
    host.mark(bytes("a"));
    host.mark(bytes("b"));
    throws(() => host.mark(bytes("c")), "Overloaded");
    host.markDelete(bytes("b"));
    equal(engine.dirty, 2);
    await engine.flush();
    await clean(engine);
    host.mark(bytes("c"));
    const { job } = await t.job();
    const sets = [{ category: "few", read: () => "x", marks: 1 }, { category: "small", read: () => "x", bytes: 600 }];
    const bounded = await t.WriteBehind.open(job, sets);
    for (const category of ["few", "small"]) {
      bounded.weak(category).mark(bytes("a"));
      throws(() => bounded.weak(category).mark(bytes("b")), "Overloaded");
    }
    equal((await bounded.flush()).upserts, 2);
    await clean(bounded);
    bounded.weak("few").mark(bytes("b"));
  },
  "write_behind: migrations are taken once, in order, each with its stamp, and a newer version is refused": async (t) => {
    const { job } = await t.job();
    const taken = [];
    const migration = (version) => ({
      version,
      async step(of) {
        taken.push([version, string(await of.get("config", bytes("v")))]);
        return new t.Batch().put("config", bytes("v"), `${version}`);
      },
    });
    const open = (versions, options) =>
      t.WriteBehind.open(job, [{ category: "config" }], { migrations: versions.map(migration), ...options });
    const first = await open([1, 2]);
    equal([first.bootstrap.versionBefore, first.bootstrap.version, taken], [0, 2, [[1, undefined], [2, "1"]]]);
    await first.close();
    const second = await open([1, 2, 5]);
    equal([second.bootstrap.versionBefore, second.bootstrap.version, taken.length, taken[2]], [2, 5, 3, [5, "2"]]);
    await second.close();
    await rejects(open([1, 2]), "VersionTooNew");
    equal((await failure(open([6, 6]))).kind, "InvalidArgument");
    await job.deleteAcked("write_behind", bytes("version"));
    equal((await open([1, 2, 5], { legacy: () => 2 })).bootstrap.versionBefore, 2);
    equal(taken.length, 4);
  },
  "write_behind: orphans are removed when an engine is opened, and counted by relation": async (t) => {
    const { job } = await t.job();
    const batch = new t.Batch();
    for (const host of ["a", "b", "unlinked"]) batch.put("host", bytes(host), "x");
    for (const page of ["a/1", "b/1", "gone/1"]) batch.put("page", bytes(page), "x");
    batch.put("page", bytes("b/2"), "evicted");
    await job.persistAcked(batch);
    const hostOf = (key, payload) => (string(payload) === "evicted" ? undefined : bytes(string(key).split("/")[0]));
    const relations = [
      { child: "page", parent: "host", parentOf: hostOf },
      { kind: "keptBy", child: "page", parent: "host", parentOf: hostOf },
    ];
    const engine = await t.WriteBehind.open(job, [{ category: "host" }, { category: "page" }], { relations });
    const { repair } = engine.bootstrap;
    equal([repair.removed, repair.batches], [2, 1]);
    equal(repair.relations.map(({ kind, examined, removed }) => [kind, examined, removed]),
      [["requires", 4, 1], ["keptBy", 3, 1]]);
    equal(Object.keys(await stored(job, "host")), ["a", "b"]);
    equal(Object.keys(await stored(job, "page")), ["a/1", "b/1", "b/2"]);
    await job.deleteAcked("host", bytes("a"));
    equal([(await engine.repairDryRun()).removed, (await engine.repair()).removed], [1, 1]);
    equal(Object.keys(await stored(job, "page")), ["b/1", "b/2"]);
  },
  "write_behind: parents may be in another job, also on a new worker, and while that is closed nothing is removed": async (t) => {
    const { root, job } = await t.job();
    const state = await root.openJob("state");
    await state.putAcked("platform", bytes("p"), "");
    // The same category here is another one.
    await job.persistAcked(new t.Batch().put("lease", bytes("p"), "").put("lease", bytes("gone"), "").put("platform", bytes("gone"), ""));
    const relations = [{ child: "lease", parent: "platform", parentJob: state, parentOf: (key) => key }];
    const open = (options) => t.WriteBehind.open(job, [{ category: "lease" }], options);
    const engine = await open({ relations });
    const { relations: [relation] } = engine.bootstrap.repair;
    equal([relation.child, relation.parent, relation.examined, relation.removed], ["lease", "platform", 2, 1]);
    equal(Object.keys(await stored(job, "lease")), ["p"]);
    equal([await state.count("platform"), await job.count("platform")], [1n, 1n]);
    root.terminate();
    await engine.repair().catch(() => {});
    equal((await engine.repair()).removed, 0);
    await state.deleteAcked("platform", bytes("p"));
    equal((await engine.repairDryRun()).removed, 1);
    await root.closeJob("state");
    await rejects(engine.repair(), "JobNotFound");
    equal(Object.keys(await stored(job, "lease")), ["p"]);
    await root.openJob("state");
    equal((await engine.repair()).removed, 1);
    await engine.close();
    const other = await t.job();
    for (const wrong of [{ parentJob: other.job }, { parentJob: {} }, { kind: "keptBy", parentJob: job }]) {
      await rejects(open({ relations: [{ child: "lease", parent: "platform", parentOf: () => undefined, ...wrong }] }), "InvalidArgument");
    }
  },
  "write_behind: a row whose parent is only dirty is no orphan, also for a worker that takes over": async (t) => {
    const { root, job } = await t.job();
    const hosts = new Map();
    const sets = [{ category: "host", read: (key) => hosts.get(string(key)) }, { category: "page" }];
    const parentOf = (key) => bytes(string(key).split("/")[0]);
    const engine = await t.WriteBehind.open(job, sets, { relations: [{ child: "page", parent: "host", parentOf }] });
    hosts.set("a", "1");
    engine.weak("host").mark(bytes("a"));
    await engine.strong("page").put(bytes("a/1"), "one");
    equal([(await engine.repairDryRun()).removed, (await engine.repair()).removed], [1, 0]);
    hosts.set("b", "1");
    engine.weak("host").mark(bytes("b"));
    await engine.strong("page").put(bytes("b/1"), "one");
    root.terminate();
    await engine.status().catch(() => {});
    equal((await engine.status()).dirty, 1);
    await engine.stop();
    equal([Object.keys(await stored(job, "host")), Object.keys(await stored(job, "page"))], [["a", "b"], ["a/1", "b/1"]]);
  },
  "write_behind: a call that is given up while a new worker opens the engine leaves it open": async (t) => {
    const { root, engine, set } = await program(t, { migrations: [{ version: 1, step: () => new t.Batch() }] });
    for (let round = 0; round < 5; round += 1) {
      root.terminate();
      const given = new AbortController();
      const status = engine.status({ signal: given.signal });
      await pause(round * 3);
      given.abort(new Error("given up"));
      await status.catch(() => {});
      set("a", `${round}`);
      await engine.flush();
      equal((await engine.status()).dirty, 0);
    }
  },
  "write_behind: a key that is marked under a strong write keeps its mark": async (t) => {
    const { job, engine, config, hosts, host, set } = await program(t);
    for (let round = 0; round < 10; round += 1) {
      hosts.set("a", `strong ${round}`);
      const before = config.put(bytes("c"), "x");
      const strong = host.put(bytes("a"), `strong ${round}`);
      const flush = engine.flush();
      set("a", `newer ${round}`);
      await Promise.all([before, strong, flush, engine.flush()]);
      await engine.flush();
      equal([await stored(job, "host"), engine.dirty], [{ a: `newer ${round}` }, 0]);
    }
  },
  "write_behind: what cannot be is refused": async (t) => {
    const { job } = await t.job();
    const { WriteBehind } = t;
    const read = () => undefined;
    await rejects(WriteBehind.open(job, [{ category: "a", read }, { category: "a", read }]), "InvalidArgument");
    await rejects(WriteBehind.open(job, [{ category: "write_behind", read }]), "InvalidArgument");
    await rejects(WriteBehind.open(job, [{ category: "a", read: 1 }]), "InvalidArgument");
    await rejects(WriteBehind.open(job, "a"), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { marks: 0 }), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { durability: "none" }), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { tickMs: 0 }), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { relations: [{ child: "a", parent: "a", parentOf: read }] }), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { migrations: [{ version: 1 }] }), "InvalidArgument");
    await rejects(WriteBehind.open(job, [], { migrations: [{ version: 1, step: () => 7 }] }), "InvalidArgument");
    const engine = await WriteBehind.open(job, [{ category: "a", read }, { category: "b" }]);
    throws(() => engine.weak("b"), "InvalidArgument");
    throws(() => engine.strong("c"), "InvalidArgument");
    throws(() => engine.weak("a").mark("text"), "InvalidArgument");
    await engine.close();
    throws(() => engine.weak("a").mark(bytes("k")), "Closed");
    await rejects(engine.flush(), "Closed");
  },
};
