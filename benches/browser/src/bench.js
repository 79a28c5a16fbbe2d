// The benchmark: every peer does every work in every round, one after another, in an order that turns.
// What was done is checked; the clock runs only while it is done.

import { coldStart, secondTab } from "./frames.js";
import { OURS, everybody, peerOf } from "./peers.js";
import { table } from "./table.js";
import { BIG, START, USUAL, storedRows } from "./works.js";
import * as sizes from "./sizes.js";

export { OURS, everybody, sizes, table };

/** Who also takes part with many rows: the others take minutes to load as many. */
export const BIG_PEERS = [OURS, "indexed-db", "dexie", "sqlite"];
/** Rows in one batch where nothing is measured. */
const FILL_BATCH = 5_000;

const databaseOf = (peer, what) => `bench-${peer.id}-${what}`;

/** The peers in the order of round `round`, which begins with another one each time. */
const turned = (peers, round) => peers.map((_, at) => peers[(at + round) % peers.length]);

const can = (work, peer, store) => work.needs.every((call) => call in store) && !(work.secondTab && peer.oneTab);

/** Milliseconds that `run()` takes. */
async function timed(run) {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

class Run {
  constructor({ peers, rounds, size, base, keptBase = base, budgetMs = Infinity, progress = () => {}, signal }) {
    Object.assign(this, { peers, rounds, size, base, keptBase, budgetMs, progress, signal });
    this.figures = new Map();
    this.started = performance.now();
    this.done = 0;
    this.all = rounds * USUAL.length * peers.length;
  }

  step(work, peer, round) {
    this.signal?.throwIfAborted();
    const { all, done, rounds } = this;
    this.progress({ work: work.title(this.size), peer: peer.name, round, rounds, done: Math.min(done, all), all });
  }

  /** Keeps what one round of a work took. */
  keep(work, peer, round, ms) {
    const ofWork = this.figures.get(work.row) ?? new Map();
    const ofPeer = ofWork.get(peer.id) ?? [];
    ofPeer[round] = ms;
    this.figures.set(work.row, ofWork.set(peer.id, ofPeer));
  }

  /** Rounds while the budget lasts, at least one; answers how many there were. */
  async each(runRound) {
    for (let round = 0; round < this.rounds; round += 1) {
      const started = performance.now();
      await runRound(round);
      const ended = performance.now();
      // Another one would take as long.
      if (ended - this.started + (ended - started) > this.budgetMs) return round + 1;
    }
    return this.rounds;
  }

  /** One work of one peer. */
  async measure(work, context, round) {
    const { peer } = context;
    this.done += 1;
    if (!can(work, peer, context.store)) return;
    this.step(work, peer, round);
    try {
      await work.prepare?.(context);
      if (work.reopen) {
        await context.store.close();
        context.store = await peer.open(context.database);
      }
      const close = work.secondTab && (await secondTab(this.base, peer.id, context.database));
      this.keep(work, peer, round, await timed(() => work.run(context)));
      await work.check?.(context);
      if (close) await close();
    } catch (error) {
      throw new Error(`${peer.name}, ${work.title(this.size)}: ${error.message}`, { cause: error });
    }
  }

  async opened(peer, what) {
    const database = databaseOf(peer, what);
    await peer.destroy(database);
    return { peer, database, store: await peer.open(database), sizes: this.size };
  }

  async closed({ peer, store, database }) {
    await store.close();
    await peer.destroy(database);
  }

  /** A round on new and empty databases. */
  async usualRound(round) {
    const contexts = [];
    try {
      for (const peer of turned(this.peers, round)) {
        contexts.push({ ...(await this.opened(peer, `usual-${round}`)), seed: round + 1 });
      }
      for (const work of USUAL) for (const context of contexts) await this.measure(work, context, round);
    } finally {
      for (const context of contexts) await this.closed(context);
    }
  }

  /** All rounds on databases that hold many rows from the start. */
  async big(rounds) {
    const contexts = [];
    try {
      for (const peer of this.peers.filter(({ id }) => BIG_PEERS.includes(id))) {
        const context = await this.opened(peer, "big");
        contexts.push(context);
        await this.fill(context);
      }
      for (let round = 0; round < rounds; round += 1) {
        for (const context of contexts) context.seed = round + 1;
        for (const work of BIG) for (const context of turned(contexts, round)) await this.measure(work, context, round);
      }
    } finally {
      for (const context of contexts) await this.closed(context);
    }
  }

  async fill({ peer, store }) {
    const { big, payload } = this.size;
    const filling = { title: () => `fill with ${big} rows` };
    for (let at = 0; at < big; at += FILL_BATCH) {
      this.step(filling, peer, 0);
      await store.putBatch(storedRows(at, Math.min(big, at + FILL_BATCH), payload));
    }
  }

  /** Starts in pages of their own: nothing is loaded, compiled or open before. */
  async startRound(round) {
    for (const peer of turned(this.peers, round)) {
      try {
        await this.startOne(peer, round, databaseOf(peer, `start-${round}`));
      } catch (error) {
        // A busy browser sometimes fails to load a worker's script, which is not the peer's fault.
        console.warn(`${peer.name} did not start, once more: ${error.message}`);
        await this.startOne(peer, round, databaseOf(peer, `start-${round}-again`));
      }
    }
  }

  async startOne(peer, round, database) {
    const [first, again] = START;
    await peer.destroy(database);
    this.step(first, peer, round);
    const firstMs = await coldStart(this.base, peer.id, database);
    this.step(again, peer, round);
    // Whoever comes again has the files, too.
    if (round === 0) await coldStart(this.keptBase, peer.id, database);
    const againMs = await coldStart(this.keptBase, peer.id, database);
    await peer.destroy(database);
    this.keep(first, peer, round, firstMs);
    this.keep(again, peer, round, againMs);
  }
}

/**
 * Runs the benchmark and answers its table, see `table.js`.
 *
 * `peers` are ids, ours among them; `parts` some of "usual", "big" and "start"; `base` is where these files are
 * and `keptBase` where the same files are served so that browsers keep them. `progress` is told of each step, and
 * how many of the usual ones there are at most: no round begins that would probably end after `budgetMs`.
 */
export async function run({ peers: ids = everybody, parts = ["usual"], rounds = 3, size = sizes.FULL, ...options }) {
  const peers = await Promise.all(ids.map(peerOf));
  const base = new URL(".", import.meta.url).href;
  const all = new Run({ peers, rounds, size, base, ...options });
  let done = rounds;
  if (parts.includes("usual")) done = await all.each((round) => all.usualRound(round));
  if (parts.includes("big")) await all.big(done);
  if (parts.includes("start")) for (let round = 0; round < done; round += 1) await all.startRound(round);
  return { rounds: done, ...table(peers, all.figures, size, options.share) };
}

/** For whoever drives the page from outside: `start(options)`, then look at `state` again and again. */
globalThis.lab = {
  state: {},
  start(options) {
    this.state = {};
    const progress = (step) => Object.assign(this.state, step);
    run({ ...options, size: sizes[options.size], progress }).then((result) => { this.state.result = result; },
      (error) => { this.state.error = String(error?.stack ?? error); });
  },
};
