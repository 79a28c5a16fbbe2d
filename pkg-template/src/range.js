// Ranges of keys: how callers say them, and the one half-open form that is sent.
// Never refuses a range that is inverted or empty: it holds no key.

import { bytesOf } from "./bytes.js";
import { invalid } from "./error.js";
import { Key } from "./key.js";

/** Keys from `start` up to but without `end`, or to the last if there is no `end`. */
export class KeyRange {
  constructor(start, end) {
    this.start = start;
    this.end = end;
    Object.freeze(this);
  }
}

/** The range of `prefix` itself and of every key that begins with it; all keys if it is empty. */
export function prefixRange(prefix) {
  bytesOf("prefix", prefix);
  let last = prefix.length - 1;
  while (last >= 0 && prefix[last] === 0xff) last -= 1;
  const end = last < 0 ? undefined : new Key(prefix.subarray(0, last + 1));
  if (end) end[last] += 1;
  return new KeyRange(new Key(prefix), end);
}

/** The key directly after `key`. */
export function successor(key) {
  const next = new Key(key.length + 1);
  next.set(key);
  return next;
}

const BOUNDS = ["prefix", "start", "end", "gt", "gte", "lt", "lte"];

/**
 * What the range says, as a KeyRange of copies.
 *
 * A property that is neither a range's nor in `others` is refused: a misspelt bound would otherwise
 * mean the whole category.
 */
export function rangeOf(range = {}, others = []) {
  // Bytes and lists are objects too, and an empty one would mean the whole category.
  if (typeof range !== "object" || range === null || Symbol.iterator in range) {
    throw invalid("a range is an object with bounds");
  }
  for (const name of Object.keys(range)) {
    if (BOUNDS.includes(name)) {
      // One that is there but undefined is a mistake that would mean all keys; but a KeyRange has no end so.
      if (name !== "end" || range.end !== undefined) bytesOf(`range's ${name}`, range[name]);
    } else if (!others.includes(name)) throw invalid(`a range has no "${name}"`);
  }
  const said = BOUNDS.filter((name) => range[name] !== undefined).join(", ");
  const { prefix, start, gte = start, gt, lt, end = lt, lte } = range;
  if (prefix !== undefined) {
    if (said !== "prefix") throw invalid(`a range has a prefix or bounds, not ${said}`);
    return prefixRange(prefix);
  }
  if (!/^(start|gte?)?(, )?(end|lte?)?$/.test(said)) throw invalid(`a range has one bound on each side, not ${said}`);
  const last = lte === undefined ? end : successor(lte);
  return new KeyRange(gt === undefined ? new Key(gte) : successor(gt), last && new Key(last));
}
