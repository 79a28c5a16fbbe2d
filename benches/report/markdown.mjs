// The report in words and tables. Pure: results in, Markdown out.

const figures = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

/** A number as people read it: three digits count. */
export const figure = (value) => figures.format(value);

const times = ({ median, min, max }) => `${figure(median)} × (${figure(min)} to ${figure(max)})`;
const row = (cells) => `| ${cells.join(' | ')} |`;
/** A table whose first column is words and whose others are figures. */
const table = (head, rows) =>
  [row(head), row(head.map((_, at) => (at === 0 ? '---' : '--:'))), ...rows.map(row)].join('\n');

export const TITLES = {
  'native': 'Native: SQLite files',
  'chromium': 'Chromium, IndexedDB over LevelDB',
  'chromium-sqlite': 'Chromium, IndexedDB over SQLite',
  'firefox': 'Firefox',
};

export const titleOf = ({ suite }) => TITLES[suite] ?? suite;

/** How many times better we are than a peer, by the medians. */
export function ratioTo({ better, ours }, theirs) {
  return better === 'higher' ? ours.median / theirs.median : theirs.median / ours.median;
}

const verdict = ({ met, ratio, target }) => {
  if (met === null) return '–';
  if (met) return 'met';
  const share = ratio && target.ratio_min ? ratio.median / target.ratio_min : 1;
  // Whoever is named beside it can still be ahead.
  return share < 1 ? `**missed**, at ${figure(100 * share)} %` : '**missed**';
};

const otherOf = (against) => (against?.startsWith('row:') ? `our own “${against.slice('row:'.length)}”` : against);

function targets({ rows }) {
  const aimed = rows.filter(({ ratio, target }) => ratio || target);
  return table(['work', 'ours', 'against', 'we are better by', 'target', 'verdict'], aimed.map((work) => [
    work.title, `${figure(work.ours.median)} ${work.unit}`, otherOf(work.against) ?? '–',
    work.ratio ? times(work.ratio) : '–', work.target?.text ?? '–', verdict(work),
  ]));
}

function everybody({ rows }) {
  const names = [...new Set(rows.flatMap(({ peers }) => Object.keys(peers)))];
  const cell = (work, name) => {
    if (!(name in work.peers)) return '—';
    const ratio = ratioTo(work, work.peers[name]);
    return ratio < 1 ? `**${figure(ratio)}**` : figure(ratio);
  };
  const compared = rows.filter(({ peers }) => Object.keys(peers).length > 0);
  return table(['work', 'ours', ...names], compared.map((work) =>
    [work.title, `${figure(work.ours.median)} ${work.unit}`, ...names.map((name) => cell(work, name))]));
}

const notes = ({ rows }) => rows.filter(({ note }) => note).map(({ title, note }) => `* ${title}: ${note}`).join('\n');

/** What the text of explanations says, by the works' names: each stands below a heading that is the name. */
export function explained(text) {
  const [, ...parts] = text.split(/^## /m);
  return Object.fromEntries(parts.map((part) => {
    const [name, ...lines] = part.split('\n');
    return [name.trim(), lines.join('\n').trim()];
  }));
}

/** Why targets are missed; of those that are met nobody asks. */
function reasons({ rows }, why) {
  const missed = rows.filter(({ row, met }) => met === false && row in why);
  return missed.map(({ row, title }) => `**Why “${title}” is missed.** ${why[row]}`).join('\n\n');
}

const choices = ({ chosen }) =>
  Object.entries(chosen ?? {}).map(([name, words]) => `* **${name}**: ${words}.`).join('\n');

const listed = (pairs) => pairs.map(([name, value]) => `${name} ${value}`).join(', ');

const HOW_TO_READ = 'How many times better we are than each, by the medians. **Bold: there we lose.** '
  + '“—”: it has no such thing, or was left out.';

/** What belongs to a suite, but to few readers. */
const details = (suite) => [
  '<details><summary>Versions, and how each was used</summary>',
  `${listed(Object.entries(suite.versions))}.`, choices(suite), '</details>',
].filter(Boolean).join('\n\n');

function section(suite, why) {
  const title = titleOf(suite);
  const judged = suite.rows.filter(({ met }) => met !== null);
  const met = judged.filter((work) => work.met).length;
  return [
    `## ${title}`,
    `![${title}: our speed and the peers' as multiples of one peer's](benches/charts/${suite.suite}.svg)`,
    `${met} of ${judged.length} targets are met. ${suite.rounds} rounds; ${listed(suite.machine)}.`,
    targets(suite),
    reasons(suite, why),
    HOW_TO_READ,
    everybody(suite),
    notes(suite),
    details(suite),
  ].filter(Boolean).join('\n\n');
}

/** The whole report on `suites`, written on `date`; `why` has explanations by suite and work. */
export function markdown(suites, date, why = {}) {
  const head = [
    '# Benchmarks',
    'Written by `make bench`, which measures everything anew, on your machine; `make bench BENCH=--quick` takes a '
    + 'few minutes and leaves this file alone. The programs are in [benches/](benches/README.md).',
    'We and our peers run side by side in one process or page, one after another in every round, in an order that '
    + 'turns; a figure is the median over the rounds, in brackets are the least and the largest. What was written is '
    + 'read back and counted. Keys have 20 bytes and payloads 100, unless a line says otherwise. Absolute figures are '
    + 'those of one machine; the ratios are what to compare.',
    `Measured on ${date}.`,
  ];
  return `${[...head, ...suites.map((suite) => section(suite, why[suite.suite] ?? {}))].join('\n\n')}\n`;
}
