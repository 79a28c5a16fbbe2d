// The one error type of the package. Never shows a key or a payload.

/** A failure of a persistency operation; programs should match on `kind`, the message is for people. */
export class PersistencyError extends Error {
  /** `details` are the fields of the worker's error: kind, message, outcome, retryable, conflictIndex. */
  constructor({ kind, message, outcome = "NotApplied", retryable = false, conflictIndex }, options) {
    super(message, options);
    this.kind = kind;
    this.outcome = outcome;
    this.retryable = retryable;
    if (conflictIndex !== undefined) this.conflictIndex = conflictIndex;
  }
}

// On the prototype, as the platform's own errors have it.
PersistencyError.prototype.name = "PersistencyError";

/** The caller's mistake, found before anything was sent. */
export const invalid = (message) => new PersistencyError({ kind: "InvalidArgument", message });
