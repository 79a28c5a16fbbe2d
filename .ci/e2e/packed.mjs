// Tests of the packed package without a browser: its files, its manifest, its types, and Node.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { project, run, tool } from './projects.mjs';

/** What is published. */
const FILES = [
  'LICENSE-APACHE', 'LICENSE-MIT', 'index.d.ts', 'index.js', 'package.json', 'page.js', 'persistency.wasm', 'worker.js',
];
/** What is loaded by its address; nobody imports names from it. */
const ASSETS = ['worker.js', 'page.js', 'persistency.wasm'];

/** The ways in which TypeScript may see the package. */
const TYPES = {
  'a bundler and a page': ['--module', 'esnext', '--moduleResolution', 'bundler', '--lib', 'es2022,esnext.disposable,dom'],
  'Node and a page': ['--module', 'nodenext', '--moduleResolution', 'nodenext', '--lib', 'es2022,esnext.disposable,dom'],
  'a worker': ['--module', 'esnext', '--moduleResolution', 'bundler', '--lib', 'es2022,esnext.disposable,webworker'],
};

/** What Node is asked to do; it prints one line of JSON. */
const IN_NODE = `
  import { Batch, key, limits, Persistency } from "persistency";
  const fields = ({ name, kind, outcome, message }) => ({ name, kind, outcome, message });
  console.log(JSON.stringify({
    key: Buffer.from(key("a", 1n)).toString("hex"),
    length: new Batch().put("c", key(1), new Uint8Array()).length,
    keyBytes: Number(limits().keyBytes),
    opened: await Persistency.open("x").then(() => null, fields),
  }));
`;

function typeTests(context) {
  const { root } = context;
  const source = join(root, 'pkg-template', 'type-tests');
  const files = readdirSync(source).filter((name) => name.endsWith('.ts'));
  let folder;
  return Object.fromEntries(Object.entries(TYPES).map(([name, flags]) => [`the types hold for ${name}`, async () => {
    folder ??= await project(context, 'types', { source });
    await run(folder, process.execPath, tool(root, 'typescript', 'bin', 'tsc'), '--noEmit', '--strict',
      '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--target', 'es2022', ...flags, ...files);
  }]));
}

export function make(context) {
  const { root, tarball } = context;
  const script = (name) => readFileSync(join(root, 'pkg', name), 'utf8');
  const tests = {
    'the package holds its golden list of files, under the name and version of the crate': () => {
      assert.deepEqual(tarball.files, FILES);
      assert.equal(tarball.name, 'persistency');
      assert.ok(readFileSync(join(root, 'Cargo.toml'), 'utf8').includes(`\nversion = "${tarball.version}"\n`));
    },
    'the page starts its worker by the expression that bundlers look for': () => {
      assert.match(script('index.js'), /new Worker\(new URL\("\.\/worker\.js", ?import\.meta\.url\), ?\{ ?type: ?"module" ?\}\)/);
    },
    'worker and in-page host import nothing, the page only the host, on demand': () => {
      const imports = (name) => Array.from(script(name).matchAll(/\bimport\b(?!\.meta)[^;]{0,40}/g), ([found]) => found);
      assert.deepEqual([imports('worker.js'), imports('page.js')], [[], []]);
      assert.deepEqual(imports('index.js').map((found) => found.slice(0, 'import("./page.js")'.length)), ['import("./page.js")']);
    },
    'nothing in the package evaluates text or makes scripts of blobs': () => {
      for (const name of ['index.js', 'worker.js', 'page.js']) {
        assert.doesNotMatch(script(name), /\beval\(|(?<!`)\bFunction\(|createObjectURL|\bblob:/, name);
      }
    },
    'publint finds nothing': async () => {
      const printed = await run(root, process.execPath, tool(root, 'publint', 'src', 'cli.js'), 'run', tarball.path, '--strict');
      assert.match(printed, /All good!/);
    },
    'arethetypeswrong finds nothing': async () => {
      await run(root, process.execPath, tool(root, '@arethetypeswrong', 'cli', 'dist', 'index.js'), tarball.path,
        '--no-definitely-typed', '--profile', 'esm-only', '--exclude-entrypoints', ...ASSETS);
    },
    ...typeTests(context),
    'Node imports the package, encodes with it, and is told what a store needs': async () => {
      const folder = await project(context, 'node', { files: { 'main.js': IN_NODE } });
      const { opened, ...found } = JSON.parse(await run(folder, process.execPath, 'main.js'));
      assert.deepEqual(found, { key: '0001618000000000000001', length: 1, keyBytes: 128 * 1024 });
      assert.deepEqual([opened.name, opened.kind, opened.outcome], ['PersistencyError', 'Unsupported', 'NotApplied']);
      assert.match(opened.message, /browser.*Worker.*IndexedDB/);
    },
  };
  return { tests };
}
