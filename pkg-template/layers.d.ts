/**
 * The second entry of the package, `persistency/layers`: everything that `persistency` exports, and the layers
 * over jobs. It has a worker and a wasm module of its own, in which the layers run; the first stays small.
 *
 * A layer is opened over a {@link Job} (or, to read archives, a {@link Persistency}) of this entry: import from one of the two, not from both. It serves
 * while that handle is open. When the worker has died the next call opens it again, as it does the job.
 */
export * from "./index.js";
export * from "./layers/archive.js";
export * from "./layers/sds.js";
export * from "./layers/datastore.js";
export * from "./layers/write-behind.js";
