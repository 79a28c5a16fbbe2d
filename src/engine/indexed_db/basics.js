// What every file here needs: why something failed, and how bytes are ordered, read and gathered. Pure: begins and ends
// nothing.

/** Bytes of a payload up to which it lies in its row; Chromium moves values above 64 KiB out into files. */
export const INLINE_BYTES_MAX = 32 * 1024;
export const FAULT = {
  full: 0, corrupt: 1, tooNew: 2, tooLarge: 3, unsupported: 4, missing: 5, lost: 6, aborted: 7, other: 8,
};
export const DURING = { opening: 0, reading: 1, writing: 2 };

/** Why something did not succeed. */
export class Failure {
  constructor(fault, message, thrown = false) {
    Object.assign(this, { fault, message, thrown, unknown: false });
  }
}

export const corrupt = (message) => new Failure(FAULT.corrupt, message);
export const aborted = (message) => new Failure(FAULT.aborted, message);
export const lost = () => new Failure(FAULT.lost, "the connection to the database has been closed");

/** What an exception of this name means; some mean different things where they were thrown. */
function faultOf(name, message, during) {
  // Browsers report full disks and lost servers under names that say nothing.
  if (/full disk|disk is full|disk full|not enough space/i.test(message)) return FAULT.full;
  const isLost = /connection (to indexed database server lost|is clos|was clos|lost)/i.test(message);
  if (during !== DURING.opening && isLost) return FAULT.lost;
  switch (name) {
    case "QuotaExceededError":
      return FAULT.full;
    case "VersionError":
      return FAULT.tooNew;
    case "SecurityError":
    case "NotSupportedError":
      return FAULT.unsupported;
    // Private windows of some browsers refuse to open under this name; else the connection has been closed.
    case "InvalidStateError":
      return during === DURING.opening ? FAULT.unsupported : FAULT.lost;
    // A journal's number that is taken already: somebody else writes, and what we remember is not true.
    case "ConstraintError":
    case "AbortError":
      return FAULT.lost;
    case "NotFoundError":
      return FAULT.corrupt;
    case "NotReadableError":
    case "DataError":
    case "EncodingError":
      return during === DURING.reading ? FAULT.corrupt : FAULT.other;
    default:
      return FAULT.other;
  }
}

/** What was thrown, as a failure. A trap is none: it goes on to whoever looks after the instance. */
export function failureOf(error, during) {
  if (error instanceof Failure) return error;
  if (error instanceof WebAssembly.RuntimeError) throw error;
  const { name = "Error", message = String(error) } = error ?? {};
  return new Failure(faultOf(name, message, during), `${name}: ${message}`, true);
}

export const EMPTY = new Uint8Array();
const encoder = new TextEncoder();
export const utf8 = (text) => encoder.encode(text);

/** Orders `bytes`, from and up to where told, against `other`: negative, zero or positive. */
export function compare(bytes, other, from = 0, to = bytes.length) {
  const shorter = Math.min(to - from, other.length);
  for (let at = 0; at < shorter; at++) {
    const difference = bytes[from + at] - other[at];
    if (difference !== 0) return difference;
  }
  return to - from - other.length;
}

/** The first of `count` places at which `isBehind` holds; it goes on to hold from there. */
export function firstPlace(count, isBehind) {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBehind(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

export const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** The first key behind `key`. */
export function after(key) {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** All of them, one after another. */
export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((bytes, { length }) => bytes + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes that are read in order; what is taken is a view. */
export class Reader {
  at = 0;
  #bytes;
  #view;

  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  get ended() {
    return this.at >= this.#bytes.length;
  }

  byte() {
    return this.#bytes[this.at++];
  }

  flag() {
    return this.byte() === 1;
  }

  number() {
    this.at += 4;
    return this.#view.getUint32(this.at - 4);
  }

  take(size) {
    this.at += size;
    return this.#bytes.subarray(this.at - size, this.at);
  }

  bytes() {
    return this.take(this.number());
  }

  /** The bounds of a range: none if it is empty, and no upper one if it goes on to the end. */
  bounds() {
    const kind = this.byte();
    return kind === 0 ? undefined : { lower: this.bytes(), upper: kind === 2 ? this.bytes() : undefined };
  }
}

/** Bytes of room that there are at first. */
const FIRST_ROOM_BYTES = 256;

/** Bytes that come one after another. */
export class Gathered {
  used = 0;
  #bytes = EMPTY;
  #view;

  /** Makes room for so many bytes; returns where it begins. */
  #room(size) {
    const at = this.used;
    this.used += size;
    if (this.used > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.used, 2 * this.#bytes.length, FIRST_ROOM_BYTES));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  number(number) {
    const at = this.#room(4);
    this.#view.setUint32(at, number);
    return this;
  }

  add(bytes) {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** All of it, as a view that is good until the next bytes come. */
  take() {
    const { used } = this;
    this.used = 0;
    return this.#bytes.subarray(0, used);
  }
}
