// The rows that are stored: keys and payloads by number, the same in every run. Stores nothing itself.

/** Bytes of a key: a name, then the number in decimal digits, so that they order as the numbers do. */
export const KEY_BYTES = 20;
const NAME = "rows/";
const DIGITS = KEY_BYTES - NAME.length;

const utf8 = new TextEncoder();

/** The key of row `number`. */
export const keyOf = (number) => utf8.encode(NAME + String(number).padStart(DIGITS, "0"));

/** What looks like nothing and cannot be made smaller; the same for the same seed. */
export function noise(length, seed) {
  const bytes = new Uint8Array(length);
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) | 1;
  for (let at = 0; at < length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state >>> 11;
  }
  return bytes;
}

/** The row of this number. */
export const rowOf = (number, payloadBytes) => ({ key: keyOf(number), payload: noise(payloadBytes, number) });

/** A source of numbers from 0 up to but without `below`, the same for the same seed. */
export function random(seed) {
  let state = seed | 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** `count` different numbers from 0 up to but without `below`, in no order. */
export function distinct(count, below, seed) {
  if (count > below) throw new Error(`there are no ${count} different numbers below ${below}`);
  const next = random(seed);
  const found = new Set();
  while (found.size < count) found.add(next(below));
  return [...found];
}

/** Fails unless these are the same bytes. */
export function same(found, expected, what) {
  const equal = found instanceof Uint8Array && found.length === expected.length
    && expected.every((byte, at) => found[at] === byte);
  if (!equal) throw new Error(`${what}: other bytes than were stored`);
}
