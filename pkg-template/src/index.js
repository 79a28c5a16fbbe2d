// What the package exports.

import { Batch } from "./batch.js";
import { PersistencyError } from "./error.js";
import { Job, Receipt } from "./job.js";
import { Key } from "./key.js";
import { Persistency } from "./persistency.js";
import { KeyRange } from "./range.js";

export { decodeKey, key, text, u64, u8 } from "./key.js";
export { limits } from "./limits.js";
export { prefixRange } from "./range.js";
export { estimate, requestPersistence } from "./storage.js";
export { Batch, Job, Key, KeyRange, Persistency, PersistencyError, Receipt };

// Classes are renamed where the package is made small; consoles are to show these names all the same.
const names = { Batch, Job, Key, KeyRange, Persistency, PersistencyError, Receipt };
for (const [value, each] of Object.entries(names)) Object.defineProperty(each, "name", { value });

/** The version of the package, which the crate has too. */
export const version = PACKAGE_VERSION;
