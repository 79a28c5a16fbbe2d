// Reading: points, ranges, whole scans, pages, one view, and signals.

import { bytes, equal, failure, next, ok, rejects, string, take, thrown } from "./checks.js";

/** Keys 0 to `count - 1`, payloads that are the same numbers. */
async function numbered(t, job, count, size = 0) {
  const batch = new t.Batch();
  for (let number = 0; number < count; number += 1) {
    batch.put("n", t.key("p", number), size > 0 ? new Uint8Array(size).fill(number) : String(number));
  }
  await job.persistAcked(batch);
}

/** Counts the listeners that a signal has. */
function counted() {
  const controller = new AbortController();
  const { signal } = controller;
  const count = { now: 0, ever: 0 };
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  const held = new Set();
  signal.addEventListener = (type, listener, options) => {
    held.add(listener);
    count.ever += 1;
    count.now = held.size;
    // An option that removes it is how some listeners go.
    options?.signal?.addEventListener("abort", () => {
      held.delete(listener);
      count.now = held.size;
    });
    addEventListener.call(signal, type, listener, options);
  };
  signal.removeEventListener = (type, listener, options) => {
    held.delete(listener);
    count.now = held.size;
    removeEventListener.call(signal, type, listener, options);
  };
  return { controller, signal, count };
}

/** Every read with a signal, as a function of it. */
const signalled = (t, job, from) => ({
  get: (signal) => job.get("n", t.key("p", 1), { signal }),
  getMany: (signal) => job.getMany("n", [t.key("p", 1)], { signal }),
  exists: (signal) => job.exists("n", t.key("p", 1), { signal }),
  existsMany: (signal) => job.existsMany("n", [t.key("p", 1)], { signal }),
  count: (signal) => job.count("n", { signal }),
  "count in a range": (signal) => job.count("n", { prefix: t.key("p"), signal }),
  scan: (signal) => job.scan("n", { signal }),
  scanPrefix: (signal) => job.scanPrefix("n", t.key("p"), { signal }),
  categories: (signal) => job.categories({ signal }),
  position: (signal) => job.position({ signal }),
  info: (signal) => job.info({ signal }),
  rows: (signal) => job.rows("n", { signal }).next(),
  watch: (signal) => job.watch("never", { signal }).next(),
  watchFrom: (signal) => job.watchFrom(from, "never", { signal }).next(),
  logFrom: (signal) => job.logFrom(from, { signal }).next(),
});

/** Reads and watches that a job takes at a time. */
const [READS_MAX, WATCHES_MAX] = [4096, 1024];

/** Those among them that have no end by themselves. */
const ENDLESS = ["watch", "watchFrom"];

export const readTests = {
  "several rows are read in the order asked for, twice if asked twice, from any list": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    await numbered(t, job, 5);
    const keys = [key("p", 3), key("p", 9), key("p", 0), key("p", 3)];
    equal((await job.getMany("n", keys)).map(string), ["3", undefined, "0", "3"]);
    equal(await job.existsMany("n", new Set(keys)), [true, false, true, true]);
    equal(await job.existsMany("n", (function* each() { yield* keys; })()), [true, false, true, true]);
    equal([await job.getMany("n", []), await job.existsMany("n", [])], [[], []]);
    equal([await job.exists("n", key("p", 4)), await job.exists("n", key("p", 5)),
      await job.exists("m", key("p", 4))],
      [true, false, false]);
    equal(await job.get("n", key("q")), undefined);
    // Any bytes are a key, and a Key is bytes.
    equal(string(await job.get("n", new Uint8Array(key("p", 4)))), "4");
  },
  "several rows are one view": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    let going = true;
    const writing = (async () => {
      for (let number = 0; going; number += 1) {
        await job.persistAcked(new Batch().put("c", key("a"), String(number)).put("c", key("b"),
          String(number)));
      }
    })();
    for (let times = 0; times < 50; times += 1) {
      const [[a, b], rows, there] = await Promise.all([
        job.getMany("c", [key("a"), key("b")]), job.scan("c"), job.existsMany("c", [key("a"), key("b")]),
      ]);
      equal(string(a), string(b));
      equal(string(rows[0]?.payload), string(rows[1]?.payload));
      equal(there[0], there[1]);
    }
    going = false;
    await writing;
  },
  "every form of range holds what it says, in both directions": async (t) => {
    const { job } = await t.job();
    const { Key, key, KeyRange, prefixRange } = t;
    const all = ["", "00", "61", "6100", "6161", "61ff", "62", "ff", "ffff", "ffff00"];
    const of = (hex) => Key.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
    await Promise.all(all.map((hex) => job.persistPut("r", of(hex), hex)));
    await job.persistPut("s", of("61"), "another category");
    const ranges = [
      [undefined, all], [{}, all], [{ prefix: of("") }, all],
      [{ prefix: of("61") }, ["61", "6100", "6161", "61ff"]],
      [{ prefix: of("ff") }, ["ff", "ffff", "ffff00"]], [{ gt: of("61") }, all.slice(3)],
      [{ gte: of("61") }, all.slice(2)],
      [{ lt: of("61") }, ["", "00"]], [{ lte: of("61") }, ["", "00", "61"]],
      [{ gt: of("61"), lt: of("62") }, ["6100", "6161", "61ff"]],
      [{ gte: of("61"), lte: of("61") }, ["61"]], [{ gt: of("61"), lte: of("61") }, []],
      [{ gte: of("62"), lt: of("61") }, []],
      [{ lt: of("") }, []], [{ lte: of("") }, [""]], [{ lt: of("00") }, [""]],
      [prefixRange(of("61")), ["61", "6100", "6161", "61ff"]], [prefixRange(of("ffff")), ["ffff", "ffff00"]],
      [{ start: of("6100"), end: of("62") }, ["6100", "6161", "61ff"]], [{ start: of("62") }, all.slice(6)],
    ];
    ok(prefixRange(of("61")) instanceof KeyRange);
    for (const [range, expected] of ranges) {
      const words = JSON.stringify(range);
      const hexes = (rows) => rows.map(({ payload }) => string(payload));
      equal(hexes(await job.scan("r", range)), expected, words);
      equal(hexes(await job.scan("r", { ...range, reverse: true })), [...expected].reverse(), words);
      equal(hexes(await job.scan("r", { ...range, limit: 2 })), expected.slice(0, 2), words);
      equal(hexes(await take(job.rows("r", { ...range, reverse: true, limit: 2 }))),
        [...expected].reverse().slice(0, 2), words);
      equal(hexes(await take(job.rows("r", range))), expected, words);
      equal(await job.count("r", range), BigInt(expected.length), words);
      const keys = await job.scan("r", { ...range, keysOnly: true });
      equal(keys.map((row) => [row.key, row.payload.length]), expected.map((hex) => [of(hex), 0]), words);
    }
    const prefix = key("p");
    equal([(await job.scanPrefix("r", of("61"))).length, (await job.scanPrefix("r", prefix)).length,
      (await job.scanPrefix("r", of(""), { limit: 3, reverse: true, keysOnly: true })).length], [4, 0, 3]);
  },
  "a limit is any integer from 0, or none": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 5);
    for (const [limit, count] of [[0, 0], [1, 1], [5, 5], [6, 5], [2 ** 32, 5], [2 ** 40 + 1, 5],
      [Infinity, 5], [undefined, 5]]) {
      equal((await job.scan("n", { limit })).length, count, String(limit));
      equal((await take(job.rows("n", { limit }))).length, count, String(limit));
      equal((await take(job.rows("n", { limit, reverse: true }))).length, count, String(limit));
    }
  },
  "rows come by pages of at most 4096, in both directions": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 4200);
    const numbers = (rows) => rows.map(({ payload }) => Number(string(payload)));
    const upwards = numbers(await take(job.rows("n", { prefix: t.key("p") })));
    ok(upwards.length === 4200 && upwards.every((number, at) => number === at));
    const downwards = numbers(await take(job.rows("n", { reverse: true, limit: 4199 })));
    ok(downwards.length === 4199 && downwards.every((number, at) => number === 4199 - at));
    const before = (await job.stats()).reads;
    equal((await take(job.rows("n", { keysOnly: true }))).length, 4200);
    equal((await job.stats()).reads - before, 2);
  },
  "rows come by pages of at most 1 MiB, each a view of its own": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    await numbered(t, job, 10, 300 * 1024);
    const rows = job.rows("n");
    const first = await next(rows);
    equal([first[0].payload.length, first[0].payload[0]], [300 * 1024, 0]);
    // What lies ahead of the first page is seen, what lies behind the position is not.
    await Promise.all([job.persistDelete("n", key("p", 8)), job.persistPut("n", key("p", 11), "new"),
      job.persistPut("n", key("o"), "behind")]);
    const rest = await take(rows);
    equal(rest.map((row) => row.payload[0]), [1, 2, 3, 4, 5, 6, 7, 9, bytes("n")[0]]);
    await job.putAcked("n", key("p", 12), new Uint8Array(3 * 1024 * 1024));
    const large = await take(job.rows("n", { reverse: true }), 2);
    equal(large.map((row) => row.payload.length), [3 * 1024 * 1024, 3]);
  },
  "a whole scan and getMany beyond 64 MiB are TooLarge, and rows are not": async (t) => {
    const root = await t.open(":memory:");
    const job = await root.openJob("alpha");
    const { key, limits } = t;
    const payload = new Uint8Array(22 * 1024 * 1024);
    for (let number = 0; number < 3; number += 1) await job.putAcked("n", key(number), payload);
    const error = await rejects(job.scan("n"), "TooLarge");
    ok(/limit/.test(error.message), error.message);
    await rejects(job.getMany("n", [key(0), key(1), key(2)]), "TooLarge");
    equal((await job.scan("n", { limit: 2 })).length, 2);
    equal((await job.scan("n", { keysOnly: true })).length, 3);
    let sum = 0;
    for await (const row of job.rows("n")) sum += row.payload.length;
    equal([sum, sum > limits().scanBytes], [3 * payload.length, true]);
  },
  "an iterator of rows ends where it is left": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 50);
    const rows = job.rows("n");
    ok(rows[Symbol.asyncIterator]() === rows);
    for await (const row of rows) {
      if (string(row.payload) === "10") break;
    }
    equal(await rows.next(), { done: true, value: undefined });
    equal(await rows.return(), { done: true, value: undefined });
    // Steps asked for at once are answered in order; the end does not wait for them.
    const others = job.rows("n");
    const steps = [others.next(), others.next(), others.next()];
    equal((await Promise.all(steps)).map(({ value }) => string(value.payload)), ["0", "1", "2"]);
    const parked = job.rows("n");
    const [step, later] = [parked.next(), parked.next()];
    equal(await parked.return(), { done: true, value: undefined });
    equal([await step, await later, await parked.next()], Array(3).fill({ done: true, value: undefined }));
    const thrower = job.rows("n");
    const mistake = new Error("the application's");
    const found = await failure((async () => {
      for await (const row of thrower) throw row && mistake;
    })());
    ok(found === mistake);
    equal(await thrower.next(), { done: true, value: undefined });
  },
  "a read whose signal has been aborted rejects with that signal's reason and is not sent": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 5);
    const from = await job.position();
    for (const reason of [new Error("enough"), "a string", { any: "thing" }, thrown(() => t.key(null))]) {
      const signal = AbortSignal.abort(reason);
      for (const [name, read] of Object.entries(signalled(t, job, from))) {
        ok(await failure(read(signal), name) === reason, `${name}: another reason`);
      }
    }
    const plain = AbortSignal.abort();
    const error = await failure(job.get("n", t.key("p", 1), { signal: plain }));
    ok(error === plain.reason && error.name === "AbortError");
    const rows = job.rows("n", { signal: plain });
    ok(await failure(rows.next()) === plain.reason);
    equal(await rows.next(), { done: true, value: undefined });
  },
  "a read whose signal is aborted under way rejects with that signal's reason": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 5);
    const from = await job.position();
    // An error of this package's own is a reason as any other.
    for (const reason of [new Error("enough"), thrown(() => t.key(null))]) {
      for (const [name, read] of Object.entries(signalled(t, job, from))) {
        const controller = new AbortController();
        const reading = failure(read(controller.signal), name);
        controller.abort(reason);
        ok(await reading === reason, `${name}: another reason`);
      }
    }
    // Later, when a watch has long been waiting; and the others go on.
    const controller = new AbortController();
    const parked = failure(job.watch("never", { signal: controller.signal }).next());
    const other = job.watch("n").next();
    await job.putAcked("n", t.key("p", 9), "9");
    controller.abort("late");
    equal(await parked, "late");
    equal((await other).value.seq, 2n);
    equal(string(await job.get("n", t.key("p", 9))), "9");
  },
  "no signal keeps a listener of a read that is over, and aborting it then does nothing": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 5);
    const from = await job.position();
    const { controller, signal, count } = counted();
    for (const [name, read] of Object.entries(signalled(t, job, from))) {
      if (ENDLESS.includes(name)) continue;
      const before = count.ever;
      const result = await read(signal);
      ok(count.ever > before, `${name} does not listen`);
      if (["rows", "logFrom"].includes(name)) continue;
      equal([count.now, result === undefined], [0, false], name);
    }
    for (const make of [() => job.rows("n", { signal }), () => job.watch("n", { signal }),
      () => job.watchFrom(from, "n", { signal }), () => job.logFrom(from, { signal })]) {
      const before = count.now;
      const iterator = make();
      const step = iterator.next();
      await iterator.return();
      await step;
      equal(count.now, before);
    }
    const held = count.now;
    await take(job.rows("n", { signal }));
    await take(job.logFrom(from, { signal }));
    equal(count.now, held);
    const watermark = job.watchCommittedSeq();
    await watermark.atLeast(1n, { signal });
    equal(count.now, held);
    controller.abort();
    equal(string(await job.get("n", t.key("p", 1))), "1");
  },

  "calls that are given up in the tick of their beginning leave no room taken": async (t) => {
    const { job } = await t.job();
    await numbered(t, job, 2);
    // In rounds, since a job takes only so many at a time.
    const from = await job.position();
    for (let watches = 0; watches <= WATCHES_MAX; watches += 64) {
      const steps = Array.from({ length: 64 }, () => {
        const watch = job.watchFrom(from, "n");
        const step = watch.next();
        return [watch.return(), step];
      });
      await Promise.all(steps.flat());
    }
    for (let reads = 0; reads <= READS_MAX; reads += 512) {
      const steps = Array.from({ length: 512 }, () => {
        const controller = new AbortController();
        const step = job.get("n", t.key("p", 1), { signal: controller.signal });
        controller.abort();
        return failure(step);
      });
      for (const { name } of await Promise.all(steps)) equal(name, "AbortError");
    }
    equal(string(await job.get("n", t.key("p", 1))), "1");
    const watch = job.watch("n");
    const step = watch.next();
    await job.putAcked("n", t.key("p", 2), "2");
    equal((await step).value.type, "commit");
    await watch.return();
  },
};
