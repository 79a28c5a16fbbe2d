// The demo page and the package in Chromium, which keeps a profile between two starts.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

/** Milliseconds that the page may take to load and answer. */
const ANSWER_MS = 120_000;

const ready = () => !document.getElementById('again').disabled || !document.getElementById('error').hidden;

/** Waits until the page has answered or failed, and tells what it shows. */
async function shown(page) {
  await page.waitForFunction(ready, null, { timeout: ANSWER_MS });
  return page.evaluate(() => {
    const text = (id) => document.getElementById(id).textContent;
    const children = (id) => Array.from(document.getElementById(id).children, (child) => child.textContent);
    return {
      status: text('status'), digest: text('page-digest'), native: text('native-digest'), verdict: text('verdict'),
      error: document.getElementById('error').hidden ? null : text('error').replace(/\s+/g, ' ').trim(),
      greek: children('greek'), emoticons: children('emoticons'), names: children('names'), blocks: children('blocks'),
    };
  });
}

/** The page's tests, in an order: each goes on where the one before it ended. */
function pageTests({ server, digest, scratch, flags }, state) {
  const launch = async () => {
    state.browser = await chromium.launchPersistentContext(join(scratch, 'profile'), {
      executablePath: '/usr/bin/chromium', args: flags['goog:chromeOptions'].args,
    });
    state.page = state.browser.pages()[0] ?? (await state.browser.newPage());
    state.requests = [];
    state.page.on('request', (request) => state.requests.push(new URL(request.url()).pathname));
    state.page.on('pageerror', (error) => state.errors.push(error));
  };
  const kept = async () => {
    const page = await shown(state.page);
    assert.match(page.status, /kept from an earlier visit/);
    assert.equal(page.digest, digest);
    assert.ok(!state.requests.includes('/data/UnicodeData.txt'));
  };
  const reloaded = async () => {
    state.requests.length = 0;
    await state.page.reload();
  };
  /** Reloads the page with another answer for one path. */
  const withRoute = async (pattern, answer, check) => {
    await state.page.route(pattern, answer);
    await reloaded();
    check(await shown(state.page));
    await state.page.unroute(pattern);
  };
  return {
    'Chromium: the page has the digest of the native run and of the script, and says EQUAL': async () => {
      await launch();
      await state.page.goto(server.url);
      const page = await shown(state.page);
      assert.deepEqual([page.error, page.digest, page.native, page.verdict], [null, digest, digest, 'EQUAL']);
      assert.match(page.status, /^Loaded 70,175 rows just now/);
    },
    'Chromium: the page shows the four answers': async () => {
      const { greek, emoticons, names, blocks } = await shown(state.page);
      assert.deepEqual([greek.length, greek[0], greek.at(-1)], [135, '\u0370', '\u03ff']);
      assert.equal(emoticons.length, 10);
      assert.match(emoticons[0], /PERSON WITH FOLDED HANDS.*U\+1F64F/);
      assert.match(emoticons[9], /FACE WITH OK GESTURE.*U\+1F646/);
      assert.equal(names.length, 167);
      assert.match(names[0], /GREEK SMALL LETTER ALPHAU\+03B1$/);
      assert.equal(blocks.length, 327);
      assert.ok(blocks.some((row) => row.startsWith('Greek and CopticU+0370135')));
    },
    'Chromium: the rows are there after a reload, without loading': async () => {
      await reloaded();
      await kept();
    },
    'Chromium: the rows are there after the browser was closed and started again': async () => {
      await state.browser.close();
      await launch();
      await state.page.goto(server.url);
      await kept();
    },
    'Chromium: the page tells another digest, and the absence of one, from an equal one': async () => {
      const other = JSON.stringify({ digest: '0'.repeat(64), rows: 1, loadSeconds: 1, scannedRows: 1, scanSeconds: 1 });
      await withRoute('**/native/report.json', (route) => route.fulfill({ body: other }),
        (page) => assert.equal(page.verdict, 'DIFFERENT'));
      await withRoute('**/native/report.json', (route) => route.fulfill({ status: 404 }),
        (page) => assert.equal(page.verdict, 'NOT COMPARED'));
    },
    'Chromium: a dropped job is loaded anew': async () => {
      state.requests.length = 0;
      await state.page.click('#again');
      const page = await shown(state.page);
      assert.match(page.status, /^Loaded 70,175 rows just now/);
      assert.equal(page.digest, digest);
      assert.ok(state.requests.includes('/data/UnicodeData.txt'));
    },
    'Chromium: the page says in words what failed': async () => {
      await withRoute('**/pkg/worker.js', (route) => route.abort(),
        (page) => assert.match(page.error, /^The store cannot work in this browser.*the worker could not be started/));
      await withRoute('**/*.wasm', (route) => route.fulfill({ status: 404 }),
        (page) => assert.match(page.error, /the wasm module could not be loaded/));
      assert.deepEqual(state.errors, []);
    },
  };
}

/** Tests of the package itself, run inside a page that imports it. */
function packageTests({ server, root: checkout }, state) {
  /**
   * Runs `body({ module, root, job, settle })` in the page, over a root in memory. The function goes
   * there as its source, which the page's own policy would not let it evaluate.
   */
  const inPage = async (body) => {
    await state.page.evaluate(async () => {
      const module = await import('/pkg/index.js');
      const root = await module.Persistency.open(':memory:');
      // What a call came to, in a form that can leave the page.
      const settle = (promise) =>
        promise.then(() => 'ok', ({ name, kind, outcome }) => [name, kind, outcome].join(' '));
      globalThis.underTest = { module, root, job: await root.openJob('alpha'), settle };
    });
    return state.page.evaluate(`(${body})(globalThis.underTest)`);
  };
  return {
    'the package reads what it wrote, in order, forwards and backwards, whole and by pages': async () => {
      await state.page.goto(`${server.url}native/report.json`);
      const found = await inPage(async ({ module: { Batch, key }, job }) => {
        const batch = new Batch();
        const payload = new Uint8Array(1000).fill(7);
        for (let number = 0; number < 3000; number += 1) batch.put('n', key('p', number), payload);
        await job.persistPut('', key(), new Uint8Array());
        const seq = await job.persistAcked(batch);
        const numbers = (rows) => rows.map((row) => new DataView(row.key.buffer).getUint32(7));
        const paged = [];
        for await (const row of job.rows('n', { prefix: key('p'), reverse: true })) paged.push(row);
        return {
          seq: Number(seq), count: Number(await job.count('n', { start: key('p', 10), end: key('p', 20) })),
          limited: numbers(await job.scan('n', { reverse: true, limit: 3 })),
          ordered: numbers(paged).every((number, at) => number === 2999 - at) && paged.length === 3000,
          keysOnly: (await job.scan('n', { limit: 1, keysOnly: true }))[0].payload.length,
          empty: (await job.get('', key())).length, absent: (await job.get('n', key('q'))) === undefined,
          inverted: (await job.scan('n', { start: key('p', 2), end: key('p', 1) })).length,
          categories: await job.categories(), payload: (await job.get('n', key('p', 2999)))[999],
        };
      });
      assert.deepEqual(found, {
        seq: 2, count: 10, limited: [2999, 2998, 2997], ordered: true, keysOnly: 0, empty: 0, absent: true, inverted: 0,
        categories: ['', 'n'], payload: 7,
      });
    },
    'the example of the README runs as it stands': async () => {
      const [, example] = /```js\n([\s\S]*?)```/.exec(readFileSync(join(checkout, 'README.md'), 'utf8'));
      const said = state.page.waitForEvent('console', (message) => message.type() === 'log');
      const body = example.replace('"persistency"', '"/pkg/index.js"');
      const url = `${server.url}readme.js`;
      await state.page.route(url, (route) => route.fulfill({ contentType: 'text/javascript', body }));
      await state.page.addScriptTag({ type: 'module', url });
      const read = (rows) => rows.map(({ key, payload }) => [key.length, new TextDecoder().decode(payload)]);
      assert.deepEqual(await (await said).args()[0].evaluate(read), [[19, 'hi']]);
    },
    'the package tells a failed precondition, and applies nothing of its batch': async () => {
      const found = await inPage(async ({ module: { Batch, key }, job }) => {
        const bytes = (text) => new TextEncoder().encode(text);
        await job.persistPut('c', key('k'), bytes('v'));
        const batch = new Batch().requireEqual('c', key('k'), bytes('v')).requireAbsent('c', key('k'));
        batch.clear('c').put('c', key('x'), bytes('y'));
        const { name, kind, outcome, retryable, conflictIndex, message } = await job.persistAcked(batch).catch((error) => error);
        const untold = job.persist(batch);
        return {
          name, kind, outcome, retryable, conflictIndex, named: message.includes('alpha'), rows: (await job.scan('c')).length,
          accepted: (await untold) === undefined, flush: await job.flush().catch((error) => error.kind),
        };
      });
      assert.deepEqual(found, {
        name: 'PersistencyError', kind: 'Conflict', outcome: 'NotApplied', retryable: false, conflictIndex: 1, named: true,
        rows: 1, accepted: true, flush: 'Conflict',
      });
    },
    'jobs of the package have the errors of their state': async () => {
      const found = await inPage(async ({ module: { key }, root, job, settle }) => {
        const info = await job.info();
        await root.openJob('beta');
        const jobs = await root.listJobs();
        await root.dropJob('alpha');
        const dropped = await settle(job.get('c', key()));
        const again = await root.openJob('alpha');
        const generation = (await again.info()).generation;
        await root.closeJob('alpha');
        return {
          jobs, dropped, closed: await settle(again.flush()), invalid: await settle(again.get('c', 'text')),
          id: await settle(root.openJob('')), anew: generation !== info.generation, generation: info.generation.length,
        };
      });
      assert.deepEqual(found, {
        jobs: ['alpha', 'beta'], dropped: 'PersistencyError JobNotFound NotApplied', closed: 'PersistencyError Closed NotApplied',
        invalid: 'PersistencyError InvalidArgument NotApplied', id: 'PersistencyError InvalidArgument NotApplied',
        anew: true, generation: 32,
      });
    },
    'calls under way are rejected when the page ends the worker': async () => {
      const found = await inPage(async ({ root, job, settle }) => {
        const pending = Promise.all([settle(job.flush()), settle(root.listJobs()), settle(root.openJob('beta'))]);
        root.terminate();
        return { pending: await pending, later: await settle(job.flush()), again: await settle(root.close()) };
      });
      assert.deepEqual(found, {
        pending: Array(3).fill('PersistencyError Backend Unknown'),
        later: 'PersistencyError Closed NotApplied', again: 'PersistencyError Closed NotApplied',
      });
    },
    'calls under way are rejected when the wasm instance traps': async () => {
      await inPage(() => null);
      const worker = state.page.workers().at(-1);
      await worker.evaluate(() => void setTimeout(() => {
        const end = Date.now() + 500;
        while (Date.now() < end);
        throw new WebAssembly.RuntimeError('unreachable');
      }));
      const found = await state.page.evaluate(async () => {
        const { job, root, settle } = globalThis.underTest;
        return Promise.all([settle(job.flush()), settle(root.listJobs())]);
      });
      assert.deepEqual(found, Array(2).fill('PersistencyError Backend Unknown'));
    },
    'closing the root closes its jobs and ends its worker': async () => {
      const started = state.page.waitForEvent('worker');
      const found = await inPage(async ({ root, job, settle }) => {
        const closed = await settle(root.close());
        return [closed, await settle(job.flush()), await settle(root.listJobs())];
      });
      assert.deepEqual(found, ['ok', ...Array(2).fill('PersistencyError Closed NotApplied')]);
      const worker = await started;
      while (state.page.workers().includes(worker)) await worker.waitForEvent('close');
    },
  };
}

export function make(context) {
  const state = { errors: [] };
  return {
    tests: { ...pageTests(context, state), ...packageTests(context, state) },
    cleanUp: () => state.browser?.close(),
  };
}
