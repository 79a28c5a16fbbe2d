// Keys: typed parts written as bytes that order as the parts do, byte for byte as the Rust crate does it.
// Never stores or sends anything; tests/vectors/keys.json is the authority for every byte.

import { PersistencyError, invalid } from "./error.js";

/** Bytes of a key at most. */
const KEY_BYTES_MAX = 128 * 1024;
/** Bytes of a length-prefixed part at most: its length is written in two bytes. */
const PART_BYTES_MAX = 0xffff;

const utf8 = new TextEncoder();

/** The bytes that name a row. Within `key(...)` a Key stands for its own bytes. */
export class Key extends Uint8Array {}

/** A part whose bytes are settled already. */
class Part {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

/** The part of an unsigned number in 8 bytes; takes a bigint or a safe integer. */
export function u64(number) {
  const value = integer(number);
  if (BigInt.asUintN(64, value) !== value) throw invalid("u64() takes 0 to 2^64 - 1");
  return new Part(eight(value));
}

/** The part of an unsigned number in 1 byte. */
export function u8(number) {
  if (!Number.isInteger(number) || number < 0 || number > 0xff) throw invalid("u8() takes 0 to 255");
  return new Part(Uint8Array.of(number));
}

/** The part of a string that orders as the string's own UTF-8 bytes do. */
export function text(string) {
  return new Part(concat([escaped(string), Uint8Array.of(0, 1)]));
}

/** What all texts that start with `string` start with; only as the last part of a prefix. */
text.prefix = (string) => new Part(escaped(string));

/**
 * Makes a key of parts: strings and byte arrays (behind their length), bigint and safe integers (as
 * i64), booleans, `u64()`, `u8()`, `text()`, other keys, and arrays of parts.
 */
export function key(...parts) {
  const chunks = [];
  for (const part of parts.flat(Infinity)) chunks.push(...encode(part));
  const bytes = concat(chunks);
  if (bytes.length > KEY_BYTES_MAX) throw tooLarge("key", bytes.length, KEY_BYTES_MAX);
  return new Key(bytes.buffer);
}

/** The range of `prefix` itself and of every key that begins with it; all keys if it is empty. */
export function prefixRange(prefix) {
  let last = prefix.length - 1;
  while (last >= 0 && prefix[last] === 0xff) last -= 1;
  if (last < 0) return { start: prefix, end: undefined };
  const end = Key.from(prefix.subarray(0, last + 1));
  end[last] += 1;
  return { start: prefix, end };
}

function encode(part) {
  if (part instanceof Part) return [part.bytes];
  if (part instanceof Key) return [part];
  if (part instanceof Uint8Array) return prefixed(part);
  switch (typeof part) {
    case "string": return prefixed(utf8.encode(wellFormed(part)));
    case "boolean": return [Uint8Array.of(part ? 1 : 0)];
    case "number":
    case "bigint": {
      const value = integer(part);
      if (BigInt.asIntN(64, value) !== value) throw invalid("an integer in a key takes -2^63 to 2^63 - 1");
      return [eight(value + (1n << 63n))];
    }
    default: throw invalid(`no part of a key: ${part === null ? "null" : typeof part}`);
  }
}

function integer(number) {
  if (typeof number === "bigint") return number;
  if (Number.isSafeInteger(number)) return BigInt(number);
  throw invalid("a number in a key must be a safe integer; use a bigint");
}

function eight(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

function prefixed(bytes) {
  if (bytes.length > PART_BYTES_MAX) throw tooLarge("key part", bytes.length, PART_BYTES_MAX);
  return [Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes];
}

/** UTF-8 has no lone surrogates: encoding would replace them, and different strings become one. */
function wellFormed(string) {
  if (typeof string !== "string") throw invalid("text() takes a string");
  if (/\p{Surrogate}/u.test(string)) throw invalid("a string in a key must not have lone surrogates");
  return string;
}

function escaped(string) {
  const bytes = utf8.encode(wellFormed(string));
  return bytes.includes(0) ? Uint8Array.from([...bytes].flatMap((byte) => (byte === 0 ? [0, 0xff] : [byte]))) : bytes;
}

function concat(chunks) {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function tooLarge(what, bytes, max) {
  return new PersistencyError({ kind: "TooLarge", message: `${what} of ${bytes} bytes, the limit is ${max}` });
}
