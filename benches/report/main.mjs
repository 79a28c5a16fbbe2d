// Writes BENCHMARKS.md and the charts of the results in a folder: node main.mjs RESULTS TARGET
// Measures nothing.

import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chart } from './chart.mjs';
import { TITLES, explained, markdown } from './markdown.mjs';

/** The version of the results that this program reads. */
const SCHEMA = 1;
/** Where it is written why targets are missed: a file for each suite. */
const WHY = fileURLToPath(new URL('why', import.meta.url));

/** The results in `folder`, in the order in which they are told. */
export function read(folder) {
  const suites = readdirSync(folder).filter((name) => name.endsWith('.json')).map((name) => {
    const suite = JSON.parse(readFileSync(join(folder, name), 'utf8'));
    if (suite.schema !== SCHEMA) throw new Error(`${name} has schema ${suite.schema}, not ${SCHEMA}`);
    return suite;
  });
  const order = Object.keys(TITLES);
  return suites.sort((a, b) => order.indexOf(a.suite) - order.indexOf(b.suite));
}

/** The explanations in `folder` for each suite of `suites` that has some, by the works' names. */
export function explanations(suites, folder = WHY) {
  const files = suites.map(({ suite }) => [suite, join(folder, `${suite}.md`)]).filter(([, file]) => existsSync(file));
  return Object.fromEntries(files.map(([suite, file]) => [suite, explained(readFileSync(file, 'utf8'))]));
}

/** Writes the report on the results in `results` into the folder `target`. */
export function write(results, target, date, why) {
  const suites = read(results);
  if (suites.length === 0) throw new Error(`no results in ${results}`);
  const charts = join(target, 'benches', 'charts');
  mkdirSync(charts, { recursive: true });
  for (const suite of suites) {
    const drawn = chart(suite);
    if (drawn !== undefined) writeFileSync(join(charts, `${suite.suite}.svg`), drawn);
  }
  writeFileSync(join(target, 'BENCHMARKS.md'), markdown(suites, date, explanations(suites, why)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [results, target] = process.argv.slice(2);
  write(results, target, new Date().toISOString().slice(0, 10));
}
