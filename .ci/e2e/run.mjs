// Tests of what a user gets: the data, the quickstart, the package and the demo page in three browsers.
// Builds what it needs. The last line is `N passed, N failed`.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { demoMounts, serve } from '../serve.mjs';
import { digest } from './digest.mjs';
import * as api from './api.mjs';
import * as chromium from './chromium.mjs';
import * as consumers from './consumers.mjs';
import * as failures from './failures.mjs';
import * as files from './files.mjs';
import * as others from './others.mjs';
import * as packed from './packed.mjs';
import * as twins from './twins.mjs';
import * as witness from './witness.mjs';
import { pack } from './projects.mjs';
import { runAll } from './run-all.mjs';

/** Characters of a temporary folder's path that leave room for Chromium's sockets in it (107 in all). */
const TMPDIR_MAX = 48;

/** In the order in which they run. */
const GROUPS = [files, twins, packed, chromium, api, failures, witness, others, consumers];

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
// Some browsers leave files behind; with a temporary folder of our own nothing of them stays.
const scratch = mkdtempSync(join(tmpdir().length > TMPDIR_MAX ? '/tmp' : tmpdir(), 'e2e-'));
process.env.TMPDIR = scratch;

const run = (program, ...args) => execFileSync(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });

/** Runs the quickstart on the real data, builds the package, and serves both as the demo does. */
async function prepare() {
  const native = join(scratch, 'native');
  mkdirSync(native);
  const report = join(native, 'report.json');
  run('cargo', 'run', '--quiet', '--features', 'serde,cli', '--bin', 'persistency-demo', '--',
    '--root', join(scratch, 'root'), '--json', report);
  run('.ci/package');
  run('node', 'benches/browser/build.mjs');
  const server = await serve(demoMounts(root, native));
  return {
    root, scratch, server,
    tarball: await pack(root, scratch),
    native: JSON.parse(readFileSync(report, 'utf8')),
    digest: digest(join(root, 'data')),
    flags: JSON.parse(readFileSync(join(root, '.ci', 'webdriver.json'), 'utf8')),
  };
}

async function main() {
  const context = await prepare();
  const { passed, failed } = await runAll(GROUPS.map((group) => group.make(context)));
  await context.server.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

try {
  await main();
} finally {
  rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
