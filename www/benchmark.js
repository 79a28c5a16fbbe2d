// The benchmark's part of the page: starts a run in the visitor's own browser, and shows what came of it.
// Measures nothing itself: that is `benches/browser`, which the page's build puts into `bench/`.

import { ready } from "./demo.js";

/** Whom we are compared with here: IndexedDB itself, and the libraries that most people use over it. */
const PEERS = ["persistency", "indexed-db", "idb", "dexie", "localforage"];
const ROUNDS = 3;
/** Milliseconds after which no further round begins. */
const BUDGET_MS = 20_000;
/** Held while a run is on, so that two tabs do not measure each other. */
const LOCK = "persistency-benchmark";

const element = (id) => document.getElementById(id);
const figures = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const multiples = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

const say = (words) => { element("bench-status").textContent = words; };

function make(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

function showProgress({ work, peer, round, rounds, done, all }) {
  element("bench-progress").max = all;
  element("bench-progress").value = done;
  element("bench-words").textContent = `Round ${round + 1} of ${rounds}: ${work} · ${peer}`;
}

/** How fast something was, as a multiple of another. */
const multiple = ({ better }, { median }, than) =>
  (better === "higher" ? median / than.median : than.median / median);

/** A work as a list of bars, the longest for the fastest. */
function bars(work, names, [us, raw]) {
  const of = (name) => (name === us ? work.ours : work.peers[name]);
  const yardstick = work.peers[raw];
  const most = Math.max(...names.filter(of).map((name) => multiple(work, of(name), yardstick)));
  const items = names.map((name) => {
    const label = make("span", {}, name);
    const kind = name === us ? { class: "ours" } : {};
    if (!of(name)) return make("li", kind, label, make("span", { class: "times" }, "—"));
    const times = multiple(work, of(name), yardstick);
    const words = `${figures.format(of(name).median)} ${work.unit}`;
    const bar = make("meter", { min: 0, max: most, value: times, "aria-label": words });
    const figure = make("span", { class: "times" }, `${multiples.format(times)} ×`);
    return make("li", { ...kind, title: words }, label, bar, figure);
  });
  return make("section", {}, make("h3", {}, work.title), make("ul", {}, ...items));
}

/** Text in which what stands between backticks is code. */
const withCode = (text) => text.split("`").map((part, at) => (at % 2 === 1 ? make("code", {}, part) : part));

function show({ rows, rounds, chosen }) {
  const names = Object.keys(chosen);
  const faster = rows.filter(({ ratio }) => ratio.median >= 1).length;
  const [us, raw] = names;
  element("bench-summary").textContent =
    `${us} is as fast as ${raw} or faster in ${faster} of ${rows.length} kinds of work. ` +
    `The longest bar is the fastest. Medians of ${rounds} round${rounds === 1 ? "" : "s"} each.`;
  element("bench-works").replaceChildren(...rows.map((work) => bars(work, names, names)));
  element("bench-chosen").replaceChildren(...Object.entries(chosen).flatMap(([name, words]) =>
    [make("dt", {}, name), make("dd", {}, ...withCode(words))]));
  element("bench-results").hidden = false;
}

/** Runs the benchmark and shows it; `signal` ends it early. */
async function run(signal) {
  say("Waiting for the other part of this page …");
  await ready;
  const { run: measure, sizes } = await import("./bench/bench.js").catch((cause) => {
    throw new Error("The server has no benchmark; `make demo` builds it.", { cause });
  });
  say("Measuring …");
  show(await measure({
    peers: PEERS, rounds: ROUNDS, size: sizes.SHORT, budgetMs: BUDGET_MS, signal, progress: showProgress,
  }));
  say("Done. Run it again to see how much it varies.");
}

let stop = new AbortController();

async function start() {
  stop = new AbortController();
  element("bench-run").disabled = true;
  element("bench-error").hidden = true;
  element("bench-results").hidden = true;
  element("bench-loading").hidden = false;
  element("bench-stop").hidden = false;
  try {
    await navigator.locks.request(LOCK, { ifAvailable: true }, async (lock) => {
      if (lock === null) throw new Error("The benchmark runs in another tab. Let it end there first.");
      await run(stop.signal);
    });
  } catch (error) {
    if (stop.signal.aborted) {
      say("Stopped. Nothing was kept.");
    } else {
      say("Something went wrong.");
      element("bench-error").textContent = error.message;
      element("bench-error").hidden = false;
    }
  }
  element("bench-loading").hidden = true;
  element("bench-stop").hidden = true;
  element("bench-run").disabled = false;
}

element("bench-run").addEventListener("click", start);
element("bench-stop").addEventListener("click", () => {
  stop.abort();
  say("Stopping …");
});
