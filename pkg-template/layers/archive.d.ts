// The layer `archive`: a job's history on a server, and restored from there.

import type { Bytes, Commit, Items, Job, Persistency, PersistencyError, ReadOptions } from "../index.js";

/** A server that keeps archives, and how it is spoken to; docs/archive.md has the protocol. */
export interface ArchiveServer {
  /** The base address, of http or https; one that is not whole is taken from the page's. */
  readonly url: string | { readonly href: string };
  /** Headers of every request, such as `authorization`: whatever `new Headers()` takes. */
  readonly headers?: Readonly<Record<string, string>> | Iterable<readonly [string, string]> | undefined;
  /** Whether cookies go along, as `fetch` has it; `"same-origin"` by default. */
  readonly credentials?: "omit" | "same-origin" | "include" | undefined;
  /** Milliseconds that one request may take; two minutes by default. */
  readonly timeoutMs?: number | undefined;
}

/** When what has been committed is shipped: as soon as one of these is reached. */
export interface ArchiveCut {
  /** Milliseconds since the oldest commit that is not archived; 5 minutes by default. */
  readonly ageMs?: number | undefined;
  /** Commits that are not archived; 20,000 by default. A segment holds no more. */
  readonly commits?: number | undefined;
  /** About so many bytes of the log; 8 MiB by default. */
  readonly bytes?: number | undefined;
  /** So many commits of that age; 1,000 and 30 seconds by default, `false` for never. */
  readonly early?: { readonly commits: number; readonly ageMs: number } | false | undefined;
}

/** How a job is archived. */
export interface ArchiveOptions {
  /** The archive's name on the server: what a job's id may be; the job's id by default. */
  readonly name?: string | undefined;
  /** When segments are cut. */
  readonly cut?: ArchiveCut | undefined;
  /**
   * A new base is taken when the segments since the last one have so many bytes, and as many as that base has; 256 MiB
   * by default.
   */
  readonly baseAfterBytes?: number | undefined;
  /**
   * Prunes the archive when the job is attached and whenever a base has been taken: what is not needed to restore the
   * moments from so many milliseconds before the last archived commit on is removed from the server, earlier lives of
   * the job among it, if another one had followed them by then. Without this everything is kept.
   *
   * A base is then also taken when the last one is older than that, so that the archive holds commits of about twice
   * this time at most. A server that lets nothing be removed goes on being shipped to, see
   * {@link ArchiveProgress.pruningError}.
   */
  readonly keepMs?: number | undefined;
  /** How often in a row shipping may fail before it waits for {@link Archive.resume}; 12 by default. */
  readonly maxAttempts?: number | undefined;
  /** Milliseconds to wait after a failure, doubled with each; half a second by default. */
  readonly backoffMs?: number | undefined;
  /** Milliseconds to wait at most; a minute by default. */
  readonly backoffMaxMs?: number | undefined;
}

/** How far an archive has come. */
export interface ArchiveProgress {
  /** The job can be restored as it was at this seq, if it can be restored at all. */
  readonly archivedSeq: bigint;
  /** Whether it can: the first base, and what was committed while it was taken, are on the server. */
  readonly restorable: boolean;
  /**
   * - `"shipping"`: it ships, or waits for something to ship.
   * - `"following"`: another tab ships the job; this one takes over when that one goes or stalls.
   * - `"retrying"`: it failed, and tries again by itself.
   * - `"stalled"`: it failed too often, and waits for {@link Archive.resume}; another tab may ship meanwhile.
   * - `"ended"`: it was closed or stopped, the job was, or (`Conflict`) somebody else ships another history of it.
   */
  readonly state: "shipping" | "following" | "retrying" | "stalled" | "ended";
  /** Failures in a row, while it is retrying. */
  readonly failures?: number;
  /** The last failure, or why it has ended if it was not asked to. */
  readonly error?: PersistencyError;
  /** Why pruning by {@link ArchiveOptions.keepMs} has failed, if it last has; it is tried again with the next base. */
  readonly pruningError?: PersistencyError;
}

/**
 * Ships a job's history to a server, from the worker. Nothing on the write path waits for it; what is not shipped yet
 * stays in the job's log, through crashes and as long as it takes.
 *
 * ```ts
 * import { Archive, Persistency } from "persistency/layers";
 *
 * const root = await Persistency.open("my-app");
 * const job = await root.openJob("notes");
 * const archive = await Archive.attach(job, {
 *   url: "https://example.org/archives/ada/",
 *   headers: { authorization: "Bearer a-token" },
 * });
 * for await (const { archivedSeq, state, error } of archive.watch()) console.log(archivedSeq, state, error?.message);
 * ```
 */
export class Archive implements AsyncDisposable {
  private constructor();

  /**
   * Ships a job from now on, until the archive is closed or stopped, or the job is closed. An archive that is there
   * already goes on where it ended. Every tab may attach the job: one of them ships.
   *
   * The job's log is held until what is in it has been shipped, also while nothing is attached; {@link detach} ends
   * that.
   *
   * A server that refuses or cannot be reached is tried again like everything that is shipped: {@link progress} says
   * so, as `retrying`, and then as `stalled`. Until it has answered once nothing new is held in the log.
   *
   * @throws {@link PersistencyError} `Conflict` if the archive is ahead of the job, or has gone on with a later life of
   * it; `Unsupported` if the job is open for reading only, or no server of archives answers; `InvalidArgument` or
   * `TooLarge` for bad options; `Corrupt` or `VersionTooNew` for what the server has.
   */
  static attach(job: Job, server: ArchiveServer, options?: ArchiveOptions): Promise<Archive>;

  /** The last seq at which the job can be restored, and at which nothing that was shipped is missing; 0 before that. */
  get archivedSeq(): bigint;

  /** How far it has come, and what it is doing, as this page was told last. */
  get progress(): ArchiveProgress;

  /** The progress now, then whenever it has changed, until the archive has ended. Steps in between may be left out. */
  watch(options?: ReadOptions): Items<ArchiveProgress>;

  /**
   * Calls `callback` with each archived seq that is seen, until the archive ends. There is one call at a time: one whose
   * promise takes long misses seqs in between, and stalls nobody. What it throws is reported as an uncaught error, and
   * the next seq is told all the same.
   *
   * @throws {@link PersistencyError} `Closed`, `InvalidArgument`.
   */
  onArchived(callback: (archivedSeq: bigint) => unknown): void;

  /**
   * Waits until `seq` is archived, and resolves with what is by then. What has been committed is shipped at once for
   * it, whatever the cut says.
   *
   * @throws {@link PersistencyError} What keeps the archive from going on, if it stalls or ends before; `Closed`.
   */
  waitArchived(seq: bigint, options?: ReadOptions): Promise<bigint>;

  /**
   * Ships everything that has been committed until now, and resolves with the archived seq.
   *
   * @throws {@link PersistencyError} As {@link waitArchived}.
   */
  ship(options?: ReadOptions): Promise<bigint>;

  /** Tries again at once if it is stalled or waits after a failure. */
  resume(): Promise<void>;

  /**
   * Ships everything that has been committed until now, then ends; resolves with the archived seq. Safe to repeat.
   *
   * @throws {@link PersistencyError} What kept it from being shipped; it has ended all the same, and what is missing
   * stays in the job's log.
   */
  close(): Promise<bigint>;

  /** Ends at once, whatever is under way. Safe to repeat. */
  stop(): Promise<void>;

  /** Ends at once and lets go of the job's log: what is not archived may go, and a later archive begins with a base. */
  detach(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void>;
}

/** One segment of an archive: commits that follow one another. */
export interface SegmentInfo {
  /** Its first commit. */
  readonly firstSeq: bigint;
  /** Its last commit. */
  readonly lastSeq: bigint;
  /** When the first one was committed, in ms since the Unix epoch. */
  readonly firstMs: number;
  /** When the last one was committed. */
  readonly lastMs: number;
  /** Bytes of its object. */
  readonly bytes: number;
}

/** What a verification has read. */
export interface Verified {
  /** Base snapshots. */
  readonly bases: number;
  /** Rows in them. */
  readonly rows: number;
  /** Segments. */
  readonly segments: number;
  /** Commits in them. */
  readonly commits: number;
  /** Bytes of all objects that hold rows or commits. */
  readonly bytes: number;
  /** The seqs that can be restored, each range from its first to its last. */
  readonly restorable: readonly { readonly first: bigint; readonly last: bigint }[];
}

/** The moment whose rows are restored: the last one that is archived, after a commit, or after the last commit up to a time. */
export type RestoreTo =
  | "latest"
  | { readonly seq: bigint; readonly timeMs?: undefined }
  | { readonly timeMs: number; readonly seq?: undefined };

/** How far a restore has come. */
export interface RestoreProgress {
  /** Rows of the base that have been written. */
  readonly rows: number;
  /** All rows of the base. */
  readonly rowsOf: number;
  /** The last commit that has been written; it ends with that which is restored. */
  readonly seq: bigint;
}

/** How a restore is done. */
export interface RestoreOptions extends ReadOptions {
  /** What is restored; `"latest"` by default. */
  readonly to?: RestoreTo | undefined;
  /** Called as the restore goes on; steps may be left out. */
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

/** What was restored or imported. */
export interface Restored {
  /** The life of the archived job; the new job has another one. */
  readonly generation: Bytes;
  /** The archived job's commit that the rows are of; the new job counts its own. */
  readonly seq: bigint;
}

/** An archive as it lies on a server, for reading; whether somebody ships meanwhile does not matter. */
export class ArchiveReader implements AsyncDisposable {
  private constructor();

  /**
   * Opens the archive of this name, in the last life of its job, in that of a generation, or in the one that the job had
   * at `timeMs`, in ms since 1970. No job has to be open.
   *
   * @throws {@link PersistencyError} `JobNotFound` if there is none, or nothing is kept of that time; and as
   * {@link Archive.attach}.
   */
  static open(
    root: Persistency,
    server: ArchiveServer,
    name: string,
    options?: { readonly generation?: Uint8Array | undefined; readonly timeMs?: number | undefined },
  ): Promise<ArchiveReader>;

  /** The life of the job whose archive this is. */
  get generation(): Bytes;

  /** The last seq that can be restored; undefined if none can. */
  archivedSeq(options?: ReadOptions): Promise<bigint | undefined>;

  /** The segments up to the one that holds `until`, newest first; all of them by default. */
  listSegments(until?: bigint, options?: ReadOptions): Items<SegmentInfo>;

  /** The segment that holds the commit `seq`; undefined if none does. */
  findSegment(seq: bigint, options?: ReadOptions): Promise<SegmentInfo | undefined>;

  /**
   * The commits of a segment, every checksum of which has been found right.
   *
   * @throws {@link PersistencyError} `Corrupt`, naming the object, if it is missing or damaged.
   */
  fetch(segment: SegmentInfo, options?: ReadOptions): Promise<Commit[]>;

  /**
   * Reads everything, and checks every checksum and the chain, without restoring.
   *
   * @throws {@link PersistencyError} `Corrupt`, naming the first object that is missing, damaged or out of its chain.
   */
  verify(options?: ReadOptions): Promise<Verified>;

  /**
   * Removes from the server what is not needed to restore `oldest` or anything later. A time, in the last life, also
   * removes earlier lives that another one had followed by then. May be cut short and repeated.
   * Resolves with the number of objects that are gone, and the first seq that can be restored now.
   */
  prune(oldest: RestoreTo): Promise<{ readonly objects: number; readonly firstSeq: bigint }>;

  /**
   * Makes the job `id` of this root, with the rows that the archived job had at a moment, durable and closed. It
   * appears whole or not at all, and has a generation and seqs of its own.
   *
   * One that was cut short, because it was aborted, the page or its worker went, or the server or the disk failed, goes
   * on where it stopped when it is called again for this `id`, also from another page. Before that there is no such job:
   * who opens `id` gets a new one, and what was written goes. `listJobs()` of another tab may name it meanwhile.
   *
   * @throws {@link PersistencyError} `Conflict` if there is such a job already; `Busy` if somebody else fills it;
   * `InvalidArgument` if the moment lies before or behind what is archived; `Corrupt`, naming the object, if something is
   * missing or damaged.
   */
  restore(id: string, options?: RestoreOptions): Promise<Restored>;

  /** Gives up what the worker holds for this. */
  close(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * The job as bytes, some megabytes at a time, as it is at a moment before the last ones come; it goes on being written
 * meanwhile. The Rust crate imports them as well.
 *
 * ```ts
 * import { exportJob, type Job } from "persistency/layers";
 *
 * declare const job: Job;
 * const parts: BlobPart[] = [];
 * for await (const part of exportJob(job)) parts.push(part);
 * const blob = new Blob(parts);
 * ```
 */
export function exportJob(job: Job, options?: ReadOptions): Items<Bytes>;

/** Where the bytes of an export come from. */
export type ExportSource =
  | Uint8Array
  | ArrayBuffer
  | { stream(): unknown; readonly size: number }
  | { getReader(): unknown }
  | Iterable<Uint8Array>
  | AsyncIterable<Uint8Array>;

/**
 * Makes the job `id` of the bytes of an export, durable and closed; whole or not at all. Takes a Blob, a
 * ReadableStream, bytes, or whatever yields bytes.
 *
 * @throws {@link PersistencyError} `Conflict` if there is such a job already; `Corrupt` if the bytes are no export, or
 * not a whole one.
 */
export function importJob(
  root: Persistency, id: string, source: ExportSource, options?: ReadOptions,
): Promise<Restored>;
