// The layer `datastore`: live shared collections and the merge pool.

import type { Bytes, Items, Job, Range, ReadOptions } from "../index.js";

/** What JSON can hold. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/** A record as it is stored. */
export interface CollectionRecord<Key, Data> {
  /** Its key; of a JSON record what the primary field holds. */
  readonly key: Key;
  /** What it holds. */
  readonly data: Data;
  /** The change that set it. */
  readonly seq: bigint;
  /** When that was, in milliseconds since the Unix epoch; never before an earlier change of the collection. */
  readonly updatedMs: number;
}

/** All records of a collection at one time. */
export interface CollectionSnapshot<Key, Data> {
  /** In the order of their seqs, which is the order to apply them in. */
  readonly records: readonly CollectionRecord<Key, Data>[];
  /** The collection's seq at that time; changes after it are not in here. */
  readonly seq: bigint;
}

/** What has become of one key: its record was set, or was deleted or has expired and been purged. */
export type CollectionChange<Key, Data> =
  | ({ readonly type: "set" } & CollectionRecord<Key, Data>)
  | { readonly type: "deleted"; readonly key: Key; readonly seq: bigint; readonly updatedMs: number };

/** Changes in the order of their seqs, of each key the newest. */
export interface CollectionChanges<Key, Data> {
  readonly type: "changes";
  /** What has changed. */
  readonly changes: readonly CollectionChange<Key, Data>[];
  /** Up to here everything is told: where to go on. */
  readonly seq: bigint;
}

/** Deletions after the seq have been forgotten: read a snapshot. */
export interface CollectionLagged {
  readonly type: "lagged";
  /** The first seq that changes can be told since. */
  readonly oldest: bigint;
}

/** The answer to what has changed since a seq. */
export type CollectionSince<Key, Data> = CollectionChanges<Key, Data> | CollectionLagged;

/**
 * What a subscriber is told. A snapshot comes first, and again if he was so slow that deletions have been forgotten
 * meanwhile: then he forgets what he had.
 */
export type CollectionUpdate<Key, Data> =
  | ({ readonly type: "snapshot" } & CollectionSnapshot<Key, Data>)
  | CollectionChanges<Key, Data>;

/** How long a collection or pool lives. */
export interface LifetimeOptions {
  /** Whether it expires; otherwise it stays until it is removed. */
  readonly temporary?: boolean | undefined;
  /** How long a temporary one lives, counted from when it was made; an hour by default. */
  readonly ttlMs?: number | undefined;
  /** The time of a temporary one counts from its last change. */
  readonly sliding?: boolean | undefined;
}

/** What a collection is. Stored with it when it is made; who opens it again says the same. */
export interface CollectionOptions extends LifetimeOptions {
  /** How long a record lives after it was last set; for ever by default, and if 0. */
  readonly recordTtlMs?: number | undefined;
  /** How long a deletion is remembered; seven days by default. */
  readonly keepTombstonesMs?: number | undefined;
  /** How many deletions are remembered at most, the newest ones. */
  readonly maxTombstones?: number | undefined;
  /** How many records there are at most; a set beyond it is `TooLarge`. Before that expired ones are purged. */
  readonly maxRecords?: number | undefined;
  /**
   * How many bytes the keys and data of all records have at most; a set beyond it is `TooLarge`. Before that expired
   * ones are purged.
   */
  readonly maxBytes?: number | undefined;
  /** The field of a JSON record that is its key; `id` by default. */
  readonly primary?: string | undefined;
}

/** What a pool is. Stored with it when it is made; who opens it again says the same. */
export interface PoolOptions extends LifetimeOptions {
  /** How many members must have been there at one time before a round can end; 2 by default. */
  readonly membersNeeded?: number | undefined;
  /** How long a member may be silent before it counts as gone; a minute by default. */
  readonly memberTimeoutMs?: number | undefined;
  /** How many members there are at most; 256 by default, and not more than 2,048. */
  readonly maxMembers?: number | undefined;
  /** How many items a round has at most. */
  readonly maxItems?: number | undefined;
  /** How many bytes the items of a round have at most. */
  readonly maxBytes?: number | undefined;
}

/** How a collection stands. */
export interface CollectionInfo {
  /** Its last change; 0 before the first. */
  readonly seq: bigint;
  /** Its records, those included that have expired and are not purged. */
  readonly records: number;
  /** The bytes of their keys and data. */
  readonly bytes: number;
  /** Deletions that are remembered. */
  readonly tombstones: number;
  /** Changes since a seq before this one cannot be told any more, except since 0. */
  readonly floor: bigint;
  /** When it was made, in milliseconds since the Unix epoch. */
  readonly createdMs: number;
  /** When it expires; missing for a permanent one. */
  readonly expiresMs?: number;
}

/** On what a change depends: that there is no record of this key, or that the record is the one with this seq. */
export type When = { readonly absent: true } | { readonly seq: bigint };

/**
 * Records under keys, numbered by a sequence of the collection's own.
 *
 * Every set and every delete that finds something takes the next seq, in one batch with what it does: seqs survive
 * reopening and are the order in which everybody sees the changes. The last arrival wins, also between tabs. Methods
 * that write resolve when the change is committed; the job's `flush()` makes it durable. Once the collection has
 * expired or been removed they answer `Closed`.
 */
export interface CollectionBase<Key, Data> extends AsyncDisposable {
  /** Its id. */
  readonly id: string;
  /** What tells this life of the collection from the next of the same id: seqs of another one mean nothing. */
  readonly generation: Bytes;
  /** The field that is the key of JSON records; empty for records of bytes. */
  readonly primary: string;
  /** How it stands. */
  info(options?: ReadOptions): Promise<CollectionInfo>;
  /** The record under this key. */
  get(key: Given<Key>, options?: ReadOptions): Promise<CollectionRecord<Key, Data> | undefined>;
  /**
   * The records of a range of keys, in the order of their keys as bytes and in one view; `TooLarge` beyond 64 MiB.
   * Strings bound it as their bytes in UTF-8. An empty or inverted range holds none.
   *
   * @example
   * ```ts
   * import { Datastore, Persistency } from "persistency/layers";
   *
   * const root = await Persistency.open("my-app");
   * const store = await Datastore.open(await root.openJob("shared"));
   * const notes = await store.collection("notes");
   * const drafts = await notes.range({ prefix: "draft/" });
   * const some = await notes.range({ gte: "a", lt: "c" });
   * ```
   */
  range(range?: RangeOf<Key> & ReadOptions): Promise<CollectionRecord<Key, Data>[]>;
  /** Deletes the record under this key and remembers that; the seq of the deletion if there was one. */
  delete(key: Given<Key>): Promise<bigint | undefined>;
  /** Deletes the record if it still is the one with this seq; `Conflict` if it is not. */
  deleteIf(key: Given<Key>, seq: bigint): Promise<bigint | undefined>;
  /** Lets a sliding collection live its time from now on. */
  touch(): Promise<void>;
  /** All records in the order of their seqs, in one view; `TooLarge` beyond 64 MiB. */
  snapshot(options?: ReadOptions): Promise<CollectionSnapshot<Key, Data>>;
  /** What has changed after `seq`, of each key the newest change; after 0 everything. */
  changesSince(seq: bigint, options?: ReadOptions): Promise<CollectionSince<Key, Data>>;
  /** The same by pages, each a new view. A key that is set while one reads comes again later. */
  pagesSince(seq: bigint, options?: ReadOptions): Items<CollectionSince<Key, Data>>;
  /**
   * Subscribes a client: first all records, then every change after them, without a gap or a duplicate, from this
   * tab or another, also where the worker dies in between.
   */
  subscribe(client: string, options?: ReadOptions): Items<CollectionUpdate<Key, Data>>;
  /** The same for a client that has everything up to `seq`. */
  subscribeSince(client: string, seq: bigint, options?: ReadOptions): Items<CollectionUpdate<Key, Data>>;
  /** Ends this client's subscriptions of the collection; how many. */
  unsubscribe(client: string): Promise<number>;
  /** The clients that are subscribed by this page, each once, by name. */
  subscribers(options?: ReadOptions): Promise<string[]>;
  /** Gives up what the worker holds for this. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

type Given<Key> = Key extends Bytes ? Uint8Array : Key;

/** A range of keys that are bytes, or of keys that are strings. */
export type RangeOf<Key> = Key extends string ? Range | TextRange : Range;

/** A range of keys that are strings: a prefix, or a bound on each side at most; `{}` is all keys. */
export type TextRange =
  | { readonly prefix: string; readonly gt?: never; readonly gte?: never; readonly lt?: never; readonly lte?: never }
  | (
    & ({ readonly gt?: string; readonly gte?: never } | { readonly gte?: string; readonly gt?: never })
    & ({ readonly lt?: string; readonly lte?: never } | { readonly lte?: string; readonly lt?: never })
    & { readonly prefix?: never }
  );

/**
 * Records of JSON objects, each under the string that its primary field holds. Values are what `JSON.stringify`
 * makes of them; a number that is not finite, which it would make null, is `InvalidArgument`.
 */
export interface Collection<Data extends object = { readonly [name: string]: JsonValue }>
  extends CollectionBase<string, Data> {
  /** Sets a record, whatever was there: the last arrival wins, and replaces the record as a whole. */
  set(data: Data): Promise<CollectionRecord<string, Data>>;
  /** Sets a record if `when` holds; `Conflict` if it does not. */
  setIf(data: Data, when: When): Promise<CollectionRecord<string, Data>>;
  /** Sets several records in one batch, all or none: at most 12,000 records or 16 MiB. */
  setMany(records: Iterable<Data>): Promise<CollectionRecord<string, Data>[]>;
  /**
   * Replaces the record by what `change` makes of it, nothing between; `undefined` deletes it. `change` may be
   * called several times.
   */
  update(
    key: string,
    change: (data: Data | undefined) => Data | undefined | Promise<Data | undefined>,
  ): Promise<CollectionRecord<string, Data> | undefined>;
}

/** At run time the class of collections of both kinds, made by a {@link Datastore} alone. */
export declare const Collection: abstract new (nothing: never) => CollectionBase<unknown, unknown>;

/** Records of any bytes under keys of any bytes. */
export interface BytesCollection extends CollectionBase<Bytes, Bytes> {
  /** Sets the record under this key, whatever was there: the last arrival wins. */
  set(key: Uint8Array, data: Uint8Array): Promise<CollectionRecord<Uint8Array, Uint8Array>>;
  /** Sets the record if `when` holds; `Conflict` if it does not. */
  setIf(key: Uint8Array, data: Uint8Array, when: When): Promise<CollectionRecord<Uint8Array, Uint8Array>>;
  /** Sets several records in one batch, all or none: at most 12,000 records or 16 MiB. */
  setMany(
    records: Iterable<readonly [key: Uint8Array, data: Uint8Array]>,
  ): Promise<CollectionRecord<Uint8Array, Uint8Array>[]>;
  /**
   * Replaces the record by what `change` makes of it, nothing between; `undefined` deletes it. `change` may be
   * called several times.
   */
  update(
    key: Uint8Array,
    change: (data: Bytes | undefined) => Uint8Array | undefined | Promise<Uint8Array | undefined>,
  ): Promise<CollectionRecord<Uint8Array, Uint8Array> | undefined>;
}

/** How a pool stands. */
export interface PoolInfo {
  /** How often it has converged. */
  readonly round: number;
  /** Its items in this round. */
  readonly items: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Its members by name, each with how many items it lacks. */
  readonly members: ReadonlyMap<string, number>;
  /** When it expires; missing for a permanent one. */
  readonly expiresMs?: number;
}

/** One item of a pool. */
export interface PoolItem<Data> {
  /** What names it: the SHA-256 of its bytes, in 64 hexadecimal characters. */
  readonly id: string;
  /** What it is. */
  readonly data: Data;
}

/** What a member lacks. */
export interface Lacking<Data> {
  /** The items, in the order of their arrival. */
  readonly items: readonly PoolItem<Data>[];
  /** Whether there are more: acknowledge these and ask again. */
  readonly more: boolean;
}

/** What a merge came to. */
export interface Merged<Data> {
  /** Which of the items were new to the pool. */
  readonly new: readonly string[];
  /** What the member lacks, the first of it. */
  readonly lacking: Lacking<Data>;
  /** Whether the pool has converged by this, and been emptied. */
  readonly converged: boolean;
}

/** What a member is told: items that it lacks, or that every member had everything and the pool has been emptied. */
export type PoolUpdate<Data> =
  | { readonly type: "items"; readonly items: readonly PoolItem<Data>[] }
  | { readonly type: "converged"; readonly round: number };

/**
 * Items of which every member is to have all.
 *
 * Members join, merge what they have, are told what they lack, and acknowledge what they have received. Equal items
 * are one. Once every member has acknowledged everything the pool has **converged**: its items are removed and the
 * next round begins. What has not been acknowledged is told again to who asks.
 */
export class Pool<Data = JsonValue> implements AsyncDisposable {
  private constructor();
  /** Its id. */
  readonly id: string;
  /** What tells this life of the pool from the next of the same id. */
  readonly generation: Bytes;
  /** How it stands. */
  info(options?: ReadOptions): Promise<PoolInfo>;
  /** Joins as the member of this name; under the same name it is the same member, with what it has acknowledged. */
  join(name: string): Promise<Member<Data>>;
  /** Gives up what the worker holds for this. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A member of a pool. Whatever it does says that it is there, and so does waiting for {@link updates}. One that has
 * been silent for too long has left; it joins again with its next call, with nothing acknowledged.
 */
export class Member<Data = JsonValue> implements AsyncDisposable {
  private constructor();
  /** Its name. */
  readonly name: string;
  /** Puts items into the pool, each of which the member then has, in one batch: at most 16,384 items or 16 MiB. */
  merge(items: Iterable<Given<Data>>): Promise<Merged<Data>>;
  /** What the member lacks, the first of it. */
  lacking(options?: ReadOptions): Promise<Lacking<Data>>;
  /** Says that the member has these items; whether the pool has converged by that. */
  acknowledge(ids: Iterable<string>): Promise<boolean>;
  /** Leaves the pool, which no longer waits for this member; whether it has converged by that. */
  leave(): Promise<boolean>;
  /**
   * Items that the member lacks, each told once, and the ends of rounds. Where the worker dies in between, what has
   * not been acknowledged is told again.
   */
  updates(options?: ReadOptions): Items<PoolUpdate<Data>>;
  /** Gives up what the worker holds for this; the member stays one. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a purge has removed. */
export interface Purged {
  /** Collections that had expired. */
  readonly collections: number;
  /** Pools that had expired. */
  readonly pools: number;
  /** Records that had expired, of collections that had not. */
  readonly records: number;
  /** Deletions that need not be remembered any longer. */
  readonly tombstones: number;
}

/** What a janitor has done so far. */
export interface JanitorReport {
  /** How often it has purged. */
  readonly rounds: number;
  /** What that has removed, all together. */
  readonly purged: Purged;
  /** The error of the last round, if it had one. The next round tries again. */
  readonly lastError: unknown;
}

/** Purges at an interval, see {@link Datastore.startJanitor}. */
export class Janitor implements AsyncDisposable {
  private constructor();
  /** What it has done so far. */
  report(): JanitorReport;
  /** Stops it, and waits for a round that is under way. */
  stop(): Promise<JanitorReport>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Bounds of one {@link Datastore} object. */
export interface DatastoreBounds {
  /** Collections and pools of the job at most; 10,000 by default. */
  readonly stores?: number | undefined;
  /** Subscriptions of one collection or pool at most; 256 by default. */
  readonly subscribers?: number | undefined;
}

/**
 * The collections and pools of one job. Two tabs that have the job open see the same ones.
 *
 * ```js
 * import { Datastore, Persistency } from "persistency/layers";
 *
 * const root = await Persistency.open("my-app");
 * const store = await Datastore.open(await root.openJob("shared"));
 * const list = await store.collection("shopping");
 * await list.set({ id: "milk", bought: false });
 * for await (const update of list.subscribe("this page")) {
 *   if (update.type === "snapshot") console.log("all", update.records);
 *   else console.log("changed", update.changes);
 *   break;
 * }
 * ```
 */
export class Datastore implements AsyncDisposable {
  private constructor();
  /** Opens the layer over a job; it serves while that handle is open. */
  static open(job: Job, bounds?: DatastoreBounds): Promise<Datastore>;
  /**
   * Finds the collection of JSON records of this id, or makes it; an empty id makes one with a fresh id.
   * `InvalidArgument` if it was made with other options or for other contents.
   */
  collection<Data extends object = { readonly [name: string]: JsonValue }>(
    id: string,
    options?: CollectionOptions,
  ): Promise<Collection<Data>>;
  /** The same for records of bytes. */
  bytesCollection(id: string, options?: CollectionOptions): Promise<BytesCollection>;
  /** The collection of this id, with the options it was made with, if there is one. */
  findCollection<Data extends object = { readonly [name: string]: JsonValue }>(
    id: string,
  ): Promise<Collection<Data> | undefined>;
  /** The same for records of bytes. */
  findBytesCollection(id: string): Promise<BytesCollection | undefined>;
  /** Removes the collection with everything in it, and ends its subscriptions; whether there was one. */
  removeCollection(id: string): Promise<boolean>;
  /** The ids of all collections that have not expired, in the order of their bytes. */
  collections(options?: ReadOptions): Promise<string[]>;
  /** Ends every subscription of this client, of collections and of pools; how many. */
  unsubscribeAll(client: string): Promise<number>;
  /** Finds the pool of JSON items of this id, or makes it; an empty id makes one with a fresh id. */
  pool<Data = JsonValue>(id: string, options?: PoolOptions): Promise<Pool<Data>>;
  /** The same for items of bytes. */
  bytesPool(id: string, options?: PoolOptions): Promise<Pool<Bytes>>;
  /** The pool of this id, with the options it was made with, if there is one. */
  findPool<Data = JsonValue>(id: string): Promise<Pool<Data> | undefined>;
  /** The same for items of bytes. */
  findBytesPool(id: string): Promise<Pool<Bytes> | undefined>;
  /** Removes the pool with everything in it; whether there was one. */
  removePool(id: string): Promise<boolean>;
  /** The ids of all pools that have not expired, in the order of their bytes. */
  pools(options?: ReadOptions): Promise<string[]>;
  /** Removes everything that has expired, and says how much that was. */
  purgeExpired(): Promise<Purged>;
  /**
   * Starts a janitor that purges now and after every interval, until it is stopped or the job is closed. Failed
   * rounds are reported and tried again.
   */
  startJanitor(intervalMs: number): Janitor;
  /** Gives up what the worker holds for this; the job stays open. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
