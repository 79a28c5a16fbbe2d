// Runs the benchmark with the built package in Chromium, over both of its back ends, and in Firefox, each with a
// profile on disk, and writes what `benches/README.md` describes. Ends only what it started.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startChromium, startFirefox } from '../../.ci/e2e/tabs.mjs';
import { serve } from '../../.ci/serve.mjs';
import { buildSite, site } from './build.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const flags = JSON.parse(readFileSync(join(root, '.ci', 'webdriver.json'), 'utf8'));

/** Milliseconds that a whole run in one browser may take. */
const SUITE_MS = 900_000;
/** Milliseconds after which no further round begins, so that a slow machine has fewer of them. */
const BUDGET_MS = 60_000;
/** Milliseconds until what a page wrote is in the profile. */
const PROOF_MS = 20_000;
/** Milliseconds between two looks, rare enough not to disturb what is measured. */
const LOOK_MS = 1_000;

/** What a part of a run consists of. */
const SCALES = {
  quick: { suites: ['chromium'], parts: ['usual', 'start'], rounds: 2 },
  default: { suites: ['chromium', 'chromium-sqlite', 'firefox'], parts: ['usual', 'big', 'start'], rounds: 3 },
};

const chromiumWith = (...more) => {
  const { args } = flags['goog:chromeOptions'];
  return { flags: { ...flags, 'goog:chromeOptions': { args: [...args, ...more] } } };
};

/** Each browser: how it starts, what share of each target is enough, and what its back end leaves in the profile. */
const SUITES = {
  'chromium': {
    program: 'chromium', share: 1,
    start: (profile) => startChromium(chromiumWith(), profile),
    proof: /\.indexeddb\.leveldb$/,
  },
  'chromium-sqlite': {
    program: 'chromium', share: 0.8,
    start: (profile) => startChromium(chromiumWith('--enable-features=IdbSqliteBackingStore'), profile),
    proof: /IndexedDB\/.*-wal$/,
  },
  'firefox': {
    program: 'firefox-esr', share: 0.8,
    // Its clock is coarse on purpose, which costs nothing where only minutes are measured.
    start: (profile) => startFirefox({ flags }, profile, { 'privacy.reduceTimerPrecision': false }),
    proof: /storage\/default\/.*\/idb\/.*\.sqlite$/,
  },
};

const versionOf = (path) => JSON.parse(readFileSync(path, 'utf8')).version;

/** The versions of us, of the peers and of the browser. */
function versions(program) {
  const { devDependencies } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'));
  const peers = Object.keys(devDependencies).filter((name) => !['esbuild', 'events'].includes(name));
  return {
    persistency: versionOf(join(root, 'pkg', 'package.json')),
    ...Object.fromEntries(peers.map((name) => [name, versionOf(join(here, 'node_modules', name, 'package.json'))])),
    browser: execFileSync(program, ['--version'], { encoding: 'utf8' }).trim(),
  };
}

/** What was measured on, and how busy others kept it before. */
const machine = [
  ['cpu', cpus()[0].model], ['cores', String(cpus().length)],
  ['memory', `${Math.round(totalmem() / 2 ** 30)} GiB`], ['os', `${type()} ${release().split('.', 2).join('.')}`],
  ['load before', loadavg()[0].toFixed(1)],
];

/** Aborted when this program is told to end, so that no browser outlives it. */
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
}

/** Waits for the run in the page, telling what it does. */
async function result(tab, suite) {
  let told = '';
  for (const end = Date.now() + SUITE_MS; Date.now() < end; await pause(LOOK_MS)) {
    interrupted.signal.throwIfAborted();
    const state = await tab.run((lab) => lab.state);
    if (state.error) throw new Error(`${suite}: ${state.error}`);
    if (state.result) return state.result;
    const step = state.work && `${suite}: round ${state.round + 1} of ${state.rounds}: ${state.work}`;
    if (step && step !== told) console.log(step);
    told = step;
  }
  throw new Error(`${suite}: no result within ${SUITE_MS} ms`);
}

/** Fails unless a database that the page opens leaves in the profile what its back end leaves there. */
async function prove(tab, profile, { proof }) {
  const inProfile = () => readdirSync(profile, { recursive: true }).some((path) => proof.test(path));
  await tab.run(() => new Promise((resolve, reject) => {
    const opening = indexedDB.open('proof', 1);
    opening.onerror = () => reject(opening.error);
    opening.onupgradeneeded = () => opening.result.createObjectStore('proof').put('proof', 'proof');
    opening.onsuccess = () => resolve(null);
  }));
  for (const end = Date.now() + PROOF_MS; Date.now() < end && !inProfile(); await pause(LOOK_MS));
  if (!inProfile()) throw new Error(`no file of the profile is like ${proof}, so this is another back end`);
}

async function runSuite(suite, scale, { url, scratch, ...given }) {
  const { program, share, start } = SUITES[suite];
  const profile = join(scratch, suite);
  mkdirSync(profile);
  const browser = await start(profile);
  try {
    const tab = await browser.tab(`${url}bench/page.html`);
    await prove(tab, profile, SUITES[suite]);
    const options = { ...SCALES[scale], budgetMs: BUDGET_MS, ...given, share, keptBase: `${url}kept/bench/` };
    await tab.run((lab, each) => lab.start(each), options);
    const { rounds: done, chosen, rows } = await result(tab, suite);
    return {
      schema: 1, suite, scale, rounds: done, machine, versions: versions(program), chosen,
      rows: rows.map((row) => ({ suite, ...row })),
    };
  } finally {
    await browser.close();
  }
}

async function main() {
  const { values } = parseArgs({ options: {
    'quick': { type: 'boolean', default: false },
    'suites': { type: 'string' },
    'size': { type: 'string', default: 'FULL' },
    'parts': { type: 'string' },
    'peers': { type: 'string' },
    'rounds': { type: 'string' },
    'out': { type: 'string', default: join(root, 'target', 'bench', 'results') },
  } });
  const scale = values.quick ? 'quick' : 'default';
  const suites = values.suites?.split(',') ?? SCALES[scale].suites;
  const unknown = suites.filter((suite) => !Object.hasOwn(SUITES, suite));
  if (unknown.length > 0) {
    throw new Error(`no suite ${unknown.join(', ')}; there are ${Object.keys(SUITES).join(', ')}`);
  }

  const given = { size: values.size };
  for (const name of ['parts', 'peers']) if (values[name]) given[name] = values[name].split(',');
  // Who wants so many rounds waits for them.
  if (values.rounds) Object.assign(given, { rounds: Number(values.rounds), budgetMs: SUITE_MS });

  await buildSite();
  // Profiles lie beside what is built, since many machines keep /tmp in memory; sockets need a short path.
  const scratch = mkdtempSync(join(root, 'target', 'bench', 'profiles-'));
  const sockets = mkdtempSync('/tmp/bench-');
  process.env.TMPDIR = sockets;
  process.once('exit', () => {
    const options = { recursive: true, force: true, maxRetries: 10, retryDelay: 100 };
    for (const folder of [scratch, sockets]) rmSync(folder, options);
  });
  const folders = { 'bench/': site, 'pkg/': join(root, 'pkg') };
  const mounts = Object.fromEntries(['/', '/kept/'].flatMap((place) =>
    Object.entries(folders).map(([name, folder]) => [place + name, folder])));
  const server = await serve(mounts, 0, undefined, '/kept/');
  try {
    mkdirSync(values.out, { recursive: true });
    const failed = [];
    for (const suite of suites) {
      try {
        const report = await runSuite(suite, scale, { url: server.url, scratch, ...given });
        writeFileSync(join(values.out, `${suite}.json`), `${JSON.stringify(report, null, 2)}\n`);
      } catch (error) {
        interrupted.signal.throwIfAborted();
        // The others take minutes too, and are not to blame.
        console.error(error);
        failed.push(suite);
      }
    }
    if (failed.length > 0) throw new Error(`not measured: ${failed.join(', ')}`);
  } finally {
    await server.close();
  }
}

await main();
