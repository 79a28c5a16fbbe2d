// What is read and written inside transactions: tasks, each with its stores and a body that engine.js runs.
// Never waits for anything but its own requests, and knows nothing of connections or of what a payload means. The
// format is described in mod.rs.

import { EMPTY, FAULT, Failure, NUMBER_MAX, STORES, TURN, corrupt, utf8 } from "./engine.js";

const [META, ROWS, CHUNKS] = STORES;
/** Bytes of a payload up to which it lives in its row; Chromium moves values above 64 KiB out into files. */
const INLINE_BYTES_MAX = 32 * 1024;
/** Bytes of one piece of a longer payload. */
const CHUNK_BYTES = 48 * 1024;
/** Pieces of a long payload that are loaded by one request: 3 MiB. */
const CHUNKS_PER_REQUEST = 64;
/** Points that are asked for before the first answer is taken. */
const POINTS_PER_ROUND = 1024;
/** Rows of a page's first slice, of which nothing is known: 8 MiB at most, long keys excepted. */
const SLICE_ROWS_FIRST = 256;
/** Rows of a slice at most. */
const SLICE_ROWS_MAX = 1024;
/** How much larger than the one before a slice can be: sizes seen so far can mislead. */
const SLICE_GROWTH_MAX = 4;
/** Rows that `check` looks at in one view. */
const CHECK_ROWS_PER_VIEW = 256;
/** Findings that are told; beyond it the looking ends. */
const FINDINGS_MAX = 100;

/**
 * Whether writes that might outgrow the browser's memory are made one by one. Where Firefox finds no room in the midst
 * of a transaction it takes back what it had written, carries out the requests that it already has as if nothing had
 * happened, and keeps those, though the transaction is aborted then. Only its engine has this class.
 */
const PACED = "InternalError" in globalThis;
/** Requests and their bytes that surely stay in its memory until the commit: it holds 62 pages of 32 KiB. */
const BURST_REQUESTS_MAX = 32;
const BURST_BYTES_MAX = 256 * 1024;

const decoder = new TextDecoder("utf-8", { fatal: true });
/** The keys of the job's record, and of the note that is there once a long payload has been written. */
const RECORD_KEY = utf8("record");
const NOTE_KEY = utf8("chunks");

// What crosses; bridge.rs and write.rs have the same codes.
const CALL = { ensure: 5, get: 6, page: 7, count: 8, categories: 9, apply: 10, check: 11, compact: 12 };
const WRITE = { put: 0, putApart: 1, delete: 2, deleteRange: 3, clear: 4 };
const VERIFY = { never: 0, whenEmpty: 1, always: 2 };

/** The bytes of a request, read in order; what is taken is a view. */
class Reader {
  #bytes;
  #view;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get ended() {
    return this.#at >= this.#bytes.length;
  }

  byte() {
    return this.#bytes[this.#at++];
  }

  flag() {
    return this.byte() === 1;
  }

  number() {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4);
  }

  bytes() {
    const size = this.number();
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  /** The bounds of a range: none if it is empty, and no upper one if it goes on to the end. */
  bounds() {
    const kind = this.byte();
    return kind === 0 ? undefined : { lower: this.bytes(), upper: kind === 2 ? this.bytes() : undefined };
  }
}

/** The range from `lower`, if not behind it, up to but without `upper`; the caller knows that it is not empty. */
const within = (lower, upper, behind = false) =>
  upper === undefined ? IDBKeyRange.lowerBound(lower, behind) : IDBKeyRange.bound(lower, upper, behind, true);

/** The first key behind `key`. */
function after(key) {
  const next = new Uint8Array(key.byteLength + 1);
  next.set(new Uint8Array(key));
  return next;
}

/** The bytes of a key as IndexedDB gives it back, but for the first ones. */
function keyBytes(key, from = 0) {
  if (!(key instanceof ArrayBuffer)) throw corrupt("a key is not binary");
  if (key.byteLength < from) throw corrupt("a row's key is too short");
  return new Uint8Array(key, from);
}

/** The bytes of a value; `undefined` where there is none. */
function valueBytes(value) {
  if (value !== undefined && !(value instanceof Uint8Array)) throw corrupt("a value is not binary");
  return value;
}

/** What a row holds: the payload, or the length of one that is in pieces; `undefined` where there is no row. */
function stored(value) {
  if (typeof value !== "number") return valueBytes(value);
  if (!Number.isInteger(value) || value <= INLINE_BYTES_MAX || value > NUMBER_MAX) {
    throw corrupt("the length of a long payload is impossible");
  }
  return value;
}

const lengthOf = (value) => (value instanceof Uint8Array ? value.length : undefined);

const sizeOf = (stored) => (typeof stored === "number" ? stored : stored.length);

/** The bound before all pieces of the rows from `row` on, and behind those of the rows before it. */
const beforePieces = (row) => row && [row];

/** The keys of all pieces of the rows from `lower` up to, but without, `upper`. */
const piecesOfRows = (lower, upper) => within(beforePieces(lower), beforePieces(upper));

/** The keys of all pieces of one row: an array sorts behind every number. */
const piecesOfRow = (row) => within([row], [row, []]);

/** Where in a key of `rows` its category has ended; 0 if it is not one of ours. */
function categoryEnd(key) {
  for (let at = 0; at + 1 < key.length; at++) {
    if (key[at] !== 0) continue;
    if (key[at + 1] === 1) return at + 2;
    if (key[at + 1] !== 255) return 0;
    at += 1;
  }
  return 0;
}

/** The category that ends there, as UTF-8: what follows a zero is its escape. */
const categoryName = (key, end) => key.subarray(0, end - 2).filter((_, at, escaped) => escaped[at - 1] !== 0);

function hasCategory(key) {
  const end = categoryEnd(key);
  try {
    return end > 0 && decoder.decode(categoryName(key, end)) !== undefined;
  } catch {
    return false;
  }
}

/** Tells a long payload of so many bytes piece by piece: a wrong length must not become a huge allocation. */
function* loadPieces(transaction, call, row, bytes) {
  call.push(EMPTY);
  const chunks = transaction.objectStore(CHUNKS);
  let loaded = 0;
  for (let first = 0; first * CHUNK_BYTES < bytes; first += CHUNKS_PER_REQUEST) {
    const end = first + CHUNKS_PER_REQUEST;
    const pieces = yield chunks.getAll(within([row, first], [row, end]), CHUNKS_PER_REQUEST);
    for (const piece of pieces) {
      loaded += valueBytes(piece).length;
      call.append(piece);
    }
    if (loaded !== Math.min(bytes, end * CHUNK_BYTES)) {
      throw corrupt("a long payload lacks pieces or has wrong ones");
    }
  }
}

/** A task that reads, and tells the job's record of the same view if `verify` wants it. */
const view = (verify, stores, read, turn) => ({
  stores: [...new Set(verify === VERIFY.never ? stores : [...stores, META])],
  turn,
  *body(transaction, call) {
    const number = yield* read(transaction, call);
    const foundNothing = number === 0 && !call.found;
    if (verify === VERIFY.always || (verify === VERIFY.whenEmpty && foundNothing)) {
      call.record(valueBytes(yield transaction.objectStore(META).get(RECORD_KEY)));
    }
    return number;
  },
});

/** The points that a request ends with, and how many bytes of each are wanted; of its presence none. */
function looksOf(request) {
  const looks = [];
  while (!request.ended) looks.push({ want: request.number(), store: STORES[request.byte()], key: request.bytes() });
  return looks;
}

/** Reads points and tells them in the order asked for; tells nothing but their size if that is above `bytesMax`. */
function* readPoints(transaction, call, looks, bytesMax) {
  const found = [];
  let bytes = 0;
  for (let from = 0; from < looks.length; from += POINTS_PER_ROUND) {
    const round = looks.slice(from, from + POINTS_PER_ROUND);
    const requests = round.map(({ store, key, want }) => {
      const opened = transaction.objectStore(store);
      return want === 0 ? opened.getKey(key) : opened.get(key);
    });
    yield requests.at(-1);
    round.forEach(({ want }, at) => {
      const { result } = requests[at];
      const value = want === 0 ? result && EMPTY : stored(result);
      bytes += value === undefined ? 0 : sizeOf(value);
      if (bytes <= bytesMax) found.push(value);
    });
  }
  if (bytes > bytesMax) return bytes;
  for (const [at, { key, want }] of looks.entries()) {
    const value = found[at];
    // Longer than wanted is all there is to see of it, so its pieces stay where they are.
    if (typeof value === "number" && value >= want) call.push(new Uint8Array(want));
    else if (typeof value === "number") yield* loadPieces(transaction, call, key, value);
    else call.push(value);
  }
  return 0;
}

function get(request) {
  const [verify, bytesMax, looks] = [request.byte(), request.number(), looksOf(request)];
  const stores = looks.map(({ store }) => store);
  if (looks.some(({ store, want }) => store === ROWS && want > 0)) stores.push(CHUNKS);
  return view(verify, stores, (transaction, call) => readPoints(transaction, call, looks, bytesMax));
}

/**
 * Keys and values of at most so many rows in the order asked for.
 *
 * The forms that read from a range's end came with `getAllRecords`, and cannot be asked for themselves. That is not
 * used: taking its records apart measures slower than asking for keys and values.
 */
function* readSlice(store, { lower, upper, reverse, keysOnly }, rows) {
  const backwards = reverse && "getAllRecords" in store;
  let query = [within(lower, upper), rows];
  if (backwards) {
    query = [{ query: query[0], count: rows, direction: "prev" }];
  } else if (reverse) {
    // Finds where the slice begins, then reads it forwards: never a cursor over many rows.
    const request = store.openKeyCursor(query[0], "prev");
    let cursor = yield request;
    if (cursor && rows > 1) {
      cursor.advance(rows - 1);
      cursor = yield request;
    }
    if (cursor) query[0] = within(cursor.key, upper);
  }
  const asked = store.getAllKeys(...query);
  const values = keysOnly ? undefined : yield store.getAll(...query);
  const keys = yield asked;
  if (values && values.length !== keys.length) throw corrupt("a range has not as many values as keys");
  if (reverse && !backwards) {
    keys.reverse();
    values?.reverse();
  }
  return { keys, values };
}

/** Rows for the next slice: what still fits if they go on as they were, but not much more than before. */
function nextSlice(before, rows, bytes, bytesMax) {
  const average = Math.max(bytes / rows, 1);
  const fitting = Math.floor(Math.max(bytesMax - bytes, 0) / average) + 1;
  return Math.min(fitting, before * SLICE_GROWTH_MAX, SLICE_ROWS_MAX);
}

/**
 * Reads rows in slices, since IndexedDB knows a limit of rows but none of bytes, and has never more than a slice
 * beyond the bounds in memory. Its number tells whether a bound ended it before the range did.
 */
function page(request) {
  const verify = request.byte();
  const name = STORES[request.byte()];
  const [prefix, rowsMax, bytesMax] = [request.number(), request.number(), request.number()];
  const asked = { reverse: request.flag(), keysOnly: request.flag(), ...request.bounds() };
  const stores = name === ROWS && !asked.keysOnly ? [ROWS, CHUNKS] : [name];
  function* read(transaction, call) {
    const store = transaction.objectStore(name);
    let [rows, bytes, sliceRows] = [0, 0, SLICE_ROWS_FIRST];
    while (asked.lower) {
      // One more than wanted tells whether there is a further row.
      const limit = Math.min(sliceRows, rowsMax - rows + 1);
      const { keys, values } = yield* readSlice(store, asked, limit);
      for (let at = 0; at < keys.length; at++) {
        const key = keyBytes(keys[at], prefix);
        const value = values ? stored(values[at]) : EMPTY;
        if (value === undefined) throw corrupt("a row has no value");
        const total = bytes + key.length + sizeOf(value);
        if (rows > 0 && (rows >= rowsMax || total > bytesMax)) return 1;
        bytes = total;
        rows += 1;
        call.push(key);
        if (typeof value === "number") yield* loadPieces(transaction, call, keys[at], value);
        else if (values) call.push(value);
      }
      if (keys.length < limit) return 0;
      const last = keys.at(-1);
      if (asked.reverse) asked.upper = last;
      else asked.lower = after(last);
      if (asked.upper && indexedDB.cmp(asked.lower, asked.upper) >= 0) return 0;
      sliceRows = nextSlice(sliceRows, rows, bytes, bytesMax);
    }
    return 0;
  }
  return view(verify, stores, read, TURN.shared);
}

function count(request) {
  const [verify, bounds] = [request.byte(), request.bounds()];
  function* read(transaction) {
    return bounds ? yield transaction.objectStore(ROWS).count(within(bounds.lower, bounds.upper)) : 0;
  }
  return view(verify, [ROWS], read, TURN.shared);
}

/** Jumps from one category to the next, whatever they hold. */
function categories(request) {
  const [verify, bytesMax] = [request.byte(), request.number()];
  function* read(transaction, call) {
    const rows = transaction.objectStore(ROWS);
    let [lower, bytes] = [EMPTY, 0];
    for (;;) {
      const found = yield rows.getKey(within(lower));
      if (found === undefined) return 0;
      const key = keyBytes(found);
      const end = categoryEnd(key);
      if (end === 0) throw corrupt("a row's key begins with no category");
      const name = categoryName(key, end);
      bytes += name.length;
      if (bytes > bytesMax) {
        throw new Failure(FAULT.tooLarge, `the names of the categories have more than ${bytesMax} bytes`);
      }
      call.push(name);
      // The first key behind all that begin with the category and its end, 00 01.
      lower = key.slice(0, end);
      lower[end - 1] = 2;
    }
  }
  return view(verify, [ROWS], read, TURN.shared);
}

/**
 * Asks for writes in the last callback of their transaction. What fails aborts it, so nobody waits for one, but where
 * they are paced.
 */
class Writer {
  #transaction;
  /** What has yet to be asked for, where writes are paced. */
  #asks = [];
  /** Bytes that this may write at least; a range counts as too many. */
  #bytes = 0;
  /** Whether there may be pieces, so that they must go with their rows. */
  #hasPieces;
  /** Why they could not all be asked for. */
  failure;

  constructor(transaction, hasPieces) {
    this.#transaction = transaction;
    this.#hasPieces = hasPieces;
  }

  /** Asks for all of `operations`; `payload` is that of the one which is put apart. */
  write(operations, payload) {
    const reader = new Reader(operations);
    try {
      while (!this.failure && !reader.ended) this.#operation(reader, payload);
    } catch (error) {
      this.failure = error;
    }
  }

  /** What was not asked for at once: yields each request that has to succeed before the next one is made. */
  *rest() {
    const paced = this.#asks.length > BURST_REQUESTS_MAX || this.#bytes > BURST_BYTES_MAX;
    for (const ask of this.#asks) {
      const request = ask();
      if (paced) yield request;
    }
  }

  /** Asks for something now or in its turn: what `ask` uses must not change until then. */
  #ask(bytes, ask) {
    if (!PACED) return ask();
    this.#asks.push(ask);
    this.#bytes += bytes;
  }

  #operation(operations, payload) {
    const code = operations.byte();
    const name = STORES[operations.byte()];
    const store = this.#transaction.objectStore(name);
    switch (code) {
      case WRITE.put:
        return this.#put(name, store, operations.bytes(), operations.bytes());
      case WRITE.putApart:
        return this.#put(name, store, operations.bytes(), payload);
      case WRITE.delete: {
        const key = operations.bytes().slice();
        this.#deletePieces(name, key);
        return this.#ask(key.length, () => store.delete(key));
      }
      case WRITE.deleteRange:
        return this.#deleteRange(name, store, operations.bounds());
      case WRITE.clear:
        return this.#ask(Infinity, () => store.clear());
    }
  }

  #put(name, store, from, payload) {
    const key = from.slice();
    this.#deletePieces(name, key);
    // A view would be stored with all that it views, so each value gets bytes of its own.
    const put = (into, value, at) => this.#ask(key.length + value.length, () => into.put(value, at));
    if (name !== ROWS || payload.length <= INLINE_BYTES_MAX) return put(store, payload.slice(), key);
    if (!this.#hasPieces) this.#note();
    const chunks = this.#transaction.objectStore(CHUNKS);
    for (let at = 0; at < payload.length; at += CHUNK_BYTES) {
      put(chunks, payload.slice(at, at + CHUNK_BYTES), [key, at / CHUNK_BYTES]);
    }
    const { length } = payload;
    this.#ask(key.length, () => store.put(length, key));
  }

  #deletePieces(name, key) {
    if (name !== ROWS || !this.#hasPieces) return;
    const range = piecesOfRow(key);
    this.#ask(0, () => this.#transaction.objectStore(CHUNKS).delete(range));
  }

  #deleteRange(name, store, { lower, upper }) {
    const range = within(lower, upper);
    if (name === ROWS && this.#hasPieces) {
      const pieces = piecesOfRows(lower, upper);
      this.#ask(Infinity, () => this.#transaction.objectStore(CHUNKS).delete(pieces));
    }
    this.#ask(Infinity, () => store.delete(range));
    // The note is ours: it stays for as long as it is true.
    if (name === META && this.#hasPieces && range.includes(NOTE_KEY)) this.#note();
  }

  #note() {
    this.#hasPieces = true;
    this.#ask(0, () => this.#transaction.objectStore(META).put(EMPTY, NOTE_KEY));
  }
}

/** Reads in rounds; the decision and all writes come in the last one's callback. */
function apply(request) {
  const [durable, looks] = [request.flag(), looksOf(request)];
  return {
    stores: STORES,
    durability: durable ? "strict" : "relaxed",
    turn: TURN.alone,
    abortable: true,
    *body(transaction, call) {
      const note = transaction.objectStore(META).getKey(NOTE_KEY);
      yield* readPoints(transaction, call, looks, Infinity);
      const writer = new Writer(transaction, (yield note) !== undefined);
      call.decide(writer);
      if (writer.failure) throw writer.failure;
      yield* writer.rest();
    },
  };
}

/**
 * Looks for damage in slices of rows and of pieces, never repairs, and never names a key: every row's key and value
 * as the format says, every long payload with exactly its pieces, no piece without its row. Each slice of rows and
 * its pieces are one view; what is left is the task to go on with.
 */
function check(lower = EMPTY, progress = { findings: 0, noted: false }) {
  function* body(transaction, call) {
    const find = (finding) => {
      if (progress.findings >= FINDINGS_MAX) return;
      progress.findings += 1;
      call.push(utf8(finding));
    };
    const asked = { lower };
    const { keys, values } = yield* readSlice(transaction.objectStore(ROWS), asked, CHECK_ROWS_PER_VIEW);
    const long = [];
    for (const [at, row] of keys.entries()) {
      if (!hasCategory(keyBytes(row))) find("a row's key begins with no category");
      try {
        const value = stored(values[at]);
        if (typeof value === "number") long.push({ row, bytes: value, pieces: 0 });
      } catch ({ message }) {
        find(message);
      }
    }
    const upper = keys.length < CHECK_ROWS_PER_VIEW ? undefined : after(keys.at(-1));
    yield* checkPieces(transaction, long, lower, upper, progress, find);
    for (const { bytes, pieces } of long) {
      const expected = Math.ceil(bytes / CHUNK_BYTES);
      if (pieces !== expected) find(`a payload of ${bytes} bytes has ${pieces} of its ${expected} pieces`);
    }
    return upper && progress.findings < FINDINGS_MAX ? check(upper, progress) : 0;
  }
  return { stores: [ROWS, CHUNKS, META], turn: TURN.shared, body };
}

/** Looks at the pieces of the rows from `lower` up to, but without, `upper`; `long` are those that have any. */
function* checkPieces(transaction, long, lower, upper, progress, find) {
  const chunks = transaction.objectStore(CHUNKS);
  let range = piecesOfRows(lower, upper);
  // Rows and pieces come in the same order, so one pass over both is enough.
  let current = 0;
  for (;;) {
    const asked = chunks.getAllKeys(range, CHUNKS_PER_REQUEST);
    const values = yield chunks.getAll(range, CHUNKS_PER_REQUEST);
    const keys = yield asked;
    for (const [at, key] of keys.entries()) {
      if (!Array.isArray(key) || key.length !== 2 || !Number.isInteger(key[1]) || key[1] < 0) {
        throw corrupt("the key of a piece is not a row's key and an index");
      }
      const row = keyBytes(key[0]);
      while (current < long.length && indexedDB.cmp(long[current].row, row) < 0) current += 1;
      const payload = long[current];
      if (!payload || indexedDB.cmp(payload.row, row) !== 0) {
        find("a piece of a payload has no row");
      } else if (lengthOf(values[at]) === Math.min(payload.bytes - key[1] * CHUNK_BYTES, CHUNK_BYTES)) {
        payload.pieces += 1;
      } else {
        find("a piece of a payload has a wrong length");
      }
    }
    if (keys.length > 0 && !progress.noted) {
      progress.noted = true;
      if ((yield transaction.objectStore(META).getKey(NOTE_KEY)) === undefined) {
        find("there are pieces of payloads, but not the note that says so");
      }
    }
    if (keys.length < CHUNKS_PER_REQUEST || progress.findings >= FINDINGS_MAX) return;
    range = within(keys.at(-1), beforePieces(upper), true);
  }
}

/** IndexedDB gives room back by itself; what is left to do is to forget that there were pieces. */
const compact = () => ({
  stores: [META, CHUNKS],
  durability: "relaxed",
  turn: TURN.alone,
  *body(transaction) {
    const some = yield transaction.objectStore(CHUNKS).getKey(piecesOfRows(EMPTY));
    if (some === undefined) transaction.objectStore(META).delete(NOTE_KEY);
    return 0;
  },
});

/** Whether nothing has ever been written; a record that is missing beside data is damage. */
function* isNew(transaction) {
  const [meta, rows] = [transaction.objectStore(META), transaction.objectStore(ROWS)];
  const asked = [meta.get(RECORD_KEY), meta.getKey(within(EMPTY)), rows.getKey(within(EMPTY))];
  const record = valueBytes(yield asked[0]);
  const [notes, data] = [yield asked[1], yield asked[2]];
  if (record) return false;
  if (notes === undefined && data === undefined) return true;
  throw corrupt("the job's record is missing");
}

/** Makes sure that the job has its record; writes the first one into a database that is empty. */
function ensure(request) {
  const [creates, record] = [request.flag(), request.bytes()];
  const stores = [META, ROWS];
  const write = {
    stores,
    durability: "relaxed",
    *body(transaction) {
      // Somebody else may have been faster.
      if (yield* isNew(transaction)) transaction.objectStore(META).put(record.slice(), RECORD_KEY);
    },
  };
  function* body(transaction) {
    if (!(yield* isNew(transaction))) return 0;
    if (creates) return write;
    // Whoever began to create it did not come to the end.
    throw new Failure(FAULT.missing, "the job has not been created");
  }
  return { stores, body };
}

const TASKS = {
  [CALL.ensure]: ensure,
  [CALL.get]: get,
  [CALL.page]: page,
  [CALL.count]: count,
  [CALL.categories]: categories,
  [CALL.apply]: apply,
  [CALL.check]: () => check(),
  [CALL.compact]: compact,
};

/** The task of a call; none if the call needs no transaction. */
export const taskOf = (code, request) => TASKS[code]?.(new Reader(request));
