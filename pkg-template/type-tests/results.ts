// What every call gives, type for type. A case that fails does not compile.

import {
  Batch, Key, Persistency, PersistencyError,
  decodeKey, estimate, key, limits, prefixRange, requestPersistence, text, u64, u8, version,
} from "persistency";
import type {
  Bytes, Commit, DecodeType, ErrorKind, Job, JobInfo, JobStats, KeyRange, Lagged, Limits, LogReader, Op,
  Outcome, Part, Position, Receipt, Row, Rows, SeqWatch, Watch, WatchFrom, WatchItem,
} from "persistency";
import type { Equal, Expect, Given } from "./equal.js";

declare const p: Persistency;
declare const job: Job;
declare const receipt: Receipt;
declare const position: Position;
declare const k: Uint8Array;

const decoded = {
  none: decodeKey(k),
  flat: decodeKey(k, "string", "bytes", "i64", "u64", "u8", "boolean", "text", "rest"),
  nested: decodeKey(k, "string", ["i64", ["u8", "text"]], []),
  unknown: decodeKey(k, ...([] as DecodeType[])),
};

export type Decoding = [
  Expect<Equal<typeof decoded.none, []>>,
  Expect<Equal<typeof decoded.flat, [string, Bytes, bigint, bigint, number, boolean, string, Key]>>,
  Expect<Equal<typeof decoded.nested, [string, [bigint, [number, string]], []]>>,
  Expect<typeof decoded.unknown extends unknown[] ? true : false>,
];

const made = {
  key: key("a", 1, 2n, true, k, key(), u64(1n), u8(1), text("t"), text.prefix("p"), ["a", ["b", 1n]]),
  part: text("a"),
  range: prefixRange(k),
  from: Key.from([1]),
  length: new Batch().length,
  batch: new Batch()
    .requireAbsent("c", k).requirePresent("c", k).requireEqual("c", k, "s")
    .put("c", k, k).put("c", k, "s").delete("c", k).deletePrefix("c", k).deleteRange("c", {}).clear("c"),
};

export type Values = [
  Expect<Equal<typeof made.key, Key>>,
  Expect<Equal<typeof made.part, Part>>,
  Expect<Equal<typeof made.range, KeyRange>>,
  Expect<Equal<typeof made.from, Key>>,
  Expect<Equal<typeof made.length, number>>,
  Expect<Equal<typeof made.batch, Batch>>,
  Expect<Equal<KeyRange["start"], Key>>,
  Expect<Key extends Uint8Array ? true : false>,
  Expect<Bytes extends Uint8Array ? true : false>,
  Expect<Equal<Given<ReturnType<typeof estimate>>, { usage?: number; quota?: number; persisted?: boolean }>>,
  Expect<Equal<Given<ReturnType<typeof requestPersistence>>, boolean>>,
  Expect<Equal<ReturnType<typeof limits>, Limits>>,
  Expect<Equal<typeof version, string>>,
];

const given = {
  persist: job.persist(new Batch()),
  tryPersist: job.tryPersist(new Batch()),
  persistPut: job.persistPut("c", k, k),
  persistDelete: job.persistDelete("c", k),
  persistDeletePrefix: job.persistDeletePrefix("c", k),
  persistAcked: job.persistAcked(new Batch()),
  putAcked: job.putAcked("c", k, "s"),
  deleteAcked: job.deleteAcked("c", k),
  flush: job.flush(),
  committed: receipt.committed(),
  durable: receipt.durable(),
  get: job.get("c", k),
  getMany: job.getMany("c", new Set([k])),
  exists: job.exists("c", k),
  existsMany: job.existsMany("c", [k]),
  count: job.count("c"),
  scan: job.scan("c"),
  scanPrefix: job.scanPrefix("c", k),
  rows: job.rows("c"),
  categories: job.categories(),
  committedSeq: job.committedSeq(),
  watchDurableSeq: job.watchDurableSeq(),
  atLeast: job.watchCommittedSeq().atLeast(1n),
  position: job.position(),
  watch: job.watch("c"),
  watched: job.watch("c").position(),
  watchFrom: job.watchFrom(position, "c"),
  watchedFrom: job.watchFrom(position, "c").position(),
  logFrom: job.logFrom(position),
  logged: job.logFrom(position).position(),
  next: job.rows("c").next(),
  holdLog: job.holdLog("n"),
  advanceLog: job.advanceLog("n", 1n),
  releaseLog: job.releaseLog("n"),
  info: job.info(),
  stats: job.stats(),
  check: job.check(),
  compact: job.compact(),
};
type GivenBy = typeof given;

export type OfAJob = [
  Expect<Equal<GivenBy["persist"], Promise<Receipt>>>,
  Expect<Equal<GivenBy["tryPersist"], Receipt>>,
  Expect<Equal<GivenBy["persistPut"], Promise<Receipt>>>,
  Expect<Equal<GivenBy["persistDelete"], Promise<Receipt>>>,
  Expect<Equal<GivenBy["persistDeletePrefix"], Promise<Receipt>>>,
  Expect<Equal<GivenBy["persistAcked"], Promise<bigint>>>,
  Expect<Equal<GivenBy["putAcked"], Promise<bigint>>>,
  Expect<Equal<GivenBy["deleteAcked"], Promise<boolean>>>,
  Expect<Equal<GivenBy["flush"], Promise<void>>>,
  Expect<Equal<GivenBy["committed"], Promise<bigint>>>,
  Expect<Equal<GivenBy["durable"], Promise<bigint>>>,
  Expect<Equal<GivenBy["get"], Promise<Bytes | undefined>>>,
  Expect<Equal<GivenBy["getMany"], Promise<(Bytes | undefined)[]>>>,
  Expect<Equal<GivenBy["exists"], Promise<boolean>>>,
  Expect<Equal<GivenBy["existsMany"], Promise<boolean[]>>>,
  Expect<Equal<GivenBy["count"], Promise<bigint>>>,
  Expect<Equal<GivenBy["scan"], Promise<Row[]>>>,
  Expect<Equal<GivenBy["scanPrefix"], Promise<Row[]>>>,
  Expect<Equal<GivenBy["rows"], Rows>>,
  Expect<Equal<Given<GivenBy["rows"]>, Row>>,
  Expect<Equal<GivenBy["categories"], Promise<string[]>>>,
  Expect<Equal<GivenBy["committedSeq"], bigint>>,
  Expect<Equal<GivenBy["watchDurableSeq"], SeqWatch>>,
  Expect<Equal<Given<GivenBy["watchDurableSeq"]>, bigint>>,
  Expect<Equal<GivenBy["atLeast"], Promise<bigint>>>,
  Expect<Equal<GivenBy["position"], Promise<Position>>>,
  Expect<Equal<GivenBy["watch"], Watch>>,
  Expect<Equal<Given<GivenBy["watch"]>, WatchItem>>,
  Expect<Equal<GivenBy["watched"], Position | undefined>>,
  Expect<Equal<GivenBy["watchFrom"], WatchFrom>>,
  Expect<Equal<GivenBy["watchedFrom"], Position>>,
  Expect<Equal<GivenBy["logFrom"], LogReader>>,
  Expect<Equal<Given<GivenBy["logFrom"]>, WatchItem>>,
  Expect<Equal<GivenBy["logged"], Position>>,
  Expect<Equal<GivenBy["next"], Promise<IteratorResult<Row, undefined>>>>,
  Expect<Equal<GivenBy["holdLog"], Promise<bigint>>>,
  Expect<Equal<GivenBy["advanceLog"], Promise<bigint>>>,
  Expect<Equal<GivenBy["releaseLog"], Promise<void>>>,
  Expect<Equal<GivenBy["info"], Promise<JobInfo>>>,
  Expect<Equal<GivenBy["stats"], Promise<JobStats>>>,
  Expect<Equal<GivenBy["check"], Promise<string[]>>>,
  Expect<Equal<GivenBy["compact"], Promise<void>>>,
];

/** A method of the root is the job's with an id first. */
type OnRoot<Name extends keyof Job & keyof Persistency> =
  Job[Name] extends (...args: infer Args) => infer Answer
    ? Equal<Persistency[Name], (job: string, ...args: Args) => Answer> : false;

export type OfTheRoot = [
  Expect<Equal<Extract<keyof Job, keyof Persistency>, Exclude<keyof Job, "id" | "options" | "isOpen">>>,
  Expect<OnRoot<"persist">>,
  Expect<OnRoot<"get">>,
  Expect<OnRoot<"scan">>,
  Expect<OnRoot<"rows">>,
  Expect<OnRoot<"watchFrom">>,
  Expect<OnRoot<"committedSeq">>,
  Expect<Equal<ReturnType<typeof p.close>, Promise<void>>>,
  Expect<Equal<Parameters<typeof p.close>, []>>,
  Expect<Equal<Given<ReturnType<typeof Persistency.open>>, Persistency>>,
  Expect<Equal<Given<ReturnType<typeof Persistency.current>>, Persistency>>,
  Expect<Equal<Given<ReturnType<typeof p.openJob>>, Job>>,
  Expect<Equal<ReturnType<typeof p.job>, Job>>,
  Expect<Equal<ReturnType<typeof p.hasJob>, boolean>>,
  Expect<Equal<Given<ReturnType<typeof p.listJobs>>, string[]>>,
];

// Every argument that is meant to be taken.
export const taken = [
  Persistency.open("r", { workerUrl: "w.js", wasmUrl: new URL("https://example.org/p.wasm") }),
  Persistency.open("r", { wasmModule: new WebAssembly.Module(new ArrayBuffer(8)), worker: undefined }),
  Persistency.open("r", { worker: "auto" }), Persistency.instance("r", { worker: "none" }),
  p.openJob("a", { durability: "strict", queueOperations: 1, queueBytes: 1, mode: "readOnly" }),
  p.openJob("a", { deadlineMs: null, log: "off" }), p.openJob("a", { deadlineMs: 1, log: { lastBytes: 1 } }),
  p.openJob("a", { mode: "mustExist", log: { lastBytes: 1n } }),
  job.scan("c", {}), job.scan("c", { prefix: k, reverse: true, limit: 1, keysOnly: true }),
  job.scan("c", { gt: k, lte: k }), job.scan("c", { gte: k, lt: k, limit: 1 }), job.scan("c", { lt: k }),
  job.scan("c", prefixRange(k)), job.scan("c", { ...prefixRange(k), reverse: true }),
  job.scan("c", { start: k }), job.scanPrefix("c", k, { limit: 1 }),
  job.count("c", { prefix: k, signal: AbortSignal.timeout(1) }),
  job.get("c", k, { signal: new AbortController().signal }), p.get("alpha", "c", k, {}),
  job.watch("c", { prefix: k, signal: new AbortController().signal }), p.count("alpha", "c", { gte: k }),
  job.watchFrom({ generation: new Uint8Array(16), seq: 1n }, "c"),
];

/** Bytes that are read go where only an ArrayBuffer of their own is taken. */
export const blob = async (bytes: Bytes) => [new Blob([bytes]), await crypto.subtle.digest("SHA-256", bytes)];

/** Kinds, outcomes, items and operations are told apart to the last. */
export function exhaustive(error: PersistencyError, item: WatchItem, op: Op): string {
  const outcome: Outcome = error.outcome;
  const kind: ErrorKind = error.kind;
  const index: number | undefined = error.conflictIndex;
  if (item.type === "lagged") {
    const lagged: Lagged = item;
    return `${lagged.from} ${lagged.to} ${outcome} ${kind} ${index}`;
  }
  const commit: Commit = item;
  switch (op.type) {
    case "put": return `${op.payload.length} ${commit.timeMs}`;
    case "delete": return `${op.key.length}`;
    case "deleteRange": return `${op.range.end?.length}`;
    default: return op satisfies never;
  }
}

/** Everything that has an end can be used with `await using`. */
export async function disposed(): Promise<void> {
  await using root = await Persistency.open(":memory:");
  await using opened = await root.openJob("a");
  await using rows = opened.rows("c");
  await using watch = opened.watch("c");
  await using log = opened.logFrom(await opened.position());
  await using seqs = opened.watchCommittedSeq();
  const ends: AsyncDisposable[] = [root, opened, rows, watch, log, seqs];
  const generic: AsyncIterableIterator<WatchItem>[] = [watch, log];
  void [ends, generic];
}
