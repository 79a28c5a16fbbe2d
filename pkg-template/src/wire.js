// How batches and rows cross between page and worker: packed into one byte array each.
// The other half, and the description of the bytes, is src/web/wire.rs of the crate.

import { invalid } from "./error.js";
import { Key, prefixRange } from "./key.js";

/** The version of the messages between page and worker; both must have the same. */
export const PROTOCOL = 1;

const PUT = 0;
const DELETE = 1;
const DELETE_RANGE = 2;
const DELETE_FROM = 3;
const REQUIRE_ABSENT = 16;
const REQUIRE_PRESENT = 17;
const REQUIRE_EQUAL = 18;

/** Bytes of room that a batch starts with. */
const FIRST_CAPACITY = 1024;

const utf8 = new TextEncoder();

/** Operations applied in order, all or nothing, behind optional preconditions. Copies what it is given. */
export class Batch {
  #bytes = new Uint8Array(FIRST_CAPACITY);
  #used = 0;
  #operations = 0;

  /** How many operations it holds; preconditions are not counted. */
  get length() {
    return this.#operations;
  }

  /** Adds: insert the row or replace its payload. */
  put(category, key, payload) {
    return this.#operation(PUT, category, key, payload);
  }

  /** Adds: remove the row if it is there. */
  delete(category, key) {
    return this.#operation(DELETE, category, key);
  }

  /** Adds: remove every row whose key begins with `prefix`. */
  deletePrefix(category, prefix) {
    return this.deleteRange(category, { prefix: bytesOf("prefix", prefix) });
  }

  /** Adds: remove every row of the range: a prefix, or a start and an end of which either may be left out. */
  deleteRange(category, range = {}) {
    const [start, end] = boundsOf(range);
    if (end === undefined) return this.#operation(DELETE_FROM, category, start);
    return this.#operation(DELETE_RANGE, category, start, end);
  }

  /** Adds: remove every row of the category. */
  clear(category) {
    return this.deleteRange(category);
  }

  /** Requires that the row is not there. */
  requireAbsent(category, key) {
    return this.#entry(REQUIRE_ABSENT, category, key);
  }

  /** Requires that the row is there, whatever its payload. */
  requirePresent(category, key) {
    return this.#entry(REQUIRE_PRESENT, category, key);
  }

  /** Requires that the row is there with exactly this payload. */
  requireEqual(category, key, payload) {
    return this.#entry(REQUIRE_EQUAL, category, key, payload);
  }

  /** The packed form, as a copy that can be given away. */
  pack() {
    return this.#bytes.slice(0, this.#used);
  }

  #operation(code, category, ...parts) {
    this.#entry(code, category, ...parts);
    this.#operations += 1;
    return this;
  }

  #entry(code, category, ...parts) {
    const name = utf8.encode(categoryOf(category));
    if (name.length > 0xffff) throw invalid("the category is far too long");
    for (const part of parts) bytesOf("key or payload", part);
    const size = parts.reduce((sum, part) => sum + 4 + part.length, 3 + name.length);
    const view = this.#room(size);
    view.setUint8(0, code);
    view.setUint16(1, name.length);
    this.#bytes.set(name, this.#used + 3);
    let at = 3 + name.length;
    for (const part of parts) {
      view.setUint32(at, part.length);
      this.#bytes.set(part, this.#used + at + 4);
      at += 4 + part.length;
    }
    this.#used += size;
    return this;
  }

  /** A view of the unused room, which is at least `size` bytes. */
  #room(size) {
    const needed = this.#used + size;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.#used));
      this.#bytes = grown;
    }
    return new DataView(this.#bytes.buffer, this.#used);
  }
}

/** The rows of a packed page, and whether there are more behind them. */
export function unpackPage(packed) {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const rows = [];
  let at = 1;
  const bytes = (Type) => {
    const end = at + 4 + view.getUint32(at);
    // Copies, so that a row that is kept does not keep its whole page.
    const copy = Type.from(packed.subarray(at + 4, end));
    at = end;
    return copy;
  };
  while (at < packed.length) rows.push({ key: bytes(Key), payload: bytes(Uint8Array) });
  return { rows, more: packed[0] === 1 };
}

/** What a range may say. */
const RANGE = ["prefix", "start", "end"];

/**
 * A range as its first key and the first key above it, as copies of exactly their own bytes.
 *
 * A property that is neither a range's nor in `others` is refused: a misspelt bound would otherwise
 * mean the whole category.
 */
export function boundsOf(range, others = []) {
  if (typeof range !== "object" || range === null) throw invalid("a range is an object");
  for (const name of Object.keys(range)) {
    if (!RANGE.includes(name) && !others.includes(name)) throw invalid(`a range has no "${name}"`);
  }
  let { prefix, start, end } = range;
  if (prefix !== undefined) {
    if (start !== undefined || end !== undefined) throw invalid("a range has a prefix, or a start and an end");
    ({ start, end } = prefixRange(bytesOf("prefix", prefix)));
  }
  const last = end === undefined ? undefined : copy(bytesOf("end", end));
  return [copy(bytesOf("start", start ?? new Key())), last];
}

/** A plain array of its own: a view would be posted with its whole buffer. */
export const copy = (bytes) => Uint8Array.from(bytes);

/** The category, if it is a string that UTF-8 can hold. */
export function categoryOf(category) {
  if (typeof category !== "string" || /\p{Surrogate}/u.test(category)) {
    throw invalid("a category is a string without lone surrogates");
  }
  return category;
}

/** The bytes, if they are bytes. */
export function bytesOf(what, bytes) {
  if (!(bytes instanceof Uint8Array)) throw invalid(`${what} must be a Uint8Array`);
  return bytes;
}
