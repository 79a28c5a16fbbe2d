// Roots: sets of jobs under one name of this origin, and the one instance that a page may share.
// Knows which jobs are open; what they hold is the worker's business.

import { nameOf, utf8 } from "./bytes.js";
import { asyncDispose } from "./dispose.js";
import { changed, closed, invalid, PersistencyError, within } from "./error.js";
import { Job } from "./job.js";
import { DEADLINE_MS, limits } from "./limits.js";
import { Link } from "./link.js";
import { MEMORY } from "./protocol.js";
import { jobClosed, jobGone, optionsOf, differing, Tenant, writeOptions } from "./tenant.js";
import { KIND, OP } from "./wire.js";

const PLACES = ["auto", "required", "none"];
const OPTIONS = ["worker", "workerUrl", "wasmUrl", "wasmModule"];

/** The uncounted handle of an open job. */
let plain;
/** A root's line, unless it is closed; for layers. */
export let lineOf;

/** A set of jobs under one name of this origin, with a Web Worker of its own. */
export class Persistency {
  static #instance;

  // A static block would be taken apart for Safari 15, and every private name of the class with it.
  static #plain = (plain = (root, id) => root.#open(id).plain);
  static #line = LAYERS && (lineOf = (root) => {
    root.#check();
    return root.#link;
  });

  #root;
  #link;
  /** Open jobs, and those that are being opened or closed, by id. */
  #tenants = new Map();
  #next = 1;
  #closing;

  constructor(root, options) {
    if (options === undefined) throw invalid("a root is opened by Persistency.open()");
    this.#root = root;
    this.#link = new Link(root, options, {
      reopen: (call, died) => this.#reopen(call, died),
      event: (kind, number, reader) => this.#event(kind, number, reader),
      live: () => this.#each((tenant) => tenant.found()),
      lost: () => this.#each((tenant) => tenant.lost()),
      failed: (error) => this.#each((tenant) => tenant.refused(error)),
    });
  }

  /** Starts the worker and opens the root; `:memory:` keeps everything in memory. */
  static async open(root, options = {}) {
    const checked = openOptions(root, options);
    const persistency = new Persistency(root, checked);
    await persistency.#link.start();
    return persistency;
  }

  /** The page's one instance: opens it, or gives the one that is open on the same root. */
  static async instance(root, options = {}) {
    openOptions(root, options);
    if (Persistency.#instance && Persistency.#instance.root !== root) {
      throw invalid(`the instance is on root ${JSON.stringify(Persistency.#instance.root)}`);
    }
    if (!Persistency.#instance) {
      const opened = Persistency.open(root, options);
      const instance = { root, opened };
      Persistency.#instance = instance;
      // One that could not be opened is none.
      opened.catch(() => {
        if (Persistency.#instance === instance) Persistency.#instance = undefined;
      });
    }
    return Persistency.#instance.opened;
  }

  /** The page's one instance; `Closed` if there is none. */
  static async current() {
    if (!Persistency.#instance) throw new PersistencyError("Closed", "there is no instance");
    return Persistency.#instance.opened;
  }

  /** Closes the page's one instance and forgets it; safe to repeat. */
  static async reset() {
    const instance = Persistency.#instance;
    Persistency.#instance = undefined;
    const opened = await instance?.opened.catch(() => undefined);
    await opened?.close();
  }

  [asyncDispose]() {
    return this.close();
  }

  get root() {
    return this.#root;
  }

  get mode() {
    return this.#link.mode;
  }

  /** Opens a job, or creates it. */
  async openJob(id, options) {
    const name = idOf(id);
    const wanted = options === undefined ? undefined :
      within(`job ${JSON.stringify(id)}, openJob`, () => optionsOf(options));
    for (;;) {
      this.#check();
      const there = this.#tenants.get(id);
      if (!there) return this.#handle(await this.#start(id, name, wanted ?? optionsOf({})));
      if (there.tenant.ended) {
        // Waits for it to be through; its errors are told to who closed it.
        await there.tenant.ending?.catch(() => {});
        if (this.#tenants.get(id) === there) this.#tenants.delete(id);
        continue;
      }
      if (wanted && differing(wanted, there.tenant.options).length > 0) {
        const other = differing(wanted, there.tenant.options).join(", ");
        throw invalid(`job ${JSON.stringify(id)} is open with other options: ${other}`);
      }
      await there.opened;
      if (!there.tenant.ended) return this.#handle(there.tenant);
    }
  }

  /** The open job of this id. */
  job(id) {
    return this.#handle(this.#open(id).tenant);
  }

  hasJob(id) {
    const there = this.#tenants.get(id);
    return Boolean(there?.isOpen && !there.tenant.ended);
  }

  /** The ids of the jobs that exist, open or not, ascending. */
  async listJobs() {
    this.#check();
    return (await this.#link.call(OP.listJobs, 0, undefined, { deadlineMs: DEADLINE_MS })).strings();
  }

  /** Closes a job once everything accepted is durable. */
  async closeJob(id) {
    idOf(id);
    const there = this.#tenants.get(id);
    if (!there) return;
    if (!there.isOpen) await there.opened.catch(() => {});
    await this.#end(there, jobClosed(), OP.closeJob);
  }

  /** Deletes a job and everything in it. */
  async dropJob(id) {
    const name = idOf(id);
    this.#check();
    const there = this.#tenants.get(id);
    if (there && !there.isOpen) await there.opened.catch(() => {});
    if (there && !there.tenant.ended) return this.#end(there, jobGone(), OP.dropJob);
    await there?.tenant.ending?.catch(() => {});
    await this.#link.call(OP.dropJob, 0, (writer) => writer.bytes(name), { deadlineMs: DEADLINE_MS });
  }

  /** Closes all jobs once everything accepted is durable, then ends the worker; safe to repeat. */
  async close() {
    if (this.#closing) return this.#closing.catch(() => {});
    this.#closing = this.#close();
    return this.#closing;
  }

  /** Ends the worker at once; the next call starts another one. */
  terminate() {
    this.#link.end("it was terminated by the page");
  }

  async #close() {
    const open = [...this.#tenants.values()];
    const ended = await Promise.allSettled(open.map(async (there) => {
      if (!there.isOpen) await there.opened.catch(() => {});
      await this.#end(there, closed("root"), OP.closeJob);
    }));
    const failed = ended.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
    try {
      if (this.#link.isLive) await this.#link.call(OP.close, 0, undefined, { deadlineMs: DEADLINE_MS });
    } catch (error) {
      failed.push(error);
    }
    this.#link.close(closed("root"));
    this.#tenants.clear();
    const [first, ...others] = failed;
    const words = `${first?.message}; other jobs that failed: ${others.length}`;
    if (others.length > 0) throw changed(first, { message: words });
    if (first) throw first;
  }

  #check() {
    if (this.#closing) throw closed("root");
  }

  #open(id) {
    idOf(id);
    this.#check();
    const there = this.#tenants.get(id);
    if (this.hasJob(id)) return there;
    throw new PersistencyError("JobNotFound", `job ${JSON.stringify(id)} is not open`);
  }

  #handle(tenant) {
    tenant.handles += 1;
    return new Job(tenant, async () => {
      tenant.handles -= 1;
      const there = this.#tenants.get(tenant.id);
      if (tenant.handles === 0 && there?.tenant === tenant) await this.#end(there, jobClosed(), OP.closeJob);
    });
  }

  /** Opens a job that is not in the table. */
  async #start(id, name, options) {
    const tenant = new Tenant(this.#link, this.#next, id, options);
    this.#next += 1;
    // `plain` serves the forms of calls that name the job on the root, and is not counted as a handle.
    const there = { tenant, name, isOpen: false, plain: new Job(tenant, () => {}) };
    this.#tenants.set(id, there);
    there.opened = this.#link.call(OP.openJob, tenant.number, (writer) => {
      writeOptions(writer.bytes(name).byte(1), options);
    }, { deadlineMs: options.deadlineMs }).then((reader) => {
      tenant.generation = Uint8Array.from(reader.take(16));
      tenant.advanced(reader.number(), reader.number());
      there.isOpen = true;
    });
    try {
      await there.opened;
    } catch (error) {
      tenant.vanish(error);
      if (this.#tenants.get(id) === there) this.#tenants.delete(id);
      throw error;
    }
    return tenant;
  }

  /** Closes or drops an open job and takes it out of the table. */
  async #end(there, ended, operation) {
    const { tenant, name } = there;
    // What is committed and not yet durable needs a worker, if the last one has died.
    const owing = operation !== OP.dropJob && this.#root !== MEMORY && tenant.committedSeq > tenant.durableSeq;
    const without = owing && !tenant.ending && !tenant.ended
      ? await this.#link.start(tenant.options.deadlineMs).then(() => undefined, (error) => error)
      : undefined;
    if (!tenant.ending) {
      // Where it has ended by itself, or nobody holds it open, only its errors are left to be told.
      const needed = !tenant.ended && (operation === OP.dropJob || this.#link.isLive);
      const write = (writer) => writer.bytes(name);
      const { deadlineMs } = tenant.options;
      const last = needed ? this.#link.call(operation, 0, write, { deadlineMs }) : undefined;
      tenant.end(ended, without ? Promise.reject(without) : last).catch(() => {});
    }
    try {
      await tenant.ending;
    } finally {
      if (this.#tenants.get(tenant.id) === there) this.#tenants.delete(tenant.id);
    }
  }

  /** Opens the jobs again on a new worker, if they still live the life that they had. */
  async #reopen(call, died) {
    const open = [...this.#tenants.values()].filter(({ isOpen, tenant }) => isOpen && !tenant.ended);
    await Promise.all(open.map(async (there) => {
      const { tenant, name } = there;
      if (this.#root === MEMORY) return tenant.vanish(new PersistencyError("Closed", "the job went with its worker"));
      const { options } = tenant;
      const mode = options.mode === "create" ? "mustExist" : options.mode;
      try {
        const reader = await call(OP.openJob, tenant.number, (writer) => {
          writeOptions(writer.bytes(name).byte(1), options, mode);
        }, options.deadlineMs ?? DEADLINE_MS);
        const generation = reader.take(16);
        if (generation.some((byte, at) => byte !== tenant.generation[at])) tenant.vanish(jobGone());
        // Also one that has been closed while it was opened.
        if (tenant.ended) {
          await call(OP.closeJob, tenant.number, (writer) => writer.bytes(name), DEADLINE_MS);
          return;
        }
        tenant.advanced(reader.number(), reader.number());
      } catch (error) {
        // Of this job only: the others go on. If this worker has died too, the next one opens them all.
        if (!died()) tenant.vanish(error);
      }
    }));
  }

  #each(tell) {
    for (const { tenant } of [...this.#tenants.values()]) tell(tenant);
  }

  #event(kind, number, reader) {
    const there = [...this.#tenants.values()].find(({ tenant }) => tenant.number === number);
    if (!there) return;
    if (kind === KIND.progress) there.tenant.advanced(reader.number(), reader.number());
    else there.tenant.vanish(reader.error());
  }
}

// Every operation of a job in the form that takes the job's id on the root.
const AsyncFunction = (async () => {}).constructor;
for (const name of Object.getOwnPropertyNames(Job.prototype)) {
  if (["constructor", "id", "options", "isOpen", "close"].includes(name)) continue;
  const call = (root, id, rest) => plain(root, id)[name](...rest);
  // A job that is not open rejects where the job's own method would.
  const value = Job.prototype[name] instanceof AsyncFunction
    ? async function (id, ...rest) { return call(this, id, rest); }
    : function (id, ...rest) { return call(this, id, rest); };
  Object.defineProperty(Persistency.prototype, name, { value, writable: true, configurable: true });
}

/** The id's bytes, if it is one. */
const idOf = (id) => nameOf("job id", id, limits().jobIdBytes);

function openOptions(root, options) {
  if (utf8("root", root).length === 0) throw invalid("the root's name is empty");
  if (typeof options !== "object" || options === null) throw invalid("the options are an object");
  for (const name of Object.keys(options)) {
    if (!OPTIONS.includes(name)) throw invalid(`a root has no option "${name}"`);
  }
  const { worker = "auto" } = options;
  if (!PLACES.includes(worker)) throw invalid(`worker is one of ${PLACES.join(", ")}`);
  if (options.wasmModule !== undefined && !(options.wasmModule instanceof WebAssembly.Module)) {
    throw invalid("wasmModule is a WebAssembly.Module");
  }
  return { ...options, worker };
}
