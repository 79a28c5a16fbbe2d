// The merge pool: items that members put together until each of them has all of them.
// Checks what only JavaScript can get wrong; what a call means is decided in the worker.

import { bytesOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid } from "../../error.js";
import { textOf } from "../message.js";
import { Pulled, Remote } from "../remote.js";

/** Items that members put together. */
export class Pool {
  #remote;
  #content;
  #opened;

  constructor(remote, content, opened) {
    if (!(remote instanceof Remote)) throw invalid("a pool is opened by a Datastore");
    this.#remote = remote;
    this.#content = content;
    this.#opened = opened;
  }

  get id() {
    return this.#opened.id;
  }

  /** What tells this life of the pool from the next of the same id. */
  get generation() {
    return this.#opened.generation.slice();
  }

  async info(options) {
    const info = await this.#remote.call("info", [], { signal: signalOf(options) });
    const { members, expiresMs, ...numbers } = info;
    return {
      ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Number(value)])),
      members: new Map(members.map(([name, lacks]) => [name, Number(lacks)])),
      ...(expiresMs !== null && { expiresMs: Number(expiresMs) }),
    };
  }

  /** Joins as the member of this name. */
  async join(name) {
    const remote = new Remote(this.#remote, "join", [textOf("name", name)]);
    await remote.open();
    return new Member(remote, this.#content, name, this.#remote);
  }

  /** Gives up what the worker holds for this. */
  async close() {
    this.#remote.close();
  }
}

/** A member of a pool. */
export class Member {
  #remote;
  #content;
  #name;
  #pool;

  constructor(remote, content, name, pool) {
    if (!(remote instanceof Remote)) throw invalid("a member joins a Pool");
    this.#remote = remote;
    this.#content = content;
    this.#name = name;
    this.#pool = pool;
  }

  get name() {
    return this.#name;
  }

  /** Puts items into the pool. */
  async merge(items) {
    const given = listOf("items", items, (item) => this.#content.give(item));
    const { new: added, lacking, converged } = await this.#remote.call("merge", [given]);
    return { new: added.map(hex), lacking: this.#lackingRead(lacking), converged };
  }

  /** What the member lacks, the first of it. */
  async lacking(options) {
    return this.#lackingRead(await this.#remote.call("lacking", [], { signal: signalOf(options) }));
  }

  /** Says that the member has these items, which their ids name. */
  async acknowledge(ids) {
    return this.#remote.call("acknowledge", [listOf("ids", ids, unhex)]);
  }

  /** Leaves the pool. */
  async leave() {
    const converged = await this.#remote.call("leave");
    this.#remote.close();
    return converged;
  }

  /** Items that the member lacks, and the ends of rounds; says meanwhile that it is there. */
  updates(options) {
    const open = () => new Remote(this.#pool, "updates", [this.#name], { lasts: false });
    const read = ({ type, items, round }) => (type === "items"
      ? { type, items: this.#itemsRead(items) }
      : { type, round: Number(round) });
    return new Pulled(open, { signal: signalOf(options), read });
  }

  /** Gives up what the worker holds for this; the member stays one. */
  async close() {
    this.#remote.close();
  }

  #itemsRead(items) {
    return items.map(({ id, data }) => ({ id: hex(id), data: this.#content.read(data) }));
  }

  #lackingRead({ items, more }) {
    return { items: this.#itemsRead(items), more };
  }
}

for (const each of [Pool, Member]) {
  Object.defineProperty(each.prototype, asyncDispose, {
    value() { return this.close(); },
  });
}

function listOf(what, list, give) {
  if (typeof list?.[Symbol.iterator] !== "function" || typeof list === "string") throw invalid(`the ${what} are a list`);
  return Array.from(list, (each) => give(each));
}

const hex = (bytes) => Array.from(bytesOf("id", bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

function unhex(id) {
  if (typeof id !== "string" || !/^[0-9a-f]{64}$/.test(id)) throw invalid("an item's id has 64 hexadecimal characters");
  return Uint8Array.from(id.match(/../g), (digits) => parseInt(digits, 16));
}
