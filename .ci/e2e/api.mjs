// The whole JavaScript API as an application uses it: the same tests (.ci/e2e/api) in Chromium with a worker,
// in Chromium in the page, and in Firefox with a worker. Each browser is started once.

import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { serve } from '../serve.mjs';
import { layerTests, tests as coreTests } from './api/tests.js';
import { withBrowser } from './webdriver.mjs';

/** Milliseconds that the page may take to load. */
const LOAD_MS = 30_000;

/** Where the tests run: how a root is opened there. */
const PLACES = {
  'Chromium, worker': { browser: 'chromium', options: { worker: 'required' } },
  'Chromium, page': { browser: 'chromium', options: { worker: 'none' } },
  'Firefox, worker': { browser: 'firefox', options: { worker: 'required' } },
};

const isLoaded = 'typeof globalThis.runTest === "function"';
const call = (name, options) => `globalThis.runTest(${JSON.stringify(name)}, ${JSON.stringify(options)})`;

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
    const options = { 'moz:firefoxOptions': { ...flags['moz:firefoxOptions'], args: ['-headless'] } };
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
  let server;
  const opened = {};
  const page = async (browser) => {
    server ??= await serve({ '/': join(root, '.ci', 'e2e', 'api'), '/pkg/': join(root, 'pkg') });
    opened[browser] ??= browsers[browser]({ url: server.url, flags });
    return opened[browser];
  };
  const tests = Object.fromEntries(Object.entries(PLACES).flatMap(([place, { browser, options }]) =>
    Object.keys({ ...coreTests, ...layerTests }).map((name) => [`${place}: ${name}`, async () => {
      const { run } = await page(browser);
      const failure = await run(call(name, options));
      if (failure) throw new Error(failure);
    }])));
  const cleanUp = async () => {
    for (const each of Object.values(opened)) await (await each).close();
    await server?.close();
  };
  return { tests, cleanUp };
}
