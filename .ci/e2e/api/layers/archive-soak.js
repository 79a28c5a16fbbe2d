// A writer, a server that fails in every way by chance, and tabs whose workers are killed and whose archives end at any
// time: at the end the job is restored, at any seq, as a plain model had it there.

import { equal, ok, show, string } from "../checks.js";

const ROUNDS = 2;
const STEPS = 40;
const KEYS = 6;
const CATEGORIES = ["", "m"];
/** What an archive may meet while its server fails and its worker dies. */
const EXPECTED = ["Backend", "Overloaded", "Timeout", "Closed", "Unsupported"];

/** A generator of numbers below a bound, the same ones for a seed. */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
}

/** What a promise brings; undefined if it fails as is to be expected. */
const tolerated = (promise) => promise.catch((error) => {
  if (!EXPECTED.includes(error.kind)) throw error;
});

async function stored(job) {
  const rows = [];
  for (const category of await job.categories()) {
    for (const { key, payload } of await job.scan(category)) rows.push([`${category} ${key[0]}`, string(payload)]);
  }
  return show(rows.sort());
}

/** One job, whose tabs write and ship it. */
class Run {
  /** What the rows are after each seq, from 0 on. */
  states = [show([])];
  #rows = new Map();
  #tabs = [];

  constructor(t, below, name) {
    Object.assign(this, { t, below, name });
    this.options = {
      name, cut: { commits: 1 + below(6), ageMs: 1e9, early: false }, baseAfterBytes: [1, 1_000, 1e9][below(3)],
      maxAttempts: 2 + below(6), backoffMs: 1, backoffMaxMs: 4,
    };
    if (below(2) === 0) this.options.keepMs = below(100);
  }

  async open(tabs) {
    const root = this.t.freshName();
    for (let tab = 0; tab < tabs; tab += 1) {
      const opened = await this.t.open(root);
      this.#tabs.push({ root: opened, job: await opened.openJob("alpha"), archive: undefined });
    }
  }

  async step() {
    const tab = this.#tabs[this.below(this.#tabs.length)];
    const kind = this.below(20);
    if (kind < 12) await this.#write(tab, kind === 0);
    else if (kind < 15) await this.#attach(tab);
    else if (kind < 16) await tab.archive?.stop();
    else if (kind < 17) this.#kill(tab);
    else if (tab.archive) {
      await tolerated(tab.archive.resume());
      // It may stall, or die; what it says is true all the same.
      const shipped = await tolerated(tab.archive.ship());
      if (shipped !== undefined) equal(shipped, BigInt(this.states.length - 1));
    }
  }

  #kill({ root }) {
    if (this.t.options.worker === "required") root.terminate();
  }

  async #attach(tab) {
    if (tab.archive && tab.archive.progress.state !== "ended") return;
    tab.archive = await tolerated(this.t.Archive.attach(tab.job, this.t.archives, this.options));
  }

  /** Commits a batch, and remembers what the rows are then; its worker may be killed meanwhile. */
  async #write(tab, isKilled) {
    const { t, below } = this;
    const rows = new Map(this.#rows);
    const batch = new t.Batch();
    for (let left = 1 + below(3); left > 0; left -= 1) {
      const [category, key] = [CATEGORIES[below(2)], Uint8Array.of(below(KEYS))];
      const row = `${category} ${key[0]}`;
      if (below(4) === 0) {
        batch.delete(category, key);
        rows.delete(row);
      } else {
        const payload = `${this.states.length} `.repeat([1, 10, 1_000][below(3)]);
        batch.put(category, key, payload);
        rows.set(row, payload);
      }
    }
    const last = BigInt(this.states.length - 1);
    const writing = tab.job.persistAcked(batch);
    if (isKilled) this.#kill(tab);
    let outcome;
    let seq = await writing.catch((error) => {
      if (error.kind !== "Backend") throw error;
      ({ outcome } = error);
    });
    if (seq === undefined) {
      seq = (await tab.job.position()).seq;
      // Its worker was killed while it started.
      if (outcome === "NotApplied") equal(seq, last);
      // Nothing has come of it.
      if (seq === last) return;
    }
    equal(seq, last + 1n);
    this.#rows = rows;
    this.states.push(show([...rows].sort()));
  }

  async check() {
    const { t, below, name } = this;
    const [{ root, job }] = this.#tabs;
    for (const { archive } of this.#tabs) await archive?.stop();
    await t.server("up");
    const archive = await t.Archive.attach(job, t.archives, this.options);
    const last = await archive.close();
    equal(last, BigInt(this.states.length - 1));
    const reader = await t.ArchiveReader.open(root, t.archives, name);
    const { restorable } = await reader.verify();
    equal(restorable, [{ first: restorable[0].first, last }]);
    const { first } = restorable[0];
    const between = () => first + BigInt(below(Number(last - first) + 1));
    for (const seq of [first, last, between(), between()]) {
      await t.server("down-after", below(20));
      const restored = await tolerated(reader.restore("restored", { to: { seq } }));
      await t.server("up");
      // One that was cut short goes on with the next.
      if (!restored) await reader.restore("restored", { to: { seq } });
      ok(await stored(await root.openJob("restored")) === this.states[Number(seq)], `seq ${seq} is not as it was`);
      await root.dropJob("restored");
    }
    for (const tab of this.#tabs) await tab.root.close();
  }
}

export const archiveSoakTests = {
  "archive: a job is restored at any seq, whatever becomes of its server, its tabs and its archives": async (t) => {
    const seed = Date.now() % 1_000_000;
    const below = random(seed);
    try {
      for (let round = 0; round < ROUNDS * t.times; round += 1) {
        const run = new Run(t, below, `soak-${t.freshName()}`);
        await run.open(1 + round % 2);
        await t.server("flaky", below(1_000_000));
        for (let step = 0; step < STEPS; step += 1) await run.step();
        await run.check();
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
    } finally {
      await t.server("up");
    }
  },
};
