// What page and worker of one version of the package have in common, and those of another have not.
// Says nothing of what crosses; that is wire.js.

/** The version of the frames; page and worker must have the same. */
const PROTOCOL = 2;
/** Set in that number where the worker knows the layers. */
const WITH_LAYERS = 0x100;

/** The root whose jobs live in their worker's memory and nowhere else. */
export const MEMORY = ":memory:";

/**
 * Where the wasm is: the one that has everything, roots in memory too, which a page loads for these only, and where it
 * does the work itself: there one instance is for all roots. The entry of the layers has only that one.
 */
export const wasmAddress = (everything) =>
  // Bundlers look for exactly these.
  everything ? new URL(`./${MEMORY_WASM_FILE}`, import.meta.url) : new URL(`./${WASM_FILE}`, import.meta.url);

/** What this page and its worker speak. */
export const SPOKEN = LAYERS ? PROTOCOL | WITH_LAYERS : PROTOCOL;
