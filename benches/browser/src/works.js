// What is measured: each work with its preparation, the part that counts, and the check of what came of it.
// Knows stores by their methods only, and neither peers nor clocks.

import { distinct, keyOf, noise, random, rowOf, same } from "./data.js";

/** Rows whose bytes are compared, of the many that are read. */
const SAMPLES = 5;

const number = new Intl.NumberFormat("en");

/** Stored rows have even numbers, so that there is room for others between them. */
const stored = (place) => 2 * place;
const between = (place) => 2 * place + 1;

export const storedRows = (from, to, payload) =>
  Array.from({ length: to - from }, (_, at) => rowOf(stored(from + at), payload));

function expectSize(found, expected) {
  if (found !== expected) throw new Error(`${found} rows where ${expected} were stored`);
}

/** Compares rows that were read with those that belong at their keys, all lengths and some bytes. */
function expectRows(found, expected, what) {
  expectSize(found.length, expected.length);
  const next = random(found.length);
  const samples = new Set(Array.from({ length: SAMPLES }, () => next(found.length)));
  found.forEach(({ key, payload }, at) => {
    if (payload?.length !== expected[at].payload.length) throw new Error(`${what}: a payload of another length`);
    if (!samples.has(at)) return;
    if (key !== undefined) same(key, expected[at].key, what);
    same(payload, expected[at].payload, what);
  });
}

async function readBack(store, rows) {
  const next = random(rows.length);
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const { key, payload } = rows[next(rows.length)];
    same(await store.get(key), payload, "a row that was just stored");
  }
}

/** New rows between those that are there, in the upper half of them, so that the lower half stays as it is. */
function newRows({ sizes, seed, added }, count, salt) {
  const half = Math.floor(sizes.rows / 2);
  const taken = new Set(added.map(({ place }) => place));
  const places = distinct(count + taken.size, sizes.rows - half, seed + salt)
    .map((place) => half + place).filter((place) => !taken.has(place)).slice(0, count);
  return places.map((place) => ({ place, ...rowOf(between(place), sizes.payload) }));
}

const gets = (count) => ({
  prepare(context) {
    const { sizes, seed, store } = context;
    const next = random(seed + count(sizes));
    context.wanted = Array.from({ length: count(sizes) }, () => rowOf(stored(next(sizes.rows)), sizes.payload));
    return Promise.all(context.wanted.map(({ key }) => store.get(key)));
  },
  check({ wanted, found }) {
    expectRows(found.map((payload) => ({ payload })), wanted, "get");
  },
});

async function getOneByOne(context) {
  const { store, wanted } = context;
  context.found = [];
  for (const { key } of wanted) context.found.push(await store.get(key));
}

async function getAtOnce(context) {
  context.found = await Promise.all(context.wanted.map(({ key }) => context.store.get(key)));
}

async function repeat(context, ask) {
  for (let time = 0; time < context.sizes.repeats; time += 1) context.found = await ask();
}

/**
 * Each has a name that stays, what it was in words, what a store must have, how many operations it is, their
 * unit, and what we aim at against raw IndexedDB on the page (`than` names one more peer to be ahead of).
 * `prepare` and `check` are not counted, `run` is.
 */
export const USUAL = [
  {
    row: "load",
    title: ({ rows, batch }) => `load ${number.format(rows)} rows in batches of ${number.format(batch)}`,
    needs: ["putBatch"], count: ({ rows }) => rows, unit: "rows/s",
    target: { ratio: 5, than: "sqlite" },
    prepare(context) {
      const { rows, payload } = context.sizes;
      context.rows = storedRows(0, rows, payload);
    },
    async run({ rows, sizes, store }) {
      for (let at = 0; at < rows.length; at += sizes.batch) await store.putBatch(rows.slice(at, at + sizes.batch));
    },
    async check({ store, rows }) {
      expectSize(await store.size(), rows.length);
      await readBack(store, rows);
    },
  },
  {
    row: "put-at-once", title: ({ atOnce }) => `${number.format(atOnce)} single puts at once`,
    needs: ["put"], count: ({ atOnce }) => atOnce, unit: "puts/s", target: { ratio: 4 },
    prepare(context) {
      context.added = [];
      context.list = newRows(context, context.sizes.atOnce, 1);
    },
    run: ({ list, store }) => Promise.all(list.map(({ key, payload }) => store.put(key, payload))),
    async check(context) {
      const { list, sizes, store } = context;
      context.added = list;
      expectSize(await store.size(), sizes.rows + list.length);
      await readBack(store, list);
    },
  },
  {
    row: "put-one-by-one", title: () => "one put after another, each committed",
    needs: ["put"], count: ({ oneByOne }) => oneByOne, unit: "µs", target: { ratio: 0.7 },
    prepare(context) {
      context.list = newRows(context, context.sizes.oneByOne, 2);
    },
    async run({ list, store }) {
      for (const { key, payload } of list) await store.put(key, payload);
    },
    async check(context) {
      const { list, sizes, store } = context;
      context.added = [...context.added, ...list];
      expectSize(await store.size(), sizes.rows + context.added.length);
      await readBack(store, list);
    },
  },
  {
    row: "get-one-by-one", title: () => "one get after another, warm",
    needs: ["get"], count: ({ oneByOne }) => oneByOne, unit: "µs", target: { ratio: 1 },
    ...gets(({ oneByOne }) => oneByOne), run: getOneByOne,
  },
  {
    row: "get-at-once", title: ({ atOnce }) => `${number.format(atOnce)} gets at once`,
    needs: ["get"], count: ({ atOnce }) => atOnce, unit: "gets/s", target: { ratio: 2 },
    ...gets(({ atOnce }) => atOnce), run: getAtOnce,
  },
  {
    row: "scan", title: ({ rows, atOnce, oneByOne }) => `scan all ${number.format(rows + atOnce + oneByOne)} rows`,
    needs: ["scan"], count: ({ rows, atOnce, oneByOne }) => rows + atOnce + oneByOne, unit: "rows/s",
    target: { ratio: 2.5, than: "sqlite" },
    async run(context) {
      context.found = await context.store.scan();
    },
    check({ added, found, rows }) {
      expectRows(found, [...rows, ...added].sort((a, b) => compare(a.key, b.key)), "scan");
    },
  },
  {
    row: "reverse", title: ({ last }) => `the last ${last} rows, backwards`,
    needs: ["last"], count: ({ repeats }) => repeats, unit: "µs", target: { ratio: 1.5, than: "sqlite" },
    run: (context) => repeat(context, () => context.store.last(context.sizes.last)),
    check({ added, found, rows, sizes }) {
      const newest = [...rows, ...added].sort((a, b) => compare(b.key, a.key)).slice(0, sizes.last);
      expectRows(found, newest, "the last rows");
    },
  },
  {
    row: "count", title: ({ counted }) => `count ${number.format(counted)} rows of a range`,
    needs: ["count"], count: ({ repeats }) => repeats, unit: "µs", target: { ratio: 1 },
    run: (context) => repeat(context, () => context.store.count(keyOf(0), keyOf(stored(context.sizes.counted)))),
    check: ({ found, sizes }) => expectSize(found, sizes.counted),
  },
  {
    row: "blob", title: () => "put 1 MiB and get it back",
    needs: ["put", "get"], count: ({ blobs }) => blobs, unit: "ms", target: { ratio: 0.9 },
    prepare(context) {
      const { sizes } = context;
      const place = (at) => between(sizes.rows + at);
      const made = (_, at) => ({ key: keyOf(place(at)), payload: noise(sizes.blob, place(at)) });
      context.list = Array.from({ length: sizes.blobs }, made);
    },
    async run(context) {
      context.found = [];
      for (const { key, payload } of context.list) {
        await context.store.put(key, payload);
        context.found.push(await context.store.get(key));
      }
    },
    check: ({ found, list }) => found.forEach((payload, at) => same(payload, list[at].payload, "1 MiB")),
  },
  // The last one, because everything else is measured alone in the job.
  {
    row: "get-second-tab", title: () => "one get after another, with a second tab open",
    needs: ["get"], secondTab: true, count: ({ oneByOne }) => oneByOne, unit: "µs", target: { ratio: 0.5 },
    ...gets(({ oneByOne }) => oneByOne), run: getOneByOne,
  },
];

/** Orders keys, which are of one length, as bytes. */
function compare(a, b) {
  const at = a.findIndex((byte, place) => byte !== b[place]);
  return at < 0 ? 0 : a[at] - b[at];
}

const among = ({ big }, what) => `${number.format(big)} rows there: ${what}`;

const placesIn = ({ sizes, seed }, count, salt) => distinct(count, sizes.big, seed + salt);

/** With many rows there already. Each leaves as many as it found. */
export const BIG = [
  {
    row: "big-get-cold", title: (sizes) => among(sizes, `${number.format(sizes.coldGets)} gets, just opened`),
    needs: ["get"], reopen: true, count: ({ coldGets }) => coldGets, unit: "µs", target: { ratio: 0.4 },
    prepare(context) {
      const { sizes } = context;
      context.wanted = placesIn(context, sizes.coldGets, 3).map((place) => rowOf(stored(place), sizes.payload));
    },
    run: getOneByOne,
    check: gets().check,
  },
  {
    row: "big-put", title: (sizes) => among(sizes, `${number.format(sizes.batch)} random puts in a batch`),
    needs: ["putBatch"], count: ({ batch }) => batch, unit: "rows/s", target: { ratio: 1 },
    prepare(context) {
      const { sizes } = context;
      context.list = placesIn(context, sizes.batch, 4).map((place) => rowOf(between(place), sizes.payload));
    },
    run: ({ list, store }) => store.putBatch(list),
    check: ({ list, store }) => readBack(store, list),
  },
  {
    row: "big-delete", title: (sizes) => among(sizes, `${number.format(sizes.batch)} random deletes in a batch`),
    needs: ["deleteBatch"], count: ({ batch }) => batch, unit: "rows/s", target: { ratio: 1 },
    run: ({ list, store }) => store.deleteBatch(list.map(({ key }) => key)),
    check: async ({ sizes, store }) => expectSize(await store.size(), sizes.big),
  },
  {
    row: "big-put-1k", title: (sizes) => among(sizes, `${number.format(sizes.batch)} puts of 1 KB in a batch`),
    needs: ["putBatch", "deleteBatch"], count: ({ batch }) => batch, unit: "rows/s", target: { ratio: 1 },
    prepare(context) {
      const { sizes } = context;
      context.list = placesIn(context, sizes.batch, 5).map((place) => rowOf(between(place), sizes.longPayload));
    },
    run: ({ list, store }) => store.putBatch(list),
    async check({ list, sizes, store }) {
      await readBack(store, list);
      await store.deleteBatch(list.map(({ key }) => key));
      expectSize(await store.size(), sizes.big);
    },
  },
];

/** From opening a page, with all that it has to load, to the first put that is committed. */
export const START = [
  {
    row: "start-first", title: () => "page opened to first committed put, first visit",
    needs: ["put"], count: () => 1, unit: "ms", target: { ratio: 1 / 2, text: "≤ 2 × its time" },
  },
  {
    row: "start-again", title: () => "page opened to first committed put, later visit",
    needs: ["put"], count: () => 1, unit: "ms", target: { ratio: 1 / 1.5, text: "≤ 1.5 × its time" },
  },
];

/** What `count` operations in `ms` are in the work's unit. */
export function figure({ unit, count }, sizes, ms) {
  const operations = count(sizes);
  if (unit === "µs") return (ms * 1000) / operations;
  if (unit === "ms") return ms / operations;
  return operations / (ms / 1000);
}

/** Whether more of a unit is better. */
export const betterOf = ({ unit }) => (unit.endsWith("/s") ? "higher" : "lower");
