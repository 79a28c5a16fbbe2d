// Arguments and answers of layers as MessagePack; the other half is src/web/layers/message.rs.
// Every bigint is exact, and bytes that come back are the caller's own.

import { decode, encode } from "@msgpack/msgpack";
import { utf8 } from "../bytes.js";
import { changed, invalid, PersistencyError } from "../error.js";

/** Bigints are numbers of 64 bits; of what comes back those that fit 32 bits are numbers nevertheless. */
const NUMBERS = { useBigInt64: true };
/** Integers beyond it the library would send as fractions. */
const SMALL_MAX = 2 ** 31 - 1;

/** The string, if it is one that UTF-8 can hold. */
export function textOf(what, string) {
  utf8(what, string);
  return string;
}

/** The arguments as bytes; `InvalidArgument` if one of them has none. */
export function packed(args) {
  try {
    return encode(whole(args), { ...NUMBERS, ignoreUndefined: true });
  } catch (error) {
    throw changed(invalid(`an argument cannot be sent: ${error.message}`), { cause: error });
  }
}

/** What a call answered, `undefined` if that was nothing. */
export function answerOf(reader) {
  if (reader.ended) return undefined;
  try {
    return own(decode(reader.bytes(), NUMBERS));
  } catch (error) {
    throw new PersistencyError("Backend", "the answer cannot be read", { outcome: "Applied", cause: error });
  }
}

/** The same value with its large integers as bigints, which are sent as integers. */
function whole(value) {
  if (typeof value === "number") {
    return Number.isSafeInteger(value) && Math.abs(value) > SMALL_MAX ? BigInt(value) : value;
  }
  if (Array.isArray(value)) return value.map(whole);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, whole(each)]));
}

/** The same value with copies of its bytes, which would keep their whole frame. */
function own(value) {
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== "object" || value === null) return value;
  for (const name of Object.keys(value)) value[name] = own(value[name]);
  return value;
}
