// What goes wrong in browsers, provoked in Chromium and Firefox, each with a profile on disk: what the
// package promises then is what its docs/browsers.md says, row by row.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { alone } from './failures/alone.mjs';
import { payloads } from './failures/payloads.mjs';
import { starts } from './failures/starts.mjs';
import { storage } from './failures/storage.mjs';
import { tabs } from './failures/tabs.mjs';
import { watchdog } from './failures/watchdog.mjs';
import { site } from './site.mjs';
import { startChromium, startFirefox } from './tabs.mjs';

/** Every scenario: `fact`, `run(lab)`, perhaps `only` in one browser, `slow` if it mostly waits, `own` browsers. */
const SCENARIOS = [...starts, ...tabs, ...storage, ...payloads, ...watchdog, ...alone];

const START = { Chromium: startChromium, Firefox: startFirefox };

/** The tests of one browser, which all share one start of it but those that need their own. */
function browserTests(context, name, shared) {
  const { scratch } = context;
  let profiles = 0;
  const profile = () => {
    profiles += 1;
    const folder = join(scratch, `${name[0]}${profiles}`);
    mkdirSync(folder, { recursive: true });
    return folder;
  };
  const start = (folder = profile(), ...more) => START[name](context, folder, ...more);
  const scenarios = SCENARIOS.filter(({ only = name }) => only === name);
  /** Runs one scenario at an origin of its own, in tabs of its own. */
  const runOne = async ({ run, own }, number) => {
    const host = `${name.toLowerCase()}${number}`;
    const url = (path) => shared.site.url(host, path);
    if (own) return run({ ...context, start, profile, url });
    const { browser } = shared;
    const opened = [];
    const tab = async (path) => {
      const made = await browser.tab(url(path));
      opened.push(made);
      return made;
    };
    try {
      await run({ browserName: name, browser, url, tab, origin: url('').replace(/\/$/, ''), profile: shared.profile });
    } finally {
      await Promise.allSettled(opened.map((each) => each.close()));
    }
  };
  const slow = new Map();
  const tests = {
    [`${name}: starts with a profile on disk`]: async () => {
      shared.site ??= await site(context.root);
      shared.profile = profile();
      shared.browser = await start(shared.profile);
      // Those that wait for deadlines wait together, while the others run.
      scenarios.forEach((scenario, number) => {
        if (!scenario.slow) return;
        const running = runOne(scenario, number);
        running.catch(() => {});
        slow.set(scenario, running);
      });
    },
  };
  // The slow ones are asked last.
  const order = [...scenarios.entries()].sort(([, a], [, b]) => Boolean(a.slow) - Boolean(b.slow));
  for (const [number, scenario] of order) {
    tests[`${name}: ${scenario.fact}`] = () => slow.get(scenario) ?? runOne(scenario, number);
  }
  tests[`${name}: ends without having left what it must not`] = async () => {
    await shared.browser.close();
    shared.browser = undefined;
  };
  return tests;
}

export function make(context) {
  const shared = Object.keys(START).map((name) => [name, {}]);
  const tests = Object.assign({}, ...shared.map(([name, state]) => browserTests(context, name, state)));
  return {
    tests,
    async cleanUp() {
      for (const [, { browser, site: served }] of shared) {
        await browser?.close();
        await served?.close();
      }
    },
  };
}
