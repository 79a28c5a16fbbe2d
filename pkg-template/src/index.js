// The page's face of the store: roots and jobs whose every call is answered by a Web Worker.
// Holds no data: what a call means is decided in the worker.

import { Calls, lost, unsupported } from "./calls.js";
import { invalid, PersistencyError } from "./error.js";
import { Batch, boundsOf, bytesOf, categoryOf, copy, PROTOCOL, unpackPage } from "./wire.js";

export { PersistencyError } from "./error.js";
export { Key, key, prefixRange, text, u64, u8 } from "./key.js";
export { Batch } from "./wire.js";

/** What a scan may say beside its range. */
const SCAN = ["reverse", "limit", "keysOnly"];

/** A set of jobs under one name of this origin, with a Web Worker of its own. */
export class Persistency {
  #calls;
  /** Gives back what the worker holds for a Job that nobody holds any more. */
  #released;

  constructor(calls) {
    this.#calls = calls;
    this.#released = new FinalizationRegistry((handle) => calls.post("release", [handle]));
  }

  /** Starts the worker and opens the root `name`; `:memory:` keeps everything in memory. */
  static async open(name, { workerUrl, wasmUrl } = {}) {
    if (typeof name !== "string") throw invalid("a root is named by a string");
    const calls = new Calls(startWorker(workerUrl));
    const { protocol } = await calls.start(name, wasmUrl === undefined ? undefined : String(wasmUrl));
    if (protocol !== PROTOCOL) {
      const error = unsupported(`the worker speaks protocol ${protocol}, the page ${PROTOCOL}`);
      calls.end(error);
      throw error;
    }
    return new Persistency(calls);
  }

  /** Opens a job, or creates it. */
  async openJob(id) {
    const handle = await this.#calls.call("openJob", [jobId(id)]);
    const job = new Job(this.#calls, id, handle);
    this.#released.register(job, handle);
    return job;
  }

  /** Closes a job once everything accepted is durable. */
  closeJob(id) {
    return this.#calls.call("closeJob", [jobId(id)]);
  }

  /** Deletes a job and everything in it. */
  dropJob(id) {
    return this.#calls.call("dropJob", [jobId(id)]);
  }

  /** The ids of the jobs that exist, ascending. */
  listJobs() {
    return this.#calls.call("listJobs", []);
  }

  /** Closes all jobs once everything accepted is durable, then ends the worker. */
  async close() {
    try {
      await this.#calls.call("close", []);
    } finally {
      this.terminate();
    }
  }

  /** Ends the worker at once: calls under way fail with an unknown outcome, what is not committed may be lost. */
  terminate() {
    this.#calls.end(lost("the worker was ended by the page"));
  }
}

/** An open job: one tenant's ordered map of rows, each a (category, key) with a payload. */
export class Job {
  #calls;
  #handle;

  constructor(calls, id, handle) {
    this.#calls = calls;
    this.#handle = handle;
    this.id = id;
  }

  /** Queues a batch; resolves when it is accepted. An error of it is told by `flush`. */
  async persist(batch) {
    await this.#batch("persist", batch);
  }

  /** Applies a batch; resolves with its seq (a bigint) when it is committed. */
  persistAcked(batch) {
    return this.#batch("persistAcked", batch);
  }

  /** Queues: insert the row or replace its payload. */
  async persistPut(category, key, payload) {
    await this.persist(new Batch().put(category, key, payload));
  }

  /** Queues: remove the row if it is there. */
  async persistDelete(category, key) {
    await this.persist(new Batch().delete(category, key));
  }

  /** Resolves when everything accepted before is durable. */
  async flush() {
    await this.#call("flush");
  }

  /** The row's payload, or undefined. */
  async get(category, key) {
    return this.#call("get", categoryOf(category), copy(bytesOf("key", key)));
  }

  /** How many rows the range holds, as a bigint. */
  async count(category, range = {}) {
    return this.#call("count", categoryOf(category), ...boundsOf(range));
  }

  /** All rows of the range in key order, in one view. */
  async scan(category, range = {}) {
    return unpackPage(await this.#scan("scan", category, boundsOf(range, SCAN), range, range.limit)).rows;
  }

  /** The rows of the range one after another, read by pages, each one view and a new read. */
  async *rows(category, range = {}) {
    let [start, end] = boundsOf(range, SCAN);
    let { limit } = range;
    for (;;) {
      const { rows, more } = unpackPage(await this.#scan("scanPage", category, [start, end], range, limit));
      yield* rows;
      if (limit !== undefined) limit -= rows.length;
      if (!more || rows.length === 0 || limit === 0) return;
      const last = rows.at(-1).key;
      if (range.reverse) end = copy(last);
      else start = successor(last);
    }
  }

  /** The categories that hold rows, in the byte order of their names. */
  async categories() {
    return this.#call("categories");
  }

  /** What the job is and where it stands. */
  async info() {
    return this.#call("info");
  }

  #call(method, ...args) {
    return this.#calls.call("job", [this.#handle, method, ...args]);
  }

  async #batch(method, batch) {
    if (!(batch instanceof Batch)) throw invalid(`${method}() takes a Batch`);
    const packed = batch.pack();
    return this.#calls.call("job", [this.#handle, method, packed], [packed.buffer]);
  }

  async #scan(method, category, [start, end], { reverse = false, keysOnly = false }, limit) {
    if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0)) {
      throw invalid("a limit is an integer from 0");
    }
    // Beyond 32 bits a limit limits nothing.
    const most = limit === undefined ? undefined : Math.min(limit, 0xffff_ffff);
    return this.#call(method, categoryOf(category), start, end, Boolean(reverse), most, Boolean(keysOnly));
  }
}

function startWorker(workerUrl) {
  try {
    if (workerUrl !== undefined) return new Worker(workerUrl, { type: "module" });
    // Bundlers look for exactly this.
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  } catch (error) {
    throw new PersistencyError({ kind: "Unsupported", message: `no worker: ${error.message}` }, { cause: error });
  }
}

function jobId(id) {
  if (typeof id !== "string") throw invalid("a job's id is a string");
  return id;
}

/** The smallest key above `key`. */
function successor(key) {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
