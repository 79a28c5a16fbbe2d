// The layer `datastore` as pages use it: live shared collections and the merge pool, over a job.
// Decides nothing but when its janitor purges.

import { signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid } from "../../error.js";
import { textOf } from "../message.js";
import { Remote } from "../remote.js";
import { Collection } from "./collection.js";
import { BYTES_CONTENT, JSON_CONTENT } from "./content.js";
import { Pool } from "./pool.js";

export { Collection } from "./collection.js";
export { Member, Pool } from "./pool.js";

/** Milliseconds that a timer of the platform can wait at most. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** The collections and pools of one job. */
export class Datastore {
  #remote;

  constructor(remote) {
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by Datastore.open()");
    this.#remote = remote;
  }

  /** Opens the layer over a job. */
  static async open(job, bounds) {
    const remote = new Remote(job, "datastore", [bounds]);
    await remote.open();
    return new Datastore(remote);
  }

  /** Finds the collection of JSON records of this id, or makes it. */
  async collection(id, options) {
    return this.#open(Collection, JSON_CONTENT, "collection", id, { Open: given(options) });
  }

  /** The same for records of bytes. */
  async bytesCollection(id, options) {
    return this.#open(Collection, BYTES_CONTENT, "collection", id, { Open: given(options) });
  }

  async findCollection(id) {
    return this.#open(Collection, JSON_CONTENT, "collection", id, "Find");
  }

  async findBytesCollection(id) {
    return this.#open(Collection, BYTES_CONTENT, "collection", id, "Find");
  }

  async removeCollection(id) {
    return this.#remote.call("removeCollection", [textOf("id", id)]);
  }

  async collections(options) {
    return this.#remote.call("collections", [], { signal: signalOf(options) });
  }

  async unsubscribeAll(client) {
    return this.#remote.call("unsubscribeAll", [textOf("client", client)]);
  }

  /** Finds the pool of JSON items of this id, or makes it. */
  async pool(id, options) {
    return this.#open(Pool, JSON_CONTENT, "pool", id, { Open: given(options) });
  }

  /** The same for items of bytes. */
  async bytesPool(id, options) {
    return this.#open(Pool, BYTES_CONTENT, "pool", id, { Open: given(options) });
  }

  async findPool(id) {
    return this.#open(Pool, JSON_CONTENT, "pool", id, "Find");
  }

  async findBytesPool(id) {
    return this.#open(Pool, BYTES_CONTENT, "pool", id, "Find");
  }

  async removePool(id) {
    return this.#remote.call("removePool", [textOf("id", id)]);
  }

  async pools(options) {
    return this.#remote.call("pools", [], { signal: signalOf(options) });
  }

  /** Removes everything that has expired. */
  async purgeExpired() {
    const purged = await this.#remote.call("purgeExpired");
    return Object.fromEntries(Object.entries(purged).map(([name, value]) => [name, Number(value)]));
  }

  /** Purges now and after every interval, until it is stopped or this is closed. */
  startJanitor(intervalMs) {
    if (!(Number.isSafeInteger(intervalMs) && intervalMs > 0 && intervalMs <= TIMER_MAX_MS)) {
      throw invalid("a janitor's interval is an integer from 1");
    }
    return new Janitor(() => this.purgeExpired(), intervalMs, () => this.#remote.isOpen);
  }

  /** Gives up what the worker holds for this; the job stays open. */
  async close() {
    this.#remote.close();
  }

  async #open(Type, content, what, id, how) {
    const name = textOf("id", id);
    // Never a silent new life: after the worker's death it is the same one, or `Closed`.
    const again = (opened) => [opened?.id ?? name, { Again: opened?.generation ?? new Uint8Array() }];
    const remote = new Remote(this.#remote, content[what], [name, how], { again });
    const opened = await remote.open();
    if (opened !== undefined) return new Type(remote, content, opened);
    remote.close();
    return undefined;
  }
}

/** Purges at an interval. */
export class Janitor {
  #report = { rounds: 0, purged: { collections: 0, pools: 0, records: 0, tombstones: 0 }, lastError: undefined };
  #purge;
  #isOpen;
  #timer;
  #round;

  constructor(purge, intervalMs, isOpen) {
    this.#purge = purge;
    this.#isOpen = isOpen;
    this.#timer = setInterval(() => this.#start(), intervalMs);
    this.#start();
  }

  /** What it has done so far. */
  report() {
    return { ...this.#report, purged: { ...this.#report.purged } };
  }

  /** Stops it once a round that is under way is through; answers what it has done. */
  async stop() {
    clearInterval(this.#timer);
    await this.#round;
    return this.report();
  }

  /** Begins a round, unless one is under way. */
  #start() {
    if (!this.#isOpen()) return clearInterval(this.#timer);
    this.#round ??= this.#purge().then((purged) => {
      for (const name of Object.keys(purged)) this.#report.purged[name] += purged[name];
      this.#report.lastError = undefined;
    }, (error) => {
      this.#report.lastError = error;
    }).then(() => {
      this.#report.rounds += 1;
      this.#round = undefined;
    });
  }
}

for (const each of [Datastore, Janitor]) {
  Object.defineProperty(each.prototype, asyncDispose, {
    async value() { await (this.close?.() ?? this.stop()); },
  });
}

/** Options, if they are some. */
function given(options = {}) {
  if (typeof options !== "object" || options === null) throw invalid("the options are an object");
  return options;
}
