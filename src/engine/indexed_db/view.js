// What a task sees of its job: the journal's operations over the buckets, remembered as far as that is sure to be true,
// else read in the task's transaction. Never decides what is read or written.

import { EMPTY, INLINE_BYTES_MAX, compare, corrupt, joined } from "./basics.js";
import { Bucket, NONE, Overlay, Sequence, isJoined, opened, rewritten } from "./format.js";

/** The object stores, by their numbers. */
export const STORES = ["meta", "rows", "chunks", "log", "journal"];
const [, ROWS, CHUNKS, , JOURNAL] = STORES;
/** Bytes of buckets that are remembered. */
const REMEMBERED_BYTES_MAX = 8 * 1024 * 1024;
/** Buckets whose bounds are remembered. */
const BOUNDS_MAX = 64 * 1024;
/** Bounds that are read together, where they are not remembered. */
const BOUNDS_TOGETHER = 256;
/** Buckets that are loaded together: 1 MiB as a rule. */
const LOADED_TOGETHER_MAX = 64;
/** Buckets that are loaded first where more may be wanted, and how many times as many next. */
const LOADED_FIRST = 2;
const LOADED_GROWTH = 4;
/** Looks at the journal that found nothing new, after which bounds are remembered beside other owners too. */
const CALM_MIN = 4;
/** Points up to which each has its bucket looked up by itself. */
const LOOKUPS_MAX = 16;

/**
 * Whether writes that might outgrow the browser's memory are made one by one. Where Firefox finds no room in the midst
 * of a transaction it takes back what it had written, carries out the requests that it already has as if nothing had
 * happened, and keeps those, though the transaction is aborted then. Only its engine has this class.
 */
const PACED = "InternalError" in globalThis;
/** Requests and their bytes that surely stay in its memory until the commit: it holds 62 pages of 32 KiB. */
const BURST_REQUESTS_MAX = 32;
const BURST_BYTES_MAX = 256 * 1024;

/** The range from `lower`, if not behind it, up to but without `upper`; the caller knows that it is not empty. */
export const within = (lower, upper, behind = false) =>
  upper === undefined ? IDBKeyRange.lowerBound(lower, behind) : IDBKeyRange.bound(lower, upper, behind, true);

/** The bytes of a key as IndexedDB gives it back. */
export function keyBytes(key) {
  if (!(key instanceof ArrayBuffer)) throw corrupt("a key is not binary");
  return new Uint8Array(key);
}

/** The keys of all pieces of one row from one of them on: an array sorts behind every number. */
const piecesOfRow = (row, from = 0) => within([row, from], [row, []]);

/** The keys of all pieces of the rows from `lower` up to, but without, `upper`. */
export const piecesOfRows = (lower, upper) => ({ lower: [lower], upper: upper && [upper] });

/** Asks for the last record at or before `key`, or for its key. */
const askLast = (store, range) =>
  "getAllRecords" in store
    ? store.getAllRecords({ query: range, direction: "prev", count: 1 })
    : store.openCursor(range, "prev");
const askLastKey = (store, range) =>
  "getAllRecords" in store
    ? store.getAllKeys({ query: range, direction: "prev", count: 1 })
    : store.openKeyCursor(range, "prev");
/** What such a request found. */
const lastOf = ({ result }) => (Array.isArray(result) ? result[0] : (result ?? undefined));
const lastKeyOf = (request) => {
  const last = lastOf(request);
  return last && keyBytes(last instanceof ArrayBuffer ? last : last.key);
};

/**
 * Keys and values of at most so many records in the order asked for.
 *
 * The forms that read from a range's end came with `getAllRecords`, and cannot be asked for themselves. That is not
 * used: taking its records apart measures slower than asking for keys and values.
 */
export function* readSlice(store, { lower, upper, reverse, keysOnly }, count) {
  const backwards = reverse && "getAllRecords" in store;
  let query = [within(lower, upper), count];
  if (backwards) {
    query = [{ query: query[0], count, direction: "prev" }];
  } else if (reverse) {
    // Finds where the slice begins, then reads it forwards: never a cursor over many records.
    const request = store.openKeyCursor(query[0], "prev");
    let cursor = yield request;
    if (cursor && count > 1) {
      cursor.advance(count - 1);
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
  return { keys: keys.map((key) => (Array.isArray(key) ? key : keyBytes(key))), values };
}

/** Buckets of which only the bounds are there yet. */
const boundsOnly = (bounds, start, end) => new Sequence(bounds, Array(bounds.length).fill(), start, end);

/** What is remembered of a job between its transactions. */
export class Memory {
  /** Whether nobody else can write, so that it stays true. */
  alone = false;
  /** The newest entry of the journal that it knows; 0 if none. */
  number = 0;
  /** What that one says of the job. */
  record;
  overlay = new Overlay();
  /** All buckets' bounds, and some of the buckets, as they are under that entry. `null` if they are too many. */
  directory;
  /** How often nothing has been new. */
  calm = 0;
  /** The round in which some of the overlay goes into buckets with each commit: up to which entry, from which key on. */
  round;
  /** Whether a transaction under way changes what buckets hold. */
  isChanging = false;

  /** Whether it can answer by itself. */
  get isTrue() {
    return this.alone && this.number > 0 && !this.isChanging;
  }

  forget() {
    this.number = 0;
    this.record = undefined;
    this.overlay = new Overlay();
    this.directory = undefined;
    this.round = undefined;
    this.isChanging = false;
  }

  /** Learns of the entries behind those that it knows; those of others may have changed the buckets. */
  learn(entries, areOurs = false) {
    const isNews = entries.length > 0 && entries.at(-1).number > this.number;
    if (isNews && !areOurs) this.directory = undefined;
    this.calm = isNews && !areOurs ? 0 : this.calm + 1;
    for (const { number, record, operations } of entries) {
      if (number <= this.number) continue;
      if (this.number > 0 && number !== this.number + 1) throw corrupt("the journal lacks an entry");
      this.overlay.replay(number, operations);
      this.number = number;
      if (record.length > 0) this.record = record;
    }
  }

  /** Learns that the buckets hold everything. */
  settle(number, record) {
    this.overlay = new Overlay();
    this.round = undefined;
    this.number = number;
    this.record = record;
  }
}

/** One task's view, in at most one transaction, which begins when something has to be asked for. */
export class View {
  /** How many writes it has been asked for. */
  writes = 0;
  #begin;
  #transaction;
  #window;
  #together = LOADED_FIRST;
  /** What has yet to be asked for, where writes are paced; and how much has been. */
  #asks = [];
  #requests = 0;
  #bytes = 0;

  constructor(memory, begin) {
    this.memory = memory;
    this.#begin = begin;
  }

  store(name) {
    this.#transaction ??= this.#begin();
    return this.#transaction.objectStore(name);
  }

  /** Asks for the journal's tail, unless it is known: what is behind the last entry that is, and that one. */
  askTail() {
    const { number, alone } = this.memory;
    if (alone && number > 0) return undefined;
    const [journal, range] = [this.store(JOURNAL), within(number)];
    return { number, request: number > 0 ? journal.getAll(range) : journal.getAllKeys(range) };
  }

  /** Learns what others have written, from what was asked for. */
  *refresh(tail = this.askTail()) {
    const { memory } = this;
    while (tail) {
      const { number } = tail;
      let values = yield tail.request;
      if (number === 0) {
        // Much of it comes faster one by one.
        const requests = values.map((key) => this.store(JOURNAL).get(key));
        values = [];
        for (const request of requests) values.push(yield request);
      }
      const entries = values.map(opened);
      // The last one known is not there any more if others have put everything into buckets.
      if (memory.number >= number && (number === 0 || entries[0]?.number === number)) return memory.learn(entries);
      // Unless another task has begun anew meanwhile, and perhaps uses already what it has learned.
      if (memory.number === number) memory.forget();
      tail = this.askTail();
    }
  }

  /** Asks for a write now or in its turn: what `ask` uses must not change until then. */
  ask(bytes, ask) {
    this.writes += 1;
    if (!PACED) return ask();
    this.#asks.push([bytes, ask]);
  }

  /** What was not asked for at once: yields each request that has to succeed before the next one is made. */
  *rest() {
    for (const [bytes, ask] of this.#asks.splice(0)) {
      this.#requests += 1;
      this.#bytes += bytes;
      const request = ask();
      if (this.#requests > BURST_REQUESTS_MAX || this.#bytes > BURST_BYTES_MAX) yield request;
    }
  }

  /** The bucket in which `key` is, or the keys right before it: its rows, its bound, and the one behind it. */
  *bucket(key, before = false) {
    let sequence = yield* this.directory();
    if (!sequence) {
      if (!this.#window?.covers(key, before)) this.#window = yield* this.#readWindow(key, before);
      sequence = this.#window;
    }
    const at = before ? sequence.before(key) : sequence.at(key);
    let bucket = sequence.buckets[at];
    if (at >= 0 && !bucket) bucket = yield* this.#loadAround(sequence, at, before);
    if (bucket) bucket.used = true;
    const { bounds, end } = sequence;
    return { bucket: bucket ?? NONE, bound: bounds[at] ?? EMPTY, end: bounds[at + 1] ?? end };
  }

  /** The buckets in which the keys are; `tail` is learned meanwhile. */
  *buckets(keys, tail) {
    const isKnown = !tail || this.memory.directory || this.memory.calm >= CALM_MIN;
    if (isKnown) yield* this.refresh(tail);
    let sequence = isKnown ? yield* this.directory() : undefined;
    if (!sequence && keys.length <= LOOKUPS_MAX) {
      const requests = keys.map((key) => askLast(this.store(ROWS), IDBKeyRange.upperBound(key)));
      if (!isKnown) yield* this.refresh(tail);
      if (requests.length > 0) yield requests.at(-1);
      return requests.map((request) => {
        const last = lastOf(request);
        return last ? new Bucket(last.value) : NONE;
      });
    }
    if (!isKnown) yield* this.refresh(tail);
    sequence ??= yield* this.#readBounds(keys);
    const places = keys.map((key) => sequence.at(key));
    const found = yield* this.#load(sequence, places);
    for (const bucket of found) bucket.used = true;
    this.#evict(sequence);
    return found;
  }

  /**
   * Writes rows of the overlay into the buckets in which they belong: all, or as many as are enough. What is remembered
   * of these is changed at once: whoever fails forgets. Returns how many there have been.
   */
  *fold(rows, bucketsEnough = Infinity, bytesEnough = Infinity) {
    if (rows.length === 0) return 0;
    const sequence = (yield* this.directory()) ?? (yield* this.#readBounds([rows[0].key, rows.at(-1).key]));
    const groups = [];
    let [from, bytes] = [0, 0];
    while (from < rows.length && !(groups.length >= bucketsEnough && bytes >= bytesEnough)) {
      const place = sequence.at(rows[from].key);
      const end = sequence.bounds[place + 1] ?? sequence.end;
      let to = from + 1;
      while (to < rows.length && (!end || compare(rows[to].key, end) < 0)) to += 1;
      groups.push({ place, rows: rows.slice(from, to) });
      for (; from < to; from++) bytes += rows[from].packed?.length ?? rows[from].key.length;
    }
    // From the last one on, so that the places of those to come stay what they are.
    while (groups.length > 0) {
      const some = groups.splice(-LOADED_TOGETHER_MAX);
      const buckets = yield* this.#load(sequence, some.map(({ place }) => place));
      for (const { place, rows: changed } of some.reverse()) this.#rewrite(sequence, place, buckets.pop(), changed);
      yield* this.rest();
      this.#evict(sequence);
    }
    return from;
  }

  /** Removes the rows from `lower` up to, but without, `upper` from the buckets. */
  *trim(lower, upper) {
    const sequence = (yield* this.directory()) ?? (yield* this.#readBounds([lower, upper]));
    const [first, last] = [sequence.at(lower), sequence.before(upper)];
    yield* this.#load(sequence, [first, last]);
    const head = (bucket) => bucket.packed(0, bucket.find(lower));
    const tail = (bucket) => bucket.packed(bucket.find(upper), bucket.length);
    /** Leaves so much of a bucket. */
    const keep = (place, ...parts) => {
      const bytes = joined(parts);
      if (bytes.length === sequence.buckets[place].bytes.length) return;
      const left = { bound: sequence.bounds[place], bucket: new Bucket(bytes) };
      this.#put(sequence, place, 1, bytes.length > 0 ? [left] : []);
    };
    if (last > first) {
      keep(last, tail(sequence.buckets[last]));
      if (last > first + 1) {
        const between = within(sequence.bounds[first + 1], sequence.bounds[last] ?? upper);
        this.ask(Infinity, () => this.store(ROWS).delete(between));
        this.#remember(sequence, first + 1, last - first - 1, []);
      }
    }
    if (first >= 0) {
      const bucket = sequence.buckets[first];
      keep(first, head(bucket), ...(last === first ? [tail(bucket)] : []));
    }
    yield* this.rest();
  }

  /** Puts a long payload's pieces, instead of any that there are. */
  putPieces(row, payload, pieceBytes) {
    const count = Math.ceil(payload.length / pieceBytes);
    const chunks = this.store(CHUNKS);
    for (let at = 0; at < count; at++) {
      const piece = payload.slice(at * pieceBytes, (at + 1) * pieceBytes);
      this.ask(piece.length + row.length, () => chunks.put(piece, [row, at]));
    }
    this.deletePieces(row, count);
  }

  deletePieces(row, from = 0) {
    const range = piecesOfRow(row, from);
    this.ask(0, () => this.store(CHUNKS).delete(range));
  }

  /** Writes what a bucket is under changed rows. */
  #rewrite(sequence, place, old, changed) {
    const buckets = rewritten(old, sequence.bounds[place] ?? EMPTY, changed, (bucket, row, { key, bytes }) => {
      const isLong = (payload) => payload > INLINE_BYTES_MAX;
      if (isLong(bucket.payloadBytes(row)) && !isLong(bytes ?? 0)) this.deletePieces(key);
    });
    let count = place < 0 ? 0 : 1;
    const next = sequence.buckets[place + 1];
    if (buckets.length === 1 && next && isJoined(buckets[0].bucket, next)) {
      buckets[0].bucket = new Bucket(joined([buckets[0].bucket.bytes, next.bytes]));
      count += 1;
    }
    this.#put(sequence, Math.max(place, 0), count, buckets);
  }

  /** Writes buckets in place of some. */
  #put(sequence, place, count, buckets) {
    const store = this.store(ROWS);
    const gone = sequence.bounds.slice(place, place + count);
    for (const bound of gone) {
      if (!buckets.some((bucket) => compare(bucket.bound, bound) === 0)) this.ask(0, () => store.delete(bound));
    }
    for (const { bound, bucket } of buckets) this.ask(bucket.bytes.length, () => store.put(bucket.bytes, bound));
    this.#remember(sequence, place, count, buckets);
  }

  #remember(sequence, place, count, buckets) {
    const bytesOf = (some) => some.reduce((sum, bucket) => sum + (bucket?.bytes.length ?? 0), 0);
    const added = buckets.map(({ bucket }) => bucket);
    sequence.bounds.splice(place, count, ...buckets.map(({ bound }) => bound));
    sequence.bytes += bytesOf(added) - bytesOf(sequence.buckets.splice(place, count, ...added));
  }

  /** All bounds, where they are remembered. */
  *directory() {
    const { memory } = this;
    if (memory.directory === undefined && (memory.alone || memory.calm >= CALM_MIN)) {
      const { number } = memory;
      const keys = yield this.store(ROWS).getAllKeys(undefined, BOUNDS_MAX + 1);
      // It may have been forgotten meanwhile.
      if (memory.number === number) {
        const bounds = keys.map(keyBytes);
        memory.directory = keys.length > BOUNDS_MAX ? null : boundsOnly(bounds);
      }
    }
    return memory.directory ?? undefined;
  }

  /** The bounds of the buckets in which some keys are, and of those between; `undefined` stands for the end. */
  *#readBounds(keys) {
    const store = this.store(ROWS);
    let [lower, upper] = [keys[0], keys[0]];
    for (const key of keys) {
      if (key && compare(key, lower) < 0) lower = key;
      if (!key || (upper && compare(key, upper) > 0)) upper = key;
    }
    const first = askLastKey(store, IDBKeyRange.upperBound(lower));
    const end = upper && store.getAllKeys(IDBKeyRange.lowerBound(upper, true), 1);
    const isRange = !upper || compare(lower, upper) < 0;
    const between = isRange && store.getAllKeys(upper ? IDBKeyRange.bound(lower, upper, true) : within(lower, undefined, true));
    yield between || end || first;
    const bounds = between ? between.result.map(keyBytes) : [];
    const start = lastKeyOf(first);
    if (start) bounds.unshift(start);
    const behind = end && end.result.length > 0 ? keyBytes(end.result[0]) : undefined;
    return boundsOnly(bounds, start, behind);
  }

  /** Reads some bounds, from the bucket on in which `key` is, or up to the one in which are the keys right before it. */
  *#readWindow(key, before) {
    const store = this.store(ROWS);
    if (before) {
      const asked = { lower: EMPTY, upper: key, reverse: true, keysOnly: true };
      const { keys } = key?.length === 0 ? { keys: [] } : yield* readSlice(store, asked, BOUNDS_TOGETHER);
      return boundsOnly(keys.reverse(), keys.length < BOUNDS_TOGETHER ? EMPTY : keys[0], key);
    }
    const first = askLastKey(store, IDBKeyRange.upperBound(key));
    const bounds = (yield store.getAllKeys(within(key, undefined, true), BOUNDS_TOGETHER)).map(keyBytes);
    const end = bounds.length < BOUNDS_TOGETHER ? undefined : bounds.pop();
    const start = lastKeyOf(first);
    return boundsOnly(start ? [start, ...bounds] : bounds, start, end);
  }

  #grow() {
    const count = this.#together;
    this.#together = Math.min(count * LOADED_GROWTH, LOADED_TOGETHER_MAX);
    return count;
  }

  /** Loads a bucket, which it returns, and some of those on the way that are not there either. */
  *#loadAround(sequence, place, before) {
    let [first, end] = [place, place + 1];
    const count = this.#grow();
    const isWanted = (at) => end - first < count && at >= 0 && at < sequence.bounds.length && !sequence.buckets[at];
    while (before && isWanted(first - 1)) first -= 1;
    while (!before && isWanted(end)) end += 1;
    const buckets = yield* this.#load(sequence, Array.from({ length: end - first }, (_, at) => first + at));
    this.#evict(sequence, first, end);
    return buckets[place - first];
  }

  /**
   * Loads the buckets at these places, as far as they are not there, and returns all of them: calls that are answered
   * meanwhile can have the sequence forget them again.
   */
  *#load(sequence, places) {
    const found = new Map(places.map((place) => [place, sequence.buckets[place]]));
    // One by one they come faster than a range of them.
    const missing = [...found.keys()].filter((place) => place >= 0 && !found.get(place));
    const requests = missing.map((place) => this.store(ROWS).get(sequence.bounds[place]));
    for (const [at, request] of requests.entries()) {
      const bucket = new Bucket(yield request);
      sequence.bytes += bucket.bytes.length - (sequence.buckets[missing[at]]?.bytes.length ?? 0);
      sequence.buckets[missing[at]] = bucket;
      found.set(missing[at], bucket);
    }
    return places.map((place) => found.get(place) ?? NONE);
  }

  /** Forgets buckets that have not been looked at lately, until those that are left may be remembered. */
  #evict(sequence, first = 0, end = 0) {
    const { buckets } = sequence;
    for (let looks = 2 * buckets.length; sequence.bytes > REMEMBERED_BYTES_MAX && looks > 0; looks--) {
      sequence.hand = (sequence.hand + 1) % buckets.length;
      const bucket = buckets[sequence.hand];
      if (!bucket || (sequence.hand >= first && sequence.hand < end)) continue;
      if (!bucket.used) {
        sequence.bytes -= bucket.bytes.length;
        buckets[sequence.hand] = undefined;
      }
      bucket.used = false;
    }
  }
}
