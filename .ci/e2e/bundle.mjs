// Makes the npm package of its template and of the crate compiled to wasm, and holds it to its budget.
// Compiles no Rust, downloads nothing, and writes into the package's folder only.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { build, transform } from 'esbuild';

/** Gzipped bytes at most that a page loads until its first call is answered; only ever lowered. */
const BUDGET_BYTES = 127_000;
/** Where it is to go. */
const AIM_BYTES = 90_000;
const WASM = 'persistency.wasm';
/** What such a page loads; anything else is loaded only where it is asked for. */
const LOADED = ['index.js', 'worker.js', WASM];
/** The package's scripts. Only the first imports another file at run time: the in-page host, on demand. */
const ENTRIES = ['index.js', 'worker.js', 'page.js'];
/** The oldest browsers whose syntax is kept to: those with module workers and BroadcastChannel. */
const TARGETS = ['chrome103', 'firefox114', 'safari15.4'];
/** The module that wasm-opt, shortening names, has everything imported from. */
const MODULE = 'a';
/** What stays in the template. */
const UNPUBLISHED = ['src', 'type-tests', 'package.json'];

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Finds the glue where it was generated, and has it use the short names that the wasm was given. */
const glue = (generated) => ({
  name: 'glue',
  setup(bundler) {
    const path = join(generated, 'persistency.js');
    const { imports, exports } = JSON.parse(readFileSync(join(generated, 'names.json'), 'utf8'));
    const short = Object.fromEntries([
      ...imports.map(([module]) => [module, MODULE]),
      ...imports.map(([, name, now]) => [name, now]),
      ...exports.map(([name, now]) => [name, now]),
    ]);
    const quoted = Object.keys(short).map((name) => name.replace(/[^\w]/g, '\\$&'));
    const names = new RegExp(`^(?:${quoted.join('|')})$`);
    bundler.onResolve({ filter: /\/wasm\/persistency\.js$/ }, () => ({ path }));
    bundler.onLoad({ filter: /\/persistency\.js$/ }, async (file) => {
      if (file.path !== path) return undefined;
      const options = { mangleProps: names, mangleQuoted: true, mangleCache: short, target: TARGETS };
      return { contents: (await transform(readFileSync(path, 'utf8'), options)).code, loader: 'js' };
    });
  },
});

/** Leaves the in-page host a file of its own. */
const pageHost = {
  name: 'page-host',
  setup(bundler) {
    bundler.onResolve({ filter: /^\.\/page\.js$/ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined);
  },
};

async function bundle(entry, generated, out, { version, license }) {
  await build({
    entryPoints: [join(root, 'pkg-template', 'src', entry)],
    outfile: join(out, entry),
    bundle: true,
    format: 'esm',
    target: TARGETS,
    charset: 'utf8',
    minify: true,
    banner: { js: `/*! persistency ${version} | ${license} */` },
    define: { PACKAGE_VERSION: JSON.stringify(version) },
    plugins: [glue(generated), pageHost],
    logLevel: 'warning',
  });
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

/** Prints what each file weighs and answers the gzipped bytes that a page loads. */
function weigh(out) {
  const rows = [...LOADED, ...ENTRIES.filter((entry) => !LOADED.includes(entry))].map((name) => {
    const path = join(out, name);
    const bytes = readFileSync(path);
    // Node's own gzip is another, whose results differ by a percent.
    const gzipped = execFileSync('gzip', ['-9nc', path], { maxBuffer: 2 * bytes.length + 1024 });
    return { name, sizes: [bytes.length, gzipped.length, brotliCompressSync(bytes).length] };
  });
  const loaded = rows.filter(({ name }) => LOADED.includes(name));
  const sums = [0, 1, 2].map((at) => loaded.reduce((sum, { sizes }) => sum + sizes[at], 0));
  const number = new Intl.NumberFormat('en');
  const cell = (value) => (typeof value === 'number' ? number.format(value) : value).padStart(10);
  const line = (name, values) => console.log(name.padEnd(20) + values.map(cell).join(''));
  line('bytes', ['raw', 'gzip -9', 'brotli']);
  for (const { name, sizes } of rows) line(name, sizes);
  line('a page loads', sums);
  return sums[1];
}

async function main(generated, crate) {
  const out = join(root, 'pkg');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  for (const entry of ENTRIES) await bundle(entry, generated, out, crate);
  cpSync(join(generated, WASM), join(out, WASM));
  for (const name of readdirSync(join(root, 'pkg-template')).filter((each) => !UNPUBLISHED.includes(each))) {
    cpSync(join(root, 'pkg-template', name), join(out, name), { recursive: true });
  }
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) cpSync(join(root, name), join(out, name));
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest(crate), null, 2)}\n`);

  const total = weigh(out);
  const number = new Intl.NumberFormat('en');
  if (total > AIM_BYTES) console.log(`package: ${number.format(total - AIM_BYTES)} bytes above the aim of ${number.format(AIM_BYTES)}`);
  if (total > BUDGET_BYTES) {
    console.error(`package: a page loads ${total} bytes gzipped, more than the budget of ${BUDGET_BYTES}`);
    process.exitCode = 1;
  }
}

const [generated, metadata] = process.argv.slice(2);
await main(resolve(generated), JSON.parse(readFileSync(metadata, 'utf8')).packages[0]);
