// Batches: operations applied in order, all or nothing, behind optional preconditions.
// Never touches a job; what is malformed or too large is refused where it is added.

import { bounded, categoryOf, keyOf, payloadOf } from "./bytes.js";
import { PersistencyError, tooLarge } from "./error.js";
import { limits } from "./limits.js";
import { rangeOf } from "./range.js";
import { ENTRY, Writer } from "./wire.js";

/** Operations applied in order, all or nothing, behind optional preconditions. Copies what it is given. */
export class Batch {
  #packed = new Writer();
  #operations = 0;
  #preconditions = 0;
  #bytes = 0;
  /** The last category and its bytes: most batches name one over and over. */
  #category;
  #categoryBytes;

  /** How many operations it holds; preconditions are not counted. */
  get length() {
    return this.#operations;
  }

  /** Adds: insert the row or replace its payload. */
  put(category, key, payload) {
    return this.#operation(ENTRY.put, category, keyOf(key), payloadOf(payload));
  }

  /** Adds: remove the row if it is there. */
  delete(category, key) {
    return this.#operation(ENTRY.delete, category, keyOf(key));
  }

  /** Adds: remove every row whose key begins with `prefix`; an empty one means the whole category. */
  deletePrefix(category, prefix) {
    return this.deleteRange(category, { prefix });
  }

  /** Adds: remove every row whose key lies in the range; all rows without one. */
  deleteRange(category, range) {
    const { start, end } = rangeOf(range);
    const name = this.#named(category);
    // A bound is at most one byte longer than the longest key, when it was made exclusive.
    const max = limits().keyBytes + 1;
    bounded("range start", start, max);
    if (end) bounded("range end", end, max);
    this.#weigh(name.length + start.length + (end?.length ?? 0));
    this.#packed.byte(ENTRY.deleteRange).bytes(name).range({ start, end });
    this.#operations += 1;
    return this;
  }

  /** Adds: remove every row of the category. */
  clear(category) {
    return this.deleteRange(category);
  }

  /** Requires that the row is not there. */
  requireAbsent(category, key) {
    return this.#precondition(ENTRY.requireAbsent, category, keyOf(key));
  }

  /** Requires that the row is there, whatever its payload. */
  requirePresent(category, key) {
    return this.#precondition(ENTRY.requirePresent, category, keyOf(key));
  }

  /** Requires that the row is there with exactly this payload. */
  requireEqual(category, key, payload) {
    return this.#precondition(ENTRY.requireEqual, category, keyOf(key), payloadOf(payload));
  }

  /** What the queue counts, and the packed form: a view that no later addition changes. */
  static packed(batch) {
    return {
      operations: Math.max(1, batch.#operations + batch.#preconditions),
      bytes: batch.#bytes,
      packed: batch.#packed.written(),
    };
  }

  #operation(code, category, ...parts) {
    this.#entry(code, category, parts);
    this.#operations += 1;
    return this;
  }

  #precondition(code, category, ...parts) {
    this.#entry(code, category, parts);
    this.#preconditions += 1;
    return this;
  }

  #entry(code, category, parts) {
    const name = this.#named(category);
    this.#weigh(parts.reduce((sum, part) => sum + part.length, name.length));
    this.#packed.byte(code).bytes(name);
    for (const part of parts) this.#packed.bytes(part);
  }

  #named(category) {
    if (category !== this.#category || this.#categoryBytes === undefined) {
      this.#categoryBytes = categoryOf(category);
      this.#category = category;
    }
    return this.#categoryBytes;
  }

  /** Refuses what would make the batch larger than any may be. */
  #weigh(bytes) {
    const { batchBytes, batchOperations } = limits();
    if (this.#bytes + bytes > batchBytes) throw tooLarge("batch", this.#bytes + bytes, batchBytes);
    if (this.#operations + this.#preconditions >= batchOperations) {
      throw new PersistencyError("TooLarge",
        `batch of ${batchOperations + 1} operations and preconditions, the limit is ${batchOperations}`);
    }
    this.#bytes += bytes;
  }
}
