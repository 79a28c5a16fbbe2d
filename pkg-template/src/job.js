// Jobs: the handle through which everything inside a tenant is written, read and watched.
// Checks what it is given, sends it, and reads the answer; what it means is decided in the worker.

import { Batch } from "./batch.js";
import { categoryOf, keyOf, nameOf, seqOf, signalOf } from "./bytes.js";
import { asyncDispose } from "./dispose.js";
import { changed, invalid, PersistencyError, within } from "./error.js";
import { Key } from "./key.js";
import { HOLDER_BYTES_MAX, limits } from "./limits.js";
import { rangeOf } from "./range.js";
import { Commits, Rows, SeqWatch } from "./stream.js";
import { jobClosed, modeOf } from "./tenant.js";
import { OP } from "./wire.js";

/** What a scan may say beside its range. */
const SCAN = ["reverse", "limit", "keysOnly", "signal"];
/** A limit that limits nothing. */
const UNLIMITED = 0xffff_ffff;
/** What jobs' handles share, for layers. */
const tenants = new WeakMap();

/** What all handles of a job share. */
export const tenantOf = (job) => tenants.get(job);

/** What became of an accepted batch. */
export class Receipt {
  #slot;
  #tenant;

  constructor(slot, tenant) {
    this.#slot = slot;
    this.#tenant = tenant;
  }

  /** Resolves with the batch's seq when it is committed. */
  async committed() {
    return (await this.#slot.settled()).seq;
  }

  /** Resolves with the batch's seq when it is durable. */
  async durable() {
    const seq = await this.committed();
    try {
      await this.#tenant.durable(seq);
    } catch (error) {
      throw error instanceof PersistencyError ? changed(error, { outcome: "Applied" }) : error;
    }
    return seq;
  }
}

/** An open job: one tenant's ordered map of rows, each a (category, key) with a payload. */
export class Job {
  #shared;
  #closed = false;
  #close;

  constructor(tenant, close) {
    this.#shared = tenant;
    this.#close = close;
    if (LAYERS) tenants.set(this, tenant);
  }

  get id() {
    return this.#shared.id;
  }

  options() {
    return this.#shared.options;
  }

  isOpen() {
    return !this.#closed && !this.#shared.ended;
  }

  /** Gives this handle back; the last one closes the job. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    await this.#close();
  }

  [asyncDispose]() {
    return this.close();
  }

  // ---- writing

  async persist(batch) {
    return this.#accept("persist", () => batch);
  }

  tryPersist(batch) {
    return within(this.#shared.at("tryPersist"), () => new Receipt(this.#tenant().tryApply(batch), this.#shared));
  }

  async persistPut(category, key, payload) {
    return this.#accept("persistPut", () => new Batch().put(category, key, payload));
  }

  async persistDelete(category, key) {
    return this.#accept("persistDelete", () => new Batch().delete(category, key));
  }

  async persistDeletePrefix(category, prefix) {
    return this.#accept("persistDeletePrefix", () => new Batch().deletePrefix(category, prefix));
  }

  async persistAcked(batch) {
    return (await this.#apply("persistAcked", () => batch)).seq;
  }

  async putAcked(category, key, payload) {
    return (await this.#apply("putAcked", () => new Batch().put(category, key, payload))).seq;
  }

  async deleteAcked(category, key) {
    return (await this.#apply("deleteAcked", () => new Batch().delete(category, key), true)).existed;
  }

  async flush() {
    return this.#tenant().flush();
  }

  // ---- reading

  async get(category, key, options) {
    return (await this.#points("get", false, category, [key], options))[0];
  }

  async getMany(category, keys, options) {
    return this.#points("getMany", false, category, keys, options);
  }

  async exists(category, key, options) {
    return (await this.#points("exists", true, category, [key], options))[0] !== undefined;
  }

  async existsMany(category, keys, options) {
    return (await this.#points("existsMany", true, category, keys, options)).map((found) => found !== undefined);
  }

  async count(category, range) {
    const [name, bounds, { signal }] = this.#range("count", category, range, ["signal"]);
    return (await this.#call(OP.count, (writer) => writer.bytes(name).range(bounds), { signal })).number();
  }

  async scan(category, range) {
    const [name, bounds, options] = this.#range("scan", category, range, SCAN);
    return (await this.#page(true, name, bounds, options, options.limit, options.signal)).rows;
  }

  async scanPrefix(category, prefix, options) {
    return this.scan(category, { ...options, prefix });
  }

  rows(category, range) {
    const [name, bounds, options] = this.#range("rows", category, range, SCAN);
    const read = (rest, limit, signal) => this.#page(false, name, rest, options, limit, signal);
    return new Rows(read, bounds, options);
  }

  async categories(options) {
    return (await this.#call(OP.categories, undefined, options)).strings();
  }

  // ---- watermarks, log and watch

  committedSeq() {
    return this.#shared.committedSeq;
  }

  durableSeq() {
    return this.#shared.durableSeq;
  }

  watchCommittedSeq() {
    return new SeqWatch(this.#shared, "committedSeq");
  }

  watchDurableSeq() {
    return new SeqWatch(this.#shared, "durableSeq");
  }

  async position(options) {
    return (await this.#call(OP.position, undefined, options)).position();
  }

  watch(category, range) {
    return this.#watch("watch", undefined, category, range);
  }

  watchFrom(position, category, range) {
    return this.#watch("watchFrom", positionOf(position), category, range);
  }

  logFrom(position, options) {
    const [from, signal] = [positionOf(position), signalOf(options)];
    const open = (writer, stream, at) => writer.count(stream).position(at);
    return new Commits(this.#tenant(), OP.logFrom, open, from, signal);
  }

  async holdLog(name) {
    return (await this.#log("holdLog", name)).number();
  }

  async advanceLog(name, seq) {
    seqOf(seq);
    return (await this.#log("advanceLog", name, (writer) => writer.number(seq))).number();
  }

  async releaseLog(name) {
    await this.#log("releaseLog", name);
  }

  // ---- care

  async info(options) {
    const reader = await this.#call(OP.info, undefined, options);
    const generation = [...reader.take(16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const [createdMs, committedSeq, durableSeq] = [Number(reader.number()), reader.number(), reader.number()];
    const [shared, openMode] = [reader.flag(), modeOf(reader.byte())];
    const [bytesKnown, bytes] = [reader.flag(), Number(reader.number())];
    const [logKept, lastBytes, logFirstSeq] = [reader.flag(), reader.number(), reader.number()];
    const logHolders = [];
    while (!reader.ended) logHolders.push({ name: reader.string(), seq: reader.number() });
    return {
      id: this.id, generation, createdMs, committedSeq, durableSeq, shared, mode: this.#shared.link.mode, openMode,
      ...(bytesKnown && { bytes }), log: logKept ? { lastBytes } : "off", logFirstSeq, logHolders,
    };
  }

  async stats() {
    const reader = await this.#call(OP.stats);
    // What is queued is counted here, where it is accepted.
    const { operations, bytes } = this.#shared.queued;
    const numbers = Array.from({ length: 7 }, () => Number(reader.number()));
    const [, , batchesCommitted, batchesFailed, groups, syncs, reads] = numbers;
    return { queuedOperations: operations, queuedBytes: bytes, batchesCommitted, batchesFailed, groups, syncs, reads };
  }

  async check() {
    return (await this.#call(OP.check)).strings();
  }

  async compact() {
    this.#tenant().checkWritable();
    await this.#call(OP.compact);
  }

  // ---- inside

  #tenant() {
    if (this.#closed) throw jobClosed();
    this.#shared.check();
    return this.#shared;
  }

  async #call(operation, write, options) {
    return this.#tenant().call(operation, write, signalOf(options));
  }

  async #accept(operation, make) {
    const slot = within(this.#shared.at(operation), () => this.#tenant().apply(make(), false));
    return new Receipt(await slot, this.#shared);
  }

  async #apply(operation, make, reportExisted = false) {
    const slot = await within(this.#shared.at(operation), () => this.#tenant().apply(make(), reportExisted));
    return slot.settled();
  }

  async #points(operation, presenceOnly, category, keys, options) {
    const body = within(this.#shared.at(operation), () => {
      const { batchOperations } = limits();
      if (typeof keys?.[Symbol.iterator] !== "function") throw invalid("the keys are a list of keys");
      const all = [];
      for (const key of keys) {
        if (all.length === batchOperations) {
          throw new PersistencyError("TooLarge", `more than ${batchOperations} keys, the limit`);
        }
        all.push(keyOf(key));
      }
      return [categoryOf(category), all];
    });
    const reader = await this.#call(OP.get, (writer) => {
      writer.byte(presenceOnly ? 1 : 0).byte(operation.endsWith("Many") ? 1 : 0).bytes(body[0]).count(body[1].length);
      for (const key of body[1]) writer.bytes(key);
    }, options);
    return body[1].map(() => (reader.flag() ? reader.copy() : undefined));
  }

  async #page(whole, name, range, { reverse, keysOnly }, limit, signal) {
    const reader = await this.#call(OP.scan, (writer) => {
      writer.byte(whole ? 1 : 0).byte(reverse ? 1 : 0).byte(keysOnly ? 1 : 0);
      writer.count(Math.min(limit ?? UNLIMITED, UNLIMITED));
      writer.bytes(name).range(range);
    }, { signal });
    const more = reader.flag();
    const rows = [];
    while (!reader.ended) rows.push({ key: reader.copy(Key), payload: reader.copy() });
    return { rows, more };
  }

  #watch(operation, from, category, range) {
    const [name, bounds, { signal }] = this.#range(operation, category, range, ["signal"]);
    return new Commits(this.#tenant(), OP.watch, (writer, stream, position) => {
      writer.count(stream).byte(position ? 1 : 0);
      if (position) writer.position(position);
      writer.bytes(name).range(bounds);
    }, from, signal);
  }

  async #log(operation, name, write = () => {}) {
    const bytes = within(this.#shared.at(operation), () => {
      this.#tenant().checkWritable();
      return nameOf("log holder's name", name, HOLDER_BYTES_MAX);
    });
    return this.#call(OP[operation], (writer) => write(writer.bytes(bytes)));
  }

  /** The category's bytes, the range, and what else its object says. */
  #range(operation, category, range = {}, others = []) {
    return within(this.#shared.at(operation), () => {
      const name = categoryOf(category);
      const bounds = rangeOf(range, others);
      const { reverse, limit, keysOnly, signal } = range;
      if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0) && limit !== Infinity) {
        throw invalid("a limit is an integer from 0");
      }
      if ([reverse, keysOnly].some((flag) => flag !== undefined && typeof flag !== "boolean")) {
        throw invalid("reverse and keysOnly are booleans");
      }
      return [name, bounds, { reverse, limit, keysOnly, signal: signalOf({ signal }) }];
    });
  }
}

function positionOf(position) {
  const { generation, seq } = position ?? {};
  if (!(generation instanceof Uint8Array) || generation.length !== 16) {
    throw invalid("a position has a generation of 16 bytes");
  }
  return { generation: new Uint8Array(generation), seq: seqOf(seq) };
}
