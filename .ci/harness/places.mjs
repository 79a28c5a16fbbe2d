// What `make test` consists of: the lint steps, and every place where tests run.
// Only data: a place is a list of runs, each with a command and how to read what it prints.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Every layer, as features. */
const LAYERS = 'sds,datastore,write_behind,archive';
const NATIVE = ['--features', `serde,cli,${LAYERS}`];
/** In the browser `layers` stands for those of the package's second entry, and for what that makes of them. */
const BROWSER = 'layers,archive';
const WASM = ['--target', 'wasm32-unknown-unknown', '--features', BROWSER];
/** Archives in a real S3 server. */
const S3 = ['--manifest-path', 'tests/s3/Cargo.toml'];

/** Seconds a whole test program may take inside a browser. */
const BROWSER_SECONDS = 600;
/** Seconds a browser run may take with building and starting. */
const BROWSER_RUN_SECONDS = BROWSER_SECONDS + 300;
/** Seconds any other command may take. */
const COMMAND_SECONDS = 900;

/** Steps that print nothing worth counting: each is right or wrong. */
export const lints = [
  { name: 'fmt', argv: ['cargo', 'fmt', '--check'] },
  { name: 'fmt-s3', argv: ['cargo', 'fmt', '--check', ...S3] },
  { name: 'clippy-native', argv: ['cargo', 'clippy', '--all-targets', ...NATIVE, '--', '-D', 'warnings'] },
  { name: 'clippy-wasm', argv: ['cargo', 'clippy', '--all-targets', ...WASM, '--', '-D', 'warnings'] },
  { name: 'doc-native', argv: ['cargo', 'doc', '--no-deps', ...NATIVE], env: { RUSTDOCFLAGS: '-D warnings' } },
  { name: 'doc-wasm', argv: ['cargo', 'doc', '--no-deps', ...WASM], env: { RUSTDOCFLAGS: '-D warnings' } },
].map((lint) => ({ ...lint, timeoutSeconds: COMMAND_SECONDS }));

/** The first of `names` found on the path, or its last name so that the error tells what is missing. */
function program(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = names.find((name) => folders.some((folder) => existsSync(join(folder, name))));
  const name = found ?? names.at(-1);
  return join(folders.find((folder) => existsSync(join(folder, name))) ?? '', name);
}

const ENGINES = {
  chromium: () => ({
    flags: ['--chrome', '--chromedriver', program('chromedriver')],
    proof: /Running headless tests in Chrome/,
  }),
  firefox: () => ({
    flags: ['--firefox', '--geckodriver', program('geckodriver')],
    proof: /Running headless tests in Firefox/,
  }),
  // WebKitGTK has no headless mode, so it is given a screen.
  webkit: () => ({
    wrap: ['xvfb-run', '-a'],
    flags: ['--safari', '--safaridriver', program('WebKitWebDriver')],
    proof: /Running headless tests in Safari/,
  }),
};

/** Without one of these wasm-pack runs nothing at all, and calls that a success. */
const SCOPES = { window: 'WASM_BINDGEN_USE_BROWSER', worker: 'WASM_BINDGEN_USE_DEDICATED_WORKER' };

function browserPlace(root, engine, scope) {
  const { wrap = [], flags, proof } = ENGINES[engine]();
  const env = {
    [SCOPES[scope]]: '1',
    // Nothing in a browser reads it, and each run would have to carry it along.
    CARGO_PROFILE_DEV_DEBUG: '0',
    WASM_BINDGEN_TEST_TIMEOUT: String(BROWSER_SECONDS),
    WASM_BINDGEN_TEST_WEBDRIVER_JSON: join(root, '.ci', 'webdriver.json'),
  };
  // One run per test program: wasm-pack cannot pass on `--no-fail-fast`, so that in one run a
  // failing unit test would keep the suite from running.
  const run = (name, targets, needsTests) => ({
    name, needsTests, env, proof,
    argv: [...wrap, 'wasm-pack', '--log-level', 'warn', 'test', '--mode', 'no-install', '--headless', ...flags,
      '--', '--features', BROWSER, ...targets],
    format: 'libtest', retryStart: true, timeoutSeconds: BROWSER_RUN_SECONDS,
  });
  return {
    name: `${engine}-${scope}`,
    browser: true,
    runs: [run('unit', ['--lib'], false), run('suite', ['--test', 'suite'], true)],
  };
}

/** Every place, in the order in which they run. */
export function places(root) {
  const single = (name, argv, format) =>
    ({ name, runs: [{ name: 'all', argv, format, timeoutSeconds: COMMAND_SECONDS }] });
  const harness = ['harness', 'report'].map((name) => `.ci/harness/${name}.test.mjs`);
  return [
    single('harness', ['node', '--test', '--test-reporter=tap', ...harness], 'tap'),
    single('native', ['cargo', 'test', '--no-fail-fast', ...NATIVE], 'libtest'),
    // Its server takes long to build, so it is a package of its own, like the benchmarks.
    single('s3', ['cargo', 'test', '--no-fail-fast', ...S3, '--target-dir', 'target/s3'], 'libtest'),
    ...Object.keys(ENGINES).flatMap((engine) =>
      Object.keys(SCOPES).map((scope) => browserPlace(root, engine, scope))),
    single('e2e', ['node', '.ci/e2e/run.mjs'], 'summary'),
  ];
}
