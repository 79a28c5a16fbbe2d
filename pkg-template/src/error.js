// The one error type of the package. Never shows a key or a payload.

/** A failure of a persistency operation; programs should match on `kind`, the message is for people. */
export class PersistencyError extends Error {
  /** `details` are the fields that differ from a mistake of the caller's. */
  constructor(kind, message, { outcome = "NotApplied", retryable = false, conflictIndex, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.outcome = outcome;
    this.retryable = retryable;
    if (conflictIndex !== undefined) this.conflictIndex = conflictIndex;
  }
}

// On the prototype, as the platform's own errors have it; a literal, for classes may be renamed.
PersistencyError.prototype.name = "PersistencyError";

/** The caller's mistake, found before anything was sent. */
export const invalid = (message) => new PersistencyError("InvalidArgument", message);

/** More than a limit allows. */
export const tooLarge = (what, size, max) =>
  new PersistencyError("TooLarge", `${what} of ${size} bytes, the limit is ${max}`);

/** A call on something that has been closed. */
export const closed = (what) => new PersistencyError("Closed", `the ${what} has been closed`);

/** Whether it says that a worker has died, during a call or before it was sent. */
export const isDeath = (error) =>
  error instanceof PersistencyError && error.kind === "Backend" && (error.outcome === "Unknown" || error.retryable);

/** The same failure with other words, or another outcome. */
export function changed(error, { message = error.message, outcome = error.outcome }) {
  const { kind, retryable, conflictIndex, cause } = error;
  return new PersistencyError(kind, message, { outcome, retryable, conflictIndex, cause });
}

/** What `work` returns; what it throws says where. */
export function within(where, work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PersistencyError)) throw error;
    throw changed(error, { message: `${where}: ${error.message}` });
  }
}
