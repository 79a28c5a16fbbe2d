// What the package exports, in types and words: the sentences of the Rust crate, said for JavaScript.

// `Symbol.asyncDispose` and `AsyncDisposable` are in no library but this one. TypeScript brings it with every
// version from 5.2 on, so the reference asks nothing of a project's own `lib`, and a project that names the
// library itself, or has the same from Node's types, is not disturbed.
/// <reference lib="esnext.disposable" />

// Types of the platform, looked up rather than named: a project without the library `dom` compiles too.

/** The platform's `AbortSignal`; without the types of a platform, what is used of one. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Found } } ? Found : {
  readonly aborted: boolean;
  readonly reason: any;
  throwIfAborted(): void;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
};

/** An address: a string or the platform's `URL`. */
export type Address = string | (typeof globalThis extends { URL: { prototype: infer Found } } ? Found : {
  readonly href: string;
});

/** A compiled `WebAssembly.Module`, which has no properties that a type could tell it by. */
export type CompiledModule = object;

/** Bytes that this package made: a `Uint8Array` over an `ArrayBuffer` of its own, which every API takes. */
export type Bytes = ReturnType<typeof Uint8Array.of>;

/** A payload: bytes as they are, or a string, which is stored as its UTF-8 bytes. */
export type Payload = Uint8Array | string;

// ---------------------------------------------------------------------------------------------------- errors

/**
 * What kind of failure a {@link PersistencyError} is; the same fault gives the same kind as in the Rust
 * crate.
 *
 * | kind | what happened, and what to do |
 * |---|---|
 * | `InvalidArgument` | An argument is malformed or contradicts how the job is open. Correct the call. |
 * | `TooLarge` | An argument or a whole result is beyond a limit. Split the batch, use a limit or `rows`. |
 * | `Closed` | The handle, the job or the root has been closed. Open it again. |
 * | `JobNotFound` | The job is not open, was dropped, or its database has gone. Open it again: a new life. |
 * | `Conflict` | A precondition of the batch did not hold. Read again, then decide anew. |
 * | `Overloaded` | The job's queue is full, said only by `tryPersist`. Try later or use the waiting form. |
 * | `Busy` | An open was blocked past its deadline, usually by another tab. Try later. |
 * | `StorageFull` | The disk or the quota is full. Free room, then try again; reads and `dropJob` still work, deletes in most browsers. |
 * | `Corrupt` | Stored data cannot be read as what it should be. Restore from a backup. |
 * | `VersionTooNew` | The data was written by a newer format than this package knows. Update the package. |
 * | `Timeout` | The job's deadline passed. `outcome` tells whether anything was applied. |
 * | `Unsupported` | The platform cannot do this: no IndexedDB, an opaque origin, no required worker. |
 * | `Backend` | The storage failed in a way that has no kind of its own, or the worker died. See `cause`. |
 */
export type ErrorKind =
  | "InvalidArgument" | "TooLarge" | "Closed" | "JobNotFound" | "Conflict" | "Overloaded" | "Busy"
  | "StorageFull" | "Corrupt" | "VersionTooNew" | "Timeout" | "Unsupported" | "Backend";

/**
 * Whether the operation that failed has changed anything; it is never half applied.
 *
 * `NotApplied`: nothing of it was applied. `Applied`: all of it was applied, only what followed failed (for
 * example the sync). `Unknown`: it cannot be told whether all or nothing was applied.
 */
export type Outcome = "NotApplied" | "Applied" | "Unknown";

/**
 * A failure of a persistency operation. Every promise of this package that rejects does so with one of these,
 * but for a read that was aborted: it rejects with its signal's own reason.
 *
 * `kind` is what programs should match on. The message is for people, names the job, the category and the
 * operation but never a key or a payload, and may change between versions.
 *
 * @example
 * ```ts
 * try {
 *   await job.putAcked("draft", key("letter"), "Dear Ada");
 * } catch (error) {
 *   if (!(error instanceof PersistencyError)) throw error;
 *   if (error.kind === "StorageFull") console.warn("the browser gives us no more room");
 *   else if (error.outcome === "Unknown") console.warn("read again: it may have been applied");
 *   else throw error;
 * }
 * ```
 */
export class PersistencyError extends Error {
  private constructor();
  readonly name: "PersistencyError";
  /** What kind of failure this is. */
  readonly kind: ErrorKind;
  /** Whether the operation changed anything. */
  readonly outcome: Outcome;
  /**
   * Whether the same call can succeed later without anything being corrected first.
   *
   * An error whose outcome is not `NotApplied` is retryable only if repeating the operation is harmless to
   * you, which this field cannot know.
   */
  readonly retryable: boolean;
  /** Which precondition of the batch failed, counted from 0; only for `Conflict`. */
  readonly conflictIndex?: number;
  /** The platform's own error behind this one, where there is one. */
  readonly cause?: unknown;
}

// ------------------------------------------------------------------------------------------------------ keys

/** Makes instances of {@link Key}; only there to be extended. */
declare const KeyBytes: { new (bytes?: ArrayLike<number> | ArrayBuffer): Bytes };

/**
 * The name of a row within its category: any bytes, possibly none.
 *
 * Keys compare as unsigned bytes, and a key sorts before everything it is a prefix of. Make one from typed
 * parts with {@link key}, or from bytes of your own with `Key.from`. Wherever a key is asked for, any other
 * `Uint8Array` will do as well; the class matters within `key(...)` alone, where a `Key` stands for its own
 * bytes and other bytes are written behind their length.
 *
 * @example
 * ```ts
 * const channel = key("channel-42");
 * const message = key(channel, 7n); // the same as key("channel-42", 7n)
 * await job.persistPut("msg", message, "hi");
 * await job.persistPut("raw", Key.from([0xca, 0xfe]), "bytes of my own");
 * ```
 */
export class Key extends KeyBytes {
  /** The key of exactly these bytes. */
  static from(bytes: ArrayLike<number> | Iterable<number>): Key;
  /** The key of exactly these bytes. */
  static of(...bytes: number[]): Key;
}

declare const part: unique symbol;

/** A part made by {@link u64}, {@link u8} or {@link text}. */
export interface Part {
  readonly [part]: never;
}

/** What a key is made of, see {@link key}. */
export type KeyPart = string | number | bigint | boolean | Uint8Array | Part | readonly KeyPart[];

/**
 * Makes a key of parts, so that keys order as their parts do; `key()` is the empty key.
 *
 * | part | bytes | order |
 * |---|---|---|
 * | string; `Uint8Array` | length in 2 bytes, then the bytes | shorter first, then bytewise |
 * | {@link text} | the UTF-8 bytes, 00 as `00 FF`, then `00 01` | bytewise, as a dictionary |
 * | bigint, number | as a signed integer with its sign bit flipped, 8 bytes | numeric |
 * | {@link u64} | 8 bytes | numeric |
 * | {@link u8} | 1 byte | numeric |
 * | boolean | `00` or `01` | false first |
 * | array | its parts in order | by the first part that differs |
 * | {@link Key} | its own bytes | bytewise |
 *
 * All numbers are big-endian. Nothing tells the types apart, so parts of different types can have the same
 * bytes: give every category one shape of key. The Rust crate writes the same bytes.
 *
 * @throws {@link PersistencyError} `InvalidArgument` for a number that is no safe integer, an integer beyond
 * its bytes, a string with lone surrogates, and whatever is no part; `TooLarge` for a string or bytes of more
 * than 65,535 bytes, and a key beyond `limits().keyBytes`.
 *
 * @example
 * ```ts
 * const newest = await job.scan("msg", { prefix: key("channel-42"), reverse: true, limit: 50 });
 * for (const { key: at } of newest) {
 *   const [channel, number] = decodeKey(at, "string", "i64"); // [string, bigint]
 *   console.log(channel, number);
 * }
 * ```
 */
export function key(...parts: KeyPart[]): Key;

/**
 * An unsigned number in 8 bytes.
 *
 * @throws {@link PersistencyError} `InvalidArgument` unless it is an integer from 0 to 2^64 - 1.
 */
export function u64(number: bigint | number): Part;

/**
 * An unsigned number in 1 byte.
 *
 * @throws {@link PersistencyError} `InvalidArgument` unless it is an integer from 0 to 255.
 */
export function u8(number: number): Part;

/**
 * A string in a key that orders as its own UTF-8 bytes do: "a", then "ab", then "b". It has no length of its
 * own to keep to, only the key's.
 *
 * @throws {@link PersistencyError} `InvalidArgument` for a string with lone surrogates.
 *
 * @example
 * ```ts
 * await job.persistPut("name", key(text("GREEK SMALL LETTER ALPHA"), 0x3b1), "α");
 * const greek = await job.scan("name", { prefix: key(text.prefix("GREEK ")) });
 * ```
 */
export function text(string: string): Part;
export namespace text {
  /**
   * What all texts that begin with `beginning` begin with. It has no end, so it must be the **last** part of
   * its key, and the key is for a prefix.
   */
  function prefix(beginning: string): Part;
}

/** What each type of {@link decodeKey} reads a part as. */
export interface DecodedTypes {
  /** A string, behind its length. */
  string: string;
  /** Bytes, behind their length. */
  bytes: Bytes;
  /** A signed integer: what bigints and numbers are written as. */
  i64: bigint;
  /** What {@link u64} wrote. */
  u64: bigint;
  /** What {@link u8} wrote. */
  u8: number;
  boolean: boolean;
  /** What {@link text} wrote. */
  text: string;
  /** All that is left, possibly nothing: a key within the key, which comes last. */
  rest: Key;
}

/** The type of a part, or an array of such types for an array of parts. */
export type DecodeType = keyof DecodedTypes | readonly DecodeType[];

/** The values that {@link decodeKey} reads. */
export type Decoded<Type> =
  [DecodeType] extends [Type] ? unknown // not known until it runs, and recursive: it would never end
  : Type extends keyof DecodedTypes ? DecodedTypes[Type]
  : Type extends readonly DecodeType[] ? { -readonly [At in keyof Type]: Decoded<Type[At]> }
  : never;

/**
 * Reads the parts of a key back: the exact inverse of {@link key}, given the types.
 *
 * @throws {@link PersistencyError} `InvalidArgument` if the bytes are no such parts, end early, or go on
 * after them.
 *
 * @example
 * ```ts
 * const born = key("ada", [1815, 12], true);
 * const [name, [year, month], known] = decodeKey(born, "string", ["i64", "i64"], "boolean");
 * const [channel, rest] = decodeKey(key("channel-42", 7n), "string", "rest");
 * const [number] = decodeKey(rest, "i64"); // 7n
 * ```
 */
export function decodeKey<const Types extends readonly DecodeType[]>(
  key: Uint8Array, ...types: Types
): Decoded<Types>;

// ---------------------------------------------------------------------------------------------------- ranges

/**
 * A range of keys as a value: what {@link prefixRange} gives, and what the operations of a commit have. Its
 * start is in it, its end is not; without an end it goes on to the last key.
 */
export class KeyRange {
  private constructor();
  /** The first key that can be in it. */
  readonly start: Key;
  /** The first key above it; none if it goes on to the end. */
  readonly end?: Key;
}

/** The keys from `start` up to but without `end`, as a {@link KeyRange} has them. */
export interface StartEnd {
  readonly start: Uint8Array;
  readonly end?: Uint8Array | undefined;
  readonly prefix?: never;
  readonly gt?: never;
  readonly gte?: never;
  readonly lt?: never;
  readonly lte?: never;
}

/** The key `prefix` itself and every key that begins with it; an empty one means the whole category. */
export interface Prefix {
  readonly prefix: Uint8Array;
  readonly start?: never;
  readonly end?: never;
  readonly gt?: never;
  readonly gte?: never;
  readonly lt?: never;
  readonly lte?: never;
}

/** Where a range begins: above a key, at a key, or at the first of all. */
export type LowerBound =
  | { readonly gt?: Uint8Array | undefined; readonly gte?: never }
  | { readonly gte?: Uint8Array | undefined; readonly gt?: never };

/** Where a range ends: below a key, at a key, or at the last of all. */
export type UpperBound =
  | { readonly lt?: Uint8Array | undefined; readonly lte?: never }
  | { readonly lte?: Uint8Array | undefined; readonly lt?: never };

/** The keys between two bounds, each inclusive, exclusive or open; `{}` is all keys. */
export type Bounds = LowerBound & UpperBound & {
  readonly prefix?: never;
  readonly start?: never;
  readonly end?: never;
};

/**
 * A range of keys. One that is inverted or empty holds no key and is never an error; one that says two things
 * at once (`prefix` with a bound, `gt` with `gte`) or has a property of another name is `InvalidArgument`.
 *
 * @example
 * ```ts
 * await job.count("msg"); // the whole category
 * await job.count("msg", { prefix: key("channel-1") });
 * await job.count("msg", { gte: key("channel-1", 10n), lt: key("channel-1", 20n) });
 * await job.count("msg", prefixRange(key("channel-1")));
 * ```
 */
export type Range = StartEnd | Prefix | Bounds;

/**
 * The range of `prefix` itself and every key that begins with it; all keys if it is empty.
 *
 * A prefix of typed parts reaches whole parts only, since a string is written after its length: use
 * `text.prefix` to find the strings that begin with another.
 *
 * @example
 * ```ts
 * const channel = prefixRange(key("channel-1")); // holds key("channel-1", 7n), not key("channel-10", 7n)
 * await job.persistAcked(new Batch().deleteRange("msg", channel));
 * ```
 */
export function prefixRange(prefix: Uint8Array): KeyRange;

// --------------------------------------------------------------------------------------------------- options

/** How a root is opened, and where the package's own files are, for pages that serve them elsewhere. */
export interface OpenOptions {
  /** Where `worker.js` is; beside `index.js` by default. */
  readonly workerUrl?: Address | undefined;
  /**
   * Where `persistency.wasm` is; beside `index.js` by default. The root `:memory:`, and a root that may run in the
   * page, take `persistency-memory.wasm`, which serves every root.
   */
  readonly wasmUrl?: Address | undefined;
  /** The compiled `persistency.wasm`, or the other one as above, for pages that load it themselves; it is not fetched then. */
  readonly wasmModule?: CompiledModule | undefined;
  /**
   * Where the store runs. `"auto"` (the default): in a Web Worker, or in the page if none can start, which
   * {@link Persistency.mode} tells. `"required"`: in a worker; `Unsupported` if none can start. `"none"`: in
   * the page.
   */
  readonly worker?: "auto" | "required" | "none" | undefined;
}

/**
 * When a commit is put on the medium. `"relaxed"`: when somebody waits for it (`flush`, `receipt.durable()`,
 * closing); until then a commit survives the death of the tab and of the browser, but not a loss of power.
 * `"strict"`: with every commit.
 */
export type Durability = "relaxed" | "strict";

/**
 * Whether a job may be created or written. `"create"`: opens the job, or creates it if it does not exist.
 * `"mustExist"`: `JobNotFound` if it does not exist. `"readOnly"`: for reading only; `JobNotFound` if it does
 * not exist.
 */
export type OpenMode = "create" | "mustExist" | "readOnly";

/**
 * What a job's commit log keeps, beside what its holders have not released yet: nothing, or the newest
 * commits up to about so many bytes.
 */
export type LogRetention = "off" | { readonly lastBytes: number | bigint };

/**
 * How a job is opened. The default creates what does not exist and commits without waiting for the medium.
 *
 * @example
 * ```ts
 * const job = await p.openJob("alpha", { durability: "strict", queueOperations: 1_000 });
 * ```
 */
export interface JobOptions {
  /** When commits are put on the medium; `"relaxed"` by default. */
  readonly durability?: Durability | undefined;
  /** How many operations the queue holds before `persist` waits; 100,000 by default. */
  readonly queueOperations?: number | undefined;
  /** How many bytes the queue holds before `persist` waits; 16 MiB by default. */
  readonly queueBytes?: number | undefined;
  /** Milliseconds that a call may take before it answers `Timeout`; 30,000 by default, null for no end. */
  readonly deadlineMs?: number | null | undefined;
  /**
   * What the job's commit log keeps from now on; it is stored with the job. Without this the stored retention
   * stays, which is off in a new job.
   */
  readonly log?: LogRetention | undefined;
  /** Whether the job may be created or written; `"create"` by default. */
  readonly mode?: OpenMode | undefined;
}

/** What every read takes. */
export interface ReadOptions {
  /** Gives the read up: it rejects with the signal's own reason, as `fetch` does. */
  readonly signal?: Signal | undefined;
}

/** How a range is scanned. */
export interface ScanOptions extends ReadOptions {
  /** From the last row to the first. */
  readonly reverse?: boolean | undefined;
  /** At most so many rows, the first in the scan's order. */
  readonly limit?: number | undefined;
  /** Keys without their payloads: every payload is empty. */
  readonly keysOnly?: boolean | undefined;
}

// --------------------------------------------------------------------------------------------------- batches

/**
 * Operations applied in order, all or nothing, behind optional preconditions. Copies what it is given, so the
 * arrays can be used again at once.
 *
 * Preconditions are checked in order before the batch's own operations, and see all batches before it. If one
 * does not hold, nothing of the batch is applied and it is a `Conflict`.
 *
 * @throws {@link PersistencyError} From the method that adds it: `InvalidArgument` for what is malformed,
 * `TooLarge` for what is beyond {@link limits}. The batch stays as it was.
 *
 * @example
 * ```ts
 * const batch = new Batch()
 *   .requireAbsent("user", key("ada"))
 *   .put("user", key("ada"), "Ada Lovelace")
 *   .deletePrefix("cache", key("ada"));
 * await job.persistAcked(batch);
 * ```
 *
 * @example
 * A precondition on what was read makes a compare-and-set: read again and repeat on `Conflict`.
 * ```ts
 * async function nextNumber(job: Job): Promise<number> {
 *   for (;;) {
 *     const last = await job.get("counter", key("n"));
 *     const number = last ? Number(new TextDecoder().decode(last)) + 1 : 1;
 *     const batch = new Batch().put("counter", key("n"), String(number));
 *     if (last) batch.requireEqual("counter", key("n"), last);
 *     else batch.requireAbsent("counter", key("n"));
 *     try {
 *       await job.persistAcked(batch);
 *       return number;
 *     } catch (error) {
 *       if (!(error instanceof PersistencyError && error.kind === "Conflict")) throw error;
 *     }
 *   }
 * }
 * ```
 */
export class Batch {
  /** A batch without operations; handed to a job it answers with the current seq. */
  constructor();
  /** How many operations it holds; preconditions are not counted. */
  readonly length: number;
  /** Adds: insert the row or replace its payload. */
  put(category: string, key: Uint8Array, payload: Payload): this;
  /** Adds: remove the row if it is there. */
  delete(category: string, key: Uint8Array): this;
  /** Adds: remove every row whose key begins with `prefix`; an empty one means the whole category. */
  deletePrefix(category: string, prefix: Uint8Array): this;
  /** Adds: remove every row whose key lies in `range`; an empty or inverted one removes nothing. */
  deleteRange(category: string, range: Range): this;
  /** Adds: remove every row of the category. */
  clear(category: string): this;
  /** Requires that the row is not there. */
  requireAbsent(category: string, key: Uint8Array): this;
  /** Requires that the row is there, whatever its payload. */
  requirePresent(category: string, key: Uint8Array): this;
  /** Requires that the row is there with exactly this payload. */
  requireEqual(category: string, key: Uint8Array, payload: Payload): this;
}

/**
 * The receipt of an accepted batch.
 *
 * Ignoring it changes nothing: the batch is committed all the same, and an error that no receipt returned
 * goes to the next `flush` or close. Its promises are made when they are asked for, so an ignored receipt is
 * no unhandled rejection.
 *
 * @example
 * ```ts
 * const receipt = await job.persistPut("msg", key("channel-1", 1n), "hi"); // accepted
 * await receipt.committed(); // the death of the tab cannot undo it
 * const seq = await receipt.durable(); // survives a loss of power, as far as the browser can promise
 * ```
 */
export class Receipt {
  private constructor();
  /**
   * Waits until the batch is committed: other tabs see it, and the death of this tab or its worker cannot
   * undo it. Resolves with its seq; that of a batch without operations is the job's seq at its turn.
   *
   * @throws {@link PersistencyError} The batch's own error: `Conflict`, `StorageFull`, `Timeout`,
   * `JobNotFound`, `Corrupt` or `Backend`. The neighbours of a failed batch are committed all the same.
   */
  committed(): Promise<bigint>;
  /**
   * Waits until the batch is durable: it survives a loss of power as far as the platform can promise. Asking
   * for it is what makes a relaxed job sync. Resolves with its seq.
   *
   * @throws {@link PersistencyError} The batch's own error as for {@link Receipt.committed}; or that of the
   * sync, whose outcome is `Applied`.
   */
  durable(): Promise<bigint>;
}

// ----------------------------------------------------------------------------------------------------- reads

/** One row of a category. */
export interface Row {
  /** The row's key. */
  readonly key: Key;
  /** The row's payload; empty in a scan of keys only. */
  readonly payload: Bytes;
}

/** Items that come one after another: for `for await`, which gives them up when the loop is left. */
export interface Items<Item> extends AsyncIterableIterator<Item>, AsyncDisposable {
  next(): Promise<IteratorResult<Item, undefined>>;
  /** Ends it: further calls of `next` answer that it is done. */
  return(): Promise<IteratorResult<Item, undefined>>;
  [Symbol.asyncIterator](): this;
  /** The same as `return`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The rows of a scan one after another, see {@link Job.rows}. */
export interface Rows extends Items<Row> {}

// ------------------------------------------------------------------------------------------ watches and log

/**
 * A place in a job's history: everything up to `seq` of one generation.
 *
 * To go on after a restart, store both fields and make the position of them again. Behind an item of the log
 * lies the item's own `seq`, or `to` if it is `lagged`.
 */
export interface Position {
  /** The life of the job, 16 random bytes; a dropped and recreated job has another. */
  readonly generation: Uint8Array;
  /** The last commit that lies behind. */
  readonly seq: bigint;
}

/** One operation of a commit; the three deleting forms of a batch are all one `deleteRange`. */
export type Op =
  | { readonly type: "put"; readonly category: string; readonly key: Key; readonly payload: Bytes }
  | { readonly type: "delete"; readonly category: string; readonly key: Key }
  | { readonly type: "deleteRange"; readonly category: string; readonly range: KeyRange };

/** A committed batch, as the log and the watchers see it. */
export interface Commit {
  readonly type: "commit";
  /** The batch's commit number. */
  readonly seq: bigint;
  /** When it was committed, in ms since the Unix epoch; never less than that of an earlier commit. */
  readonly timeMs: number;
  /** Who committed it: 16 random bytes for each opening of a job for writing. */
  readonly writer: Bytes;
  /** What it did, in order; for a watcher only what touches its range, cut to it. */
  readonly operations: readonly Op[];
}

/** The commits `from` to `to` can no longer be told; the next item comes after `to`. Read the range anew. */
export interface Lagged {
  readonly type: "lagged";
  /** The first seq that is missing. */
  readonly from: bigint;
  /** The last seq that is missing. */
  readonly to: bigint;
}

/** What a watch or the log yields. */
export type WatchItem = Commit | Lagged;

/**
 * Committed batches that touch a range, see {@link Job.watch}.
 *
 * After the job has been closed, dropped or lost, `next` rejects with that error once and then says that it
 * is done. A worker that dies ends no watch: it goes on from its position with the next worker.
 */
export interface Watch extends Items<WatchItem> {
  /** The place in the job's history behind everything this watch has yielded; unknown before it starts. */
  position(): Position | undefined;
}

/** A watch that started from a position, see {@link Job.watchFrom}. */
export interface WatchFrom extends Watch {
  /** The place in the job's history behind everything this watch has yielded. */
  position(): Position;
}

/** The commit log from a position to its present end, see {@link Job.logFrom}. */
export interface LogReader extends Items<WatchItem> {
  /** The place in the job's history behind everything this reader has yielded. */
  position(): Position;
}

/** Follows one of a job's watermarks: each new seq, of which those that come quickly are one. */
export interface SeqWatch extends Items<bigint> {
  /** The seq now; a lower bound. */
  seq(): bigint;
  /**
   * Waits until the seq is at least `seq`, and resolves with what it is then.
   *
   * @throws {@link PersistencyError} `Closed` or `JobNotFound` if the job ends before.
   */
  atLeast(seq: bigint, options?: ReadOptions): Promise<bigint>;
}

// ------------------------------------------------------------------------------------- what a job tells

/** What a job is and where it stands, see {@link Job.info}. */
export interface JobInfo {
  /** The job's id. */
  readonly id: string;
  /** The life of the job: 32 hexadecimal digits, others after it was dropped and created again. */
  readonly generation: string;
  /** When the job was created, in ms since the Unix epoch. */
  readonly createdMs: number;
  /** The last commit. */
  readonly committedSeq: bigint;
  /** The last commit that survives a loss of power. */
  readonly durableSeq: bigint;
  /** Whether others, such as another tab, can write to it too. */
  readonly shared: boolean;
  /** Where the store runs: in a Web Worker or in the page. */
  readonly mode: "worker" | "page";
  /** How it was opened. */
  readonly openMode: OpenMode;
  /** Bytes that it occupies, where the platform can tell. */
  readonly bytes?: number;
  /** What its commit log keeps. */
  readonly log: "off" | { readonly lastBytes: bigint };
  /** The first commit in the log; one more than `committedSeq` if it is empty. */
  readonly logFirstSeq: bigint;
  /** The log's named holders, and the seq up to which each has released it. */
  readonly logHolders: readonly { readonly name: string; readonly seq: bigint }[];
}

/** What a job has done since it was opened here, see {@link Job.stats}. */
export interface JobStats {
  /** Operations in the queue now. */
  readonly queuedOperations: number;
  /** Bytes in the queue now. */
  readonly queuedBytes: number;
  /** Batches committed. */
  readonly batchesCommitted: number;
  /** Writes that failed. */
  readonly batchesFailed: number;
  /** Transactions that committed batches. */
  readonly groups: number;
  /** Transactions that made commits durable for somebody who waited. */
  readonly syncs: number;
  /** Reads asked for. */
  readonly reads: number;
}

/** The limits that a caller can meet, the same on every platform; see {@link limits}. */
export interface Limits {
  /** Bytes of a job id (UTF-8): 64. */
  readonly jobIdBytes: number;
  /** Bytes of a category (UTF-8): 255. */
  readonly categoryBytes: number;
  /** Bytes of a key: 128 KiB. */
  readonly keyBytes: number;
  /** Bytes of a payload: 64 MiB. */
  readonly payloadBytes: number;
  /** Bytes of a batch, its categories, keys, payloads and precondition values: 96 MiB. */
  readonly batchBytes: number;
  /** Operations and preconditions of a batch: 100,000. */
  readonly batchOperations: number;
  /** Bytes of keys and payloads that a whole scan or `getMany` returns, a single row excepted: 64 MiB. */
  readonly scanBytes: number;
  /** Bytes of one page of `rows`, unless its single row is larger: 1 MiB. */
  readonly pageBytes: number;
}

/** The limits that a caller can meet. They bind what is written; what is stored can always be read. */
export function limits(): Limits;

/**
 * How much of its storage this origin uses, and whether it is kept from eviction; what the browser does not
 * tell is left out. The numbers are the browser's estimates, and some pad them. Never rejects.
 *
 * @example
 * ```ts
 * const { usage = 0, quota = Infinity } = await estimate();
 * if (usage > 0.9 * quota) console.warn("storage is nearly full");
 * ```
 */
export function estimate(): Promise<{ usage?: number; quota?: number; persisted?: boolean }>;

/**
 * Asks the browser not to evict this origin's storage; tells whether it has agreed, false where it cannot be
 * asked. Some browsers ask the user, so call it where that is expected, and let nothing wait for it.
 */
export function requestPersistence(): Promise<boolean>;

/** The version of the package. */
export const version: string;

// ------------------------------------------------------------------------------------------------------ jobs

/**
 * An open job: one tenant's ordered map of rows, each a (category, key) with a payload.
 *
 * **Ordering.** Writes are applied in the order of their acceptance, which is the order of the calls. A read
 * sees every batch that was accepted on this root before the read was asked for, possibly later ones too,
 * each whole.
 *
 * **Errors.** Methods that return a promise reject it, others throw. Every method can answer `Closed` (the
 * job or root has been closed), `JobNotFound` (the job has been dropped), `Timeout` (unless `deadlineMs` is
 * null), `Corrupt` and `Backend`; the last with the outcome `Unknown` if the worker died, after which the
 * next call starts another one. Category, key and payload beyond {@link limits} are `TooLarge`, and what has
 * the wrong type `InvalidArgument`, found before anything is queued. Methods name what they add to that.
 *
 * **Cancellation.** A read takes an `AbortSignal`. A write has none: ignoring its promise changes nothing,
 * and what has been accepted is committed.
 *
 * @example
 * ```ts
 * const job = await p.openJob("alpha");
 * await job.persistPut("msg", key("channel-1", 1n), "hi"); // accepted: every later read sees it
 * await job.flush(); // durable
 * const payload = await job.get("msg", key("channel-1", 1n)); // Uint8Array or undefined
 * ```
 */
export class Job implements AsyncDisposable {
  private constructor();
  /** The job's id. */
  readonly id: string;
  /** The options with which it is open, the defaults among them. */
  options(): JobOptions;
  /** Whether calls on this handle are still taken. */
  isOpen(): boolean;
  /**
   * Gives this handle back; the last one closes the job as {@link Persistency.closeJob} does. Safe to repeat.
   *
   * @throws {@link PersistencyError} As {@link Persistency.closeJob}, for the last handle.
   */
  close(): Promise<void>;
  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * Queues a batch; resolves when it is accepted, which waits while the queue is full.
   *
   * An accepted batch can be lost with the tab. Wait on the {@link Receipt}, or {@link Job.flush}, for more.
   *
   * @throws {@link PersistencyError} `TooLarge`; `Unsupported` if the job is open for reading only.
   */
  persist(batch: Batch): Promise<Receipt>;
  /**
   * Queues a batch if there is room for it now.
   *
   * @throws {@link PersistencyError} `Overloaded` if there is not, and as {@link Job.persist}; thrown by the
   * call itself.
   */
  tryPersist(batch: Batch): Receipt;
  /** Queues: insert the row or replace its payload. See {@link Job.persist}. */
  persistPut(category: string, key: Uint8Array, payload: Payload): Promise<Receipt>;
  /** Queues: remove the row if it is there. See {@link Job.persist}. */
  persistDelete(category: string, key: Uint8Array): Promise<Receipt>;
  /**
   * Queues: remove every row whose key begins with `prefix`; an empty one means the whole category. See
   * {@link Job.persist}.
   */
  persistDeletePrefix(category: string, prefix: Uint8Array): Promise<Receipt>;
  /**
   * Applies a batch; resolves with its seq when it is committed.
   *
   * @throws {@link PersistencyError} `Conflict` with the index of the precondition that failed; `TooLarge`,
   * `StorageFull`, `Unsupported` if the job is open for reading only.
   */
  persistAcked(batch: Batch): Promise<bigint>;
  /**
   * Inserts the row or replaces its payload; resolves with its seq when it is committed.
   *
   * @throws {@link PersistencyError} As {@link Job.persistAcked}.
   */
  putAcked(category: string, key: Uint8Array, payload: Payload): Promise<bigint>;
  /**
   * Removes the row; resolves when that is committed, and tells whether the row was there.
   *
   * @throws {@link PersistencyError} As {@link Job.persistAcked}.
   */
  deleteAcked(category: string, key: Uint8Array): Promise<boolean>;
  /**
   * Waits until everything accepted before is durable.
   *
   * @throws {@link PersistencyError} The first error among what was accepted before and that no receipt has
   * reported, with the number of others; otherwise that of the sync.
   */
  flush(): Promise<void>;

  /** The row's payload, or undefined if there is no such row. */
  get(category: string, key: Uint8Array, options?: ReadOptions): Promise<Bytes | undefined>;
  /**
   * The payloads of several rows in the order asked for, in one view.
   *
   * @throws {@link PersistencyError} `TooLarge` if they are together larger than `limits().scanBytes`.
   */
  getMany(
    category: string, keys: Iterable<Uint8Array>, options?: ReadOptions,
  ): Promise<(Bytes | undefined)[]>;
  /** Whether the row is there. */
  exists(category: string, key: Uint8Array, options?: ReadOptions): Promise<boolean>;
  /** Whether each of several rows is there, in the order asked for, in one view. */
  existsMany(category: string, keys: Iterable<Uint8Array>, options?: ReadOptions): Promise<boolean[]>;
  /** How many rows a range of the category holds; an inverted or empty range holds none. */
  count(category: string, range?: Range & ReadOptions): Promise<bigint>;
  /**
   * All rows of a range of the category in key order, in one view; an inverted or empty range yields no row.
   *
   * @throws {@link PersistencyError} `TooLarge` if the rows are together larger than `limits().scanBytes`, a
   * single row excepted: use a limit, or {@link Job.rows}.
   *
   * @example
   * ```ts
   * const newest = await job.scan("msg", { prefix: key("channel-1"), reverse: true, limit: 50 });
   * const keys = await job.scan("msg", { gte: key("channel-1", 10n), keysOnly: true });
   * ```
   */
  scan(category: string, range?: Range & ScanOptions): Promise<Row[]>;
  /**
   * All rows whose key begins with `prefix`, an empty one means the whole category; as {@link Job.scan}.
   */
  scanPrefix(category: string, prefix: Uint8Array, options?: ScanOptions): Promise<Row[]>;
  /**
   * The rows of a range one after another, read by pages of at least one row, bounded in bytes.
   *
   * Each page is one view of the job at the time it is asked for: a row that is inserted behind the position
   * is not seen any more, one ahead of it is.
   *
   * @example
   * ```ts
   * for await (const row of job.rows("msg", { prefix: key("channel-1") })) {
   *   if (row.payload.length > 1_000_000) break; // leaving the loop ends the reading
   * }
   * ```
   */
  rows(category: string, range?: Range & ScanOptions): Rows;
  /** The categories that hold rows, in the byte order of their names. */
  categories(options?: ReadOptions): Promise<string[]>;

  /** The last commit as far as this page knows; others may have committed more. */
  committedSeq(): bigint;
  /** The last durable commit as far as this page knows. */
  durableSeq(): bigint;
  /** Follows {@link Job.committedSeq}. */
  watchCommittedSeq(): SeqWatch;
  /** Follows {@link Job.durableSeq}. */
  watchDurableSeq(): SeqWatch;
  /** Where the job stands: its generation and last commit, read anew. */
  position(options?: ReadOptions): Promise<Position>;

  /**
   * Watches a range from now on: one item for each committed batch that touches it, with its operations cut
   * to the range, whichever tab committed it.
   *
   * A consumer that falls too far behind gets a {@link Lagged} and goes on after the gap; with a commit log
   * kept (see {@link JobOptions.log}) it can fall further behind. Other tabs' operations come from the log
   * too, and are `lagged` without.
   *
   * @throws {@link PersistencyError} `TooLarge` from `next` if the job has too many watches.
   *
   * @example
   * ```ts
   * for await (const item of job.watch("msg", { prefix: key("channel-1") })) {
   *   if (item.type === "lagged") continue; // read the channel anew
   *   for (const op of item.operations) {
   *     if (op.type === "put") console.log("new or changed", decodeKey(op.key, "string", "i64"));
   *   }
   * }
   * ```
   */
  watch(category: string, range?: Range & ReadOptions): Watch;
  /**
   * Watches a range from a position: first what was committed since, then as {@link Job.watch}.
   *
   * @throws {@link PersistencyError} From `next`: `JobNotFound` if the position is of another generation,
   * `InvalidArgument` if the job has not come so far. A seq that is no longer in the log yields `lagged`.
   */
  watchFrom(position: Position, category: string, range?: Range & ReadOptions): WatchFrom;
  /**
   * Reads the commit log from a position to its present end.
   *
   * @throws {@link PersistencyError} As {@link Job.watchFrom}.
   *
   * @example
   * ```ts
   * let seen = await job.position(); // stored somewhere, taken up again after a restart
   * const log = job.logFrom(seen);
   * for await (const item of log) console.log(item.type);
   * seen = log.position();
   * ```
   */
  logFrom(position: Position, options?: ReadOptions): LogReader;
  /**
   * Keeps the log from now on until `name` advances or releases it; resolves with the seq after which it is
   * kept. A holder that is there already stays where it is. Stored with the job. One whose name begins with
   * `while-open/` ends, at the latest, when the job is opened again and nobody else has it open.
   *
   * @throws {@link PersistencyError} `InvalidArgument` or `TooLarge` for a name that is not 1 to 255 bytes;
   * `TooLarge` beyond 64 holders.
   */
  holdLog(name: string): Promise<bigint>;
  /**
   * Releases the log up to and including `seq` for `name`; never goes back. Resolves with the seq up to which
   * it is released now, at most the committed one.
   *
   * @throws {@link PersistencyError} `InvalidArgument` if there is no such holder.
   */
  advanceLog(name: string, seq: bigint): Promise<bigint>;
  /** Ends the hold of `name` on the log; fine if there is none. */
  releaseLog(name: string): Promise<void>;

  /** What the job is and where it stands. */
  info(options?: ReadOptions): Promise<JobInfo>;
  /** What the job has done since it was opened here. */
  stats(): Promise<JobStats>;
  /**
   * Looks for damage in everything that is stored; one sentence for each finding, none if all is well. Reads
   * the whole job.
   */
  check(): Promise<string[]>;
  /**
   * Gives unused room back to the platform.
   *
   * @throws {@link PersistencyError} `Unsupported` if the job is open for reading only.
   */
  compact(): Promise<void>;
}

/** What a handle has and the root has not: its own identity and end. */
type HandleOnly = "id" | "options" | "isOpen" | "close" | typeof Symbol.asyncDispose;

/**
 * Every method of a {@link Job} that reads or writes, with the job's id first: `p.get("alpha", "msg", k)`.
 * A job that is not open is `JobNotFound`.
 */
export type JobsById = {
  [Name in keyof Job as Exclude<Name, HandleOnly>]:
    Job[Name] extends (...args: infer Args) => infer Answer ? (job: string, ...args: Args) => Answer : never;
};

// ----------------------------------------------------------------------------------------------------- roots

export interface Persistency extends JobsById, AsyncDisposable {}

/**
 * A root: any number of jobs, each isolated from the others, under one name of this origin, shared by its
 * tabs; `":memory:"` keeps everything in memory until it is closed. It has a Web Worker of its own, so that
 * the page never waits for the disk.
 *
 * End with {@link Persistency.close} or {@link Persistency.closeJob}, or await {@link Job.flush} where it
 * matters: what is only accepted is lost with the tab.
 *
 * When the worker dies, all calls that it has not answered reject with `Backend` and the outcome `Unknown`.
 * The next call starts a new worker, which opens the jobs again and compares their generations: one that was
 * dropped meanwhile is `JobNotFound`, never a new and empty one. Jobs of `":memory:"` answer `Closed`.
 *
 * @example
 * ```ts
 * import { Persistency, key } from "persistency";
 *
 * const p = await Persistency.open("my-app");
 * const job = await p.openJob("alpha");
 * await job.persistPut("msg", key("channel-1", 1n), "hi"); // accepted
 * await job.flush(); // durable
 * const rows = await job.scan("msg", { prefix: key("channel-1"), reverse: true, limit: 50 });
 * console.log(new TextDecoder().decode(rows[0]?.payload)); // hi
 * await p.close();
 * ```
 */
export class Persistency {
  private constructor();
  /**
   * Makes an independent root and starts its worker; nothing is created before its first job is opened.
   *
   * @throws {@link PersistencyError} `InvalidArgument` if `root` is empty or an option is unknown;
   * `Unsupported` without a browser, without a worker where one is required, or if the package's files cannot
   * be loaded.
   *
   * @example
   * ```ts
   * const inMemory = await Persistency.open(":memory:");
   * const [workerUrl, wasmUrl] = ["/assets/worker.js", "/assets/persistency.wasm"];
   * const elsewhere = await Persistency.open("my-app", { workerUrl, wasmUrl });
   * ```
   */
  static open(root: string, options?: OpenOptions): Promise<Persistency>;
  /**
   * The page-wide root: the first call makes it, later ones with the same root return it.
   *
   * @throws {@link PersistencyError} `InvalidArgument` if it has another root, which stays as it is; or as
   * {@link Persistency.open}.
   */
  static instance(root: string, options?: OpenOptions): Promise<Persistency>;
  /**
   * The page-wide root.
   *
   * @throws {@link PersistencyError} `Closed` if there is none yet.
   */
  static current(): Promise<Persistency>;
  /** Closes the page-wide root and makes room for another one; fine if there is none. */
  static reset(): Promise<void>;

  /** The root as it was given. */
  readonly root: string;
  /** Where the store runs: in a Web Worker or in the page. */
  readonly mode: "worker" | "page";

  /**
   * Opens the job, or creates it. Concurrent calls get the same job; one that is being closed or dropped is
   * waited for. Without options a job that is open already is joined, whatever its options are.
   *
   * @throws {@link PersistencyError} `InvalidArgument` for an empty id, or options other than those it is
   * open with; `TooLarge` for an id beyond 64 bytes; `Busy` if another tab keeps the job from being opened
   * past the deadline; `JobNotFound` if it must exist and does not; `StorageFull`, `Corrupt`,
   * `VersionTooNew`, `Unsupported`, `Backend`; `Closed` if the root is.
   */
  openJob(id: string, options?: JobOptions): Promise<Job>;
  /**
   * The open job of this id.
   *
   * @throws {@link PersistencyError} `JobNotFound` if it is not open; thrown by the call itself.
   */
  job(id: string): Job;
  /** Whether the job is open. */
  hasJob(id: string): boolean;
  /** The ids of the jobs that exist, open or not, ascending. */
  listJobs(): Promise<string[]>;
  /**
   * Closes the job: everything accepted is committed and made durable, then its database is released. Fine if
   * it is not open.
   *
   * @throws {@link PersistencyError} The first error that no receipt has reported, with the number of others;
   * otherwise that of the last sync. The job is closed all the same.
   */
  closeJob(id: string): Promise<void>;
  /**
   * Deletes the job with everything in it, open or not; fine if there is none.
   *
   * What was accepted before is settled first. Handles of the job anywhere, other tabs included, answer
   * `JobNotFound` afterwards, and a job that is created under this id again is another one.
   *
   * @throws {@link PersistencyError} `VersionTooNew` for a job of a newer format, which stays; `Backend` if
   * the platform does not let it be deleted.
   */
  dropJob(id: string): Promise<void>;
  /**
   * Closes every job and the root, then ends the worker; handles of either answer `Closed` afterwards. Safe
   * to repeat.
   *
   * @throws {@link PersistencyError} The first error of closing a job, with the number of others. Everything
   * is closed all the same.
   */
  close(): Promise<void>;
  /**
   * Ends the worker at once, as if it had died: calls under way reject with the outcome `Unknown`, those that
   * were waiting for a worker to start with `NotApplied`, what is not committed may be lost, and the next call
   * starts another one.
   */
  terminate(): void;
  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
