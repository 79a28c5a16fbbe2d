// Empties the slots of a wasm module's table of functions that only wasm-bindgen needed: it describes each closure
// that its libraries know by the function that calls it, of which our scripts call few, and those by their exports.
// What is in the table would stay in the module. Leaves every other slot where it is.

import { readFileSync, writeFileSync } from 'node:fs';
import { Reader, SECTION, assembled, encoded, functionNames, listed, sections } from './wasm.mjs';

/** Functions that are nothing but arguments of descriptions. */
const DESCRIBED = /12wasm_bindgen7convert8closures.*6invoke/;
const TABLE = 1;
const I32_CONST = 0x41;
const END = 0x0b;

/** The functions of the one segment, and the slot of the first. */
function segment(body) {
  const reader = new Reader(body);
  const [count, kind, opcode] = [reader.number(), reader.number(), reader.take(1)[0]];
  const first = reader.number();
  if (count !== 1 || kind !== 0 || opcode !== I32_CONST || reader.take(1)[0] !== END) throw new Error('the table is filled in another way');
  return { first, functions: reader.list(() => reader.number()) };
}

/** Whether scripts could call a function by its slot. */
function isReachable(body) {
  const reader = new Reader(body);
  const exports = reader.list(() => {
    reader.measured();
    return { kind: reader.take(1)[0], index: reader.number() };
  });
  return exports.some(({ kind, index }) => kind === TABLE && index === 0);
}

const signed = (number) => {
  const bytes = encoded(number);
  // A number whose last byte has this bit would be read as a negative one.
  return bytes.at(-1) & 0x40 ? Buffer.concat([bytes.subarray(0, -1), Buffer.from([bytes.at(-1) | 0x80, 0])]) : bytes;
};

const [from, to] = process.argv.slice(2);
const module = readFileSync(from);
const all = sections(module);
const of = (id) => all.find((section) => section.id === id);
if (isReachable(of(SECTION.exports).body)) throw new Error('the table of functions is exported');
const names = functionNames(all);
const { first, functions } = segment(of(SECTION.elements).body);
const runs = [];
functions.forEach((index, at) => {
  if (DESCRIBED.test(names.get(index))) return;
  const last = runs.at(-1);
  if (last && last.start + last.functions.length === first + at) last.functions.push(index);
  else runs.push({ start: first + at, functions: [index] });
});
of(SECTION.elements).body = listed(runs.map(({ start, functions: those }) =>
  Buffer.concat([Buffer.from([0, I32_CONST]), signed(start), Buffer.from([END]), listed(those.map(encoded))])));
writeFileSync(to, assembled(module, all));
