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

  async saveLamport(channel, lamport) {
    return this.#remote.call("saveLamport", [channelOf(channel), timeOf(lamport)]);
  }

  async setRetrievalHint(channel, messageId, hint) {
    return this.#remote.call("setRetrievalHint", [channelOf(channel), idOf(messageId), bytesOf("hint", hint)]);
  }

  async dropChannel(channel) {
    return this.#remote.call("dropChannel", [channelOf(channel)]);
  }

  async loadAllForChannel(channel, options) {
    const signal = signalOf(options);
    const { lamport, ...rest } = await this.#remote.call("loadAllForChannel", [channelOf(channel)], { signal });
    return { lamport: BigInt(lamport), ...rest };
  }

  /** Gives up what the worker holds for this; the job stays open. */
  async close() {
    this.#remote.close();
  }
}

Object.defineProperty(JobPersistence.prototype, asyncDispose, {
  value() { return this.close(); },
});

const channelOf = (channel) => textOf("channel", channel);
const idOf = (id) => textOf("message id", id);

/** A Lamport time, if it is one. */
function timeOf(lamport) {
  if (typeof lamport !== "bigint" || BigInt.asIntN(64, lamport) !== lamport) {
    throw invalid("a Lamport time is a bigint from -2^63 to 2^63 - 1");
  }
  return lamport;
}
