// Bundles the benchmark and its peers for pages: scripts that load nothing from elsewhere, and the files they need.
// The package itself is not bundled: pages import it as it is built, from `pkg/` beside this folder.

import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Where the site is built, in the checkout. */
export const site = join(here, '..', '..', 'target', 'bench', 'site');

/** What pages load by its name; all else is loaded by these. */
const ENTRIES = ['bench.js', 'frame.js', 'indexed-db.worker.js', 'sqlite.worker.js'];
const PAGES = ['page.html', 'frame.html'];

const packageBeside = {
  name: 'package-beside',
  setup(bundler) {
    bundler.onResolve({ filter: /^persistency$/ }, () => ({ path: '../pkg/index.js', external: true }));
  },
};

/** Builds everything into `site`. */
export async function buildSite() {
  rmSync(site, { recursive: true, force: true });
  mkdirSync(site, { recursive: true });
  await build({
    entryPoints: ENTRIES.map((name) => join(here, 'src', name)),
    outdir: site,
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    plugins: [packageBeside],
    logLevel: 'warning',
  });
  for (const name of PAGES) cpSync(join(here, 'src', name), join(site, name));
  const sqlite = fileURLToPath(import.meta.resolve('@sqlite.org/sqlite-wasm/sqlite3.wasm'));
  cpSync(sqlite, join(site, 'sqlite3.wasm'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildSite();
