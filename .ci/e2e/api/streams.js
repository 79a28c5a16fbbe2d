// What is read bit by bit: watches, the commit log, its holders, positions and watermarks.

import { bytes, equal, failure, isError, next, ok, pause, rejects, string, take } from "./checks.js";

/** A log that keeps everything that these tests write. */
const LOGGED = { log: { lastBytes: 1_000_000 } };

/** An item in a form that can be written down. */
function told(item) {
  if (item.type === "lagged") return ["lagged", item.from, item.to];
  return [item.seq, ...item.operations.map(({ type, category, key, payload, range }) =>
    [type, category, ...(range ? [range.start, range.end] : [key]), ...(payload ? [string(payload)] : [])])];
}

export const streamTests = {
  "a watch tells each commit that touches its range, cut to it": async (t) => {
    const { job } = await t.job();
    const { Batch, Key, key, KeyRange } = t;
    await job.putAcked("c", key("before"), "before");
    const of = (...digits) => Key.from(digits);
    const watch = job.watch("c", { gte: of(0x10), lt: of(0x20) });
    equal(watch.position(), undefined);
    const items = next(watch, 4);
    await job.putAcked("c", of(0x11), "in");
    await job.putAcked("c", of(0x20), "out");
    await job.putAcked("d", of(0x11), "another category");
    await job.persistAcked(new Batch().put("c", of(0x0f), "out").put("c", of(0x12), "in").delete("c",
      of(0x13)).delete("d", of(0x14)));
    await job.persistAcked(new Batch().deleteRange("c", { lt: of(0x18) }).clear("c").deletePrefix("c",
      of(0x19)));
    await job.persistAcked(new Batch().deleteRange("c", { gte: of(0x30) }).deleteRange("c",
      { gte: of(0x15), lt: of(0x14) }));
    await job.putAcked("c", of(0x1f), "last");
    const found = await items;
    equal(found.map(told), [
      [2n, ["put", "c", of(0x11), "in"]],
      [5n, ["put", "c", of(0x12), "in"], ["delete", "c", of(0x13)]],
      [6n, ["deleteRange", "c", of(0x10), of(0x18)], ["deleteRange", "c", of(0x10), of(0x20)],
        ["deleteRange", "c", of(0x19), of(0x1a)]],
      [8n, ["put", "c", of(0x1f), "last"]],
    ]);
    const [first] = found;
    equal([first.type, first.writer.length, Math.abs(first.timeMs - Date.now()) < 60_000],
      ["commit", 16, true]);
    ok(first.operations[0].key instanceof Key && found[2].operations[0].range instanceof KeyRange);
    equal([watch.position().seq, watch.position().generation.length], [8n, 16]);
    await watch.return();
    equal(await watch.next(), { done: true, value: undefined });
  },
  "a watch begins at the latest with what is written when a later read has been answered": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    void job.persistPut("c", key(1), "before");
    const watch = job.watch("c");
    await job.exists("c", key(1));
    void job.persistPut("c", key(2), "after");
    void job.persistPut("c", key(3), "after that");
    const [item] = await next(watch);
    ok(item.seq <= 2n, "a commit was skipped");
    const rest = await next(watch, Number(3n - item.seq));
    equal([item, ...rest].at(-1).seq, 3n);
    await watch.return();
  },
  "the position of a watch lies behind what it has yielded, not behind what it has read": async (t) => {
    const { job } = await t.job(LOGGED);
    const start = await job.position();
    for (let number = 1; number <= 5; number += 1) void job.persistPut("c", t.key(number), "v");
    await job.flush();
    const watch = job.watchFrom(start, "c");
    equal(watch.position(), start);
    const seqs = [];
    for await (const { seq } of watch) {
      seqs.push(seq);
      equal([watch.position().seq, watch.position().generation], [seq, start.generation]);
      if (seq === 3n) break;
    }
    equal(seqs, [1n, 2n, 3n]);
    equal((await next(job.watchFrom(watch.position(), "c"), 2)).map(({ seq }) => seq), [4n, 5n]);
  },
  "the log is read from any position to its end, whole": async (t) => {
    const { job } = await t.job(LOGGED);
    const { Batch, key } = t;
    const start = await job.position();
    const [first, last] = [key("a"), key("b")];
    await job.persistAcked(new Batch().put("c", first, "1").put("d", last, "2"));
    await job.persistAcked(new Batch().deleteRange("c", {}).deletePrefix("d", last));
    const log = job.logFrom(start);
    equal(log.position(), start);
    const items = await take(log);
    equal(items.map(told), [
      [1n, ["put", "c", first, "1"], ["put", "d", last, "2"]],
      [2n, ["deleteRange", "c", key(), undefined], ["deleteRange", "d", last, t.prefixRange(last).end]],
    ]);
    equal([log.position().seq, (await next(job.logFrom(log.position()))).length], [2n, 0]);
    equal(items[0].writer, items[1].writer);
    ok(items[0].timeMs <= items[1].timeMs);
    await job.putAcked("c", first, "3");
    equal((await take(job.logFrom(log.position()))).map(({ seq }) => seq), [3n]);
    // More than one page of it.
    for (let number = 0; number < 30; number += 1) void job.persistPut("big", key(number),
      new Uint8Array(60 * 1024));
    const behind = await job.position();
    const reader = await job.putAcked("c", first, "4").then(() => job.logFrom(behind));
    equal((await take(reader)).map(({ seq }) => seq), [34n]);
  },
  "without a log what was missed is a gap, and the watch goes on behind it": async (t) => {
    const { job } = await t.job();
    const start = await job.position();
    for (let number = 1; number <= 3; number += 1) await job.putAcked("c", t.key(number), "v");
    const watch = job.watchFrom(start, "c");
    equal(told((await next(watch))[0]), ["lagged", 1n, 3n]);
    equal(watch.position().seq, 3n);
    await job.putAcked("c", t.key(4), "v");
    equal((await next(watch))[0].seq, 4n);
    equal((await take(job.logFrom(start))).map(told), [["lagged", 1n, 4n]]);
    await watch.return();
  },
  "a position is of one life and not of the future": async (t) => {
    const { root, job } = await t.job(LOGGED);
    await job.putAcked("c", t.key(1), "v");
    const position = await job.position();
    equal([position.seq, position.generation.length], [1n, 16]);
    equal(Array.from(position.generation, (byte) => byte.toString(16).padStart(2, "0")).join(""),
      (await job.info()).generation);
    const ahead = { ...position, seq: 2n };
    await rejects(job.logFrom(ahead).next(), "InvalidArgument");
    await rejects(job.watchFrom(ahead, "c").next(), "InvalidArgument");
    await root.dropJob("alpha");
    const again = await root.openJob("alpha", LOGGED);
    await rejects(again.logFrom(position).next(), "JobNotFound");
    const watch = again.watchFrom({ ...position, seq: 0n }, "c");
    await rejects(watch.next(), "JobNotFound");
    equal(await watch.next(), { done: true, value: undefined });
  },
  "holders keep the log as long as they want it": async (t) => {
    const { root, job } = await t.job();
    equal((await job.info()).log, "off");
    await job.putAcked("c", t.key(1), "v");
    equal(await job.holdLog("backup"), 1n);
    for (let number = 2; number <= 4; number += 1) await job.putAcked("c", t.key(number), "v");
    equal(await job.holdLog("backup"), 1n);
    equal(await job.holdLog("other"), 4n);
    const { logHolders, logFirstSeq } = await job.info();
    equal([logHolders, logFirstSeq], [[{ name: "backup", seq: 1n }, { name: "other", seq: 4n }], 2n]);
    const from = { ...await job.position(), seq: 1n };
    equal((await take(job.logFrom(from))).map(({ seq }) => seq), [2n, 3n, 4n]);
    equal([await job.advanceLog("backup", 3n), await job.advanceLog("backup", 2n),
      await job.advanceLog("backup", 99n)], [3n, 3n, 4n]);
    await rejects(job.advanceLog("nobody", 1n), "InvalidArgument");
    await Promise.all([job.releaseLog("backup"), job.releaseLog("nobody")]);
    equal((await job.info()).logHolders, [{ name: "other", seq: 4n }]);
    await root.closeJob("alpha");
    equal((await (await root.openJob("alpha")).info()).logHolders, [{ name: "other", seq: 4n }]);
  },
  "what a job's log keeps is stored with it": async (t) => {
    const { root, job } = await t.job(LOGGED);
    await job.putAcked("c", t.key(1), "v");
    equal((await job.info()).log, { lastBytes: 1_000_000n });
    await root.closeJob("alpha");
    const again = await root.openJob("alpha");
    const { log, logFirstSeq } = await again.info();
    equal([log, logFirstSeq, again.options().log], [{ lastBytes: 1_000_000n }, 1n, undefined]);
    await root.closeJob("alpha");
    const off = await root.openJob("alpha", { log: "off" });
    equal([(await off.info()).log, (await take(off.logFrom({ ...await off.position(), seq: 0n }))).map(told)],
      ["off", [["lagged", 1n, 1n]]]);
  },
  "a watch that waits ends with its job: Closed or JobNotFound once, then it is done": async (t) => {
    const { root, job } = await t.job(LOGGED);
    const other = await root.openJob("beta", LOGGED);
    const from = await other.position();
    const closing = job.watch("c");
    const idle = job.watchFrom(await job.position(), "c");
    const dropping = [other.watch("c"), other.watchFrom(from, "c")];
    const [step, ...steps] = [closing, ...dropping].map((watch) => failure(watch.next()));
    const log = other.logFrom(from);
    // The open ones have been answered.
    await Promise.all([job.position(), other.position()]);
    await root.closeJob("alpha");
    isError(await step, "Closed");
    await rejects(idle.next(), "Closed");
    await root.dropJob("beta");
    for (const each of steps) isError(await each, "JobNotFound");
    await rejects(log.next(), "JobNotFound");
    for (const watch of [closing, idle, ...dropping, log]) equal(await watch.next(),
      { done: true, value: undefined });
    const last = await root.openJob("gamma");
    const ended = failure(last.watch("c").next());
    await last.position();
    await root.close();
    isError(await ended, "Closed");
  },
  "a watch that is left while it waits ends at once, and so does one whose signal is aborted": async (t) => {
    const { job } = await t.job();
    const watch = job.watch("c");
    const step = watch.next();
    await job.position();
    equal(await watch.return(), { done: true, value: undefined });
    equal(await step, { done: true, value: undefined });
    // The worker has let go of them too: more come about than it takes at one time.
    for (let times = 0; times < 3; times += 1) {
      const watches = Array.from({ length: 600 }, () => job.watch("c"));
      for (const each of watches.slice(500)) void each.next();
      await job.position();
      await Promise.all(watches.map((each) => each.return()));
    }
    const controller = new AbortController();
    const last = job.watch("c", { signal: controller.signal });
    const item = last.next();
    await job.putAcked("c", t.key(1), "v");
    equal((await item).value.seq, 1n);
    const parked = failure(last.next());
    controller.abort("enough");
    equal([await parked, await last.next()], ["enough", { done: true, value: undefined }]);
  },
  "a watch sees what another root of the same name writes": async (t) => {
    const { root, job } = await t.job(LOGGED);
    const other = await (await t.open(root.root)).openJob("alpha");
    equal((await job.info()).shared, true);
    const watch = job.watch("c");
    await job.position();
    const item = next(watch, 2);
    await other.putAcked("c", t.key("theirs"), "v");
    equal(string(await job.get("c", t.key("theirs"))), "v");
    await job.putAcked("c", t.key("ours"), "v");
    const [theirs, ours] = await item;
    equal([theirs, ours].map(told), [[1n, ["put", "c", t.key("theirs"), "v"]], [2n, ["put", "c",
      t.key("ours"), "v"]]]);
    ok(String(theirs.writer) !== String(ours.writer));
    await watch.return();
  },
  "watermarks are known without asking, and can be waited for": async (t) => {
    const { root, job } = await t.job();
    const [committed, durable] = [job.watchCommittedSeq(), job.watchDurableSeq()];
    equal([committed.seq(), durable.seq(), job.committedSeq(), job.durableSeq()], [0n, 0n, 0n, 0n]);
    equal([await committed.atLeast(0n), await next(committed)], [0n, [0n]]);
    const waiting = committed.atLeast(2n);
    const step = next(committed);
    await job.putAcked("c", t.key(1), "v");
    equal(await step, [1n]);
    await job.putAcked("c", t.key(2), "v");
    equal([await waiting, committed.seq(), durable.seq()], [2n, 2n, 0n]);
    const synced = durable.atLeast(2n);
    await job.flush();
    equal([await synced, durable.seq(), job.durableSeq(), await next(durable)], [2n, 2n, 2n, [2n]]);
    const controller = new AbortController();
    const aborted = failure(committed.atLeast(99n, { signal: controller.signal }));
    controller.abort("enough");
    equal(await aborted, "enough");
    equal(await failure(committed.atLeast(99n, { signal: AbortSignal.abort("before") })), "before");
    const left = committed.next().then(() => committed.next());
    await pause();
    await committed.return();
    equal(await left, { done: true, value: undefined });
    const never = failure(job.watchCommittedSeq().atLeast(99n));
    const iterated = job.watchDurableSeq();
    await next(iterated);
    const parked = failure(iterated.next());
    await root.closeJob("alpha");
    isError(await never, "Closed");
    isError(await parked, "Closed");
    equal(await iterated.next(), { done: true, value: undefined });
    await rejects(job.watchCommittedSeq().atLeast(99n), "Closed");
    equal(await job.watchCommittedSeq().atLeast(1n), 2n);
  },
  "watermarks go on with what others commit": async (t) => {
    const { root, job } = await t.job();
    const other = await (await t.open(root.root)).openJob("alpha");
    const watch = job.watch("c");
    await job.position();
    const seen = job.watchCommittedSeq().atLeast(1n);
    await other.putAcked("c", t.key(1), bytes("v"));
    equal(await seen, 1n);
    await watch.return();
  },
};
