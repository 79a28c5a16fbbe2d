// What the package exports.

export { Batch } from "./batch.js";
export { PersistencyError } from "./error.js";
export { Job, Receipt } from "./job.js";
export { decodeKey, Key, key, text, u64, u8 } from "./key.js";
export { limits } from "./limits.js";
export { Persistency } from "./persistency.js";
export { KeyRange, prefixRange } from "./range.js";
export { estimate, requestPersistence } from "./storage.js";

/** The version of the package, which the crate has too. */
export const version = PACKAGE_VERSION;
