// Makes the npm package of its template and of the crate compiled to wasm, and holds it to its budget.
// Compiles no Rust, downloads nothing, and writes into the package's folder only.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { build, transform } from 'esbuild';
import { OP } from '../../pkg-template/src/wire.js';
import { shortened } from './shorten.mjs';

/** Gzipped bytes at most that a page loads until its first call is answered; only ever lowered. */
const BUDGET_BYTES = 96_700;
/** Where it is to go. */
const AIM_BYTES = 90_000;
/**
 * The package's entries, each with a wasm module of its own, which is generated in a folder of that name.
 *
 * The core's has no roots in memory: `memory` is one that has, with the same scripts.
 *
 * Each has three scripts, made of those in `pkg-template/src`: what a page imports, its worker, and the in-page
 * host, the only one that another imports at run time, on demand. The page loads all but the last.
 */
const ENTRIES = {
  core: { wasm: 'persistency.wasm', memory: 'persistency-memory.wasm', page: 'page.js', worker: 'worker.js',
    scripts: { 'index.js': 'index.js', 'worker.js': 'worker.js', 'page.js': 'page.js' } },
  layers: { wasm: 'persistency-layers.wasm', page: 'layers-page.js', worker: 'layers-worker.js',
    scripts: { 'layers.js': 'layers/index.js', 'layers-worker.js': 'worker.js', 'layers-page.js': 'page.js' } },
};
/** Whose code is in the second entry, and whose licence therefore in the package. */
const MESSAGEPACK = join('node_modules', '@msgpack', 'msgpack', 'LICENSE');
/** The oldest browsers whose syntax is kept to: those with module workers and BroadcastChannel. */
const TARGETS = ['chrome103', 'firefox114', 'safari15.4'];
/** The module that wasm-opt, shortening names, has everything imported from. */
const MODULE = 'a';
/**
 * What the core's glue does where there is none of this: every browser that we keep to has the first three. The last is
 * for who makes gigabytes of text of the wasm's memory; here it is a few names.
 */
const NEEDLESS = [
  [/\(typeof FinalizationRegistry === 'undefined'\)/g, 'false'],
  [/typeof globalThis === 'undefined' \? undefined : globalThis/g, 'globalThis'],
  [/typeof (global|self|window) === 'undefined' \? undefined : \1/g, 'globalThis'],
  [/numBytesDecoded >= MAX_SAFARI_DECODE_BYTES/g, 'false'],
];
/** What stays in the template. */
const UNPUBLISHED = ['src', 'type-tests', 'package.json'];

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Finds the glue where it was generated, and has it use the short names that the wasm was given.
 *
 * It exports what the crate does, `imports`, which an instance is made with, and `begin(exports)` for what it exports.
 */
const glue = (generated, needless) => ({
  name: 'glue',
  setup(bundler) {
    const path = join(generated, 'persistency_bg.js');
    const source = needless.reduce((text, [what, instead]) => text.replace(what, instead), readFileSync(path, 'utf8'));
    const { imports, exports } = JSON.parse(readFileSync(join(generated, 'names.json'), 'utf8'));
    const short = Object.fromEntries([
      ...imports.map(([module]) => [module, MODULE]),
      ...imports.map(([, name, now]) => [name, now]),
      ...exports.map(([name, now]) => [name, now]),
    ]);
    const quoted = Object.keys(short).map((name) => name.replace(/[^\w]/g, '\\$&'));
    const names = new RegExp(`^(?:${quoted.join('|')})$`);
    // It would be renamed there too.
    const elsewhere = exports.find(([name]) => new RegExp(`(?<!\\bwasm)\\.${name}\\b`).test(source));
    if (elsewhere) throw new Error(`the wasm exports ${elsewhere[0]}, and something else in the glue is called so too`);
    const own = `
      export const imports = { ${MODULE}: { ${imports.map(([, name, now]) => `${now}: ${name}`).join()} } };
      export function begin(exports) {
        __wbg_set_wasm(exports);
        exports.__wbindgen_start();
      }`;
    bundler.onResolve({ filter: /\/wasm\/persistency\.js$/ }, () => ({ path }));
    bundler.onLoad({ filter: /\/persistency_bg\.js$/ }, async (file) => {
      if (file.path !== path) return undefined;
      const options = { mangleProps: names, mangleQuoted: true, mangleCache: short, target: TARGETS };
      return { contents: (await transform(source + own, options)).code, loader: 'js' };
    });
  },
});

/** Leaves the in-page host a file of its own. */
const pageHost = (page) => ({
  name: 'page-host',
  setup(bundler) {
    bundler.onResolve({ filter: /^\.\/page\.js$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: `./${page}`, external: true } : undefined);
  },
});

/** Makes one script of an entry. */
async function bundle(name, script, { version, license }, generated, out) {
  const { wasm, memory = wasm, worker, page, scripts } = ENTRIES[name];
  const constants = { PACKAGE_VERSION: version, WORKER_FILE: worker, WASM_FILE: wasm, MEMORY_WASM_FILE: memory, LAYERS: name === 'layers' };
  const { outputFiles } = await build({
    entryPoints: [join(root, 'pkg-template', 'src', scripts[script])],
    outfile: join(out, script),
    bundle: true,
    format: 'esm',
    target: TARGETS,
    charset: 'utf8',
    minify: true,
    banner: { js: `/*! persistency ${version} | ${license} */` },
    define: Object.fromEntries(Object.entries(constants).map(([of, value]) => [of, JSON.stringify(value)])),
    plugins: [glue(join(generated, name), constants.LAYERS ? [] : NEEDLESS), pageHost(page)],
    nodePaths: [join(root, '.ci', 'e2e', 'node_modules')],
    logLevel: 'warning',
    write: false,
  });
  // Once more, by a tool that only does this, and leaves less.
  const about = {
    hasLayers: constants.LAYERS, isPage: ![worker, page].includes(script),
    template: join(root, 'pkg-template'), operations: Object.keys(OP),
  };
  writeFileSync(join(out, script), await shortened(outputFiles[0].text, about));
}

/** The manifest: what only the crate knows comes from there. */
function manifest(crate) {
  const { name, version, description, license, repository } = crate;
  const template = JSON.parse(readFileSync(join(root, 'pkg-template', 'package.json'), 'utf8'));
  for (const field of ['version', 'description', 'license']) {
    if (field in template) throw new Error(`${field} comes from Cargo.toml, and from nowhere else`);
    if (!crate[field]) throw new Error(`Cargo.toml has no ${field}`);
  }
  const source = repository ? { repository: { type: 'git', url: repository } } : {};
  return { name, version, description, license, ...source, ...template };
}

/** Prints what each file of an entry weighs and answers the gzipped bytes that a page loads. */
function weigh({ wasm, memory, page, scripts }, out) {
  const weights = [...Object.keys(scripts), wasm, ...(memory ? [memory] : [])].map((name) => {
    const path = join(out, name);
    const bytes = readFileSync(path);
    // Node's own gzip is another, whose results differ by a percent.
    const gzipped = execFileSync('gzip', ['-9nc', path], { maxBuffer: 2 * bytes.length + 1024 });
    return { name, sizes: [bytes.length, gzipped.length, brotliCompressSync(bytes).length] };
  });
  const loaded = weights.filter(({ name }) => name !== page && name !== memory);
  const sums = [0, 1, 2].map((at) => loaded.reduce((sum, { sizes }) => sum + sizes[at], 0));
  const number = new Intl.NumberFormat('en');
  const cell = (value) => (typeof value === 'number' ? number.format(value) : value).padStart(10);
  const line = (name, values) => console.log(name.padEnd(26) + values.map(cell).join(''));
  line('bytes', ['raw', 'gzip -9', 'brotli']);
  for (const { name, sizes } of weights) line(name, sizes);
  line('a page loads', sums);
  return sums[1];
}

async function main(generated, crate) {
  const out = join(root, 'pkg');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  for (const [name, { wasm, memory, scripts }] of Object.entries(ENTRIES)) {
    for (const script of Object.keys(scripts)) await bundle(name, script, crate, generated, out);
    cpSync(join(generated, name, 'persistency.wasm'), join(out, wasm));
    if (memory) cpSync(join(generated, 'memory', 'persistency.wasm'), join(out, memory));
  }
  for (const name of readdirSync(join(root, 'pkg-template')).filter((each) => !UNPUBLISHED.includes(each))) {
    cpSync(join(root, 'pkg-template', name), join(out, name), { recursive: true });
  }
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) cpSync(join(root, name), join(out, name));
  cpSync(join(root, '.ci', 'e2e', MESSAGEPACK), join(out, 'LICENSE-MSGPACK'));
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest(crate), null, 2)}\n`);

  weigh(ENTRIES.layers, out);
  const total = weigh(ENTRIES.core, out);
  const number = new Intl.NumberFormat('en');
  if (total > AIM_BYTES) console.log(`package: ${number.format(total - AIM_BYTES)} bytes above the aim of ${number.format(AIM_BYTES)}`);
  if (total > BUDGET_BYTES) {
    console.error(`package: a page loads ${total} bytes gzipped, more than the budget of ${BUDGET_BYTES}`);
    process.exitCode = 1;
  }
}

const [generated, metadata] = process.argv.slice(2);
await main(resolve(generated), JSON.parse(readFileSync(metadata, 'utf8')).packages[0]);
