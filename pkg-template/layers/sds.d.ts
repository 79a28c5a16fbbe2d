// The layer `sds`: durable state of Scalable Data Sync channels.

import type { Bytes, Job, ReadOptions } from "../index.js";

/** A message that another one refers to. */
export interface HistoryEntry {
  /** The message's id. */
  readonly messageId: string;
  /** Where the message can be fetched; empty if that is not known. */
  readonly retrievalHint: Bytes;
  /** Who sent it. */
  readonly senderId: string;
}

/** A message of a channel. */
export interface SdsMessage {
  /** The message's id. */
  readonly messageId: string;
  /** Its Lamport time. */
  readonly lamportTimestamp: bigint;
  /** What it depends on, in the order in which its sender knew it. */
  readonly causalHistory: readonly HistoryEntry[];
  /** The channel it was sent to. */
  readonly channelId: string;
  /** What it says. */
  readonly content: Bytes;
  /** The sender's bloom filter. */
  readonly bloomFilter: Bytes;
  /** Who sent it. */
  readonly senderId: string;
  /** What the sender asks others to repair. */
  readonly repairRequest: readonly HistoryEntry[];
}

/** A message of our own that nobody has acknowledged yet. */
export interface UnacknowledgedMessage {
  /** The message. */
  readonly message: SdsMessage;
  /** When it was sent last, in milliseconds since the Unix epoch. */
  readonly sendTimeMs: number;
  /** How often it has been sent again. */
  readonly resendAttempts: number;
}

/** A received message that waits for what it depends on. */
export interface IncomingMessage {
  /** The message. */
  readonly message: SdsMessage;
  /** The ids of the messages that it waits for. */
  readonly missingDeps: ReadonlySet<string>;
}

/** A message that we are to ask others for. */
export interface OutgoingRepairEntry {
  /** What is missing. */
  readonly historyEntry: HistoryEntry;
  /** When it may be asked for at the earliest, in milliseconds since the Unix epoch. */
  readonly minTimeRequestMs: number;
}

/** A message that others have asked for and that we have. */
export interface IncomingRepairEntry {
  /** What was asked for. */
  readonly historyEntry: HistoryEntry;
  /** The message, as it is sent. */
  readonly cachedMessage: Bytes;
  /** When it may be answered at the earliest, in milliseconds since the Unix epoch. */
  readonly minTimeResponseMs: number;
}

/** Everything of a channel but its history: small, and changed by nearly every protocol operation. */
export interface ChannelMeta {
  /** The channel's Lamport time. */
  readonly lamport: bigint;
  /** What awaits an acknowledgement. The order is kept; an id stands here once. */
  readonly outgoingBuffer: readonly UnacknowledgedMessage[];
  /** What awaits its dependencies, each by the id of its own message. */
  readonly incomingBuffer: ReadonlyMap<string, IncomingMessage>;
  /** Repairs to ask for, by the id of the missing message. */
  readonly outgoingRepair: ReadonlyMap<string, OutgoingRepairEntry>;
  /** Repairs to answer, by the id of the wanted message. */
  readonly incomingRepair: ReadonlyMap<string, IncomingRepairEntry>;
}

/** What one protocol operation has done to the history. An empty update is no change. */
export interface HistoryUpdate {
  /** Messages that have been delivered, in this order. One whose id is there already takes its place at the end. */
  readonly append: readonly SdsMessage[];
  /** Messages that go. An id that is in both lists is appended first, so it is gone. */
  readonly evict: readonly string[];
}

/** A channel as {@link JobPersistence.loadChannel} reads it. */
export interface ChannelData {
  /** Everything but the history. */
  readonly meta: ChannelMeta;
  /** The history by (Lamport time, message id), ascending. */
  readonly messageHistory: readonly SdsMessage[];
}

/** A channel as {@link JobPersistence.loadAllForChannel} reads it. */
export interface ChannelSnapshot extends ChannelMeta {
  /** The history, oldest first by insertion: what is evicted next comes first. */
  readonly messageHistory: readonly SdsMessage[];
  /** Where messages can be fetched, by message id. */
  readonly retrievalHints: ReadonlyMap<string, Bytes>;
}

/**
 * The same to be written: what is left out is empty or 0, but for `Must`, and bytes may be any `Uint8Array`.
 */
export type SdsInit<T, Must extends keyof T = never> = { readonly [Name in Must]: Writable<T[Name]> } & {
  readonly [Name in Exclude<keyof T, Must>]?: Writable<T[Name]> | undefined;
};

type Writable<T> =
  T extends Bytes ? Uint8Array
    : T extends HistoryEntry ? SdsInit<HistoryEntry, "messageId">
    : T extends SdsMessage ? SdsInit<SdsMessage, "messageId">
    : T extends UnacknowledgedMessage ? SdsInit<UnacknowledgedMessage, "message">
    : T extends IncomingMessage ? SdsInit<IncomingMessage, "message">
    : T extends OutgoingRepairEntry ? SdsInit<OutgoingRepairEntry, "historyEntry">
    : T extends IncomingRepairEntry ? SdsInit<IncomingRepairEntry, "historyEntry">
    : T extends ReadonlyMap<string, infer Value> ? ReadonlyMap<string, Writable<Value>>
    : T extends readonly (infer Item)[] ? readonly Writable<Item>[]
    : T;

/** When an operation that writes resolves: with its place in the job's queue, when committed, or when durable. */
export type Resolve = "accepted" | "committed" | "durable";

/**
 * Durable state of Scalable Data Sync channels in a job, any number of them, in its category `sds`.
 *
 * A protocol knows what of a channel must survive a restart; this layer keeps it. Each operation is one atomic
 * batch: a failed write changed nothing, unless its error's `outcome` says otherwise, and can be repeated. Saving is
 * an upsert by id, removing what is not there is fine, and a channel begins to exist with the first write to it.
 *
 * Two ways to write work on one state: a small operation for each change in memory, or {@link saveChannel} with
 * the whole fast-changing state and what the history has gained and lost.
 *
 * ```js
 * import { JobPersistence, Persistency } from "persistency/layers";
 *
 * const root = await Persistency.open("my-app");
 * const store = await JobPersistence.open(await root.openJob("node"));
 *
 * // One protocol operation, one batch.
 * const message = { messageId: "m1", lamportTimestamp: 1n, content: new TextEncoder().encode("hi") };
 * await store.saveChannel("general", { lamport: 1n, outgoingBuffer: [{ message }] }, { append: [message] });
 *
 * // The small operations work on the same state.
 * await store.saveLamport("general", 2n);
 * const { lamport, messageHistory } = await store.loadAllForChannel("general");
 * console.log(lamport, messageHistory.length);
 * ```
 */
export class JobPersistence implements AsyncDisposable {
  private constructor();

  /** Opens the layer over a job; writes resolve when they are committed. It serves while that handle is open. */
  static open(job: Job): Promise<JobPersistence>;

  /**
   * A handle of the same state whose writes resolve as `resolve` says. What resolved when it was accepted can be
   * lost with the worker; its failure is reported by {@link flush} or by closing the job. Dropping a channel is
   * committed at least.
   */
  resolving(resolve: Resolve): JobPersistence;

  /** Resolves when everything written before is durable. */
  flush(): Promise<void>;

  /** The names of the channels that have anything stored, ascending by length, then bytewise. */
  channels(options?: ReadOptions): Promise<string[]>;

  /** Sets the channel's Lamport time. */
  saveLamport(channel: string, lamport: bigint): Promise<void>;

  /** Puts a message at the end of the history; one whose id is there already is replaced and moves. */
  appendLogEntry(channel: string, message: Writable<SdsMessage>): Promise<void>;

  /** Removes a message from the history, with its retrieval hint. */
  removeLogEntry(channel: string, messageId: string): Promise<void>;

  /** Remembers where a message can be fetched, until the message leaves the history or the channel is dropped. */
  setRetrievalHint(channel: string, messageId: string, hint: Uint8Array): Promise<void>;

  /** Adds a message at the end of the outgoing buffer, or changes it in its place. */
  saveOutgoing(channel: string, message: Writable<UnacknowledgedMessage>): Promise<void>;

  /** Removes a message from the outgoing buffer. */
  removeOutgoing(channel: string, messageId: string): Promise<void>;

  /** Puts a message that waits for others into the incoming buffer. */
  saveIncoming(channel: string, message: Writable<IncomingMessage>): Promise<void>;

  /** Removes a message from the incoming buffer. */
  removeIncoming(channel: string, messageId: string): Promise<void>;

  /** Puts a repair that is to be asked for. */
  saveOutgoingRepair(channel: string, messageId: string, entry: Writable<OutgoingRepairEntry>): Promise<void>;

  /** Removes a repair that is not to be asked for any more. */
  removeOutgoingRepair(channel: string, messageId: string): Promise<void>;

  /** Puts a repair that is to be answered. */
  saveIncomingRepair(channel: string, messageId: string, entry: Writable<IncomingRepairEntry>): Promise<void>;

  /** Removes a repair that is not to be answered any more. */
  removeIncomingRepair(channel: string, messageId: string): Promise<void>;

  /** Removes everything of the channel at once, hints included; fine if there is nothing. */
  dropChannel(channel: string): Promise<void>;

  /**
   * Reads everything of the channel; an unknown one is empty. `Corrupt` if anything of it cannot be read, which
   * is never left out.
   */
  loadAllForChannel(channel: string, options?: ReadOptions): Promise<ChannelSnapshot>;

  /**
   * Makes the Lamport time and the four buffers exactly those of `meta`; repeating it changes nothing, and the next
   * one heals one that was missed.
   */
  saveChannelMeta(channel: string, meta: SdsInit<ChannelMeta>): Promise<void>;

  /** Applies what the history has gained and lost, at once; an empty update does nothing. */
  updateHistory(channel: string, update: SdsInit<HistoryUpdate>): Promise<void>;

  /** Both of one protocol operation at once: {@link saveChannelMeta} and {@link updateHistory}. */
  saveChannel(channel: string, meta: SdsInit<ChannelMeta>, update: SdsInit<HistoryUpdate>): Promise<void>;

  /** Reads everything of the channel but its hints; an unknown one is empty. */
  loadChannel(channel: string, options?: ReadOptions): Promise<ChannelData>;

  /** Gives up what the worker holds for this; the job stays open. */
  close(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void>;
}
