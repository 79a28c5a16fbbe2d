// The caller's half of a job's queue: who is accepted and in which order, what became of each batch, and
// the errors that nobody has asked for. The twin of link.rs, slot.rs and waiters.rs of the crate's worker.
// Never sends anything: it says when a batch is accepted, and is told what came of it.

import { changed, PersistencyError } from "./error.js";
import { KEPT_ERRORS_MAX } from "./limits.js";

/** Where an accepted batch's result waits for whoever asks for it. */
class Slot {
  #result;
  #waiting = [];
  #reported = false;

  constructor(number) {
    this.number = number;
  }

  /** The result, `{ seq, existed }`; asking for it counts as having been told the error. */
  settled() {
    return new Promise((resolve, reject) => {
      if (this.#result) this.#tell(resolve, reject);
      else this.#waiting.push({ resolve, reject });
    });
  }

  /** The error, if nobody has been told it and nobody waits for it. */
  unreported() {
    return this.#reported ? undefined : this.#result?.error;
  }

  settle(result) {
    this.#result = result;
    for (const { resolve, reject } of this.#waiting) this.#tell(resolve, reject);
    this.#waiting = [];
  }

  #tell(resolve, reject) {
    this.#reported = true;
    if (this.#result.error) reject(this.#result.error);
    else resolve(this.#result);
  }
}

/** One job's bounded queue, as its callers see it. */
export class Queue {
  #max;
  #taken = { operations: 0, bytes: 0 };
  /** Callers that wait for room, in the order in which they came. */
  #waiting = new Set();
  #accepted = 0;
  /** Slots whose error nobody has asked for, and how many more there were. */
  #kept = [];
  #beyond = 0;
  /** Flushes and closes that have not been answered. */
  #flushes = new Set();
  /** Whether there is nobody to whom what is accepted could be sent. */
  #paused = false;

  constructor({ operations, bytes }) {
    this.#max = { operations, bytes };
  }

  /** Operations and bytes in the queue now. */
  get taken() {
    return { ...this.#taken };
  }

  /** Accepts a batch if there is room now and nobody waits for it; its slot, or undefined. */
  tryAccept(weight) {
    if (this.#waiting.size > 0 || !this.#fits(weight)) return undefined;
    return this.#accept(weight);
  }

  /**
   * Accepts a batch when its turn comes: calls `accepted(slot)` once, then or now; or `refused(error)`.
   *
   * Returns what gives the wait up, or undefined if it was accepted at once.
   */
  accept(weight, accepted, refused) {
    const slot = this.tryAccept(weight);
    if (slot) {
      accepted(slot);
      return undefined;
    }
    const caller = { weight, accepted, refused };
    this.#waiting.add(caller);
    return () => {
      this.#waiting.delete(caller);
      this.#admit();
    };
  }

  /** Whether callers wait. */
  get isWaitedFor() {
    return this.#waiting.size > 0;
  }

  /** Accepts nothing until it is resumed: callers wait, in the order in which they come. */
  pause() {
    this.#paused = true;
  }

  resume() {
    this.#paused = false;
    this.#admit();
  }

  /** Sends the callers that wait away. */
  refuse(error) {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { refused } of waiting) refused(error);
  }

  /** Takes note of what became of an accepted batch: `{ seq, existed }` or `{ error }`. */
  settle(slot, weight, result) {
    const { operations, bytes } = this.#share(weight);
    this.#taken.operations -= operations;
    this.#taken.bytes -= bytes;
    slot.settle(result);
    if (slot.unreported()) this.#failed(slot);
    this.#admit();
  }

  /**
   * Starts a flush or a close: it covers everything accepted so far.
   *
   * Returns what ends it: given the error of the flush itself or undefined, it throws the first error
   * that nobody has been told, with the number of others, or else that one.
   */
  flush() {
    const flush = { last: this.#accepted, slots: this.#kept, beyond: this.#beyond };
    this.#kept = [];
    this.#beyond = 0;
    this.#flushes.add(flush);
    return (failure) => {
      this.#flushes.delete(flush);
      const errors = flush.slots.map((slot) => slot.unreported()).filter(Boolean);
      const others = errors.length - 1 + flush.beyond;
      if (errors.length === 0) {
        this.#beyond += flush.beyond;
        if (failure) throw failure;
      } else if (others > 0) {
        const words = others === 1 ? "1 other write failed" : `${others} other writes failed`;
        throw changed(errors[0], { message: `${errors[0].message}; ${words}` });
      } else {
        throw errors[0];
      }
    };
  }

  /** All of the bound for a batch that is larger than it: then it is accepted alone. */
  #share({ operations, bytes }) {
    return { operations: Math.min(operations, this.#max.operations), bytes: Math.min(bytes, this.#max.bytes) };
  }

  #fits(weight) {
    if (this.#paused) return false;
    const { operations, bytes } = this.#share(weight);
    return this.#taken.operations + operations <= this.#max.operations && this.#taken.bytes + bytes <= this.#max.bytes;
  }

  #accept(weight) {
    const { operations, bytes } = this.#share(weight);
    this.#taken.operations += operations;
    this.#taken.bytes += bytes;
    this.#accepted += 1;
    return new Slot(this.#accepted);
  }

  /** Accepts those who wait, from the front, as far as there is room. */
  #admit() {
    for (const caller of this.#waiting) {
      if (!this.#fits(caller.weight)) return;
      this.#waiting.delete(caller);
      caller.accepted(this.#accept(caller.weight));
    }
  }

  #failed(slot) {
    console.warn(`persistency: a write failed and nobody was waiting: ${slot.unreported().message}`);
    let taken = false;
    for (const flush of this.#flushes) {
      if (slot.number > flush.last) continue;
      flush.slots.push(slot);
      taken = true;
    }
    if (taken) return;
    if (this.#kept.length >= KEPT_ERRORS_MAX) this.#kept = this.#kept.filter((kept) => kept.unreported());
    if (this.#kept.length < KEPT_ERRORS_MAX) this.#kept.push(slot);
    else this.#beyond += 1;
  }
}

/** What a caller is answered for whom there is no room. */
export const overloaded = () =>
  new PersistencyError("Overloaded", "the job's queue is full", { retryable: true });
