// What is read bit by bit: rows by pages, commits by watches and the log, watermarks.
// Never skips a commit silently, also where the worker dies in between.

import { seqOf, signalOf, text8 } from "./bytes.js";
import { asyncDispose } from "./dispose.js";
import { isDeath } from "./error.js";
import { Key } from "./key.js";
import { KeyRange, successor } from "./range.js";
import { ENTRY, OP, Reader } from "./wire.js";

/** How often in a row a watch goes on after a death of the worker without having been told anything. */
export const RETRIES_MAX = 5;
/** Milliseconds that it waits before it does so again. */
export const RETRY_MS = 500;

let nextStream = 1;

/** What all iterators here have: one step at a time, and an end that does not wait for the step under way. */
export class Steps {
  #step;
  #last = Promise.resolve();
  #stop = new AbortController();
  #ended = false;

  constructor(step, signal) {
    this.#step = step;
    if (!signal) return;
    if (signal.aborted) this.#stop.abort(signal.reason);
    const stop = this.#stop;
    signal.addEventListener("abort", () => stop.abort(signal.reason), { once: true, signal: stop.signal });
  }

  /** Aborted when the iterator is to end. */
  get stopped() {
    return this.#stop.signal;
  }

  next() {
    const step = this.#last.then(async () => {
      if (this.#ended) return { done: true, value: undefined };
      try {
        this.stopped.throwIfAborted();
        const step = await this.#step();
        if (step.done) await this.#end();
        return step;
      } catch (error) {
        await this.#end();
        if (error === ENDED) return { done: true, value: undefined };
        throw error;
      }
    });
    this.#last = step.catch(() => {});
    return step;
  }

  async return(value) {
    this.#stop.abort(ENDED);
    await this.#last;
    await this.#end();
    return { done: true, value };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [asyncDispose]() {
    await this.return();
  }

  async #end() {
    if (this.#ended) return;
    this.#ended = true;
    this.#stop.abort(ENDED);
    await this.ended?.();
  }
}

/** Why an iterator ends that its caller has had enough of. */
const ENDED = new DOMException("the iterator has been ended", "AbortError");

/** The rows of a scan one after another, read by pages, each one view and a new read. */
export class Rows extends Steps {
  /** `readPage(range, limit, signal)` answers `{ rows, more }`. */
  constructor(readPage, { start, end }, { reverse, limit, signal }) {
    let [rows, at, more] = [[], 0, true];
    super(async () => {
      if (at === rows.length) {
        if (!more || limit === 0) return { done: true, value: undefined };
        ({ rows, more } = await readPage({ start, end }, limit, this.stopped));
        if (rows.length === 0) return { done: true, value: undefined };
        at = 0;
        if (limit !== undefined) limit -= rows.length;
        const last = rows.at(-1).key;
        if (reverse) end = new Key(last);
        else start = successor(last);
      }
      at += 1;
      return { done: false, value: rows[at - 1] };
    }, signal);
  }
}

/** Ends what the worker holds for watches that nobody holds any more; knows them by number only. */
const abandoned = new FinalizationRegistry(({ tenant, held }) => end(tenant, held.number));

/** Committed batches from a position on, or from now. */
export class Commits extends Steps {
  #tenant;
  #number;
  #open;
  #position;
  #items = [];
  #opening;
  /** The number for when this is abandoned: nothing that leads back here may be kept. */
  #held;
  /** The worker's life in which the stream was opened. */
  #life;
  #retries = 0;

  /** `open(writer, number, position)` writes the call `operation` that opens the stream. */
  constructor(tenant, operation, open, position, signal) {
    super(() => this.#next(), signal);
    this.#tenant = tenant;
    this.#position = position;
    this.#open = () => {
      this.#number = nextStream;
      nextStream = (nextStream + 1) >>> 0 || 1;
      const opened = tenant.call(operation, (writer) => open(writer, this.#number, this.#position), this.stopped)
        .then((reader) => {
          this.#position = reader.position();
          this.#life = tenant.link.life;
        });
      opened.catch(() => {});
      return opened;
    };
    // Asked for now, so that no later call overtakes it.
    this.#opening = this.#open();
    this.#held = { number: this.#number };
    abandoned.register(this, { tenant, held: this.#held }, this);
  }

  /** The place in the job's history behind everything that has been yielded, once it is known. */
  position() {
    if (!this.#position) return undefined;
    const [first] = this.#items;
    const seq = first === undefined ? this.#position.seq : (first.seq ?? first.from) - 1n;
    return { generation: Uint8Array.from(this.#position.generation), seq };
  }

  /** Gives up what the worker holds. */
  ended() {
    abandoned.unregister(this);
    end(this.#tenant, this.#number);
  }

  async #next() {
    while (this.#items.length === 0) {
      try {
        await this.#opening;
        if (this.#life !== this.#tenant.link.life) this.#again();
        await this.#opening;
        const reader = await this.#tenant.call(OP.next, (writer) => writer.count(this.#number), this.stopped, true);
        this.#retries = 0;
        if (reader.ended) return { done: true, value: undefined };
        this.#position.seq = reader.number();
        while (!reader.ended) this.#items.push(readItem(reader));
      } catch (error) {
        if (!this.#goesOn(error)) throw error;
        await pause(RETRY_MS * this.#retries, this.stopped);
        this.#retries += 1;
        this.#again();
      }
    }
    return { done: false, value: this.#items.shift() };
  }

  #again() {
    this.#opening = this.#open();
    this.#held.number = this.#number;
  }

  /** Whether the worker has died, and what followed can still be told, or at least that it cannot. */
  #goesOn(error) {
    return isDeath(error) && this.#position !== undefined && this.#retries < RETRIES_MAX && !this.#tenant.ended;
  }
}

const end = (tenant, number) => tenant.link.tell(OP.end, tenant.number, (writer) => writer.count(number));

/** Resolves after `ms`, or rejects with the signal's reason. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/** One item of a watch or the log. */
export function readItem(reader) {
  if (!reader.flag()) return { type: "lagged", from: reader.number(), to: reader.number() };
  const seq = reader.number();
  const timeMs = Number(reader.number());
  const writer = Uint8Array.from(reader.take(16));
  const packed = new Reader(reader.bytes());
  const operations = [];
  while (!packed.ended) operations.push(readOperation(packed));
  return { type: "commit", seq, timeMs, writer, operations };
}

function readOperation(reader) {
  const code = reader.byte();
  const category = text8(reader.bytes());
  const key = reader.copy(Key);
  switch (code) {
    case ENTRY.put: return { type: "put", category, key, payload: reader.copy() };
    case ENTRY.delete: return { type: "delete", category, key };
    default: {
      const range = new KeyRange(key, reader.flag() ? reader.copy(Key) : undefined);
      return { type: "deleteRange", category, range };
    }
  }
}

/** Follows one of a job's watermarks. */
export class SeqWatch extends Steps {
  #tenant;
  #seq;

  constructor(tenant, name) {
    let last = -1n;
    super(async () => {
      await tenant.progress(() => tenant[name] > last, this.stopped);
      last = tenant[name];
      return { done: false, value: last };
    });
    this.#tenant = tenant;
    this.#seq = name;
  }

  /** The seq now; a lower bound. */
  seq() {
    return this.#tenant[this.#seq];
  }

  /** Resolves with the seq when it is at least `seq`. */
  async atLeast(seq, options) {
    seqOf(seq);
    await this.#tenant.progress(() => this.seq() >= seq, signalOf(options));
    return this.seq();
  }
}
