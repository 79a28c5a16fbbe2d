// The Web Worker: holds the wasm instance, answers the page's calls, and says so when it can no more.
// Decides nothing; what a call means is the crate's business.

import init, { Root, version } from "./wasm/persistency.js";
import { PROTOCOL } from "./wire.js";

/** Handles by number: a page cannot hold a wasm object. */
const jobs = new Map();
let nextHandle = 1;
let root;

const operations = {
  async open(name, wasmUrl) {
    try {
      await init(wasmUrl === undefined ? undefined : { module_or_path: wasmUrl });
    } catch (error) {
      throw { kind: "Unsupported", message: `the wasm module could not be loaded: ${error.message}` };
    }
    root = Root.open(name);
    return { protocol: PROTOCOL, version: version() };
  },
  async openJob(id) {
    const job = await root.openJob(id);
    const handle = nextHandle++;
    jobs.set(handle, job);
    return handle;
  },
  release(handle) {
    // Freed by the glue once it is garbage: a call on it may still be under way.
    jobs.delete(handle);
  },
  closeJob: (id) => root.closeJob(id),
  dropJob: (id) => root.dropJob(id),
  listJobs: () => root.listJobs(),
  close: () => root.close(),
  job: (handle, method, ...args) => jobs.get(handle)[method](...args),
};

/** A wasm instance that has trapped must not be called again: what it holds is no longer sound. */
const isFatal = (error) => error instanceof WebAssembly.RuntimeError;

function die(error) {
  self.postMessage({ fatal: String(error.message ?? error) });
  self.close();
}

/** The fields of an error as they can be posted. */
function fields(error) {
  if (typeof error?.kind === "string") return error;
  return { kind: "Backend", message: String(error?.message ?? error), outcome: "Unknown" };
}

self.addEventListener("message", async ({ data: { id, operation, args } }) => {
  try {
    const value = await operations[operation](...args);
    const transfer = value instanceof Uint8Array ? [value.buffer] : [];
    self.postMessage({ id, value }, transfer);
  } catch (error) {
    if (isFatal(error)) die(error);
    else self.postMessage({ id, error: fields(error) });
  }
});

// A trap outside a call, in one of the crate's own tasks, arrives here.
self.addEventListener("error", ({ error }) => isFatal(error) && die(error));
self.addEventListener("unhandledrejection", ({ reason }) => isFatal(reason) && die(reason));
