// Runs one test of tests.js in this page, for a driver outside: `runTest(name, options)`. What is repeated by chance is repeated `times` as often.
// Never lets a promise's rejection pass that nobody has handled.

import * as core from "/pkg/index.js";
import * as layers from "/pkg/layers.js";
import { equal } from "./checks.js";
import { crossing } from "./layers/archive.js";
import { layerTests, tests } from "./tests.js";

/** Milliseconds that one test may take. */
const TEST_MS = 30_000;

const rejections = [];
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  rejections.push(String(event.reason?.stack ?? event.reason));
});

let roots = 0;

/** What a test is given: the package's first or second entry, and ways to open what is closed when the test is over. */
function makeContext(persistency, options, archives, times) {
  const opened = [];
  return {
    ...persistency,
    options,
    archives,
    times,
    /** Has the server of archives follow a rule of archives.mjs; answers how many requests have been let through, or what the
     * rule says. */
    async server(rule, number = 0) {
      const told = await fetch(`${archives.url}${rule}/${number}`, { method: "POST" });
      return Number(await told.text());
    },
    /** A root's name that nobody has. */
    freshName: () => `api-${Date.now()}-${roots += 1}`,
    async open(name = this.freshName(), more = {}) {
      const root = await persistency.Persistency.open(name, { ...options, ...more });
      opened.push(root);
      return root;
    },
    async job(jobOptions, id = "alpha") {
      const root = await this.open();
      return { root, job: await root.openJob(id, jobOptions) };
    },
    /** What a test that did not come to its end has shut would be shut for the next one too. */
    async cleanUp() {
      if (archives) await this.server("up");
      await Promise.allSettled(opened.map((root) => root.close()));
    },
  };
}

/** Calls one of `crossing` and answers what that does. */
globalThis.cross = async (name, options, archives, ...args) => {
  const context = makeContext(layers, options, archives);
  try {
    return await crossing[name](context, ...args);
  } finally {
    await context.cleanUp();
  }
};

/** Runs a module, and answers what it says with console.log, a line for each call. */
globalThis.runExample = async (address) => {
  const { log } = console;
  const said = [];
  // As consoles show them.
  const shown = (word) => (typeof word === "bigint" ? `${word}n` : word);
  console.log = (...words) => said.push(words.map(shown).join(" "));
  try {
    await import(address);
  } finally {
    console.log = log;
  }
  return said;
};

globalThis.runTest = async (name, options, archives, times = 1) => {
  const context = makeContext(name in layerTests ? layers : core, options, archives, times);
  let timer;
  try {
    await Promise.race([
      (layerTests[name] ?? tests[name])(context),
      new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not done within ${TEST_MS} ms`)), TEST_MS * times);
      }),
    ]);
    await context.cleanUp();
    await new Promise((resolve) => setTimeout(resolve));
    equal(rejections.splice(0), [], "unhandled rejections");
    return null;
  } catch (error) {
    await context.cleanUp();
    return `${error?.message ?? error}\n${error?.stack ?? ""}`;
  } finally {
    clearTimeout(timer);
  }
};
