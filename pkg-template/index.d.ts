/** What went wrong; the same names as in the Rust crate. */
export type ErrorKind =
  | "InvalidArgument" | "TooLarge" | "Closed" | "JobNotFound" | "Conflict" | "Overloaded" | "Busy"
  | "StorageFull" | "Corrupt" | "VersionTooNew" | "Timeout" | "Unsupported" | "Backend";

/** Whether the operation that failed has changed anything; it is never half applied. */
export type Outcome = "NotApplied" | "Applied" | "Unknown";

/** A failure of a persistency operation. */
export class PersistencyError extends Error {
  readonly kind: ErrorKind;
  readonly outcome: Outcome;
  /** Whether the same call can succeed later without anything being corrected first. */
  readonly retryable: boolean;
  /** Which precondition of the batch failed, counted from 0; only for `Conflict`. */
  readonly conflictIndex?: number;
}

/** The bytes that name a row. Within `key(...)` a Key stands for its own bytes. */
export class Key extends Uint8Array {}

declare const part: unique symbol;
/** A part made by `u64()`, `u8()` or `text()`. */
export interface Part { readonly [part]: never }
/** What a key is made of. Numbers must be safe integers and are written as i64, as bigints are. */
export type KeyPart = string | number | bigint | boolean | Uint8Array | Key | Part | readonly KeyPart[];

/** Makes a key of parts. */
export function key(...parts: KeyPart[]): Key;
/** An unsigned number in 8 bytes. */
export function u64(number: bigint | number): Part;
/** An unsigned number in 1 byte. */
export function u8(number: number): Part;
/** A string that orders as its own UTF-8 bytes do. */
export function text(string: string): Part;
export namespace text {
  /** What all texts that start with `string` start with; only as the last part of a prefix. */
  function prefix(string: string): Part;
}

/** Keys from `start` up to but without `end`; either may be left out. */
export interface KeyRange { start?: Uint8Array; end?: Uint8Array }
/** The same, or every key that begins with `prefix`. */
export type Range = KeyRange | { prefix: Uint8Array };
/** The range of `prefix` itself and of every key that begins with it; all keys if it is empty. */
export function prefixRange(prefix: Uint8Array): KeyRange;

/** How a range is scanned. */
export interface ScanOptions {
  /** From the last row to the first. */
  reverse?: boolean;
  /** At most so many rows. */
  limit?: number;
  /** Keys with empty payloads. */
  keysOnly?: boolean;
}

/** One row of a category. */
export interface Row { key: Key; payload: Uint8Array }

/** What a job is and where it stands. */
export interface JobInfo {
  id: string;
  /** The life of the job: 32 hexadecimal digits, others after it was dropped and created again. */
  generation: string;
  /** When the job was created, in ms since the Unix epoch. */
  createdMs: number;
  committedSeq: bigint;
  durableSeq: bigint;
  /** Whether other tabs can write to it too. */
  shared: boolean;
  mode: "create" | "mustExist" | "readOnly";
  /** Bytes that it occupies, where the platform can tell. */
  bytes?: number;
  /** Bytes of commits that its log keeps; 0 if it keeps none. */
  logBytes: number;
  logFirstSeq: bigint;
}

/** Operations applied in order, all or nothing, behind optional preconditions. Copies what it is given. */
export class Batch {
  /** How many operations it holds; preconditions are not counted. */
  readonly length: number;
  put(category: string, key: Uint8Array, payload: Uint8Array): this;
  delete(category: string, key: Uint8Array): this;
  deletePrefix(category: string, prefix: Uint8Array): this;
  deleteRange(category: string, range?: Range): this;
  clear(category: string): this;
  requireAbsent(category: string, key: Uint8Array): this;
  requirePresent(category: string, key: Uint8Array): this;
  requireEqual(category: string, key: Uint8Array, payload: Uint8Array): this;
}

/** Where the package's own files are, for pages that serve them elsewhere. */
export interface OpenOptions { workerUrl?: string | URL; wasmUrl?: string | URL }

/** A set of jobs under one name of this origin, with a Web Worker of its own. */
export class Persistency {
  private constructor();
  /** Starts the worker and opens the root `name`; `:memory:` keeps everything in memory. */
  static open(name: string, options?: OpenOptions): Promise<Persistency>;
  /** Opens a job, or creates it. */
  openJob(id: string): Promise<Job>;
  /** Closes a job once everything accepted is durable. */
  closeJob(id: string): Promise<void>;
  /** Deletes a job and everything in it. */
  dropJob(id: string): Promise<void>;
  /** The ids of the jobs that exist, ascending. */
  listJobs(): Promise<string[]>;
  /** Closes all jobs once everything accepted is durable, then ends the worker. */
  close(): Promise<void>;
  /** Ends the worker at once: calls under way fail with outcome `Unknown`. */
  terminate(): void;
}

/** An open job: one tenant's ordered map of rows, each a (category, key) with a payload. */
export class Job {
  private constructor();
  readonly id: string;
  /** Queues a batch; resolves when it is accepted. An error of it is told by `flush`. */
  persist(batch: Batch): Promise<void>;
  /** Applies a batch; resolves with its seq when it is committed. */
  persistAcked(batch: Batch): Promise<bigint>;
  /** Queues: insert the row or replace its payload. */
  persistPut(category: string, key: Uint8Array, payload: Uint8Array): Promise<void>;
  /** Queues: remove the row if it is there. */
  persistDelete(category: string, key: Uint8Array): Promise<void>;
  /** Resolves when everything accepted before is durable. */
  flush(): Promise<void>;
  /** The row's payload, or undefined. */
  get(category: string, key: Uint8Array): Promise<Uint8Array | undefined>;
  /** How many rows the range holds. */
  count(category: string, range?: Range): Promise<bigint>;
  /** All rows of the range in key order, in one view; `TooLarge` beyond 64 MiB. */
  scan(category: string, range?: Range & ScanOptions): Promise<Row[]>;
  /** The rows of the range one after another, read by pages, each one view and a new read. */
  rows(category: string, range?: Range & ScanOptions): AsyncGenerator<Row, void, void>;
  /** The categories that hold rows, in the byte order of their names. */
  categories(): Promise<string[]>;
  /** What the job is and where it stands. */
  info(): Promise<JobInfo>;
}
