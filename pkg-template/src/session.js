// One life of a root's worker: sends it calls, gives each its answer, and sees when it has died.
// Never starts another, and never repeats a call.

import { invalid, PersistencyError } from "./error.js";
import { unsupported } from "./port.js";
import { SPOKEN } from "./protocol.js";
import { KIND, MAY_CANCEL, OP, Reader, Writer } from "./wire.js";

/** Milliseconds that a worker has to load and say its first word. */
const START_MS = 30_000;
/** Milliseconds that one that has been asked whether it is alive has to say so: late calls and this stay below ten. */
const ALIVE_MS = 2_500;
/** Bytes of calls that are collected before they are posted without waiting for more. */
const FRAME_BYTES = 1024 * 1024;

export const now = () => performance.now();

/** One life of the worker. */
export class Session {
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
    this.#next = (number + 1) >>> 0 || 1;
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
    this.dead = error ?? lost(reason);
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
export const lost = (reason) => new PersistencyError("Backend", `the worker died: ${reason}`, { outcome: "Unknown" });

export const timedOut = (outcome) =>
  new PersistencyError("Timeout", "the deadline has passed", { outcome, retryable: true });
