// The mechanics of IndexedDB: connections, transactions, requests, and the events of all three.
// Never creates a database, never retries or connects again by itself, awaits nothing inside a transaction, and knows
// nothing of what a row means. Rust's side of it, and what crosses, is in bridge.rs; the format is in mod.rs.

/** The version of our databases; the format itself is numbered in the job's record. */
const VERSION = 1;
const STORES = ["meta", "rows", "chunks", "log"];
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
/** Bytes of items that are gathered before they are told. */
const GATHERED_BYTES_MAX = 1024 * 1024;
/** The largest number that crosses. */
const NUMBER_MAX = 0xffff_ffff;
/** Bytes of what owners tell each other: the generation, then the seq. */
const ANNOUNCEMENT_BYTES = 24;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const EMPTY = new Uint8Array();
/** The keys of the job's record, and of the note that is there once a long payload has been written. */
const RECORD_KEY = encoder.encode("record");
const NOTE_KEY = encoder.encode("chunks");

// What crosses; bridge.rs has the same codes.
const CALL_PROBE = 0, CALL_LIST = 1, CALL_DELETE = 2, CALL_CONNECT = 3, CALL_LISTEN = 4, CALL_ENSURE = 5, CALL_GET =
  6, CALL_PAGE = 7, CALL_COUNT = 8, CALL_CATEGORIES = 9, CALL_APPLY = 10, CALL_CHECK = 11, CALL_COMPACT = 12;
const TELL_ITEMS = 0, TELL_APPEND = 1, TELL_RECORD = 2, TELL_DECIDE = 3, TELL_END = 4, TELL_FAILED = 5;
const WRITE_PUT = 0, WRITE_PUT_APART = 1, WRITE_DELETE = 2, WRITE_DELETE_RANGE = 3, WRITE_CLEAR = 4;
const FAULT_FULL = 0, FAULT_CORRUPT = 1, FAULT_TOO_NEW = 2, FAULT_TOO_LARGE = 3, FAULT_UNSUPPORTED = 4, FAULT_MISSING
  = 5, FAULT_LOST = 6, FAULT_ABORTED = 7, FAULT_OTHER = 8;
const DURING_OPENING = 0, DURING_READING = 1, DURING_WRITING = 2;
const VERIFY_NEVER = 0, VERIFY_WHEN_EMPTY = 1, VERIFY_ALWAYS = 2;

/** How a task shares its connection; one that says nothing waits for nobody. */
const TURN_SHARED = 1, TURN_ALONE = 2;

/** Why something did not succeed. */
class Failure {
  constructor(fault, message, thrown = false) {
    Object.assign(this, { fault, message, thrown, unknown: false });
  }
}

const corrupt = (message) => new Failure(FAULT_CORRUPT, message);
const aborted = (message) => new Failure(FAULT_ABORTED, message);
const lost = () => new Failure(FAULT_LOST, "the connection to the database has been closed");

/** What an exception of this name means; some mean different things where they were thrown. */
function faultOf(name, message, during) {
  // Browsers report full disks and lost servers under names that say nothing.
  if (/full disk|disk is full|disk full|not enough space/i.test(message)) return FAULT_FULL;
  const isLost = /connection (to indexed database server lost|is clos|was clos|lost)/i.test(message);
  if (during !== DURING_OPENING && isLost) return FAULT_LOST;
  switch (name) {
    case "QuotaExceededError":
      return FAULT_FULL;
    case "VersionError":
      return FAULT_TOO_NEW;
    case "SecurityError":
    case "NotSupportedError":
      return FAULT_UNSUPPORTED;
    // Private windows of some browsers refuse to open under this name; else the connection has been closed.
    case "InvalidStateError":
      return during === DURING_OPENING ? FAULT_UNSUPPORTED : FAULT_LOST;
    case "AbortError":
      return FAULT_LOST;
    case "NotFoundError":
      return FAULT_CORRUPT;
    case "NotReadableError":
    case "DataError":
    case "EncodingError":
      return during === DURING_READING ? FAULT_CORRUPT : FAULT_OTHER;
    default:
      return FAULT_OTHER;
  }
}

/** What was thrown, as a failure. A trap is none: it goes on to whoever looks after the instance. */
function failureOf(error, during) {
  if (error instanceof Failure) return error;
  if (error instanceof WebAssembly.RuntimeError) throw error;
  const { name = "Error", message = String(error) } = error ?? {};
  return new Failure(faultOf(name, message, during), `${name}: ${message}`, true);
}

/** Tells what was thrown elsewhere, as a call that failed with it. */
export function tellThrown(error, during, tell) {
  new Call(tell).fail(failureOf(error, during));
}

/** The browser's `indexedDB`; reading the property throws where an opaque origin forbids it. */
function factory() {
  try {
    const { indexedDB } = globalThis;
    if (indexedDB) return indexedDB;
  } catch (error) {
    throw Object.assign(failureOf(error, DURING_OPENING), { fault: FAULT_UNSUPPORTED });
  }
  throw new Failure(FAULT_UNSUPPORTED, "there is no IndexedDB here");
}

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

/** One call: whom to tell, and how to stop it. */
class Call {
  #tell;
  #gathered = [];
  #bytes = 0;
  /** Ends what is under way for it; told whether an answer was still awaited. */
  stop = () => {};
  /** Ends it with an answer, where it can be aborted. */
  abort = () => {};
  /** Gives its turn back, or its place in the queue. */
  leave = () => {};
  /** Whether any item has been there. */
  found = false;
  #writer;

  constructor(tell) {
    this.#tell = tell;
  }

  /** Whether somebody still waits for its answer. */
  get awaited() {
    return this.#tell !== undefined;
  }

  /** The answer's next item; `undefined` where there is none. */
  push(item) {
    this.found ||= item !== undefined;
    this.#gathered.push(item);
    this.#bytes += 4 + (item ? item.length : 0);
    if (this.#bytes > GATHERED_BYTES_MAX) this.#say(TELL_ITEMS, 0, this.#packed());
  }

  /** A further piece of the last item. */
  append(piece) {
    if (this.#bytes > 0) this.#say(TELL_ITEMS, 0, this.#packed());
    this.#say(TELL_APPEND, 0, piece);
  }

  record(record) {
    this.#say(TELL_RECORD, record ? 1 : 0, record ?? EMPTY);
  }

  /** Has the decision made from the items: before this returns, its writes have come to `writer`. */
  decide(writer) {
    this.#writer = writer;
    this.#say(TELL_DECIDE, 0, this.#packed());
  }

  end(number = 0) {
    this.#answer(TELL_END, Math.min(number, NUMBER_MAX), this.#packed());
  }

  fail({ fault, message, thrown, unknown }) {
    this.#answer(TELL_FAILED, fault | (unknown << 8) | (thrown << 16), encoder.encode(message));
  }

  /** Takes writes of the decision, as views that are good until this returns. */
  write(operations, payload) {
    this.#writer.write(new Reader(operations), payload);
  }

  /** Nobody waits for it, or looks at its answer, any more. */
  release() {
    const { awaited } = this;
    this.#tell = undefined;
    this.stop(awaited);
    this.leave();
  }

  #answer(kind, number, bytes) {
    // Whoever comes next begins before the answer is looked at.
    this.leave();
    this.#say(kind, number, bytes);
    this.#tell = undefined;
  }

  #say(kind, number, bytes) {
    try {
      this.#tell?.(kind, number, bytes);
    } catch (error) {
      // It has trapped and must not be called again.
      this.#tell = undefined;
      throw error;
    }
  }

  /** The items gathered: each behind its length plus one, 0 for none. */
  #packed() {
    const packed = new Uint8Array(this.#bytes);
    const view = new DataView(packed.buffer);
    let at = 0;
    for (const item of this.#gathered) {
      view.setUint32(at, item ? item.length + 1 : 0);
      at += 4;
      if (!item) continue;
      packed.set(item, at);
      at += item.length;
    }
    this.#gathered = [];
    this.#bytes = 0;
    return packed;
  }
}

/**
 * Whose turn it is: long reads share it and a write has it alone, first come, first served.
 *
 * The database lets a write wait for every read under way, and later gets wait behind that write; so a write is
 * not shown to it before the long reads are through.
 */
class Turns {
  #queue = [];
  #inside = new Set();
  #advancing = false;

  get calls() {
    return [...this.#inside, ...this.#queue].map(({ call }) => call);
  }

  /** Has `begin` called in the call's turn, perhaps at once. */
  enter(call, alone, begin) {
    const entry = { call, alone, begin };
    call.leave = () => {
      call.leave = () => {};
      if (!this.#inside.delete(entry)) this.#queue.splice(this.#queue.indexOf(entry), 1);
      this.#advance();
    };
    this.#queue.push(entry);
    this.#advance();
  }

  #advance() {
    // Who leaves inside `begin` is noticed by the loop that called it.
    if (this.#advancing) return;
    this.#advancing = true;
    while (this.#queue.length > 0 && this.#admits(this.#queue[0])) {
      const entry = this.#queue.shift();
      this.#inside.add(entry);
      entry.begin();
    }
    this.#advancing = false;
  }

  #admits(entry) {
    const [inside] = this.#inside;
    return !inside || !(inside.alone || entry.alone);
  }
}

/** A connection to a database, and how it ends. */
class Connection {
  /** No new transaction begins; those under way end by themselves. */
  closed = false;
  /** The transactions that have not ended; bounded by the calls under way. */
  runs = new Set();
  #database;

  constructor(database) {
    this.#database = database;
    // Somebody wants to delete or upgrade the database and waits for us.
    database.onversionchange = () => this.close();
    // The browser closed it: what has not heard of its end never will.
    database.onclose = () => {
      this.close();
      for (const run of this.runs) run.lose();
      this.runs.clear();
    };
  }

  begin(stores, durability) {
    if (this.closed) throw lost();
    const mode = durability ? "readwrite" : "readonly";
    return this.#database.transaction(stores, mode, { durability: durability ?? "default" });
  }

  close() {
    this.closed = true;
    this.#database.close();
  }
}

/**
 * One transaction under way: runs the body of a task, which is a generator that yields a request when it needs its
 * result. It goes on inside that request's success event and nowhere else, so each request is made while the
 * transaction is active. A reading one answers as soon as its body has returned, a writing one when it is complete:
 * then, and only then, it is applied.
 */
class Run {
  #call;
  #connection;
  #transaction;
  #during;
  #body;
  #done = false;
  #result;
  /** Why it is being aborted. */
  #reason;
  #goOn;

  /** A body returns the number to answer with, or the task for `goOn` to begin. */
  constructor(call, connection, { stores, durability, abortable, body }, goOn) {
    this.#call = call;
    this.#connection = connection;
    this.#during = durability ? DURING_WRITING : DURING_READING;
    this.#goOn = goOn;
    if (abortable) call.abort = () => this.#fail(aborted("the transaction was aborted on request"));
    call.stop = (awaited) => {
      if (awaited) this.#giveUp();
    };
    try {
      if (!connection) throw lost();
      this.#transaction = connection.begin(stores, durability);
    } catch (error) {
      const failure = failureOf(error, this.#during);
      if (connection && failure.fault === FAULT_LOST) connection.closed = true;
      return call.fail(failure);
    }
    connection.runs.add(this);
    // The errors of all requests bubble to it, those of writes that nobody waits for among them.
    this.#transaction.onerror = ({ target }) => this.#onError(target.error);
    this.#transaction.onabort = () => this.#onAbort();
    this.#transaction.oncomplete = () => this.#onComplete();
    this.#body = body(this.#transaction, call);
    this.#step();
  }

  /** The browser closed the connection. An event that should not come any more could still. */
  lose() {
    this.#call.fail(Object.assign(this.#reason ?? lost(), { unknown: true }));
    this.#giveUp();
  }

  #step(request) {
    if (!this.#body) return;
    try {
      let { done, value } = this.#body.next(request?.result);
      // Requests answer in the order in which they were made, so this one may have.
      while (!done && value.readyState === "done") ({ done, value } = this.#body.next(value.result));
      if (done) this.#finish(value);
      else value.onsuccess = () => this.#step(value);
    } catch (error) {
      this.#fail(failureOf(error, this.#during));
    }
  }

  #finish(result) {
    this.#body = undefined;
    this.#done = true;
    this.#result = result;
    try {
      this.#transaction.commit();
    } catch {
      // A request has failed meanwhile, and `abort` follows.
    }
    if (this.#during === DURING_READING) this.#answer();
  }

  #answer() {
    const result = this.#result;
    if (typeof result === "object") this.#goOn(result);
    else this.#call.end(result);
  }

  /** Aborts because of `failure`, which is what will be answered unless it completes nevertheless. */
  #fail(failure) {
    if (this.#during === DURING_READING) this.#call.fail(failure);
    else this.#reason ??= failure;
    this.#giveUp();
  }

  #giveUp() {
    this.#body = undefined;
    try {
      this.#transaction?.abort();
    } catch {
      // It is ending already, and its event tells how.
    }
  }

  /** A request failed. Its own error says more than the transaction's will. */
  #onError(error) {
    // The transaction is being aborted already, and `abort` follows.
    if (error?.name === "AbortError") this.#body = undefined;
    else this.#fail(failureOf(error, this.#during));
  }

  #onAbort() {
    this.#connection.runs.delete(this);
    const { error } = this.#transaction;
    this.#call.fail(this.#reason ?? (error ? failureOf(error, this.#during) : lost()));
  }

  #onComplete() {
    this.#connection.runs.delete(this);
    if (!this.#done) {
      const failure = new Failure(FAULT_OTHER, "the transaction ended before its work was done");
      this.#call.fail(Object.assign(failure, { unknown: true }));
    } else if (this.#during === DURING_WRITING) {
      this.#answer();
    }
  }
}

/** The range from `lower`, if not behind it, up to but without `upper`; the caller knows that it is not empty. */
const within = (lower, upper, behind = false) =>
  upper === undefined ? IDBKeyRange.lowerBound(lower, behind) : IDBKeyRange.bound(lower, upper, behind, true);

/** The first key behind `key`. */
function after(key) {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** The bytes of a key as IndexedDB gives it back. */
function keyBytes(key) {
  if (!(key instanceof ArrayBuffer)) throw corrupt("a key is not binary");
  return new Uint8Array(key);
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
  stores: [...new Set(verify === VERIFY_NEVER ? stores : [...stores, META])],
  turn,
  *body(transaction, call) {
    const number = yield* read(transaction, call);
    const foundNothing = number === 0 && !call.found;
    if (verify === VERIFY_ALWAYS || (verify === VERIFY_WHEN_EMPTY && foundNothing)) {
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
  const keys = (yield asked).map(keyBytes);
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
      for (const [at, key] of keys.entries()) {
        const value = values ? stored(values[at]) : EMPTY;
        if (value === undefined) throw corrupt("a row has no value");
        if (key.length < prefix) throw corrupt("a row's key is too short");
        const total = bytes + key.length - prefix + sizeOf(value);
        if (rows > 0 && (rows >= rowsMax || total > bytesMax)) return 1;
        bytes = total;
        rows += 1;
        call.push(key.subarray(prefix));
        if (typeof value === "number") yield* loadPieces(transaction, call, key, value);
        else if (values) call.push(value);
      }
      if (keys.length < limit) return 0;
      if (asked.reverse) asked.upper = keys.at(-1);
      else asked.lower = after(keys.at(-1));
      if (asked.upper && indexedDB.cmp(asked.lower, asked.upper) >= 0) return 0;
      sliceRows = nextSlice(sliceRows, rows, bytes, bytesMax);
    }
    return 0;
  }
  return view(verify, stores, read, TURN_SHARED);
}

function count(request) {
  const [verify, bounds] = [request.byte(), request.bounds()];
  function* read(transaction) {
    return bounds ? yield transaction.objectStore(ROWS).count(within(bounds.lower, bounds.upper)) : 0;
  }
  return view(verify, [ROWS], read, TURN_SHARED);
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
        throw new Failure(FAULT_TOO_LARGE, `the names of the categories have more than ${bytesMax} bytes`);
      }
      call.push(name);
      // The first key behind all that begin with the category and its end, 00 01.
      lower = key.slice(0, end);
      lower[end - 1] = 2;
    }
  }
  return view(verify, [ROWS], read, TURN_SHARED);
}

/** Asks for writes in the last callback of their transaction. What fails aborts it, so nobody waits for one. */
class Writer {
  #transaction;
  /** Whether there may be pieces, so that they must go with their rows. */
  #hasPieces;
  /** Why they could not all be asked for. */
  failure;

  constructor(transaction, hasPieces) {
    this.#transaction = transaction;
    this.#hasPieces = hasPieces;
  }

  /** Asks for all of `operations`; `payload` is that of one which is put apart. */
  write(operations, payload) {
    try {
      while (!this.failure && !operations.ended) this.#operation(operations, payload);
    } catch (error) {
      this.failure = error;
    }
  }

  #operation(operations, payload) {
    const code = operations.byte();
    const name = STORES[operations.byte()];
    const store = this.#transaction.objectStore(name);
    switch (code) {
      case WRITE_PUT:
        return this.#put(name, store, operations.bytes(), operations.bytes());
      case WRITE_PUT_APART:
        return this.#put(name, store, operations.bytes(), payload);
      case WRITE_DELETE: {
        const key = operations.bytes();
        this.#deletePieces(name, key);
        return store.delete(key);
      }
      case WRITE_DELETE_RANGE:
        return this.#deleteRange(name, store, operations.bounds());
      case WRITE_CLEAR:
        return store.clear();
    }
  }

  #put(name, store, key, payload) {
    this.#deletePieces(name, key);
    // A view would be stored with all that it views, so each value gets bytes of its own.
    if (name !== ROWS || payload.length <= INLINE_BYTES_MAX) return store.put(payload.slice(), key);
    if (!this.#hasPieces) this.#note();
    const chunks = this.#transaction.objectStore(CHUNKS);
    for (let at = 0; at < payload.length; at += CHUNK_BYTES) {
      chunks.put(payload.slice(at, at + CHUNK_BYTES), [key, at / CHUNK_BYTES]);
    }
    return store.put(payload.length, key);
  }

  #deletePieces(name, key) {
    if (name === ROWS && this.#hasPieces) this.#transaction.objectStore(CHUNKS).delete(piecesOfRow(key));
  }

  #deleteRange(name, store, { lower, upper }) {
    const range = within(lower, upper);
    if (name === ROWS && this.#hasPieces) this.#transaction.objectStore(CHUNKS).delete(piecesOfRows(lower, upper));
    store.delete(range);
    // The note is ours: it stays for as long as it is true.
    if (name === META && this.#hasPieces && range.includes(NOTE_KEY)) this.#note();
  }

  #note() {
    this.#hasPieces = true;
    this.#transaction.objectStore(META).put(EMPTY, NOTE_KEY);
  }
}

/** Reads in rounds; the decision and all writes come in the last one's callback. */
function apply(request) {
  const [durable, looks] = [request.flag(), looksOf(request)];
  return {
    stores: STORES,
    durability: durable ? "strict" : "relaxed",
    turn: TURN_ALONE,
    abortable: true,
    *body(transaction, call) {
      const note = transaction.objectStore(META).getKey(NOTE_KEY);
      yield* readPoints(transaction, call, looks, Infinity);
      const writer = new Writer(transaction, (yield note) !== undefined);
      call.decide(writer);
      if (writer.failure) throw writer.failure;
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
      call.push(encoder.encode(finding));
    };
    const asked = { lower };
    const { keys, values } = yield* readSlice(transaction.objectStore(ROWS), asked, CHECK_ROWS_PER_VIEW);
    const long = [];
    for (const [at, row] of keys.entries()) {
      if (!hasCategory(row)) find("a row's key begins with no category");
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
  return { stores: [ROWS, CHUNKS, META], turn: TURN_SHARED, body };
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
  turn: TURN_ALONE,
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
    throw new Failure(FAULT_MISSING, "the job has not been created");
  }
  return { stores, body };
}

const TASKS = {
  [CALL_ENSURE]: ensure,
  [CALL_GET]: get,
  [CALL_PAGE]: page,
  [CALL_COUNT]: count,
  [CALL_CATEGORIES]: categories,
  [CALL_APPLY]: apply,
  [CALL_CHECK]: () => check(),
  [CALL_COMPACT]: compact,
};

/** A database by its name, connected or not, and the channel on which its owners tell each other of commits. */
export class Database {
  #name;
  #connection;
  #turns = new Turns();
  #channel;
  /** Whether there has been an announcement that nobody was listening to. */
  #heard = false;
  #listeners = new Set();

  constructor(name) {
    this.#name = name;
  }

  /** Begins a call; `tell` takes its answer, in parts, and perhaps before this returns. Never throws. */
  ask(code, request, tell) {
    const call = new Call(tell);
    try {
      if (code in TASKS) this.#run(call, TASKS[code](new Reader(request)));
      else this.#manage(call, code);
    } catch (error) {
      call.fail(failureOf(error, DURING_OPENING));
    }
    return call;
  }

  /** Aborts what applies, and what waits to: each is told how it ended. */
  abort() {
    for (const call of this.#turns.calls) call.abort();
  }

  /** Tells the other owners. */
  announce(announcement) {
    try {
      this.#channel?.postMessage(announcement);
    } catch {
      // Refused only by a closed channel, and then nobody is to be told.
    }
  }

  close() {
    this.#disconnect();
    this.#channel?.close();
    this.#channel = undefined;
  }

  #run(call, task) {
    // Of the task before, if this is one to go on with.
    call.leave();
    const begin = () => new Run(call, this.#connection, task, (next) => this.#run(call, next));
    if (!task.turn) return begin();
    if (task.abortable) call.abort = () => call.fail(aborted("aborted before the transaction began"));
    this.#turns.enter(call, task.turn === TURN_ALONE, begin);
  }

  #manage(call, code) {
    const indexedDB = factory();
    switch (code) {
      case CALL_PROBE:
        return call.end();
      case CALL_LIST:
        return this.#list(call, indexedDB);
      case CALL_DELETE: {
        // Waits for as long as somebody has it open and does not let go.
        const request = indexedDB.deleteDatabase(this.#name);
        request.onsuccess = () => call.end();
        request.onerror = () => call.fail(failureOf(request.error, DURING_OPENING));
        return undefined;
      }
      case CALL_CONNECT:
        return this.#connect(call, indexedDB.open(this.#name));
      case CALL_LISTEN:
        return this.#listen(call);
    }
  }

  /** Tells what follows our name in the names of the databases that begin with it. */
  #list(call, indexedDB) {
    if (!indexedDB.databases) throw new Failure(FAULT_UNSUPPORTED, "this browser cannot list its databases");
    const tell = (infos) => {
      for (const { name, version } of infos) {
        // WebKit goes on listing a database whose creation was aborted, in the version of no database.
        if (version > 0 && name.startsWith(this.#name)) call.push(encoder.encode(name.slice(this.#name.length)));
      }
      call.end();
    };
    indexedDB.databases().then(tell, (error) => call.fail(failureOf(error, DURING_OPENING)));
  }

  /** Connects to a database that exists, in whatever version, and refuses one that is not ours. */
  #connect(call, request) {
    this.#disconnect();
    let absent = false;
    request.onupgradeneeded = () => {
      // Then the request fails and the database stays uncreated.
      absent = true;
      request.transaction.abort();
    };
    request.onerror = () => {
      const missing = new Failure(FAULT_MISSING, "there is no such database");
      call.fail(absent ? missing : failureOf(request.error, DURING_OPENING));
    };
    request.onsuccess = () => {
      const { result } = request;
      const connection = new Connection(result);
      if (result.version > VERSION) {
        const message = `the database has version ${result.version}, newer than ${VERSION}`;
        call.fail(new Failure(FAULT_TOO_NEW, message));
      } else if (!STORES.every((store) => result.objectStoreNames.contains(store))) {
        call.fail(corrupt("the database lacks an object store"));
      }
      if (!call.awaited) return connection.close();
      this.#disconnect();
      this.#connection = connection;
      this.#channel ??= this.#openChannel();
      call.end();
    };
  }

  #disconnect() {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #openChannel() {
    let channel;
    try {
      channel = new BroadcastChannel(this.#name);
    } catch {
      // Nothing relies on it: others are noticed later.
      return undefined;
    }
    channel.onmessage = ({ data }) => {
      if (!(data instanceof Uint8Array) || data.length !== ANNOUNCEMENT_BYTES) return;
      const [listener] = this.#listeners;
      this.#heard = !listener;
      this.#listeners.delete(listener);
      listener?.end();
    };
    return channel;
  }

  /** Ends when another owner announces, or has done so since this last ended. */
  #listen(call) {
    call.stop = (awaited) => {
      // An end that nobody saw is for the next listener.
      if (!awaited) this.#heard = true;
      this.#listeners.delete(call);
    };
    if (this.#heard) call.end();
    else this.#listeners.add(call);
    this.#heard = false;
  }
}
