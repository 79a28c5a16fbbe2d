// Random calls with deaths of the worker between them, beside a model in plain JavaScript.

import { equal, isError, ok, pause, show, string } from "./checks.js";

const ROUNDS = 60;
const KEYS = 6;
const CATEGORIES = ["a", "b"];

/** A generator of numbers below a bound, the same ones for a seed. */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
}

/** Applies a write to the model's rows, "category key" to payload. */
function apply(rows, write) {
  for (const { kind, category, number, payload } of write) {
    if (kind === "put") rows.set(`${category} ${number}`, payload);
    else if (kind === "delete") rows.delete(`${category} ${number}`);
    else for (const name of [...rows.keys()]) if (name.startsWith(category)) rows.delete(name);
  }
}

const shown = (rows) => show([...rows].sort().map(([name, payload]) => `${name} ${payload}`));

async function stored(job) {
  const rows = new Map();
  for (const category of CATEGORIES) {
    for (const { key, payload } of await job.scan(category)) rows.set(`${category} ${key[0]}`,
      string(payload));
  }
  return rows;
}

export const modelTests = {
  "whenever the worker dies, what was acknowledged is there and nothing is half applied": async (t) => {
    const seed = Date.now() % 1_000_000;
    const pick = random(seed);
    const { root, job } = await t.job({ queueOperations: 1 + pick(8), log: { lastBytes: 1_000_000 } });
    /** Every state that the writes so far allow; a write whose outcome is unknown doubles them. */
    let states = [new Map()];
    const watched = [];
    const watch = job.watchFrom(await job.position(), "a");
    const watching = (async () => {
      for await (const item of watch) watched.push(item);
    })();
    let acknowledged = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const writes = Array.from({ length: 1 + pick(4) },
        (_, at) => Array.from({ length: 1 + pick(3) }, () => ({
        kind: ["put", "put", "put", "delete", "clear"][pick(5)], category: CATEGORIES[pick(2)],
        number: pick(KEYS), payload: `${round}.${at}`,
      })));
      const results = writes.map(async (write) => {
        const batch = new t.Batch();
        for (const { kind, category, number, payload } of write) {
          if (kind === "put") batch.put(category, Uint8Array.of(number), payload);
          else if (kind === "delete") batch.delete(category, Uint8Array.of(number));
          else batch.clear(category);
        }
        return job.persistAcked(batch);
      });
      if (pick(4) === 0) {
        await pause(pick(4));
        root.terminate();
      }
      for (const [at, { status, value, reason }] of (await Promise.allSettled(results)).entries()) {
        const applied = states.map((rows) => {
          const next = new Map(rows);
          apply(next, writes[at]);
          return next;
        });
        if (status === "fulfilled") {
          ok(value > 0n);
          states = applied;
          acknowledged += 1;
        } else {
          isError(reason, "Backend", "Unknown", `seed ${seed}, round ${round}`);
          states = [...states, ...applied];
        }
      }
      const found = shown(await stored(job));
      const fitting = states.filter((rows) => shown(rows) === found);
      ok(fitting.length > 0,
        `seed ${seed}, round ${round}: ${found} is none of ${states.map(shown).join(" or ")}`);
      states = [fitting[0]];
    }
    ok(acknowledged > ROUNDS / 2, `${acknowledged} acknowledged`);
    equal(await job.check(), []);
    const last = await job.putAcked("a", Uint8Array.of(0), "last");
    for (let tries = 0; watched.at(-1)?.seq !== last && tries < 200; tries += 1) await pause(20);
    const seqs = watched.map(({ seq }) => seq);
    // No gap with a log: each commit once, in order.
    equal([watched.filter(({ type }) => type !== "commit").length, seqs.at(-1)], [0, last], `seed ${seed}`);
    ok(seqs.every((seq, at) => at === 0 || seqs[at - 1] < seq), `seed ${seed}: ${show(seqs)}`);
    await watch.return();
    await watching;
  },
};
