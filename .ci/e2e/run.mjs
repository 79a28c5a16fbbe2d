// Tests of what a user gets: the data, the package and the demo. Prints `N passed, N failed`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

const tests = {
  'the Unicode data has a line for every code point it knows': () => {
    const text = readFileSync(join(root, 'data', 'UnicodeData.txt'), 'utf8');
    const lines = text.trimEnd().split('\n');
    assert.equal(lines.length, 34_924);
    assert.ok(lines.every((line) => line.split(';').length === 15));
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
