// The list's part of the page: a collection that all tabs share live, and a pool of which each tab is a member, over
// the layer `datastore`. Keeps nothing itself: what is shown is what the layer has told.

import { Datastore, Persistency, PersistencyError } from "./pkg/layers.js";

/** The name of this part's databases, and of its job, list and pool. */
const ROOT = "demo-list";
const JOB = "shared";
const LIST = "things";
const POOL = "round";
/** Milliseconds that a member may be silent before it counts as gone. */
const MEMBER_TIMEOUT_MS = 5_000;
/** Things in the list, so that nobody fills a disk here. */
const THINGS_MAX = 200;
/** Lines of what this tab was told. */
const TOLD_MAX = 50;
/** What members bring; some of it twice. */
const FRUITS = ["apple", "banana", "cherry", "date", "elderberry", "fig", "grape", "hazelnut"];
const ITEMS_AT_ONCE = 3;

const element = (id) => document.getElementById(id);

/** A new element with text, and attributes if there are some. */
function make(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const say = (words) => { element("list-status").textContent = words; };
const sayOfPool = (words) => { element("pool-status").textContent = words; };

function showError(error) {
  element("list-error").textContent = error instanceof PersistencyError
    ? `${error.kind}: ${error.message}` : error.message;
  element("list-error").hidden = false;
}

/** Runs what a click asks for; a failure is shown. */
const attempt = (work) => async () => {
  element("list-error").hidden = true;
  try {
    await work();
  } catch (error) {
    showError(error);
  }
};

/** This tab's name, the same over a reload. */
function tabName() {
  const kept = sessionStorage.getItem("tab") ?? `tab ${Math.random().toString(36).slice(2, 6)}`;
  sessionStorage.setItem("tab", kept);
  return kept;
}

/** Adds a line to what this tab was told. */
function told(seq, words) {
  const item = make("li");
  item.append(make("code", `${seq}`), make("span", words));
  element("list-told").prepend(item);
  while (element("list-told").children.length > TOLD_MAX) element("list-told").lastElementChild.remove();
}

/** Shows the things, in the order in which they were added. */
function showThings(things, list) {
  const all = Array.from(things.values()).sort((a, b) => a.added - b.added || (a.id < b.id ? -1 : 1));
  element("list-things").replaceChildren(...all.map((thing) => {
    const box = make("input", "", { type: "checkbox" });
    box.checked = thing.done;
    box.addEventListener("change", attempt(() =>
      list.update(thing.id, (now) => now && { ...now, done: box.checked })));
    const label = make("label");
    label.append(box, make("span", thing.text));
    const remove = make("button", "Delete", { type: "button", "aria-label": `Delete ${thing.text}` });
    remove.addEventListener("click", attempt(() => list.delete(thing.id)));
    const item = make("li");
    item.append(label, remove);
    return item;
  }));
  const open = all.filter(({ done }) => !done).length;
  say(all.length === 0 ? "The list is empty." : `${all.length} ${all.length === 1 ? "thing" : "things"}, ${open} to do.`);
}

/** Follows the list for as long as the page lives. */
async function follow(list, client) {
  const things = new Map();
  for await (const update of list.subscribe(client)) {
    if (update.type === "snapshot") {
      things.clear();
      for (const { key, data } of update.records) things.set(key, data);
      told(update.seq, `all there is: ${update.records.length} things`);
    } else {
      for (const change of update.changes) {
        const { text } = change.data ?? things.get(change.key) ?? { text: change.key };
        if (change.type === "deleted") things.delete(change.key);
        else things.set(change.key, change.data);
        told(change.seq, `${text}: ${change.type === "deleted" ? "deleted" : change.data.done ? "done" : "to do"}`);
      }
    }
    showThings(things, list);
  }
  say("The subscription has ended. Reload the page.");
}

/** Follows the pool, as its member of this tab's name. */
async function swim(store, name) {
  const pool = await store.pool(POOL, { memberTimeoutMs: MEMBER_TIMEOUT_MS });
  const member = await pool.join(name);
  /** What this tab has of this round, by id, and what of it is not acknowledged. */
  const had = new Map();
  const owed = new Set();
  const receive = (items) => {
    for (const { id, data } of items) {
      had.set(id, data);
      owed.add(id);
    }
  };
  const show = async () => {
    const { round, items, members } = await pool.info();
    element("pool-round").textContent = round + 1;
    element("pool-items").textContent = items;
    element("pool-members").replaceChildren(...Array.from(members, ([each, lacks]) => {
      const row = make("tr");
      row.append(make("th", each === name ? `${each} (this one)` : each, { scope: "row" }),
        make("td", `${lacks}`, { class: "number" }));
      return row;
    }));
    element("pool-had").replaceChildren(...Array.from(had.values(), (fruit) => make("li", fruit)));
    element("pool-acknowledge").disabled = owed.size === 0;
    element("pool-merge").disabled = false;
    if (members.size < 2) sayOfPool("This tab is alone in the pool. Open a second one: a round needs two.");
    else if (owed.size > 0) sayOfPool(`Received ${owed.size} that others brought. Acknowledge them.`);
    else if (items > 0) sayOfPool("Waiting until the others have acknowledged everything.");
    else sayOfPool(round === 0 ? "Nothing in the pool yet." : `Converged ${round === 1 ? "once" : `${round} times`}. A new round has begun.`);
  };
  let { round: known } = await pool.info();
  /** A round has ended, which this tab may have been told already. */
  const converged = (round) => {
    if (round <= known) return;
    known = round;
    had.clear();
    owed.clear();
  };
  element("pool-merge").addEventListener("click", attempt(async () => {
    const fruits = Array.from({ length: ITEMS_AT_ONCE }, () => FRUITS[Math.floor(Math.random() * FRUITS.length)]);
    const merged = await member.merge(fruits);
    receive(merged.lacking.items);
    // What it has brought it has, also where another had brought it before.
    for (const [id, fruit] of await Promise.all([...new Set(fruits)].map(async (each) => [await idOf(each), each]))) {
      had.set(id, fruit);
      owed.delete(id);
    }
    if (merged.converged) converged(known + 1);
    await show();
  }));
  element("pool-acknowledge").addEventListener("click", attempt(async () => {
    const ids = [...owed];
    const end = await member.acknowledge(ids);
    for (const id of ids) owed.delete(id);
    if (end) converged(known + 1);
    await show();
  }));
  // Others come, bring and acknowledge: the pool's own news tell of items and rounds, the look of the rest.
  setInterval(() => {
    if (!document.hidden && !element("list").hidden) show().catch(showError);
  }, 1000);
  await show();
  for await (const update of member.updates()) {
    if (update.type === "items") receive(update.items);
    else converged(update.round);
    await show();
  }
}

/** What names an item: the SHA-256 of its bytes. */
async function idOf(item) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(item)));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function run() {
  const root = await Persistency.open(ROOT);
  const store = await Datastore.open(await root.openJob(JOB));
  const list = await store.collection(LIST, { maxRecords: THINGS_MAX });
  const name = tabName();
  element("list-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = element("list-text").value.trim();
    if (text === "") return;
    element("list-text").value = "";
    void attempt(() => list.set({ id: crypto.randomUUID(), text, done: false, added: Date.now() }))();
  });
  element("list-kill").addEventListener("click", () => {
    root.terminate();
    say("The worker is dead. Change something, here or in another tab: a new one takes over.");
  });
  for (const button of document.querySelectorAll("#list-form button, #list-kill")) button.disabled = false;
  await Promise.all([follow(list, name), swim(store, name)]);
}

element("list-second").addEventListener("click", () => globalThis.open(`${location.pathname}#list`, "_blank", "noopener"));
element("list").addEventListener("shown", () => void run().catch(showError), { once: true });
