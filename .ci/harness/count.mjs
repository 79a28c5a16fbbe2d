// What a log proves: reads how many tests passed and failed out of what a run printed.
// Pure: it starts nothing and reads no files.

/** Colour codes, which some tools write even when asked not to. */
const COLOUR = /\x1b\[[0-9;]*m/g;

/** How each kind of runner reports; every match of `line` adds to the count. */
const FORMATS = {
  libtest: /^test result: \S+ (?<passed>\d+) passed; (?<failed>\d+) failed;/gm,
  summary: /^(?<passed>\d+) passed, (?<failed>\d+) failed$/gm,
  tap: /^# (?:pass (?<passed>\d+)|fail (?<failed>\d+))$/gm,
};

/** The sum over every result line of `format` in `log`. */
export function count(format, log) {
  const sum = { passed: 0, failed: 0 };
  for (const { groups } of log.replace(COLOUR, '').matchAll(FORMATS[format])) {
    sum.passed += Number(groups.passed ?? 0);
    sum.failed += Number(groups.failed ?? 0);
  }
  return sum;
}

/** Tests that a libtest run left out because they are marked so: they prove nothing. */
export function ignored(log) {
  const lines = log.replace(COLOUR, '').matchAll(/^test result: .* (\d+) ignored;/gm);
  return [...lines].reduce((sum, [, number]) => sum + Number(number), 0);
}

/**
 * Whether a browser run died before its first test, which is the machine's fault and not a test's.
 * A build that failed never reached the runner and is not such a run.
 */
export function neverStarted(log) {
  const text = log.replace(COLOUR, '');
  return /^\s+Running .*\.wasm\)$/m.test(text) && !/^(running \d+ tests?$|test )/m.test(text);
}

/**
 * The verdict on one run: `{ passed, failed, reasons }`.
 *
 * A run that ended badly counts at least one failure, whatever its result lines say, and so does a
 * run that needs tests and shows none, that ignores one, or that lacks the line proving where it ran.
 */
export function judge({ format, needsTests = true, proof }, { status, log }) {
  const { passed, failed } = count(format, log);
  const reasons = [];
  if (failed > 0) reasons.push(`${failed} tests failed`);
  else if (status !== 'ok') reasons.push(status);
  if (ignored(log) > 0) reasons.push(`${ignored(log)} tests are ignored`);
  if (needsTests && passed + failed === 0) reasons.push('no test ran');
  else if (proof && passed + failed > 0 && !proof.test(log)) reasons.push(`the log lacks ${proof}`);
  return { passed, failed: Math.max(failed, reasons.length > 0 ? 1 : 0), reasons };
}

/** Lines that are shown of one failed test. */
const REASON_LINES = 12;

/** Where in a log's lines it tells why a test failed. */
export function failures(lines) {
  const told = /^(FAILED  \S|---- \S+ (stdout|output) ----$|not ok \d)/;
  return lines.flatMap((line, at) => (told.test(line.replace(COLOUR, '')) ? [at] : []));
}

/** What the line `at` and those below it tell of one failed test, as far as the next test. */
export function reason(lines, at) {
  const next = /^(ok |FAILED  |---- |not ok )/;
  const below = lines.slice(at + 1, at + REASON_LINES);
  const end = below.findIndex((line) => next.test(line.replace(COLOUR, '')));
  return [lines[at], ...(end < 0 ? below : below.slice(0, end))].join('\n');
}

/**
 * The same tests must have run in all of `places`: a reason if their numbers differ, else null.
 * Places with failures are left out, they are told on their own.
 */
export function disagreement(places) {
  const clean = places.filter((place) => place.failed === 0);
  if (new Set(clean.map((place) => place.passed)).size <= 1) return null;
  return `the suite differs: ${clean.map((place) => `${place.name} ${place.passed}`).join(', ')}`;
}
