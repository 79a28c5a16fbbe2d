// The layer `archive` as pages use it: a job's history on a server, shipped from the worker.
// Checks what only JavaScript can get wrong, and keeps it attached when the worker has died.

import { seqOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { closed, invalid } from "../../error.js";
import { Reader } from "../../wire.js";
import { Pulled, Remote } from "../remote.js";
import { optionsOf, serverOf } from "./given.js";

export { ArchiveReader } from "./reader.js";
export { exportJob, importJob } from "./whole.js";

/** Ships a job's history to a server, until it is closed, stopped, or the job is closed. */
export class Archive {
  #remote;
  #progress;
  /** Keeps the progress, and keeps it attached where the worker dies. */
  #following;
  #ended = false;

  constructor(remote, progress) {
    if (!(remote instanceof Remote)) throw invalid("a job is archived by Archive.attach()");
    this.#remote = remote;
    this.#progress = progress;
    this.#following = this.watch();
    this.#follow(this.#following);
  }

  /** Ships a job from now on. */
  static async attach(job, server, options = {}) {
    const remote = new Remote(job, "archive", [serverOf(server), optionsOf(options)], { patient: true });
    return new Archive(remote, progressRead(await remote.open()));
  }

  /** The last seq at which the job can be restored, as far as this page knows. */
  get archivedSeq() {
    return this.#progress.archivedSeq;
  }

  /** How far it has come, and what it is doing. */
  get progress() {
    return this.#progress;
  }

  /** The progress now, then whenever it has changed, until the archive ends. */
  watch(options) {
    const open = () => new Remote(this.#remote, "watch", [], { lasts: false, patient: true });
    return new Pulled(open, { signal: signalOf(options), read: progressRead });
  }

  /** Calls `callback` with each archived seq that is seen, one call at a time, until the archive ends. */
  onArchived(callback) {
    if (typeof callback !== "function") throw invalid("what is called with archived seqs is a function");
    if (this.#ended) throw closed("archive");
    this.#callback(callback, this.archivedSeq);
  }

  async waitArchived(seq, options) {
    return BigInt(await this.#call("waitArchived", [seqOf(seq)], options));
  }

  async ship(options) {
    return BigInt(await this.#call("ship", [], options));
  }

  async resume() {
    await this.#call("resume");
  }

  /** Ships what is left, then ends; safe to repeat. */
  async close() {
    if (this.#ended) return this.archivedSeq;
    try {
      return this.#heard(BigInt(await this.#call("close")));
    } finally {
      this.#end();
    }
  }

  /** Ends at once; safe to repeat. */
  async stop() {
    if (this.#ended) return;
    try {
      if (this.#remote.isOpen && !this.#remote.isLost) await this.#call("stop");
    } finally {
      this.#end();
    }
  }

  /** Ends at once, and lets go of the log. */
  async detach() {
    try {
      await this.#call("detach");
    } finally {
      this.#end();
    }
  }

  async #call(method, args = [], options = undefined) {
    if (this.#ended) throw closed("archive");
    return this.#remote.call(method, args, { signal: signalOf(options), patient: true });
  }

  #heard(archivedSeq) {
    if (archivedSeq > this.#progress.archivedSeq) this.#progress = { ...this.#progress, archivedSeq };
    return archivedSeq;
  }

  #end(error) {
    if (this.#ended) return;
    this.#ended = true;
    const { archivedSeq, restorable, pruningError } = this.#progress;
    this.#progress = {
      archivedSeq, restorable, state: "ended", ...(error && { error }), ...(pruningError && { pruningError }),
    };
    this.#following.return().catch(() => {});
    this.#remote.close();
  }

  async #callback(callback, told) {
    try {
      for await (const { archivedSeq } of this.watch()) {
        if (archivedSeq <= told) continue;
        told = archivedSeq;
        // What it throws is nobody's here, and its next call comes all the same.
        await new Promise((done) => done(callback(told))).catch(reportError);
      }
    } catch {
      // The archive has ended, and its progress says why.
    }
  }

  async #follow(following) {
    try {
      for await (const progress of following) {
        // What was on its way when it ended is no news.
        if (!this.#ended) this.#progress = progress;
      }
    } catch (error) {
      // The job has been closed, or no worker can be started any more.
      this.#end(error);
    }
  }
}

Object.defineProperty(Archive.prototype, asyncDispose, {
  value() { return this.close().then(() => {}); },
});

/** Progress as it is told; its error is one of this page's. */
function progressRead({ archivedSeq, restorable, state, failures, error, pruningError }) {
  return {
    archivedSeq: BigInt(archivedSeq), restorable, state,
    ...(failures === null ? {} : { failures }),
    ...(error === null ? {} : { error: new Reader(error).error() }),
    ...(pruningError === null ? {} : { pruningError: new Reader(pruningError).error() }),
  };
}
