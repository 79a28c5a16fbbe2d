// Throw-away projects that have the packed package installed as a user would install it.
// Never touches a registry, and knows nothing of what the projects are for.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Milliseconds that one command may take. */
const COMMAND_MS = 120_000;

const execute = promisify(execFile);

/** Runs a program in `cwd`; answers what it printed, and fails with that. */
export async function run(cwd, program, ...args) {
  try {
    const { stdout } = await execute(program, args, { cwd, timeout: COMMAND_MS, maxBuffer: 2 ** 24 });
    return stdout;
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`, { cause: error });
  }
}

/** The path of something that is installed in `.ci/consumers`. */
export const tool = (root, ...path) => join(root, '.ci', 'consumers', 'node_modules', ...path);

/** Packs `pkg/` into `folder`; answers the archive's path and the paths in it. */
export async function pack(root, folder) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const printed = await run(join(root, 'pkg'), 'npm', ...args);
  const [{ filename, files, name, version }] = JSON.parse(printed);
  return { path: join(folder, filename), files: files.map(({ path }) => path).sort(), name, version };
}

/** Makes the project `name` of the files in `source` and of `files`; answers its folder. */
export async function project({ root, scratch, tarball }, name, { source, files = {} } = {}) {
  const folder = join(root, 'target', 'consumers', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (source !== undefined) cpSync(source, folder, { recursive: true });
  const manifest = JSON.stringify({ name: 'consumer', private: true, type: 'module' });
  for (const [path, text] of Object.entries({ 'package.json': manifest, ...files })) {
    writeFileSync(join(folder, path), text);
  }
  await run(folder, 'npm', 'install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund',
    '--loglevel=error', '--cache', join(scratch, 'npm'), tarball.path);
  return folder;
}
