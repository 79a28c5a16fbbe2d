// Arguments and answers of layers as MessagePack; the other half is src/web/layers/message.rs.
// Every bigint is exact, and bytes that come back are the caller's own.

import { decode, Encoder } from "@msgpack/msgpack";
import { utf8 } from "../bytes.js";
import { changed, invalid, PersistencyError } from "../error.js";

/** Bigints are numbers of 64 bits; of what comes back those that fit 32 bits are numbers nevertheless. */
const NUMBERS = { useBigInt64: true };
/** Integers beyond it the library would send as fractions. */
const SMALL_MAX = 2 ** 31 - 1;
/** Bytes of arguments up to which their room is kept for the next ones. */
const KEPT_BYTES_MAX = 1024 * 1024;

/** The one that has that room. */
let encoder;

/** The string, if it is one that UTF-8 can hold. */
export function textOf(what, string) {
  utf8(what, string);
  return string;
}

/** The arguments as bytes that are good until the next ones are packed; `InvalidArgument` if one of them has none. */
export function packed(args) {
  try {
    encoder ??= new Encoder({ ...NUMBERS, ignoreUndefined: true });
    const bytes = encoder.encodeSharedRef(whole(args));
    if (bytes.length > KEPT_BYTES_MAX) encoder = undefined;
    return bytes;
  } catch (error) {
    encoder = undefined;
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

/** The same value with its large integers as bigints, which are sent as integers; a copy where it has any. */
function whole(value) {
  if (typeof value === "number") {
    return Number.isSafeInteger(value) && Math.abs(value) > SMALL_MAX ? BigInt(value) : value;
  }
  const isList = Array.isArray(value);
  if (!isList && (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype)) {
    return value;
  }
  let copy;
  for (const name of isList ? value.keys() : Object.keys(value)) {
    const each = value[name];
    const sent = whole(each);
    if (!Object.is(sent, each)) (copy ??= isList ? [...value] : { ...value })[name] = sent;
  }
  return copy ?? value;
}

/** The same value with copies of its bytes, which would keep their whole frame. */
function own(value) {
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== "object" || value === null) return value;
  for (const name of Object.keys(value)) value[name] = own(value[name]);
  return value;
}
