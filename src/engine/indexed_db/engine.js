// The mechanics of IndexedDB: connections, calls, their turns, transactions, and the events of all of them; who else has
// a job open. Never retries or connects again by itself, awaits nothing inside a transaction, and knows nothing of what
// is read and written. That is in tasks.js; Rust's side, and what crosses, is in bridge.rs.

import { DURING, EMPTY, FAULT, Failure, Gathered, INLINE_BYTES_MAX, aborted, corrupt, failureOf, lost, utf8 } from "./basics.js";
import { TURN, taskOf } from "./tasks.js";
import { Memory, STORES, View } from "./view.js";

/** The version of our databases; the format itself is numbered in the job's record. */
const VERSION = 1;
/** Bytes of items that are gathered before they are told. */
const GATHERED_BYTES_MAX = 1024 * 1024;
/** The largest number that crosses. */
const NUMBER_MAX = 0xffff_ffff;
/**
 * Calls that are answered from memory before events have their turn again; fewer while a transaction waits for its own.
 * Callers on this thread that never rest would keep them all away.
 */
const RECALLED_MAX = 1024;
const RECALLED_BESIDE_RUNS_MAX = 32;
/** Bytes of what owners tell each other: the generation, then the seq. Nothing asks to share the job. */
const ANNOUNCEMENT_BYTES = 24;
/** Milliseconds after which those who have the job alone are asked again, in case they have not heard it. */
const ASK_AGAIN_MS = 100;

// What crosses; bridge.rs has the same codes.
const CALL = { probe: 0, list: 1, delete: 2, connect: 3, listen: 4, create: 13 };
const TELL = { items: 0, append: 1, record: 2, decide: 3, end: 4, failed: 5, rows: 6 };

/** Tells what was thrown elsewhere, as a call that failed with it. */
export function tellThrown(error, during, tell) {
  new Call(undefined, tell).fail(failureOf(error, during));
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

/** What a memory is asked for that it does not hold. */
const MISSED = {};

/** One call: whom to tell, and how to stop it. */
class Call {
  #database;
  #tell;
  /** What has not been told: items, each behind its length plus one, 0 for none; or rows as they lie in buckets. */
  #gathered = new Gathered();
  #kind = TELL.items;
  #writer;
  /** Bytes of the rows' keys that are not part of the answer. */
  prefix = 0;
  /** Whether there has been any item or row. */
  found = false;
  /** Ends what is under way for it; told whether an answer was still awaited. */
  stop = () => {};
  /** Ends it with an answer, where it can be aborted. */
  abort = () => {};
  /** Gives its turn back, or its place in the queue. */
  leave = () => {};

  constructor(database, tell) {
    this.#database = database;
    this.#tell = tell;
  }

  /** Whether somebody still waits for its answer. */
  get awaited() {
    return this.#tell !== undefined;
  }

  /** Begins it; its answer comes perhaps before this returns. */
  begin(code, request) {
    this.#database.begin(this, code, request);
  }

  /** The answer's next item; `undefined` where there is none. */
  push(item) {
    this.found ||= item !== undefined;
    this.#gathered.number(item ? item.length + 1 : 0);
    if (item) this.#gathered.add(item);
    this.#gather(TELL.items);
  }

  /** Further rows, packed as in buckets. */
  rows(packed) {
    this.found = true;
    this.#gathered.add(packed);
    this.#gather(TELL.rows);
  }

  /** A row with so many bytes of payload; a long one follows in pieces. */
  row(key, bytes, payload = EMPTY) {
    this.found = true;
    this.#gathered.number(key.length).number(bytes).add(key);
    const isLong = bytes > INLINE_BYTES_MAX;
    if (!isLong) this.#gathered.add(payload);
    this.#gather(TELL.rows);
    if (isLong && payload.length > 0) this.append(payload);
  }

  /** A further piece of the last item or row. */
  append(piece) {
    this.#flush();
    this.#say(TELL.append, 0, piece);
  }

  record(record) {
    this.#say(TELL.record, record ? 1 : 0, record ?? EMPTY);
  }

  /** Has the decision made from the items: before this returns, its writes have come to `writer`. */
  decide(writer) {
    this.#writer = writer;
    this.#say(TELL.decide, 0, this.#gathered.take());
  }

  end(number = 0) {
    if (this.#kind === TELL.rows) this.#flush();
    this.#answer(TELL.end, Math.min(number, NUMBER_MAX), this.#gathered.take());
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

  #gather(kind) {
    this.#kind = kind;
    if (this.#gathered.used > GATHERED_BYTES_MAX) this.#flush();
  }

  #flush() {
    if (this.#gathered.used > 0) this.#say(this.#kind, this.prefix, this.#gathered.take());
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
}

/**
 * Whose turn it is: long reads share it and a write has it alone, first come, first served.
 *
 * The database lets a write wait for every read under way, and later gets wait behind that write; so a write is
 * not shown to it before the long reads are through. Nor is a read while a write is under way, since what is
 * remembered changes with its end.
 */
class Turns {
  #queue = [];
  #inside = new Set();
  #advancing = false;

  get calls() {
    return [...this.#inside, ...this.#queue].map(({ call }) => call);
  }

  /** Has `begin` called in the call's turn, perhaps at once. One that is beside others waits for no queue. */
  enter(call, turn, begin) {
    const entry = { call, alone: turn === TURN.alone, begin };
    call.leave = () => {
      call.leave = () => {};
      if (!this.#inside.delete(entry)) this.#queue.splice(this.#queue.indexOf(entry), 1);
      this.#advance();
    };
    if (turn === TURN.beside) this.#queue.unshift(entry);
    else this.#queue.push(entry);
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
  /** No new transaction begins; of those under way only what has been done ends by itself. */
  closed = false;
  /** The transactions that have not ended; bounded by the calls under way. */
  runs = new Set();
  #database;
  #memory;

  constructor(database, memory) {
    this.#database = database;
    this.#memory = memory;
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
    this.#memory.forget();
    for (const run of this.runs) run.interrupt();
  }
}

/**
 * One task under way, in at most one transaction, which begins when its body first asks for something: runs the body,
 * a generator that yields a request when it needs its result. It goes on inside that request's success event and
 * nowhere else, so each request is made while the transaction is active. A reading one answers as soon as its body has
 * returned, a writing one when it is complete: then, and only then, it is applied.
 */
class Run {
  #call;
  #connection;
  #memory;
  #task;
  #during;
  #view;
  #transaction;
  #body;
  #done = false;
  #result;
  /** Why it is being aborted. */
  #reason;
  /** What a request of it failed with. */
  #refused;
  #goOn;
  #end;
  /** When its transaction has ended, if it has one. */
  ended = new Promise((end) => {
    this.#end = end;
  });

  /** A body returns the number to answer with, what to learn before that is 0, or the task for `goOn` to begin. */
  constructor(call, connection, memory, task, goOn) {
    this.#call = call;
    this.#connection = connection;
    this.#memory = memory;
    this.#task = task;
    this.#during = task.durability ? DURING.writing : DURING.reading;
    this.#goOn = goOn;
    if (task.abortable) call.abort = () => this.#fail(aborted("the transaction was aborted on request"));
    call.stop = (awaited) => {
      if (awaited) this.#giveUp();
    };
    this.#view = new View(memory, () => this.#begin());
    this.#body = task.body(this.#view, call);
    this.#step();
  }

  /** The connection is being closed, and what this goes by has been forgotten: it must not go on without. */
  interrupt() {
    if (!this.#done) this.#fail(lost());
  }

  /** The browser closed the connection. An event that should not come any more could still. */
  lose() {
    this.#call.fail(Object.assign(this.#reason ?? lost(), { unknown: true }));
    this.#giveUp();
    this.#end();
  }

  #begin() {
    const { stores, durability } = this.#task;
    try {
      if (!this.#connection) throw lost();
      this.#transaction = this.#connection.begin(stores, durability);
    } catch (error) {
      const failure = failureOf(error, this.#during);
      if (this.#connection && failure.fault === FAULT.lost) this.#connection.closed = true;
      throw failure;
    }
    this.#connection.runs.add(this);
    // The errors of all requests bubble to it, those of writes that nobody waits for among them.
    this.#transaction.onerror = ({ target }) => this.#onError(target.error);
    this.#transaction.onabort = () => this.#onAbort();
    this.#transaction.oncomplete = () => this.#onComplete();
    return this.#transaction;
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
    if (this.#transaction) {
      // One that writes commits by itself when all its requests have succeeded. Told to before that, it is through one
      // way to the database and back earlier, but cannot be aborted when it is late, as it may be where others keep it
      // waiting; and of several requests Firefox commits what the others wrote when one of them fails, and calls it
      // complete.
      if (this.#during === DURING.writing && !(this.#memory.alone && this.#view.writes === 1)) return;
      try {
        this.#transaction.commit();
      } catch {
        // It ends by itself.
      }
      if (this.#during === DURING.writing) return;
    }
    this.#answer();
  }

  #answer() {
    const result = this.#result;
    if (typeof result === "object") return this.#goOn(result);
    if (typeof result === "function") result();
    this.#call.end(typeof result === "number" ? result : 0);
  }

  /** Aborts because of `failure`, which is what will be answered unless it completes nevertheless. */
  #fail(failure) {
    this.#giveUp();
    if (this.#during === DURING.reading || !this.#transaction) this.#call.fail(failure);
    else this.#reason ??= failure;
  }

  #giveUp() {
    this.#body = undefined;
    // What a write that fails has changed in it is not true, and whether it fails is not known yet.
    if (this.#during === DURING.writing) this.#memory.forget();
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
    else this.#fail(this.#refused = failureOf(error, this.#during));
  }

  #onAbort() {
    this.#ended();
    if (this.#during === DURING.writing) this.#memory.forget();
    const { error } = this.#transaction;
    this.#call.fail(this.#reason ?? (error ? failureOf(error, this.#during) : lost()));
  }

  #onComplete() {
    this.#ended();
    if (!this.#done) {
      const failure = new Failure(FAULT.other, "the transaction ended before its work was done");
      this.#memory.forget();
      this.#call.fail(Object.assign(failure, { unknown: true }));
    } else if (this.#refused) {
      // Of one that was told to commit nothing has been written then, whatever the browser calls it.
      this.#call.fail(this.#refused);
    } else if (this.#during === DURING.writing) {
      this.#answer();
    }
  }

  #ended() {
    this.#connection.runs.delete(this);
    this.#end();
  }
}

/**
 * A part in an open job: who has it open holds a lock of its name, alone or with others. Never steals one. Where there
 * are no locks nobody is ever alone.
 */
class Part {
  #name;
  #memory;
  #ask;
  #isLeft = false;
  /** Whether the lock has had to be shared. */
  isShared = false;
  /** Lets go of the lock, or of its place in the queue for one. */
  #release;

  /** `ask` asks whoever is alone to share. */
  constructor(name, memory, ask) {
    this.#name = name;
    this.#memory = memory;
    this.#ask = ask;
  }

  /** Calls `ready` when the job may be read and written: alone at once, beside others as soon as they know of it. */
  take(ready) {
    const { locks } = globalThis.navigator ?? {};
    if (!locks || this.#release) return ready();
    this.#request({ ifAvailable: true }, ready, (release) => {
      if (!release) return this.#join(ready);
      this.#memory.alone = true;
      this.#release = release;
      ready();
    });
  }

  /** Shares the job, when what has begun in the belief of being alone has `ended`. */
  async share(ended) {
    if (!this.#memory.alone) return;
    this.#memory.alone = false;
    const release = this.#release;
    // The next lock is queued for before this one is let go of, so that nobody else is alone between them.
    this.#join(() => {});
    await ended;
    release();
  }

  /** Not to be taken again. */
  leave() {
    this.#isLeft = true;
    this.#memory.alone = false;
    this.#release?.();
  }

  /** Queues for a lock that others can hold too. */
  #join(ready) {
    this.isShared = true;
    const controller = new AbortController();
    const again = setInterval(this.#ask, ASK_AGAIN_MS);
    const stop = () => clearInterval(again);
    this.#release = () => {
      stop();
      controller.abort();
    };
    this.#request({ mode: "shared", signal: controller.signal }, () => {
      stop();
      ready();
    }, (release) => {
      stop();
      this.#release = release;
      ready();
    });
    this.#ask();
  }

  /** Asks for the lock: `granted` is told how to let go of it, or nothing if others have it; `refused` if it cannot be had. */
  #request(options, refused, granted) {
    let isGranted = false;
    const hold = (lock) => {
      isGranted = true;
      if (this.#isLeft) return undefined;
      return new Promise((release) => {
        granted(lock ? release : undefined);
        if (!lock) release();
      });
    };
    navigator.locks.request(this.#name, options, hold).catch((error) => {
      if (!(error instanceof DOMException)) throw error;
      // Somebody has stolen it, or the browser has no locks for this place.
      this.#memory.alone = false;
      if (!isGranted && !this.#isLeft) refused();
    });
  }
}

/** A database by its name, connected or not, and the channel on which its owners tell each other of commits. */
export class Database {
  #name;
  #connection;
  #turns = new Turns();
  #memory = new Memory();
  #part;
  #channel;
  /** Calls answered from memory since the last event, and those that wait for the next one. */
  #recalled = 0;
  #postponed = [];
  /** Whether the next event is asked for. */
  #awaitsEvent = false;
  /** Whether there has been an announcement that nobody was listening to. */
  #heard = false;
  #listeners = new Set();

  constructor(name) {
    this.#name = name;
    this.#part = new Part(name, this.#memory, () => this.announce(EMPTY));
  }

  /** A call, to be begun; `tell` takes its answer. */
  call(tell) {
    return new Call(this, tell);
  }

  begin(call, code, request) {
    try {
      const task = taskOf(code, request);
      if (task) this.#run(call, task);
      else this.#manage(call, code);
    } catch (error) {
      call.fail(failureOf(error, DURING.opening));
    }
  }

  /** Aborts what applies, and what waits to: each is told how it ended. */
  abort() {
    for (const call of this.#turns.calls) call.abort();
  }

  /** Tells the other owners, if there may be any. */
  announce(announcement) {
    if (this.#memory.alone) return;
    try {
      this.#channel?.postMessage(announcement);
    } catch {
      // Refused only by a closed channel, and then nobody is to be told.
    }
  }

  hasOthers() {
    return this.#part.isShared;
  }

  close() {
    this.#disconnect();
    this.#part.leave();
    this.#channel?.close();
    this.#channel = undefined;
  }

  #run(call, task) {
    // Of the task before, if this is one to go on with.
    call.leave();
    if (task.isRecalled && this.#memory.isTrue) {
      if (this.#isTooOften()) return void this.#postponed.push(() => this.#run(call, task));
      if (this.#recall(call, task)) return;
    }
    const begin = () => {
      new Run(call, this.#connection, this.#memory, task, (next) => this.#run(call, next));
    };
    if (!task.turn) return begin();
    if (task.abortable) call.abort = () => call.fail(aborted("aborted before the transaction began"));
    this.#turns.enter(call, task.turn, begin);
  }

  /** Whether events must have their turn before another call is answered from memory. */
  #isTooOften() {
    const most = this.#connection?.runs.size > 0 ? RECALLED_BESIDE_RUNS_MAX : RECALLED_MAX;
    this.#recalled += 1;
    // A timer costs as much as some calls, so there is one for many.
    if (this.#recalled > most / 2 && !this.#awaitsEvent) {
      this.#awaitsEvent = true;
      setTimeout(() => {
        this.#awaitsEvent = false;
        this.#recalled = 0;
        for (const begin of this.#postponed.splice(0)) begin();
      });
    }
    return this.#recalled > most;
  }

  /** Answers from memory, without a turn, if that holds everything. */
  #recall(call, { body }) {
    const view = new View(this.#memory, () => {
      throw MISSED;
    });
    try {
      const { value } = body(view, call).next();
      call.end(value);
      return true;
    } catch (error) {
      if (error === MISSED) return false;
      throw error;
    }
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
      case CALL.create:
        return this.#create(call, indexedDB.open(this.#name, VERSION));
    }
  }

  /**
   * Creates the database, as rexie does for Rust programs, and lets go of it at once: a page would load more for rexie
   * than for all reads and writes. Never changes one that is there.
   */
  #create(call, request) {
    request.onupgradeneeded = () => {
      for (const store of STORES) request.result.createObjectStore(store);
    };
    request.onsuccess = () => {
      request.result.close();
      call.end();
    };
    request.onerror = () => call.fail(failureOf(request.error, DURING.opening));
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
      const connection = new Connection(result, this.#memory);
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
      call.stop = (awaited) => {
        if (awaited) this.close();
      };
      if (this.#channel) this.#part.take(() => call.end());
      else call.end();
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
      if (!(data instanceof Uint8Array)) return;
      if (data.length === 0) this.#part.share(Promise.all([...(this.#connection?.runs ?? [])].map((run) => run.ended)));
      if (data.length !== ANNOUNCEMENT_BYTES) return;
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
