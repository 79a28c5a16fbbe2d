// How calls and answers cross between page and worker: frames of bytes.
// Never sends anything. The other half, and the description of the bytes, is src/web/wire.rs and call.rs.

import { text8 } from "./bytes.js";
import { PersistencyError } from "./error.js";

/** The operations by their numbers. */
export const OP = {
  openJob: 1, closeJob: 2, dropJob: 3, listJobs: 4, close: 5, ping: 6, cancel: 7, apply: 10, flush: 11, durable: 12,
  get: 20, count: 21, scan: 22, categories: 23, info: 24, stats: 25, check: 26, compact: 27, position: 28,
  watch: 30, logFrom: 31, next: 32, end: 33, holdLog: 40, advanceLog: 41, releaseLog: 42,
  layer: 50, leaveLayer: 51,
};
/** Set in an operation's byte if the call may be given up. */
export const MAY_CANCEL = 0x80;

/** What an answer is. */
export const KIND = { value: 0, error: 1, progress: 2, ended: 3 };

/** The entries of a batch by their codes. */
export const ENTRY = { put: 0, delete: 1, deleteRange: 2, requireAbsent: 16, requirePresent: 17, requireEqual: 18 };

/** Bytes of room that a writer starts with, unless it is told. */
const FIRST_CAPACITY = 256;

/** Bytes that are being written; numbers are big-endian. */
export class Writer {
  #bytes;
  #view;
  /** How many bytes have been written. */
  used = 0;

  /** With room for so many bytes. */
  constructor(capacity = FIRST_CAPACITY) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  byte(byte) {
    const at = this.#room(1);
    this.#bytes[at] = byte;
    return this;
  }

  count(count) {
    const at = this.#room(4);
    this.#view.setUint32(at, count);
    return this;
  }

  number(bigint) {
    const at = this.#room(8);
    this.#view.setBigUint64(at, bigint);
    return this;
  }

  raw(bytes) {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  bytes(bytes) {
    return this.count(bytes.length).raw(bytes);
  }

  range({ start, end }) {
    this.bytes(start).byte(end === undefined ? 0 : 1);
    return end === undefined ? this : this.bytes(end);
  }

  position({ generation, seq }) {
    return this.raw(generation).number(seq);
  }

  /** Writes what `write` writes behind its length. */
  measured(write) {
    const at = this.#room(4);
    write(this);
    this.#view.setUint32(at, this.used - at - 4);
    return this;
  }

  /** What has been written, not copied. */
  written() {
    return this.#bytes.subarray(0, this.used);
  }

  /** Makes room for `size` bytes, perhaps in a larger buffer; returns where it begins. */
  #room(size) {
    const at = this.used;
    this.used += size;
    if (this.used > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.used, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

/** Bytes that have not been read yet; a RangeError if there are too few. */
export class Reader {
  #bytes;
  #view;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get ended() {
    return this.#at >= this.#bytes.length;
  }

  byte() {
    return this.#view.getUint8(this.#step(1));
  }

  flag() {
    return this.byte() === 1;
  }

  count() {
    return this.#view.getUint32(this.#step(4));
  }

  number() {
    return this.#view.getBigUint64(this.#step(8));
  }

  /** The next bytes, not copied. */
  take(size) {
    const at = this.#step(size);
    if (this.#at > this.#bytes.length) throw new RangeError("a message ends early");
    return this.#bytes.subarray(at, this.#at);
  }

  bytes() {
    return this.take(this.count());
  }

  /** The next bytes as a value of their own: one that is kept must not keep its whole frame. */
  copy(Type = Uint8Array) {
    return new Type(this.bytes());
  }

  string() {
    return text8(this.bytes());
  }

  strings() {
    return Array.from({ length: this.count() }, () => this.string());
  }

  position() {
    return { generation: Uint8Array.from(this.take(16)), seq: this.number() };
  }

  error() {
    const outcome = ["NotApplied", "Applied", "Unknown"][this.byte()];
    const retryable = this.flag();
    const index = this.count();
    const [kind, message, cause] = [this.string(), this.string(), this.string()];
    return new PersistencyError(kind, message, {
      outcome,
      retryable,
      conflictIndex: index === 0xffff_ffff ? undefined : index,
      cause: cause ? new Error(cause) : undefined,
    });
  }

  #step(size) {
    const at = this.#at;
    this.#at += size;
    return at;
  }
}
