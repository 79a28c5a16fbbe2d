// The mechanics of IndexedDB: connections, calls, their turns, transactions, and the events of all of them.
// Never creates a database, never retries or connects again by itself, awaits nothing inside a transaction, and knows
// nothing of what is read and written. That is in tasks.js; Rust's side, and what crosses, is in bridge.rs.

/** The version of our databases; the format itself is numbered in the job's record. */
const VERSION = 1;
/** The object stores, by their numbers. */
export const STORES = ["meta", "rows", "chunks", "log"];
/** Bytes of items that are gathered before they are told. */
const GATHERED_BYTES_MAX = 1024 * 1024;
/** The largest number that crosses. */
export const NUMBER_MAX = 0xffff_ffff;
/** Bytes of what owners tell each other: the generation, then the seq. */
const ANNOUNCEMENT_BYTES = 24;

export const EMPTY = new Uint8Array();
const encoder = new TextEncoder();
export const utf8 = (text) => encoder.encode(text);

// What crosses; bridge.rs has the same codes.
const CALL = { probe: 0, list: 1, delete: 2, connect: 3, listen: 4 };
const TELL = { items: 0, append: 1, record: 2, decide: 3, end: 4, failed: 5 };
export const FAULT = {
  full: 0, corrupt: 1, tooNew: 2, tooLarge: 3, unsupported: 4, missing: 5, lost: 6, aborted: 7, other: 8,
};
const DURING = { opening: 0, reading: 1, writing: 2 };

/** How a task shares its connection; one that says nothing waits for nobody. */
export const TURN = { shared: 1, alone: 2 };

/** Why something did not succeed. */
export class Failure {
  constructor(fault, message, thrown = false) {
    Object.assign(this, { fault, message, thrown, unknown: false });
  }
}

export const corrupt = (message) => new Failure(FAULT.corrupt, message);
const aborted = (message) => new Failure(FAULT.aborted, message);
const lost = () => new Failure(FAULT.lost, "the connection to the database has been closed");

/** What an exception of this name means; some mean different things where they were thrown. */
function faultOf(name, message, during) {
  // Browsers report full disks and lost servers under names that say nothing.
  if (/full disk|disk is full|disk full|not enough space/i.test(message)) return FAULT.full;
  const isLost = /connection (to indexed database server lost|is clos|was clos|lost)/i.test(message);
  if (during !== DURING.opening && isLost) return FAULT.lost;
  switch (name) {
    case "QuotaExceededError":
      return FAULT.full;
    case "VersionError":
      return FAULT.tooNew;
    case "SecurityError":
    case "NotSupportedError":
      return FAULT.unsupported;
    // Private windows of some browsers refuse to open under this name; else the connection has been closed.
    case "InvalidStateError":
      return during === DURING.opening ? FAULT.unsupported : FAULT.lost;
    case "AbortError":
      return FAULT.lost;
    case "NotFoundError":
      return FAULT.corrupt;
    case "NotReadableError":
    case "DataError":
    case "EncodingError":
      return during === DURING.reading ? FAULT.corrupt : FAULT.other;
    default:
      return FAULT.other;
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
    throw Object.assign(failureOf(error, DURING.opening), { fault: FAULT.unsupported });
  }
  throw new Failure(FAULT.unsupported, "there is no IndexedDB here");
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
    if (this.#bytes > GATHERED_BYTES_MAX) this.#say(TELL.items, 0, this.#packed());
  }

  /** A further piece of the last item. */
  append(piece) {
    if (this.#bytes > 0) this.#say(TELL.items, 0, this.#packed());
    this.#say(TELL.append, 0, piece);
  }

  record(record) {
    this.#say(TELL.record, record ? 1 : 0, record ?? EMPTY);
  }

  /** Has the decision made from the items: before this returns, its writes have come to `writer`. */
  decide(writer) {
    this.#writer = writer;
    this.#say(TELL.decide, 0, this.#packed());
  }

  end(number = 0) {
    this.#answer(TELL.end, Math.min(number, NUMBER_MAX), this.#packed());
  }

  fail({ fault, message, thrown, unknown }) {
    this.#answer(TELL.failed, fault | (unknown << 8) | (thrown << 16), utf8(message));
  }

  /** Takes writes of the decision, as views that are good until this returns. */
  write(operations, payload) {
    this.#writer.write(operations, payload);
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
    this.#during = durability ? DURING.writing : DURING.reading;
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
      if (connection && failure.fault === FAULT.lost) connection.closed = true;
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
    // One that writes commits by itself when all its requests have succeeded. Told to before that, Firefox commits
    // what the others wrote when one of them fails, and calls it complete.
    if (this.#during === DURING.writing) return;
    try {
      this.#transaction.commit();
    } catch {
      // It ends by itself.
    }
    this.#answer();
  }

  #answer() {
    const result = this.#result;
    if (typeof result === "object") this.#goOn(result);
    else this.#call.end(result);
  }

  /** Aborts because of `failure`, which is what will be answered unless it completes nevertheless. */
  #fail(failure) {
    if (this.#during === DURING.reading) this.#call.fail(failure);
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
      const failure = new Failure(FAULT.other, "the transaction ended before its work was done");
      this.#call.fail(Object.assign(failure, { unknown: true }));
    } else if (this.#during === DURING.writing) {
      this.#answer();
    }
  }
}

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

  /** Begins a call, which has a task or needs none; `tell` takes its answer, perhaps before this returns. */
  ask(code, task, tell) {
    const call = new Call(tell);
    try {
      if (task) this.#run(call, task);
      else this.#manage(call, code);
    } catch (error) {
      call.fail(failureOf(error, DURING.opening));
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
    this.#turns.enter(call, task.turn === TURN.alone, begin);
  }

  #manage(call, code) {
    const indexedDB = factory();
    switch (code) {
      case CALL.probe:
        return call.end();
      case CALL.list:
        return this.#list(call, indexedDB);
      case CALL.delete: {
        // Waits for as long as somebody has it open and does not let go.
        const request = indexedDB.deleteDatabase(this.#name);
        request.onsuccess = () => call.end();
        request.onerror = () => call.fail(failureOf(request.error, DURING.opening));
        return undefined;
      }
      case CALL.connect:
        return this.#connect(call, indexedDB.open(this.#name));
      case CALL.listen:
        return this.#listen(call);
    }
  }

  /** Tells what follows our name in the names of the databases that begin with it. */
  #list(call, indexedDB) {
    if (!indexedDB.databases) throw new Failure(FAULT.unsupported, "this browser cannot list its databases");
    const tell = (infos) => {
      for (const { name, version } of infos) {
        // WebKit goes on listing a database whose creation was aborted, in the version of no database.
        if (version > 0 && name.startsWith(this.#name)) call.push(utf8(name.slice(this.#name.length)));
      }
      call.end();
    };
    indexedDB.databases().then(tell, (error) => call.fail(failureOf(error, DURING.opening)));
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
      const missing = new Failure(FAULT.missing, "there is no such database");
      call.fail(absent ? missing : failureOf(request.error, DURING.opening));
    };
    request.onsuccess = () => {
      const { result } = request;
      const connection = new Connection(result);
      if (result.version > VERSION) {
        const message = `the database has version ${result.version}, newer than ${VERSION}`;
        call.fail(new Failure(FAULT.tooNew, message));
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
