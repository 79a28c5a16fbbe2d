// The layer `write_behind` as pages use it: the page's memory is the truth, the store follows.
// Remembers which keys are dirty until they are flushed, so that a worker that dies takes no mark along; when
// to flush and what that means is decided in the worker.

import { Batch } from "../batch.js";
import { categoryOf, keyOf, payloadOf, signalOf } from "../bytes.js";
import { asyncDispose } from "../dispose.js";
import { invalid, PersistencyError } from "../error.js";
import { pause, RETRIES_MAX, RETRY_MS } from "../stream.js";
import { Remote } from "./remote.js";

/** Dirty keys of all sets together at most, unless the options say less; the worker's MARKS_MAX. */
const MARKS_MAX = 99_999;
/** How often an update that decides on what it finds is tried at most; the worker's ATTEMPTS_MAX. */
const ATTEMPTS_MAX = 16;

/** An engine over one job. */
export class WriteBehind {
  #remote;
  #sets;
  #byName = new Map();
  #marksMax;
  /** How many keys are dirty, in all sets. */
  #dirty = 0;
  #started = false;
  /** Whether marks wait to be sent at the end of this turn. */
  #sending = false;
  #closing = new AbortController();
  #hidden;

  constructor(remote, sets, { marks = MARKS_MAX, flushWhenHidden = true }) {
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by WriteBehind.open()");
    this.#remote = remote;
    this.#marksMax = marks;
    this.#sets = sets.map((set, index) => {
      const { category, read } = set;
      const handle = read ? new WeakRows(this, index, category) : new StrongRows(this, index, category);
      this.#byName.set(category, handle);
      return { index, read, entries: new Map() };
    });
    if (flushWhenHidden && typeof document === "object") {
      this.#hidden = () => {
        if (document.visibilityState === "hidden" && this.#dirty > 0) this.flush().catch(() => {});
      };
      document.addEventListener("visibilitychange", this.#hidden);
    }
    this.#follow();
  }

  /** Opens the layer over a job, with its sets, parents first. */
  static async open(job, sets, options = {}) {
    if (!Array.isArray(sets)) throw invalid("the sets are an array");
    if (typeof options !== "object" || options === null) throw invalid("the options are an object");
    const declared = sets.map(({ category, read, marks, bytes, payloadBytes } = {}) => {
      categoryOf(category);
      if (read !== undefined && typeof read !== "function") throw invalid("the reader of a set is a function");
      return { category, strong: read === undefined, marks, bytes, payloadBytes };
    });
    const { flushWhenHidden, ...given } = options;
    const remote = new Remote(job, "writeBehind", [declared, given]);
    await remote.open();
    return new WriteBehind(remote, sets.map(({ category, read }) => ({ category, read })), options);
  }

  /** The weak set of this category. */
  weak(category) {
    const set = this.strong(category);
    if (!(set instanceof WeakRows)) throw invalid("nothing is marked in a strong set");
    return set;
  }

  /** The set of this category, to be written strongly. */
  strong(category) {
    const set = this.#byName.get(category);
    if (!set) throw invalid("there is no such set");
    return set;
  }

  /** How many keys are dirty, those of a flush under way included. */
  get dirty() {
    return this.#dirty;
  }

  /** Writes everything that is dirty in one atomic batch, now. */
  async flush() {
    return flushedRead(await this.#call("flush", [], { patient: true }));
  }

  /** Starts the flusher; `false` if it runs already. */
  async start() {
    this.#started = true;
    return this.#call("start");
  }

  /** Stops the flusher and flushes once more. */
  async stop() {
    this.#started = false;
    return flushedRead(await this.#call("stop", [], { patient: true }));
  }

  /** Changes when the flusher flushes, from its next tick on. */
  async setPolicy(policy) {
    return this.#call("setPolicy", [policy]);
  }

  /** Where the engine stands. */
  async status(options) {
    const status = await this.#call("status", [], { signal: signalOf(options) });
    return { ...status, flushes: Number(status.flushes), rows: Number(status.rows), error: status.error ?? undefined };
  }

  /** Applies a batch strongly: durable when this resolves with its seq. */
  async write(batch) {
    if (!(batch instanceof Batch)) throw invalid("a strong write takes a Batch");
    return BigInt(await this.#call("write", [Batch.packed(batch).packed.slice()], { patient: true }));
  }

  /** Gives up what the worker holds for this, without a flush; the job stays open. */
  async close() {
    if (this.#hidden) document.removeEventListener("visibilitychange", this.#hidden);
    this.#closing.abort(new PersistencyError("Closed", "the engine is closed"));
    this.#remote.close();
  }

  /** Marks a key of the set; its value is read when it is flushed. */
  static mark(engine, index, key, upsert) {
    engine.#mark(engine.#sets[index], Uint8Array.from(keyOf(key)), upsert);
  }

  /** A strong call on a row; a mark that was made before is older than what it writes. */
  static async row(engine, index, method, key, args, options) {
    const { entries } = engine.#sets[index];
    const bytes = Uint8Array.from(keyOf(key));
    const before = entries.get(nameOf(bytes));
    const answer = await engine.#call(method, [index, bytes, ...args], options);
    if (before && method !== "get" && entries.get(nameOf(bytes)) === before) engine.#forget(entries, bytes);
    return answer;
  }

  #mark({ entries }, key, upsert) {
    if (!this.#remote.isOpen) throw new PersistencyError("Closed", "the engine is closed");
    const name = nameOf(key);
    if (!entries.has(name)) {
      if (this.#dirty >= this.#marksMax) {
        if (this.#started) this.flush().catch(() => {});
        throw new PersistencyError("Overloaded", "no room for another dirty key before a flush");
      }
      this.#dirty += 1;
    }
    entries.set(name, { key, upsert, sent: false, asked: 0 });
    if (this.#sending) return;
    this.#sending = true;
    queueMicrotask(() => this.#send());
  }

  #forget(entries, key) {
    if (entries.delete(nameOf(key))) this.#dirty -= 1;
  }

  /** What has been marked and not been sent, by sets; from now on it counts as sent. */
  #unsent() {
    const marked = [];
    const marks = [];
    for (const { index, entries } of this.#sets) {
      const [upserts, deletes] = [[], []];
      for (const entry of entries.values()) {
        if (entry.sent) continue;
        entry.sent = true;
        marked.push(entry);
        (entry.upsert ? upserts : deletes).push(entry.key);
      }
      if (upserts.length + deletes.length > 0) marks.push([index, upserts, deletes]);
    }
    return { marks, marked };
  }

  /** Tells the worker what has been marked in this turn. */
  #send() {
    this.#sending = false;
    if (!this.#remote.isOpen) return;
    const { marks, marked } = this.#unsent();
    if (marks.length === 0) return;
    // What could not be told is told with the next flush at the latest.
    this.#remote.call("mark", [marks]).catch(() => marked.forEach((entry) => { entry.sent = false; }));
  }

  /** A call that everything marked before it has been told to. */
  async #call(method, args = [], options = {}) {
    this.#again();
    this.#send();
    return this.#remote.call(method, args, options);
  }

  /** A worker that was started anew knows of nothing: everything that is dirty is told again. */
  #again() {
    if (!this.#remote.isLost) return;
    for (const { entries } of this.#sets) for (const entry of entries.values()) entry.sent = false;
    this.#send();
    if (this.#started) this.#remote.call("start").catch(() => {});
  }

  /** Answers the worker's questions for as long as it is open. */
  async #follow() {
    for (let retries = 0; this.#remote.isOpen;) {
      try {
        this.#again();
        const news = await this.#remote.call("next", [], { patient: true, signal: this.#closing.signal });
        if (news.length === 0) return;
        retries = 0;
        for (const each of news) this.#hear(each);
      } catch {
        // Calls tell what is wrong; whoever calls next begins anew.
        if (retries === RETRIES_MAX) return;
        await pause(RETRY_MS * retries, this.#closing.signal).catch(() => {});
        retries += 1;
      }
    }
  }

  #hear({ type, id, wanted, through }) {
    if (type === "ask") return this.#answer(id, wanted);
    for (const { entries } of this.#sets) {
      for (const entry of [...entries.values()]) {
        if (entry.asked !== id) continue;
        if (through && entry.sent) this.#forget(entries, entry.key);
        else entry.asked = 0;
      }
    }
  }

  /** Says what memory has, all of it in this turn. */
  #answer(id, wanted) {
    const answer = { marks: [], values: [] };
    try {
      for (const { index, read, entries } of this.#sets) {
        if (!read) continue;
        const values = new Map();
        for (const key of wanted[index]) values.set(nameOf(key), [key, valueOf(read(Uint8Array.from(key)))]);
        for (const [name, { key, upsert }] of entries) {
          if (upsert && !values.has(name)) values.set(name, [key, valueOf(read(Uint8Array.from(key)))]);
        }
        answer.values.push([index, [...values.values()]]);
      }
      const { marks } = this.#unsent();
      answer.marks = marks;
      for (const { entries } of this.#sets) for (const entry of entries.values()) entry.asked = id;
    } catch (error) {
      answer.values = [];
      answer.error = String(error?.message ?? error);
    }
    this.#remote.call("answer", [id, answer]).catch(() => {});
  }
}

/** A set whose rows are durable as soon as a write is acknowledged. */
export class StrongRows {
  #engine;
  #index;
  #category;

  constructor(engine, index, category) {
    this.#engine = engine;
    this.#index = index;
    this.#category = category;
  }

  get category() {
    return this.#category;
  }

  /** The stored payload; `undefined` if there is no such row. */
  async get(key, options) {
    return await WriteBehind.row(this.#engine, this.#index, "get", key, [], { signal: signalOf(options) }) ?? undefined;
  }

  /** Inserts the row; `Conflict` if there is one. */
  async insert(key, payload) {
    await this.#row("insert", key, [payloadOf(payload)]);
  }

  /** Inserts the row if there is none, and says whether it did. */
  async ensure(key, payload) {
    return this.#row("ensure", key, [payloadOf(payload)]);
  }

  /** Inserts the row or replaces its payload, and says which. */
  async put(key, payload) {
    return await this.#row("put", key, [payloadOf(payload)]) ? "created" : "updated";
  }

  /** Replaces the row by what `merge` makes of the stored payload, or inserts it. */
  async update(key, merge) {
    for (let attempt = 1; ; attempt += 1) {
      const stored = await this.get(key);
      const merged = merge(stored);
      if (merged === undefined) return "unchanged";
      const batch = new Batch();
      if (stored) batch.requireEqual(this.#category, key, stored);
      else batch.requireAbsent(this.#category, key);
      try {
        await this.#engine.write(batch.put(this.#category, key, merged));
        return stored ? "updated" : "created";
      } catch (error) {
        if (error?.kind !== "Conflict" || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  /** Removes the row, and says whether there was one. */
  async remove(key) {
    return this.#row("remove", key, []);
  }

  async #row(method, key, args) {
    return WriteBehind.row(this.#engine, this.#index, method, key, args, { patient: true });
  }
}

/** A set whose rows are written behind. */
export class WeakRows extends StrongRows {
  #engine;
  #index;

  constructor(engine, index, category) {
    super(engine, index, category);
    this.#engine = engine;
    this.#index = index;
  }

  /** Marks a key whose value in memory has changed. */
  mark(key) {
    WriteBehind.mark(this.#engine, this.#index, key, true);
  }

  /** Marks a key whose row is to be removed, whatever memory says. */
  markDelete(key) {
    WriteBehind.mark(this.#engine, this.#index, key, false);
  }
}

Object.defineProperty(WriteBehind.prototype, asyncDispose, {
  async value() {
    try {
      await this.stop();
    } finally {
      await this.close();
    }
  },
});

/** A key's bytes as a name: one character for each byte. */
function nameOf(key) {
  let name = "";
  for (const byte of key) name += String.fromCharCode(byte);
  return name;
}

/** What a reader says, as it is sent: nothing for a key that memory has no longer. */
const valueOf = (value) => (value === undefined || value === null ? undefined : copied(payloadOf(value)));

const copied = (bytes) => Uint8Array.from(bytes);

const flushedRead = ({ upserts, deletes, seq }) =>
  ({ upserts, deletes, seq: seq === undefined || seq === null ? undefined : BigInt(seq) });
