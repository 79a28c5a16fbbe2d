// Storage that is full.

import assert from 'node:assert/strict';
import { openJob } from './tabs.mjs';

const MIB = 1024 * 1024;

/** Puts rows of these sizes, each size until one fails; how that failed. */
const fill = async (lab, sizes) => {
  const { job } = lab.kept;
  await job.putAcked('c', lab.key(0), 'small');
  const failed = [];
  for (const size of sizes) {
    let error;
    for (let number = 0; number < 3000 && !error; number += 1) {
      const told = await lab.told(job.putAcked('big', lab.key(size, number), lab.noise(size)));
      if (told.kind) error = told;
    }
    failed.push(`${error?.kind} ${error?.outcome}`);
  }
  return failed;
};

/** What works where a large row finds no room: batches are whole, a flush tells nothing twice. */
const whole = async (lab, size) => {
  const { job } = lab.kept;
  const mixed = new lab.Batch().put('c', lab.key(1), 'with it').delete('c', lab.key(0));
  mixed.put('big', lab.key(), lab.noise(size));
  const batch = await lab.told(job.persistAcked(mixed));
  const rows = await job.scan('c');
  const receipt = await job.persistPut('big', lab.key(), lab.noise(size));
  const told = await lab.told(receipt.committed());
  return {
    check: await job.check(), batch: `${batch.kind} ${batch.outcome}`, receipt: told.kind,
    rows: rows.map(({ payload }) => new TextDecoder().decode(payload)),
  };
};
const WHOLE = { check: [], batch: 'StorageFull NotApplied', receipt: 'StorageFull', rows: ['small'] };

const putSmall = (lab) => lab.told(lab.kept.job.putAcked('big', lab.key(1), lab.noise(1000)));

const emptied = async (lab) => {
  const { job } = lab.kept;
  const flushed = await lab.told(job.flush());
  const deleted = await lab.told(job.persistAcked(new lab.Batch().clear('big')));
  const [left, check] = [await job.count('big'), await job.check()];
  return { flushed: flushed.kind, deleted: deleted.kind, left, check };
};
const EMPTIED = { left: 0, check: [] };

export const storage = [
  {
    fact: 'a write beyond the quota is StorageFull and applies nothing; with more room all goes on',
    only: 'Chromium',
    async run({ tab, origin }) {
      const ours = await tab('/');
      // Before the first write: the browser remembers for a while how much room there was.
      await ours.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 30 * MIB });
      await ours.run(openJob);
      assert.deepEqual(await ours.run(fill, [40 * MIB]), ['StorageFull NotApplied']);
      assert.deepEqual(await ours.run(whole, 40 * MIB), WHOLE);
      await ours.send('Storage.overrideQuotaForOrigin', { origin });
      assert.deepEqual(await ours.run(emptied), EMPTIED);
      const told = await ours.run(putSmall);
      assert.equal(told.kind, undefined, told.message);
    },
  },
  {
    fact:
      'over its quota the browser refuses whatever writes, deletes too; reads go on, and jobs can be dropped',
    only: 'Chromium',
    async run({ tab, origin }) {
      const ours = await tab('/');
      await ours.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 8 * MIB });
      await ours.run(openJob);
      assert.deepEqual(await ours.run(fill, [MIB, 1024, 1]), Array(3).fill('StorageFull NotApplied'));
      assert.deepEqual(await ours.run(whole, MIB), WHOLE);
      const told = await ours.run(async (lab) => {
        const { job, root: open } = lab.kept;
        const deleted = await lab.told(job.deleteAcked('c', lab.key(0)));
        const flushed = await lab.told(job.flush());
        const there = await job.exists('c', lab.key(0));
        const dropped = await lab.told(open.dropJob('alpha'));
        const left = await open.listJobs();
        const kinds = [deleted, flushed, dropped].map(({ kind }) => kind ?? 'done');
        return { kinds, outcome: deleted.outcome, there, left };
      });
      const kinds = ['StorageFull', 'StorageFull', 'done'];
      assert.deepEqual(told, { kinds, outcome: 'NotApplied', there: true, left: [] });
    },
  },
  {
    fact: 'a job that cannot be created within the quota is StorageFull, and can be created later',
    only: 'Chromium',
    async run({ tab, origin }) {
      const ours = await tab('/');
      await ours.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 });
      const told = await ours.run(async (lab) => {
        const root = await lab.Persistency.open('root');
        Object.assign(lab.kept, { root });
        return lab.told(root.openJob('alpha').then((job) => job.putAcked('c', lab.key(1), 'v')));
      });
      assert.deepEqual([told.kind, told.outcome], ['StorageFull', 'NotApplied'], told.message);
      await ours.send('Storage.overrideQuotaForOrigin', { origin });
      const again = async (lab) => (await lab.kept.root.openJob('alpha')).putAcked('c', lab.key(1), 'v');
      assert.equal(await ours.run(again), 1);
    },
  },
  {
    fact:
      'in full storage writes and new jobs are StorageFull and apply nothing; reads and deletes still work',
    only: 'Firefox',
    own: true,
    async run({ start, profile, url }) {
      const browser = await start(profile(), { 'dom.quotaManager.temporaryStorage.fixedLimit': 50 * 1024 });
      try {
        const ours = await browser.tab(url('/'));
        await ours.run(openJob);
        assert.deepEqual(await ours.run(fill, [4 * MIB]), ['StorageFull NotApplied']);
        assert.deepEqual(await ours.run(whole, 4 * MIB), WHOLE);
        assert.deepEqual(await ours.run(emptied), EMPTIED);
        const again = await ours.run(putSmall);
        assert.equal(again.kind, undefined, again.message);
        // To the last page: then there is no room for another job, and perhaps not even for a delete.
        assert.deepEqual(await ours.run(fill, [4 * MIB, 65_536, 1024]), Array(3).fill('StorageFull NotApplied'));
        const second = await ours.run((lab) => lab.told(lab.kept.root.openJob('beta')));
        assert.deepEqual([second.kind, second.outcome], ['StorageFull', 'NotApplied'], second.message);
        const dropped = await ours.run((lab) => lab.told(lab.kept.root.dropJob('alpha')));
        assert.equal(dropped.kind, undefined, dropped.message);
        const third = await ours.run((lab) => lab.told(lab.kept.root.openJob('beta')));
        assert.equal(third.kind, undefined, third.message);
      } finally {
        await browser.close();
      }
    },
  },
];
