// What page and worker of one version of the package have in common, and those of another have not.
// Says nothing of what crosses; that is wire.js.

/** The version of the frames; page and worker must have the same. */
const PROTOCOL = 2;
/** Set in that number where the worker knows the layers. */
const WITH_LAYERS = 0x100;

/** What this page and its worker speak. */
export const SPOKEN = LAYERS ? PROTOCOL | WITH_LAYERS : PROTOCOL;
