// Keys: typed parts written as bytes that order as the parts do, and read back, byte for byte as in Rust.
// Never stores or sends anything; tests/vectors/keys.json is the authority for every byte.

import { bounded, bytesOf, text8, utf8 } from "./bytes.js";
import { invalid } from "./error.js";
import { KEY_PART_BYTES_MAX, limits } from "./limits.js";

/** Flipped, which puts the negative numbers before the others. */
const SIGN_BIT = 1n << 63n;

/** The bytes that name a row. Within `key(...)` a Key stands for its own bytes. */
export class Key extends Uint8Array {
  /** The key of exactly these bytes. */
  static from(bytes, ...rest) {
    // Its characters would be read as numbers, and most become 0.
    if (typeof bytes === "string") throw invalid("Key.from() takes bytes; for a string use key() or text()");
    return super.from(bytes, ...rest);
  }
}

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
  return new Key(bounded("key", concat(chunks), limits().keyBytes).buffer);
}

/**
 * Reads the parts of a key back, given their types: "string", "bytes", "i64", "u64", "u8", "boolean",
 * "text", "rest" (all that is left, as a Key), or an array of types for an array of parts.
 */
export function decodeKey(key, ...types) {
  // A copy whose slices are no Keys.
  const bytes = new Uint8Array(bytesOf("key", key));
  let at = 0;

  const take = (count) => {
    const left = bytes.length - at;
    if (count > left) throw invalid(`the next part needs ${count} bytes, ${left} are left`);
    at += count;
    return bytes.slice(at - count, at);
  };
  const prefixed = () => {
    const [high, low] = take(2);
    return take(high * 256 + low);
  };
  const unsigned = () => new DataView(take(8).buffer).getBigUint64(0);
  const boolean = () => {
    const [byte] = take(1);
    if (byte > 1) throw invalid("bytes that are no boolean");
    return byte === 1;
  };
  const unescaped = () => {
    let end = bytes.indexOf(0, at);
    while (end >= 0 && bytes[end + 1] === 0xff) end = bytes.indexOf(0, end + 2);
    if (end < 0 || bytes[end + 1] !== 1) throw invalid("bytes that are no text");
    const escaped = take(end - at);
    take(2);
    return escaped.filter((byte, index) => byte !== 0xff || escaped[index - 1] !== 0);
  };
  const read = (type) => {
    switch (type) {
      case "string": return stringOf(prefixed());
      case "bytes": return prefixed();
      case "i64": return unsigned() - SIGN_BIT;
      case "u64": return unsigned();
      case "u8": return take(1)[0];
      case "boolean": return boolean();
      case "text": return stringOf(unescaped());
      case "rest": return new Key(take(bytes.length - at).buffer);
      default:
        if (Array.isArray(type)) return type.map(read);
        throw invalid("no type of a key's part");
    }
  };

  const parts = types.map(read);
  if (at < bytes.length) throw invalid(`${bytes.length - at} bytes are left after the last part`);
  return parts;
}

function encode(part) {
  if (part instanceof Part) return [part.bytes];
  if (part instanceof Uint8Array) return part instanceof Key ? [bytesOf("key", part)] : prefixed(bytesOf("part", part));
  switch (typeof part) {
    case "string": return prefixed(utf8("string in a key", part));
    case "boolean": return [Uint8Array.of(part ? 1 : 0)];
    case "number":
    case "bigint": {
      const value = integer(part);
      if (BigInt.asIntN(64, value) !== value) throw invalid("an integer in a key takes -2^63 to 2^63 - 1");
      return [eight(value + SIGN_BIT)];
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
  bounded("key part", bytes, KEY_PART_BYTES_MAX);
  return [Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes];
}

function stringOf(bytes) {
  try {
    return text8(bytes);
  } catch {
    throw invalid("bytes that are no string");
  }
}

function escaped(string) {
  const bytes = utf8("text", string);
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
