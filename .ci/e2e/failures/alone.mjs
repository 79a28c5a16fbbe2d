// What needs a browser of its own: windows that keep nothing, storage switched off, damaged profiles.

import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startPrivateChromium } from '../tabs.mjs';

/** Opens the job in a mode and counts its rows, or tells why not. */
const open = async (lab, mode) => {
  const root = await lab.Persistency.open('root');
  const told = await lab.told(root.openJob('alpha', { mode, deadlineMs: 5000 }).then(async (job) => {
    const count = Number(await job.count('c'));
    await job.putAcked('c', lab.key(1), 'v');
    return { count, generation: (await job.info()).generation };
  }));
  await root.close();
  return told;
};

/** Writes garbage over every file of the origins' databases. */
function damage(profile, pattern) {
  const paths = readdirSync(profile, { recursive: true }).map(String).filter((path) => pattern.test(path));
  assert.ok(paths.length > 0);
  for (const path of paths) writeFileSync(join(profile, path), Buffer.alloc(50_000, 'no database at all '));
}

/** A job whose files are garbage: never rows that are none, never the old job, and a new one can be made. */
const damaged = (pattern) => async ({ start, profile, url }) => {
  const folder = profile();
  const visit = async (...modes) => {
    const browser = await start(folder);
    try {
      const tab = await browser.tab(url('/'));
      const all = [];
      for (const mode of modes) all.push(await tab.run(open, mode));
      return all;
    } finally {
      await browser.close();
    }
  };
  const [{ value: first }] = await visit('create');
  damage(folder, pattern);
  const [existing, created] = await visit('mustExist', 'create');
  assert.equal(existing.kind, 'JobNotFound', existing.message);
  assert.equal(created.value?.count, 0, created.message);
  assert.notEqual(created.value.generation, first.generation);
};

/** A window that keeps nothing: a job works there, and the next such window has none. */
const privately = (visits, startPrivate) => async (context) => {
  for (let visit = 0; visit < visits; visit += 1) {
    const browser = await startPrivate(context);
    try {
      const tab = await browser.tab(context.url('/'));
      const told = [await tab.run(open, 'create'), await tab.run(open, 'mustExist')];
      assert.deepEqual(told.map(({ value, kind }) => value?.count ?? kind), [0, 1]);
    } finally {
      await browser.close();
    }
  }
};

export const alone = [
  {
    fact: 'a private window has jobs that work and are gone with it',
    only: 'Chromium',
    own: true,
    run: privately(2, (context) => startPrivateChromium(context)),
  },
  {
    fact: 'a private window has jobs that work',
    only: 'Firefox',
    own: true,
    run: privately(1, ({ start, profile }) => start(profile(),
      { 'browser.privatebrowsing.autostart': true })),
  },
  {
    fact: 'a job whose database files are garbage is JobNotFound, and can be created anew',
    only: 'Chromium',
    own: true,
    run: damaged(/IndexedDB\/.*\.leveldb\/(MANIFEST|CURRENT|.*\.(log|ldb))/),
  },
  {
    fact: 'a job whose database files are garbage is JobNotFound, and can be created anew',
    only: 'Firefox',
    own: true,
    run: damaged(/\/idb\/[^/]*\.sqlite$/),
  },
];
