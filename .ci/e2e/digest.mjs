// The demo's digest without any database: from the two text files to SHA-256, by sorting and filtering.
// Shares no code with the product or the page; data/README.md is all it knows.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Numbers as big-endian bytes. */
const u32 = (number) => { const bytes = Buffer.alloc(4); bytes.writeUInt32BE(number); return bytes; };
const u64 = (number) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(BigInt(number)); return bytes; };
/** A code point as the key part `i64`: offset by 2^63, so that unsigned bytes order it. */
const codeKey = (code) => u64(BigInt(code) + (1n << 63n));
/** A name as the key part `Text`; no name holds a zero byte, so nothing needs an escape. */
const nameKey = (name, code) => Buffer.concat([Buffer.from(name, 'ascii'), Buffer.from([0, 1]), codeKey(code)]);

/** The digest over the contents of the data folder. */
export function digest(folder) {
  const lines = (file) => readFileSync(join(folder, file), 'utf8').split('\n').filter((line) => line !== '');
  const characters = lines('UnicodeData.txt').map((line) => {
    const [digits, name] = line.split(';');
    return { code: parseInt(digits, 16), digits, name, line };
  });
  const blocks = lines('Blocks.txt').filter((line) => !line.startsWith('#')).map((line) => {
    const [, first, last, name] = /^([0-9A-F]+)\.\.([0-9A-F]+); (.*)$/.exec(line);
    return { first: parseInt(first, 16), last: parseInt(last, 16), name, line };
  });

  const byKey = (a, b) => Buffer.compare(a.key, b.key);
  const row = (key, payload) => ({ key, payload: Buffer.from(payload) });
  const charRows = characters.map(({ code, line }) => ({ ...row(codeKey(code), line), code })).sort(byKey);
  const nameRows = characters.map(({ code, digits, name }) => ({ ...row(nameKey(name, code), digits), name })).sort(byKey);
  const blockRows = blocks.map(({ first, line }) => row(codeKey(first), line)).sort(byKey);
  const inside = ({ first, last }) => charRows.filter(({ code }) => first <= code && code <= last);
  const block = (name) => blocks.find((candidate) => candidate.name === name);

  const answers = [
    inside(block('Greek and Coptic')),
    inside(block('Emoticons')).reverse().slice(0, 10),
    nameRows.filter(({ name }) => name.startsWith('GREEK SMALL LETTER')),
    blocks.map((each) => ({ key: codeKey(each.first), payload: u64(inside(each).length) })).sort(byKey),
    [...blockRows, ...charRows, ...nameRows],
  ];
  const hash = createHash('sha256');
  for (const rows of answers) {
    for (const { key, payload } of rows) {
      for (const bytes of [key, payload]) hash.update(u32(bytes.length)).update(bytes);
    }
    hash.update(u32(rows.length));
  }
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(digest(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'data')));
}
