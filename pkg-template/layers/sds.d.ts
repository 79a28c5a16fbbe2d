// The layer `sds`: durable state of Scalable Data Sync channels.

import type { Bytes, Job, ReadOptions } from "../index.js";

/** Everything of a channel. */
export interface ChannelSnapshot {
  /** The channel's Lamport time. */
  readonly lamport: bigint;
  /** Where messages can be fetched, by message id. */
  readonly retrievalHints: { readonly [messageId: string]: Bytes };
}

/**
 * Keeps the channels of a protocol in a job. Every operation is one atomic batch: a failed write changed nothing,
 * unless its error's `outcome` says otherwise, and can be repeated. Saving is an upsert by id, and removing what
 * is not there is fine.
 *
 * ```js
 * import { JobPersistence, Persistency } from "persistency/layers";
 *
 * const root = await Persistency.open("my-app");
 * const store = await JobPersistence.open(await root.openJob("node"));
 * await store.saveLamport("general", 7n);
 * const { lamport } = await store.loadAllForChannel("general");
 * ```
 */
export class JobPersistence implements AsyncDisposable {
  private constructor();

  /** Opens the layer over a job; it serves while that handle is open. */
  static open(job: Job): Promise<JobPersistence>;

  /** Sets the channel's Lamport time. */
  saveLamport(channel: string, lamport: bigint): Promise<void>;

  /**
   * Remembers where a message can be fetched, until the message leaves the history or the channel is dropped.
   */
  setRetrievalHint(channel: string, messageId: string, hint: Uint8Array): Promise<void>;

  /** Removes everything of the channel at once, hints included; fine if there is nothing. */
  dropChannel(channel: string): Promise<void>;

  /** Reads everything of the channel; an unknown one is empty. */
  loadAllForChannel(channel: string, options?: ReadOptions): Promise<ChannelSnapshot>;

  /** Gives up what the worker holds for this; the job stays open. */
  close(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void>;
}
