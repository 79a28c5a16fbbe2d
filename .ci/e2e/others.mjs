// The demo page in Firefox and WebKit, each through its own driver: the digest, and the rows over a reload.

import assert from 'node:assert/strict';
import { until, withBrowser } from './webdriver.mjs';

/** Milliseconds that the page may take to load and answer. */
const ANSWER_MS = 180_000;

/** What the page shows once it has answered or failed. */
const SHOWN = `
  const text = (id) => document.getElementById(id).textContent;
  const error = document.getElementById('error');
  if (document.getElementById('again').disabled && error.hidden) return null;
  const failure = error.hidden ? null : error.textContent;
  return { status: text('status'), digest: text('page-digest'), verdict: text('verdict'), error: failure };
`;

export function make({ server, digest, flags }) {
  const pageTest = (command, capabilities) => () => withBrowser(command, capabilities, async (browser) => {
    await browser.open(server.url);
    const first = await until(browser, SHOWN, ANSWER_MS);
    assert.deepEqual([first.error, first.digest, first.verdict], [null, digest, 'EQUAL']);
    assert.match(first.status, /^Loaded 70,175 rows just now/);
    await browser.open(server.url);
    const second = await until(browser, SHOWN, ANSWER_MS);
    assert.deepEqual([second.error, second.digest, second.verdict], [null, digest, 'EQUAL']);
    assert.match(second.status, /kept from an earlier visit/);
  });
  const firefox = { ...flags['moz:firefoxOptions'], args: ['-headless'] };
  const tests = {
    'Firefox: the page has the same digest, and keeps its rows over a reload':
      pageTest((port) => ['geckodriver', '--port', String(port)], { 'moz:firefoxOptions': firefox }),
    // It has no headless mode, so it is given a screen.
    'WebKit: the page has the same digest, and keeps its rows over a reload':
      pageTest((port) => ['xvfb-run', '-a', 'WebKitWebDriver', `--port=${port}`], {}),
  };
  return { tests };
}
