// A static file server for the demo page, the benchmark and their tests: a few folders, this machine only.
// Never serves a file outside the folders it was given.

import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Browsers run scripts and compile wasm only under their own types. */
const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
};

/** Everything the demo needs is its own; wasm is compiled, nothing else is evaluated. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'";

/** The file that a request path names, or null if there is none inside its folder. */
async function find(mounts, path) {
  const [prefix, folder] = mounts.find(([candidate]) => path.startsWith(candidate)) ?? [];
  if (folder === undefined || path.includes('\0')) return null;
  const name = path.slice(prefix.length);
  try {
    const inside = await realpath(folder);
    const file = await realpath(join(inside, name.endsWith('/') || name === '' ? `${name}index.html` : name));
    return file.startsWith(inside + sep) && (await stat(file)).isFile() ? file : null;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'EACCES'].includes(error.code)) return null;
    throw error;
  }
}

async function answer({ mounts, policy, kept }, request, response) {
  const end = (status, text) => response.writeHead(status, { 'content-type': TYPES['.txt'] }).end(text);
  if (!['GET', 'HEAD'].includes(request.method)) return end(405, 'only GET\n');
  let path;
  try {
    path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
  } catch {
    return end(400, 'not a path\n');
  }
  const file = await find(mounts, path);
  if (file === null) return end(404, 'no such file\n');
  response.writeHead(200, {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    'content-length': (await stat(file)).size,
    'cache-control': kept !== undefined && path.startsWith(kept) ? 'max-age=3600' : 'no-store',
    'x-content-type-options': 'nosniff',
    'content-security-policy': policy,
  });
  if (request.method === 'HEAD') return response.end();
  // A file that cannot be read any more ends the answer short, which the length tells.
  return createReadStream(file).on('error', () => response.destroy()).pipe(response);
}

/**
 * Serves `mounts` (path prefix to folder) on `port` of 127.0.0.1, 0 for any; answers `{ url, close }`.
 * The longest prefix of a path decides. Everything is answered with the Content-Security-Policy `policy`.
 * Browsers keep nothing but what is under the path `kept`.
 */
export async function serve(mounts, port = 0, policy = POLICY, kept = undefined) {
  const site = { mounts: Object.entries(mounts).sort(([a], [b]) => b.length - a.length), policy, kept };
  const server = createServer((request, response) => {
    answer(site, request, response).catch((error) => {
      console.error(`serve: ${request.url}: ${error.message}`);
      response.destroy();
    });
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const close = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/** The demo's folders: the page, the package, the data, the benchmark, and what the native quickstart reported. */
export function demoMounts(root, native) {
  return {
    '/': join(root, 'www'), '/pkg/': join(root, 'pkg'), '/data/': join(root, 'data'),
    '/bench/': join(root, 'target', 'bench', 'site'), '/native/': native,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const port = Number(process.env.DEMO_PORT || 8137);
  try {
    const { url } = await serve(demoMounts(root, join(root, 'target', 'demo', 'native')), port);
    console.log(`The demo page is at ${url}\nCtrl-C ends it.`);
  } catch (error) {
    const hint = error.code === 'EADDRINUSE' ? '; set DEMO_PORT to another port' : '';
    console.error(`cannot serve on port ${process.env.DEMO_PORT || 8137}: ${error.message}${hint}`);
    process.exitCode = 1;
  }
}
