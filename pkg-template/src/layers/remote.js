// The page's half of a layer: objects that live in the worker, each under a number that the page gives.
// Opens one when it is first needed, and again when the worker was started anew. Never repeats a call.

import { signalOf } from "../bytes.js";
import { closed, invalid, isDeath, PersistencyError } from "../error.js";
import { Job, tenantOf } from "../job.js";
import { DEADLINE_MS } from "../limits.js";
import { lineOf, Persistency } from "../persistency.js";
import { pause, RETRIES_MAX, RETRY_MS, Steps } from "../stream.js";
import { jobClosed } from "../tenant.js";
import { OP } from "../wire.js";
import { answerOf, packed } from "./message.js";

/** The number that stands for the job or root itself, whose methods open the layers. */
const OWNER = 0;

let nextObject = 1;

/** Drops what the worker holds for objects that nobody holds any more; knows them by number only. */
const abandoned = new FinalizationRegistry((held) => leave(held));

/** A root as layers see it: they make calls about it as about a job, by the number that no job has. */
class Root {
  number = 0;
  #root;

  constructor(root) {
    this.#root = root;
    this.link = lineOf(root);
  }

  isOpen() {
    try {
      return lineOf(this.#root) === this.link;
    } catch {
      return false;
    }
  }

  async call(operation, write, signal, patient = false) {
    return lineOf(this.#root).call(operation, this.number, write, { deadlineMs: DEADLINE_MS, signal, patient });
  }
}

/** An object of a layer, in the worker. */
export class Remote {
  /** The job, or the root. */
  #owner;
  #parent;
  #method;
  #args;
  #lasts;
  #again;
  #patient;
  /** What of it is in the worker: `{ promise, number, life, answer, callers }`, the last those who wait for it. */
  #opened;
  /** The number for when this is abandoned: nothing that leads back here may be kept. */
  #held;
  #closed = false;

  /**
   * `owner` is a Job or a root, whose `method` is a layer's name, or another Remote whose `method` makes this one.
   *
   * It is opened again with the arguments that `again(answer)` gives for what the first opening answered, the same
   * ones by default. With `lasts: false` it cannot be: calls after the worker's death answer `Closed`. A `patient`
   * one may take as long as it likes to be opened.
   */
  constructor(owner, method, args = [], { lasts = true, again, patient = false } = {}) {
    this.#parent = owner instanceof Remote ? owner : undefined;
    const isRoot = owner instanceof Persistency;
    this.#owner = this.#parent ? this.#parent.#owner : isRoot ? new Root(owner) : owner;
    if (!this.#parent && !isRoot && !(owner instanceof Job)) {
      throw invalid("a layer is opened over a Job, or a Persistency, of persistency/layers");
    }
    this.#patient = patient;
    this.#method = method;
    this.#args = packed(args).slice();
    this.#lasts = lasts;
    this.#again = again;
    this.#held = { tenant: this.#parent ? this.#parent.#held.tenant : tenantOf(owner) ?? this.#owner };
    abandoned.register(this, this.#held, this);
  }

  /** Whether it takes calls. */
  get isOpen() {
    return !this.#closed && this.#owner.isOpen() && (this.#parent?.isOpen ?? true);
  }

  /** Whether what was open of it went with its worker. */
  get isLost() {
    const { opened, tenant } = this.#held;
    return opened !== undefined && opened.life !== tenant.link.life;
  }

  /** Opens it now; resolves with what opening answered. */
  async open({ signal } = {}) {
    return this.#with((opened) => opened.answer, signal);
  }

  /**
   * Calls a method; resolves with its answer. The arguments are taken before this returns.
   *
   * A `patient` call has no deadline: it waits for as long as the worker lives.
   */
  async call(method, args = [], { signal, patient } = {}) {
    let bytes = packed(args);
    const send = ({ number }) => this.#send(number, 0, method, bytes, signal, patient);
    return this.#with(send, signal, () => { bytes = bytes.slice(); });
  }

  /** Has the worker drop it; safe to repeat. Calls under way go on. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    abandoned.unregister(this);
    leave(this.#held);
  }

  /** Calls a method that makes the object of this number. */
  async #make(number, method, bytes, patient) {
    return this.#with((opened) => this.#send(opened.number, number, method, bytes, undefined, patient));
  }

  /**
   * Runs `use` with what is open in the worker: before this returns if it is known to be there, and otherwise in
   * the order of calls, of which `later` is told before this returns.
   */
  async #with(use, signal, later) {
    this.#check();
    signal?.throwIfAborted();
    if (this.#isThere(this.#opened) && this.#opened.callers === 0) return use(this.#opened);
    later?.();
    for (;;) {
      const opened = this.#opened ??= this.#open();
      opened.callers += 1;
      try {
        await unlessAborted(opened.promise, signal);
      } finally {
        opened.callers -= 1;
      }
      this.#check();
      if (this.#isThere(opened)) return use(opened);
      // It went with its worker.
      if (!this.#lasts) throw new PersistencyError("Closed", `${this.#method} went with its worker`);
      if (this.#opened === opened) this.#opened = undefined;
    }
  }

  /** Whether it has been opened in the life that the worker has now. */
  #isThere(opened) {
    return opened?.life !== undefined && opened.life === this.#held.tenant.link.life;
  }

  #open() {
    const opened = { number: nextObject, callers: 0 };
    nextObject = nextObject === 0xffff_ffff ? 1 : nextObject + 1;
    const made = this.#parent
      ? this.#parent.#make(opened.number, this.#method, this.#args, this.#patient)
      : this.#send(OWNER, opened.number, this.#method, this.#args, undefined, this.#patient);
    opened.promise = made.then((answer) => {
      opened.answer = answer;
      if (this.#again) this.#args = packed(this.#again(answer)).slice();
      this.#again = undefined;
      opened.life = this.#held.tenant.link.life;
      this.#held.opened = opened;
      // It was closed while it was opened.
      if (this.#closed) leave(this.#held);
    });
    opened.promise.catch(() => {
      if (this.#opened === opened) this.#opened = undefined;
    });
    return opened;
  }

  async #send(number, makes, method, bytes, signal, patient) {
    const reader = await this.#held.tenant.call(OP.layer, (writer) => {
      writer.count(number).count(makes).bytes(encoder.encode(method)).bytes(bytes);
    }, signal, patient);
    return answerOf(reader);
  }

  #check() {
    if (this.#closed) throw closed("layer");
    this.#parent?.#check();
    if (!this.#owner.isOpen()) throw this.#held.tenant.ended ?? (this.#owner instanceof Root ? closed("root") : jobClosed());
  }
}

const encoder = new TextEncoder();

function leave({ tenant, opened }) {
  if (!opened || opened.life !== tenant.link.life) return;
  tenant.link.tell(OP.leaveLayer, tenant.number, (writer) => writer.count(opened.number));
}

/** What the promise brings, or the signal's reason once that is aborted. */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** What is pulled from the worker item by item, by the method `next` of an object there. */
export class Pulled extends Steps {
  #open;
  #read;
  #remote;
  #items = [];
  #last;
  #retries = 0;

  /**
   * `open(last)` makes a Remote with `lasts: false` that yields what follows the item `last`, or begins if there
   * is none; where the worker dies it is asked again. The method `next` answers a list of items, an empty one at
   * the end; `read` makes of each what is yielded.
   */
  constructor(open, { signal, read = (item) => item } = {}) {
    super(() => this.#next(), signalOf({ signal }));
    this.#open = open;
    this.#read = read;
    this.#remote = open(undefined);
    // Asked for now, so that no later call overtakes it.
    this.#remote.open({ signal: this.stopped }).catch(() => {});
  }

  /** Gives up what the worker holds. */
  ended() {
    this.#remote.close();
  }

  async #next() {
    while (this.#items.length === 0) {
      try {
        this.#items = await this.#remote.call("next", [], { signal: this.stopped, patient: true });
        if (this.#items.length === 0) return { done: true, value: undefined };
        this.#retries = 0;
      } catch (error) {
        const died = isDeath(error) || this.#remote.isLost;
        if (!died || this.#retries === RETRIES_MAX || !this.#remote.isOpen) throw error;
        await pause(RETRY_MS * this.#retries, this.stopped);
        this.#retries += 1;
        this.#remote.close();
        this.#remote = this.#open(this.#last);
      }
    }
    this.#last = this.#read(this.#items.shift());
    return { done: false, value: this.#last };
  }
}
