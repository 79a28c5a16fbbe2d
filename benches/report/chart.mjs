// One chart for each suite, as SVG that is read on light and on dark ground. Pure: results in, SVG out.
// Shows for each work how fast everybody was, relative to the peer that the target compares with.

import { figure, ratioTo, titleOf } from './markdown.mjs';

const WIDTH = 860;
const MARGIN = 12;
const LABELS = 345;
const RIGHT = 64;
const LINE = 26;
const LEGEND_LINE = 20;
const LEGEND_COLUMNS = 4;
const TOP = 46;
const BOTTOM = 34;
/** Characters of a work's title that have room. */
const TITLE_MAX = 52;

/** One for each peer, told apart on both grounds, also by those who see fewer colours. */
const COLOURS = ['#e69f00', '#009e73', '#cc79a7', '#d55e00', '#56b4e9', '#b0a300', '#8c6bb1', '#7f7f7f'];

const STYLE = `
  text { font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1b1e28; }
  .title { font-weight: 600; font-size: 15px; }
  .quiet { fill: #5a6072; font-size: 12px; }
  .grid { stroke: #d5d9e4; }
  .one { stroke: #5a6072; stroke-width: 1.5; }
  .ring { fill: none; stroke: #1b1e28; stroke-width: 1.8; }
  .ours { fill: #3b5bdb; }
  .goal { stroke: #18794e; stroke-width: 2.5; }
  .value { font-weight: 600; font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e9ebf3; }
    .quiet { fill: #9aa1b5; }
    .grid { stroke: #3a4052; }
    .one { stroke: #9aa1b5; }
    .ring { stroke: #e9ebf3; }
    .ours { fill: #8ea2ff; }
    .goal { stroke: #4cc38a; }
  }
`;

const at = (value) => value.toFixed(1);
const escaped = (text) => text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
const shortened = (text) => (text.length > TITLE_MAX ? `${text.slice(0, TITLE_MAX - 1)}…` : text);

// The few shapes that a chart is made of.
const words = (left, y, text, { kind = '', anchor = 'start', told } = {}) =>
  `<text class="${kind}" text-anchor="${anchor}" x="${at(left)}" y="${at(y + 4)}">${escaped(text)}` +
  `${told === undefined ? '' : `<title>${escaped(told)}</title>`}</text>`;
const upright = (kind, x, from, to) =>
  `<line class="${kind}" x1="${at(x)}" x2="${at(x)}" y1="${at(from)}" y2="${at(to)}"/>`;
const bar = (left, right, y) =>
  `<rect class="ours" x="${at(left)}" y="${at(y - 6)}" width="${at(Math.max(2, right - left))}" height="12" rx="2"/>`;
const dot = (x, y, colour) => `<circle cx="${at(x)}" cy="${at(y)}" r="4.5" fill="${colour}"/>`;
const ring = (x, y) => `<circle class="ring" cx="${at(x)}" cy="${at(y)}" r="4.5"/>`;

/** Works that are compared with a peer, and how fast everybody was, as multiples of that peer's speed. */
function compared({ rows }) {
  return rows.filter(({ against, peers }) => against in peers).map((work) => {
    const ours = ratioTo(work, work.peers[work.against]);
    const others = Object.entries(work.peers).map(([name, theirs]) => [name, ours / ratioTo(work, theirs)]);
    return { ...work, ours: work.ratio?.median ?? ours, others };
  });
}

/** The peer that most works are compared with. */
function yardstick(works) {
  const counts = new Map();
  for (const { against } of works) counts.set(against, (counts.get(against) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0][0];
}

/** Says what bars, dots, rings and lines mean, in columns; answers that and where it ends. */
function legend(colours, ringed) {
  const signs = [
    ['us', (left, y) => bar(left, left + 14, y)],
    ...ringed.map((name) => [name, (left, y) => ring(left + 7, y)]),
    ...Array.from(colours, ([name, colour]) => [name, (left, y) => dot(left + 7, y, colour)]),
    ['our target', (left, y) => upright('goal', left + 7, y - 7, y + 7)],
  ];
  const parts = signs.flatMap(([name, sign], index) => {
    const left = MARGIN + (index % LEGEND_COLUMNS) * ((WIDTH - 2 * MARGIN) / LEGEND_COLUMNS);
    const y = TOP + Math.floor(index / LEGEND_COLUMNS) * LEGEND_LINE;
    return [sign(left, y), words(left + 20, y, name, { kind: 'quiet' })];
  });
  return { parts, end: TOP + Math.ceil(signs.length / LEGEND_COLUMNS) * LEGEND_LINE };
}

/** The SVG of a suite, or undefined if nothing in it is compared with a peer. */
export function chart(suite) {
  const works = compared(suite);
  if (works.length === 0) return undefined;
  const usual = yardstick(works);
  const names = [...new Set(works.flatMap(({ others }) => others.map(([name]) => name)))];
  const colours = new Map(names.filter((name) => name !== usual)
    .map((name, index) => [name, COLOURS[index % COLOURS.length]]));
  // The usual measure is the line at 1, but where another one is.
  const isRinged = (work, peer) => peer === usual && work.against !== usual;
  const explained = legend(colours, works.some((work) => usual in work.peers && isRinged(work, usual)) ? [usual] : []);
  const top = explained.end + 14;
  const bottom = top + works.length * LINE;

  const values = works.flatMap(({ ours, others }) => [ours, ...others.map(([, value]) => value)]);
  const low = Math.floor(Math.log10(Math.min(0.5, ...values)));
  const high = Math.ceil(Math.log10(Math.max(2, ...values)));
  const x = (value) => LABELS + ((Math.log10(value) - low) / (high - low)) * (WIDTH - LABELS - RIGHT);

  const title = `${titleOf(suite)}: speed as a multiple of ${usual}, farther right is faster`;
  const parts = [words(MARGIN, 20, title, { kind: 'title' }), ...explained.parts];
  for (let power = low; power <= high; power += 1) {
    const tick = x(10 ** power);
    parts.push(upright(power === 0 ? 'one' : 'grid', tick, top - 4, bottom));
    parts.push(words(tick, bottom + 14, `${figure(10 ** power)} ×`, { kind: 'quiet', anchor: 'middle' }));
  }
  for (const [index, work] of works.entries()) {
    const y = top + index * LINE + LINE / 2;
    const mark = work.against === usual ? '' : '*';
    parts.push(words(MARGIN, y, shortened(work.title), { told: work.title }));
    parts.push(bar(...[x(1), x(work.ours)].sort((a, b) => a - b), y));
    for (const [peer, value] of work.others) {
      if (isRinged(work, peer)) parts.push(ring(x(value), y));
      else if (peer !== work.against) parts.push(dot(x(value), y, colours.get(peer)));
    }
    if (work.target?.ratio_min) parts.push(upright('goal', x(work.target.ratio_min), y - 10, y + 10));
    parts.push(words(WIDTH - 8, y, `${figure(work.ours)} ×${mark}`, { kind: 'value', anchor: 'end' }));
  }
  const others = names.filter((name) => name !== usual && works.some(({ against }) => against === name));
  if (others.length > 0) parts.push(words(MARGIN, bottom + 14, `* against ${others.join(', ')}`, { kind: 'quiet' }));

  const [width, height] = [WIDTH, bottom + BOTTOM];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<title>${escaped(titleOf(suite))}</title>
<style>${STYLE}</style>
${parts.join('\n')}
</svg>
`;
}
