// Measures the layer `sds` beside the bare core, as `examples/sds_load.rs` does natively: 10 channels with 200
// operations a second each, at that pace and as fast as it goes. The core is handed finished bytes of the same
// size; the layer the values of a protocol.
//
// At the pace each operation begins when it is due, whether or not those before it have ended, as messages come to a
// channel: whoever does not keep up has more and more of them under way. As fast as it goes, a channel begins the
// next one when the last is committed; natively also at the pace.

import { Batch, JobPersistence, Persistency, key } from "../pkg/layers.js";

const CHANNELS = 10;
const PER_SECOND = 200;
const HISTORY = 1_000;
const PACED_MS = 5_000;
const UNPACED_MS = 3_000;
/** Operations of a channel that are under way at most; what is due beyond it waits, and its time counts. */
const UNDER_WAY_MAX = 100;

const idOf = (number) => number.toString(16).padStart(64, "0");
const message = (number) =>
  ({ messageId: idOf(number), lamportTimestamp: BigInt(number), content: new Uint8Array(200).fill(42) });
const entry = (number) =>
  ({ messageId: idOf(number), retrievalHint: new Uint8Array(32).fill(7), senderId: "somebody" });
const outgoing = (number) => ({ message: message(number), sendTimeMs: 1_700_000_000_000 });
const some = (count, each) => Array.from({ length: count }, (_, number) => each(number));

/** What one channel has in memory; the same as natively. */
class Load {
  constructor(number) {
    this.name = `channel-${number}`;
    this.count = 1_000;
    this.meta = {
      lamport: 0n,
      outgoingBuffer: some(8, outgoing),
      incomingBuffer: new Map(some(6, (id) => [idOf(id), { message: message(id), missingDeps: new Set([idOf(id + 1)]) }])),
      outgoingRepair: new Map(some(8, (id) => [idOf(id), { historyEntry: entry(id), minTimeRequestMs: 1 }])),
      incomingRepair: new Map(some(8, (id) =>
        [idOf(id), { historyEntry: entry(id), cachedMessage: new Uint8Array(800).fill(1), minTimeResponseMs: 1 }])),
    };
  }

  /** The next operation in memory; what the history gains and loses. */
  step() {
    this.count += 1;
    this.meta.lamport += 1n;
    this.meta.outgoingBuffer.shift();
    this.meta.outgoingBuffer.push(outgoing(this.count));
    return { append: [message(this.count)], evict: [idOf(this.count - HISTORY)] };
  }
}

/** The size of the same meta and of a message, encoded. */
const META_BYTES = 13_720;
const MESSAGE_BYTES = 272;

const core = (job) => (load, { append, evict }) => {
  const batch = new Batch().put("meta", key(load.name), new Uint8Array(META_BYTES).fill(load.count));
  for (const { messageId } of append) {
    batch.put("log", key(load.name, messageId), new Uint8Array(MESSAGE_BYTES).fill(load.count));
  }
  for (const id of evict) batch.delete("log", key(load.name, id));
  return job.persistAcked(batch);
};

const layer = (store) => (load, update) => store.saveChannel(load.name, load.meta, update);

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Operations as they begin and end. */
class Measured {
  times = [];
  underWay = 0;
  underWayMax = 0;

  constructor(save) {
    this.save = save;
  }

  /** Carries out the next operation of a channel; its time counts from `since`. */
  async operation(load, since) {
    this.underWay += 1;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    await this.save(load, load.step());
    this.underWay -= 1;
    this.times.push(performance.now() - since);
  }
}

/** Begins a channel's operations when they are due; ends when all have ended. */
async function pacedChannel(measured, load, started) {
  const underWay = new Set();
  for (let due = started; due < started + PACED_MS; due += 1_000 / PER_SECOND) {
    if (due > performance.now()) await pause(due - performance.now());
    if (underWay.size >= UNDER_WAY_MAX) await Promise.race(underWay);
    const operation = measured.operation(load, due).then(() => underWay.delete(operation));
    underWay.add(operation);
  }
  await Promise.all(underWay);
}

/** Begins an operation when the one before has ended, for a while. */
async function unpacedChannel(measured, load, started) {
  while (performance.now() < started + UNPACED_MS) await measured.operation(load, performance.now());
}

/**
 * Runs all channels for a while. Who keeps up with the pace does as many operations a second as are due, with few
 * under way, and has ended soon after the last one was due.
 */
async function measure(save, paced) {
  const [measured, started] = [new Measured(save), performance.now()];
  const channel = paced ? pacedChannel : unpacedChannel;
  await Promise.all(some(CHANNELS, (number) => channel(measured, new Load(number), started)));
  const [elapsed, { times, underWayMax }] = [performance.now() - started, measured];
  times.sort((a, b) => a - b);
  const at = (share) => Number(times[Math.floor((times.length - 1) * share)].toFixed(1));
  return {
    operations: times.length, perSecond: Math.round(times.length / (elapsed / 1_000)),
    medianMs: at(0.5), p99Ms: at(0.99), worstMs: at(1), underWayMax,
    afterwardsMs: paced ? Math.round(elapsed - PACED_MS) : undefined,
  };
}

/** For whoever drives the page from outside: what takes part, and one measurement after another. */
globalThis.lab = {
  async open() {
    this.root = await Persistency.open("sds-load", { worker: "required" });
    const [plain, job] = [await this.root.openJob("core"), await this.root.openJob("sds")];
    this.saves = { core: core(plain), layer: layer(await JobPersistence.open(job)) };
    return Object.keys(this.saves);
  },
  measure(name, paced) { return measure(this.saves[name], paced); },
  async close() {
    for (const id of ["core", "sds"]) await this.root.dropJob(id);
    await this.root.close();
  },
};
