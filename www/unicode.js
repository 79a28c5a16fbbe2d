// The Unicode data as rows of a job, the questions, and the digest over the answers.
// Knows no page; data/README.md says what is stored, asked and digested.

import { Batch, key, text } from "./pkg/index.js";

/** The job that holds everything. */
export const JOB = "unicode";

/** Characters in one batch; each makes two rows. */
const CHARACTERS_PER_BATCH = 500;
/** Bytes that the digest's input starts with. */
const FIRST_CAPACITY = 1 << 20;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** Whether an earlier visit stored everything: the blocks are written last and in one batch. */
export async function isLoaded(job) {
  return (await job.count("block")) > 0n;
}

/**
 * Stores the contents of UnicodeData.txt and Blocks.txt, telling `progress(done, all)` on the way;
 * answers how many rows there are once all are durable.
 */
export async function load(job, unicodeData, blocks, progress) {
  const characters = lines(unicodeData);
  const blockLines = lines(blocks).filter((line) => !line.startsWith("#"));
  const all = 2 * characters.length + blockLines.length;
  progress(0, all);
  await job.persist(new Batch().clear("block").clear("char").clear("name"));
  for (let at = 0; at < characters.length; at += CHARACTERS_PER_BATCH) {
    const batch = new Batch();
    for (const line of characters.slice(at, at + CHARACTERS_PER_BATCH)) {
      const [digits, name] = line.split(";", 2);
      const code = parseInt(digits, 16);
      batch.put("char", key(code), utf8.encode(line));
      batch.put("name", key(text(name), code), utf8.encode(digits));
    }
    // Committed and not only accepted, so that the progress is true.
    await job.persistAcked(batch);
    progress(Math.min(2 * (at + CHARACTERS_PER_BATCH), all), all);
  }
  const batch = new Batch();
  for (const line of blockLines) batch.put("block", key(parseBlock(line).first), utf8.encode(line));
  await job.persist(batch);
  await job.flush();
  progress(all, all);
  return all;
}

/** Asks all questions; answers the answers, how many rows were scanned, and the digest in hexadecimal. */
export async function ask(job) {
  const input = new DigestInput();
  const blockRows = await job.scan("block");
  const blocks = blockRows.map(({ key, payload }) => ({ key, ...parseBlock(fromUtf8.decode(payload)) }));
  const greek = await job.scan("char", rangeOf(blocks, "Greek and Coptic"));
  const emoticons = await job.scan("char", { ...rangeOf(blocks, "Emoticons"), reverse: true, limit: 10 });
  const names = await job.scan("name", { prefix: key(text.prefix("GREEK SMALL LETTER")) });
  for (const rows of [greek, emoticons, names]) {
    for (const row of rows) input.row(row.key, row.payload);
    input.endOfAnswer();
  }

  // All at once: each is a question of its own.
  const counts = await Promise.all(blocks.map((block) => job.count("char", range(block))));
  blocks.forEach((block, at) => input.row(block.key, eightBytes(counts[at])));
  input.endOfAnswer();

  let scanned = blockRows.length + greek.length + emoticons.length + names.length;
  for (const category of await job.categories()) {
    for await (const row of job.rows(category)) {
      input.row(row.key, row.payload);
      scanned += 1;
    }
  }
  input.endOfAnswer();

  return {
    greek: greek.map(character),
    emoticons: emoticons.map(character),
    names: names.map(named),
    blocks: blocks.map(({ first, name }, at) => ({ first, name, count: Number(counts[at]) })),
    scanned,
    digest: await input.sha256(),
  };
}

function lines(contents) {
  return contents.split("\n").filter((line) => line !== "");
}

/** A line such as `0370..03FF; Greek and Coptic`. */
function parseBlock(line) {
  const parts = /^([0-9A-F]+)\.\.([0-9A-F]+); (.+)$/.exec(line);
  if (!parts) throw new Error(`not a block of Blocks.txt: ${line}`);
  return { first: parseInt(parts[1], 16), last: parseInt(parts[2], 16), name: parts[3] };
}

const range = ({ first, last }) => ({ start: key(first), end: key(last + 1) });

function rangeOf(blocks, name) {
  const block = blocks.find((candidate) => candidate.name === name);
  if (!block) throw new Error(`the job has no block "${name}"`);
  return range(block);
}

/** A row of `char`. */
function character({ payload }) {
  const [digits, name] = fromUtf8.decode(payload).split(";", 2);
  return { digits, name, symbol: String.fromCodePoint(parseInt(digits, 16)) };
}

/** A row of `name`: behind the text in its key are the end of the text and the code point. */
function named({ key, payload }) {
  const digits = fromUtf8.decode(payload);
  const name = fromUtf8.decode(key.subarray(0, key.length - 10));
  return { digits, name, symbol: String.fromCodePoint(parseInt(digits, 16)) };
}

function eightBytes(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, number);
  return bytes;
}

/** What is digested, gathered in one buffer: the platform has no digest that is fed piece by piece. */
class DigestInput {
  #bytes = new Uint8Array(FIRST_CAPACITY);
  #used = 0;
  #rows = 0;

  row(rowKey, payload) {
    for (const bytes of [rowKey, payload]) {
      this.#number(bytes.length);
      this.#append(bytes);
    }
    this.#rows += 1;
  }

  endOfAnswer() {
    this.#number(this.#rows);
    this.#rows = 0;
  }

  async sha256() {
    const digest = await crypto.subtle.digest("SHA-256", this.#bytes.subarray(0, this.#used));
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  #number(number) {
    this.#append(Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number));
  }

  #append(bytes) {
    if (this.#used + bytes.length > this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#bytes.length + bytes.length);
      grown.set(this.#bytes.subarray(0, this.#used));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }
}
