// Bytes and text that callers hand in: checked here, and copied before a call returns.

import { invalid, tooLarge } from "./error.js";
import { limits } from "./limits.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Half a character, which UTF-8 has no bytes for. */
const SURROGATE = /\p{Surrogate}/u;

/** What came instead of something else, in a word: never the value itself. */
const kindOf = (value) => (value === null ? "null" : typeof value);

/** The string as UTF-8, if UTF-8 can hold it: lone surrogates would be replaced, and strings become one. */
export function utf8(what, string) {
  if (typeof string !== "string") throw invalid(`a ${what} is a string, not ${kindOf(string)}`);
  if (SURROGATE.test(string)) throw invalid(`a ${what} is a string without lone surrogates`);
  return encoder.encode(string);
}

/** UTF-8 as a string; throws if it is none. */
export const text8 = (bytes) => decoder.decode(bytes);

/** The bytes, if they are bytes that are still there. */
export function bytesOf(what, bytes) {
  if (!(bytes instanceof Uint8Array)) throw invalid(`a ${what} is a Uint8Array, not ${kindOf(bytes)}`);
  if (bytes.length === 0) {
    try {
      new Uint8Array(bytes.buffer);
    } catch {
      throw invalid(`the bytes of the ${what} have been transferred away`);
    }
  }
  return bytes;
}

/** Bytes within their limit. */
export function bounded(what, bytes, max) {
  if (bytes.length > max) throw tooLarge(what, bytes.length, max);
  return bytes;
}

/** A key within its limit. */
export const keyOf = (key) => bounded("key", bytesOf("key", key), limits().keyBytes);

/** A payload within its limit; strings are taken as UTF-8. */
export const payloadOf = (payload) =>
  bounded("payload",
    typeof payload === "string" ? utf8("payload", payload) : bytesOf("payload that is no string", payload),
    limits().payloadBytes);

/** A category's bytes within their limit. */
export const categoryOf = (category) => bounded("category", utf8("category", category), limits().categoryBytes);

/** A seq, if it is one. */
export function seqOf(seq) {
  if (typeof seq !== "bigint" || BigInt.asUintN(64, seq) !== seq) throw invalid("a seq is a bigint from 0 to 2^64 - 1");
  return seq;
}

/** The signal of a read's options, if they are options. */
export function signalOf(options = {}) {
  if (typeof options !== "object" || options === null) throw invalid("the options are an object");
  // Passed as the options themselves it would be overlooked.
  if (typeof options.throwIfAborted === "function") throw invalid("a signal is passed as { signal }");
  const { signal } = options;
  // Not `instanceof`: a frame's signals are of another AbortSignal.
  if (signal !== undefined && typeof signal?.throwIfAborted !== "function") throw invalid("signal is an AbortSignal");
  return signal;
}

/** A name or an id of something, which has at least one byte. */
export function nameOf(what, name, max) {
  const bytes = bounded(what, utf8(what, name), max);
  if (bytes.length === 0) throw invalid(`a ${what} has at least one byte`);
  return bytes;
}
