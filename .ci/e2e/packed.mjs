// Tests of the packed package without a browser: its files, its scripts, its manifest, its types, and Node.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { declarationExamples, readme } from '../../pkg-template/type-tests/examples.mjs';
import { project, run, tool } from './projects.mjs';

/** What is published. */
const FILES = [
  'LICENSE-APACHE', 'LICENSE-MIT', 'LICENSE-MSGPACK', 'README.md', 'docs/archive.md', 'docs/browsers.md', 'index.d.ts', 'index.js',
  'layers-page.js', 'layers-worker.js', 'layers.d.ts', 'layers.js', 'layers/archive.d.ts', 'layers/datastore.d.ts', 'layers/sds.d.ts',
  'layers/write-behind.d.ts', 'package.json', 'page.js', 'persistency-layers.wasm', 'persistency-memory.wasm', 'persistency.wasm', 'worker.js',
];
/** What is loaded by its address; nobody imports names from it. */
const ASSETS = [
  'worker.js', 'page.js', 'persistency.wasm', 'persistency-memory.wasm', 'layers-worker.js', 'layers-page.js', 'persistency-layers.wasm',
];
/** What each entry starts and, on demand, imports. */
const ENTRIES = {
  'index.js': { worker: 'worker.js', page: 'page.js' },
  'layers.js': { worker: 'layers-worker.js', page: 'layers-page.js' },
};

/** What Node is asked to do; it prints one line of JSON. */
const IN_NODE = `
  import { Batch, key, limits, Persistency } from "persistency";
  import * as layers from "persistency/layers";
  const fields = ({ name, kind, outcome, message }) => ({ name, kind, outcome, message });
  console.log(JSON.stringify({
    key: Buffer.from(key("a", 1n)).toString("hex"),
    length: new Batch().put("c", key(1), new Uint8Array()).length,
    limits: typeof limits(),
    // Everything that the first entry has, but its own.
    layers: [typeof layers.limits, layers.Batch === Batch],
    opened: await Persistency.open("x").then(() => null, fields),
  }));
`;

/**
 * Each configuration of the type tests with the newest compiler, and the main one with the oldest that the
 * README promises; the examples in all types' own comments, and those of the README that no test runs, are among
 * what is compiled.
 */
function typeTests(context) {
  const { root } = context;
  const source = join(root, 'pkg-template', 'type-tests');
  const declarations = context.tarball.files.filter((name) => name.endsWith('.d.ts'));
  const examples = [
    ...declarations.flatMap((name) => declarationExamples(join(root, 'pkg', name))),
    ...readme(join(root, 'pkg', 'README.md')).compiled,
  ];
  const files = Object.fromEntries(examples.map(({ source: text }, at) => [`example-${at}.ts`, text]));
  const configurations = readdirSync(source).filter((name) => /^tsconfig.*\.json$/.test(name));
  let folder;
  const check = (compiler, configuration) => async () => {
    folder ??= await project(context, 'types', { source, files });
    await run(folder, process.execPath, tool(root, compiler, 'bin', 'tsc'), '-p', configuration);
  };
  return {
    ...Object.fromEntries(configurations.map((name) =>
      [`the types hold with ${name}`, check('typescript', name)])),
    'the types hold for TypeScript 5.2': check('typescript5.2', 'tsconfig.json'),
  };
}

export function make(context) {
  const { root, tarball } = context;
  const script = (name) => readFileSync(join(root, 'pkg', name), 'utf8');
  /** The import declarations and expressions of a script, each cut off behind its specifier. */
  const imports = (name) =>
    Array.from(script(name).matchAll(/\bimport\b(?!\.meta)[^;"]*("[^"]*")?/g), ([found]) => found);
  const tests = {
    'the package holds its golden list of files, under the name and version of the crate': () => {
      assert.deepEqual(tarball.files, FILES);
      assert.equal(tarball.name, 'persistency');
      const crate = readFileSync(join(root, 'Cargo.toml'), 'utf8');
      assert.ok(crate.includes(`\nversion = "${tarball.version}"\n`));
    },
    'each entry starts its worker by the expression that bundlers look for': () => {
      for (const [name, { worker }] of Object.entries(ENTRIES)) {
        const expected = `new Worker(new URL("./${worker}",import.meta.url),{type:"module"})`;
        assert.equal(script(name).split(expected).length, 2, name);
      }
    },
    'workers and in-page hosts import nothing, the pages only their host, on demand': () => {
      for (const [name, { worker, page }] of Object.entries(ENTRIES)) {
        assert.deepEqual([worker, page].flatMap(imports), []);
        assert.deepEqual(imports(name), [`import("./${page}"`]);
      }
    },
    'nothing in the package evaluates text or makes scripts of blobs': () => {
      for (const name of tarball.files.filter((each) => each.endsWith('.js'))) {
        assert.doesNotMatch(script(name), /\beval\(|(?<!`)\bFunction\(|createObjectURL|\bblob:/, name);
      }
    },
    'publint finds nothing': async () => {
      const publint = tool(root, 'publint', 'src', 'cli.js');
      const printed = await run(root, process.execPath, publint, 'run', tarball.path, '--strict');
      assert.match(printed, /All good!/);
    },
    'arethetypeswrong finds nothing': async () => {
      const attw = tool(root, '@arethetypeswrong', 'cli', 'dist', 'index.js');
      await run(root, process.execPath, attw, tarball.path, '--no-definitely-typed', '--profile', 'esm-only',
        '--exclude-entrypoints', ...ASSETS);
    },
    ...typeTests(context),
    'Node imports the package, encodes with it, and is told what a store needs': async () => {
      const folder = await project(context, 'node', { files: { 'main.js': IN_NODE } });
      const { opened, ...found } = JSON.parse(await run(folder, process.execPath, 'main.js'));
      assert.deepEqual(found, { key: '0001618000000000000001', length: 1, limits: 'object',
        layers: ['function', false] });
      const { message, ...rest } = opened;
      assert.deepEqual(rest, { name: 'PersistencyError', kind: 'Unsupported', outcome: 'NotApplied' });
      for (const need of [/browser/, /Worker/, /IndexedDB/]) assert.match(message, need);
    },
  };
  return { tests };
}
