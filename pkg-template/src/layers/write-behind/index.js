// The layer `write_behind` as pages use it: the page's memory is the truth, the store follows.
// Remembers which keys are dirty until they are flushed, so that a worker that dies takes no mark along; when
// to flush and what that means is decided in the worker.

import { Batch } from "../../batch.js";
import { categoryOf, keyOf, payloadOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid, PersistencyError } from "../../error.js";
import { pause, RETRIES_MAX, RETRY_MS } from "../../stream.js";
import { Remote } from "../remote.js";
import { StrongRows, WeakRows } from "./rows.js";

/** Dirty keys of all sets together at most, unless the options say less; the worker's MARKS_MAX. */
const MARKS_MAX = 99_999;

/** What a relation can be. */
const KINDS = ["requires", "keptBy"];

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
  #job;
  #relations;
  #migrations;
  #legacy;
  #bootstrap;

  constructor(remote, job, sets, { marks = MARKS_MAX, flushWhenHidden = true, relations, migrations, legacy }) {
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by WriteBehind.open()");
    this.#remote = remote;
    this.#job = job;
    this.#marksMax = marks;
    this.#relations = relations;
    this.#migrations = migrations;
    this.#legacy = legacy;
    const through = {
      mark: (index, key, upsert) => this.#mark(this.#sets[index], copied(keyOf(key)), upsert),
      row: (...call) => this.#row(...call),
      write: (batch) => this.write(batch),
    };
    this.#sets = sets.map((set, index) => {
      const { category, read } = set;
      const handle = new (read ? WeakRows : StrongRows)(through, index, category);
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
    const engine = new WriteBehind(remote, job, sets.map(({ category, read }) => ({ category, read })),
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

  /** A strong call on a row; a mark that was made before is older than what it writes. */
  async #row(index, method, key, args, options) {
    const { entries } = this.#sets[index];
    const bytes = copied(keyOf(key));
    const before = entries.get(nameOf(bytes));
    const answer = await this.#call(method, [index, bytes, ...args], options);
    if (before && method !== "get" && entries.get(nameOf(bytes)) === before) this.#forget(entries, bytes);
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
    // Who asked asks again, or has gone.
    this.#remote.call("answer", [id, reply]).catch(() => {});
  }

  #settle({ id, through }) {
    for (const { entries } of this.#sets) {
      for (const entry of [...entries.values()]) {
        if (entry.asked !== id) continue;
        if (through && entry.sent) this.#forget(entries, entry.key);
        else entry.asked = 0;
      }
    }
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
      for (const { entries } of this.#sets) for (const entry of entries.values()) entry.asked = id;
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
