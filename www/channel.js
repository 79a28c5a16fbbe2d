// The channel's part of the page: a small protocol over the layer `sds`, which writes every change when it happens.
// Knows no network: who would acknowledge a message is a button.

import { JobPersistence, Persistency, PersistencyError } from "./pkg/layers.js";

/** The name of this part's databases, and of its job and channel. */
const ROOT = "demo-channel";
const JOB = "node";
const CHANNEL = "general";
/** Messages that the history keeps. */
const HISTORY_MAX = 100;
/** Messages that are being written when the worker is killed. */
const BURST = 20;
/** Held by the tab that runs the channel: a channel has one protocol at a time. */
const LOCK = "persistency-demo-channel";
const SENDER = "this page";

const element = (id) => document.getElementById(id);
const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

const say = (words) => { element("channel-status").textContent = words; };

/** A new element with text, and a class if there is one. */
function make(tag, content, name = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  made.className = name;
  return made;
}

/** The channel in memory, which is the truth while the page lives. */
class Channel {
  lamport = 0n;
  history = [];
  outgoing = [];
  #store;

  constructor(store) {
    this.#store = store;
  }

  /** What the store has, as text. */
  async stored() {
    return asText(await this.#store.loadAllForChannel(CHANNEL));
  }

  /** What this page has, in the same form. */
  get text() {
    return asText({ lamport: this.lamport, messageHistory: this.history, outgoingBuffer: this.outgoing });
  }

  async load() {
    const { lamport, messageHistory, outgoingBuffer } = await this.#store.loadAllForChannel(CHANNEL);
    Object.assign(this, { lamport, history: [...messageHistory], outgoing: [...outgoingBuffer] });
  }

  /** Sends a message: memory changes first, then the store, change by change. */
  async send(words) {
    this.lamport += 1n;
    const message = {
      messageId: crypto.randomUUID(), lamportTimestamp: this.lamport, causalHistory: [], channelId: CHANNEL,
      content: utf8.encode(words), bloomFilter: new Uint8Array(), senderId: SENDER, repairRequest: [],
    };
    const unacknowledged = { message, sendTimeMs: BigInt(Date.now()), resendAttempts: 0 };
    this.history.push(message);
    this.outgoing.push(unacknowledged);
    const evicted = this.history.splice(0, Math.max(0, this.history.length - HISTORY_MAX));
    const { lamport } = this;
    await Promise.all([
      insist(() => this.#store.saveLamport(CHANNEL, lamport)),
      insist(() => this.#store.saveOutgoing(CHANNEL, unacknowledged)),
      insist(() => this.#store.appendLogEntry(CHANNEL, message)),
      ...evicted.map(({ messageId }) => insist(() => this.#store.removeLogEntry(CHANNEL, messageId))),
    ]);
  }

  /** Somebody has acknowledged the oldest message. */
  async acknowledge() {
    const [first] = this.outgoing.splice(0, 1);
    if (first) await insist(() => this.#store.removeOutgoing(CHANNEL, first.message.messageId));
  }

  async drop() {
    Object.assign(this, { lamport: 0n, history: [], outgoing: [] });
    await insist(() => this.#store.dropChannel(CHANNEL));
  }
}

/** How often a change was written again after a worker's death. */
let repeated = 0;

/** Writes a change, and again if the worker died meanwhile: nobody knows then, and repeating it is harmless. */
async function insist(write) {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof PersistencyError && error.outcome === "Unknown")) throw error;
    repeated += 1;
    return write();
  }
}

/** A channel's state as text, equal if it is the same. */
function asText({ lamport, messageHistory, outgoingBuffer }) {
  const said = ({ messageId, lamportTimestamp, content }) => [messageId, `${lamportTimestamp}`, fromUtf8.decode(content)];
  const history = messageHistory.map(said);
  const outgoing = outgoingBuffer.map(({ message, sendTimeMs }) => [...said(message), `${sendTimeMs}`]);
  return JSON.stringify([`${lamport}`, history, outgoing]);
}

function show(channel, same, workers) {
  const waiting = new Set(channel.outgoing.map(({ message }) => message.messageId));
  element("channel-history").replaceChildren(...channel.history.toReversed().map((message) => {
    const item = document.createElement("li");
    const [words, kind] = waiting.has(message.messageId) ? ["sent", "badge"] : ["acknowledged", "badge good"];
    item.append(make("code", `${message.lamportTimestamp}`), make("span", fromUtf8.decode(message.content)),
      make("span", words, kind));
    return item;
  }));
  element("channel-lamport").textContent = channel.lamport;
  element("channel-count").textContent = channel.history.length;
  element("channel-waiting").textContent = channel.outgoing.length;
  element("channel-workers").textContent = workers;
  const verdict = same ? "EQUAL" : "DIFFERENT";
  element("channel-verdict").textContent = verdict;
  element("channel-verdict").dataset.verdict = verdict;
  element("channel-words").textContent = same
    ? "What the store gives back is what this page has in memory."
    : "The two do not agree, which is a defect: please report it.";
  element("channel-proof").hidden = false;
}

function showError(error) {
  say("Something went wrong.");
  element("channel-error").textContent = error instanceof PersistencyError
    ? `${error.kind}: ${error.message}` : error.message;
  element("channel-error").hidden = false;
}

/** Runs the channel for as long as the page lives. */
async function run() {
  const root = await Persistency.open(ROOT);
  const job = await root.openJob(JOB);
  const channel = new Channel(await JobPersistence.open(job));
  let workers = 1;
  await channel.load();

  const buttons = Array.from(document.querySelectorAll("#channel button"));
  const check = async () => {
    show(channel, (await channel.stored()) === channel.text, workers);
    element("channel-ack").disabled = channel.outgoing.length === 0;
  };
  /** Runs `work` while the buttons are off, and then shows what came of it; says what it answers. */
  const busy = async (work) => {
    for (const button of buttons) button.disabled = true;
    element("channel-error").hidden = true;
    let words;
    try {
      words = await work();
    } catch (error) {
      showError(error);
    }
    for (const button of buttons) button.disabled = false;
    await check().catch(showError);
    if (words) say(words);
  };

  element("channel-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = element("channel-text");
    const words = input.value.trim();
    if (words === "" || buttons[0].disabled) return;
    input.value = "";
    void busy(async () => {
      await channel.send(words);
      return "Sent, and committed. Reload the page: it will still be here.";
    });
  });
  element("channel-ack").addEventListener("click", () => busy(async () => {
    await channel.acknowledge();
    return "Acknowledged: it has left the buffer of those that are sent again.";
  }));
  element("channel-kill").addEventListener("click", () => busy(async () => {
    say(`Sending ${BURST} messages, and killing the worker …`);
    repeated = 0;
    const sending = Array.from({ length: BURST }, (_, at) => channel.send(`message ${at + 1} of ${BURST}`));
    await job.watchCommittedSeq().atLeast(job.committedSeq() + 1n);
    root.terminate();
    workers += 1;
    await Promise.all(sending);
    return `Killed while ${BURST} messages were being written: a new worker took over, and ${repeated} changes of ` +
      "unknown outcome were written again.";
  }));
  element("channel-drop").addEventListener("click", () => busy(async () => {
    await channel.drop();
    return "Dropped: everything of the channel went at once.";
  }));
  await busy(async () => (channel.history.length > 0
    ? "This channel was kept from an earlier visit."
    : "The channel is empty. Send something."));
}

/** Waits for the channel if another tab runs it, and takes it over when that one ends. */
async function start() {
  try {
    await navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => {
      if (lock === null) say("Another tab runs this channel. Close it there, and it goes on here.");
    });
    await navigator.locks.request(LOCK, async () => {
      await run();
      // Until the page ends.
      await new Promise(() => {});
    });
  } catch (error) {
    showError(error);
  }
}

element("channel").addEventListener("shown", () => void start(), { once: true });
