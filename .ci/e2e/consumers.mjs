// The packed package as users build it, run in real browsers: no bundler, Vite, webpack, esbuild, Rollup.
// Each consumer is one page (.ci/consumers/app) in a project of its own, served from an origin of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { serve } from '../serve.mjs';
import { project, run, tool } from './projects.mjs';
import { freePort, until, withBrowser } from './webdriver.mjs';

/** Milliseconds that a page may take to load and answer. */
const ANSWER_MS = 60_000;
/** Milliseconds that a development server may take until it listens, and between two looks. */
const [LISTEN_MS, POLL_MS] = [30_000, 50];

/** What a page tells when the rows went through a worker: the page itself opened no database. */
const DONE = { rows: [[3], [2], [1]], stored: ['persistency/consumer/alpha'], databasesOpened: 0, workers: 1 };

const shown = () => document.querySelector('output')?.textContent;

/** Builds for the browser; each answers the folders to serve, and what the page's address has to say. */
function builds({ root }) {
  const node = (folder, ...args) => run(folder, process.execPath, ...args);
  const vite = (version) => async (folder) => {
    await node(folder, tool(root, `vite${version}`, 'bin', 'vite.js'), 'build', '--logLevel', 'warn');
    return { mounts: { '/': join(folder, 'dist') } };
  };
  const withPage = (folder) => {
    cpSync(join(folder, 'index.html'), join(folder, 'dist', 'index.html'));
    return { mounts: { '/': join(folder, 'dist') } };
  };
  const installed = (folder, ...path) => join(folder, 'node_modules', 'persistency', ...path);
  return {
    'a plain page with an import map': (folder) => {
      const map = JSON.stringify({ imports: { persistency: './node_modules/persistency/index.js' } });
      const page = join(folder, 'index.html');
      const html = readFileSync(page, 'utf8').replace('<script', `<script type="importmap">${map}</script>\n  <script`);
      writeFileSync(page, html);
      const hash = `sha256-${createHash('sha256').update(map).digest('base64')}`;
      return { mounts: { '/': folder }, inline: [hash] };
    },
    ...Object.fromEntries([5, 6, 7, 8].map((version) => [`a Vite ${version} build`, vite(version)])),
    'a webpack build': async (folder) => {
      await node(folder, tool(root, 'webpack-cli', 'bin', 'cli.js'), '--mode', 'production', '--entry', './main.js');
      return withPage(folder);
    },
    'an esbuild build with worker and wasm copied beside it': async (folder) => {
      await run(folder, tool(root, '.bin', 'esbuild'), 'main.js', '--bundle', '--format=esm', '--outdir=dist', '--log-level=warning');
      for (const name of ['worker.js', 'persistency.wasm']) cpSync(installed(folder, name), join(folder, 'dist', name));
      return withPage(folder);
    },
    'a Rollup build that is told where worker and wasm are': async (folder) => {
      await node(folder, tool(root, 'rollup', 'dist', 'bin', 'rollup'), 'main.js', '--format', 'es', '--dir', 'dist',
        '--plugin', '@rollup/plugin-node-resolve', '--silent');
      const { mounts } = withPage(folder);
      const options = { workerUrl: '/assets/worker.js', wasmUrl: '/assets/persistency.wasm' };
      return { mounts: { ...mounts, '/assets/': installed(folder) }, query: `?${new URLSearchParams(options)}` };
    },
  };
}

/** Starts Vite's development server for a project; answers `{ url, close }`. */
async function develop(root, version, folder) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const args = ['--host', '127.0.0.1', '--port', String(port), '--strictPort', '--logLevel', 'warn'];
  const server = spawn(process.execPath, [tool(root, `vite${version}`, 'bin', 'vite.js'), ...args],
    { cwd: folder, stdio: 'ignore', detached: true });
  const ended = once(server, 'exit');
  const close = async () => {
    if (server.exitCode === null && server.signalCode === null) process.kill(-server.pid, 'SIGTERM');
    await ended;
  };
  for (const end = Date.now() + LISTEN_MS; Date.now() < end; await new Promise((wake) => setTimeout(wake, POLL_MS))) {
    if (server.exitCode !== null) throw new Error(`Vite ${version} ended with status ${server.exitCode}`);
    const listens = await fetch(url).then(({ ok }) => ok, () => false);
    if (listens) return { url, close };
  }
  await close();
  throw new Error(`Vite ${version} did not listen within ${LISTEN_MS} ms`);
}

export function make(context) {
  const { root, scratch, flags } = context;
  const source = join(root, '.ci', 'consumers', 'app');
  const state = { servers: [], urls: {} };
  let projects = 0;
  const fresh = (files) => project(context, `app-${projects++}`, { source, files });

  /** Runs the page at `url` in Chromium; answers what it told, and the global scopes of its workers. */
  const visit = async (url) => {
    state.browser ??= await chromium.launchPersistentContext(join(scratch, 'consumers'), {
      executablePath: '/usr/bin/chromium', args: flags['goog:chromeOptions'].args,
    });
    const page = await state.browser.newPage();
    const errors = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    try {
      await page.goto(url);
      const told = JSON.parse(await (await page.waitForFunction(shown, null, { timeout: ANSWER_MS })).jsonValue());
      const scopes = await Promise.all(page.workers().map((worker) => worker.evaluate(() => globalThis.constructor.name)));
      return { told, scopes, errors };
    } finally {
      await page.close();
    }
  };
  const works = async (url) => {
    assert.deepEqual(await visit(url), { told: DONE, scopes: ['DedicatedWorkerGlobalScope'], errors: [] });
  };
  const built = Object.entries(builds(context)).map(([name, build]) => [`Chromium: ${name} works in a worker`, async () => {
    const { mounts, inline, query = '' } = await build(await fresh());
    const server = await serve(mounts, 0, inline);
    state.servers.push(server);
    state.urls[name] = `${server.url}${query}`;
    await works(state.urls[name]);
  }]);

  const excluded = { 'vite.config.js': 'export default { optimizeDeps: { exclude: ["persistency"] } };\n' };
  const developed = async (version, files, check) => {
    const server = await develop(root, version, await fresh(files));
    try {
      await check(server.url);
    } finally {
      await server.close();
    }
  };
  return {
    tests: {
      ...Object.fromEntries(built),
      'Chromium: Vite 8 development needs no configuration': () => developed(8, {}, works),
      ...Object.fromEntries([5, 6, 7].map((version) =>
        [`Chromium: Vite ${version} development works with optimizeDeps.exclude`, () => developed(version, excluded, works)])),
      'Chromium: without it the error of Vite 7 development names optimizeDeps.exclude': () =>
        developed(7, {}, async (url) => {
          const { told: { name, kind, message } } = await visit(`${url}?worker=required`);
          assert.deepEqual([name, kind], ['PersistencyError', 'Unsupported']);
          assert.match(message, /optimizeDeps\.exclude/);
        }),
      'Firefox: a plain page and a Vite 8 build work in a worker': async () => {
        const options = { 'moz:firefoxOptions': { ...flags['moz:firefoxOptions'], args: ['-headless'] } };
        await withBrowser((port) => ['geckodriver', '--port', String(port)], options, async (browser) => {
          for (const name of ['a plain page with an import map', 'a Vite 8 build']) {
            await browser.open(state.urls[name]);
            assert.deepEqual(JSON.parse(await until(browser, `return (${shown})()`, ANSWER_MS)), DONE, name);
          }
        });
      },
    },
    cleanUp: async () => {
      await state.browser?.close();
      for (const server of state.servers) await server.close();
      rmSync(join(root, 'target', 'consumers'), { recursive: true, force: true });
    },
  };
}
