// Storage that is full.

import assert from 'node:assert/strict';
import { openJob } from './tabs.mjs';

const MIB = 1024 * 1024;

/** Fills the job until a put fails, then looks at what still works. */
const fill = async (lab, bytes, most) => {
  const { job } = lab.kept;
  await job.putAcked('c', lab.key(0), 'small');
  let failed;
  let done = 0;
  for (; done < most && !failed; done += 1) {
    failed = await job.putAcked('big', lab.key(done), lab.bytes(bytes, done + 1)).then(() => undefined, (error) => error);
  }
  if (!failed) return { done };
  // Less and less, until nothing fits.
  for (const less of [64 * 1024, 1024]) {
    let fits = true;
    for (let number = 0; fits && number < 100; number += 1) {
      fits = await job.putAcked('big', lab.key('less', less, number), lab.bytes(less)).then(() => true, () => false);
    }
  }
  const second = await lab.told(lab.kept.root.openJob('beta'));
  const mixed = new lab.Batch().put('c', lab.key(1), 'with it').delete('c', lab.key(0)).put('big', lab.key(1000), lab.bytes(bytes));
  const batch = await lab.told(job.persistAcked(mixed));
  const rows = await job.scan('c');
  const receipt = await job.persistPut('big', lab.key(1000), lab.bytes(bytes));
  const later = [await lab.told(receipt.committed()), await lab.told(job.flush())];
  const deleted = await lab.told(job.persistAcked(new lab.Batch().clear('big')));
  return {
    done, failed: `${failed.kind} ${failed.outcome}`, batch: `${batch.kind} ${batch.outcome}`, second: second.kind,
    rows: rows.map(({ payload }) => new TextDecoder().decode(payload)), later: later.map(({ kind }) => kind ?? 'done'),
    deleted: deleted.kind ?? 'done', left: await job.count('big'), check: await job.check(),
  };
};
const FULL = {
  failed: 'StorageFull NotApplied', second: 'StorageFull', batch: 'StorageFull NotApplied', rows: ['small'], later: ['StorageFull', 'done'],
  deleted: 'done', left: 0, check: [],
};

export const storage = [
  {
    fact: 'a write beyond the quota is StorageFull and applies nothing; reads and deletes still work',
    only: 'Chromium',
    async run({ tab, origin }) {
      const ours = await tab('/');
      // Before the first write: the browser remembers for a while how much room there was.
      await ours.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 20 * MIB });
      await ours.run(openJob);
      const { done, ...found } = await ours.run(fill, 4 * MIB, 20);
      assert.deepEqual(found, FULL, `${done} puts`);
      await ours.send('Storage.overrideQuotaForOrigin', { origin });
      const told = await ours.run((lab) => lab.told(lab.kept.job.putAcked('big', lab.key(1), lab.bytes(1000))));
      assert.equal(told.kind, undefined, told.message);
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
      assert.equal(await ours.run(async (lab) => (await lab.kept.root.openJob('alpha')).putAcked('c', lab.key(1), 'v')), 1);
    },
  },
  {
    fact: 'a write beyond the quota is StorageFull and applies nothing; reads and deletes still work',
    only: 'Firefox',
    own: true,
    async run({ start, profile, url }) {
      const browser = await start(profile(), { 'dom.quotaManager.temporaryStorage.fixedLimit': 50 * 1024 });
      try {
        const ours = await browser.tab(url('/'));
        await ours.run(openJob);
        const { done, ...found } = await ours.run(fill, 4 * MIB, 30);
        assert.deepEqual(found, FULL, `${done} puts`);
      } finally {
        await browser.close();
      }
    },
  },
];
