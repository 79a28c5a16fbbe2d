// What the page does whose acknowledged writes a witness outside records. Loaded by its own page only.

import { Batch, decodeKey, key, Persistency } from '/pkg/index.js';

/** How many calls are under way at once. */
const WRITERS = 6;
/** Rows of a batch, and bytes of the long payload that some batches have: more than one piece. */
const ROWS = 5;
const LONG_BYTES = 70_000;
/** Every so manieth batch has one. */
const LONG_EVERY = 16;
const CATEGORY = 'w';
/** More than any run writes: the log keeps everything. */
const LOG_BYTES = 2 ** 40;

const rowsOf = (number) => (number % 3 === 1 ? 1 : ROWS);

/** The payload of a row, which only this row of this batch has. */
function payload(round, tab, number, row) {
  const words = `${round}/${tab}/${number}/${row};`;
  const long = row === 0 && number % LONG_EVERY === 0;
  return new TextEncoder().encode(long ? words.repeat(Math.ceil(LONG_BYTES / words.length)) : words);
}

const state = {};

async function open() {
  state.root = await Persistency.open('witness');
  state.job = await state.root.openJob('alpha', { log: { lastBytes: LOG_BYTES } });
}

/** Tells the witness, together with what else is acknowledged in this turn. */
let reports = [];
function report(line) {
  reports.push(line);
  if (reports.length > 1) return;
  setTimeout(() => {
    void fetch('/report', { method: 'POST', body: reports.join('\n'), keepalive: true }).catch(() => {});
    reports = [];
  });
}

/** Writes batch after batch until told to stop; each kind of write in turn. */
function write(round, tab) {
  const { job } = state;
  let number = 0;
  let stopped = false;
  const one = async () => {
    const mine = number;
    number += 1;
    const batch = new Batch();
    const keyOf = (row) => key(round, tab, mine, row);
    const payloadOf = (row) => payload(round, tab, mine, row);
    for (let row = 0; row < rowsOf(mine); row += 1) batch.put(CATEGORY, keyOf(row), payloadOf(row));
    const seq = await [
      () => job.persistAcked(batch),
      () => job.putAcked(CATEGORY, keyOf(0), payloadOf(0)),
      async () => (await job.persist(batch)).committed(),
    ][mine % 3]();
    report(`${round} ${tab} ${mine} ${seq}`);
    // Else all writers would go in step.
    if (mine % 7 === 0) await new Promise((resolve) => setTimeout(resolve));
  };
  const loop = async () => {
    while (!stopped) await one().catch(() => new Promise((resolve) => setTimeout(resolve, 1)));
  };
  const loops = Array.from({ length: WRITERS }, loop);
  state.stop = async () => {
    stopped = true;
    await Promise.all(loops);
    // The last report is on its way.
    await new Promise((resolve) => setTimeout(resolve, 100));
  };
}

const equal = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** What a row's key and payload say, or undefined if they do not belong together. */
function readRow(row) {
  const [round, tab, number, index] = decodeKey(row.key, 'i64', 'i64', 'i64', 'i64').map(Number);
  if (!equal(row.payload, payload(round, tab, number, index))) return undefined;
  return { batch: `${round} ${tab} ${number}`, index };
}

/** The job's life, what its log holds behind `seq`, and what the rows of `round` are: each batch whole, or what is wrong. */
async function look(round, seq) {
  const { job } = state;
  const wrong = [];
  const { generation, seq: last } = await job.position();
  const commits = [];
  const log = job.logFrom({ generation, seq: BigInt(seq) });
  while (seq + commits.length < Number(last)) {
    const { value: item } = await log.next();
    if (item?.type !== 'commit') throw new Error(`the log has a gap: ${item?.type}`);
    const rows = item.operations.map(readRow);
    const [first] = rows;
    const whole = first && rows.length === rowsOf(Number(first.batch.split(' ')[2]))
      && rows.every((row, at) => row?.batch === first.batch && row.index === at);
    if (!whole) wrong.push(`commit ${item.seq} is not one whole batch`);
    commits.push([Number(item.seq), first?.batch]);
  }
  await log.return();
  const counts = {};
  for await (const row of job.rows(CATEGORY, { prefix: key(round) })) {
    const found = readRow(row);
    if (!found) wrong.push('a row has the payload of another');
    else counts[found.batch] = (counts[found.batch] ?? 0) + 1;
  }
  for (const [batch, count] of Object.entries(counts)) {
    if (count !== rowsOf(Number(batch.split(' ')[2]))) wrong.push(`batch ${batch} has ${count} rows`);
  }
  return { life: String(generation), commits, batches: Object.keys(counts), wrong };
}


globalThis.lab = {
  open, write, look, terminate: () => state.root.terminate(), stop: () => state.stop(),
  check: async () => ({ check: await state.job.check(), count: Number(await state.job.count(CATEGORY)) }),
};
