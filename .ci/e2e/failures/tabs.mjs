// Several tabs on one job, and what the browser or another tab does to a database that is in use.

import assert from 'node:assert/strict';

const DATABASE = 'persistency/root/alpha';

/** Opens the job, keeps it in the page, and puts a row into it. */
export const openJob = async (lab, { root: options, job: jobOptions } = {}) => {
  const root = await lab.Persistency.open('root', options);
  const job = await root.openJob('alpha', jobOptions);
  Object.assign(lab.kept, { root, job, position: await job.position() });
  return (await job.info()).generation;
};

const put = async (lab, number, payload = 'v') => {
  await lab.kept.job.putAcked('c', lab.key(number), payload);
};

/** Drops the job through a root of its own. */
const drop = (lab) => lab.told(lab.Persistency.open('root').then((root) => root.dropJob('alpha')));

/** Keeps what a watch yields from now on. */
const watch = async (lab) => {
  const { job, position } = lab.kept;
  const items = [];
  const watching = job.watchFrom(position, 'c');
  lab.kept.items = items;
  lab.kept.watchEnd = (async () => {
    for await (const { type, seq, from, to, operations } of watching) {
      items.push(type === 'commit' ? { seq, rows: operations.length } : { from, to });
    }
  })().then(() => ({ kind: 'none' }), ({ kind, message }) => ({ kind, message }));
};

/** What the watch has yielded, once it has come to commit `seq`, or what it is after `ms`. */
const seen = async (lab, seq, ms) => {
  const { items } = lab.kept;
  for (const end = Date.now() + ms; Date.now() < end; await lab.pause(20)) {
    if (Number(items.at(-1)?.seq ?? items.at(-1)?.to) >= seq) break;
  }
  return items;
};

/** The kinds with which reads, writes, watches and handles end when a job has gone. */
const ended = async (lab) => {
  const { root, job, watchEnd } = lab.kept;
  const get = await lab.told(job.get('c', lab.key(1)));
  const write = await lab.told(job.putAcked('c', lab.key(1), 'again'));
  const flush = await lab.told(job.flush());
  return {
    kinds: [get, write, flush, await watchEnd].map(({ kind }) => kind),
    open: [job.isOpen(), root.hasJob('alpha')],
  };
};
const GONE = { kinds: Array(4).fill('JobNotFound'), open: [false, false] };

/** A job that has gone is never made anew but by `openJob`, and then it is another one. */
async function goneFor(tab, generation) {
  assert.deepEqual(await tab.run(ended), GONE);
  const again = await tab.run(async (lab) => {
    const before = (await indexedDB.databases()).map(({ name }) => name);
    const job = await lab.kept.root.openJob('alpha');
    const { generation } = await job.info();
    const from = await lab.told(job.watchFrom(lab.kept.position, 'c').next());
    return { before, generation, count: await job.count('c'), from: from.kind };
  });
  assert.deepEqual([again.before, again.count, again.from], [[], 0, 'JobNotFound']);
  assert.notEqual(again.generation, generation);
}

const LOG = { job: { log: { lastBytes: 1_000_000 } } };
const commits = (first, last) => 
  Array.from({ length: last - first + 1 }, (_, at) => ({ seq: first + at, rows: 1 }));

export const tabs = [
  {
    fact: 'a watch in one tab has every commit of another, in order, also when that tab is closed at once',
    async run({ tab }) {
      const [watching, writing] = [await tab('/'), await tab('/')];
      await watching.run(openJob, LOG);
      await watching.run(watch);
      await writing.run(openJob, LOG);
      await writing.run(async (lab) => {
        const { job } = lab.kept;
        for (let number = 1; number <= 30; number += 1) await job.persistPut('c', lab.key(number), 'v');
        await job.persistAcked(new lab.Batch().put('other', lab.key(1), 'v'));
        await job.putAcked('c', lab.key(99), 'v');
      });
      await writing.close();
      assert.deepEqual(await watching.run(seen, 32, 5000), [...commits(1, 30), { seq: 32, rows: 1 }]);
    },
  },
  {
    fact: 'a commit whose tab ends before it could broadcast it is seen by a watch all the same',
    async run({ tab }) {
      const [watching, writing] = [await tab('/'), await tab('/')];
      await watching.run(openJob, LOG);
      await watching.run(watch);
      await writing.run(openJob, { ...LOG, root: { workerUrl: '/faulty.js' } });
      await writing.run((lab) => lab.break({ silent: true }));
      await writing.run(put, 1);
      await writing.close();
      assert.deepEqual(await watching.run(seen, 1, 5000), commits(1, 1));
    },
  },
  {
    fact: 'what another tab commits without a log is told as lagged, never left out',
    async run({ tab }) {
      const [watching, writing] = [await tab('/'), await tab('/')];
      await watching.run(openJob);
      await watching.run(watch);
      await writing.run(openJob);
      await writing.run(put, 1);
      assert.deepEqual(await watching.run(seen, 1, 5000), [{ from: 1, to: 1 }]);
    },
  },
  {
    fact: 'a watch goes on without a gap over a death of its worker',
    async run({ tab }) {
      const { run } = await tab('/');
      await run(openJob, LOG);
      await run(watch);
      await run(put, 1);
      await run((lab) => lab.kept.root.terminate());
      await run(put, 2);
      assert.deepEqual(await run(seen, 2, 5000), commits(1, 2));
    },
  },
  {
    fact: 'a worker that dies again while it opens the jobs leaves them open for the next one',
    slow: true,
    async run({ tab }) {
      const { run } = await tab('/');
      await run(openJob, LOG);
      await run(watch);
      await run(put, 1);
      // Held up by others, the next worker is still opening the job when it dies too.
      const told = await run(async (lab, name) => {
        const { job, root } = lab.kept;
        const raw = await lab.rawOpen(name);
        const upgrade = lab.rawOpen(name, 7, (database, transaction) => transaction.abort()).catch(() => {});
        root.terminate();
        const call = lab.told(job.putAcked('c', lab.key(2), 'v'));
        await lab.pause(4000);
        root.terminate();
        raw.close();
        await upgrade;
        const { kind, outcome } = await call;
        return { kind, outcome, open: job.isOpen() };
      }, DATABASE);
      assert.deepEqual(told, { kind: 'Backend', outcome: 'NotApplied', open: true });
      await run(put, 3);
      assert.equal(await run((lab) => lab.kept.job.exists('c', lab.key(3))), true);
      const { seq } = await run(({ kept: { job } }) => job.position());
      assert.deepEqual(await run(seen, seq, 5000), commits(1, seq));
    },
  },
  {
    fact: 'a worker that ends with a scan and writes under way leaves a job that opens and is whole',
    async run({ tab }) {
      const { run } = await tab('/');
      await run(openJob);
      const found = await run(async (lab) => {
        const { job, root } = lab.kept;
        const batch = new lab.Batch();
        for (let number = 0; number < 2000; number += 1) batch.put('c', lab.key(number), lab.bytes(500));
        await job.persistAcked(batch);
        const told = [];
        for (let round = 0; round < 10; round += 1) {
          // One that is not there yet is sent nothing.
          await job.position();
          const under = [job.scan('c'), job.scan('c', { reverse: true }), job.persistAcked(batch),
            job.putAcked('d', lab.key(round), 'v')];
          await lab.pause(round * 3);
          root.terminate();
          for (const { status, reason } of await Promise.allSettled(under)) {
            told.push(status === 'fulfilled' ? 'done' : `${reason.kind} ${reason.outcome}`);
          }
        }
        return { told: [...new Set(told)].sort(), count: await job.count('c'), check: await job.check() };
      });
      assert.deepEqual({ ...found, told: undefined }, { told: undefined, count: 2000, check: [] });
      assert.deepEqual(found.told.filter((each) => each !== 'done'), ['Backend Unknown']);
    },
  },
  {
    fact: 'an upgrade by another tab is not held up, and what was open says VersionTooNew',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob);
      await ours.run(put, 1);
      const upgraded = await other.run(async (lab, name) => {
        const started = performance.now();
        (await lab.rawOpen(name, 1000)).close();
        return performance.now() - started;
      }, DATABASE);
      assert.ok(upgraded < 2000, `${upgraded} ms`);
      const told = await ours.run(async (lab) => {
        const { job, root } = lab.kept;
        const get = await lab.told(job.get('c', lab.key(1)));
        const write = await lab.told(job.putAcked('c', lab.key(1), 'v'));
        await root.close().catch(() => {});
        const anew = await lab.Persistency.open('root');
        const open = await lab.told(anew.openJob('alpha'));
        return [get, write, open].map(({ kind, outcome }) => `${kind} ${outcome}`);
      });
      assert.deepEqual(told, Array(3).fill('VersionTooNew NotApplied'));
    },
  },
  {
    fact: 'a connection that was given up for another tab is made anew, and the job is the same',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(put, 1);
      const failed = await other.run((lab, name) => {
        const opened = lab.rawOpen(name, 2, (database, transaction) => transaction.abort());
        return opened.catch(({ name: kind }) => kind);
      }, DATABASE);
      assert.equal(failed, 'AbortError');
      await ours.run(put, 2);
      const found = await ours.run(async ({ kept: { job } }) =>
        [await job.count('c'), (await job.info()).generation]);
      assert.deepEqual(found, [2, generation]);
    },
  },
  {
    fact: 'a database that another tab deletes is not held up and is JobNotFound, never a silent new life',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(watch);
      await ours.run(put, 1);
      await other.run((lab, name) => lab.rawDelete(name), DATABASE);
      await goneFor(ours, generation);
    },
  },
  {
    fact: 'a job that another tab drops is JobNotFound at once in this one',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(watch);
      await ours.run(put, 1);
      const dropped = await other.run(drop);
      assert.equal(dropped.kind, undefined, dropped.message);
      assert.ok(dropped.ms < 3000, `${dropped.ms} ms`);
      await goneFor(ours, generation);
    },
  },
  {
    fact:
      'a job whose origin is evicted meanwhile is another job, and old positions are JobNotFound',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(put, 1);
      const position = await ours.run(async (lab) => {
        const { generation: life, seq } = await lab.kept.job.position();
        await lab.kept.root.close();
        return { life: [...life], seq: Number(seq) };
      });
      await other.run((lab, name) => lab.rawDelete(name), DATABASE);
      assert.notEqual(await ours.run(openJob), generation);
      const told = await ours.run(async (lab, { life, seq }) => {
        const from = { generation: Uint8Array.from(life), seq: BigInt(seq) };
        return [await lab.told(lab.kept.job.watchFrom(from, 'c').next()),
          await lab.told(lab.kept.job.logFrom(from).next())];
      }, position);
      assert.deepEqual(told.map(({ kind }) => kind), ['JobNotFound', 'JobNotFound']);
    },
  },
  {
    fact: 'a database that has lost its stores is Corrupt, and can be dropped and created anew',
    async run({ tab }) {
      const { run } = await tab('/');
      const told = await run(async (lab, name) => {
        (await lab.rawOpen(name, 1)).close();
        const root = await lab.Persistency.open('root');
        const open = await lab.told(root.openJob('alpha'));
        await root.dropJob('alpha');
        const job = await root.openJob('alpha');
        await job.putAcked('c', lab.key(1), 'v');
        return [open.kind, open.outcome, await job.count('c')];
      }, DATABASE);
      assert.deepEqual(told, ['Corrupt', 'NotApplied', 1]);
    },
  },
  {
    fact: 'data of the site cleared by its server while in use is JobNotFound',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(watch);
      await ours.run(put, 1);
      await other.open((await ours.run(() => location.href)) + `?clear=${encodeURIComponent('"storage"')}`);
      await goneFor(ours, generation);
    },
  },
  {
    fact:
      'data of the site cleared by the browser under writes is JobNotFound, and none of them is a new life',
    only: 'Chromium',
    async run({ tab, origin }) {
      const ours = await tab('/');
      const generation = await ours.run(openJob);
      await ours.run(watch);
      await ours.run(put, 1);
      await ours.run((lab) => {
        const { job } = lab.kept;
        const kinds = [];
        const one = async (number) => {
          while (!kinds.includes('JobNotFound NotApplied')) {
            const { kind, outcome } = await lab.told(job.putAcked('c', lab.key(number), lab.bytes(50_000)));
            if (kind) kinds.push(`${kind} ${outcome}`);
          }
          return kinds;
        };
        lab.kept.writers = Promise.all([2, 3, 4].map(one));
      });
      await ours.send('Storage.clearDataForOrigin', { origin, storageTypes: 'indexeddb' });
      const writers = await ours.run((lab) => lab.kept.writers);
      // What all of them were told. The browser closes the connection first, and deletes then; what was being committed
      // when it closed never hears of its end, and nobody has more than one such write.
      const [told] = writers;
      const unknown = told.filter((kind) => kind === 'Backend Unknown').length;
      assert.ok(unknown <= writers.length, told.join());
      const kinds = new Set(told.filter((kind) => !['Backend NotApplied', 'Backend Unknown'].includes(kind)));
      assert.deepEqual([...kinds], ['JobNotFound NotApplied']);
      await goneFor(ours, generation);
    },
  },
  {
    fact: 'a connection that the browser closes under calls is made anew, and what is written is whole',
    only: 'Chromium',
    async run({ tab, browser, url }) {
      const ours = await tab('/');
      const generation = await ours.run(openJob, LOG);
      await ours.run(watch);
      const internals = await browser.context.newPage();
      await internals.goto('chrome://indexeddb-internals');
      await ours.run((lab) => {
        lab.kept.acked = [];
        lab.kept.failed = [];
        lab.kept.writing = (async () => {
          for (let number = 0; !lab.kept.stop; number += 1) {
            const { value, kind, outcome } = await lab.told(lab.kept.job.putAcked('c', lab.key(number), 'v'));
            if (kind) lab.kept.failed.push(`${kind} ${outcome}`);
            else lab.kept.acked.push(Number(value));
          }
        })();
      });
      const { host } = new URL(url('/'));
      for (let closed = 0; closed < 3; closed += 1) {
        const button = internals.locator('.indexeddb-origin', { hasText: host }).locator('.force-close');
        await button.first().click();
        await ours.run((lab) => lab.pause(100));
        await internals.reload();
      }
      await internals.close();
      const { acked, failed, kinds, life } = await ours.run(async (lab) => {
        lab.kept.stop = true;
        await lab.kept.writing;
        const { acked, failed, job } = lab.kept;
        return { acked, failed, kinds: [await job.count('c'), await job.check()],
          life: (await job.info()).generation };
      });
      console.log(`        ${acked.length} acknowledged, ${failed.length} failed`, failed);
      assert.equal(life, generation);
      assert.deepEqual([...new Set(acked)], acked);
      assert.deepEqual(failed, []);
      assert.deepEqual(kinds, [acked.length, []]);
      assert.deepEqual(await ours.run(seen, acked.at(-1), 5000), commits(1, acked.at(-1)));
    },
  },
  {
    fact: 'a lost connection is made anew once without anybody noticing, and twice is Backend and passes',
    async run({ tab }) {
      const [{ run }, other] = [await tab('/'), await tab('/')];
      await run(openJob, { root: { workerUrl: '/faulty.js' } });
      // A job that nobody else has open is answered from memory, and needs no connection for that.
      await other.run(openJob);
      await run(put, 1);
      const told = await run(async (lab) => {
        const { job } = lab.kept;
        const all = [];
        for (const lost of [1, 2, 3]) {
          for (const call of [() => job.get('c', lab.key(1)), () => job.putAcked('c', lab.key(2), 'v'),
            () => job.count('c')]) {
            await lab.break({ lost });
            const { kind = 'done', outcome = '' } = await lab.told(call());
            await lab.break({});
            all.push(`${lost} ${kind} ${outcome}`);
          }
        }
        return { all, after: await job.count('c') };
      });
      assert.deepEqual(told.all.slice(0, 3), Array(3).fill('1 done '));
      assert.deepEqual([...new Set(told.all.slice(3).map((each) => each.slice(2)))], ['Backend NotApplied']);
      assert.equal(told.after, 2);
    },
  },
  {
    fact: 'a put that nobody waits for before the page goes is there whole or not at all, and holds up nobody',
    async run({ tab, url }) {
      const ours = await tab('/');
      let there = 0;
      for (let round = 1; round <= 5; round += 1) {
        await ours.run(openJob);
        await ours.run((lab, number) => {
          const batch = new lab.Batch();
          for (let row = 0; row < 50; row += 1) batch.put(`r${number}`, lab.key(row), lab.bytes(30_000));
          setTimeout(() => {
            void lab.kept.job.persist(batch);
            location.assign('/?next');
          });
        }, round).catch(() => {});
        await ours.arrived('?next');
        await ours.open(url('/'));
        await ours.run(openJob);
        const count = await ours.run(({ kept: { job } }, number) => job.count(`r${number}`), round);
        assert.ok([0, 50].includes(count), `${count} rows of 50`);
        there += count / 50;
      }
      console.log(`        ${there} of 5 such batches were there`);
    },
  },
  {
    fact: 'a frozen tab holds nobody up, and goes on without a gap and without late deadlines',
    only: 'Chromium',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, { job: { ...LOG.job, deadlineMs: 1000 } });
      await ours.run(watch);
      await other.run(openJob, LOG);
      await ours.run((lab) => { lab.kept.early = lab.told(lab.kept.job.putAcked('c', lab.key(1), 'v')); });
      await ours.send('Page.setWebLifecycleState', { state: 'frozen' });
      for (let number = 2; number <= 6; number += 1) await other.run(put, number);
      await other.run((lab) => lab.pause(2500));
      await ours.send('Page.setWebLifecycleState', { state: 'active' });
      const early = await ours.run((lab) => lab.kept.early);
      assert.equal(early.kind, undefined, early.message);
      assert.deepEqual(await ours.run(seen, 6, 5000), commits(1, 6));
      await ours.run(put, 7);
      assert.deepEqual(await ours.run(seen, 7, 5000), commits(1, 7));
    },
  },
  {
    fact: 'a tab that is frozen under its writes is whole afterwards, and who waits for it has its deadline',
    only: 'Chromium',
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, LOG);
      await other.run(openJob, { job: { ...LOG.job, deadlineMs: 1000 } });
      await ours.run((lab) => {
        lab.kept.failed = [];
        lab.kept.writing = (async () => {
          for (let number = 0; !lab.kept.stop; number += 1) {
            const batch = new lab.Batch();
            for (let row = 0; row < 20; row += 1) batch.put('c', lab.key(row), String(number));
            const { kind, outcome } = await lab.told(lab.kept.job.persistAcked(batch));
            if (kind) lab.kept.failed.push(`${kind} ${outcome}`);
          }
        })();
      });
      const kinds = [];
      for (let round = 0; round < 3; round += 1) {
        await ours.send('Page.setWebLifecycleState', { state: 'frozen' });
        const { kind = 'done', outcome = '', ms } = await other.run((lab, number) =>
          lab.told(lab.kept.job.putAcked('other', lab.key(number), 'v')), round);
        kinds.push(`${kind} ${outcome}`.trim());
        assert.ok(ms < 12_000, `${ms} ms`);
        await ours.send('Page.setWebLifecycleState', { state: 'active' });
        await ours.run((lab) => lab.pause(50));
      }
      const { failed, payloads, check } = await ours.run(async (lab) => {
        lab.kept.stop = true;
        await lab.kept.writing;
        const rows = await lab.kept.job.scan('c');
        const payloads = new Set(rows.map(({ payload }) => new TextDecoder().decode(payload)));
        return { failed: lab.kept.failed, payloads: payloads.size, check: await lab.kept.job.check() };
      });
      console.log(`        the other tab's writes meanwhile: ${kinds.join(', ')}`);
      assert.ok(kinds.every((kind) => ['done', 'Timeout NotApplied'].includes(kind)), kinds.join());
      assert.deepEqual({ failed, payloads, check }, { failed: [], payloads: 1, check: [] });
    },
  },
  {
    fact: 'a tab that is frozen or in the back/forward cache does not hold up who drops its job',
    async run({ tab, browserName: name, url }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob);
      await ours.run(watch);
      await ours.open(url('/').replace(/\/\/[^.]*/, '//elsewhere'));
      const dropped = await other.run(drop);
      assert.equal(dropped.kind, undefined, dropped.message);
      assert.ok(dropped.ms < 3000, `${dropped.ms} ms`);
      assert.notEqual(await other.run(openJob), generation);
      await ours.back();
      const restored = await ours.run((lab) => lab.kept.job !== undefined);
      console.log(`        ${name} ${restored ? 'restored the page' : 'loaded the page anew'}`);
      if (restored) assert.deepEqual(await ours.run(ended), GONE);
      if (name === 'Firefox') return;
      await other.run((lab) => lab.kept.root.close());
      await ours.run(openJob);
      await ours.send('Page.setWebLifecycleState', { state: 'frozen' });
      const frozen = await other.run(drop);
      console.log(`        frozen: ${frozen.kind ?? 'done'} ${frozen.ms} ms`);
      assert.equal(frozen.kind, undefined, frozen.message);
      await ours.send('Page.setWebLifecycleState', { state: 'active' });
      assert.equal((await ours.run((lab) => lab.told(lab.kept.job.get('c', lab.key(1))))).kind,
        'JobNotFound');
    },
  },
  {
    fact: 'a page that comes back from the back/forward cache watches on without a gap',
    async run({ tab, browserName: name, url }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, LOG);
      await ours.run(watch);
      await ours.run(put, 1);
      await ours.run(({ kept }) => {
        addEventListener('pageshow', ({ persisted }) => { kept.persisted = persisted; });
      });
      await ours.open(url('/').replace(/\/\/[^.]*/, '//elsewhere'));
      await other.run(openJob, LOG);
      for (let number = 2; number <= 4; number += 1) await other.run(put, number);
      await ours.back();
      const restored = await ours.run((lab) => lab.kept.persisted === true);
      console.log(`        ${name} ${restored ? 'restored the page' : 'loaded the page anew'}`);
      if (!restored) await ours.run(openJob, LOG);
      else assert.deepEqual(await ours.run(seen, 4, 5000), commits(1, 4));
      await ours.run(put, 5);
      assert.equal(await ours.run(({ kept: { job } }) => job.count('c')), 5);
    },
  },
];
