// Takes the examples out of the docs, so that what is compiled and run is what is read. Writes nothing.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** What an example of index.d.ts may use without saying where it is from. */
const PRELUDE = `import {
  Batch, Key, Persistency, PersistencyError,
  decodeKey, estimate, key, limits, prefixRange, requestPersistence, text, u64, u8, version,
} from "persistency";
import type { Job } from "persistency";
declare const p: Persistency;
declare const job: Job;
`;

/** The fenced blocks of a text: the words behind the fence, the lines between, the number of the first. */
function fenced(text) {
  const blocks = [];
  let block;
  for (const [at, line] of text.split('\n').entries()) {
    const fence = /^```\s*(.*)$/.exec(line);
    if (!fence) block?.lines.push(line);
    else if (block) {
      blocks.push({ ...block, source: `${block.lines.join('\n')}\n` });
      block = undefined;
    } else block = { words: fence[1].trim().split(/\s+/), lines: [], line: at + 2 };
  }
  if (block) throw new Error(`the block at line ${block.line} has no end`);
  return blocks;
}

/** An example as a module; one that imports nothing may use what the prelude has. */
function compiled(name, source) {
  return { name, source: /^import /m.test(source) ? source : `${PRELUDE}{\n${source}}\n` };
}

/** The examples of a file of declarations, each as a TypeScript module of its own. */
export function declarationExamples(path) {
  const words = readFileSync(path, 'utf8').split('\n').map((line) => line.replace(/^\s*\* ?/, ''));
  return fenced(words.join('\n')).map(({ line, source }) => compiled(`${basename(path)} line ${line}`, source));
}

/**
 * The README's code. `program`: all blocks that are marked `js` and no more, in their order, which are one
 * module. `output`: what it says with console.log, a line for each call, as the comments behind them tell.
 * `files`: the blocks that are marked with a name too, such as a bundler's configuration, by that name.
 * `compiled`: the blocks marked `ts`, each as a module; they need syntax or files that not every page has.
 */
export function readme(path) {
  const blocks = fenced(readFileSync(path, 'utf8'));
  const marked = (language, words) =>
    blocks.filter((block) => block.words[0] === language && block.words.length === words);
  const program = marked('js', 1).map(({ source }) => source).join('\n');
  return {
    program,
    output: Array.from(program.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm), ([, said]) => said),
    files: Object.fromEntries(marked('js', 2).map(({ words, source }) => [words[1], source])),
    compiled: marked('ts', 1).map(({ line, source }) => compiled(`README.md line ${line}`, source)),
  };
}
