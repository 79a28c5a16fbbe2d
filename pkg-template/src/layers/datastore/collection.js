// Collections: records under keys, numbered by a sequence of the collection's own.
// Checks what only JavaScript can get wrong; what a call means is decided in the worker.

import { seqOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid, PersistencyError } from "../../error.js";
import { textOf } from "../message.js";
import { Pulled, Remote } from "../remote.js";
import { recordRead, toldRead } from "./content.js";

/** How often an update is tried again because others were faster. */
const ATTEMPTS_MAX = 100;
/** Stands for the seq of a record that must not be there. */
const ABSENT = 0n;

/** Records under keys. */
export class Collection {
  #remote;
  #content;
  #opened;

  constructor(remote, content, opened) {
    if (!(remote instanceof Remote)) throw invalid("a collection is opened by a Datastore");
    this.#remote = remote;
    this.#content = content;
    this.#opened = opened;
  }

  get id() {
    return this.#opened.id;
  }

  /** What tells this life of the collection from the next of the same id. */
  get generation() {
    return this.#opened.generation.slice();
  }

  /** The field that is the key of JSON records; empty for records of bytes. */
  get primary() {
    return this.#opened.primary;
  }

  async info(options) {
    const info = await this.#remote.call("info", [], { signal: signalOf(options) });
    const { seq, floor, expiresMs, ...rest } = info;
    const numbers = Object.entries(rest).map(([name, value]) => [name, Number(value)]);
    const expires = expiresMs === null ? {} : { expiresMs: Number(expiresMs) };
    return { ...Object.fromEntries(numbers), seq: BigInt(seq), floor: BigInt(floor), ...expires };
  }

  async get(key, options) {
    const found = await this.#remote.call("get", [this.#content.keyOf(key)], { signal: signalOf(options) });
    return found && recordRead(this.#content, found);
  }

  /** The records of a range of keys, in the order of their keys. */
  async range(range = {}) {
    const signal = signalOf(range);
    const { start, end } = this.#content.rangeOf(range);
    const records = await this.#remote.call("range", [start, end], { signal });
    return records.map((each) => recordRead(this.#content, each));
  }

  /** Sets a record, whatever was there. */
  async set(...given) {
    return this.#set(...this.#record(given), undefined);
  }

  /** Sets a record if there is none, `{ absent: true }`, or if it has a seq, `{ seq }`. */
  async setIf(...given) {
    const when = given.pop();
    return this.#set(...this.#record(given), whenOf(when));
  }

  /** Sets several records, all or none. */
  async setMany(records) {
    if (typeof records?.[Symbol.iterator] !== "function") throw invalid("the records are a list");
    const all = Array.from(records, (each) => this.#record(this.primary === "" ? each : [each]));
    const stamps = await this.#remote.call("setMany", [all.map(([key, , data]) => [key, data])]);
    return stamps.map((stamp, at) => stamped(stamp, all[at][1]));
  }

  /** Replaces a record by what `change` makes of it, nothing between. */
  async update(key, change) {
    this.#content.keyOf(key);
    if (typeof change !== "function") throw invalid("change is a function");
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const old = await this.get(key);
      const data = await change(old?.data);
      try {
        if (data === undefined) {
          if (old) await this.deleteIf(key, old.seq);
          return undefined;
        }
        if (this.primary !== "" && data?.[this.primary] !== key) throw invalid("the changed record has another key");
        const given = this.primary === "" ? [key, data] : [data];
        return await this.setIf(...given, old ? { seq: old.seq } : { absent: true });
      } catch (error) {
        if (!(error instanceof PersistencyError) || error.kind !== "Conflict") throw error;
      }
    }
    throw new PersistencyError("Conflict", `others were faster ${ATTEMPTS_MAX} times in a row`);
  }

  async delete(key) {
    return this.#delete(key, undefined);
  }

  /** Deletes a record if it has this seq. */
  async deleteIf(key, seq) {
    return this.#delete(key, seqOf(seq));
  }

  async touch() {
    return this.#remote.call("touch");
  }

  async snapshot(options) {
    const [records, seq] = await this.#remote.call("snapshot", [], { signal: signalOf(options) });
    return { records: records.map((each) => recordRead(this.#content, each)), seq: BigInt(seq) };
  }

  async changesSince(seq, options) {
    const told = await this.#remote.call("changesSince", [seqOf(seq)], { signal: signalOf(options) });
    return toldRead(this.#content, told);
  }

  /** The same by pages. */
  pagesSince(seq, options) {
    return this.#pull("pagesSince", (last) => [last ? last.seq : seqOf(seq)], options);
  }

  /** All records, and then every change after them. */
  subscribe(client, options) {
    return this.#pull("subscribe", (last) => [textOf("client", client), last?.seq], options);
  }

  /** The changes after a seq. */
  subscribeSince(client, seq, options) {
    return this.#pull("subscribe", (last) => [textOf("client", client), last ? last.seq : seqOf(seq)], options);
  }

  async unsubscribe(client) {
    return this.#remote.call("unsubscribe", [textOf("client", client)]);
  }

  async subscribers(options) {
    return this.#remote.call("subscribers", [], { signal: signalOf(options) });
  }

  /** Gives up what the worker holds for this. */
  async close() {
    this.#remote.close();
  }

  /** What was given for a record, as [the key if it is beside the data, the data, the data as it crosses]. */
  #record(given) {
    const [key, data] = this.primary === "" ? given : [undefined, given[0]];
    const name = this.primary === "" ? this.#content.keyOf(key) : undefined;
    return [name, data, this.#content.give(data)];
  }

  async #set(key, data, given, when) {
    return stamped(await this.#remote.call("set", [key, given, when]), data);
  }

  async #delete(key, seq) {
    const deleted = await this.#remote.call("delete", [this.#content.keyOf(key), seq]);
    return deleted === null ? undefined : BigInt(deleted);
  }

  #pull(method, args, options) {
    const open = (last) => new Remote(this.#remote, method, args(last), { lasts: false });
    return new Pulled(open, { signal: signalOf(options), read: (told) => toldRead(this.#content, told) });
  }
}

Object.defineProperty(Collection.prototype, asyncDispose, {
  value() { return this.close(); },
});

const stamped = ([seq, updatedMs, key], data) => ({ key, data, seq: BigInt(seq), updatedMs: Number(updatedMs) });

function whenOf(when) {
  if (when?.absent === true && when.seq === undefined) return ABSENT;
  const seq = seqOf(when?.seq);
  if (seq === ABSENT) throw invalid("a record has a seq from 1");
  return seq;
}
