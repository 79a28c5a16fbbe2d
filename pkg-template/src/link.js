// The line between a root and its worker: starts it, and starts it again when it has died; sends calls in
// the order in which they are made; sees to it that each is answered. Never repeats a call: when the worker
// dies, nobody knows what became of those that were under way.

import { PersistencyError, invalid } from "./error.js";
import { pagePort, unsupported, workerPort } from "./port.js";
import { MEMORY, SPOKEN, wasmAddress } from "./protocol.js";
import { KIND, MAY_CANCEL, OP, Reader, Writer } from "./wire.js";

/** Milliseconds that a worker has to load and say its first word. */
const START_MS = 30_000;
/** Milliseconds that a call may be late before the worker is asked whether it is alive: it needs five itself. */
const LATE_MS = 6_000;
/** Milliseconds that it has to say so; together they stay below ten. */
const ALIVE_MS = 2_500;
/** Milliseconds between two looks for calls that are late. */
const LOOK_MS = 500;
/** Bytes of calls that are collected before they are posted without waiting for more. */
const FRAME_BYTES = 1024 * 1024;

const now = () => performance.now();
/** When a call that is made now is late. */
const dueAfter = (deadlineMs) => (deadlineMs === null ? Infinity : now() + deadlineMs + LATE_MS);

/** One root's line. */
export class Link {
  /** Where the instance runs: "worker" or "page". */
  mode = "worker";
  #root;
  #options;
  /** Opens the root's jobs again on a new session. */
  #reopen;
  /** Takes events: (kind, job's number, reader). */
  #event;
  /** Told when a worker is there, when it has died, and when none could be started. */
  #live;
  #lost;
  #failed;
  #session;
  #starting = false;
  /** Calls for which there is no session yet, in order. */
  #waiting = new Set();
  #looking;
  /** Whether the page's own instance has failed, which cannot be started again. */
  #spent = false;
  /** Since when the page has been waiting in the back/forward cache. */
  #restingSince;
  /** Why the worker that is being started is not wanted any more. */
  #unwanted;
  /** A promise of the compiled wasm, which further workers are given too; of nothing where that failed. */
  #compiled;
  /** Whether it has to be the one that has everything. */
  #everything;

  constructor(root, options, { reopen, event, live, lost, failed }) {
    this.#root = root;
    this.#everything = root === MEMORY;
    this.#options = options;
    this.mode = options.worker === "none" ? "page" : "worker";
    this.#reopen = reopen;
    this.#event = event;
    this.#live = live;
    this.#lost = lost;
    this.#failed = failed;
  }

  /** Whether a worker is there. */
  get isLive() {
    return this.#session?.live === true;
  }

  /** What stands for this life of the worker, while it lives: streams end with it. */
  get life() {
    return this.isLive ? this.#session : undefined;
  }

  /** Starts the worker if it is not there; `Timeout` if there is none within the deadline. */
  start(deadlineMs = null) {
    return new Promise((resolve, reject) => {
      this.whenLive({ run: resolve, fail: reject, due: dueAfter(deadlineMs) });
    });
  }

  /**
   * Makes a call about a job or another call: `write(writer)` writes its body before this returns.
   *
   * Returns a promise of the answer's Reader. It is answered within `deadlineMs` and ten seconds, if there
   * is a deadline; an aborted one rejects with the signal's reason. One that has to wait for a worker rejects
   * with what `ended()` then answers, if anything. A `patient` one waits for as long as the worker lives,
   * which is asked about every deadline.
   */
  call(operation, about, write, { deadlineMs = null, signal, ended, patient = false } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const due = dueAfter(deadlineMs);
      const call = { operation, about, due, resolve, reject, cancel: signal !== undefined, patient };
      if (signal) this.#abortable(call, signal);
      if (this.isLive) {
        this.#session.send(call, write);
        this.#look();
        return;
      }
      // Written now, since the caller may change his buffers afterwards.
      const body = new Writer();
      write?.(body);
      call.fail = call.reject;
      call.run = (session) => {
        const error = ended?.();
        if (error) call.reject(error);
        else session.send(call, (frame) => frame.raw(body.written()));
      };
      this.#wait(call);
    });
  }

  /** Calls `run` once there is a worker, now or in the order of asking; or `fail`. Returns what gives that up. */
  whenLive(caller) {
    if (this.isLive) caller.run();
    else this.#wait(caller);
    return () => this.#waiting.delete(caller);
  }

  /** Sends a call whose answer nobody waits for, if there is somebody to send it to. */
  tell(operation, about, write) {
    if (this.isLive) this.#session.send({ operation, about }, write);
  }

  /** Ends the worker at once; what is under way is answered that its outcome is unknown. */
  end(reason) {
    if (this.#starting) this.#unwanted = reason;
    this.#session?.die(reason);
  }

  /** Has a worker started if there is none; who cannot wait for it is told by `failed`. */
  wake() {
    if (!this.isLive) this.#wait({ run() {}, fail() {}, due: Infinity });
  }

  #abortable(call, signal) {
    const abort = () => {
      this.#waiting.delete(call);
      this.#session?.cancel(call);
      call.reject(signal.reason);
    };
    const { resolve, reject } = call;
    signal.addEventListener("abort", abort, { once: true });
    const settled = (settle) => (value) => {
      signal.removeEventListener("abort", abort);
      settle(value);
    };
    call.resolve = settled(resolve);
    call.reject = settled(reject);
  }

  #wait(call) {
    this.#waiting.add(call);
    this.#look();
    if (!this.#starting && this.#restingSince === undefined) void this.#restart();
  }

  /**
   * The page goes into the back/forward cache. Nothing runs there, so a database or a transaction that its
   * worker kept open would hold up the other tabs for as long as it stays: the worker ends, as it does with
   * a page that does not come back, and the next call after its return starts another.
   */
  #hide = ({ persisted }) => {
    if (!persisted || this.#root === MEMORY) return;
    this.#restingSince = now();
    globalThis.addEventListener("pageshow", this.#show, { once: true });
    this.end("the page has been left");
  };

  #show = () => {
    const rested = now() - this.#restingSince;
    this.#restingSince = undefined;
    for (const call of this.#waiting) call.due += rested;
    if (this.#waiting.size > 0 && !this.#starting) void this.#restart();
  };

  /** Starts a session and has everybody who waits go on. */
  async #restart() {
    this.#starting = true;
    this.#unwanted = undefined;
    // Also while it starts: a page that rests must not come to hold anything.
    if (this.mode === "worker") globalThis.addEventListener?.("pagehide", this.#hide);
    try {
      const session = await this.#open();
      if (this.#unwanted !== undefined) session.die(this.#unwanted);
      if (session.dead) throw session.dead;
      this.#session = session;
      await this.#reopen((operation, about, write, due) =>
        new Promise((resolve, reject) => {
          session.send({ operation, about, due: dueAfter(due), resolve, reject }, write);
          this.#look();
        }), () => session.dead);
      if (session.dead) throw session.dead;
      this.#starting = false;
      session.live = true;
      this.#live();
      // One that dies under this answers the rest.
      for (const call of this.#leave()) call.run(session);
    } catch (error) {
      this.#starting = false;
      // A page that comes back tries again.
      if (this.#restingSince !== undefined) return;
      this.#failed(error);
      for (const call of this.#leave()) call.fail(error);
    }
  }

  #leave() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }

  async #open() {
    const events = { died: (session) => this.#died(session), event: this.#event };
    if (this.mode === "page") return this.#openHere(events);
    const started = new Session(events);
    try {
      started.use(workerPort(this.#options, started.receive, started.failed));
      await started.hello(this.#root, this.#options, this.#compile());
      return started;
    } catch (error) {
      // Only one that could not be loaded at all is worth another try elsewhere.
      if (this.#options.worker !== "auto" || started.heard) throw error;
      const session = await this.#openHere(events).catch(() => { throw error; });
      this.mode = "page";
      console.warn(`persistency runs in the page: ${error.message}`);
      return session;
    }
  }

  async #openHere(events) {
    if (this.#spent) throw new PersistencyError("Backend", "the page's own instance has failed: reload the page");
    const session = new Session(events);
    session.use(await pagePort(session.receive));
    // What was compiled for a worker may not have it.
    if (!this.#everything) this.#compiled = undefined;
    this.#everything = true;
    await session.hello(this.#root, this.#options, this.#compile());
    return session;
  }

  /**
   * Compiles the wasm while the worker's script is being loaded: both come from the network, and neither needs the
   * other. Who is given none loads it itself, and says what is wrong.
   */
  #compile() {
    const { wasmUrl, wasmModule } = this.#options;
    this.#compiled ??= (async () => {
      if (wasmModule) return wasmModule;
      try {
        return await WebAssembly.compileStreaming(fetch(wasmUrl ?? wasmAddress(this.#everything)));
      } catch {
        this.#compiled = undefined;
        return undefined;
      }
    })();
    return this.#compiled;
  }

  #died(session) {
    if (session !== this.#session) return;
    this.#session = undefined;
    globalThis.removeEventListener?.("pagehide", this.#hide);
    if (session.fatal && this.mode === "page") this.#spent = true;
    this.#lost();
  }

  /** Looks after late calls for as long as there are any calls. */
  #look() {
    this.#looking ??= setInterval(() => {
      const time = now();
      for (const call of this.#restingSince === undefined ? this.#waiting : []) {
        if (call.due - LATE_MS > time) continue;
        this.#waiting.delete(call);
        call.fail(timedOut("NotApplied"));
      }
      this.#session?.look(time);
      if (this.#waiting.size > 0 || this.#session?.busy) return;
      clearInterval(this.#looking);
      this.#looking = undefined;
    }, LOOK_MS);
  }
}

/** One life of the worker. */
class Session {
  /** Whether calls may be sent. */
  live = false;
  /** Why no call can be sent any more. */
  dead;
  /** Whether it died by itself. */
  fatal = false;
  /** Whether anything has come from the other side. */
  heard = false;
  #events;
  #port;
  #pending = new Map();
  #next = 1;
  #frame = new Writer();
  #scheduled = false;
  /** How it is told its first answer. */
  #greeting;
  /** When it has to have shown that it is alive. */
  #aliveBy = Infinity;

  constructor(events) {
    this.#events = events;
  }

  get busy() {
    return this.#pending.size > 0;
  }

  use(port) {
    this.#port = port;
    if (this.dead) port.close();
  }

  /** Says the first word and waits for the other side's. */
  async hello(root, { wasmUrl }, compiled) {
    let timer;
    try {
      const answer = await new Promise((resolve, reject) => {
        this.#greeting = { resolve, reject };
        if (this.dead) reject(this.dead);
        timer = setTimeout(() => this.failed(`no answer within ${START_MS / 1000} s`), START_MS);
        compiled.then((wasmModule) =>
          this.#port.post({ protocol: SPOKEN, root, wasmUrl: wasmUrl && String(wasmUrl), wasmModule })).catch(reject);
      });
      if (answer.error) throw new Reader(answer.error).error();
      if (answer.failed !== undefined) throw unsupported(answer.failed);
      const protocol = answer.hello?.[0];
      if (protocol !== SPOKEN) {
        throw unsupported(`the worker speaks protocol ${protocol}, the page ${SPOKEN}; ` +
          `serve ${WORKER_FILE} and the wasm file of the same version of the package`);
      }
    } catch (error) {
      this.die("it was not started", error);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#greeting = undefined;
    }
  }

  /** Appends a call to the frame that leaves at the end of this turn; one without `resolve` is not answered. */
  send(call, write) {
    if (this.dead) return call.reject?.(this.dead);
    const number = this.#next;
    // Wraps; a call of four billion before has been answered.
    this.#next = number === 0xffff_ffff ? 1 : number + 1;
    const frame = this.#frame;
    const before = frame.used;
    try {
      frame.count(number).byte(call.operation | (call.cancel ? MAY_CANCEL : 0)).count(call.about);
      frame.measured(write ?? (() => {}));
    } catch (error) {
      frame.used = before;
      return call.reject?.(error);
    }
    call.number = number;
    if (call.resolve) this.#pending.set(number, call);
    if (frame.used >= FRAME_BYTES) return this.#post();
    if (!this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(() => {
        this.#scheduled = false;
        this.#post();
      });
    }
  }

  cancel(call) {
    if (this.#pending.get(call.number) !== call) return;
    this.#pending.delete(call.number);
    this.send({ operation: OP.cancel, about: call.number });
  }

  /** Answers what waits with an unknown outcome, and ends the worker. */
  die(reason, error) {
    if (this.dead) return;
    this.dead = error ?? lost(`the worker died: ${reason}`);
    this.live = false;
    this.#port?.close();
    this.#greeting?.reject(this.dead);
    this.#events.died(this);
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.reject(this.dead);
  }

  look(time) {
    if (time > this.#aliveBy) return this.die("it does not answer any more");
    const late = [...this.#pending.values()].filter((call) => call.due < time);
    if (late.length === 0) return;
    // Who waits for news only is in no hurry, and a worker may be busy for a while.
    const aliveBy = time + (late.every(({ patient }) => patient) ? START_MS : ALIVE_MS);
    const asked = this.#aliveBy !== Infinity;
    this.#aliveBy = Math.min(this.#aliveBy, aliveBy);
    if (asked) return;
    const alive = () => {
      this.#aliveBy = Infinity;
      // What was asked before the question has had its time.
      for (const call of late) {
        if (call.patient) {
          call.due = now() + START_MS;
          continue;
        }
        this.#pending.delete(call.number);
        call.reject(timedOut("Unknown"));
      }
    };
    this.send({ operation: OP.ping, about: 0, due: Infinity, resolve: alive, reject() {} });
  }

  /** The other side cannot be loaded, or can no more. */
  failed = (reason) => {
    if (this.heard) this.#fail(reason);
    else this.die(reason, unsupported(`the worker could not be started: ${reason}`));
  };

  receive = (data) => {
    if (this.dead) return;
    this.heard = true;
    try {
      if (data instanceof Uint8Array) this.#answers(new Reader(data));
      else if (typeof data?.fatal === "string") this.#fail(data.fatal);
      else if (typeof data === "object" && data !== null && this.#greeting) this.#greeting.resolve(data);
      else throw invalid("unknown");
    } catch {
      this.#fail("a message could not be understood");
    }
  };

  #fail(reason) {
    this.fatal = true;
    this.die(reason);
  }

  #answers(reader) {
    while (!reader.ended) {
      const [number, kind] = [reader.count(), reader.byte()];
      const body = new Reader(reader.bytes());
      if (kind === KIND.progress || kind === KIND.ended) {
        this.#events.event(kind, number, body);
        continue;
      }
      const call = this.#pending.get(number);
      this.#pending.delete(number);
      if (kind === KIND.error) call?.reject(body.error());
      else call?.resolve(body);
    }
  }

  #post() {
    const frame = this.#frame.written();
    if (frame.length === 0 || this.dead) return;
    // The next one is often about as long.
    this.#frame = new Writer(Math.min(2 * frame.length, FRAME_BYTES));
    try {
      this.#port.post(frame, [frame.buffer]);
    } catch (error) {
      this.#fail(`a message could not be sent: ${error.message}`);
    }
  }
}

/** The worker went while a call was under way. */
const lost = (message) => new PersistencyError("Backend", message, { outcome: "Unknown" });

const timedOut = (outcome) =>
  new PersistencyError("Timeout", "the deadline has passed", { outcome, retryable: true });
