// The page: opens the job, loads what is not there, asks, and shows. Every failure is said in words.

import { Persistency, PersistencyError } from "./pkg/index.js";
import { ask, isLoaded, JOB, load } from "./unicode.js";

/** The name of this page's databases. */
const ROOT = "demo";

/** What a user can do about a failure, by its kind. */
const ADVICE = {
  StorageFull: "The browser gives this page no more room. Free some space, then start again.",
  Busy: "Another tab holds the data. Close it, then reload this page.",
  JobNotFound: "The data was deleted meanwhile, perhaps in another tab. Start again to load it anew.",
  Closed: "The store has been closed. Reload this page.",
  Unsupported: "The store cannot work in this browser or window.",
  Timeout: "The browser took too long to answer. Reload this page.",
  Corrupt: "What is stored cannot be read. Start again to load it anew.",
  VersionTooNew: "The data was stored by a newer version of this page.",
};

const element = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

const say = (words) => { element("status").textContent = words; };

function speed(rows, ms) {
  const seconds = ms / 1000;
  return `${number.format(rows)} rows in ${seconds.toFixed(2)} s, ${number.format(Math.round(rows / seconds))} rows/s`;
}

async function fetchText(path) {
  let response;
  try {
    response = await fetch(path);
  } catch (error) {
    throw new Error(`The server does not answer: ${path} could not be fetched.`, { cause: error });
  }
  if (!response.ok) throw new Error(`The server has no ${path} (status ${response.status}).`);
  return response.text();
}

/** The native quickstart's report, or null if it has not been run here. */
async function fetchNative() {
  const response = await fetch("native/report.json").catch(() => null);
  return response?.ok ? response.json().catch(() => null) : null;
}

/** Shows how far loading is; not in the status line, where a screen reader would say every step. */
function showProgress(done, all) {
  element("loading").hidden = done === all;
  element("progress").max = all;
  element("progress").value = done;
  element("progress-words").textContent = `${number.format(done)} of ${number.format(all)} rows`;
}

/** A new element with text, and attributes if there are some. */
function make(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A character with its name and number, as an item of a list. */
function described({ symbol, digits, name }) {
  const item = make("li");
  const shape = make("span", symbol, { class: "symbol", "aria-hidden": "true" });
  item.append(shape, make("span", name), make("code", `U+${digits}`));
  return item;
}

function showAnswers({ greek, emoticons, names, blocks }) {
  element("greek-count").textContent = greek.length;
  element("greek").replaceChildren(...greek.map(({ symbol, digits, name }) =>
    make("li", symbol, { title: `U+${digits} ${name}` })));
  element("emoticons").replaceChildren(...emoticons.map(described));
  element("names-count").textContent = names.length;
  element("names").replaceChildren(...names.map(described));
  const most = Math.max(...blocks.map(({ count }) => count));
  element("blocks-count").textContent = blocks.length;
  element("blocks").replaceChildren(...blocks.map(({ first, name, count }) => {
    const row = make("tr");
    const share = make("td");
    share.append(make("meter", "", { min: 0, max: most, value: count, "aria-label": `${count} of ${most}` }));
    const from = make("td");
    from.append(make("code", `U+${first.toString(16).toUpperCase().padStart(4, "0")}`));
    row.append(make("th", name, { scope: "row" }), from, make("td", number.format(count), { class: "number" }), share);
    return row;
  }));
  element("answers").hidden = false;
}

function showProof({ digest, scanned }, loading, askingMs, native) {
  element("page-load").textContent = loading ? speed(loading.rows, loading.ms) : "nothing: kept from an earlier visit";
  element("page-scan").textContent = speed(scanned, askingMs);
  element("page-digest").textContent = digest;
  if (native) {
    element("native-load").textContent = speed(native.rows, native.loadSeconds * 1000);
    element("native-scan").textContent = speed(native.scannedRows, native.scanSeconds * 1000);
    element("native-digest").textContent = native.digest;
  }
  const [verdict, words] = !native
    ? ["NOT COMPARED", "The native quickstart left no report here; `make demo` runs it."]
    : native.digest === digest
      ? ["EQUAL", "SQLite natively and IndexedDB here gave the same bytes in the same order."]
      : ["DIFFERENT", "The two sides do not agree, which is a defect: please report it."];
  element("verdict").textContent = verdict;
  element("verdict").dataset.verdict = verdict;
  element("verdict-words").textContent = words;
  element("proof").hidden = false;
}

function showError(error) {
  say("Something went wrong.");
  element("loading").hidden = true;
  const known = error instanceof PersistencyError;
  element("error-words").textContent = known ? (ADVICE[error.kind] ?? "The store failed.") : error.message;
  element("error-details").textContent = known ? `${error.kind}: ${error.message}` : "";
  element("error").hidden = false;
}

/** Loads the job where it is empty, then asks and shows. */
async function run(root) {
  const job = await root.openJob(JOB);
  const native = fetchNative();
  let loading = null;
  if (!(await isLoaded(job))) {
    say("Fetching the Unicode data …");
    const [unicodeData, blocks] = await Promise.all([fetchText("data/UnicodeData.txt"), fetchText("data/Blocks.txt")]);
    say("Storing the rows …");
    const started = performance.now();
    const rows = await load(job, unicodeData, blocks, showProgress);
    loading = { rows, ms: performance.now() - started };
  }
  say("Asking …");
  const started = performance.now();
  const answers = await ask(job);
  const askingMs = performance.now() - started;
  showAnswers(answers);
  showProof(answers, loading, askingMs, await native);
  say(loading
    ? `Loaded ${number.format(loading.rows)} rows just now. Reload the page: they will still be here.`
    : "These rows were kept from an earlier visit: nothing was loaded.");
}

async function main() {
  if (!globalThis.crypto?.subtle) {
    throw new Error("The digest needs a secure page: open it at 127.0.0.1 or over https.");
  }
  const root = await Persistency.open(ROOT);
  const again = element("again");
  /** Runs `work` while the button is off; it is the only way to start anything. */
  const busy = async (work) => {
    again.disabled = true;
    element("error").hidden = true;
    try {
      await work();
    } catch (error) {
      showError(error);
    }
    again.disabled = false;
  };
  again.addEventListener("click", () => busy(async () => {
    element("proof").hidden = true;
    element("answers").hidden = true;
    say("Dropping the job …");
    await root.dropJob(JOB);
    await run(root);
  }));
  await busy(() => run(root));
}

/** Resolves once the page has shown what it opened with, or why it could not. */
export const ready = main().catch(showError);
