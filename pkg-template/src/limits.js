// The limits that a caller can meet: the twin of src/limits.rs. Shared vectors hold both.

const MIB = 1024 * 1024;

const LIMITS = Object.freeze({
  jobIdBytes: 64,
  categoryBytes: 255,
  keyBytes: 128 * 1024,
  payloadBytes: 64 * MIB,
  batchBytes: 96 * MIB,
  batchOperations: 100_000,
  scanBytes: 64 * MIB,
  pageBytes: MIB,
});

/** The limits, the same as on every other platform. */
export const limits = () => LIMITS;

/** Bytes of a length-prefixed part of a key at most: its length is written in two bytes. */
export const KEY_PART_BYTES_MAX = 0xffff;
/** The largest bound of a queue that the options accept. */
export const QUEUE_BOUND_MAX = 2 ** 29 - 1;
/** Operations that wait in a job's queue, unless the options say otherwise. */
export const QUEUE_OPERATIONS = 100_000;
/** Bytes that wait in a job's queue, unless the options say otherwise. */
export const QUEUE_BYTES = 16 * MIB;
/** Milliseconds that a call may take, unless the options say otherwise. */
export const DEADLINE_MS = 30_000;
/** Errors that nobody has asked for yet, kept per job; beyond it they are only counted. */
export const KEPT_ERRORS_MAX = 1024;
/** Bytes of a log holder's name at most. */
export const HOLDER_BYTES_MAX = 255;
