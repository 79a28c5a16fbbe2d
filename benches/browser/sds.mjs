// Runs `src/sds.js` in Chromium with the built package and a profile on disk, and prints what it measured: the
// times, which others on the machine lengthen, and the processor's time for each operation, which they do not.
// Ends only what it started.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChromium } from '../../.ci/e2e/tabs.mjs';
import { serve } from '../../.ci/serve.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const flags = JSON.parse(readFileSync(join(root, '.ci', 'webdriver.json'), 'utf8'));

/** Milliseconds of a tick in which Linux counts the processor's time. */
const TICK_MS = 10;

/** What the browser with this profile, all its processes together, has had of processors so far, in ms. */
function processorMs(profile) {
  const ticks = new Map();
  const parents = new Map();
  let main;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      parents.set(pid, fields[1]);
      ticks.set(pid, Number(fields[11]) + Number(fields[12]));
      const isOurs = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`--user-data-dir=${profile}`);
      if (isOurs && !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=')) main = pid;
    } catch {
      // It has ended meanwhile.
    }
  }
  const isWithin = (pid) => pid === main || (parents.has(pid) && isWithin(parents.get(pid)));
  return [...ticks].filter(([pid]) => isWithin(pid)).reduce((sum, [, count]) => sum + count * TICK_MS, 0);
}

mkdirSync(join(root, 'target', 'bench'), { recursive: true });
const profile = mkdtempSync(join(root, 'target', 'bench', 'sds-'));
const server = await serve({ '/bench/': join(here, 'src'), '/pkg/': join(root, 'pkg') }, 0);
try {
  const browser = await startChromium({ flags }, profile);
  try {
    const tab = await browser.tab(`${server.url}bench/sds.html`);
    const table = {};
    const names = await tab.run((lab) => lab.open());
    for (const paced of [true, false]) {
      for (const name of names) {
        const before = processorMs(profile);
        const { operations, ...measured } = await tab.run((lab, ...given) => lab.measure(...given), name, paced);
        const processorUs = Math.round((1_000 * (processorMs(profile) - before)) / operations);
        table[`${name}, ${paced ? 'paced' : 'as fast as it goes'}`] = { ...measured, processorUs };
      }
    }
    await tab.run((lab) => lab.close());
    console.table(table);
  } finally {
    await browser.close();
  }
} finally {
  await server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
