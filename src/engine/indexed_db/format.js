// The bytes of format 1, which are described in mod.rs: buckets, and the journal that lies over them; and what becomes of
// both under changes. Pure: knows no database.

import { EMPTY, Gathered, INLINE_BYTES_MAX, Reader, compare, corrupt, firstPlace, joined, viewOf } from "./basics.js";

/** Bytes above which a bucket is split, unless it is a single row. */
export const BUCKET_BYTES_MAX = 16 * 1024;
/** Bytes below which a bucket joins the one behind it. */
const BUCKET_BYTES_MIN = BUCKET_BYTES_MAX / 4;
/** Bytes before a row's key: the lengths of key and payload. */
const HEAD_BYTES = 8;

/** Rows in key order. */
export class Bucket {
  bytes;
  /** Where each row begins, and where the last one ends. */
  starts = [];
  /** Whether it has been looked at lately. */
  used = true;
  #view;

  constructor(bytes) {
    if (!(bytes instanceof Uint8Array)) throw corrupt("a bucket is not binary");
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    let at = 0;
    for (; at < bytes.length; at += HEAD_BYTES + this.#view.getUint32(at) + inlineBytes(this.#view.getUint32(at + 4))) {
      if (at + HEAD_BYTES > bytes.length) break;
      this.starts.push(at);
    }
    if (at !== bytes.length) throw corrupt("a bucket ends within a row");
    this.starts.push(at);
  }

  /** How many rows there are. */
  get length() {
    return this.starts.length - 1;
  }

  key(row) {
    const from = this.starts[row] + HEAD_BYTES;
    return this.bytes.subarray(from, from + this.#view.getUint32(this.starts[row]));
  }

  /** How long a row's key is, and its payload. */
  keyBytes(row) {
    return this.#view.getUint32(this.starts[row]);
  }

  payloadBytes(row) {
    return this.#view.getUint32(this.starts[row] + 4);
  }

  /** A row's payload, or its length if it is long. */
  payload(row) {
    const bytes = this.payloadBytes(row);
    return bytes > INLINE_BYTES_MAX ? bytes : this.bytes.subarray(this.starts[row + 1] - bytes, this.starts[row + 1]);
  }

  /** Rows as they lie there, from one up to another. */
  packed(row, end = row + 1) {
    return this.bytes.subarray(this.starts[row], this.starts[end]);
  }

  /** The first row at or behind `key`; of none behind them all. */
  find(key) {
    return key === undefined ? this.length : firstPlace(this.length, (row) => this.#compare(row, key) >= 0);
  }

  holds(row, key) {
    return row < this.length && this.#compare(row, key) === 0;
  }

  #compare(row, key) {
    const from = this.starts[row] + HEAD_BYTES;
    return compare(this.bytes, key, from, from + this.#view.getUint32(this.starts[row]));
  }
}

export const NONE = new Bucket(EMPTY);

/** How many bytes of a payload lie in its row. */
const inlineBytes = (bytes) => (bytes > INLINE_BYTES_MAX ? 0 : bytes);

/**
 * What the rows of a bucket from `first` up to `last` are under changed rows: `{ from, to }` for neighbours that have
 * not changed, a changed row as it is, with the place of the one that it replaces as `instead`.
 */
export function* merged(bucket, first, last, changed) {
  let from = first;
  for (const row of changed) {
    const to = Math.min(bucket.find(row.key), last);
    if (to > from) yield { from, to };
    const replaces = to < last && bucket.holds(to, row.key);
    yield { row, instead: replaces ? to : undefined };
    from = replaces ? to + 1 : to;
  }
  if (last > from) yield { from, to: last };
}

/** The same from the end on. */
export function* mergedBackwards(bucket, first, last, changed) {
  let to = last;
  for (let next = changed.length - 1; next >= 0; next--) {
    const row = changed[next];
    const place = Math.min(bucket.find(row.key), last);
    const replaces = place < last && bucket.holds(place, row.key);
    const from = replaces ? place + 1 : place;
    if (to > from) yield { from, to };
    yield { row, instead: replaces ? place : undefined };
    to = place;
  }
  if (to > first) yield { from: first, to };
}

/**
 * Packs a bucket's rows under changed ones: the new buckets, each with its bound, the first of them with `bound`.
 * `gone` is told of each row that was there, and is not any more, or is replaced.
 */
export function rewritten(bucket, bound, changed, gone) {
  const rows = [];
  for (const { from, to, row, instead } of merged(bucket, 0, bucket.length, changed)) {
    for (let at = from; at < to; at++) rows.push(bucket.packed(at));
    if (instead !== undefined) gone(bucket, instead, row);
    if (row?.packed) rows.push(row.packed);
  }
  const appended = bucket.length === 0 || bucket.find(changed[0].key) === bucket.length;
  return split(rows, bound, appended);
}

/** Rows in as few buckets as may be; where they are `appended` all but the last are full. */
function split(rows, bound, appended) {
  const bytes = rows.reduce((sum, { length }) => sum + length, 0);
  const most = appended ? BUCKET_BYTES_MAX : Math.ceil(bytes / Math.ceil(bytes / BUCKET_BYTES_MAX));
  const buckets = [];
  let [first, size] = [0, 0];
  const end = (at) => {
    const key = buckets.length === 0 ? bound : new Bucket(rows[first]).key(0).slice();
    buckets.push({ bound: key, bucket: new Bucket(joined(rows.slice(first, at))) });
    [first, size] = [at, 0];
  };
  rows.forEach(({ length }, at) => {
    if (at > first && size + length > most) end(at);
    size += length;
  });
  if (rows.length > first) end(rows.length);
  return buckets;
}

/** Whether a bucket is to be joined with the one behind it. */
export const isJoined = (one, next) =>
  one.bytes.length < BUCKET_BYTES_MIN && one.bytes.length + next.bytes.length <= BUCKET_BYTES_MAX;

/** Neighbouring buckets by their bounds, which may have to be loaded yet. */
export class Sequence {
  /** Bytes of the buckets that are there; and which of them was looked at last for one to forget. */
  bytes = 0;
  hand = -1;

  constructor(bounds, buckets, start = EMPTY, end = undefined) {
    Object.assign(this, { bounds, buckets, start, end });
  }

  /** The place of the bucket in which `key` is; -1 if it is before the first. */
  at(key) {
    return firstPlace(this.bounds.length, (place) => compare(this.bounds[place], key) > 0) - 1;
  }

  /** The place of the bucket in which the keys right before `key` are, or of the last. */
  before(key) {
    const { bounds } = this;
    return (key ? firstPlace(bounds.length, (place) => compare(bounds[place], key) >= 0) : bounds.length) - 1;
  }

  covers(key, before) {
    const isWithin = before ? 0 : -1;
    if (key === undefined) return this.end === undefined;
    return compare(this.start, key) <= (before ? -1 : 0) &&
      (this.end === undefined || compare(key, this.end) <= isWithin);
  }
}

/** Bytes of operations in one entry, unless a single one has more. */
const ENTRY_BYTES_MAX = 48 * 1024;
/** Bytes of operations in a commit's last entry, which others read once more before they go on behind it. */
const LAST_BYTES_MAX = 4 * 1024;
/** How many times as much it may have while there are no others: an entry less is a request less. */
const LAST_TIMES_ALONE = 4;
/** The operations, as they cross and as they lie in an entry; write.rs has the same codes. */
export const WRITE = { put: 0, delete: 1, deleteRange: 2, putApart: 3, putValue: 4, deleteValues: 5, empty: 6 };

/** An entry as it is stored. */
const entry = (number, record, operations) =>
  new Gathered().number(Math.floor(number / 2 ** 32)).number(number % 2 ** 32)
    .number(record.length).add(record).add(operations).take().slice();

/** The operations of a commit, which become its entries. */
export class Operations {
  bytes = 0;
  #whole = [];
  #last = new Gathered();

  /** The next operation; what is given is copied. */
  add(...parts) {
    const size = parts.reduce((bytes, { length }) => bytes + length, 0);
    if (this.#last.used > 0 && this.#last.used + size > ENTRY_BYTES_MAX) this.#end();
    for (const part of parts) this.#last.add(part);
    this.bytes += size;
  }

  /** Forgets what has been added. */
  clear() {
    this.bytes = 0;
    this.#whole = [];
    this.#last.take();
  }

  /** What is stored under `number` and those that follow it. */
  entries(number, record, alone) {
    if (this.#last.used > LAST_BYTES_MAX * (alone ? LAST_TIMES_ALONE : 1)) this.#end();
    const whole = this.#whole.map((operations, at) => entry(number + at, EMPTY, operations));
    return [...whole, entry(number + whole.length, record, this.#last.take())];
  }

  #end() {
    this.#whole.push(this.#last.take().slice());
  }
}

/** Takes an entry apart. */
export function opened(value) {
  if (!(value instanceof Uint8Array) || value.length < 12) throw corrupt("an entry of the journal is not one");
  const reader = new Reader(value);
  const number = reader.number() * 2 ** 32 + reader.number();
  const record = reader.bytes();
  return { number, record, operations: value.subarray(reader.at) };
}

/**
 * Rows that lie over those of the buckets: the newest of each key, with its bytes as a bucket would have them, none
 * where the row has been deleted.
 */
export class Overlay {
  rows = [];
  /** Bytes that the operations have in the journal. */
  bytes = 0;
  /** Whether there have been long payloads. */
  hasLong = false;

  /** Does what the operations of an entry say. */
  replay(number, operations) {
    this.bytes += operations.length;
    const reader = new Reader(operations);
    let rows = [];
    while (!reader.ended) {
      switch (reader.byte()) {
        case WRITE.put: {
          const from = reader.at;
          const [keyBytes, bytes] = [reader.number(), reader.number()];
          const key = reader.take(keyBytes);
          const isLong = bytes > INLINE_BYTES_MAX;
          if (!isLong) reader.take(bytes);
          this.hasLong ||= isLong;
          rows.push({ key, number, packed: operations.subarray(from, reader.at), bytes });
          break;
        }
        case WRITE.delete:
          rows.push({ key: reader.bytes(), number, packed: undefined });
          break;
        case WRITE.deleteRange: {
          this.#merge(rows);
          rows = [];
          const { lower, upper } = reader.bounds();
          const first = this.find(lower);
          this.rows.splice(first, this.find(upper) - first);
          break;
        }
        default:
          throw corrupt("the journal has an operation that is none");
      }
    }
    if (reader.at !== operations.length) throw corrupt("an entry of the journal ends within an operation");
    this.#merge(rows);
  }

  /** The place of the first row at or behind `key`; of none behind them all. */
  find(key) {
    const { rows } = this;
    return key === undefined ? rows.length : firstPlace(rows.length, (at) => compare(rows[at].key, key) >= 0);
  }

  get(key) {
    const row = this.rows[this.find(key)];
    return row && compare(row.key, key) === 0 ? row : undefined;
  }

  /** The rows from `from` on, up to but without `to`. */
  within(from, to) {
    return this.rows.slice(this.find(from), this.find(to));
  }

  /** Leaves away what entries up to this one said, which had so many bytes. */
  cut(number, bytes) {
    this.rows = this.rows.filter((row) => row.number > number);
    this.bytes -= bytes;
  }

  /** The same rows, to be changed apart. */
  copy() {
    return Object.assign(new Overlay(), this, { rows: [...this.rows] });
  }

  /** Takes in rows, of which the later ones are newer. Looks at few of those that are there, and moves the rest once. */
  #merge(added) {
    const { rows } = this;
    const byKey = (one, other) => compare(one.key, other.key);
    const places = [];
    let place = 0;
    const fresh = added.sort(byKey).filter((row, at) => {
      if (at + 1 < added.length && byKey(row, added[at + 1]) === 0) return false;
      // Behind them all are the others, too.
      if (place < rows.length) place = this.find(row.key);
      if (place === rows.length || byKey(rows[place], row) !== 0) return places.push(place);
      rows[place] = row;
      return false;
    });
    let end = rows.length;
    for (const row of fresh) rows.push(row);
    for (let at = fresh.length; at-- > 0; rows[end + at] = fresh[at]) {
      for (; end > places[at]; end--) rows[end + at] = rows[end - 1];
    }
  }
}

/** The payload of a packed row, or its length if it is long. */
export const payloadOf = ({ key, packed, bytes }) =>
  bytes > INLINE_BYTES_MAX ? bytes : packed.subarray(HEAD_BYTES + key.length);
