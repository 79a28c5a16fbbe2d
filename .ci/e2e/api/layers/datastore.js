// The layer `datastore` on the page: collections, subscriptions over a worker's death, pools, and what is refused.

import { bytes, equal, failure, isError, next, ok, pause, rejects, show, take, throws } from "../checks.js";

async function datastore(t, bounds) {
  const { root, job } = await t.job();
  return { root, job, store: await t.Datastore.open(job, bounds) };
}

/** The values of an iterator that goes on afterwards. */
const nextOf = async (iterator) => (await next(iterator))[0];

const keysOf = ({ records, changes }) => (records ?? changes).map(({ type = "record", key }) => `${type} ${key}`);

export const datastoreTests = {
  "datastore: records of JSON have the key that their primary field holds, and a seq": async (t) => {
    const { store } = await datastore(t);
    const people = await store.collection("people", { primary: "name" });
    const ada = { name: "ada", born: 1815, big: 2 ** 53 - 1, deep: [{ a: null, "__proto__x": -0.5 }], "\u00e9": "\u{1F600}" };
    const set = await people.set(ada);
    equal([set.key, set.seq, set.data === ada, typeof set.updatedMs], ["ada", 1n, true, "number"]);
    const found = await people.get("ada");
    equal(show(found.data), show(ada));
    equal([found.key, found.seq, found.updatedMs], ["ada", 1n, set.updatedMs]);
    equal((await people.setMany([{ name: "b" }, { name: "c" }])).map(({ key, seq }) => [key, seq]), [["b", 2n], ["c", 3n]]);
    equal([await people.delete("b"), await people.delete("b"), await people.get("b")], [4n, undefined, undefined]);
    await rejects(people.setIf({ name: "c" }, { absent: true }), "Conflict");
    await rejects(people.setIf({ name: "c" }, { seq: 2n }), "Conflict");
    equal((await people.setIf({ name: "c", n: 1 }, { seq: 3n })).seq, 5n);
    await rejects(people.deleteIf("c", 3n), "Conflict");
    const { records, seq } = await people.snapshot();
    equal([records.map(({ key }) => key), seq], [["ada", "c"], 5n]);
    const info = await people.info();
    equal([info.seq, info.records, info.tombstones, info.expiresMs], [5n, 2, 1, undefined]);
    const changed = await people.changesSince(3n);
    equal([changed.type, keysOf(changed), changed.seq], ["changes", ["deleted b", "set c"], 5n]);
    equal((await take(people.pagesSince(0n))).flatMap(keysOf), ["set ada", "deleted b", "set c"]);
    equal([people.id, people.primary, people.generation.length], ["people", "name", 8]);
  },
  "datastore: records of bytes have keys of bytes": async (t) => {
    const { store } = await datastore(t);
    const blobs = await store.bytesCollection("blobs");
    const key = Uint8Array.of(0, 255);
    equal((await blobs.set(key, bytes("v"))).seq, 1n);
    equal((await blobs.setIf(new Uint8Array(), new Uint8Array(), { absent: true })).seq, 2n);
    const found = await blobs.get(key);
    equal([found.key, found.data, found.key.buffer.byteLength], [key, bytes("v"), 2]);
    equal((await blobs.setMany([[bytes("a"), bytes("1")], [bytes("b"), bytes("2")]])).map(({ seq }) => seq), [3n, 4n]);
    equal((await blobs.update(key, (old) => bytes(`${old.length}`))).data, bytes("1"));
    equal(await blobs.update(key, () => undefined), undefined);
    equal((await blobs.snapshot()).records.map(({ data }) => data), [new Uint8Array(), bytes("1"), bytes("2")]);
    await rejects(store.collection("blobs"), "InvalidArgument");
  },
  "datastore: an update is made anew for whoever was slower": async (t) => {
    const { root, store } = await datastore(t);
    const other = await t.Datastore.open(await (await t.open(root.root)).openJob("alpha"));
    const counters = await Promise.all([store, other].map((each) => each.collection("counters")));
    const count = (old) => ({ id: "n", n: (old?.n ?? 0) + 1 });
    await Promise.all(counters.flatMap((counter) => Array.from({ length: 5 }, () => counter.update("n", count))));
    equal((await counters[0].get("n")).data.n, 10);
    await rejects(counters[0].update("n", () => ({ id: "m" })), "InvalidArgument");
  },
  "datastore: a subscriber is told everything once, by itself and by another tab, and over its worker's death":
  async (t) => {
    const { root, store } = await datastore(t);
    const other = await (await t.Datastore.open(await (await t.open(root.root)).openJob("alpha"))).collection("list");
    const list = await store.collection("list");
    await list.set({ id: "a" });
    const updates = list.subscribe("me");
    const first = await nextOf(updates);
    equal([first.type, keysOf(first), first.seq], ["snapshot", ["record a"], 1n]);
    await list.set({ id: "b" });
    equal(keysOf(await nextOf(updates)), ["set b"]);
    equal(await list.subscribers(), ["me"]);

    const waiting = nextOf(updates);
    await pause(20);
    root.terminate();
    await other.set({ id: "c" });
    await other.delete("a");
    const told = keysOf(await waiting);
    while (told.length < 2) told.push(...keysOf(await nextOf(updates)));
    equal(told, ["set c", "deleted a"]);

    const more = nextOf(updates);
    equal(await list.unsubscribe("me"), 1);
    equal(await more, undefined);
    equal(keysOf(await nextOf(list.subscribeSince("me", 2n))), ["set c", "deleted a"]);
  },
  "datastore: a subscription can be aborted, and ends with its collection": async (t) => {
    const { store } = await datastore(t, { subscribers: 2 });
    const list = await store.collection("list");
    const stop = new AbortController();
    const aborted = list.subscribe("a", { signal: stop.signal });
    await nextOf(aborted);
    const waiting = failure(aborted.next());
    stop.abort("enough");
    equal(await waiting, "enough");
    for (let round = 0; round < 5; round += 1) {
      const updates = list.subscribe(`b${round}`);
      await nextOf(updates);
      await updates.return();
    }
    const left = list.subscribe("c");
    await nextOf(left);
    const ending = left.next();
    equal([await store.removeCollection("list"), await store.removeCollection("list")], [true, false]);
    const end = await ending.then(({ done }) => done, (error) => error.kind);
    ok(end === true || end === "Closed", String(end));
    await rejects(list.set({ id: "a" }), "Closed");
    equal(await store.findCollection("list"), undefined);
  },
  "datastore: what was removed is not made anew behind its handle, also over a worker's death": async (t) => {
    const { root, store } = await datastore(t);
    const list = await store.collection("list");
    await list.set({ id: "a" });
    root.terminate();
    equal((await list.get("a")).seq, 1n);
    await store.removeCollection("list");
    const another = await store.collection("list");
    root.terminate();
    await rejects(list.get("a"), "Closed");
    equal([await another.get("a"), await store.collections()], [undefined, ["list"]]);
  },
  "datastore: members of a pool are told what they lack until it converges": async (t) => {
    const { root, store } = await datastore(t);
    const far = await t.Datastore.open(await (await t.open(root.root)).openJob("alpha"));
    const [here, there] = await Promise.all([store, far].map((each) => each.pool("round")));
    const [ada, bob] = [await here.join("ada"), await there.join("bob")];
    const updates = bob.updates();
    const merged = await ada.merge([{ n: 1 }, { n: 2 }, { n: 1 }]);
    equal([merged.new.length, merged.lacking, merged.converged], [2, { items: [], more: false }, false]);
    const { type, items } = await nextOf(updates);
    equal([type, items.map(({ data }) => data.n).sort(), items.map(({ id }) => id.length)], ["items", [1, 2], [64, 64]]);
    equal([...(await here.info()).members], [["ada", 0], ["bob", 2]]);

    root.terminate();
    equal((await bob.lacking()).items.length, 2);
    equal(await bob.acknowledge(items.map(({ id }) => id)), true);
    equal(await nextOf(updates), { type: "converged", round: 1 });
    const { round, items: left } = await there.info();
    equal([round, left], [1, 0]);
    equal(await bob.leave(), false);
    await rejects(bob.merge([]), "Closed");
    await updates.return();
    equal([await store.removePool("round"), await store.pools()], [true, []]);
    await rejects(ada.merge([{ n: 3 }]), "Closed");
  },
  "datastore: a janitor purges what has expired": async (t) => {
    const { store } = await datastore(t);
    const list = await store.collection("list", { recordTtlMs: 1 });
    await list.set({ id: "a" });
    await store.collection("gone", { temporary: true, ttlMs: 1 });
    await pause(5);
    const janitor = store.startJanitor(5);
    while ((await list.info()).records > 0) await pause(2);
    const { rounds, purged, lastError } = await janitor.stop();
    ok(rounds > 0 && lastError === undefined, String(lastError));
    equal([purged.records, purged.collections, await store.collections()], [1, 1, ["list"]]);
    throws(() => store.startJanitor(0), "InvalidArgument");
  },
  "datastore: records come by ranges of keys": async (t) => {
    const { store } = await datastore(t);
    const list = await store.collection("list");
    await list.setMany(["b", "draft/2", "a", "draft/1", "\u00e9"].map((id) => ({ id })));
    const names = async (range) => (await list.range(range)).map(({ key }) => key);
    equal(await names(), ["a", "b", "draft/1", "draft/2", "\u00e9"]);
    equal(await names({ prefix: "draft/" }), ["draft/1", "draft/2"]);
    equal([await names({ gt: "a", lte: "draft/1" }), await names({ gte: "b", lt: "b" })], [["b", "draft/1"], []]);
    equal([await names({ gt: "z" }), await names({ prefix: new TextEncoder().encode("a") })], [["\u00e9"], ["a"]]);
    const [first] = await list.range({ lt: "b" });
    equal([first.data, first.seq, typeof first.updatedMs], [{ id: "a" }, 3n, "number"]);
    const bytes = await store.bytesCollection("bytes");
    await bytes.set(new Uint8Array([1, 2]), new Uint8Array([3]));
    equal((await bytes.range({ prefix: new Uint8Array([1]) })).map(({ key, data }) => [...key, ...data]), [[1, 2, 3]]);
    for (const range of ["a", { prefx: "a" }, { prefix: "a", gt: "b" }, { gt: 1 }, { gt: "\ud800" }, null]) {
      await rejects(list.range(range), "InvalidArgument", "NotApplied", show(range));
    }
    await rejects(bytes.range({ prefix: "a" }), "InvalidArgument");
  },
  "datastore: what is no record, key, option or id is refused": async (t) => {
    const { store } = await datastore(t);
    const list = await store.collection("list");
    const cyclic = {};
    cyclic.self = cyclic;
    let deep = {};
    for (let level = 0; level < 200; level += 1) deep = { deep };
    for (const record of [undefined, null, 7, "a", [], {}, { id: 7 }, { id: "" }, cyclic, { id: "a", n: 1n },
      { id: "\ud800" }, { id: "a", deep }, { id: "a", n: NaN }, { id: "a", n: [-Infinity] }]) {
      await rejects(list.set(record), "InvalidArgument");
    }
    for (const call of [
      () => list.get(7), () => list.delete(undefined), () => list.setIf({ id: "a" }, {}), () => list.setMany(7),
      () => list.setIf({ id: "a" }, { seq: 0n }), () => list.changesSince(1), () => list.changesSince(7n),
      () => list.update("a"), () => nextOf(list.subscribe("")), () => nextOf(list.subscribe(7)),
      () => store.collection("other", { ttl: 1 }), () => store.collection("other", { maxRecords: -1 }),
      () => store.collection("other", null), () => store.collection(7), () => store.pool("p", { membersNeeded: 0 }),
      () => store.collection("list", { primary: "name" }), () => t.Datastore.open({}),
    ]) await rejects((async () => call())(), "InvalidArgument", "NotApplied", String(call));
    const member = await (await store.pool("pool")).join("ada");
    for (const ids of [undefined, "00", ["00"], [new Uint8Array(32)]]) {
      await rejects(member.acknowledge(ids), "InvalidArgument", "NotApplied", show(ids));
    }
    isError(await failure(store.collection("x".repeat(256))), "TooLarge");
    equal((await list.info()).seq, 0n);
  },
};
