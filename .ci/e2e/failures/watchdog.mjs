// What never ends by itself: every call is answered within its deadline and ten seconds, whatever happens.

import assert from 'node:assert/strict';
import { openJob } from './tabs.mjs';

const DATABASE = 'persistency/root/alpha';
/** The deadline of these jobs, in milliseconds. */
const DEADLINE_MS = 1000;
/** By how much an answer comes late that timers alone do not show: the browser ends a worker, messages wait. */
const NOISE_MS = 2000;
/** Milliseconds after which a call must have been answered: its deadline, ten seconds, and some for the test. */
const ANSWER_MS = DEADLINE_MS + 10_000 + NOISE_MS;

const JOB = { job: { deadlineMs: DEADLINE_MS } };
/** The same where a worker hangs: a busy browser takes some seconds to end it, and with it what it holds of the job. */
const HANGING_DEADLINE_MS = 15_000;
const HANGING = { job: { deadlineMs: HANGING_DEADLINE_MS } };

/** What a read, a write, a flush and a scan come to. */
const calls = async (lab) => {
  const { job } = lab.kept;
  const all = [job.get('c', lab.key(1)), job.putAcked('c', lab.key(2), 'v'), job.flush(), job.scan('c')];
  return Promise.all(all.map((each) => lab.told(each)));
};

/** A transaction over everything, which goes on until it is told to stop. */
const spin = async (lab, name) => {
  const database = await lab.rawOpen(name);
  const transaction = database.transaction(['meta', 'rows', 'chunks', 'log', 'journal'], 'readwrite');
  const next = () => {
    if (!lab.kept.stop) transaction.objectStore('meta').get(new Uint8Array()).onsuccess = next;
  };
  next();
};

function inTime(told, kinds, deadlineMs = DEADLINE_MS) {
  const seen = told.map(({ kind, outcome, message }) => `${kind} ${outcome}: ${message}`);
  for (const { kind } of told) assert.ok(kinds.includes(kind), seen.join('\n'));
  for (const { ms } of told) assert.ok(ms < ANSWER_MS - DEADLINE_MS + deadlineMs, `${ms} ms`);
}

/** The job works again: what is put can be read. */
const works = async (lab, expected) => {
  await lab.kept.job.putAcked('c', lab.key(3), 'after');
  return (await lab.kept.job.get('c', lab.key(3))).length === 5;
};

export const watchdog = [
  {
    fact: 'a watch waits for longer than the deadline of its job, also over a worker that hangs',
    slow: true,
    async run({ tab }) {
      const { run } = await tab('/');
      await run(openJob, { job: { ...HANGING.job, log: { lastBytes: 1_000_000 } },
        root: { workerUrl: '/faulty.js' } });
      await run(async (lab) => {
        const watching = lab.kept.job.watch('c');
        lab.kept.first = watching.next().then(({ value }) => value);
        await lab.pause(40_000);
        await lab.kept.job.putAcked('c', lab.key(1), 'v');
        lab.kept.second = watching.next().then(({ value }) => value);
        await lab.break({ loop: true });
        await lab.told(lab.kept.job.get('c', lab.key(1)));
        await lab.kept.job.putAcked('c', lab.key(2), 'v');
      });
      const seqs = await run(async ({ kept }) => [(await kept.first).seq, (await kept.second).seq]);
      assert.deepEqual(seqs, [1, 2]);
    },
  },
  {
    fact: 'calls to a worker that hangs are Backend in time, and the next one starts a new worker',
    slow: true,
    async run({ tab }) {
      const { run } = await tab('/');
      await run(openJob, { ...HANGING, root: { workerUrl: '/faulty.js' } });
      await run((lab) => lab.break({ loop: true }));
      inTime(await run(calls), ['Backend'], HANGING_DEADLINE_MS);
      assert.ok(await run(works));
    },
  },
  {
    fact:
      'calls that a transaction of another tab holds up are Timeout in time, not applied, and go on afterwards',
    slow: true,
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, JOB);
      // Who is alone tells a put to commit at once, which cannot be taken back.
      await other.run(openJob, JOB);
      await other.run(spin, DATABASE);
      const told = await ours.run(calls);
      inTime(told, ['Timeout']);
      assert.deepEqual(told.map(({ outcome }) => outcome), Array(4).fill('NotApplied'));
      await other.run((lab) => { lab.kept.stop = true; });
      assert.ok(await ours.run(works));
      assert.equal(await ours.run(async (lab) => lab.kept.job.exists('c', lab.key(2))), false);
    },
  },
  {
    fact:
      'a drop that a tab holds up counts as dropped in time; the job opens anew when that tab lets go',
    slow: true,
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      const generation = await ours.run(openJob, JOB);
      await other.run(async (lab, name) => { lab.kept.raw = await lab.rawOpen(name); }, DATABASE);
      const drop = await ours.run((lab) => lab.told(lab.kept.root.dropJob('alpha')));
      assert.equal(drop.kind, undefined, drop.message);
      assert.ok(drop.ms < ANSWER_MS, `${drop.ms} ms`);
      const open = await ours.run((lab, deadlineMs) =>
        lab.told(lab.kept.root.openJob('alpha', { deadlineMs })), DEADLINE_MS);
      inTime([open], ['Busy']);
      await other.run((lab) => lab.kept.raw.close());
      assert.notEqual(await ours.run(openJob, JOB), generation);
      assert.ok(await ours.run(works));
    },
  },
  {
    fact: 'an open that an upgrade of another tab holds up is Busy in time',
    slow: true,
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, JOB);
      await ours.run((lab) => lab.kept.root.close());
      await other.run(async (lab, name) => {
        lab.kept.raw = await lab.rawOpen(name);
        // Waits for the first connection, which does not let go; and we wait for it.
        const upgrade = lab.rawOpen(name, 7, (database, transaction) => transaction.abort());
        lab.kept.upgrade = upgrade.catch(() => {});
      }, DATABASE);
      const open = await ours.run(async (lab, deadlineMs) => {
        lab.kept.root = await lab.Persistency.open('root');
        return lab.told(lab.kept.root.openJob('alpha', { deadlineMs }));
      }, DEADLINE_MS);
      inTime([open], ['Busy']);
      await other.run(async (lab) => { lab.kept.raw.close(); await lab.kept.upgrade; });
      await ours.run(openJob, JOB);
      assert.ok(await ours.run(works));
    },
  },
  {
    fact: 'an open that the browser never answers is Busy in time, and one that it fails is Backend',
    slow: true,
    async run({ tab }) {
      const { run } = await tab('/');
      const told = await run(async (lab, deadlineMs) => {
        const root = await lab.Persistency.open('root', { workerUrl: '/faulty.js' });
        const all = [];
        for (const open of ['backing', 'never']) {
          await lab.break({ open });
          all.push(await lab.told(root.openJob('alpha', { deadlineMs })));
        }
        await lab.break({});
        Object.assign(lab.kept, { root, job: await root.openJob('alpha') });
        return all;
      }, DEADLINE_MS);
      inTime(told, ['Backend', 'Busy']);
      const kinds = told.map(({ kind, outcome }) => `${kind} ${outcome}`);
      assert.deepEqual(kinds, ['Backend NotApplied', 'Busy NotApplied']);
      assert.ok(await run(works));
    },
  },
  {
    fact: 'in the page itself, calls that another tab holds up are Timeout in time too',
    slow: true,
    async run({ tab }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob, { ...JOB, root: { worker: 'none' } });
      await other.run(spin, DATABASE);
      inTime(await ours.run(calls), ['Timeout']);
      await other.run((lab) => { lab.kept.stop = true; });
      assert.ok(await ours.run(works));
    },
  },
];
