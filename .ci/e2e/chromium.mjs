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
    'Chromium: the benchmark does everything with two peers, checks it, and leaves nothing behind': async () => {
      const { rows, left } = await state.page.evaluate(async () => {
        const { run, sizes } = await import('/bench/bench.js');
        const { rows: measured } = await run({
          peers: ['persistency', 'indexed-db'], parts: ['usual', 'big', 'start'], rounds: 1, size: sizes.TINY,
        });
        return { rows: measured, left: (await indexedDB.databases()).map(({ name }) => name) };
      });
      assert.equal(rows.length, 16);
      for (const { ours, peers, ratio, row } of rows) {
        assert.ok([ours, peers['raw IndexedDB'], ratio].every(({ median }) => median > 0), row);
      }
      assert.deepEqual(left, ['persistency/demo/unicode']);
    },
    'Chromium: the benchmark has a tab, begins when asked to, and can be stopped': async () => {
      const { page } = state;
      await page.click('#tab-benchmark');
      assert.deepEqual([await page.isVisible('#unicode'), await page.isVisible('#benchmark')], [false, true]);
      await page.click('#bench-run');
      await page.waitForFunction(() => document.getElementById('bench-progress').value > 0);
      await page.click('#bench-stop');
      await page.waitForFunction(() => !document.getElementById('bench-run').disabled, null, { timeout: ANSWER_MS });
      assert.match(await page.textContent('#bench-status'), /^Stopped/);
      assert.equal(await page.textContent('#bench-error'), '');
      assert.deepEqual(await page.evaluate(async () => (await indexedDB.databases()).length), 1);
      await page.click('#tab-unicode');
      assert.deepEqual([await page.isVisible('#unicode'), await page.isVisible('#benchmark')], [true, false]);
    },
    'Chromium: the channel goes on after a reload and after its worker was killed, and goes when it is dropped': async () => {
      const { page } = state;
      const shown = async (status) => {
        await page.waitForFunction((words) => new RegExp(words).test(document.getElementById('channel-status').textContent)
          && !document.getElementById('channel-drop').disabled, status, { timeout: ANSWER_MS });
        return page.evaluate(() => ['verdict', 'lamport', 'count', 'waiting', 'workers', 'error'].map((name) =>
          document.getElementById(`channel-${name}`).textContent));
      };
      await page.click('#tab-channel');
      assert.deepEqual(await shown('empty'), ['EQUAL', '0', '0', '0', '1', '']);
      await page.fill('#channel-text', 'first \u{1F600}');
      await page.press('#channel-text', 'Enter');
      assert.deepEqual(await shown('Sent'), ['EQUAL', '1', '1', '1', '1', '']);
      await page.reload();
      assert.deepEqual(await shown('earlier visit'), ['EQUAL', '1', '1', '1', '1', '']);
      await page.click('#channel-ack');
      assert.deepEqual(await shown('Acknowledged'), ['EQUAL', '1', '1', '0', '1', '']);
      await page.click('#channel-kill');
      assert.deepEqual(await shown('Killed'), ['EQUAL', '21', '21', '20', '2', '']);
      assert.match(await page.textContent('#channel-history li:last-child'), /^1first \u{1F600}acknowledged$/u);
      await page.click('#channel-drop');
      assert.deepEqual(await shown('Dropped'), ['EQUAL', '0', '0', '0', '2', '']);
      await page.click('#tab-unicode');
    },
    'Chromium: two tabs share a list live, also over a worker that was killed, and a pool of theirs converges': async () => {
      const { page: first } = state;
      const second = await state.browser.newPage();
      const both = [first, second];
      // A tab in the background draws nothing, which is when pages are looked at by default.
      const see = (page, check, argument) =>
        page.waitForFunction(check, argument, { timeout: ANSWER_MS, polling: 50 });
      const text = (page, id) => page.textContent(`#${id}`);
      await first.click('#tab-list');
      await second.goto(`${server.url}#list`);
      for (const page of both) await see(page, () => !document.getElementById('pool-merge').disabled);
      for (const [at, page] of both.entries()) {
        await page.fill('#list-text', `thing ${at}`);
        await page.press('#list-text', 'Enter');
        for (const each of both) {
          await see(each, (count) => document.querySelectorAll('#list-things li').length === count, at + 1);
        }
      }
      await second.click('#list-kill');
      await first.bringToFront();
      await first.click('#list-things li:first-child input');
      await first.click('#list-things li:last-child button');
      for (const page of both) {
        await see(page, () => document.getElementById('list-status').textContent === '1 thing, 0 to do.');
        const told = await page.$$eval('#list-told li code', (found) => found.map(({ textContent }) => textContent));
        assert.deepEqual(told.slice(0, 4), ['4', '3', '2', '1']);
      }

      for (const page of both) {
        await page.bringToFront();
        await page.click('#pool-merge');
      }
      // Each acknowledges what it is told of, whenever that is, until the round has ended.
      await Promise.all(both.map((page) => see(page, () => {
        const acknowledge = document.getElementById('pool-acknowledge');
        if (!acknowledge.disabled) acknowledge.click();
        return document.getElementById('pool-round').textContent === '2';
      })));
      for (const page of both) assert.equal(await text(page, 'list-error'), '');
      await second.close();
      await first.click('#tab-unicode');
    },
    'Chromium: no part of the page is wider than a small screen, or begins below its tabs': async () => {
      const { page } = state;
      const before = page.viewportSize();
      await page.setViewportSize({ width: 320, height: 480 });
      for (const part of ['channel', 'list', 'benchmark', 'unicode']) {
        await page.goto('about:blank');
        await page.goto(`${server.url}#${part}`);
        assert.deepEqual(await page.evaluate(() => [document.documentElement.scrollWidth, scrollY]), [320, 0], part);
      }
      await shown(page);
      await page.setViewportSize(before);
    },
    'Chromium: the page works without a worker where none can be started': async () => {
      await withRoute('**/pkg/worker.js', (route) => route.abort(),
        (page) => assert.deepEqual([page.error, page.digest], [null, digest]));
    },
    'Chromium: the page says in words what failed': async () => {
      await withRoute('**/*.wasm', (route) => route.fulfill({ status: 404 }),
        (page) => assert.match(page.error, /^The store cannot work in this browser.*the wasm module could not be loaded/));
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
