// What records and items hold, as it crosses: JSON as its text, bytes as they are.
// Never looks into a value further than JSON itself does.

import { bytesOf } from "../../bytes.js";
import { invalid, PersistencyError } from "../../error.js";
import { textOf } from "../message.js";

/** JSON: keys are strings, and a record's key is in its primary field. */
export const JSON_CONTENT = {
  collection: "collection",
  pool: "pool",
  keyOf: (key) => textOf("key", key),
  give(value) {
    let text;
    try {
      text = JSON.stringify(value);
    } catch (error) {
      throw invalid(`a value that JSON cannot hold: ${error.message}`);
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
