// Writing: order, receipts, errors that nobody awaits, the bounded queue, batches and preconditions.

import { bytes, equal, failure, isError, ok, pause, rejects, string, throws } from "./checks.js";

/** A queue that few operations fill. */
const TINY = { queueOperations: 2, queueBytes: 1000 };

export const writeTests = {
  "writes are applied in the order of the calls, whichever they are": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    const answers = [
      job.persistPut("c", key("a", 1), "1"),
      job.putAcked("c", key("a", 2), "2"),
      job.persist(new Batch().put("c", key("a", 3), "3").put("c", key("b"), "b")),
      job.persistDelete("c", key("a", 1)),
      job.persistDeletePrefix("c", key("a")),
      job.persistAcked(new Batch().put("c", key("a", 1), "again")),
      job.deleteAcked("c", key("b")),
      Promise.resolve(job.tryPersist(new Batch().put("c", key("z"), "last"))),
    ];
    // Not awaited: all of them are seen.
    const rows = await job.scan("c");
    equal(rows.map(({ payload }) => string(payload)), ["again", "last"]);
    const [first, second, third, fourth, fifth, sixth, existed, last] = await Promise.all(answers);
    const seqs = await Promise.all([first, third, fourth, fifth, last].map((receipt) => receipt.committed()));
    equal([seqs[0], second, ...seqs.slice(1, 4), sixth, existed, seqs[4]],
      [1n, 2n, 3n, 4n, 5n, 6n, true, 8n]);
  },
  "a read sees every write that was asked for before it": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    const seen = [];
    for (let number = 0; number < 50; number += 1) {
      void job.persistPut("c", key(number), String(number));
      seen.push(Promise.all([
        job.get("c", key(number)).then(string), job.exists("c", key(number)), job.count("c"),
        job.scan("c", { reverse: true, limit: 1 }).then(([row]) => string(row.payload)),
      ]));
    }
    for (const [number, [got, there, count, last]] of (await Promise.all(seen)).entries()) {
      equal([got, there], [String(number), true]);
      // Those that came later may be seen as well.
      ok(Number(last) >= number && count >= BigInt(number + 1), `${last}, ${count} after ${number}`);
    }
  },
  "acknowledged writes tell their seq, and whether the row was there": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    equal(await job.persistAcked(new Batch()), 0n);
    equal(await job.putAcked("c", key("k"), "v"), 1n);
    equal(await job.putAcked("c", key("k"), "v"), 2n);
    equal([await job.deleteAcked("c", key("k")), await job.deleteAcked("c", key("k"))], [true, false]);
    equal(await job.persistAcked(new Batch()), 4n);
    equal(await job.persistAcked(new Batch().delete("c", key("absent"))), 5n);
    equal(await (await job.persist(new Batch())).committed(), 5n);
    equal(job.committedSeq(), 5n);
  },
  "a receipt tells committed and durable, as often as it is asked": async (t) => {
    const { job } = await t.job();
    const receipt = await job.persistPut("c", t.key("k"), "v");
    ok(receipt instanceof t.Receipt);
    equal(await Promise.all([receipt.committed(), receipt.committed(), receipt.durable(), receipt.durable()]),
      [1n, 1n, 1n, 1n]);
    equal([await receipt.committed(), job.durableSeq()], [1n, 1n]);
  },
  "a relaxed job is durable when somebody asks for it, a strict one with every commit": async (t) => {
    const { root, job } = await t.job();
    await job.putAcked("c", t.key("k"), "v");
    equal([job.durableSeq(), (await job.info()).durableSeq, (await job.stats()).syncs], [0n, 0n, 0]);
    await job.flush();
    equal([job.durableSeq(), (await job.info()).durableSeq, (await job.stats()).syncs], [1n, 1n, 1]);
    const receipt = await job.persistPut("c", t.key("l"), "v");
    await receipt.durable();
    equal([job.durableSeq(), (await job.stats()).syncs], [2n, 2]);
    const strict = await root.openJob("strict", { durability: "strict" });
    await strict.putAcked("c", t.key("k"), "v");
    equal([strict.durableSeq(), (await strict.info()).durableSeq], [1n, 1n]);
  },
  "a receipt is durable also when its job has been closed": async (t) => {
    const { root, job } = await t.job();
    const receipt = await job.persistPut("c", t.key("k"), "v");
    await root.closeJob("alpha");
    equal([await receipt.committed(), await receipt.durable()], [1n, 1n]);
    const other = await root.openJob("beta");
    const late = await other.persistPut("c", t.key("k"), "v");
    const durable = late.durable();
    await root.close();
    equal([await durable, await late.durable()], [1n, 1n]);
  },
  "an ignored receipt that fails rejects nothing, and flush tells it with the number of others": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    const conflicting = new Batch().requirePresent("c", key("absent"));
    for (let times = 0; times < 3; times += 1) void job.persist(conflicting);
    const receipt = await job.persistPut("c", key("k"), "v");
    equal(await receipt.committed(), 1n);
    const error = await rejects(job.flush(), "Conflict");
    ok(error.message.endsWith("; 2 other writes failed"), error.message);
    ok(error.message.startsWith('job "alpha"'), error.message);
    equal(error.conflictIndex, 0);
    await job.flush();
    equal(string(await job.get("c", key("k"))), "v");
  },
  "an error that a receipt has told, or that it awaits, is told by no flush": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    const conflicting = new Batch().requireEqual("c", key("absent"), "v");
    const first = await job.persist(conflicting);
    const [told, again] = [await failure(first.committed()), await failure(first.durable())];
    isError(told, "Conflict");
    isError(again, "Conflict");
    const second = await job.persist(conflicting);
    const awaited = failure(second.committed());
    await job.flush();
    isError(await awaited, "Conflict");
    const ackedToo = failure(job.persistAcked(conflicting));
    await job.flush();
    isError(await ackedToo, "Conflict");
  },
  "each flush that waits tells an error that it covers, one that comes later does not": async (t) => {
    const { job } = await t.job();
    void job.persist(new t.Batch().requirePresent("c", t.key("absent")));
    const both = await Promise.allSettled([job.flush(), job.flush()]);
    equal(both.map(({ reason }) => reason?.kind), ["Conflict", "Conflict"]);
    await job.flush();
  },
  "a full queue makes persist wait in the order of the calls, and tryPersist answer Overloaded": async (t) => {
    const { job } = await t.job(TINY);
    const { Batch, key } = t;
    const order = [];
    const write = (name) => job.persistPut("c", key("k"), name).then((receipt) => {
      order.push(name);
      return receipt;
    });
    const waiting = Array.from({ length: 12 }, (_, at) => write(String(at)));
    const overloaded = throws(() => job.tryPersist(new Batch().put("c", key("k"), "try")), "Overloaded");
    equal(overloaded.retryable, true);
    equal((await job.stats()).queuedOperations <= 2, true);
    const receipts = await Promise.all(waiting);
    equal(order, Array.from({ length: 12 }, (_, at) => String(at)));
    equal(await Promise.all(receipts.map((receipt) => receipt.committed())),
      Array.from({ length: 12 }, (_, at) => BigInt(at + 1)));
    equal(string(await job.get("c", key("k"))), "11");
    const accepted = job.tryPersist(new Batch().put("c", key("k"), "try"));
    equal(await accepted.committed(), 13n);
  },
  "bytes fill a queue too, and a batch larger than it is accepted alone when it is empty": async (t) => {
    const { job } = await t.job(TINY);
    const { Batch, key } = t;
    const order = [];
    const write = (name, payload) => job.persistPut("c", key(name), payload).then((receipt) =>
      order.push(name) && receipt);
    const half = write("half", new Uint8Array(600));
    throws(() => job.tryPersist(new Batch().put("c", key("x"), new Uint8Array(600))), "Overloaded");
    const large = write("large", new Uint8Array(5000));
    const many = new Batch();
    for (let number = 0; number < 10; number += 1) many.put("c", key("many", number), "v");
    const third = job.persist(many).then((receipt) => order.push("many") && receipt);
    const last = write("last", "v");
    const receipts = await Promise.all([half, large, third, last]);
    equal(order, ["half", "large", "many", "last"]);
    equal(await Promise.all(receipts.map((receipt) => receipt.committed())), [1n, 2n, 3n, 4n]);
    equal(await job.count("c"), 13n);
    const { queuedOperations, queuedBytes } = await job.stats();
    equal([queuedOperations, queuedBytes], [0, 0]);
    await job.flush();
    equal(await job.tryPersist(many).committed(), 5n);
  },
  "a flush does not wait for what is not accepted yet, closing rejects it": async (t) => {
    const { root, job } = await t.job(TINY);
    const accepted = job.persistPut("c", t.key(1), "v");
    const two = new t.Batch().put("c", t.key("late", 1), "v").put("c", t.key("late", 2), "v");
    // The last would fit if the one before it gave up first.
    const waiting = [failure(job.persist(two)), failure(job.persistPut("c", t.key("late", 3), "v"))];
    await root.closeJob("alpha");
    for (const error of await Promise.all(waiting)) isError(error, "Closed");
    equal(await (await accepted).committed(), 1n);
    const again = await root.openJob("alpha");
    equal(await again.count("c"), 1n);
  },
  "what the caller hands in may be used again at once, and is neither changed nor taken": async (t) => {
    const { job } = await t.job(TINY);
    const { Batch, key } = t;
    const [k, payload] = [key("k"), bytes("payload")];
    const wipe = () => {
      k.fill(0xff);
      payload.fill(0xff);
    };
    const same = () => {
      k.set(key("k"));
      payload.set(bytes("payload"));
    };
    const batch = new Batch();
    const calls = [
      () => job.persistPut("put", k, payload), () => job.putAcked("acked", k, payload),
      () => job.persist(batch.put("batch", k, payload)),
      () => job.persist(new Batch().put("waits", k, payload)),
      () => job.persist(new Batch().put("waits too", k, payload)),
    ];
    const done = [];
    for (const call of calls) {
      same();
      done.push(call());
      equal([k.length, payload.length, k.buffer.byteLength > 0, payload.buffer.byteLength > 0],
        [3, 7, true, true]);
      wipe();
      if (batch.length > 0) batch.put("later", key("later"), "later");
    }
    await Promise.all(done);
    for (const category of ["put", "acked", "batch", "waits", "waits too"]) {
      equal((await job.scan(category)).map((row) => [row.key, string(row.payload)]), [[key("k"), "payload"]],
        category);
    }
    equal(await job.count("later"), 0n);
    same();
    const gets = [job.get("put", k), job.getMany("put", [k, k]), job.exists("put", k),
      job.count("put", { gte: k, lte: k })];
    const rows = job.rows("put", { gte: k });
    const first = rows.next();
    wipe();
    const [got, many, there, count] = await Promise.all(gets);
    equal([string(got), many.map(string), there, count], ["payload", ["payload", "payload"], true, 1n]);
    equal((await first).value.key, key("k"));
    // A view into a larger buffer is as good as any, and what is read has a buffer of its own.
    const whole = bytes("a view of a buffer");
    await job.putAcked("put", key("view"), whole.subarray(2, 6));
    const view = await job.get("put", key("view"));
    equal([string(view), view.buffer.byteLength, whole.length], ["view", 4, 18]);
    const [row] = await job.scan("put", { prefix: key("view") });
    equal([row.key.buffer.byteLength, row.payload.buffer.byteLength], [row.key.length, 4]);
    ok(row.key instanceof t.Key);
  },
  "a payload is bytes or text, may be empty, and differs then from none": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    await Promise.all([
      job.persistPut("c", key(1), "h\u00e9 \u{1f600} \ufeff"), job.persistPut("c", key(2), ""),
      job.persistPut("c", key(3), new Uint8Array()),
      job.persistPut("c", key(), "at the empty key"), job.persistPut("", key(1), Uint8Array.of(0, 255)),
    ]);
    const found = await job.getMany("c", [key(1), key(2), key(3), key(4), key()]);
    equal(found, [bytes("h\u00e9 \u{1f600} \ufeff"), new Uint8Array(), new Uint8Array(), undefined,
      bytes("at the empty key")]);
    equal(await job.get("", key(1)), Uint8Array.of(0, 255));
    equal(await job.categories(), ["", "c"]);
  },
  "a batch is applied in order and whole": async (t) => {
    const { job } = await t.job();
    const { Batch, key, prefixRange } = t;
    const batch = new Batch();
    equal([batch.length, new Batch().requireAbsent("c", key()).length], [0, 0]);
    ok(batch.put("c", key("a", 1), "x") === batch);
    batch.put("c", key("a", 2), "2").put("c", key("b"), "b").put("d", key("a", 1), "other")
      .delete("c", key("a", 1)).put("c", key("a", 1), "1")
      .deletePrefix("c", key("b")).put("c", key("b", 2), "b2");
    equal(batch.length, 8);
    equal(await job.persistAcked(batch), 1n);
    const shown = async (category) => (await job.scan(category)).map((row) => string(row.payload));
    equal([await shown("c"), await shown("d")], [["1", "2", "b2"], ["other"]]);
    await job.persistAcked(new Batch().deleteRange("c", { gt: key("a", 1), lt: key("b") }));
    equal(await shown("c"), ["1", "b2"]);
    await job.persistAcked(new Batch().deleteRange("c", { gte: key("b"), lt: key("a") }));
    await job.persistAcked(new Batch().deleteRange("c", prefixRange(key("a"))));
    equal(await shown("c"), ["b2"]);
    await job.persistAcked(new Batch().clear("c").put("d", key("e"), "e").deletePrefix("d", key("a")));
    equal([await shown("c"), await shown("d"), await job.categories()], [[], ["e"], ["d"]]);
    // The same one again is another write.
    equal([await job.persistAcked(batch), await job.persistAcked(batch)], [6n, 7n]);
  },
  "preconditions see all batches before them, and one that fails leaves nothing of its batch": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    void job.persistPut("c", key("there"), "v");
    const kept = await job.persistAcked(new Batch()
      .requirePresent("c", key("there")).requireEqual("c", key("there"), "v").requireAbsent("c", key("not"))
      .put("c", key("not"), "now").delete("c", key("there")));
    equal(kept, 2n);
    const wrong = [
      [new Batch().requireAbsent("c", key("not")), 0],
      [new Batch().requirePresent("c", key("there")), 0],
      [new Batch().requireAbsent("c", key("x")).requireEqual("c", key("not"), "no"), 1],
      [new Batch().requireAbsent("c", key("x")).requireAbsent("c", key("y")).requireEqual("c", key("there"),
        ""), 2],
      [new Batch().requireEqual("c", key("not"), bytes("now ")), 0],
    ];
    for (const [batch, index] of wrong) {
      batch.put("c", key("half"), "v").clear("c");
      const error = await rejects(job.persistAcked(batch), "Conflict");
      equal([error.conflictIndex, error.retryable, await job.count("c")], [index, false, 1n]);
      ok(error.message.includes('job "alpha"') && !error.message.includes("half"), error.message);
    }
    // A conflict takes no seq, and its neighbours are committed.
    const receipts = await Promise.all([
      job.persistPut("c", key("before"), "v"), job.persist(wrong[0][0]),
      job.persistPut("c", key("after"), "v"),
    ]);
    const settled = await Promise.allSettled(receipts.map((receipt) => receipt.committed()));
    equal(settled.map(({ value, reason }) => value ?? reason.kind), [3n, "Conflict", 4n]);
  },
  "many writers at once lose nothing": async (t) => {
    const { job } = await t.job({ queueOperations: 50 });
    const { Batch, key } = t;
    const increment = async () => {
      for (;;) {
        const last = await job.get("n", key());
        const batch = new Batch().put("n", key(), String(Number(string(last) ?? 0) + 1));
        if (last) batch.requireEqual("n", key(), last);
        else batch.requireAbsent("n", key());
        try {
          return await job.persistAcked(batch);
        } catch (error) {
          isError(error, "Conflict");
        }
      }
    };
    const seqs = await Promise.all(Array.from({ length: 20 }, increment));
    equal([new Set(seqs).size, string(await job.get("n", key()))], [20, "20"]);
    await pause();
  },
};
