// Takes those functions out of a wasm module's table that only wasm-bindgen's descriptions of closures had named: one
// for each kind of closure that any import of js-sys takes, whether a program calls that import or not. wasm-bindgen
// removes the descriptions, and exports the functions that its scripts call; what is in the table stays for ever.

import { readFileSync, writeFileSync } from 'node:fs';
import { FUNCTION_NAMES, Reader, SECTION, assembled, encoded, isNames, sections } from './module.mjs';

/** What their mangled names have in common: `wasm_bindgen::convert::closures::_::invoke`. */
const INVOKE = /12wasm_bindgen7convert8closures\w*?_1__6invoke/;
/** A segment of the table that begins at a constant place, and lists functions. */
const PLAIN_SEGMENT = 0;
const CONSTANT = 0x41;

/** The numbers of the functions that are only there to be described. */
function described(names) {
  const reader = new Reader(names);
  reader.take(reader.number());
  const found = new Set();
  while (reader.at < names.length) {
    const [kind] = reader.take(1);
    const size = reader.number();
    if (kind !== FUNCTION_NAMES) {
      reader.take(size);
      continue;
    }
    for (let left = reader.number(); left > 0; left -= 1) {
      const index = reader.number();
      if (INVOKE.test(reader.take(reader.number()).toString())) found.add(index);
    }
  }
  return found;
}

/** The table's segments with another function in their places: nobody looks there. */
function without(elements, unwanted) {
  const reader = new Reader(elements);
  const out = [];
  const copy = () => {
    const value = reader.number();
    out.push(encoded(value));
    return value;
  };
  for (let segments = copy(); segments > 0; segments -= 1) {
    if (copy() !== PLAIN_SEGMENT || copy() !== CONSTANT) throw new Error('a segment of the table is of another kind');
    // The place, and the end of its expression.
    copy();
    copy();
    const count = copy();
    const listed = Array.from({ length: count }, () => reader.number());
    const wanted = listed.find((index) => !unwanted.has(index));
    if (wanted === undefined) throw new Error('nothing in the table is wanted');
    out.push(...listed.map((index) => encoded(unwanted.has(index) ? wanted : index)));
  }
  return Buffer.concat(out);
}

const [from, to] = process.argv.slice(2);
const module = readFileSync(from);
const all = sections(module);
const unwanted = described(all.find(isNames).body);
if (unwanted.size === 0) throw new Error('no closure is described: have their names changed?');
const pruned = all.map((each) =>
  each.id === SECTION.elements ? { id: each.id, body: without(each.body, unwanted) } : each);
writeFileSync(to, assembled(module, pruned));
