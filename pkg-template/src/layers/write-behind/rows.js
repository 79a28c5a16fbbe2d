// The sets of `write_behind` as pages hold them: what keys are marked with and rows are written by.
// Knows no engine but by the three calls that it is given.

import { Batch } from "../../batch.js";
import { payloadOf, signalOf } from "../../bytes.js";

/** How often an update that decides on what it finds is tried at most; the worker's ATTEMPTS_MAX. */
const ATTEMPTS_MAX = 16;

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
    return await this.#engine.row(this.#index, "get", key, [], { signal: signalOf(options) }) ?? undefined;
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
    return this.#engine.row(this.#index, method, key, args, { patient: true });
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
    this.#engine.mark(this.#index, key, true);
  }

  /** Marks a key whose row is to be removed, whatever memory says. */
  markDelete(key) {
    this.#engine.mark(this.#index, key, false);
  }
}
