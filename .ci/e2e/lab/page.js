// What the tests' pages have at hand, as `lab`. Decides nothing: each test says what is to be done.

import * as module from '/pkg/index.js';

/** Milliseconds between two looks at how late timers are; a tab in the background has none that are closer. */
const TICK_MS = 1000;
/** Milliseconds by which timers of this page have come late so far: what a busy machine takes from everybody. */
let late = 0;
let ticked = performance.now();
setInterval(() => {
  const now = performance.now();
  late += Math.max(0, now - ticked - TICK_MS);
  ticked = now;
}, TICK_MS);

/**
 * What a call came to, and after how many milliseconds, in a form that can leave the page. Those by which
 * timers were late meanwhile do not count.
 */
async function told(promise) {
  const [started, lateBefore] = [performance.now(), late];
  const ms = () => Math.round(performance.now() - started - (late - lateBefore));
  try {
    const value = await promise;
    return { value, ms: ms() };
  } catch (error) {
    const { name, kind, outcome, retryable, message } = error;
    return { name, kind, outcome, retryable, message, ms: ms() };
  }
}

/** Bytes that nothing can make smaller. */
function noise(length) {
  const all = new Uint8Array(length);
  for (let at = 0; at < length; at += NOISE_BYTES) crypto.getRandomValues(all.subarray(at, at + NOISE_BYTES));
  return all;
}

const NOISE_BYTES = 65_536;

/** Bytes that look like nothing, the same for the same seed; each block is stamped with its number. */
function bytes(length, seed = 1) {
  const all = new Uint8Array(length);
  let state = seed * 2654435761 + 1;
  for (let at = 0; at < Math.min(length, BLOCK_BYTES); at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    all[at] = state >>> 24;
  }
  for (let at = BLOCK_BYTES; at < length; at += BLOCK_BYTES) {
    all.copyWithin(at, 0, Math.min(BLOCK_BYTES, length - at));
    all[at] = at / BLOCK_BYTES;
  }
  return all;
}

const BLOCK_BYTES = 4096;

function same(a, b) {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at += 1) if (a[at] !== b[at]) return false;
  return true;
}

/** A connection of the platform's own. `upgrade(database, transaction)` is given what an upgrade has. */
function rawOpen(name, version, upgrade = () => {}) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = () => upgrade(request.result, request.transaction);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function rawDelete(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}

/** The faults of workers that run `/faulty.js`. */
const faults = new BroadcastChannel('faults');

/** Milliseconds after which a word is said again to a worker that may not have begun to listen. */
const SAY_AGAIN_MS = 50;
/** Milliseconds after which there is none: a page that has lost its worker has no faulty one. */
const NOBODY_MS = 3000;

/** Has the faulty worker of this origin do it wrong, until told otherwise; `{}` for nothing. Over when it knows. */
async function break_(what) {
  const id = crypto.randomUUID();
  let isKnown = false;
  const known = new Promise((resolve) => {
    faults.onmessage = ({ data }) => {
      isKnown = data === id;
      if (isKnown) resolve();
    };
  });
  for (let waited = 0; !isKnown && waited < NOBODY_MS; waited += SAY_AGAIN_MS) {
    faults.postMessage({ id, what });
    await Promise.race([known, pause(SAY_AGAIN_MS)]);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

globalThis.lab = {
  ...module, told, bytes, noise, same, rawOpen, rawDelete, break: break_, pause,
  /** What must live as long as the page does. */
  kept: {},
};
