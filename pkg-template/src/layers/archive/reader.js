// What lies on a server, for pages: segments, their commits, whether all is whole, and restoring. Changes nothing there,
// but for prune().

import { nameOf, seqOf, signalOf } from "../../bytes.js";
import { asyncDispose } from "../../dispose.js";
import { invalid } from "../../error.js";
import { limits } from "../../limits.js";
import { readItem } from "../../stream.js";
import { Reader } from "../../wire.js";
import { Pulled, Remote } from "../remote.js";
import { momentOf, numberOf, only, serverOf } from "./given.js";

/** The last seq there can be. */
const SEQ_MAX = 2n ** 64n - 1n;

/** An archive on a server, for reading. */
export class ArchiveReader {
  #remote;
  #generation;

  constructor(remote, generation) {
    if (!(remote instanceof Remote)) throw invalid("an archive is opened by ArchiveReader.open()");
    this.#remote = remote;
    this.#generation = generation;
  }

  /** Opens the archive of a name, in the last life of its job, or that of a generation or a time. */
  static async open(root, server, name, options = {}) {
    only("a reader", options, ["generation", "timeMs"]);
    const { generation, timeMs } = options;
    numberOf("timeMs", timeMs);
    if (generation !== undefined && !(generation instanceof Uint8Array && generation.length === 16)) {
      throw invalid("a generation is a Uint8Array of 16 bytes");
    }
    nameOf("archive name", name, limits().jobIdBytes);
    const args = [serverOf(server), name];
    const again = (found) => [...args, found, undefined];
    const remote = new Remote(root, "archiveReader", [...args, generation, timeMs], { again, patient: true });
    return new ArchiveReader(remote, await remote.open());
  }

  /** The life of the job whose archive this is. */
  get generation() {
    return this.#generation.slice();
  }

  async archivedSeq(options) {
    const seq = await this.#call("archivedSeq", [], options);
    return seq === null ? undefined : BigInt(seq);
  }

  /** The segments up to the one that holds `until`, newest first. */
  listSegments(until = SEQ_MAX, options = undefined) {
    seqOf(until);
    const from = (last) => (last === undefined ? until : last.firstSeq - 1n);
    const open = (last) => new Remote(this.#remote, "listSegments", [from(last)], { lasts: false, patient: true });
    return new Pulled(open, { signal: signalOf(options), read: segmentRead });
  }

  async findSegment(seq, options) {
    const found = await this.#call("findSegment", [seqOf(seq)], options);
    return found === undefined ? undefined : segmentRead(found);
  }

  /** The commits of a segment. */
  async fetch(segment, options) {
    const reader = new Reader(await this.#call("fetch", [seqOf(segment?.firstSeq)], options));
    reader.number();
    const commits = [];
    while (!reader.ended) commits.push(readItem(reader));
    return commits;
  }

  async verify(options) {
    const { restorable, bytes, ...counts } = await this.#call("verify", [], options);
    const numbers = Object.entries({ ...counts, bytes }).map(([name, number]) => [name, Number(number)]);
    return {
      ...Object.fromEntries(numbers),
      restorable: restorable.map(([first, last]) => ({ first: BigInt(first), last: BigInt(last) })),
    };
  }

  async prune(oldest) {
    const [objects, firstSeq] = await this.#call("prune", [momentOf(oldest)]);
    return { objects: Number(objects), firstSeq: BigInt(firstSeq) };
  }

  /** Makes a job of what was archived. */
  async restore(id, options = {}) {
    only("a restore", options, ["to", "onProgress", "signal"]);
    const { to, onProgress } = options;
    if (onProgress !== undefined && typeof onProgress !== "function") throw invalid("onProgress is a function");
    const signal = signalOf({ signal: options.signal });
    nameOf("job id", id, limits().jobIdBytes);
    const restoring = new Remote(this.#remote, "restore", [id, momentOf(to)], { lasts: false, patient: true });
    try {
      for (;;) {
        const { progress, restored } = await restoring.call("next", [], { signal, patient: true });
        if (restored) return restoredRead(restored);
        const { rows, rowsOf, seq } = progress;
        onProgress?.({ rows: Number(rows), rowsOf: Number(rowsOf), seq: BigInt(seq) });
      }
    } finally {
      restoring.close();
    }
  }

  /** Gives up what the worker holds for this. */
  async close() {
    this.#remote.close();
  }

  async #call(method, args, options) {
    return this.#remote.call(method, args, { signal: signalOf(options), patient: true });
  }
}

Object.defineProperty(ArchiveReader.prototype, asyncDispose, {
  value() { return this.close(); },
});

/** What has been restored or imported. */
export const restoredRead = ({ generation, seq }) => ({ generation, seq: BigInt(seq) });

const segmentRead = ({ firstSeq, lastSeq, firstMs, lastMs, bytes }) => ({
  firstSeq: BigInt(firstSeq), lastSeq: BigInt(lastSeq), firstMs: Number(firstMs), lastMs: Number(lastMs),
  bytes: Number(bytes),
});
