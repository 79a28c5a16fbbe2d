// The layer `write_behind` as pages use it: the page's memory is the truth, the store follows.
// Remembers which keys are dirty until they are flushed, so that a worker that dies takes no mark along; when
// to flush and what that means is decided in the worker.

import { Batch } from "../../batch.js";
import { categoryOf, keyOf, payloadOf, signalOf, text8 } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid, PersistencyError } from "../../error.js";
import { limits } from "../../limits.js";
import { pause, RETRIES_MAX, RETRY_MS } from "../../stream.js";
import { ENTRY, Reader } from "../../wire.js";
import { Remote } from "../remote.js";
import { StrongRows, WeakRows } from "./rows.js";

/** Dirty keys of all sets together at most, unless the options say less; the worker's MARKS_MAX. */
const MARKS_MAX = 99_999;
/** Bytes that they weigh at most, as the worker's MARK_BYTES_MAX, and a payload unless its set says otherwise. */
const MARK_BYTES_MAX = limits().batchBytes - 1024;
const PAYLOAD_BYTES = 512;

/** What a relation can be. */
const KINDS = ["requires", "keptBy"];

/** An engine over one job. */
export class WriteBehind {
  #remote;
  #sets;
  #byName = new Map();
  /** What all sets together may hold, and do. */
  #bounds;
  #taken = { marks: 0, bytes: 0 };
  #started = false;
  /** What the policy was changed to. */
  #policy = {};
  /** The flush under way that was asked for since there was no more room. */
  #full;
  /** Whether the worker's questions are heard. */
  #following = false;
  /** Whether marks wait to be sent at the end of this turn. */
  #sending = false;
  #closing = new AbortController();
  #hidden;
  #job;
  #relations;
  #migrations;
  #legacy;
  #bootstrap;

  constructor(remote, job, sets, options) {
    const { marks = MARKS_MAX, bytes = MARK_BYTES_MAX, flushWhenHidden = true, relations, migrations, legacy } = options;
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by WriteBehind.open()");
    this.#remote = remote;
    this.#job = job;
    this.#bounds = { marks, bytes };
    this.#relations = relations;
    this.#migrations = migrations;
    this.#legacy = legacy;
    const through = {
      mark: (index, key, upsert) => this.#mark(this.#sets[index], copied(keyOf(key)), upsert),
      row: (...call) => this.#row(...call),
      write: (batch) => this.write(batch),
    };
    this.#sets = sets.map((set, index) => {
      const { category, read, marks = MARKS_MAX, bytes = MARK_BYTES_MAX, payloadBytes = PAYLOAD_BYTES } = set;
      const handle = new (read ? WeakRows : StrongRows)(through, index, category);
      this.#byName.set(category, handle);
      const weigh = ({ key, upsert }) => categoryOf(category).length + key.length + (upsert ? payloadBytes : 0);
      const taken = { marks: 0, bytes: 0 };
      return { index, category, read, weigh, bounds: { marks, bytes }, taken, entries: new Map() };
    });
    if (flushWhenHidden && typeof document === "object") {
      this.#hidden = () => {
        if (document.visibilityState === "hidden" && this.dirty > 0) this.flush().catch(() => {});
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
    const { flushWhenHidden: _, relations = [], migrations = [], legacy, ...given } = options;
    for (const [what, list] of [["relations", relations], ["migrations", migrations]]) {
      if (!Array.isArray(list)) throw invalid(`the ${what} are an array`);
    }
    const calls = [...relations.map(({ parentOf } = {}) => parentOf), ...migrations.map(({ step } = {}) => step)];
    if ([...calls, legacy ?? (() => {})].some((call) => typeof call !== "function")) {
      throw invalid("parentOf, step and legacy are functions");
    }
    const place = (category) => {
      const index = sets.findIndex((set) => set.category === category);
      if (index < 0) throw invalid("a relation of a set that there is not");
      return index;
    };
    const history = {
      relations: relations.map(({ kind = "requires", child, parent }) => {
        if (!KINDS.includes(kind)) throw invalid(`a relation is ${KINDS.join(" or ")}`);
        return { keptBy: kind === "keptBy", child: place(child), parent: place(parent) };
      }),
      migrations: migrations.map(({ version }) => version),
      legacy: legacy !== undefined,
    };
    const remote = new Remote(job, "writeBehind", [declared, history, given]);
    await remote.open();
    const engine = new WriteBehind(remote, job, sets.map((set) => ({ ...set })),
      { ...options, relations, migrations });
    try {
      engine.#bootstrap = bootstrapRead(await remote.call("open", [], { patient: true }));
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /** What was done when it was opened. */
  get bootstrap() {
    return this.#bootstrap;
  }

  /** Removes rows that the relations do not allow, in one atomic batch, durably. */
  async repair() {
    return repairRead(await this.#call("repair", [], { patient: true }));
  }

  /** What a repair would remove; changes nothing. */
  async repairDryRun() {
    return repairRead(await this.#call("repairDryRun", [], { patient: true }));
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
    return this.#taken.marks;
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
    this.#policy = { ...this.#policy, ...policy };
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
    const packed = Batch.packed(batch).packed.slice();
    const write = () => this.#call("write", [packed], { patient: true });
    return BigInt(await this.#strongly(this.#touched(packed), write, () => true));
  }

  /** Gives up what the worker holds for this, without a flush; the job stays open. */
  async close() {
    if (this.#hidden) document.removeEventListener("visibilitychange", this.#hidden);
    this.#closing.abort(new PersistencyError("Closed", "the engine is closed"));
    this.#remote.close();
  }

  /** A call on a row; where it writes, a mark that was made before is older than what it writes. */
  async #row(index, method, key, args, options) {
    const set = this.#sets[index];
    const bytes = copied(keyOf(key));
    const entry = method === "get" ? undefined : set.entries.get(nameOf(bytes));
    const call = () => this.#call(method, [index, bytes, ...args], options);
    // Of these two `false` says that nothing was written.
    const writes = (answer) => !(answer === false && (method === "ensure" || method === "remove"));
    return this.#strongly(entry ? [{ set, entry }] : [], call, writes);
  }

  /**
   * A call that takes marks along if it writes. They are not told again while it is under way: the worker would take
   * them for newer than what it writes.
   */
  async #strongly(touched, call, writes) {
    for (const { entry } of touched) entry.held += 1;
    let through = false;
    try {
      const answer = await call();
      through = writes(answer);
      return answer;
    } finally {
      for (const { set, entry } of touched) {
        entry.held -= 1;
        if (through) this.#forget(set, entry);
      }
      this.#send();
    }
  }

  /** The dirty keys that a batch writes or removes. */
  #touched(packed) {
    const touched = new Map();
    for (const reader = new Reader(packed); !reader.ended;) {
      const code = reader.byte();
      const category = text8(reader.bytes());
      const set = this.#sets.find((each) => each.category === category);
      const name = nameOf(reader.bytes());
      if (code === ENTRY.deleteRange) {
        const end = reader.flag() ? nameOf(reader.bytes()) : undefined;
        for (const [each, entry] of set?.entries ?? []) {
          if (each >= name && (end === undefined || each < end)) touched.set(entry, set);
        }
        continue;
      }
      if (code === ENTRY.put || code === ENTRY.requireEqual) reader.bytes();
      const entry = code === ENTRY.put || code === ENTRY.delete ? set?.entries.get(name) : undefined;
      if (entry) touched.set(entry, set);
    }
    return Array.from(touched, ([entry, set]) => ({ set, entry }));
  }

  #mark(set, key, upsert) {
    if (!this.#remote.isOpen) throw new PersistencyError("Closed", "the engine is closed");
    const name = nameOf(key);
    const before = set.entries.get(name);
    const entry = { key, upsert, sent: false, asked: 0, held: 0 };
    const [marks, bytes] = [before ? 0 : 1, set.weigh(entry) - (before ? set.weigh(before) : 0)];
    const fits = ({ bounds, taken }) => taken.marks + marks <= bounds.marks && (bytes <= 0 || taken.bytes + bytes <= bounds.bytes);
    if (!fits(set) || !fits({ bounds: this.#bounds, taken: this.#taken })) {
      if (this.#started) this.#flushFull();
      throw new PersistencyError("Overloaded", "no room for another dirty key before a flush");
    }
    this.#take(set, marks, bytes);
    set.entries.set(name, entry);
    if (this.#sending) return;
    this.#sending = true;
    queueMicrotask(() => this.#send());
  }

  /** One flush at a time, however often marks are refused. */
  #flushFull() {
    this.#full ??= this.flush().catch(() => {}).then(() => { this.#full = undefined; });
  }

  #take(set, marks, bytes) {
    for (const taken of [set.taken, this.#taken]) {
      taken.marks += marks;
      taken.bytes += bytes;
    }
  }

  /** The mark has been flushed, or is older than what was written; one that was made since stays. */
  #forget(set, entry) {
    const name = nameOf(entry.key);
    if (set.entries.get(name) !== entry) return;
    set.entries.delete(name);
    this.#take(set, -1, -set.weigh(entry));
  }

  /** What has been marked and not been sent, by sets; from now on it counts as sent. */
  #unsent() {
    const marked = [];
    const marks = [];
    for (const { index, entries } of this.#sets) {
      const [upserts, deletes] = [[], []];
      for (const entry of entries.values()) {
        if (entry.sent || entry.held > 0) continue;
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
    if (!this.#following) this.#follow();
    return this.#remote.call(method, args, options);
  }

  /** A worker that was started anew knows of nothing: everything that is dirty is told again. */
  #again() {
    if (!this.#remote.isLost) return;
    for (const { entries } of this.#sets) for (const entry of entries.values()) entry.sent = false;
    this.#send();
    if (Object.keys(this.#policy).length > 0) this.#remote.call("setPolicy", [this.#policy]).catch(() => {});
    if (this.#started) this.#remote.call("start").catch(() => {});
  }

  /** Answers the worker's questions for as long as it is open. */
  async #follow() {
    this.#following = true;
    try {
      await this.#hearAll();
    } finally {
      this.#following = false;
    }
  }

  async #hearAll() {
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

  #hear(news) {
    if (news.type === "settled") return this.#settle(news);
    // Values are read before this returns, all of one moment.
    if (news.type === "values") return this.#reply(news.id, this.#snapshot(news));
    this.#ask(news).then((reply) => this.#reply(news.id, reply), (error) => this.#reply(news.id, failed(error)));
  }

  /** What the page says to a question that may take its time. */
  async #ask({ type, relation, rows, version }) {
    if (type === "parents") {
      const { parentOf } = this.#relations[relation];
      const parents = rows.map(([key, payload]) => parentOf(key, payload));
      return { parents: parents.map((parent) => (parent === undefined ? undefined : copied(keyOf(parent)))) };
    }
    if (type === "legacy") return { legacy: await this.#legacy(this.#job) };
    const { step } = this.#migrations.find((each) => BigInt(each.version) === BigInt(version));
    const batch = await step(this.#job);
    if (!(batch instanceof Batch)) throw invalid("a step answers with a Batch");
    return { step: Batch.packed(batch).packed.slice() };
  }

  #reply(id, reply) {
    this.#remote.call("answer", [id, reply]).catch((error) => {
      this.#settle({ id, through: false });
      // Who asked does not wait any longer, or has gone.
      if (!reply.error) this.#reply(id, failed(error));
    });
  }

  #settle({ id, through }) {
    for (const set of this.#sets) {
      for (const entry of [...set.entries.values()]) {
        if (entry.asked !== id) continue;
        entry.asked = 0;
        if (through && entry.sent) this.#forget(set, entry);
        // Whether the worker has taken note of it is not known: it may have given up waiting.
        else entry.sent = false;
      }
    }
    this.#send();
  }

  /** What memory has, all of it in this turn. */
  #snapshot({ id, wanted }) {
    try {
      const all = this.#sets.filter(({ read }) => read).map(({ index, read, entries }) => {
        const keys = new Map(wanted[index].map((key) => [nameOf(key), key]));
        for (const [name, { key, upsert }] of entries) if (upsert) keys.set(name, key);
        return [index, Array.from(keys.values(), (key) => [key, valueOf(read(copied(key)))])];
      });
      const { marks } = this.#unsent();
      for (const { entries } of this.#sets) for (const entry of entries.values()) if (entry.held === 0) entry.asked = id;
      return { snapshot: [marks, all] };
    } catch (error) {
      return failed(error);
    }
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

const failed = (error) => ({ error: String(error?.message ?? error) });

const repairRead = ({ removed, batches, relations }) => ({
  removed: Number(removed),
  batches: Number(batches),
  relations: relations.map((each) => ({ ...each, examined: Number(each.examined), removed: Number(each.removed) })),
});

const bootstrapRead = ({ versionBefore, version, repair }) =>
  ({ versionBefore: Number(versionBefore), version: Number(version), repair: repairRead(repair) });

const flushedRead = ({ upserts, deletes, seq }) =>
  ({ upserts, deletes, seq: seq === undefined || seq === null ? undefined : BigInt(seq) });
