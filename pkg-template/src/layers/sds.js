// The layer `sds` as pages use it: durable state of Scalable Data Sync channels over a job.
// Checks what only JavaScript can get wrong; what a call means is decided in the worker.

import { bytesOf, signalOf } from "../bytes.js";
import { asyncDispose } from "../dispose.js";
import { invalid } from "../error.js";
import { textOf } from "./message.js";
import { Remote } from "./remote.js";

/** Keeps the channels of a protocol in a job. */
export class JobPersistence {
  #remote;

  constructor(remote) {
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by JobPersistence.open()");
    this.#remote = remote;
  }

  /** Opens the layer over a job. */
  static async open(job) {
    const remote = new Remote(job, "sds");
    await remote.open();
    return new JobPersistence(remote);
  }

  /** A handle of the same state whose writes resolve when they are accepted, committed or durable. */
  resolving(resolve) {
    if (!RESOLVE.includes(resolve)) throw invalid(`an operation resolves when ${RESOLVE.join(", ")}`);
    return new JobPersistence(new Remote(this.#remote, "resolving", [resolve]));
  }

  async flush() {
    return this.#remote.call("flush");
  }

  async channels(options) {
    return this.#remote.call("channels", [], { signal: signalOf(options) });
  }

  // ---- by single changes

  async saveLamport(channel, lamport) {
    return this.#write("saveLamport", channel, timeOf(lamport));
  }

  async appendLogEntry(channel, message) {
    return this.#write("appendLogEntry", channel, message);
  }

  async removeLogEntry(channel, messageId) {
    return this.#write("removeLogEntry", channel, idOf(messageId));
  }

  async setRetrievalHint(channel, messageId, hint) {
    return this.#write("setRetrievalHint", channel, idOf(messageId), bytesOf("hint", hint));
  }

  async saveOutgoing(channel, message) {
    return this.#write("saveOutgoing", channel, message);
  }

  async removeOutgoing(channel, messageId) {
    return this.#write("removeOutgoing", channel, idOf(messageId));
  }

  async saveIncoming(channel, message) {
    return this.#write("saveIncoming", channel, incomingGiven(message));
  }

  async removeIncoming(channel, messageId) {
    return this.#write("removeIncoming", channel, idOf(messageId));
  }

  async saveOutgoingRepair(channel, messageId, entry) {
    return this.#write("saveOutgoingRepair", channel, idOf(messageId), entry);
  }

  async removeOutgoingRepair(channel, messageId) {
    return this.#write("removeOutgoingRepair", channel, idOf(messageId));
  }

  async saveIncomingRepair(channel, messageId, entry) {
    return this.#write("saveIncomingRepair", channel, idOf(messageId), entry);
  }

  async removeIncomingRepair(channel, messageId) {
    return this.#write("removeIncomingRepair", channel, idOf(messageId));
  }

  async dropChannel(channel) {
    return this.#write("dropChannel", channel);
  }

  async loadAllForChannel(channel, options) {
    const { messageHistory, retrievalHints, ...meta } = await this.#load("loadAllForChannel", channel, options);
    return { ...metaRead(meta), messageHistory: messageHistory.map(messageRead), retrievalHints: new Map(retrievalHints) };
  }

  // ---- by whole protocol operations

  async saveChannelMeta(channel, meta) {
    return this.#write("saveChannelMeta", channel, metaGiven(meta));
  }

  async updateHistory(channel, update) {
    return this.#write("updateHistory", channel, update);
  }

  async saveChannel(channel, meta, update) {
    return this.#write("saveChannel", channel, metaGiven(meta), update);
  }

  async loadChannel(channel, options) {
    const { meta, messageHistory } = await this.#load("loadChannel", channel, options);
    return { meta: metaRead(meta), messageHistory: messageHistory.map(messageRead) };
  }

  /** Gives up what the worker holds for this; the job stays open. */
  async close() {
    this.#remote.close();
  }

  async #write(method, channel, ...args) {
    return this.#remote.call(method, [textOf("channel", channel), ...args]);
  }

  async #load(method, channel, options) {
    return this.#remote.call(method, [textOf("channel", channel)], { signal: signalOf(options) });
  }
}

Object.defineProperty(JobPersistence.prototype, asyncDispose, {
  value() { return this.close(); },
});

const RESOLVE = ["accepted", "committed", "durable"];

const idOf = (id) => textOf("message id", id);

/** A Lamport time, if it is one. */
function timeOf(lamport) {
  if (typeof lamport !== "bigint" || BigInt.asIntN(64, lamport) !== lamport) {
    throw invalid("a Lamport time is a bigint from -2^63 to 2^63 - 1");
  }
  return lamport;
}

// What callers give: maps and sets cross as lists. Anything else is left to the worker to refuse.

const pairs = (map, given = (value) => value) =>
  (map instanceof Map ? Array.from(map, ([id, value]) => [id, given(value)]) : map);

const incomingGiven = (message) =>
  (message?.missingDeps instanceof Set ? { ...message, missingDeps: [...message.missingDeps] } : message);

const metaGiven = (meta) => meta && {
  ...meta,
  incomingBuffer: pairs(meta.incomingBuffer, incomingGiven),
  outgoingRepair: pairs(meta.outgoingRepair),
  incomingRepair: pairs(meta.incomingRepair),
};

// What is read: Lamport times are bigints, times in milliseconds numbers, lists of pairs maps.

const messageRead = (message) => ({ ...message, lamportTimestamp: BigInt(message.lamportTimestamp) });
const outgoingRead = ({ message, sendTimeMs, ...rest }) =>
  ({ message: messageRead(message), sendTimeMs: Number(sendTimeMs), ...rest });
const incomingRead = ({ message, missingDeps }) => ({ message: messageRead(message), missingDeps: new Set(missingDeps) });
const requestRead = ({ minTimeRequestMs, ...rest }) => ({ ...rest, minTimeRequestMs: Number(minTimeRequestMs) });
const responseRead = ({ minTimeResponseMs, ...rest }) => ({ ...rest, minTimeResponseMs: Number(minTimeResponseMs) });
const mapRead = (list, read) => new Map(list.map(([id, value]) => [id, read(value)]));

const metaRead = ({ lamport, outgoingBuffer, incomingBuffer, outgoingRepair, incomingRepair }) => ({
  lamport: BigInt(lamport),
  outgoingBuffer: outgoingBuffer.map(outgoingRead),
  incomingBuffer: mapRead(incomingBuffer, incomingRead),
  outgoingRepair: mapRead(outgoingRepair, requestRead),
  incomingRepair: mapRead(incomingRepair, responseRead),
});
