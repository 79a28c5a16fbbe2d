// What was measured as the table that reports are made of: medians, their spread, ratios, targets.
// Pure; the shape is the one of `benches/README.md`.

import { OURS, RAW } from "./peers.js";
import { BIG, START, USUAL, betterOf, figure } from "./works.js";

/** The works in the order in which they are told. */
const WORKS = [...USUAL, ...BIG.slice(1), BIG[0], ...START];

/** The median of numbers, and the least and the largest of them. */
export function spread(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** How many times faster we were than another, round by round. */
const ratioOf = (ours, theirs) => spread(ours.map((ms, round) => theirs[round] / ms));

const factor = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** What is aimed at where `share` of each figure is enough. */
function targetOf({ target: { ratio, text = `≥ ${factor.format(ratio)} × its speed`, than } }, share, names) {
  const words = [
    text, ...(share < 1 ? [`(${factor.format(share * 100)} % of it is enough)`] : []),
    ...(than ? [`and ahead of ${names.get(than)}`] : []),
  ];
  return { text: words.join(" "), ratio_min: ratio * share, ours_max: null };
}

/** Answers `{ versions, chosen, rows }` of what `peers` took, in ms by work, peer and round. */
export function table(peers, figures, sizes, share = 1) {
  const names = new Map(peers.map(({ id, name }) => [id, name]));
  const rows = WORKS.filter(({ row }) => figures.get(row)?.has(OURS)).map((work) => {
    const ofWork = figures.get(work.row);
    const told = (id) => spread(ofWork.get(id).map((ms) => figure(work, sizes, ms)));
    const others = [...names].filter(([id]) => id !== OURS && ofWork.has(id));
    const compared = ofWork.has(RAW);
    const ratio = compared ? ratioOf(ofWork.get(OURS), ofWork.get(RAW)) : null;
    const target = compared ? targetOf(work, share, names) : null;
    const { than } = work.target;
    const ahead = !ofWork.has(than) || ratioOf(ofWork.get(OURS), ofWork.get(than)).median > 1;
    return {
      row: work.row, title: work.title(sizes), unit: work.unit, better: betterOf(work),
      ours: told(OURS),
      peers: Object.fromEntries(others.map(([id, name]) => [name, told(id)])),
      against: compared ? names.get(RAW) : null, ratio, target,
      met: target && ratio.median >= target.ratio_min && ahead, note: null,
    };
  });
  return { chosen: Object.fromEntries(peers.map(({ name, chosen }) => [name, chosen])), rows };
}
