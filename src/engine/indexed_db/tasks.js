// What is read and written inside transactions: tasks, each with its stores and a body that engine.js runs.
// Never waits for anything but its own requests, and knows nothing of connections or of what a payload means. The
// format is described in mod.rs.

import { EMPTY, FAULT, Failure, INLINE_BYTES_MAX, Reader, after, compare, corrupt, utf8 } from "./basics.js";
import { Bucket, NONE, Operations, Overlay, WRITE, merged, mergedBackwards, opened, payloadOf } from "./format.js";
import { STORES, keyBytes, piecesOfRows, readSlice, within } from "./view.js";

const [META, ROWS, CHUNKS, LOG, JOURNAL] = STORES;
/** Bytes of one piece of a long payload. */
const CHUNK_BYTES = 48 * 1024;
/** Pieces of a long payload that are asked for before the first one is told: 3 MiB. */
const CHUNKS_PER_ROUND = 64;
/**
 * Bytes of operations in the journal above which each commit puts some of them into buckets: more where there are more
 * buckets, since the more changes a bucket is written for the less each one costs.
 */
const JOURNAL_BYTES_MIN = 1024 * 1024;
const JOURNAL_BYTES_MAX = 4 * JOURNAL_BYTES_MIN;
const JOURNAL_BYTES_PER_BUCKET = 2048;
/** How many times as much is too much, so that a commit puts all of it into buckets. */
const JOURNAL_EXCESS = 2;
/** Buckets that a commit writes at least for a round, and how many times as much as it adds to the journal. */
const FOLDED_BUCKETS_MIN = 8;
const FOLDED_TIMES = 2;
/** Points that are asked for before the first answer is taken. */
const POINTS_PER_ROUND = 1024;
/** Records of a page's first slice, of which nothing is known: 8 MiB at most, long keys excepted. */
const SLICE_FIRST = 256;
/** Records of a slice at most. */
const SLICE_MAX = 1024;
/** How much larger than the one before a slice can be: sizes seen so far can mislead. */
const SLICE_GROWTH_MAX = 4;
/** Buckets that `check` looks at in one view. */
const CHECK_BUCKETS_PER_VIEW = 16;
/** Findings that are told; beyond it the looking ends. */
const FINDINGS_MAX = 100;

const decoder = new TextDecoder("utf-8", { fatal: true });
/** The key of the job's record. */
const RECORD_KEY = utf8("record");

/** How a task shares its connection; one that says nothing waits for nobody. */
export const TURN = { shared: 1, alone: 2, beside: 3 };
// What crosses; bridge.rs has the same codes.
const CALL = { ensure: 5, get: 6, page: 7, count: 8, categories: 9, apply: 10, check: 11, compact: 12 };
const VERIFY = { never: 0, whenEmpty: 1, always: 2 };

const isLong = (bytes) => bytes > INLINE_BYTES_MAX;

const isRecord = (store, key) => store === META && compare(key, RECORD_KEY) === 0;

/** The bytes of a value; `undefined` where there is none. */
function valueBytes(value) {
  if (value !== undefined && !(value instanceof Uint8Array)) throw corrupt("a value is not binary");
  return value;
}

const lengthOf = (value) => (value instanceof Uint8Array ? value.length : undefined);

const sizeOf = (stored) => (typeof stored === "number" ? stored : stored.length);

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
function* loadPieces(view, call, row, bytes) {
  const chunks = view.store(CHUNKS);
  let loaded = 0;
  const count = Math.ceil(bytes / CHUNK_BYTES);
  for (let first = 0; first < count; first += CHUNKS_PER_ROUND) {
    const length = Math.min(CHUNKS_PER_ROUND, count - first);
    // One by one they come faster than together.
    const requests = Array.from({ length }, (_, at) => chunks.get([row, first + at]));
    for (const request of requests) {
      const piece = valueBytes(yield request) ?? EMPTY;
      loaded += piece.length;
      call.append(piece);
    }
    if (loaded !== Math.min(bytes, (first + length) * CHUNK_BYTES)) {
      throw corrupt("a long payload lacks pieces or has wrong ones");
    }
  }
}

/** A task that reads, and tells the job's record of the same view if `verify` wants it. */
const reading = (verify, turn, stores, read) => ({
  stores: [...new Set([JOURNAL, ...stores])],
  turn,
  *body(view, call) {
    const number = yield* read(view, call);
    const foundNothing = number === 0 && !call.found;
    if (verify === VERIFY.always || (verify === VERIFY.whenEmpty && foundNothing)) call.record(view.memory.record);
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
function* readPoints(view, call, looks, bytesMax) {
  const { memory } = view;
  const found = [];
  const tail = view.askTail();
  const rows = looks.filter(({ store }) => store === ROWS);
  // What is remembered, if it is sure to be true, has not to be looked up.
  const unknown = tail ? rows : rows.filter(({ key }) => !memory.overlay.get(key));
  if (unknown.length === 0) yield* view.refresh(tail);
  const buckets = unknown.length > 0 ? yield* view.buckets(unknown.map(({ key }) => key), tail) : [];
  const bucketOf = new Map(unknown.map((look, at) => [look, buckets[at]]));
  let bytes = 0;
  for (let from = 0; from < looks.length; from += POINTS_PER_ROUND) {
    const round = looks.slice(from, from + POINTS_PER_ROUND);
    const requests = round.map(({ store, key }) =>
      store === ROWS || isRecord(store, key) ? undefined : view.store(store).get(key));
    const last = requests.findLast((request) => request);
    if (last) yield last;
    round.forEach((look, at) => {
      let value = look.store === ROWS ? pointOf(memory.overlay, bucketOf.get(look), look.key) : memory.record;
      if (requests[at]) value = valueBytes(requests[at].result);
      if (look.want === 0 && value !== undefined) value = EMPTY;
      bytes += value === undefined ? 0 : sizeOf(value);
      if (bytes <= bytesMax) found.push(value);
    });
  }
  if (bytes > bytesMax) return bytes;
  // A transaction, if this needs one, begins before anything is told.
  if (found.some((value, at) => typeof value === "number" && value < looks[at].want)) view.store(CHUNKS);
  for (const [at, { key, want }] of looks.entries()) {
    const value = found[at];
    // Longer than wanted is all there is to see of it, so its pieces stay where they are.
    if (typeof value === "number" && value >= want) call.push(new Uint8Array(want));
    else if (typeof value === "number") {
      call.push(EMPTY);
      yield* loadPieces(view, call, key, value);
    } else call.push(value);
  }
  return 0;
}

/** What a row holds: the payload, or the length of one that is in pieces; `undefined` where there is no row. */
function pointOf(overlay, bucket, key) {
  const row = overlay.get(key);
  if (row) return row.packed && payloadOf(row);
  const at = bucket?.find(key);
  return bucket?.holds(at, key) ? bucket.payload(at) : undefined;
}

function get(request) {
  const [verify, bytesMax, looks] = [request.byte(), request.number(), looksOf(request)];
  const stores = looks.map(({ store }) => store);
  if (looks.some(({ store, want }) => store === ROWS && want > 0)) stores.push(CHUNKS);
  const task = reading(verify, TURN.beside, stores, (view, call) => readPoints(view, call, looks, bytesMax));
  return { ...task, isRecalled: true };
}

/** Goes through the buckets of a range, and what of it each can hold, until `visit` returns whether that is enough. */
function* walk(view, { lower, upper, reverse }, visit) {
  yield* view.refresh();
  let [from, to] = [lower, upper];
  for (;;) {
    const { bucket, bound, end } = yield* view.bucket(reverse ? to : from, reverse);
    const isLast = reverse ? compare(bound, lower) <= 0 : end === undefined || (upper && compare(end, upper) >= 0);
    if (!isLast) [from, to] = reverse ? [bound, to] : [from, end];
    else [from, to] = reverse ? [lower, to] : [from, upper];
    if ((yield* visit(bucket, from, to)) || isLast) return;
    if (reverse) to = from;
    else from = to;
  }
}

/** The rows of a bucket from one key up to another, under those of the overlay. */
const rowsOf = (view, bucket, from, to, reverse = false) =>
  (reverse ? mergedBackwards : merged)(bucket, bucket.find(from), bucket.find(to), view.memory.overlay.within(from, to));

/** What bounds a page. */
class Bounded {
  rows = 0;
  #bytes = 0;

  constructor(rowsMax, bytesMax) {
    Object.assign(this, { rowsMax, bytesMax });
  }

  /** Whether a row of so many bytes belongs to the page too. */
  admits(bytes) {
    if (this.rows > 0 && (this.rows >= this.rowsMax || this.#bytes + bytes > this.bytesMax)) return false;
    this.rows += 1;
    this.#bytes += bytes;
    return true;
  }

  /** Records for the next slice: what still fits if they go on as they were, but not much more than before. */
  nextSlice(before) {
    const average = Math.max(this.#bytes / this.rows, 1);
    const fitting = Math.floor(Math.max(this.bytesMax - this.#bytes, 0) / average) + 1;
    return Math.min(fitting, before * SLICE_GROWTH_MAX, SLICE_MAX);
  }
}

/** Reads rows in order. Its number tells whether a bound ended it before the range did. */
function* pageOfRows(view, call, asked, prefix, page) {
  const { reverse, keysOnly } = asked;
  let more = 0;
  const hasPieces = (payload) => !keysOnly && isLong(payload);
  /** Whether the page admits a row: then it is told, but for a long payload's pieces. */
  function tell(key, packed, payload) {
    if (!page.admits(key.length - prefix + (keysOnly ? 0 : payload))) {
      more = 1;
      return false;
    }
    if (keysOnly || isLong(payload)) call.row(key, keysOnly ? 0 : payload);
    else call.rows(packed);
    return true;
  }
  yield* walk(view, asked, function* (bucket, from, to) {
    for (const { row, from: first, to: last } of rowsOf(view, bucket, from, to, reverse)) {
      if (row) {
        if (!row.packed) continue;
        if (!tell(row.key, row.packed, row.bytes)) return true;
        if (hasPieces(row.bytes)) yield* loadPieces(view, call, row.key, row.bytes);
        continue;
      }
      for (let step = 0; step < last - first; ) {
        const at = reverse ? last - 1 - step : first + step;
        // Neighbours are told together where they lie as they are told.
        const end = reverse || keysOnly ? at : plainUpTo(bucket, at, last, prefix, page);
        if (end > at) call.rows(bucket.packed(at, end));
        else {
          const [key, payload] = [bucket.key(at), bucket.payloadBytes(at)];
          if (!tell(key, bucket.packed(at), payload)) return true;
          if (hasPieces(payload)) yield* loadPieces(view, call, key, payload);
        }
        step += Math.max(end - at, 1);
      }
    }
    return false;
  });
  return more;
}

/** The end of the rows from `at` on that lie in the bucket with their payloads, and that the page admits. */
function plainUpTo(bucket, at, last, prefix, page) {
  while (at < last) {
    const payload = bucket.payloadBytes(at);
    if (isLong(payload) || !page.admits(bucket.keyBytes(at) - prefix + payload)) break;
    at += 1;
  }
  return at;
}

/** The same for a store whose records are not packed, in slices: IndexedDB knows a limit of records but none of bytes. */
function* pageOfValues(view, call, name, asked, page) {
  const store = view.store(name);
  let slice = SLICE_FIRST;
  for (;;) {
    // One more than wanted tells whether there is a further one.
    const limit = Math.min(slice, page.rowsMax - page.rows + 1);
    const { keys, values } = yield* readSlice(store, asked, limit);
    for (const [at, key] of keys.entries()) {
      const value = values ? valueBytes(values[at]) : EMPTY;
      if (!page.admits(key.length + value.length)) return 1;
      call.row(key, value.length, value);
    }
    if (keys.length < limit) return 0;
    if (asked.reverse) asked.upper = keys.at(-1);
    else asked.lower = after(keys.at(-1));
    if (asked.upper && compare(asked.lower, asked.upper) >= 0) return 0;
    slice = page.nextSlice(slice);
  }
}

function page(request) {
  const verify = request.byte();
  const name = STORES[request.byte()];
  const [prefix, rowsMax, bytesMax] = [request.number(), request.number(), request.number()];
  const asked = { reverse: request.flag(), keysOnly: request.flag(), ...request.bounds() };
  const bounded = new Bounded(rowsMax, bytesMax);
  return reading(verify, TURN.shared, name === ROWS ? [ROWS, CHUNKS] : [name], function* (view, call) {
    call.prefix = prefix;
    if (name === ROWS && asked.lower) return yield* pageOfRows(view, call, asked, prefix, bounded);
    yield* view.refresh();
    return asked.lower ? yield* pageOfValues(view, call, name, asked, bounded) : 0;
  });
}

function count(request) {
  const [verify, bounds] = [request.byte(), request.bounds()];
  return reading(verify, TURN.shared, [ROWS], function* (view) {
    let rows = 0;
    if (!bounds) yield* view.refresh();
    else {
      yield* walk(view, bounds, function* (bucket, lower, upper) {
        for (const { row, from, to } of rowsOf(view, bucket, lower, upper)) {
          rows += row ? (row.packed ? 1 : 0) : to - from;
        }
      });
    }
    return rows;
  });
}

/** Jumps from one category to the next, whatever they hold. */
function categories(request) {
  const [verify, bytesMax] = [request.byte(), request.number()];
  return reading(verify, TURN.shared, [ROWS], function* (view, call) {
    let [lower, bytes] = [EMPTY, 0];
    while (lower) {
      let key;
      yield* walk(view, { lower }, function* (bucket, from, to) {
        for (const { row, from: first } of rowsOf(view, bucket, from, to)) {
          if (row && !row.packed) continue;
          key = row ? row.key : bucket.key(first);
          return true;
        }
      });
      if (!key) return 0;
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
  });
}

/** Takes the writes of a decision: rows for the journal, and the rest at once, or in its turn where writes are paced. */
class Writer {
  #view;
  #record;
  #operations = new Operations();
  #ranges = [];
  /** Whether rows and journal are emptied first. */
  #empties = false;
  /** The keys of the long payloads that it has put. */
  #long = new Set();
  /** Whether it has taken any. */
  isUsed = false;
  /** Why they could not all be taken. */
  failure;

  constructor(view) {
    this.#view = view;
  }

  /** Takes all of `operations`, views as they are; `payload` is that of the one which is put apart. */
  write(operations, payload) {
    const reader = new Reader(operations);
    try {
      while (!this.failure && !reader.ended) this.#operation(reader, operations, payload);
    } catch (error) {
      this.failure = error;
    }
  }

  /** Writes the journal, and the buckets where it is to be; returns what is learned when that is complete. */
  *finish() {
    const [view, operations] = [this.#view, this.#operations];
    const { memory } = view;
    yield* view.rest();
    const { number } = memory;
    const record = this.#record ?? memory.record ?? EMPTY;
    const entries = operations.entries(number + 1, record, memory.alone);
    if (this.#empties) {
      memory.isChanging = true;
      memory.directory = undefined;
    }
    for (const { lower, upper } of this.#ranges) {
      memory.isChanging = true;
      yield* view.trim(lower, upper);
    }
    const pending = this.#empties ? new Overlay() : memory.overlay;
    const bound = yield* journalBound(view, pending.bytes + operations.bytes);
    if (this.#empties || pending.bytes + operations.bytes > JOURNAL_EXCESS * bound) {
      const all = pending.copy();
      for (const { operations: some } of entries.map(opened)) all.replay(number, some);
      return yield* fold(view, all.rows, record);
    }
    const isEntered = operations.bytes > 0 || this.#record !== undefined;
    if (isEntered) entries.forEach((entry, at) => addEntry(view, entry, number + 1 + at));
    yield* view.rest();
    // What is removed by this commit, or what takes the place of a long payload, must not be written behind it.
    const isPlain = isEntered && this.#ranges.length === 0 && this.#long.size === 0;
    const goOn = isPlain && (memory.round || pending.bytes > bound) ? yield* foldSome(view, operations.bytes) : () => {};
    return () => {
      memory.isChanging = false;
      // Not if it has been forgotten meanwhile.
      if (memory.number !== number) return;
      goOn();
      if (isEntered) memory.learn(entries.map(opened), true);
    };
  }

  #operation(reader, operations, payload) {
    const from = reader.at;
    const code = reader.byte();
    const view = this.#view;
    this.isUsed = true;
    switch (code) {
      case WRITE.put:
      case WRITE.putApart: {
        const [keyBytes, bytes] = [reader.number(), reader.number()];
        const key = reader.take(keyBytes);
        const inline = code === WRITE.put ? reader.take(bytes) : payload;
        const head = operations.subarray(from, reader.at);
        if (!isLong(bytes)) {
          this.#supersede(key);
          return code === WRITE.put ? this.#operations.add(head) : this.#operations.add(PUT, head.subarray(1), inline);
        }
        view.putPieces(key.slice(), inline, CHUNK_BYTES);
        this.#long.add(key.join());
        return this.#operations.add(PUT, operations.subarray(from + 1, from + 9 + keyBytes));
      }
      case WRITE.delete:
        this.#supersede(reader.bytes());
        return this.#operations.add(operations.subarray(from, reader.at));
      case WRITE.deleteRange: {
        const { lower, upper } = reader.bounds();
        const range = { lower: lower.slice(), upper: upper?.slice() };
        const pieces = piecesOfRows(range.lower, range.upper);
        view.ask(Infinity, () => view.store(CHUNKS).delete(within(pieces.lower, pieces.upper)));
        this.#ranges.push(range);
        return this.#operations.add(operations.subarray(from, reader.at));
      }
      case WRITE.putValue: {
        const store = STORES[reader.byte()];
        const [key, value] = [reader.bytes().slice(), reader.bytes().slice()];
        if (isRecord(store, key)) this.#record = value;
        else view.ask(key.length + value.length, () => view.store(store).put(value, key));
        return;
      }
      case WRITE.deleteValues: {
        const store = STORES[reader.byte()];
        const { lower, upper } = reader.bounds();
        const range = within(lower.slice(), upper?.slice());
        return view.ask(Infinity, () => view.store(store).delete(range));
      }
      case WRITE.empty:
        this.#operations.clear();
        this.#ranges = [];
        this.#long.clear();
        this.#empties = true;
        for (const store of [ROWS, CHUNKS, LOG]) view.ask(Infinity, () => view.store(store).clear());
    }
  }

  /** Deletes the pieces of a long payload, if the newest of the key is one; those of buckets go when these do. */
  #supersede(key) {
    const { overlay } = this.#view.memory;
    const wasLong = !this.#empties && overlay.hasLong && isLong(overlay.get(key)?.bytes ?? 0);
    if (wasLong || (this.#long.size > 0 && this.#long.delete(key.join()))) this.#view.deletePieces(key.slice());
  }
}

const PUT = Uint8Array.of(WRITE.put);

/** Adds an entry; fails if somebody else has added one of this number. */
const addEntry = (view, entry, number) => view.ask(entry.length, () => view.store(JOURNAL).add(entry, number));

/** How many bytes of operations the journal may have; `bytes` are those it will have. */
function* journalBound(view, bytes) {
  if (bytes <= JOURNAL_BYTES_MIN) return JOURNAL_BYTES_MIN;
  const buckets = (yield* view.directory())?.bounds.length ?? 0;
  return Math.min(Math.max(buckets * JOURNAL_BYTES_PER_BUCKET, JOURNAL_BYTES_MIN), JOURNAL_BYTES_MAX);
}

/**
 * Goes on with a round, in which all that earlier entries said comes into buckets: what the key order has next of it,
 * some more than this commit adds. When it is through these entries go; until then they say the same again. Returns
 * what is learned when that is complete.
 */
function* foldSome(view, bytes) {
  const { memory } = view;
  const { overlay } = memory;
  const { number, from, bytes: cut } = memory.round ?? { number: memory.number, from: EMPTY, bytes: overlay.bytes };
  const rows = overlay.within(from);
  const folded = yield* view.fold(rows, FOLDED_BUCKETS_MIN, FOLDED_TIMES * bytes);
  const isThrough = folded === rows.length;
  if (isThrough) view.ask(Infinity, () => view.store(JOURNAL).delete(IDBKeyRange.upperBound(number)));
  yield* view.rest();
  return () => {
    memory.round = isThrough ? undefined : { number, from: after(rows[folded - 1].key), bytes: cut };
    if (isThrough) overlay.cut(number, cut);
  };
}

/** Puts these rows, which are all that the journal has, into buckets, and begins the journal anew. */
function* fold(view, rows, record) {
  const { memory } = view;
  const number = memory.number + 1;
  memory.isChanging = true;
  yield* view.fold(rows);
  view.ask(Infinity, () => view.store(JOURNAL).delete(IDBKeyRange.upperBound(number, true)));
  const [entry] = new Operations().entries(number, record);
  addEntry(view, entry, number);
  yield* view.rest();
  return () => {
    memory.isChanging = false;
    if (memory.number === number - 1) memory.settle(number, record);
  };
}

const writing = (durable, body, abortable = true) =>
  ({ stores: STORES, durability: durable ? "strict" : "relaxed", turn: TURN.alone, abortable, body });

/** Reads in rounds; the decision and all writes come in the last one's callback. */
function apply(request) {
  const [durable, looks] = [request.flag(), looksOf(request)];
  return writing(durable, function* (view, call) {
    yield* readPoints(view, call, looks, Infinity);
    const writer = new Writer(view);
    call.decide(writer);
    if (writer.failure) throw writer.failure;
    return writer.isUsed ? yield* writer.finish() : 0;
  });
}

/**
 * Looks for damage, never repairs, and never names a key: rows in order and each in its bucket, every key and value as
 * the format says, every long payload with exactly its pieces, no piece without its row. Some buckets and the pieces of
 * their rows are one view; what is left is the task to go on with.
 */
function check(from = EMPTY, progress = { findings: 0 }) {
  function* body(view, call) {
    const find = (finding) => {
      if (progress.findings >= FINDINGS_MAX) return;
      progress.findings += 1;
      call.push(utf8(finding));
    };
    yield* view.refresh();
    // The bucket that began there may have been joined with the one before, or have gone.
    const before = { lower: EMPTY, upper: after(from), reverse: true, keysOnly: true };
    const [lower = EMPTY] = (yield* readSlice(view.store(ROWS), before, 1)).keys;
    // One more than is looked at tells where the last one ends.
    const { keys, values } = yield* readSlice(view.store(ROWS), { lower }, CHECK_BUCKETS_PER_VIEW + 1);
    const upper = keys[CHECK_BUCKETS_PER_VIEW];
    const long = [];
    // What is written before the first bucket, or where there is none, has no bucket yet.
    if (lower.length === 0 && keys[0]?.length !== 0) checkRows(view, NONE, EMPTY, keys[0], long, find);
    for (let at = 0; at < Math.min(keys.length, CHECK_BUCKETS_PER_VIEW); at++) {
      try {
        checkRows(view, new Bucket(values[at]), keys[at], keys[at + 1], long, find);
      } catch ({ message }) {
        find(message);
      }
    }
    yield* checkPieces(view, long, lower, upper, progress, find);
    for (const { bytes, pieces, isReplaced } of long) {
      const expected = Math.ceil(bytes / CHUNK_BYTES);
      if (pieces !== expected && !isReplaced) {
        find(`a payload of ${bytes} bytes has ${pieces} of its ${expected} pieces`);
      }
    }
    return upper && progress.findings < FINDINGS_MAX ? check(upper, progress) : 0;
  }
  return { stores: [ROWS, CHUNKS, JOURNAL], turn: TURN.shared, body };
}

/** Looks at the rows of a bucket and those that lie over it; adds the long ones, in order, to `long`. */
function checkRows(view, bucket, bound, end, long, find) {
  for (let at = 0; at < bucket.length; at++) {
    const key = bucket.key(at);
    if (compare(key, at > 0 ? bucket.key(at - 1) : bound) < (at > 0 ? 1 : 0)) find("the rows of a bucket are not in order");
    if (end && compare(key, end) >= 0) find("a row lies in a bucket that is not its own");
  }
  for (const { from, to, row, instead } of rowsOf(view, bucket, bound, end)) {
    const look = (key, bytes) => {
      if (!hasCategory(key)) find("a row's key begins with no category");
      if (isLong(bytes)) long.push({ row: key, bytes, pieces: 0 });
    };
    for (let at = from; at < to; at++) look(bucket.key(at), bucket.payloadBytes(at));
    if (row?.packed) look(row.key, row.bytes);
    // Its pieces go when the bucket is written anew.
    const wasLong = instead !== undefined && isLong(bucket.payloadBytes(instead));
    if (wasLong && !isLong(row.bytes ?? 0)) long.push({ row: row.key, bytes: 0, pieces: 0, isReplaced: true });
  }
}

/** Looks at the pieces of the rows from `lower` up to, but without, `upper`; `long` are those that have any. */
function* checkPieces(view, long, lower, upper, progress, find) {
  const chunks = view.store(CHUNKS);
  let range = piecesOfRows(lower, upper);
  // Rows and pieces come in the same order, so one pass over both is enough.
  let current = 0;
  for (;;) {
    const { keys, values } = yield* readSlice(chunks, range, CHUNKS_PER_ROUND);
    for (const [at, key] of keys.entries()) {
      if (!Array.isArray(key) || key.length !== 2 || !Number.isInteger(key[1]) || key[1] < 0) {
        throw corrupt("the key of a piece is not a row's key and an index");
      }
      const row = keyBytes(key[0]);
      while (current < long.length && compare(long[current].row, row) < 0) current += 1;
      const payload = long[current];
      if (!payload || compare(payload.row, row) !== 0) {
        find("a piece of a payload has no row");
      } else if (payload.isReplaced || lengthOf(values[at]) === Math.min(payload.bytes - key[1] * CHUNK_BYTES, CHUNK_BYTES)) {
        payload.pieces += 1;
      } else {
        find("a piece of a payload has a wrong length");
      }
    }
    if (keys.length < CHUNKS_PER_ROUND || progress.findings >= FINDINGS_MAX) return;
    const [row, index] = keys.at(-1);
    range = { lower: [row, index + 1], upper: upper && [upper] };
  }
}

/** Puts what the journal has into buckets. IndexedDB gives room back by itself. */
const compact = () =>
  writing(false, function* (view) {
    yield* view.refresh();
    const { overlay, record } = view.memory;
    return overlay.bytes > 0 ? yield* fold(view, overlay.rows, record) : 0;
  }, false);

/** Whether nothing has ever been written; a record that is missing beside data is damage. */
function* isNew(view) {
  yield* view.refresh();
  if (view.memory.record) return false;
  const asked = [META, ROWS].map((store) => view.store(store).getKey(within(EMPTY)));
  const [notes, rows] = [yield asked[0], yield asked[1]];
  if (notes === undefined && rows === undefined) return true;
  throw corrupt("the job's record is missing");
}

/** Makes sure that the job has its record; writes the first one into a database that is empty. */
function ensure(request) {
  const [creates, record] = [request.flag(), request.bytes()];
  const write = writing(false, function* (view) {
    // Somebody else may have been faster.
    return (yield* isNew(view)) ? yield* fold(view, [], record) : 0;
  }, false);
  function* body(view) {
    if (!(yield* isNew(view))) return 0;
    if (creates) return write;
    // Whoever began to create it did not come to the end.
    throw new Failure(FAULT.missing, "the job has not been created");
  }
  return { stores: [META, ROWS, JOURNAL], body };
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
