// Arguments and answers of layers as MessagePack; the other half is src/web/layers/message.rs.
// Every bigint is exact, and bytes that come back are the caller's own.

import { decode, encode } from "@msgpack/msgpack";
import { utf8 } from "../bytes.js";
import { changed, invalid, PersistencyError } from "../error.js";

/** Numbers of 64 bits are bigints; smaller ones come back as numbers. */
const NUMBERS = { useBigInt64: true };

/** The string, if it is one that UTF-8 can hold. */
export function textOf(what, string) {
  utf8(what, string);
  return string;
}

/** The arguments as bytes; `InvalidArgument` if one of them has none. */
export function packed(args) {
  try {
    return encode(args, { ...NUMBERS, ignoreUndefined: true });
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

/** The same value with copies of its bytes, which would keep their whole frame. */
function own(value) {
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== "object" || value === null) return value;
  for (const name of Object.keys(value)) value[name] = own(value[name]);
  return value;
}
