// The layer `write_behind`: memory is the truth, the store follows.

import type { Batch, Bytes, Job, ReadOptions } from "../index.js";

/** A set of rows, all in one category. */
export interface WriteBehindSet {
  /** The category of its rows. */
  readonly category: string;
  /**
   * Says what memory has for a key now, or `undefined` if memory has it no longer, which removes the row. With
   * it the set is weak: keys are marked, and written behind. Without it the set is strong. Must answer at once;
   * if it throws the flush fails, and all marks stay.
   */
  readonly read?: (key: Uint8Array) => Uint8Array | string | undefined;
  /** Keys that may be dirty in this set at one time. */
  readonly marks?: number;
  /** Bytes that they may weigh. */
  readonly bytes?: number;
  /** Bytes of a payload at most, which is what a dirty key weighs beside the key itself; 512 by default. */
  readonly payloadBytes?: number;
}

/** How rows hang together; repair removes those that a relation does not allow. */
export interface WriteBehindRelation {
  /**
   * `"requires"`, the default: a row of `child` cannot be without the row of `parent` that `parentOf` says.
   * `"keptBy"`: a row of `parent` is there only as long as some row of `child` says its key.
   */
  readonly kind?: "requires" | "keptBy";
  /** The category of the rows that name a parent. */
  readonly child: string;
  /** The category of the parents: that of a set, or with `parentJob` any of that job. */
  readonly parent: string;
  /**
   * The job that the parents are in, if it is another one of the same root; only for `"requires"`. No batch spans two
   * jobs: a parent that is removed or created there while a repair runs here is seen or not, and a page that ends
   * between a write there and one here can leave an orphan; the next repair finds it. If that job is not open when a
   * repair looks, the repair rejects with `JobNotFound` and removes nothing.
   */
  readonly parentJob?: Job;
  /**
   * The key of a row's parent; `undefined` if the row needs none, or keeps none alive. Must answer at once. The worker
   * waits for the answer as long as the job's deadline says, or for 30 seconds if it has none.
   */
  readonly parentOf: (key: Bytes, payload: Bytes) => Uint8Array | undefined;
}

/** One step of a schema's history. */
export interface WriteBehindMigration {
  /** The version that it leads to; versions start at 1 and ascend. */
  readonly version: number;
  /** Reads the job as the step before left it; the batch is applied together with the version's stamp. */
  readonly step: (job: Job) => Promise<Batch> | Batch;
}

/** What a repair has removed, or would. */
export interface RepairReport {
  /** Rows of all relations together. */
  readonly removed: number;
  /** Batches that were applied; more than one only if one could not hold it all. */
  readonly batches: number;
  /** The relations in the order of their declaration, each with the effect of those before it. */
  readonly relations: readonly {
    readonly kind: "requires" | "keptBy";
    readonly child: string;
    readonly parent: string;
    readonly examined: number;
    readonly removed: number;
  }[];
}

/** When the flusher flushes: at the first tick at which one of these is reached. */
export interface FlushPolicy {
  /** Dirty keys of all sets together; 1,000 by default. */
  readonly marks?: number;
  /** Bytes that they weigh; 4 MiB by default. */
  readonly bytes?: number;
  /** Milliseconds since the last flush that succeeded, or since the flusher was started; 5 minutes by default. */
  readonly intervalMs?: number;
}

/** How an engine is opened. */
export interface WriteBehindOptions {
  /** Keys that may be dirty in all sets together; 99,999 by default and at most. */
  readonly marks?: number;
  /** Bytes that they may weigh; a little less than a batch by default. */
  readonly bytes?: number;
  /** What a flush that is reported as done is: durable (`"strict"`, the default), or only committed. */
  readonly durability?: "strict" | "relaxed";
  /** Milliseconds between two looks of the flusher; 5,000 by default. */
  readonly tickMs?: number;
  /** When the flusher flushes. */
  readonly policy?: FlushPolicy;
  /** Milliseconds that the flusher waits after the first failure; then twice as long each time. 1,000 by default. */
  readonly backoffFirstMs?: number;
  /** Milliseconds that it waits at most; 60,000 by default. */
  readonly backoffMaxMs?: number;
  /** How the sets hang together; repaired when the engine is opened. */
  readonly relations?: readonly WriteBehindRelation[];
  /** How the stored data came to be; steps that are missing are taken when the engine is opened. */
  readonly migrations?: readonly WriteBehindMigration[];
  /** At which version data without a stamp is; `undefined` means 0. Asked only if the job holds rows. */
  readonly legacy?: (job: Job) => Promise<number | undefined> | number | undefined;
  /** Whether to flush when the page is hidden, since it may not be shown again; by default it is. */
  readonly flushWhenHidden?: boolean;
}

/** What a flush has done. */
export interface Flushed {
  /** Rows that were written. */
  readonly upserts: number;
  /** Rows that were removed, those that memory had no longer included. */
  readonly deletes: number;
  /** The commit; `undefined` if nothing was dirty. */
  readonly seq: bigint | undefined;
}

/** Where an engine stands in its worker. */
export interface WriteBehindStatus {
  /** Dirty keys that the worker knows of. */
  readonly dirty: number;
  /** Bytes that they weigh. */
  readonly dirtyBytes: number;
  /** Whether the flusher runs. */
  readonly running: boolean;
  /** Flushes that wrote something. */
  readonly flushes: number;
  /** Rows that they wrote or removed. */
  readonly rows: number;
  /** Flushes that failed since the last one that did not. */
  readonly failures: number;
  /** What the last flush failed with, if it failed. */
  readonly error: string | undefined;
}

/** A set whose rows are durable as soon as a write is acknowledged. */
export interface StrongRows {
  /** The category of its rows. */
  readonly category: string;
  /** The stored payload; `undefined` if there is no such row. What is dirty is not seen. */
  get(key: Uint8Array, options?: ReadOptions): Promise<Bytes | undefined>;
  /** Inserts the row; `Conflict` if there is one, which stays as it is. */
  insert(key: Uint8Array, payload: Uint8Array | string): Promise<void>;
  /** Inserts the row if there is none, and says whether it did; one that is there stays as it is. */
  ensure(key: Uint8Array, payload: Uint8Array | string): Promise<boolean>;
  /** Inserts the row or replaces its payload, and says which. */
  put(key: Uint8Array, payload: Uint8Array | string): Promise<"created" | "updated">;
  /**
   * Replaces the row by what `merge` makes of the stored payload, or inserts it: for fields that an update preserves,
   * as the time of creation. `undefined` leaves everything as it is. What it throws rejects this call, with nothing
   * written. If somebody else changes the row meanwhile it is asked again, at most 16 times, then it is `Conflict`.
   */
  update(
    key: Uint8Array,
    merge: (stored: Bytes | undefined) => Uint8Array | string | undefined,
  ): Promise<"created" | "updated" | "unchanged">;
  /** Removes the row, and says whether there was one. */
  remove(key: Uint8Array): Promise<boolean>;
}

/** A set whose rows are written behind: change memory first, then mark. */
export interface WeakRows extends StrongRows {
  /**
   * Marks a key whose value in memory has changed: it is read and written with the next flush. Waits for nothing, and
   * may be repeated: only the last mark counts. Throws `Overloaded` if there is no room for another dirty key; a
   * flusher that runs flushes then.
   */
  mark(key: Uint8Array): void;
  /** Marks a key whose row is to be removed with the next flush, whatever memory says then. */
  markDelete(key: Uint8Array): void;
}

/**
 * An engine over one job: memory is the page's, the store follows.
 *
 * A flush asks for everything that is dirty in all sets in one turn of the event loop, and writes it in one atomic
 * batch: what is changed and marked in one turn is flushed whole or not at all. Keys that are dirty are remembered here
 * until they are flushed, so a worker that dies takes no mark along. Have one engine on a job.
 */
export class WriteBehind {
  private constructor();
  /**
   * Opens the layer over a job, with its sets, parents first: a flush writes upserts in this order and deletes in the
   * reverse one. Migrates and repairs (a worker that has died is replaced without another repair); a newer version than that of the last migration is `VersionTooNew`, and nothing
   * is touched. Load what is stored by `job.rows` or `job.scan` afterwards; nothing is flushed before `start` or
   * `flush`.
   */
  static open(job: Job, sets: readonly WriteBehindSet[], options?: WriteBehindOptions): Promise<WriteBehind>;
  /** What was done when it was opened. */
  readonly bootstrap: { readonly versionBefore: number; readonly version: number; readonly repair: RepairReport };
  /**
   * Removes rows that the relations do not allow, in one atomic batch, durably. Flushes first, so that a row whose
   * parent is only dirty yet is no orphan; if that fails nothing is removed. Memory is not told: repair before
   * loading, as opening does, or load again.
   */
  repair(): Promise<RepairReport>;
  /** What a repair would remove of what is stored; changes nothing and flushes nothing, so what is only dirty is not seen. */
  repairDryRun(): Promise<RepairReport>;
  /** The weak set of this category; `InvalidArgument` if it was declared without a reader. */
  weak(category: string): WeakRows;
  /** The set of this category, to be written strongly. */
  strong(category: string): StrongRows;
  /** How many keys are dirty, those of a flush under way included. */
  readonly dirty: number;
  /** Writes everything that is dirty in one atomic batch, now; if it fails everything stays dirty. */
  flush(): Promise<Flushed>;
  /** Starts the flusher; `false` if it runs already, which changes nothing. */
  start(): Promise<boolean>;
  /** Stops the flusher and flushes once more, also if it was never started; rejects with what that flush says. */
  stop(): Promise<Flushed>;
  /** Changes when the flusher flushes, from its next tick on; what is left out stays. */
  setPolicy(policy: FlushPolicy): Promise<void>;
  /** Where the engine stands. */
  status(options?: ReadOptions): Promise<WriteBehindStatus>;
  /**
   * Applies a batch strongly: durable when this resolves with its seq. It is newer than every mark made before this
   * call; a key that is marked afterwards is flushed as memory has it then, so change memory first.
   */
  write(batch: Batch): Promise<bigint>;
  /** Gives up what the worker holds for this, without a flush; the job stays open. */
  close(): Promise<void>;
  /** Stops, which flushes, and closes. */
  [Symbol.asyncDispose](): Promise<void>;
}
