// What records and items hold, as it crosses: JSON as its text, bytes as they are.
// Never looks into a value further than JSON itself does.

import { bytesOf, utf8 } from "../../bytes.js";
import { invalid, PersistencyError } from "../../error.js";
import { rangeOf } from "../../range.js";
import { textOf } from "../message.js";

const BOUNDS = ["prefix", "start", "end", "gt", "gte", "lt", "lte"];

/** Refuses the numbers that JSON has no text for, which it would silently make null. */
function finite(name, value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw invalid(`JSON cannot hold ${value}`);
  return value;
}

/** JSON: keys are strings, and a record's key is in its primary field. */
export const JSON_CONTENT = {
  collection: "collection",
  pool: "pool",
  keyOf: (key) => textOf("key", key),
  /** Strings bound a range as their bytes in UTF-8, by which keys are ordered. */
  rangeOf(range) {
    const asBytes = (name, bound) => (BOUNDS.includes(name) && typeof bound === "string"
      ? utf8(`range's ${name}`, bound) : bound);
    if (typeof range !== "object" || range === null || Symbol.iterator in range) return rangeOf(range, ["signal"]);
    const bounds = Object.entries(range).map(([name, bound]) => [name, asBytes(name, bound)]);
    return rangeOf(Object.fromEntries(bounds), ["signal"]);
  },
  give(value) {
    let text;
    try {
      text = JSON.stringify(value, finite);
    } catch (error) {
      throw error instanceof PersistencyError ? error : invalid(`a value that JSON cannot hold: ${error.message}`);
    }
    if (text === undefined) throw invalid("a value that JSON cannot hold");
    return textOf("value", text);
  },
  read(text) {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new PersistencyError("Corrupt", "what is stored is no JSON", { cause });
    }
  },
};

/** Bytes under keys of bytes. */
export const BYTES_CONTENT = {
  collection: "bytesCollection",
  pool: "bytesPool",
  keyOf: (key) => bytesOf("key", key),
  rangeOf: (range) => rangeOf(range, ["signal"]),
  give: (data) => bytesOf("data", data),
  read: (data) => data,
};

/** A record as pages have it. */
export const recordRead = (content, { key, data, seq, updatedMs }) =>
  ({ key, data: content.read(data), seq: BigInt(seq), updatedMs: Number(updatedMs) });

/** A snapshot, changes, or that there is a gap. */
export function toldRead(content, { type, seq, records, changes, oldest }) {
  if (type === "lagged") return { type, oldest: BigInt(oldest) };
  if (type === "snapshot") return { type, records: records.map((each) => recordRead(content, each)), seq: BigInt(seq) };
  return { type, changes: changes.map((each) => changeRead(content, each)), seq: BigInt(seq) };
}

function changeRead(content, { type, record, key, seq, updatedMs }) {
  if (type === "set") return { type, ...recordRead(content, record) };
  return { type, key, seq: BigInt(seq), updatedMs: Number(updatedMs) };
}
