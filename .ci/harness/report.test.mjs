// The benchmark must not flatter: what a peer did wrong fails, and the report says what is missed and where we lose.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { table } from '../../benches/browser/src/table.js';
import { TINY } from '../../benches/browser/src/sizes.js';
import { BIG, USUAL, storedRows } from '../../benches/browser/src/works.js';
import { chart } from '../../benches/report/chart.mjs';
import { explanations, read, write } from '../../benches/report/main.mjs';
import { TITLES, explained, markdown } from '../../benches/report/markdown.mjs';

const sample = fileURLToPath(new URL('../../benches/report/sample', import.meta.url));

/** Runs `use` with a folder that is gone afterwards. */
function inFolder(use) {
  const folder = mkdtempSync(join(tmpdir(), 'report-'));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The lines of the report that are about a work. */
const linesOf = (report, title) => report.split('\n').filter((line) => line.startsWith(`| ${title} |`));

test('a report and its charts are written of a folder of results', () => inFolder((folder) => {
  write(sample, folder, '2000-01-01');
  const report = readFileSync(join(folder, 'BENCHMARKS.md'), 'utf8');
  const charts = Array.from(report.matchAll(/\]\((benches\/charts\/[^)]+)\)/g), ([, path]) => path);
  assert.deepEqual(charts, ['benches/charts/native.svg', 'benches/charts/chromium.svg']);
  for (const path of charts) assert.ok(existsSync(join(folder, path)), path);
  assert.match(report, /Measured on 2000-01-01\.[^]*5 rounds; cpu Some CPU, cores 2\./);
}));

test('the report says which targets are met, which are missed and how far', () => {
  const report = markdown(read(sample), '2000-01-01');
  const [load] = linesOf(report, 'load 10,000 rows in batches of 1,000');
  assert.match(load, /\| 6 × \(5\.5 to 6\.5\) \| ≥ 5 × its speed \| met \|$/);
  assert.match(linesOf(report, 'one get after another, warm')[0], /\| \*\*missed\*\*, at 50 % \|$/);
  assert.equal(linesOf(report, 'what nobody else has').length, 0);
  assert.equal(report.split('1 of 2 targets are met').length, 3);
});

test('why a target is missed stands below the table, and of one that is met nothing', () => inFolder((folder) => {
  writeFileSync(join(folder, 'chromium.md'), `# Chromium

## get-one-by-one

It costs a message.
And one back.

* Each some µs.

## load

It never is.
`);
  const suites = read(sample);
  const why = explanations(suites, folder);
  assert.deepEqual(Object.keys(why), ['chromium']);
  const [native, chromium] = markdown(suites, '2000-01-01', why).split('## Chromium');
  const reason = '\n\n**Why “one get after another, warm” is missed.** '
    + 'It costs a message.\nAnd one back.\n\n* Each some µs.\n\n';
  assert.ok(chromium.includes(reason), chromium);
  assert.ok(chromium.indexOf(reason) < chromium.indexOf('How many times better'), chromium);
  assert.doesNotMatch(chromium, /It never is/);
  assert.doesNotMatch(native, /Why “/);
}));

test('explanations are those of suites and works that there are', () => {
  const folder = fileURLToPath(new URL('../../benches/report/why', import.meta.url));
  const sources = (path) => readdirSync(fileURLToPath(new URL(`../../benches/${path}/src`, import.meta.url)),
    { withFileTypes: true }).filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8')).join('');
  for (const file of readdirSync(folder)) {
    const suite = file.replace(/\.md$/, '');
    assert.ok(suite in TITLES, file);
    const known = sources(suite === 'native' ? 'native' : 'browser');
    const why = Object.entries(explained(readFileSync(join(folder, file), 'utf8')));
    for (const [row, reason] of why) {
      assert.match(known, new RegExp(`['"]${row}['"]`), `${file}: ${row}`);
      assert.notEqual(reason, '', `${file}: ${row}`);
    }
  }
});

test('where a peer is better the report says so, also where lower figures are better', () => {
  const report = markdown(read(sample), '2000-01-01');
  const [, load] = linesOf(report, 'load 10,000 rows in batches of 1,000');
  const [, get] = linesOf(report, 'one get after another, warm');
  assert.ok(load.endsWith('| 120,000 rows/s | 6 | 8 | **0.8** |'), load);
  assert.ok(get.endsWith('| 200 µs | **0.5** | 1.5 | — |'), get);
});

test('a chart has a bar for each work that is compared with a peer, in two schemes of colours', () => {
  const [native, chromium] = read(sample);
  const bars = (svg) => svg.match(/<rect class="ours"/g).length - 1;
  assert.equal(bars(chart(chromium)), 2);
  assert.equal(bars(chart(native)), 3);
  // One in the legend, one where the usual measure is not the one.
  assert.equal(chart(native).match(/<circle class="ring"/g).length, 2);
  assert.doesNotMatch(chart(chromium), /<circle class="ring"/);
  assert.match(chart(native), /prefers-color-scheme: dark/);
  assert.ok(chart(native).includes('a peer &#60;named&#62; &#38; odd'));
  assert.equal(chart({ ...native, rows: [] }), undefined);
});

test('results of another schema are refused', () => inFolder((folder) => {
  writeFileSync(join(folder, 'x.json'), JSON.stringify({ schema: 2, suite: 'x', rows: [] }));
  assert.throws(() => read(folder), /schema 2/);
}));

const PEERS = Object.entries({ 'persistency': 'us', 'indexed-db': 'raw', 'sqlite': 'SQLite' })
  .map(([id, name]) => ({ id, name, chosen: '' }));

/** The table's row of one work, of what it took in ms in each round. */
const tableOf = (row, times, share) =>
  table(PEERS, new Map([[row, new Map(Object.entries(times))]]), TINY, share).rows[0];

test('ratios are medians of what was measured round by round, and above one where we are faster', () => {
  const { ours, peers, ratio } = tableOf('load', { 'persistency': [10, 20, 40], 'indexed-db': [20, 80, 40] });
  assert.deepEqual(ratio, { median: 2, min: 1, max: 4 });
  assert.deepEqual(ours, { median: 10_000, min: 5_000, max: 20_000 });
  assert.deepEqual(peers.raw, { median: 5_000, min: 2_500, max: 10_000 });
});

test('a target is met by its ratio or its share of it, and only ahead of whom it names', () => {
  const met = (times, share) => tableOf('load', times, share).met;
  assert.equal(met({ 'persistency': [1], 'indexed-db': [5] }), true);
  assert.equal(met({ 'persistency': [1], 'indexed-db': [4] }), false);
  assert.equal(met({ 'persistency': [1], 'indexed-db': [4] }, 0.8), true);
  assert.equal(met({ 'persistency': [2], 'indexed-db': [10], 'sqlite': [1] }), false);
  assert.equal(met({ 'persistency': [1], 'indexed-db': [10], 'sqlite': [2] }), true);
});

/** A store in memory. */
function memory() {
  const rows = new Map();
  const text = (key) => Buffer.from(key).toString();
  const ordered = () => [...rows.values()].sort((a, b) => Buffer.compare(a.key, b.key));
  const put = (row) => void rows.set(text(row.key), row);
  return {
    putBatch: async (list) => list.forEach(put),
    deleteBatch: async (keys) => keys.forEach((key) => rows.delete(text(key))),
    put: async (key, payload) => put({ key, payload }),
    get: async (key) => rows.get(text(key))?.payload,
    scan: async () => ordered(),
    last: async (limit) => ordered().reverse().slice(0, limit),
    count: async (from, to) =>
      ordered().filter(({ key }) => Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0).length,
    size: async () => rows.size,
  };
}

/** Does all works in their order; from the work `from` on with the methods of `other`. */
async function doAll(works, store, from, other) {
  const context = { store, sizes: TINY, seed: 1 };
  await store.putBatch(works === BIG ? storedRows(0, TINY.big, TINY.payload) : []);
  for (const work of works) {
    if (work.row === from) Object.assign(store, other(store));
    await work.prepare?.(context);
    await work.run(context);
    await work.check?.(context);
  }
}

test('a store that does what it is asked to passes every check', async () => {
  await doAll(USUAL, memory());
  await doAll(BIG, memory());
});

test('a store that forgets, mixes up or spoils what it was given fails', async () => {
  const forgets = () => ({ putBatch: async () => {}, put: async () => {}, deleteBatch: async () => {} });
  const spoils = ({ get }) => ({ get: async (key) => (await get(key)).map((byte) => byte ^ 1) });
  const shortens = ({ last, scan }) =>
    ({ scan: async () => (await scan()).slice(1), last: async (limit) => (await last(limit)).slice(1) });
  const miscounts = ({ count }) => ({ count: async (...range) => (await count(...range)) + 1 });
  const wrong = [
    [USUAL, 'load', forgets], [USUAL, 'put-at-once', forgets], [USUAL, 'put-one-by-one', forgets],
    [USUAL, 'load', spoils], [USUAL, 'get-one-by-one', spoils], [USUAL, 'get-at-once', spoils],
    [USUAL, 'blob', spoils],
    [USUAL, 'scan', shortens], [USUAL, 'reverse', shortens], [USUAL, 'count', miscounts],
    [BIG, 'big-put', forgets], [BIG, 'big-delete', forgets], [BIG, 'big-put-1k', forgets],
    [BIG, 'big-get-cold', spoils],
  ];
  for (const [works, from, other] of wrong) {
    await assert.rejects(doAll(works, memory(), from, other), Error, `${from}, ${other.name}`);
  }
});
