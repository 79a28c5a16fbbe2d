// Calls from the page to its Web Worker: each is a message and a promise that always settles.
// Never repeats a call: when the worker dies, nobody knows what became of those that were under way.

import { PersistencyError } from "./error.js";

/** Milliseconds that a worker has to load and answer its first call. */
const START_MS = 30_000;

/** The calls of one worker. */
export class Calls {
  #worker;
  #pending = new Map();
  #next = 1;
  /** Why no call can be made any more. */
  #ended;

  constructor(worker) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("messageerror", () => this.#died("a message could not be read"));
  }

  /** The worker's first call; a worker that cannot load, or does not answer, has failed. */
  async start(...args) {
    const failed = (reason) => this.end(unsupported(`the worker could not be started: ${reason}`));
    const onError = (event) => failed(event.message || "its script could not be loaded");
    const timer = setTimeout(() => failed(`no answer within ${START_MS / 1000} s`), START_MS);
    this.#worker.addEventListener("error", onError);
    try {
      return await this.call("open", args);
    } catch (error) {
      this.end(error);
      throw error;
    } finally {
      clearTimeout(timer);
      // Later errors need not be fatal; the worker itself tells which are.
      this.#worker.removeEventListener("error", onError);
    }
  }

  /** Sends a call and waits for its answer; buffers in `transfer` are given away. */
  call(operation, args, transfer = []) {
    if (this.#ended) return Promise.reject(closed(this.#ended.message));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#worker.postMessage({ id, operation, args }, transfer);
      this.#pending.set(id, { resolve, reject });
    });
  }

  /** Sends a call whose answer nobody waits for. */
  post(operation, args) {
    if (!this.#ended) this.#worker.postMessage({ id: 0, operation, args });
  }

  /** Ends the worker at once; what is under way is answered with `error`. */
  end(error) {
    if (this.#ended) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #died(reason) {
    this.end(lost(`the worker died: ${reason}`));
  }

  #receive({ id, value, error, fatal }) {
    if (fatal !== undefined) return this.#died(fatal);
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) call?.reject(new PersistencyError(error));
    else call?.resolve(value);
  }
}

/** The worker went while a call was under way. */
export const lost = (message) => new PersistencyError({ kind: "Backend", message, outcome: "Unknown" });

/** A call after the end. */
const closed = (why) => new PersistencyError({ kind: "Closed", message: `the root is closed (${why})` });

/** The platform cannot run the worker. */
export const unsupported = (message) => new PersistencyError({ kind: "Unsupported", message });
