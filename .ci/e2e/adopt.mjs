// Gives a wasm module the names that another one's imports and exports were given when they were shortened, so that the
// scripts made for that one can use both. Fails where these would have to differ.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Reader, SECTION, assembled, encoded, listed, measured, sections } from './wasm.mjs';

/** What the compiler makes of the crate's features, in the name of a function that a script calls. */
const withoutHash = (text) => text.replace(/Cs[0-9A-Za-z]+_11persistency/g, 'persistency');

const [generated, other, own] = process.argv.slice(2);
const glue = (name) => withoutHash(readFileSync(join(generated, name, 'persistency_bg.js'), 'utf8'));
// They would also be called with what they do not take.
if (glue(own) !== glue(other)) throw new Error(`the scripts of ${own} are not those of ${other}`);

const given = JSON.parse(readFileSync(join(generated, other, 'names.json'), 'utf8'));
const imports = new Map(given.imports.map(([, name, now]) => [name, now]));
const exports = new Map(given.exports.map(([name, now]) => [withoutHash(name), now]));
const short = (names, long) => {
  const now = names.get(withoutHash(long.toString()));
  if (now === undefined) throw new Error(`${other} has no ${long}`);
  return measured(Buffer.from(now));
};
const MODULE = measured(Buffer.from('a'));

/** Imports are functions, whose type follows their kind; exports anything, whose index does. */
const rest = (reader) => Buffer.concat([reader.take(1), encoded(reader.number())]);

const module = readFileSync(join(generated, own, 'long.wasm'));
const all = sections(module);
for (const section of all) {
  const reader = new Reader(section.body);
  if (section.id === SECTION.imports) {
    section.body = listed(reader.list(() => {
      reader.measured();
      return Buffer.concat([MODULE, short(imports, reader.measured()), rest(reader)]);
    }));
  } else if (section.id === SECTION.exports) {
    section.body = listed(reader.list(() => Buffer.concat([short(exports, reader.measured()), rest(reader)])));
  }
}
writeFileSync(join(generated, own, 'persistency.wasm'), assembled(module, all));
