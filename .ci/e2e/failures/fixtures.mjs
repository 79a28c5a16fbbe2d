// Databases of format 1 as they are checked in: what every later version has to open with all that they hold.
//
// `PERSISTENCY_MAKE_FIXTURES=1` writes them anew, which is right only while nothing has been released.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(`../../../tests/fixtures/${name}`, import.meta.url));
const described = JSON.parse(readFileSync(path('format-1.json'), 'utf8'));
const FIXTURE = path('indexed-db-1.json');
const DATABASE = 'persistency/root/alpha';

/** Writes the history as a job's, and answers what its stores hold then. */
const make = async (lab, { history, holder, compacted_after: compactedAfter }, name) => {
  const root = await lab.Persistency.open('root');
  const job = await root.openJob('alpha', { log: { lastBytes: 1024 * 1024 } });
  await job.holdLog(holder[0]);
  for (const [number, batch] of history.entries()) {
    await job.persistAcked(lab.batchOf(batch));
    if (number + 1 === compactedAfter) await job.compact();
  }
  await job.advanceLog(holder[0], BigInt(holder[1]));
  await root.close();
  const database = await lab.rawOpen(name);
  const stores = [...database.objectStoreNames];
  const transaction = database.transaction(stores);
  const asked = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
  const text = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  const key = (each) => (Array.isArray(each) ? each.map(key)
    : each instanceof ArrayBuffer ? text(new Uint8Array(each)) : each);
  const held = {};
  for (const store of stores) {
    const [keys, values] = await Promise.all([
      asked(transaction.objectStore(store).getAllKeys()), asked(transaction.objectStore(store).getAll())]);
    held[store] = keys.map((each, at) => [key(each), text(values[at])]);
  }
  database.close();
  return held;
};

/** Makes a database of what stores held. */
const restore = async (lab, held, name) => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const key = (each) => (Array.isArray(each) ? each.map(key) : typeof each === 'string' ? bytes(each) : each);
  const database = await lab.rawOpen(name, 1, (opened) => {
    for (const store of Object.keys(held)) opened.createObjectStore(store);
  });
  const transaction = database.transaction(Object.keys(held), 'readwrite');
  for (const [store, rows] of Object.entries(held)) {
    for (const [each, value] of rows) transaction.objectStore(store).put(bytes(value), key(each));
  }
  await new Promise((resolve) => { transaction.oncomplete = resolve; });
  database.close();
};

/** What a job holds that is opened, and what of it is other than described. */
const look = async (lab, { history, holder, rows }) => {
  const root = await lab.Persistency.open('root');
  const job = await root.openJob('alpha', { mode: 'mustExist' });
  Object.assign(lab.kept, { root, job });
  const wrong = [];
  const expect = (what, is) => { if (!is) wrong.push(what); };
  const info = await job.info();
  expect('seqs', info.committedSeq === BigInt(history.length) && info.logFirstSeq === 1n);
  expect('holders', info.logHolders.length === 1 && info.logHolders[0].seq === BigInt(holder[1]));
  const found = [];
  for (const category of await job.categories()) {
    for (const { key, payload } of await job.scan(category)) found.push([category, key, payload]);
  }
  expect('number of rows', found.length === rows.length);
  for (const [at, [category, key, payload]] of rows.entries()) {
    const same = found[at]?.[0] === category && lab.same(found[at][1], lab.hex(key)) &&
      lab.same(found[at][2], lab.payloadOf(payload));
    expect(`row ${at}`, same);
  }
  const position = await job.position();
  let seq = 0n;
  for await (const item of job.logFrom({ ...position, seq: 0n })) {
    expect(`commit ${item.seq}`, item.type === 'commit' && item.seq === seq + 1n);
    expect(`operations of commit ${item.seq}`, item.operations.length === history[Number(seq)].length);
    seq = item.seq;
    if (seq === BigInt(history.length)) break;
  }
  expect('the log', seq === BigInt(history.length));
  expect('damage', (await job.check()).length === 0);
  expect('the next seq', await job.persistAcked(new lab.Batch().put('later', new Uint8Array(), '1')) === seq + 1n);
  return wrong;
};

/** Gives the page what the descriptions need. */
const prepare = (lab) => {
  lab.hex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (two) => parseInt(two, 16));
  lab.payloadOf = (each) => (typeof each === 'number'
    ? Uint8Array.from({ length: each }, (_, at) => (at * 31) % 251) : lab.hex(each));
  lab.batchOf = (operations) => operations.reduce((batch, [kind, category, key, payload]) => {
    if (kind === 'clear') return batch.clear(category);
    return kind === 'put' ? batch.put(category, lab.hex(key), lab.payloadOf(payload)) : batch[kind](category, lab.hex(key));
  }, new lab.Batch());
};

export const fixtures = [
  {
    fact: 'a database of format 1 opens with all that it holds',
    async run({ tab, browserName }) {
      const { run } = await tab('/');
      await run(prepare);
      if (process.env.PERSISTENCY_MAKE_FIXTURES && browserName === 'Chromium') {
        writeFileSync(FIXTURE, `${JSON.stringify(await run(make, described, DATABASE))}\n`);
        await run((lab, name) => lab.rawDelete(name), DATABASE);
      }
      await run(restore, JSON.parse(readFileSync(FIXTURE, 'utf8')), DATABASE);
      assert.deepEqual(await run(look, described), []);
      await run((lab) => lab.kept.root.close());
    },
  },
];
