// Names the functions of a wasm module so that, sorted by their names, those that share bytes follow each other:
// gzip looks back 32 KiB, and finds more there. Changes nothing else: `wasm-opt --reorder-functions-by-name` sorts.

import { readFileSync, writeFileSync } from 'node:fs';
import { Reader, SECTION, assembled, isNames, nameSection, sections } from './wasm.mjs';

/** Bytes in a row that count as shared. */
const SHARED_BYTES = 5;
/** Bytes, and functions, that the next function is compared with. */
const WINDOW_BYTES = 24 * 1024;
const WINDOW_FUNCTIONS = 40;
/** What more functions have in common than this is found everywhere anyway. */
const COMMON_MAX = 30;

/** How many functions are imported; nothing else is, in what wasm-bindgen makes. */
function imported(body) {
  const reader = new Reader(body);
  const count = reader.number();
  for (let at = 0; at < count; at += 1) {
    reader.measured();
    reader.measured();
    if (reader.take(1)[0] !== 0) throw new Error('something other than a function is imported');
    reader.number();
  }
  return count;
}

function functions(body) {
  const reader = new Reader(body);
  return reader.list(() => reader.measured());
}

/** The functions' places in an order in which each has much in common with those just before it. */
function ordered(bodies) {
  const pieces = bodies.map((body) => {
    const found = new Set();
    for (let at = 0; at + SHARED_BYTES <= body.length; at += 1) found.add(body.toString('latin1', at, at + SHARED_BYTES));
    return found;
  });
  const holders = new Map();
  pieces.forEach((found, index) => {
    for (const piece of found) {
      if (!holders.has(piece)) holders.set(piece, []);
      holders.get(piece).push(index);
    }
  });
  const left = new Set(bodies.keys());
  const order = [];
  let next = 0;
  while (left.size > 0) {
    left.delete(next);
    order.push(next);
    const common = new Map();
    const seen = new Set();
    let bytes = 0;
    for (const index of order.slice(-WINDOW_FUNCTIONS).reverse()) {
      bytes += bodies[index].length;
      if (bytes > WINDOW_BYTES && index !== next) break;
      for (const piece of pieces[index]) {
        const those = holders.get(piece);
        if (those.length > COMMON_MAX || seen.has(piece)) continue;
        seen.add(piece);
        for (const other of those) if (left.has(other)) common.set(other, (common.get(other) ?? 0) + 1);
      }
    }
    let best = 0;
    [next] = left;
    for (const [index, count] of common) {
      const worth = count / Math.sqrt(bodies[index].length);
      if (worth > best) [best, next] = [worth, index];
    }
  }
  return order;
}

const [from, to] = process.argv.slice(2);
const module = readFileSync(from);
// Names that are there already make way for ours.
const all = sections(module).filter((section) => !isNames(section));
const of = (id) => all.find((section) => section.id === id).body;
const first = imported(of(SECTION.imports));
const bodies = functions(of(SECTION.code));
const ranks = [];
ordered(bodies).forEach((index, rank) => { ranks[index] = rank; });
const names = [...Array(first + bodies.length).keys()].map((index) => {
  const rank = index < first ? index : first + ranks[index - first];
  return [index, String(rank).padStart(6, '0')];
});
writeFileSync(to, assembled(module, [...all, nameSection(names)]));
