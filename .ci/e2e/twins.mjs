// The page's twins of the crate's code, held to the vectors to which the crate is held: the caller's half of
// a queue, limits, ranges, and what crosses to the worker. Keys are in `files.mjs`.
// Needs no browser; runs the package's sources as they are.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const bytes = (text) => new TextEncoder().encode(text);
const hex = (of) => Buffer.from(of).toString('hex');
const unhex = (digits) => Uint8Array.from(Buffer.from(digits, 'hex'));
/** A text as the vector files write it. */
const text = (value) => (typeof value === 'string' ? value : value.text.repeat(value.times));

/** The kind of the error that `work` throws, or what `undefined` says: none. */
function kindOf(work) {
  try {
    work();
    return undefined;
  } catch (error) {
    assert.equal(error.name, 'PersistencyError', String(error));
    assert.equal(error.outcome, 'NotApplied');
    return error.kind;
  }
}

/** Adds the entries to a batch. */
function add(batch, entries) {
  for (const { times = 1, ...entry } of entries) {
    const [[method, [category, ...rest]]] = Object.entries(entry);
    const name = text(category);
    const [first, second] = rest.map((each) => each !== null && bytes(text(each)));
    const range = second ? { start: first, end: second } : { start: first };
    const rests = { deleteRange: [range], clear: [] };
    const payload = second === undefined ? [] : [second];
    for (let number = 0; number < times; number += 1) {
      batch[method](name, ...(rests[method] ?? [first, ...payload]));
    }
  }
  return batch;
}

/** Plays one transcript of a queue; answers what each step brought about and what is taken after it. */
class Play {
  told = [];
  #accepted = [];
  #callers = new Map();
  #flushes = new Map();

  constructor(queue) {
    this.queue = queue;
  }

  async step({ weight: [operations, size] = [1, 1], error, seq, ...act }) {
    const weight = { operations, bytes: size };
    const [[what, name]] = Object.entries(act).filter(([key]) => !['then', 'queued'].includes(key));
    this[what](name, weight, error, seq);
    // Promises settle within this turn.
    await new Promise((resolve) => setImmediate(resolve));
    const then = [...this.#accepted.splice(0), ...this.told.splice(0).sort()];
    return { then, queued: [this.queue.taken.operations, this.queue.taken.bytes] };
  }

  persist(name, weight) {
    const leave = this.queue.accept(weight, (slot) => this.#accept(name, weight, slot));
    if (leave) this.#callers.set(name, { leave });
  }

  try(name, weight) {
    const slot = this.queue.tryAccept(weight);
    if (slot) this.#accept(name, weight, slot);
    else this.told.push(`${name} overloaded`);
  }

  leave(name) {
    this.#callers.get(name).leave();
  }

  ask(name) {
    this.#callers.get(name).slot.settled().then(
      (result) => this.told.push(`${name} committed ${result.seq}`),
      (error) => this.told.push(`${name} failed: ${error.message}`));
  }

  settle(name, _weight, error, seq) {
    const { slot, weight } = this.#callers.get(name);
    this.queue.settle(slot, weight, error === undefined ? { seq } : { error: new this.Failure('Backend',
      error) });
  }

  flush(name) {
    this.#flushes.set(name, this.queue.flush());
  }

  synced(name, _weight, error) {
    try {
      this.#flushes.get(name)(error && new this.Failure('Backend', error));
      this.told.push(`${name} flushed`);
    } catch (failure) {
      this.told.push(`${name} failed: ${failure.message}`);
    }
  }

  fail(times, weight, error) {
    for (let number = 0; number < times; number += 1) {
      this.persist('failing', weight);
      this.settle('failing', weight, error);
    }
    this.#accepted = [];
  }

  #accept(name, weight, slot) {
    this.#callers.set(name, { slot, weight });
    this.#accepted.push(`${name} accepted`);
  }
}

export function make({ root }) {
  const vectors = (name) => JSON.parse(readFileSync(join(root, 'tests', 'vectors', `${name}.json`), 'utf8'));
  const load = (name) => import(pathToFileURL(join(root, 'pkg-template', 'src', `${name}.js`)));
  /** Runs `work` without the words that the page has for errors that nobody awaits. */
  const quietly = async (work) => {
    const { warn } = console;
    console.warn = () => {};
    try {
      await work();
    } finally {
      console.warn = warn;
    }
  };
  const tests = {
    'the caller\'s half of the page goes as its transcripts say': () => quietly(async () => {
      const [{ Queue }, { PersistencyError }] = await Promise.all([load('queue'), load('error')]);
      const { transcripts } = vectors('queue');
      assert.ok(transcripts.length > 10);
      for (const { name, queue: [operations, size], steps } of transcripts) {
        const play = new Play(new Queue({ operations, bytes: size }));
        play.Failure = PersistencyError;
        for (const step of steps) {
          const { then, queued } = await play.step(step);
          const expected = { then: step.then, queued: step.queued ?? queued };
          assert.deepEqual({ then, queued }, expected, `${name}: ${JSON.stringify(step)}`);
        }
      }
    }),
    'the limits of the page are those of their vectors': async () => {
      const { limits, ...bounds } = await load('limits');
      const { limits: told, bounds: untold } = vectors('limits');
      assert.deepEqual(limits(), told);
      assert.deepEqual({
        keyPartBytes: bounds.KEY_PART_BYTES_MAX, queueBound: bounds.QUEUE_BOUND_MAX,
        queueOperations: bounds.QUEUE_OPERATIONS, queueBytes: bounds.QUEUE_BYTES,
        keptErrors: bounds.KEPT_ERRORS_MAX, holderBytes: bounds.HOLDER_BYTES_MAX,
      }, untold);
    },
    'batches of the page are taken and weigh as their vectors say': async () => {
      const { Batch } = await load('batch');
      for (const { entries, kind, weight } of vectors('limits').batches) {
        const batch = new Batch();
        const words = JSON.stringify(entries);
        assert.equal(kindOf(() => add(batch, entries)), kind, words);
        if (kind !== undefined) continue;
        const { operations, bytes: size } = Batch.packed(batch);
        assert.deepEqual([operations, size], weight, words);
      }
    },
    'ids, log holders, queues and keys of the page are taken as their vectors say': async () => {
      const [{ nameOf }, { limits, HOLDER_BYTES_MAX }, { optionsOf }, { key }] =
        await Promise.all(['bytes', 'limits', 'tenant', 'key'].map(load));
      const { ids, holders, queues, keys } = vectors('limits');
      const held = (entries, check) => {
        assert.ok(entries.length > 0);
        for (const { of, kind } of entries) assert.equal(kindOf(() => check(of)), kind, JSON.stringify(of));
      };
      held(ids, (of) => nameOf('job id', text(of), limits().jobIdBytes));
      held(holders, (of) => nameOf('holder', text(of), HOLDER_BYTES_MAX));
      held(queues, (queueOperations) => optionsOf({ queueOperations }));
      held(queues, (queueBytes) => optionsOf({ queueBytes }));
      held(keys, (of) => key(text(of)));
    },
    'ranges of the page have the form of their vectors, and are refused as they say': async () => {
      const { KeyRange, rangeOf } = await load('range');
      const { ranges, refused } = vectors('ranges');
      const read = (range) => Object.fromEntries(Object.entries(range).map(([name, value]) =>
        [name, typeof value === 'string' ? unhex(value) : value]));
      assert.ok(ranges.length > 20 && refused.length > 10);
      for (const { range, start, end } of ranges) {
        const given = read(range);
        const form = rangeOf(given);
        const told = [hex(form.start), form.end === undefined ? null : hex(form.end)];
        assert.deepEqual(told, [start, end], JSON.stringify(range));
        assert.ok(form instanceof KeyRange);
        // What it holds is its own: the caller may use his bytes again.
        for (const each of Object.values(given)) each.fill(0x7f);
        assert.equal(hex(form.start), start);
      }
      for (const range of refused) {
        assert.equal(kindOf(() => rangeOf(read(range))), 'InvalidArgument', JSON.stringify(range));
      }
      const wrong = [
        null, 7, 'a', true, new Uint8Array(), [], new Map(), { prefix: undefined }, { gt: [] }, { gte: [1] },
        { lt: null },
        { gt: undefined }, { gte: undefined, lt: Uint8Array.of(1) }, { lte: undefined }, { start: undefined },
      ];
      for (const range of wrong) assert.equal(kindOf(() => rangeOf(range)), 'InvalidArgument', String(range));
      const open = rangeOf({ ...rangeOf({ gte: Uint8Array.of(1) }) });
      assert.deepEqual([hex(open.start), open.end], ['01', undefined]);
    },
    'what the page writes and reads has the bytes of its vectors': async () => {
      const [{ Batch }, { Reader }, { readItem }] = await Promise.all(['batch', 'wire', 'stream'].map(load));
      const { batches, items, errors } = vectors('wire');
      for (const { entries, packed } of batches) {
        assert.equal(hex(Batch.packed(add(new Batch(), entries)).packed), packed, JSON.stringify(entries));
      }
      const operation = (entry) => {
        const [[type, [category, first, second]]] = Object.entries(entry);
        const [key, end] = [first ?? '', second ?? undefined].map((each) =>
          each === undefined ? each : hex(bytes(each)));
        if (type === 'put') return { type, category, key, payload: end };
        return type === 'delete' ? { type, category, key } : { type: 'deleteRange', category,
          range: { start: key, end } };
      };
      const said = (item) => item.lagged
        ? { type: 'lagged', from: BigInt(item.lagged[0]), to: BigInt(item.lagged[1]) }
        : {
          type: 'commit', seq: BigInt(item.commit.seq), timeMs: Number(item.commit.timeMs),
          writer: item.commit.writer,
          operations: item.commit.operations.map(operation),
        };
      const plain = (value) => {
        if (value instanceof Uint8Array) return hex(value);
        if (Array.isArray(value)) return value.map(plain);
        if (typeof value !== 'object') return value;
        return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
      };
      for (const { behind, items: expected, packed } of items) {
        const reader = new Reader(unhex(packed));
        assert.equal(reader.number(), BigInt(behind));
        const found = [];
        while (!reader.ended) found.push(plain(readItem(reader)));
        assert.deepEqual(found, expected.map(said), packed);
      }
      for (const { packed, cause: because, conflictIndex: at, ...expected } of errors) {
        const { kind, outcome, message, retryable, conflictIndex, cause } = new Reader(unhex(packed)).error();
        assert.deepEqual({ kind, outcome, message, retryable }, expected);
        assert.deepEqual([conflictIndex, cause?.message], [at, because]);
      }
    },
    'a message that ends early is not read': async () => {
      const { Reader } = await load('wire');
      const { errors } = vectors('wire');
      const packed = unhex(errors[2].packed);
      for (let end = 0; end < packed.length; end += 1) {
        assert.throws(() => new Reader(packed.slice(0, end)).error(), RangeError, String(end));
      }
    },
  };
  return { tests };
}
