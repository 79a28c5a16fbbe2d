// The packed package as users build it, run in real browsers: no bundler, Vite, webpack, esbuild, Rollup.
// Each consumer is one page (.ci/consumers/app) in a project of its own, served from an origin of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { readme } from '../../pkg-template/type-tests/examples.mjs';
import { serve } from '../serve.mjs';
import { project, run, tool } from './projects.mjs';
import { freePort, until, withBrowser } from './webdriver.mjs';

/** Milliseconds that a page may take to load and answer. */
const ANSWER_MS = 60_000;
/** Milliseconds that a development server may take until it listens. */
const LISTEN_MS = 30_000;
/** Milliseconds between two looks. */
const POLL_MS = 50;

/** What a page tells of the rows it stored and read back. */
const STORED = { rows: [[3], [2], [1]], stored: ['persistency/consumer/alpha'] };
/** What it tells when all that went through a worker: the page itself opened no database. */
const BY_WORKER = { ...STORED, databasesOpened: 0, workers: 1 };
/** What it tells of a layer, of the second entry. */
const LAYERED = { lamport: '7n', workers: 1 };

/** What the README says a Content-Security-Policy has to allow, and nothing else. */
const policy = (scripts) =>
  `default-src 'none'; connect-src 'self'; worker-src 'self'; script-src 'self' 'wasm-unsafe-eval'${scripts}`;

const shown = () => document.querySelector('output')?.textContent;
const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));

/** What stands before and behind a program so that its page tells what it logs. */
const LISTEN = `
  globalThis.logged = [];
  const shownAs = (value) => (typeof value === "bigint" ? value + "n" : String(value));
  console.log = (...values) => globalThis.logged.push(values.map(shownAs).join(" "));
`;
const TELL = `
  document.querySelector("output").textContent = JSON.stringify(globalThis.logged);
`;

/** Serves a project as it is: its page names the package in an import map. */
function plain(folder) {
  const map = JSON.stringify({ imports: {
    persistency: './node_modules/persistency/index.js', 'persistency/layers': './node_modules/persistency/layers.js',
  } });
  const page = join(folder, 'index.html');
  const html = readFileSync(page, 'utf8');
  writeFileSync(page, html.replace('</title>', `</title><script type="importmap">${map}</script>`));
  const digest = createHash('sha256').update(map).digest('base64');
  return { mounts: { '/': folder }, scripts: ` 'sha256-${digest}'` };
}

/** Each builds the app in its folder; answers the folders to serve, and options of `Persistency.open`. */
function builds({ root }) {
  const node = (folder, ...args) => run(folder, process.execPath, ...args);
  const served = (folder) => ({ mounts: { '/': join(folder, 'dist') } });
  const installed = (folder, ...path) => join(folder, 'node_modules', 'persistency', ...path);
  /** For those that build scripts only. */
  const withPage = (folder) => {
    cpSync(join(folder, 'index.html'), join(folder, 'dist', 'index.html'));
    return served(folder);
  };
  const vite = (version) => async (folder) => {
    await node(folder, tool(root, `vite${version}`, 'bin', 'vite.js'), 'build', '--logLevel', 'warn');
    return served(folder);
  };
  return {
    'a plain page with an import map': plain,
    'a Vite 5 build': vite(5),
    'a Vite 6 build': vite(6),
    'a Vite 7 build': vite(7),
    'a Vite 8 build': vite(8),
    'a webpack build': async (folder) => {
      const webpack = tool(root, 'webpack-cli', 'bin', 'cli.js');
      await node(folder, webpack, '--mode', 'production', '--entry', './main.js');
      return withPage(folder);
    },
    'an esbuild build with worker and wasm copied beside it': async (folder) => {
      const args = ['main.js', '--bundle', '--format=esm', '--outdir=dist', '--log-level=warning'];
      await run(folder, tool(root, '.bin', 'esbuild'), ...args);
      for (const name of ['worker.js', 'persistency.wasm', 'persistency-memory.wasm']) {
        cpSync(installed(folder, name), join(folder, 'dist', name));
      }
      return withPage(folder);
    },
    'a Rollup build that is told where worker and wasm are': async (folder) => {
      await node(folder, tool(root, 'rollup', 'dist', 'bin', 'rollup'), 'main.js', '--format', 'es',
        '--dir', 'dist', '--plugin', '@rollup/plugin-node-resolve', '--silent');
      const { mounts } = withPage(folder);
      const options = { workerUrl: '/assets/worker.js', wasmUrl: '/assets/persistency.wasm' };
      return { mounts: { ...mounts, '/assets/': installed(folder) }, options };
    },
  };
}

/** Starts Vite's development server in `folder`; answers `{ url, close }`. */
async function develop(root, version, folder) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const args = ['--host', '127.0.0.1', '--port', String(port), '--strictPort', '--logLevel', 'warn'];
  // A group of its own, so that what it starts ends with it.
  const server = spawn(process.execPath, [tool(root, `vite${version}`, 'bin', 'vite.js'), ...args],
    { cwd: folder, stdio: 'ignore', detached: true });
  const ended = once(server, 'exit');
  const isUp = () => server.exitCode === null && server.signalCode === null;
  const close = async () => {
    if (isUp()) process.kill(-server.pid, 'SIGTERM');
    await ended;
  };
  for (const end = Date.now() + LISTEN_MS; isUp() && Date.now() < end; await pause()) {
    if (await fetch(url).then(({ ok }) => ok, () => false)) return { url, close };
  }
  await close();
  throw new Error(`Vite ${version} did not listen on port ${port} within ${LISTEN_MS} ms`);
}

/** Runs pages in one Chromium, started for the first of them. */
function visitor({ scratch, flags }) {
  let browser;
  return {
    /** Loads a page; answers what it told, and the global scopes of the workers that live. */
    visit: async (url, options = {}) => {
      browser ??= await chromium.launchPersistentContext(join(scratch, 'consumers'), {
        executablePath: '/usr/bin/chromium', args: flags['goog:chromeOptions'].args,
      });
      const page = await browser.newPage();
      const failed = once(page, 'pageerror').then(([error]) => { throw error; });
      failed.catch(() => {});
      try {
        await page.goto(`${url}?${new URLSearchParams(options)}`);
        const answered = page.waitForFunction(shown, null, { timeout: ANSWER_MS });
        const told = JSON.parse(await (await Promise.race([answered, failed])).jsonValue());
        // A page that closed its root ends its worker while that is asked.
        const scope = (worker) => worker.evaluate(() => globalThis.constructor.name).catch(() => []);
        return { told, scopes: (await Promise.all(page.workers().map(scope))).flat() };
      } finally {
        await page.close();
      }
    },
    close: () => browser?.close(),
  };
}

export function make(context) {
  const { root, flags } = context;
  const source = join(root, '.ci', 'consumers', 'app');
  const documented = readme(join(root, 'pkg', 'README.md'));
  const { visit, close } = visitor(context);
  /** What is built and served, by the name of its build: an address and options. */
  const sites = new Map();
  const servers = [];
  let projects = 0;
  const fresh = (files) => project(context, `app-${projects++}`, { source, files });
  const publish = async ({ mounts, scripts = '' }) => {
    const server = await serve(mounts, 0, policy(scripts));
    servers.push(server);
    return server.url;
  };

  const worksInWorker = async (url, options) => {
    const { told, scopes } = await visit(url, options);
    assert.deepEqual([told, scopes], [BY_WORKER, ['DedicatedWorkerGlobalScope']]);
  };
  const built = (name, build) => async () => {
    const { options = {}, ...site } = await build(await fresh());
    sites.set(name, { url: await publish(site), options });
    await worksInWorker(sites.get(name).url, options);
  };
  const developed = (version, files, check) => async () => {
    const server = await develop(root, version, await fresh(files));
    try {
      await check(server.url);
    } finally {
      await server.close();
    }
  };
  const namesExclude = async (url) => {
    const { told: { name, kind, message } } = await visit(url, { worker: 'required' });
    assert.deepEqual([name, kind], ['PersistencyError', 'Unsupported']);
    assert.match(message, /optimizeDeps\.exclude/);
  };
  const tests = Object.fromEntries(Object.entries(builds(context)).map(([name, build]) =>
    [`Chromium: ${name} works in a worker`, built(name, build)]));
  Object.assign(tests, {
    'Chromium: every build works in its page where no worker is wanted': async () => {
      assert.ok(sites.size > 0);
      for (const [name, { url, options }] of sites) {
        const { told, scopes } = await visit(url, { ...options, worker: 'none' });
        const { databasesOpened, ...rest } = told;
        assert.deepEqual([rest, scopes], [{ ...STORED, workers: 0 }, []], name);
        assert.ok(databasesOpened > 0, name);
      }
    },
    'Chromium: the second entry works in a worker, in a plain page and in a Vite 8 build': async () => {
      const layers = { 'main.js': readFileSync(join(source, 'layers.js'), 'utf8') };
      for (const build of ['a plain page with an import map', 'a Vite 8 build']) {
        const url = await publish(await builds(context)[build](await fresh(layers)));
        const { told, scopes } = await visit(url, { worker: 'required' });
        assert.deepEqual([told, scopes], [LAYERED, ['DedicatedWorkerGlobalScope']], build);
      }
    },
    "Chromium: the program of the package's README logs what it says it logs": async () => {
      const { program, output } = documented;
      const url = await publish(plain(await fresh({ 'main.js': `${LISTEN}${program}${TELL}` })));
      assert.ok(output.length > 5);
      assert.deepEqual((await visit(url)).told, output);
    },
    'Chromium: Vite 8 development works in a worker': developed(8, {}, worksInWorker),
    ...Object.fromEntries([7, 6, 5].map((version) => [
      `Chromium: Vite ${version} development works in a worker with optimizeDeps.exclude`,
      developed(version, documented.files, worksInWorker),
    ])),
    'Chromium: the error of Vite 7 development names optimizeDeps.exclude': developed(7, {}, namesExclude),
    'Firefox: a plain page and a Vite 8 build work in a worker': async () => {
      const options = { 'moz:firefoxOptions': { ...flags['moz:firefoxOptions'], args: ['-headless'] } };
      await withBrowser((port) => ['geckodriver', '--port', String(port)], options, async (browser) => {
        for (const name of ['a plain page with an import map', 'a Vite 8 build']) {
          await browser.open(sites.get(name).url);
          const told = await until(browser, `return (${shown})()`, ANSWER_MS);
          assert.deepEqual(JSON.parse(told), BY_WORKER, name);
        }
      });
    },
  });
  const cleanUp = async () => {
    await close();
    for (const server of servers) await server.close();
    rmSync(join(root, 'target', 'consumers'), { recursive: true, force: true });
  };
  return { tests, cleanUp };
}
