// One open job as all its handles share it: its queue, how far it has come, and how it ends.
// Never decides what a call means; it says who may still call, and under which deadline.

import { Batch } from "./batch.js";
import { changed, closed, invalid, PersistencyError } from "./error.js";
import { DEADLINE_MS, QUEUE_BOUND_MAX, QUEUE_BYTES, QUEUE_OPERATIONS } from "./limits.js";
import { overloaded, Queue } from "./queue.js";
import { OP } from "./wire.js";

const MODES = ["create", "mustExist", "readOnly"];
const DURABILITIES = ["relaxed", "strict"];
const DEFAULTS = {
  durability: "relaxed", queueOperations: QUEUE_OPERATIONS, queueBytes: QUEUE_BYTES, deadlineMs: DEADLINE_MS,
  log: undefined, mode: "create",
};

/** The options, checked and complete. */
export function optionsOf(options) {
  if (typeof options !== "object" || options === null) throw invalid("the options of a job are an object");
  for (const name of Object.keys(options)) {
    if (!(name in DEFAULTS)) throw invalid(`a job has no option "${name}"`);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all = { ...DEFAULTS, ...Object.fromEntries(given) };
  if (!DURABILITIES.includes(all.durability)) throw invalid(`the durability is one of ${DURABILITIES.join(", ")}`);
  if (!MODES.includes(all.mode)) throw invalid(`the mode is one of ${MODES.join(", ")}`);
  for (const name of ["queueOperations", "queueBytes"]) {
    const bound = all[name];
    if (!Number.isInteger(bound) || bound < 1 || bound > QUEUE_BOUND_MAX) {
      throw invalid(`${name} is an integer from 1 to ${QUEUE_BOUND_MAX}`);
    }
  }
  if (all.deadlineMs !== null && !(Number.isSafeInteger(all.deadlineMs) && all.deadlineMs >= 0)) {
    throw invalid("deadlineMs is an integer from 0, or null for none");
  }
  if (all.log !== undefined) all.log = logOf(all.log);
  if (all.mode === "readOnly" && all.log !== undefined) {
    throw invalid("a job that is opened for reading only keeps its log as it is");
  }
  return Object.freeze(all);
}

function logOf(log) {
  if (log === "off") return log;
  const bytes = typeof log?.lastBytes === "number" && Number.isSafeInteger(log.lastBytes)
    ? BigInt(log.lastBytes)
    : log?.lastBytes;
  if (typeof bytes !== "bigint" || BigInt.asUintN(64, bytes) !== bytes) {
    throw invalid('log is "off" or { lastBytes: a number from 0 }');
  }
  return Object.freeze({ lastBytes: bytes });
}

/** The options in which two jobs would differ. */
export const differing = (a, b) =>
  Object.keys(DEFAULTS).filter((name) => (name === "log" ? logBytes(a) !== logBytes(b) : a[name] !== b[name]));

const logBytes = ({ log }) => log?.lastBytes ?? log;

/** Writes the options as the worker reads them; `mode` may differ from theirs. */
export function writeOptions(writer, options, mode = options.mode) {
  writer.byte(DURABILITIES.indexOf(options.durability)).count(options.queueOperations).count(options.queueBytes);
  writer.byte(options.deadlineMs === null ? 0 : 1);
  if (options.deadlineMs !== null) writer.number(BigInt(options.deadlineMs));
  if (options.log === undefined) writer.byte(0);
  else if (options.log === "off") writer.byte(1);
  else writer.byte(2).number(options.log.lastBytes);
  writer.byte(MODES.indexOf(mode));
}

/** How a job is open, by the number that the worker tells. */
export const modeOf = (number) => MODES[number];

/** An open job. */
export class Tenant {
  committedSeq = 0n;
  durableSeq = 0n;
  generation;
  /** What every later call is answered, once there can be none. */
  ended;
  /** Handles that have not been given back. */
  handles = 0;
  /** Resolves when it has been closed or dropped, while that is going on. */
  ending;
  #link;
  #queue;
  /** Who waits for progress. */
  #watching = new Set();
  /** Callers that wait for room, to be told when it ends. */
  #callers = new Set();

  constructor(link, number, id, options) {
    this.#link = link;
    this.number = number;
    this.id = id;
    this.options = options;
    this.#queue = new Queue({ operations: options.queueOperations, bytes: options.queueBytes });
  }

  get link() {
    return this.#link;
  }

  get queued() {
    return this.#queue.taken;
  }

  /** Where an error happened. */
  at(operation) {
    return `job ${JSON.stringify(this.id)}, ${operation}`;
  }

  check() {
    if (this.ended) throw this.ended;
  }

  checkWritable() {
    this.check();
    if (this.options.mode === "readOnly") {
      throw new PersistencyError("Unsupported", "the job is open for reading only");
    }
  }

  /** Makes a call about the job; the answer's Reader. A `patient` one has no deadline. */
  async call(operation, write, signal, patient = false) {
    this.check();
    const deadlineMs = patient ? DEADLINE_MS : this.options.deadlineMs;
    try {
      // The new worker's job of this number may be another life.
      const ended = () => this.ended;
      return await this.#link.call(operation, this.number, write, { deadlineMs, signal, ended, patient });
    } catch (error) {
      if (!(error instanceof PersistencyError) || error === signal?.reason) throw error;
      // Arguments have been checked, so this is a worker that has no such job any more.
      if (this.ended && error.kind === "InvalidArgument") throw this.ended;
      // What comes from the worker names the job already.
      if (error.message.startsWith("job ")) throw error;
      const name = Object.keys(OP).find((each) => OP[each] === operation);
      throw changed(error, { message: `${this.at(name)}: ${error.message}` });
    }
  }

  /** The place of a batch in the queue if there is room now, or `Overloaded`. */
  tryApply(batch) {
    this.checkWritable();
    const weight = weigh(batch);
    const slot = this.#queue.tryAccept(weight);
    // Without a worker nothing is accepted at once, but the next try may find one.
    this.#link.wake();
    if (!slot) throw overloaded();
    this.#send(slot, weight, false);
    return slot;
  }

  /** Resolves with the place of a batch in the queue, once it is accepted. */
  async apply(batch, reportExisted) {
    this.checkWritable();
    const weight = weigh(batch);
    const slot = this.#queue.tryAccept(weight);
    if (slot) {
      this.#send(slot, weight, reportExisted);
      return slot;
    }
    return this.#inTime((resolve, reject) => {
      const accepted = (slot) => {
        this.#send(slot, weight, reportExisted);
        resolve(slot);
      };
      const giveUp = this.#queue.accept(weight, accepted, reject);
      this.#link.wake();
      return () => giveUp?.();
    });
  }

  /** A worker is there. */
  found() {
    this.#queue.resume();
  }

  /** The worker has died: callers wait for the next one, in the order in which they came. */
  lost() {
    this.#queue.pause();
    if (this.#queue.isWaitedFor) this.#link.wake();
  }

  /** No worker could be started. */
  refused(error) {
    this.#queue.refuse(error);
  }

  /** Resolves when everything accepted before is durable. */
  async flush() {
    this.check();
    await this.#covered(this.call(OP.flush));
  }

  /** Resolves when a committed seq is durable. */
  async durable(seq) {
    if (this.durableSeq >= seq) return;
    try {
      await this.call(OP.durable, (writer) => writer.number(seq));
    } catch (error) {
      // Closing made everything durable that was accepted.
      await this.ending?.catch(() => {});
      if (this.durableSeq < seq) throw error;
    }
    this.advanced(0n, seq);
  }

  /** Ends the job by `last`, a call that closes or drops it; calls made from now on are answered `ended`. */
  end(ended, last) {
    this.ending ??= this.#end(ended, last);
    return this.ending;
  }

  async #end(ended, last) {
    const covered = this.#covered(last ?? Promise.resolve());
    this.vanish(ended);
    await covered;
  }

  /** The job is here no more. */
  vanish(ended) {
    this.ended ??= ended;
    // From the last: of those who wait for room none is let in because one before it gives up.
    for (const stop of [...this.#callers].reverse()) stop(this.ended);
    this.#tell();
  }

  /** Takes note of how far it has come; never goes back. */
  advanced(committedSeq, durableSeq) {
    if (committedSeq > this.committedSeq) this.committedSeq = committedSeq;
    if (durableSeq > this.durableSeq) this.durableSeq = durableSeq;
    this.#tell();
  }

  /** Resolves when `reached()`; rejects if the job ends before. */
  progress(reached, signal) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = () => done(() => reject(signal.reason));
      const done = (settle) => {
        signal?.removeEventListener("abort", abort);
        this.#watching.delete(look);
        settle();
      };
      const look = () => {
        if (reached()) done(resolve);
        else if (this.ended) done(() => reject(this.ended));
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#watching.add(look);
      look();
    });
  }

  #tell() {
    for (const look of [...this.#watching]) look();
  }

  /** The outcome of a flush or close: errors that nobody has been told go before its own. */
  async #covered(call) {
    const finish = this.#queue.flush();
    const failure = await call.then(() => undefined, (error) => error);
    finish(failure);
  }

  /** Runs `start(resolve, reject)` within the deadline; what that returns gives up. */
  #inTime(start) {
    return new Promise((resolve, reject) => {
      let timer;
      let giveUp;
      let settled = false;
      const settle = (settle) => (value) => {
        settled = true;
        clearTimeout(timer);
        this.#callers.delete(stop);
        settle(value);
      };
      const stop = (error) => {
        giveUp();
        settle(reject)(error);
      };
      this.#callers.add(stop);
      giveUp = start(settle(resolve), settle(reject));
      const { deadlineMs } = this.options;
      if (settled || deadlineMs === null) return;
      timer = setTimeout(() => stop(new PersistencyError("Timeout", "the deadline has passed", { retryable: true })),
        Math.min(deadlineMs, TIMER_MAX_MS));
    });
  }

  #send(slot, weight, reportExisted) {
    const settle = (result) => this.#queue.settle(slot, weight, result);
    this.call(OP.apply, (writer) => writer.byte(reportExisted ? 1 : 0).raw(weight.packed)).then(
      (reader) => {
        const [seq, existed] = [reader.number(), reader.flag()];
        this.advanced(seq, 0n);
        settle({ seq, existed });
      },
      (error) => settle({ error }),
    );
  }
}

/** Milliseconds that a timer of the platform can wait at most. */
const TIMER_MAX_MS = 2 ** 31 - 1;

function weigh(batch) {
  if (!(batch instanceof Batch)) throw invalid("a batch is a Batch");
  return Batch.packed(batch);
}

/** What calls on a closed job are answered. */
export const jobClosed = () => closed("job");

/** What calls on a job that is there no more are answered. */
export const jobGone = () => new PersistencyError("JobNotFound", "the job has been dropped");
