// The harness must not call red green: what a log proves, and how a command may end.

import { setTimeout } from 'node:timers/promises';
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { count, disagreement, failures, judge, neverStarted, reason } from './count.mjs';
import { exec } from './exec.mjs';

const OK = 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 filtered out\n';
const RED = 'test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 filtered out\n';
const run = { format: 'libtest' };

/** Runs a shell script through the harness and cleans up after it. */
async function shell(script, timeoutSeconds = 20) {
  const folder = mkdtempSync(join(tmpdir(), 'harness-'));
  try {
    const logPath = join(folder, 'log');
    return await exec(['sh', '-c', script], { cwd: folder, env: process.env, logPath, timeoutSeconds });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('result lines of all test programs are added up', () => {
  assert.deepEqual(count('libtest', `${OK}noise\n\x1b[32m${OK}\x1b[0m${RED}`), { passed: 8, failed: 1 });
  assert.deepEqual(count('summary', 'a\n7 passed, 2 failed\n'), { passed: 7, failed: 2 });
  assert.deepEqual(count('tap', '# tests 5\n# pass 4\n# fail 1\n'), { passed: 4, failed: 1 });
});

test('a failed test is counted once, with a bad exit status or without', () => {
  assert.equal(judge(run, { status: 'exit status 1', log: OK + RED }).failed, 1);
  assert.equal(judge(run, { status: 'ok', log: RED }).failed, 1);
});

test('a test that is ignored is a failure', () => {
  const verdict = judge(run, { status: 'ok', log: `${OK}${OK.replace('0 ignored', '2 ignored')}` });
  assert.deepEqual(verdict, { passed: 6, failed: 1, reasons: ['2 tests are ignored'] });
});

test('a run that shows no test is a failure', () => {
  for (const log of ['', 'no tests to run!\n', 'test result: ok. 0 passed; 0 failed; 0 ignored\n']) {
    const verdict = judge(run, { status: 'ok', log });
    assert.deepEqual([verdict.failed, verdict.reasons], [1, ['no test ran']]);
  }
  assert.equal(judge({ ...run, needsTests: false }, { status: 'ok', log: '' }).failed, 0);
});

test('a crash counts as a failure although every test that ended had passed', () => {
  const verdict = judge(run, { status: 'ended by SIGSEGV', log: OK });
  assert.deepEqual(verdict, { passed: 3, failed: 1, reasons: ['ended by SIGSEGV'] });
  assert.equal(judge({ ...run, needsTests: false }, { status: 'exit status 101', log: '' }).failed, 1);
});

test('tests that ran in another browser than the named one are a failure', () => {
  const proof = /tests in Firefox/;
  assert.equal(judge({ ...run, proof }, { status: 'ok', log: `tests in Chrome\n${OK}` }).failed, 1);
  assert.equal(judge({ ...run, proof }, { status: 'ok', log: `tests in Firefox\n${OK}` }).failed, 0);
});

test('only a browser that ran no test at all is started again', () => {
  const running = '     Running tests/suite.rs (target/wasm32-unknown-unknown/debug/deps/suite-1.wasm)\n';
  assert.equal(neverStarted(`${running}Error: driver did not answer\n`), true);
  assert.equal(neverStarted(`${running}test a ... FAIL\n${RED}`), false);
  assert.equal(neverStarted(`${running}running 2 tests\n`), false);
  assert.equal(neverStarted('error: could not compile `persistency`\n'), false);
});

test('a log is asked where each kind of runner tells why a test failed', () => {
  const lines = ['ok      one (0.1 s)', 'FAILED  two', 'Error: 1', '---- three stdout ----', 'not ok 4 - four', 'FAILED'];
  assert.deepEqual(failures(lines), [1, 3, 4]);
});

test('of a failed test the log is shown as far as the next test and no further', () => {
  const lines = ['FAILED  two', 'Error: 1', '    at three', '', 'ok      four (0.1 s)', 'FAILED  five'];
  assert.equal(reason(lines, 0), 'FAILED  two\nError: 1\n    at three\n');
  assert.equal(reason(lines, 5), 'FAILED  five');
  assert.equal(reason(['FAILED  one', ...Array(100).fill('deep')], 0).split('\n').length, 12);
});

test('places that ran different numbers of tests disagree', () => {
  const place = (name, passed, failed = 0) => ({ name, passed, failed });
  assert.equal(disagreement([place('a', 3), place('b', 3), place('c', 1, 1)]), null);
  assert.match(disagreement([place('a', 3), place('b', 2)]), /a 3, b 2/);
  assert.equal(disagreement([]), null);
});

test('a command that ends by itself is told by its exit status', async () => {
  assert.equal((await shell('echo hi')).status, 'ok');
  assert.equal((await shell('exit 3')).status, 'exit status 3');
  assert.equal((await shell('kill -SEGV $$')).status, 'ended by SIGSEGV');
  assert.match((await exec(['no-such-program'], {
    cwd: '.', env: process.env, logPath: '/dev/null', timeoutSeconds: 5,
  })).status, /could not start/);
});

test('a command past its deadline is ended with everything it started', async () => {
  const { status, log } = await shell('sleep 60 & echo child $!; sleep 60', 1);
  assert.equal(status, 'timed out after 1 s');
  const stat = `/proc/${/child (\d+)/.exec(log)[1]}/stat`;
  // A killed orphan may stay as a zombie until somebody reaps it, and on a busy machine it takes a moment to die.
  const hasEnded = () => !existsSync(stat) || /\) [ZX] /.test(readFileSync(stat, 'utf8'));
  for (let looks = 0; looks < 100 && !hasEnded(); looks += 1) await setTimeout(50);
  assert.ok(hasEnded());
});

test('what a command leaves in its temporary folder is removed', async () => {
  const { log } = await shell('echo x > "$TMPDIR/left"; echo "$TMPDIR"');
  assert.notEqual(log.trim(), tmpdir());
  assert.equal(existsSync(log.trim()), false);
});
