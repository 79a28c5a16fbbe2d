// A witness outside the page records every acknowledged write; then the worker is ended, the tab crashes or
// the browser is killed, and every one of them has to be there, and no batch half there.
// `PERSISTENCY_WITNESS_ROUNDS=n` makes n rounds of each kind.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { site } from './site.mjs';
import { startChromium, startFirefox } from './tabs.mjs';

/** Milliseconds that writing goes on before the violence, and at most so many more. */
const WRITING_MS = 60;
const WRITING_MORE_MS = 300;

const BROWSERS = [
  { name: 'Chromium', start: startChromium, rounds: 6 },
  { name: 'Firefox', start: startFirefox, rounds: 2 },
];
/**
 * What Chromium says when it deletes a database whose files it takes for damaged: perhaps since a kill has left a record
 * of LevelDB's log half written, and the start after it went on behind that.
 */
const DELETED = /IndexedDB recovering from a corrupted \(and deleted\) database/;
/** In one of so many kills that may happen, and must not more often. */
const KILLS_PER_DELETION = 6;

const KINDS = {
  'ended workers': async (state, tabs) => {
    await tabs[0].run((lab) => lab.terminate());
    await pause(Math.random() * WRITING_MS);
    await Promise.all(tabs.map((tab) => tab.run((lab) => lab.stop())));
  },
  'crashed tabs': async (state, tabs) => {
    if (!(await tabs[0].crash())) return state.lose();
    // The other one goes on for a while.
    state.tabs = [tabs[1]];
    await pause(Math.random() * WRITING_MS);
    await tabs[1].run((lab) => lab.stop());
  },
  'killed browsers': async (state) => {
    await state.browser.kill();
    state.lose();
  },
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the witness knows of one browser's job, and the browser itself while it runs. */
class Witness {
  tabs = [];
  round = 0;
  /** The seq of every acknowledged batch, by `round tab number`. */
  acked = new Map();
  /** The same as the log has it, up to `seq`. */
  committed = new Map();
  seq = 0;
  rows = 0;
  /** The job's life, and what was acknowledged and committed in those that the browser itself has ended. */
  life;
  earlier = { lives: 0, acked: 0, committed: 0 };

  constructor(context, { name, start }) {
    this.profile = join(context.scratch, `w${name[0]}`);
    mkdirSync(this.profile);
    this.start = async () => {
      this.served ??= await site(context.root);
      this.served.onReport((lines) => this.hear(lines));
      this.browser ??= await start(context, this.profile);
    };
  }

  hear(lines) {
    for (const line of lines.split('\n')) {
      const [round, tab, number, seq] = line.split(' ');
      const batch = `${round} ${tab} ${number}`;
      assert.ok(!this.acked.has(batch), `batch ${batch} was acknowledged twice`);
      this.acked.set(batch, Number(seq));
    }
  }

  /** The browser is not there any more. */
  lose() {
    this.browser = undefined;
    this.tabs = [];
  }

  async tab() {
    await this.start();
    const tab = await this.browser.tab(this.served.url('witness', '/witness.html'));
    await tab.run((lab) => lab.open());
    return tab;
  }

  /** One round: writing in two tabs, violence, and a look at what is there. */
  async once(violence) {
    this.round += 1;
    while (this.tabs.length < 2) this.tabs.push(await this.tab());
    const { tabs, round } = this;
    await Promise.all(tabs.map((tab, at) => tab.run((lab, ...of) => lab.write(...of), round, at)));
    await pause(WRITING_MS + Math.random() * WRITING_MORE_MS);
    await violence(this, tabs);
    if (this.tabs.length === 0) this.tabs.push(await this.tab());
    await this.look();
  }

  async look() {
    const { round } = this;
    const look = (lab, ...of) => lab.look(...of);
    const { life, commits, batches, wrong } = await this.tabs[0].run(look, round, this.seq);
    this.life ??= life;
    if (life !== this.life) return this.beginAnew(life);
    assert.deepEqual(wrong, []);
    for (const [seq, batch] of commits) {
      assert.equal(seq, this.seq + 1);
      assert.ok(!this.committed.has(batch), `batch ${batch} was applied twice`);
      this.committed.set(batch, seq);
      this.seq = seq;
      this.rows += Number(batch.split(' ')[2]) % 3 === 1 ? 1 : 5;
    }
    const inLog = [...this.committed.keys()].filter((batch) => batch.startsWith(`${round} `));
    assert.deepEqual(batches.sort(), inLog.sort(), 'the rows are those of the log');
    for (const [batch, seq] of this.acked) {
      if (!batch.startsWith(`${round} `)) continue;
      assert.equal(this.committed.get(batch), seq, `batch ${batch} was acknowledged as ${seq}`);
    }
    this.inOrder(round);
    return undefined;
  }

  /** How many batches have been acknowledged, and committed. */
  get counted() {
    const { acked, committed } = this.earlier;
    return [acked + this.acked.size, committed + this.committed.size];
  }

  /** The browser has deleted the whole database, which it must have said, and the job has begun a new life. */
  beginAnew(life) {
    assert.match(this.browser.log?.() ?? '', DELETED, 'there is a new life, and the browser has deleted nothing');
    const [acked, committed] = this.counted;
    this.earlier = { lives: this.earlier.lives + 1, acked, committed };
    Object.assign(this, { life, acked: new Map(), committed: new Map(), seq: 0, rows: 0 });
  }

  /** What a tab was acknowledged came in the order in which it had been written. */
  inOrder(round) {
    for (const tab of [0, 1]) {
      const mine = [...this.acked].filter(([batch]) => batch.startsWith(`${round} ${tab} `))
        .map(([batch, seq]) => [Number(batch.split(' ')[2]), seq]).sort(([a], [b]) => a - b);
      const seqs = mine.map(([, seq]) => seq);
      assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b), 'seqs go back');
    }
  }
}

export function make(context) {
  const witnesses = [];
  const tests = {};
  for (const browser of BROWSERS) {
    const rounds = Number(process.env.PERSISTENCY_WITNESS_ROUNDS || browser.rounds);
    let witness;
    for (const [kind, violence] of Object.entries(KINDS)) {
      tests[`${browser.name}: after ${kind} every acknowledged batch is there, and none is half there`] =
        async () => {
        if (!witness) witnesses.push(witness = new Witness(context, browser));
        const [ackedBefore, committedBefore] = witness.counted;
        for (let round = 0; round < rounds; round += 1) await witness.once(violence);
        const [acked, committed] = [witness.counted[0] - ackedBefore, witness.counted[1] - committedBefore];
        assert.ok(acked > 0);
        const { lives } = witness.earlier;
        assert.ok(lives <= Math.ceil(rounds / KILLS_PER_DELETION), `the browser deleted the database ${lives} times`);
        const said = lives > 0 ? `; the browser itself deleted everything ${lives} times` : '';
        console.log(`        ${rounds} rounds, ${acked} batches acknowledged, ${committed - acked} more were there, 0 lost${said}`);
      };
    }
    tests[`${browser.name}: the job of the witness is sound, and holds the rows of its log and no others`] =
      async () => {
      const found = await witness.tabs[0].run((lab) => lab.check());
      assert.deepEqual(found, { check: [], count: witness.rows });
    };
  }
  return {
    tests,
    async cleanUp() {
      for (const { browser, served } of witnesses) {
        await browser?.close();
        await served?.close();
      }
    },
  };
}
