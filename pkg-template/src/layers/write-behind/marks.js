// Which keys of an engine's sets are dirty: remembered on the page until they are flushed, whatever becomes of a worker.
// Calls readers only, and tells nobody: whoever holds this sends what is unsent.

import { categoryOf, payloadOf, text8 } from "../../bytes.js";
import { PersistencyError } from "../../error.js";
import { limits } from "../../limits.js";
import { ENTRY, Reader } from "../../wire.js";

/** Dirty keys of all sets together at most, unless the options say less; the worker's MARKS_MAX. */
const MARKS_MAX = 99_999;
/** Bytes that they weigh at most, as the worker's MARK_BYTES_MAX, and a payload unless its set says otherwise. */
const MARK_BYTES_MAX = limits().batchBytes - 1024;
const PAYLOAD_BYTES = 512;

/** The dirty keys of all sets. */
export class Marks {
  #sets;
  /** What all sets together may hold, and do. */
  #bounds;
  #taken = { marks: 0, bytes: 0 };

  constructor(sets, { marks = MARKS_MAX, bytes = MARK_BYTES_MAX }) {
    this.#bounds = { marks, bytes };
    this.#sets = sets.map(({ category, read, marks = MARKS_MAX, bytes = MARK_BYTES_MAX, payloadBytes = PAYLOAD_BYTES }, index) => {
      const weigh = ({ key, upsert }) => categoryOf(category).length + key.length + (upsert ? payloadBytes : 0);
      return { index, category, read, weigh, bounds: { marks, bytes }, taken: { marks: 0, bytes: 0 }, entries: new Map() };
    });
  }

  /** How many keys are dirty. */
  get size() {
    return this.#taken.marks;
  }

  /** Marks a key; `Overloaded` if there is no room. */
  mark(index, key, upsert) {
    const set = this.#sets[index];
    const name = nameOf(key);
    const before = set.entries.get(name);
    const entry = { key, upsert, sent: false, asked: 0, held: 0 };
    const [marks, bytes] = [before ? 0 : 1, set.weigh(entry) - (before ? set.weigh(before) : 0)];
    const fits = ({ bounds, taken }) =>
      taken.marks + marks <= bounds.marks && (bytes <= 0 || taken.bytes + bytes <= bounds.bytes);
    if (!fits(set) || !fits({ bounds: this.#bounds, taken: this.#taken })) {
      throw new PersistencyError("Overloaded", "no room for another dirty key before a flush");
    }
    this.#take(set, marks, bytes);
    set.entries.set(name, entry);
  }

  /** The dirty key of a row, as a list. */
  ofRow(index, key) {
    const set = this.#sets[index];
    const entry = set.entries.get(nameOf(key));
    return entry ? [{ set, entry }] : [];
  }

  /** The dirty keys that a packed batch writes or removes. */
  ofBatch(packed) {
    const touched = new Map();
    for (const reader = new Reader(packed); !reader.ended;) {
      const code = reader.byte();
      const category = text8(reader.bytes());
      const set = this.#sets.find((each) => each.category === category);
      const name = nameOf(reader.bytes());
      if (code === ENTRY.deleteRange) {
        const end = reader.flag() ? nameOf(reader.bytes()) : undefined;
        for (const [each, entry] of set?.entries ?? []) {
          if (each >= name && (end === undefined || each < end)) touched.set(entry, set);
        }
        continue;
      }
      if (code === ENTRY.put || code === ENTRY.requireEqual) reader.bytes();
      const entry = code === ENTRY.put || code === ENTRY.delete ? set?.entries.get(name) : undefined;
      if (entry) touched.set(entry, set);
    }
    return Array.from(touched, ([entry, set]) => ({ set, entry }));
  }

  /** These are not told while a strong write takes them along: the worker would take them for newer than it. */
  hold(touched) {
    for (const { entry } of touched) entry.held += 1;
  }

  /** The strong write has ended; where it is through, what was marked before it is older than what it wrote. */
  release(touched, through) {
    for (const { set, entry } of touched) {
      entry.held -= 1;
      if (through) this.#forget(set, entry);
    }
  }

  /** What has been marked and not been sent, by sets; from now on it counts as sent. */
  unsent() {
    const marked = [];
    const marks = [];
    for (const { index, entries } of this.#sets) {
      const [upserts, deletes] = [[], []];
      for (const entry of entries.values()) {
        if (entry.sent || entry.held > 0) continue;
        entry.sent = true;
        marked.push(entry);
        (entry.upsert ? upserts : deletes).push(entry.key);
      }
      if (upserts.length + deletes.length > 0) marks.push([index, upserts, deletes]);
    }
    return { marks, marked };
  }

  /** A worker that was started anew knows of nothing. */
  untell() {
    for (const { entries } of this.#sets) for (const entry of entries.values()) entry.sent = false;
  }

  /** What memory has for what is wanted and for all that is dirty, of one moment: the answer to a question. */
  snapshot({ id, wanted }) {
    const all = this.#sets.filter(({ read }) => read).map(({ index, read, entries }) => {
      const keys = new Map(wanted[index].map((key) => [nameOf(key), key]));
      for (const [name, { key, upsert }] of entries) if (upsert) keys.set(name, key);
      return [index, Array.from(keys.values(), (key) => [key, valueOf(read(copied(key)))])];
    });
    const { marks } = this.unsent();
    for (const { entries } of this.#sets) for (const entry of entries.values()) if (entry.held === 0) entry.asked = id;
    return [marks, all];
  }

  /** What was answered to a question has been flushed, or has not. */
  settle({ id, through }) {
    for (const set of this.#sets) {
      for (const entry of [...set.entries.values()]) {
        if (entry.asked !== id) continue;
        entry.asked = 0;
        if (through && entry.sent) this.#forget(set, entry);
        // Whether the worker has taken note of it is not known: it may have given up waiting.
        else entry.sent = false;
      }
    }
  }

  #take(set, marks, bytes) {
    for (const taken of [set.taken, this.#taken]) {
      taken.marks += marks;
      taken.bytes += bytes;
    }
  }

  /** One that was made since stays. */
  #forget(set, entry) {
    const name = nameOf(entry.key);
    if (set.entries.get(name) !== entry) return;
    set.entries.delete(name);
    this.#take(set, -1, -set.weigh(entry));
  }
}

/** A key's bytes as a name: one character for each byte. */
function nameOf(key) {
  let name = "";
  for (const byte of key) name += String.fromCharCode(byte);
  return name;
}

/** What a reader says, as it is sent: nothing for a key that memory has no longer. */
const valueOf = (value) => (value === undefined || value === null ? undefined : copied(payloadOf(value)));

export const copied = (bytes) => Uint8Array.from(bytes);
