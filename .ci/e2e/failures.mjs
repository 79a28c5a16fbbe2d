// What goes wrong in browsers, provoked in Chromium and Firefox, each with a profile on disk: what the
// package promises then is what its docs/browsers.md says, row by row.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { alone } from './failures/alone.mjs';
import { fixtures } from './failures/fixtures.mjs';
import { payloads } from './failures/payloads.mjs';
import { starts } from './failures/starts.mjs';
import { storage } from './failures/storage.mjs';
import { tabs } from './failures/tabs.mjs';
import { watchdog } from './failures/watchdog.mjs';
import { site } from './site.mjs';
import { startChromium, startFirefox } from './tabs.mjs';

/** Each has its `fact` and `run`; some are for `only` one browser, `slow` since they wait, or have their `own`. */
const SCENARIOS = [...starts, ...tabs, ...storage, ...payloads, ...fixtures, ...watchdog, ...alone];

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
  const scenarios = [...SCENARIOS.entries()].filter(([, { only = name }]) => only === name);
  /** Runs one scenario at an origin of its own, in tabs of its own. */
  const runOne = async ([number, { run, own }]) => {
    const url = (path) => shared.site.url(`${name.toLowerCase()}${number}`, path);
    if (own) return run({ ...context, start, profile, url });
    const { browser } = shared;
    const opened = [];
    const tab = async (path) => {
      const made = await browser.tab(url(path));
      opened.push(made);
      return made;
    };
    const origin = url('').replace(/\/$/, '');
    try {
      return await run({ browserName: name, browser, url, tab, origin, profile: shared.profile });
    } finally {
      await Promise.allSettled(opened.map((each) => each.close()));
    }
  };
  const fact = ([, scenario]) => `${name}: ${scenario.fact}`;
  const [slow, fast] = [true, false].map((which) => scenarios.filter(([,
    each]) => Boolean(each.slow) === which));
  const running = new Map();
  return {
    first: {
      [`${name}: starts with a profile on disk`]: async () => {
        shared.site ??= await site(context.root);
        shared.profile = profile();
        shared.browser = await start(shared.profile);
        // Those that wait for deadlines wait together, while the others run.
        for (const scenario of slow) {
          running.set(scenario, runOne(scenario));
          running.get(scenario).catch(() => {});
        }
      },
    },
    fast: Object.fromEntries(fast.map((scenario) => [fact(scenario), () => runOne(scenario)])),
    slow: Object.fromEntries(slow.map((scenario) => [fact(scenario), () => running.get(scenario)])),
  };
}

export function make(context) {
  const states = Object.keys(START).map((name) => [name, {}]);
  const browsers = states.map(([name, state]) => browserTests(context, name, state));
  return {
    tests: Object.assign({}, ...['first', 'fast', 'slow'].flatMap((part) => browsers.map((each) =>
      each[part]))),
    async cleanUp() {
      for (const [, { browser, site: served }] of states) {
        await browser?.close();
        await served?.close();
      }
    },
  };
}
