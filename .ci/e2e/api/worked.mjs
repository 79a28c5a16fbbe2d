// Runs the worked example of pkg-template/docs/archive.md as it stands: its commands in a shell, its programs in a page.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { start } from '../archives.mjs';

/** The blocks of the example: [their language, their text]. */
const blocks = (text) => Array.from(text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm), ([, language, block]) => [language, block]);

/** What a program says it logs. */
const said = (program) => Array.from(program.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm), ([, words]) => words);

/** `runExample(file)` runs a file of `folder` as a module in a page and answers the lines that it logged. */
export async function worked(root, folder, runExample) {
  const text = readFileSync(join(root, 'pkg-template', 'docs', 'archive.md'), 'utf8');
  const [, example] = /^## From a browser to a server, and back$([\s\S]*?)^## /m.exec(text);
  const clear = () => ['archives', 'restored'].forEach((name) =>
    rmSync(join(root, 'target', name), { recursive: true, force: true }));
  clear();
  mkdirSync(folder, { recursive: true });
  let server;
  let printed;
  const ran = [];
  try {
    for (const [at, [language, block]] of blocks(example).entries()) {
      ran.push(language);
      if (language === 'sh' && block.includes(' serve ')) {
        server = await start('bash', ['-c', block], { cwd: root });
      } else if (language === 'sh') {
        printed = (await promisify(execFile)('bash', ['-c', block], { cwd: root })).stdout;
      } else if (language === 'text') {
        assert.equal(printed, block);
      } else {
        const program = block.replaceAll('"persistency/layers"', '"/pkg/layers.js"');
        writeFileSync(join(folder, `worked-${at}.js`), program);
        assert.deepEqual(await runExample(`worked-${at}.js`), said(block));
      }
    }
  } finally {
    await server?.stop();
    clear();
  }
  assert.deepEqual(ran, ['sh', 'js', 'sh', 'text', 'js']);
}
