// Runs the lint steps and every place of tests, then says how many tests passed and failed.
// The last line is `N passed, N failed`, parsed from what really ran; the exit status agrees with it.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { disagreement, failures, judge, neverStarted, reason } from './count.mjs';
import { exec } from './exec.mjs';

/** Lines of a log that are shown when it names no failed test. */
const TAIL_LINES = 60;
/** Failed tests that are shown. */
const REASONS_MAX = 20;

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const logs = join(root, 'target', 'test-logs');

/** This program's environment without anything that would steer the browser runs. */
function environment() {
  const env = { ...process.env, CARGO_TERM_COLOR: 'never', NO_COLOR: '1' };
  for (const name of Object.keys(env)) {
    if (/^WASM_BINDGEN_|^(CHROME|GECKO|SAFARI|MSEDGE)DRIVER(_|$)|^CARGO_TARGET_WASM32/.test(name)) delete env[name];
  }
  return env;
}

/** Runs one step into the log `name`; a browser that did not even start gets a second chance. */
async function attempt(name, step) {
  const logPath = join(logs, `${name}.log`);
  const options = { cwd: root, env: { ...environment(), ...step.env }, logPath, timeoutSeconds: step.timeoutSeconds };
  const first = await exec(step.argv, options);
  if (!step.retryStart || first.status === 'ok' || !neverStarted(first.log)) return { ...first, logPath };
  console.log(`  ${name} did not start (${first.status}), once more`);
  writeFileSync(join(logs, `${name}.first.log`), first.log);
  return { ...(await exec(step.argv, options)), logPath };
}

/** Tells why: the failed tests and nothing else if the log names them, for who reads this may see but a part of it. */
function complain(name, reasons, { log, logPath }) {
  // What cargo builds on its way would push the error out of sight.
  const lines = log.trimEnd().split('\n').filter((line) => !/^ +(Compiling|Checking|Download)/.test(line));
  const failed = failures(lines).slice(0, REASONS_MAX);
  const shown = failed.length > 0 ? failed.map((at) => reason(lines, at)) : lines.slice(-TAIL_LINES);
  console.log(`--- ${name}: ${reasons.join('; ')}. From ${relative(root, logPath)}:`);
  console.log(shown.join('\n'));
  console.log('---');
}

/** Right lint steps count nothing, wrong ones one failure each. */
async function runLint(lint) {
  const name = `lint-${lint.name}`;
  const result = await attempt(name, lint);
  const failed = result.status === 'ok' ? 0 : 1;
  console.log(`${failed ? 'FAILED' : 'ok'}  ${name}  ${result.seconds.toFixed(1)} s`);
  if (failed) complain(name, [result.status], result);
  return { name, passed: 0, failed, seconds: result.seconds };
}

async function runPlace(place) {
  const sum = { name: place.name, browser: place.browser, passed: 0, failed: 0, seconds: 0 };
  for (const run of place.runs) {
    const name = place.runs.length > 1 ? `${place.name}-${run.name}` : place.name;
    const result = await attempt(name, run);
    const { passed, failed, reasons } = judge(run, result);
    sum.passed += passed;
    sum.failed += failed;
    sum.seconds += result.seconds;
    const verdict = failed > 0 ? 'FAILED' : 'ok';
    console.log(`${verdict}  ${name}  ${passed} passed, ${failed} failed  ${result.seconds.toFixed(1)} s`);
    if (reasons.length > 0) complain(name, reasons, result);
  }
  return sum;
}

/** What PLACES selects: everything, unless it names some. */
function selection(all) {
  const names = ['lint', ...all.map((place) => place.name)];
  if (!process.env.PLACES) return new Set(names);
  const wanted = process.env.PLACES.split(',').map((name) => name.trim()).filter(Boolean);
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0 || wanted.length === 0) {
    console.error(`PLACES takes some of ${names.join(',')}; unknown: ${unknown.join(',') || 'nothing named'}`);
    process.exit(2);
  }
  return new Set(wanted);
}

function table(rows) {
  const width = Math.max(...rows.map((row) => row.name.length), 'place'.length);
  const line = (name, passed, failed, seconds) =>
    console.log(`${name.padEnd(width)}  ${passed.padStart(7)}  ${failed.padStart(7)}  ${seconds.padStart(7)}`);
  console.log('');
  line('place', 'passed', 'failed', 'seconds');
  for (const row of rows) line(row.name, String(row.passed), String(row.failed), row.seconds.toFixed(1));
  console.log('');
}

async function main() {
  // Cargo's programs are not on the path of every shell.
  process.env.PATH += delimiter + join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin');
  const { lints, places } = await import('./places.mjs');
  const all = places(root);
  const selected = selection(all);
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs, { recursive: true });

  const rows = [];
  if (selected.has('lint')) for (const lint of lints) rows.push(await runLint(lint));
  for (const place of all) if (selected.has(place.name)) rows.push(await runPlace(place));

  const differs = disagreement(rows.filter((row) => row.browser));
  if (differs) rows.push({ name: 'same-suite', passed: 0, failed: 1, seconds: 0 });
  table(rows);
  if (differs) console.log(differs);
  const total = (field) => rows.reduce((sum, row) => sum + row[field], 0);
  const summary = `${total('passed')} passed, ${total('failed')} failed`;
  writeFileSync(join(logs, 'summary'), `${summary}\n`);
  console.log(summary);
  process.exitCode = total('failed') > 0 ? 1 : 0;
}

await main();
