// Whole jobs as bytes, without a server: exported piece by piece, imported from whatever yields bytes.

import { nameOf, signalOf } from "../../bytes.js";
import { invalid } from "../../error.js";
import { Job } from "../../job.js";
import { limits } from "../../limits.js";
import { Pulled, Remote } from "../remote.js";
import { restoredRead } from "./reader.js";

/** Bytes that are sent to the worker at one time. */
const PUSH_BYTES = 1024 * 1024;

/** The job as bytes, some megabytes at a time. */
export function exportJob(job, options) {
  if (!(job instanceof Job)) throw invalid("what is exported is a Job of persistency/layers");
  // One that was cut short cannot go on: it would be of another moment.
  const open = (last) => {
    if (last !== undefined) throw broken();
    return new Remote(job, "exportJob", [], { lasts: false, patient: true });
  };
  return new Pulled(open, { signal: signalOf(options) });
}

/** Makes a job of the bytes of an export. */
export async function importJob(root, id, source, options) {
  const signal = signalOf(options);
  nameOf("job id", id, limits().jobIdBytes);
  const parts = partsOf(source);
  const remote = new Remote(root, "importJob", [id], { lasts: false, patient: true });
  try {
    await remote.open({ signal });
    return await fill(remote, parts, signal);
  } finally {
    remote.close();
  }
}

async function fill(remote, parts, signal) {
  try {
    for await (const part of parts) {
      const bytes = bytesOf(part);
      for (let at = 0; at < bytes.length; at += PUSH_BYTES) {
        await remote.call("push", [bytes.subarray(at, at + PUSH_BYTES)], { signal, patient: true });
      }
    }
    signal?.throwIfAborted();
    return restoredRead(await remote.call("finish", [], { patient: true }));
  } catch (error) {
    // One that has ended by itself has nothing to give up.
    await remote.call("abandon", [], { patient: true }).catch(() => {});
    throw error;
  }
}

const broken = () => invalid("an export that was cut short begins anew");

function bytesOf(part) {
  if (part instanceof Uint8Array) return part;
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  throw invalid("an export is bytes");
}

/** Whatever yields bytes, as something to iterate over. */
function partsOf(source) {
  if (source instanceof Uint8Array || source instanceof ArrayBuffer) return [source];
  if (typeof Blob === "function" && source instanceof Blob) return read(source.stream());
  if (typeof ReadableStream === "function" && source instanceof ReadableStream) return read(source);
  if (source?.[Symbol.asyncIterator] || source?.[Symbol.iterator]) return source;
  throw invalid("an export is a Uint8Array, an ArrayBuffer, a Blob, a ReadableStream, or yields Uint8Arrays");
}

/** Not every browser can iterate over a stream. */
async function* read(stream) {
  const reader = stream.getReader();
  let through = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      through = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!through) reader.cancel().catch(() => {});
  }
}
