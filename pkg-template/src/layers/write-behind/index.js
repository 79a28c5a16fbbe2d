// The layer `write_behind` as pages use it: the page's memory is the truth, the store follows.
// When to flush and what that means is decided in the worker; which keys are dirty is remembered here.

import { Batch } from "../../batch.js";
import { keyOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid, PersistencyError } from "../../error.js";
import { pause, RETRIES_MAX, RETRY_MS } from "../../stream.js";
import { Remote } from "../remote.js";
import { declared } from "./declare.js";
import { copied, Marks } from "./marks.js";
import { StrongRows, WeakRows } from "./rows.js";

/** Milliseconds after which a new worker is told again what it could not be told. */
const TELL_AGAIN_MS = 1000;

/** An engine over one job. */
export class WriteBehind {
  #remote;
  #job;
  #marks;
  #byName = new Map();
  #relations;
  #migrations;
  #legacy;
  #bootstrap;
  #started = false;
  /** What the policy was changed to. */
  #policy = {};
  /** Whether the worker knows of these two. */
  #told = true;
  /** The flush under way that was asked for since there was no more room. */
  #full;
  /** Whether the worker's questions are heard. */
  #following = false;
  /** Whether marks wait to be sent at the end of this turn. */
  #sending = false;
  #closing = new AbortController();
  #hidden;

  constructor(remote, job, sets, options) {
    const { flushWhenHidden = true, relations, migrations, legacy } = options;
    if (!(remote instanceof Remote)) throw invalid("the layer is opened by WriteBehind.open()");
    this.#remote = remote;
    this.#job = job;
    this.#marks = new Marks(sets, options);
    this.#relations = relations;
    this.#migrations = migrations;
    this.#legacy = legacy;
    const through = {
      mark: (index, key, upsert) => this.#mark(index, copied(keyOf(key)), upsert),
      row: (...call) => this.#row(...call),
      write: (batch) => this.write(batch),
    };
    sets.forEach(({ category, read }, index) =>
      this.#byName.set(category, new (read ? WeakRows : StrongRows)(through, index, category)));
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
    const remote = new Remote(job, "writeBehind", declared(job, sets, options));
    await remote.open();
    const { relations = [], migrations = [] } = options;
    const engine = new WriteBehind(remote, job, sets.map((set) => ({ ...set })), { ...options, relations, migrations });
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
    return this.#marks.size;
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
    return BigInt(await this.#strongly(this.#marks.ofBatch(packed), write, () => true));
  }

  /** Gives up what the worker holds for this, without a flush; the job stays open. */
  async close() {
    if (this.#hidden) document.removeEventListener("visibilitychange", this.#hidden);
    this.#closing.abort(new PersistencyError("Closed", "the engine is closed"));
    this.#remote.close();
  }

  /** A call on a row; where it writes, a mark that was made before is older than what it writes. */
  async #row(index, method, key, args, options) {
    const bytes = copied(keyOf(key));
    const touched = method === "get" ? [] : this.#marks.ofRow(index, bytes);
    const call = () => this.#call(method, [index, bytes, ...args], options);
    // Of these two `false` says that nothing was written.
    const writes = (answer) => !(answer === false && (method === "ensure" || method === "remove"));
    return this.#strongly(touched, call, writes);
  }

  /** A call that takes marks along if it writes. */
  async #strongly(touched, call, writes) {
    this.#marks.hold(touched);
    let through = false;
    try {
      const answer = await call();
      through = writes(answer);
      return answer;
    } finally {
      this.#marks.release(touched, through);
      this.#send();
    }
  }

  #mark(index, key, upsert) {
    if (!this.#remote.isOpen) throw new PersistencyError("Closed", "the engine is closed");
    try {
      this.#marks.mark(index, key, upsert);
    } catch (error) {
      if (this.#started) this.#flushFull();
      throw error;
    }
    if (this.#sending) return;
    this.#sending = true;
    queueMicrotask(() => this.#send());
  }

  /** One flush at a time, however often marks are refused. */
  #flushFull() {
    this.#full ??= this.flush().catch(() => {}).then(() => { this.#full = undefined; });
  }

  /** Tells the worker what has been marked in this turn. */
  #send() {
    this.#sending = false;
    if (!this.#remote.isOpen) return;
    const { marks, marked } = this.#marks.unsent();
    if (marks.length === 0) return;
    if (!this.#following) this.#follow();
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

  /** A worker that was started anew knows of nothing: everything is told again. */
  #again() {
    if (this.#remote.isLost) {
      this.#marks.untell();
      this.#told = false;
    }
    if (this.#told) return;
    this.#told = true;
    this.#send();
    const calls = [];
    if (Object.keys(this.#policy).length > 0) calls.push(this.#remote.call("setPolicy", [this.#policy]));
    if (this.#started) calls.push(this.#remote.call("start"));
    Promise.all(calls).catch((error) => this.#notTold(error));
  }

  /** Nothing else would start the flusher of a new worker. */
  async #notTold(error) {
    this.#told = false;
    if (!error.retryable && error.outcome !== "Unknown") return;
    try {
      await pause(TELL_AGAIN_MS, this.#closing.signal);
      if (this.#remote.isOpen) this.#again();
    } catch {
      // It has been closed meanwhile.
    }
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

  #settle(settled) {
    this.#marks.settle(settled);
    this.#send();
  }

  /** What memory has, all of it in this turn. */
  #snapshot(asked) {
    try {
      return { snapshot: this.#marks.snapshot(asked) };
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
