// The line between a root and its worker: starts it, and starts it again when it has died; sends calls in
// the order in which they are made; sees to it that each is answered. Never repeats a call: when the worker
// dies, nobody knows what became of those that were under way.

import { isDeath, PersistencyError } from "./error.js";
import { pagePort, workerPort } from "./port.js";
import { MEMORY, wasmAddress } from "./protocol.js";
import { lost, now, Session, timedOut } from "./session.js";
import { Writer } from "./wire.js";

/** Milliseconds that a call may be late before the worker is asked whether it is alive: it needs five itself. */
const LATE_MS = 6_000;
/** Milliseconds between two looks for calls that are late. */
const LOOK_MS = 500;

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
  /** The session that is being started, and whether it is not wanted any more. */
  #coming;
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
    if (this.#starting) {
      this.#unwanted = true;
      // A page that comes back tries again.
      if (this.#restingSince === undefined) this.#refuse(lost(reason));
      this.#coming?.die(reason);
    }
    this.#session?.die(reason);
  }

  /** Ends the worker for good; who waits for one is answered `error`. */
  close(error) {
    this.#refuse(error);
    this.end(error.message);
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
    this.#unwanted = false;
    // Also while it starts: a page that rests must not come to hold anything.
    if (this.mode === "worker") globalThis.addEventListener?.("pagehide", this.#hide);
    try {
      const session = await this.#open();
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
      if (this.#restingSince !== undefined) return;
      if (!this.#unwanted) this.#refuse(error);
      // Who came when it had been given up waits for the next one.
      else if (this.#waiting.size > 0) void this.#restart();
    }
  }

  /** Answers everybody who waits for a worker; nothing of that has been sent to any. */
  #refuse(error) {
    const told = isDeath(error) ? new PersistencyError("Backend", error.message, { retryable: true }) : error;
    this.#failed(told);
    for (const call of this.#leave()) call.fail(told);
  }

  #leave() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }

  async #open() {
    const events = { died: (session) => this.#died(session), event: this.#event };
    if (this.mode === "page") return this.#openHere(events);
    const started = this.#coming = new Session(events);
    try {
      started.use(workerPort(this.#options, started.receive, started.failed));
      await started.hello(this.#root, this.#options, this.#compile());
      return started;
    } catch (error) {
      // Only one that could not be loaded at all is worth another try elsewhere.
      if (this.#options.worker !== "auto" || started.heard || this.#unwanted) throw error;
      const session = await this.#openHere(events).catch(() => { throw error; });
      this.mode = "page";
      console.warn(`persistency runs in the page: ${error.message}`);
      return session;
    }
  }

  async #openHere(events) {
    if (this.#spent) throw new PersistencyError("Backend", "the page's own instance has failed: reload the page");
    const session = this.#coming = new Session(events);
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
