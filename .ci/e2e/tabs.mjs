// Browsers with a profile on disk, seen alike: tabs that run functions, an end, and a violent end.
// Ends only what it started.

import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { startBrowser } from './webdriver.mjs';

/** Milliseconds that a function may take in a page. */
const CALL_MS = 120_000;
/** Milliseconds between two looks. */
const POLL_MS = 25;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the promise resolves with, unless that takes longer than `ms`. */
async function within(ms, promise) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The source of an expression that calls `body(lab, ...args)` and resolves with its result as JSON. */
const source = (body, args) => `(async () => {
  while (!globalThis.lab) await new Promise((resolve) => setTimeout(resolve, 5));
  const value = await (${body})(globalThis.lab, ...${JSON.stringify(args)});
  return JSON.stringify(value, (key, each) => (typeof each === 'bigint' ? Number(each) : each)) ?? 'null';
})()`;

/** A tab of Chromium. */
async function chromiumTab(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  return {
    run: async (body, ...args) => JSON.parse(await within(CALL_MS, page.evaluate(source(body, args)))),
    open: (next) => page.goto(next),
    arrived: (search) => page.waitForURL((address) => address.search === search, { timeout: CALL_MS }),
    back: () => page.goBack({ waitUntil: 'commit' }),
    close: () => page.close(),
    /** Sends a command of the browser's own protocol. */
    send: async (method, params) => (await context.newCDPSession(page)).send(method, params),
    async crash() {
      const session = await context.newCDPSession(page);
      const crashed = page.waitForEvent('crash');
      session.send('Page.crash').catch(() => {});
      await crashed;
      await page.close();
      return true;
    },
  };
}

/**
 * Starts Chromium on the profile in folder `profile`. Answers a browser:
 *
 * - `tab(url)`: a new tab, with `run(body, ...args)`, `open(url)`, `arrived(search)` for when it goes somewhere
 *   by itself, `back()`, `close()`, and `crash()`, which answers whether the browser is still there;
 * - `close()`, and `kill()`, after which nothing of it runs any more;
 * - `log()`: what this start of it has said, which is Chromium's only.
 */
export async function startChromium({ flags }, profile) {
  const { executablePath, args } = chromiumOptions(flags);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, args: [...args, '--enable-logging'], ignoreDefaultArgs: ['--disable-back-forward-cache'],
  });
  const main = mainProcess(profile);
  return {
    context,
    tab: (url) => chromiumTab(context, url),
    log: () => readFileSync(join(profile, 'chrome_debug.log'), 'utf8'),
    close: () => context.close(),
    async kill() {
      const closed = new Promise((resolve) => context.once('close', resolve));
      process.kill(main, 'SIGKILL');
      await closed;
      await gone(main);
    },
  };
}

/** Starts Chromium with a window that keeps nothing. */
export async function startPrivateChromium({ flags }) {
  const browser = await chromium.launch(chromiumOptions(flags));
  const context = await browser.newContext();
  return { tab: (url) => chromiumTab(context, url), close: () => browser.close() };
}

const chromiumOptions = (flags) => ({ executablePath: '/usr/bin/chromium',
  args: flags['goog:chromeOptions'].args });

/** Starts Firefox in the same way; `prefs` are those that differ. */
export async function startFirefox({ flags }, profile, prefs = {}) {
  const { prefs: usual } = flags['moz:firefoxOptions'];
  // A crashed tab is to stay crashed, and a crash is not to be reported.
  const ours = { 'browser.tabs.crashReporting.sendReport': false,
    'browser.sessionstore.resume_from_crash': false };
  const browser = await startBrowser((port) => ['geckodriver', '--port', String(port)], {
    'moz:firefoxOptions': { args: ['-headless', '-profile', profile], prefs: { ...usual, ...ours,
      ...prefs } },
  });
  const main = browser.capabilities['moz:processID'];
  let turn = Promise.resolve();
  /** One tab at a time has the driver's attention. */
  const inTab = (handle, use) => {
    const result = turn.then(async () => {
      await browser.switchTo(handle);
      return use();
    });
    turn = result.catch(() => {});
    return result;
  };
  const tab = async (url) => {
    const result = turn.then(async () => {
      // The one before may have been closed or have crashed.
      const [any] = await browser.tabs();
      await browser.switchTo(any);
      return browser.newTab();
    });
    turn = result.catch(() => {});
    const handle = await result;
    const open = (next) => inTab(handle, () => browser.open(next));
    let calls = 0;
    await open(url);
    return {
      /** Looks again and again instead of waiting, so that other tabs have their turns. */
      async run(body, ...args) {
        calls += 1;
        const slot = `__call${calls}`;
        await inTab(handle, () => browser.run(`window.${slot} = {};
          const source = ${JSON.stringify(source(body, args))};
          let result;
          try {
            result = window.eval(source);
          } catch {
            // The page's policy forbids it; the driver's own place has other classes, but no policy.
            result = eval(source);
          }
          result.then((json) => { window.${slot}.json = json; },
            (error) => { window.${slot}.failed = String(error?.stack ? error + error.stack : error); });`));
        for (const end = Date.now() + CALL_MS; Date.now() < end; await pause(POLL_MS)) {
          const { json, failed } = await inTab(handle, () => browser.run(`return window.${slot} ?? { failed: 'left' };`));
          if (failed) throw new Error(failed);
          if (json) return JSON.parse(json);
        }
        throw new Error(`no result within ${CALL_MS} ms`);
      },
      open,
      async arrived(search) {
        const end = Date.now() + CALL_MS;
        while (Date.now() < end && !(await inTab(handle, () => browser.url())).endsWith(search)) await pause(POLL_MS);
      },
      back: () => inTab(handle, () => browser.back()),
      close: () => inTab(handle, () => browser.closeTab()),
      /** Kills the processes of all tabs; under this driver the browser then ends itself. */
      async crash() {
        for (const child of tabProcesses(main)) process.kill(child, 'SIGKILL');
        await gone(main);
        await browser.abandon();
        return false;
      },
    };
  };
  return {
    tab,
    close: () => browser.quit(),
    async kill() {
      process.kill(main, 'SIGKILL');
      await gone(main);
      await browser.abandon();
    },
  };
}

/** What the kernel tells of a process, or undefined if it has gone. */
function told(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}

const processes = () => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

/** The process that was started on this profile, which all others of the browser descend from. */
function mainProcess(profile) {
  const ours = processes().filter((pid) => {
    const words = (told(pid, 'cmdline') ?? '').split('\0');
    return words.includes(`--user-data-dir=${profile}`) && !words.some((word) => word.startsWith('--type='));
  });
  // A child has its parent's words until it has begun a program of its own.
  const parent = (pid) => /^\d+ \(.*\) \S (\d+)/s.exec(told(pid, 'stat') ?? '')?.[1];
  const [main, ...more] = ours.filter((pid) => !ours.includes(parent(pid)));
  if (!main || more.length > 0) throw new Error(`${ours.length} processes have this profile`);
  return Number(main);
}

/** The processes of a Firefox in which pages run. */
function tabProcesses(main) {
  return processes().filter((pid) => {
    const words = (told(pid, 'cmdline') ?? '').split(/[\0 ]/).filter(Boolean);
    return words[words.indexOf('-parentPid') + 1] === String(main) && words.at(-1) === 'tab';
  }).map(Number);
}

/** Resolves when a process has ended. */
async function gone(pid) {
  while (/^\d+ \(.*\) [^ZX]/s.test(told(pid, 'stat') ?? '')) await pause(POLL_MS);
}
