// Mistakes of the caller: each is a PersistencyError that says so, and nothing of it reaches the queue.

import { bytes, equal, rejects, throws } from "./checks.js";

/** Bytes that have been transferred away. */
function detached() {
  const gone = bytes("gone");
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  return gone;
}

const LONE = "\ud800";
const notCategories = [undefined, null, 7, 7n, {}, bytes("c"), Symbol("c"), LONE, `${LONE}a`, ["c"]];
const notBytes = [undefined, null, 7, 7n, NaN, {}, [1, 2], new ArrayBuffer(2),
  new DataView(new ArrayBuffer(2)), new Uint16Array(1), Symbol("k")];
const notKeys = [...notBytes, "a string", () => detached()];
const notPayloads = [...notBytes, LONE, () => detached()];
const notRanges = [
  null, 7, "prefix", true, Symbol("r"), [], new Uint8Array(), bytes("r"), new Map(), () => () => {},
  { prefx: bytes("a") }, { prefix: undefined }, { prefix: "a" }, { prefix: null },
  { prefix: bytes("a"), gt: bytes("a") },
  { gt: bytes("a"), gte: bytes("a") }, { lt: bytes("a"), lte: bytes("a") }, { gte: "a" }, { gte: [1] },
  { lt: 7 }, { gt: null },
  { start: "a" }, { start: bytes("a"), end: 7 }, () => ({ gte: detached() }), () => ({ prefix: detached() }),
];
const notSignals = [null, 7, "abort", {}, new AbortController()];
const notOptions = [null, 7, "signal", () => () => {}, ...notSignals.map((signal) => ({ signal }))];
const notScans = [
  ...notSignals.map((signal) => ({ signal })), { limit: -1 }, { limit: 1.5 }, { limit: NaN }, { limit: "1" },
  { limit: 1n }, { limit: null },
  { limit: -Infinity }, { reverse: 1 }, { reverse: "yes" }, { reverse: null }, { keysOnly: 0 },
  { keysonly: true }, { offset: 1 },
];
const notSeqs = [undefined, null, 7, "7", -1n, 2n ** 64n, NaN];
const notNames = [undefined, null, 7, "", LONE];
const notIds = [undefined, null, 7, 7n, "", LONE, {}, ["alpha"], Symbol("alpha")];

/** A value, or what makes one that can be used once only. */
const made = (value) => (typeof value === "function" ? value() : value);

/** What a call that is made with each wrong value in each place comes to. */
async function refused(calls, kind = "InvalidArgument") {
  for (const [name, call, values] of calls) {
    for (const [at, value] of values.entries()) {
      await rejects((async () => call(made(value)))(), kind, "NotApplied", `${name}, value ${at}`);
    }
  }
}

export const misuseTests = {
  "what is no argument of a write is InvalidArgument, and nothing is queued": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    const notBatches = [undefined, null, 7, [], {}, bytes("b"), "batch"];
    await refused([
      ["persist", (batch) => job.persist(batch), notBatches],
      ["tryPersist", (batch) => job.tryPersist(batch), notBatches],
      ["persistAcked", (batch) => job.persistAcked(batch), notBatches],
      ...["persistPut", "putAcked"].flatMap((name) => [
        [`${name} category`, (category) => job[name](category, key(1), "v"), notCategories],
        [`${name} key`, (k) => job[name]("c", k, "v"), notKeys],
        [`${name} payload`, (payload) => job[name]("c", key(1), payload), notPayloads],
      ]),
      ...["persistDelete", "deleteAcked", "persistDeletePrefix"].flatMap((name) => [
        [`${name} category`, (category) => job[name](category, key(1)), notCategories],
        [`${name} key`, (k) => job[name]("c", k), notKeys],
      ]),
      ...["put", "requireEqual"].flatMap((name) => [
        [`${name} category`, (category) => new Batch()[name](category, key(1), "v"), notCategories],
        [`${name} key`, (k) => new Batch()[name]("c", k, "v"), notKeys],
        [`${name} payload`, (payload) => new Batch()[name]("c", key(1), payload), notPayloads],
      ]),
      ...["delete", "deletePrefix", "requireAbsent", "requirePresent"].flatMap((name) => [
        [`${name} category`, (category) => new Batch()[name](category, key(1)), notCategories],
        [`${name} key`, (k) => new Batch()[name]("c", k), notKeys],
      ]),
      ["deleteRange", (range) => new Batch().deleteRange("c", range), [...notRanges, { limit: 1 }]],
      ["deleteRange category", (category) => new Batch().deleteRange(category, {}), notCategories],
      ["clear", (category) => new Batch().clear(category), notCategories],
      ["holdLog", (name) => job.holdLog(name), notNames],
      ["advanceLog", (name) => job.advanceLog(name, 1n), notNames],
      ["advanceLog seq", (seq) => job.advanceLog("h", seq), notSeqs],
      ["releaseLog", (name) => job.releaseLog(name), notNames],
    ]);
    const { queuedOperations, batchesCommitted, batchesFailed } = await job.stats();
    equal([queuedOperations, batchesCommitted, batchesFailed, job.committedSeq()], [0, 0, 0, 0n]);
    await job.flush();
  },
  "what a batch refuses leaves it as it was": async (t) => {
    const { job } = await t.job();
    const { Batch, key } = t;
    const batch = new Batch().put("c", key(1), "v");
    for (const wrong of [() => batch.put("c", "k", "v"), () => batch.put("c", key(2), 7),
      () => batch.put(LONE, key(2), "v"), () => batch.deleteRange("c", { x: 1 })]) {
      throws(wrong, "InvalidArgument");
    }
    throws(() => batch.put("c", new Uint8Array(t.limits().keyBytes + 1), "v"), "TooLarge");
    throws(() => batch.put("c", key(2), new Uint8Array(t.limits().payloadBytes + 1)), "TooLarge");
    equal([batch.length, await job.persistAcked(batch), (await job.scan("c")).length], [1, 1n, 1]);
  },
  "what is beyond a limit is TooLarge, and what is exactly at it is taken": async (t) => {
    const { root, job } = await t.job();
    const { key, Key, limits } = t;
    const { categoryBytes, keyBytes, jobIdBytes, batchOperations } = limits();
    const [longest, longer] = [new Uint8Array(keyBytes).fill(1), new Uint8Array(keyBytes + 1).fill(1)];
    const [wide, wider] = ["c".repeat(categoryBytes), "\u00e9".repeat(categoryBytes / 2 + 1)];
    await job.putAcked(wide, longest, "v");
    equal([(await job.scan(wide))[0].key.length, await job.exists(wide, longest),
      await job.count(wide, { prefix: longest })], [keyBytes, true, 1n]);
    equal([await job.count(wide, { gt: longest }), await job.count(wide, { lte: longest })], [0n, 1n]);
    await refused([
      ["category", (category) => job.putAcked(category, key(1), "v"), [wider]],
      ["get", (category) => job.get(category, key(1)), [wider]],
      ["scan", (category) => job.scan(category), [wider]],
      ["watch", (category) => job.watch(category), [wider]],
      ["key", (k) => job.putAcked("c", k, "v"), [longer]],
      ["get key", (k) => job.get("c", k), [longer]],
      ["existsMany", (k) => job.existsMany("c", [k]), [longer]],
      ["id", (id) => root.openJob(id), ["x".repeat(jobIdBytes + 1)]],
      ["holder", (name) => job.holdLog(name), ["x".repeat(256)]],
      ["keys", (k) => job.existsMany("c", Array(batchOperations + 1).fill(k)), [key(1)]],
      ["endless keys", (k) => job.existsMany("c", (function* each() { for (;;) yield k; })()), [key(1)]],
      ["key()", (part) => key(part), ["x".repeat(65536)]],
      ["key of keys", (part) => key(part, part, part), [new Key(keyBytes / 2)]],
    ], "TooLarge");
    const inMemory = await (await t.open(":memory:")).openJob("alpha");
    equal((await inMemory.existsMany("c", Array(batchOperations).fill(key(1)))).length, batchOperations);
    // Beyond what a key can be there is nothing, which is no error where nothing is written.
    equal([await job.count("c", { gte: new Uint8Array(keyBytes + 2) }),
      (await job.scan(wide, { prefix: longer })).length], [0n, 0]);
  },
  "what is no argument of a read is InvalidArgument": async (t) => {
    const { job } = await t.job();
    const { key } = t;
    await job.putAcked("c", key(1), "v");
    const from = await job.position();
    const notPositions = [
      undefined, null, 7, {}, { generation: from.generation }, { seq: 1n }, { ...from, seq: 1 },
      { ...from, seq: -1n },
      { ...from, generation: from.generation.slice(1) }, { ...from, generation: [...from.generation] },
      { ...from, generation: "0".repeat(32) },
      () => ({ ...from, generation: detached() }),
    ];
    const ranged = { count: notOptions.slice(4), scan: notScans, rows: notScans, watch: notOptions.slice(4) };
    await refused([
      ...["get", "exists"].flatMap((name) => [
        [`${name} category`, (category) => job[name](category, key(1)), notCategories],
        [`${name} key`, (k) => job[name]("c", k), notKeys],
        [`${name} options`, (options) => job[name]("c", key(1), options), notOptions],
      ]),
      ...["getMany", "existsMany"].flatMap((name) => [
        [`${name} category`, (category) => job[name](category, []), notCategories],
        [`${name} keys`, (keys) => job[name]("c", keys),
          [undefined, null, 7, {}, key(1), "keys", ...notKeys.map((k) => () => [made(k)])]],
        [`${name} options`, (options) => job[name]("c", [], options), notOptions],
      ]),
      ...Object.entries(ranged).flatMap(([name, options]) => [
        [`${name} category`, (category) => job[name](category), notCategories],
        [`${name} range`, (range) => job[name]("c", range), notRanges],
        [`${name} options`, (each) => job[name]("c", each), options],
      ]),
      ["count with a scan's options", (options) => job.count("c", options),
        [{ limit: 1 }, { reverse: true }, { keysOnly: true }]],
      ["scanPrefix", (prefix) => job.scanPrefix("c", prefix), notKeys],
      ["scanPrefix with bounds", (options) => job.scanPrefix("c", key(1), options),
        [{ gt: key(1) }, { limit: "1" }, { x: 1 }]],
      ["categories", (options) => job.categories(options), notOptions],
      ["position", (options) => job.position(options), notOptions],
      ["info", (options) => job.info(options), notOptions],
      ["watchFrom", (position) => job.watchFrom(position, "c"), notPositions],
      ["watchFrom range", (range) => job.watchFrom(from, "c", range), notRanges],
      ["watchFrom category", (category) => job.watchFrom(from, category), notCategories],
      ["logFrom", (position) => job.logFrom(position), notPositions],
      ["logFrom options", (options) => job.logFrom(from, options), notOptions],
      ["atLeast", (seq) => job.watchCommittedSeq().atLeast(seq), notSeqs],
      ["atLeast options", (options) => job.watchCommittedSeq().atLeast(99n, options), notOptions],
    ]);
    equal([(await job.scan("c")).length, job.isOpen()], [1, true]);
  },
  "what is no argument of a root is InvalidArgument": async (t) => {
    const root = await t.open();
    const { Persistency } = t;
    const jobOptions = [
      null, 7, "strict", { durable: true }, { durability: "Strict" }, { durability: null },
      { queueOperations: 0 }, { queueOperations: 1.5 },
      { queueOperations: 2 ** 29 }, { queueOperations: "7" }, { queueBytes: 0 }, { queueBytes: NaN },
      { queueBytes: 7n }, { deadlineMs: -1 },
      { deadlineMs: 1.5 }, { deadlineMs: "1" }, { deadlineMs: Infinity }, { deadlineMs: 7n }, { log: "on" },
      { log: {} }, { log: null },
      { log: { lastBytes: -1 } }, { log: { lastBytes: 1.5 } }, { log: { lastBytes: -1n } },
      { log: { lastBytes: 2n ** 64n } }, { log: { lastBytes: "7" } },
      { mode: "read" }, { mode: "readOnly", log: "off" }, { signal: AbortSignal.abort() },
    ];
    const openOptions = [
      null, 7, "worker", { worker: "maybe" }, { worker: null }, { url: "/worker.js" }, { wasmModule: {} },
      { wasmModule: bytes("\0asm") }, { wasmModule: () => {} },
    ];
    await refused([
      ["openJob", (id) => root.openJob(id), notIds],
      ["openJob options", (options) => root.openJob("alpha", options), jobOptions],
      ["job", (id) => root.job(id), notIds],
      ["get", (id) => root.get(id, "c", bytes("k")), notIds],
      ["closeJob", (id) => root.closeJob(id), notIds],
      ["dropJob", (id) => root.dropJob(id), notIds],
      ["open", (name) => Persistency.open(name), [undefined, null, 7, "", LONE, {}, Symbol("root")]],
      ["open options", (options) => Persistency.open("api", options), openOptions.map((each) => () => each)],
      ["instance", (name) => Persistency.instance(name), [undefined, null, 7, "", LONE]],
      ["instance options", (options) => Persistency.instance("api", options),
        openOptions.map((each) => () => each)],
    ]);
    equal([await root.listJobs(), ...notIds.map((id) => root.hasJob(id))], [[], ...notIds.map(() => false)]);
    await rejects(Persistency.open("api", { worker: "required", workerUrl: "/nowhere.js" }), "Unsupported");
    await rejects(Persistency.open("api", { ...t.options, wasmUrl: "/nowhere.wasm" }),
      t.options.worker === "none" ? undefined : "Unsupported").catch((error) => {
      // In the page the module that is there already serves.
      if (t.options.worker !== "none") throw error;
    });
  },
  "what is no argument of a prefix or a key is InvalidArgument": async (t) => {
    const { decodeKey, Key, key, prefixRange, text, u64, u8 } = t;
    await refused([
      ["prefixRange", prefixRange, [...notBytes, "a", () => detached()]],
      ["key", key, [undefined, null, 0.5, NaN, Infinity, 2 ** 53, 2n ** 63n, {}, Symbol("p"), () => () => {},
        LONE, [[null]], () => detached()]],
      ["text", text, [undefined, 7, LONE, bytes("a")]],
      ["text.prefix", text.prefix, [undefined, 7, LONE]],
      ["u64", u64, [-1, 2n ** 64n, 0.5, "7", undefined]],
      ["u8", u8, [-1, 256, 0.5, 7n, "7", undefined]],
      ["decodeKey", (bad) => decodeKey(bad, "rest"), [undefined, null, "a", [1], () => detached()]],
      ["decodeKey type", (type) => decodeKey(key(1), type), [undefined, null, "u32", 7, {}]],
    ]);
    equal(prefixRange(Key.of(1, 255)).end, Key.of(2));
  },
};
