// The whole JavaScript API as an application uses it: the same tests (.ci/e2e/api) in Chromium with a worker,
// in Chromium in the page, and in Firefox with a worker. Each browser is started once.
// What happens to archives by chance (archive-soak.js) takes a while, so it is in one place, once, from another seed each
// time; `PERSISTENCY_ARCHIVE_TIMES=20` has it happen in each of them, and so many times.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { serve } from '../serve.mjs';
import { worked } from './api/worked.mjs';
import { archiveSoakTests } from './api/layers/archive-soak.js';
import { layerTests, tests as coreTests } from './api/tests.js';
import { archives } from './archives.mjs';
import { withBrowser } from './webdriver.mjs';

/** Milliseconds that the page may take to load. */
const LOAD_MS = 30_000;

/** Where the tests run: how a root is opened there. */
const PLACES = {
  'Chromium, worker': { browser: 'chromium', options: { worker: 'required' } },
  'Chromium, page': { browser: 'chromium', options: { worker: 'none' } },
  'Firefox, worker': { browser: 'firefox', options: { worker: 'required' } },
};

/** Milliseconds that a script in Firefox may take: longer than a test may. */
const SCRIPT_MS = 60_000;
/** How many times the usual what happens to archives by chance, and whether only in the one place. */
const TIMES = Number(process.env.PERSISTENCY_ARCHIVE_TIMES ?? 1);
const SOAKS_IN = process.env.PERSISTENCY_ARCHIVE_TIMES === undefined ? ['Chromium, worker'] : Object.keys(PLACES);
const isFor = (place, name) => SOAKS_IN.includes(place) || !(name in archiveSoakTests);

const isLoaded = 'typeof globalThis.runTest === "function"';
const call = (what, ...args) => `globalThis.${what}(${args.map((each) => JSON.stringify(each)).join(', ')})`;
/** As serve.mjs has it, and servers of archives beside. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' http://127.0.0.1:*";

/** Each opens the page once and answers `{ run, close }`. */
const browsers = {
  async chromium({ url, flags }) {
    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium',
      args: flags['goog:chromeOptions'].args });
    const page = await browser.newPage();
    await page.goto(url);
    await page.waitForFunction(isLoaded, null, { timeout: LOAD_MS });
    return { run: (script) => page.evaluate(script), close: () => browser.close() };
  },
  firefox({ url, flags }) {
    const options = { 'moz:firefoxOptions': { ...flags['moz:firefoxOptions'], args: ['-headless'] },
      timeouts: { script: SCRIPT_MS * TIMES } };
    return new Promise((opened, failed) => {
      const ended = withBrowser((port) => ['geckodriver', '--port', String(port)], options,
        async (browser) => {
        await browser.open(url);
        await new Promise((close) => {
          opened({
            run: (script) => browser.run(`return ${script}`),
            close: () => {
              close();
              return ended;
            },
          });
        });
      });
      ended.catch(failed);
    });
  },
};

export function make({ root, flags }) {
  const scratch = mkdtempSync(join(tmpdir(), 'api-'));
  let server;
  let kept;
  const opened = {};
  const archive = () => kept ??= archives(root, scratch);
  const page = async (browser) => {
    server ??= await serve(
      { '/': join(root, '.ci', 'e2e', 'api'), '/pkg/': join(root, 'pkg'), '/scratch/': join(scratch, 'served') }, 0, POLICY);
    opened[browser] ??= browsers[browser]({ url: server.url, flags });
    return opened[browser];
  };
  const tests = Object.fromEntries(Object.entries(PLACES).flatMap(([place, { browser, options }]) =>
    Object.keys({ ...coreTests, ...layerTests }).filter((name) => isFor(place, name)).map((name) => [`${place}: ${name}`, async () => {
      const { run } = await page(browser);
      const outside = name.startsWith('archive: ') ? (await archive()).server : undefined;
      const failure = await run(call('runTest', name, options, outside, ...(outside ? [TIMES] : [])));
      if (failure) throw new Error(failure);
    }])));
  for (const [place, { browser, options }] of Object.entries(PLACES)) {
    if (options.worker === 'none') continue;
    const name = `${browser}-crossing`;
    tests[`${place}: archive: what a browser ships is restored natively, and what is shipped natively in a browser`] =
      async () => {
        const { run } = await page(browser);
        const { server: there, restore, ship } = await archive();
        const digest = await run(call('cross', 'ship', options, there, name));
        assert.match(digest, /^[0-9a-f]{64}$/);
        assert.equal(await restore(name, name), digest);
        assert.equal(await ship(`${name}-native`, name), digest);
        assert.equal(await run(call('cross', 'restore', options, there, `${name}-native`)), digest);
      };
  }
  tests['Chromium, worker: archive: the worked example of the docs runs as it stands'] = async () => {
    const { run } = await page('chromium');
    await worked(root, join(scratch, 'served'), (file) => run(call('runExample', `/scratch/${file}`)));
  };
  const cleanUp = async () => {
    for (const each of Object.values(opened)) await (await each).close();
    await server?.close();
    await (await kept)?.close();
    rmSync(scratch, { recursive: true, force: true });
  };
  return { tests, cleanUp };
}
