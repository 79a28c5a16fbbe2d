// A server for the tests of what goes wrong in a browser: the package under many names, pages with the
// headers that a test asks for, and answers that are wrong on purpose. This machine only.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.wasm': 'application/wasm',
};
/** Bytes that a page may report at once. */
const REPORT_BYTES_MAX = 1024 * 1024;

const lab = join(dirname(fileURLToPath(import.meta.url)), 'lab');

async function text(request) {
  let body = '';
  for await (const part of request) {
    body += part;
    if (body.length > REPORT_BYTES_MAX) throw new Error('a report is too long');
  }
  return body;
}

/**
 * Serves the package of the checkout `root` and the pages of `lab/`. Answers
 *
 * - `url(host, path)`: the address of a path at an origin of its own, `host` being any label;
 * - `onReport(take)`: has `take(text)` called for everything that pages POST to `/report`;
 * - `close()`.
 *
 * Query parameters of a page: `csp` is its Content-Security-Policy, `clear` its Clear-Site-Data. Folders
 * that serve a file of the package wrongly: `/missing/`, `/mime/`, `/never/`.
 */
export async function site(root) {
  let take = () => {};
  /** The file that a path names: only these folders, and no folders in them. */
  const file = (path) => {
    const folder = { '/': lab, '/pkg': join(root, 'pkg'), '/mime': join(root, 'pkg') }[dirname(path)];
    return folder && join(folder, basename(path) || 'page.html');
  };
  const answer = async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (pathname === '/report') {
      take(await text(request));
      return response.writeHead(204).end();
    }
    if (pathname.startsWith('/never/')) return undefined;
    const path = file(pathname);
    const body = path && (await readFile(path).catch(() => undefined));
    if (body === undefined) return response.writeHead(404).end();
    const type = pathname.startsWith('/mime/') ? 'text/plain' : TYPES[extname(path)];
    const headers = { 'content-type': type, 'cache-control': 'no-cache', 'access-control-allow-origin': '*' };
    if (searchParams.has('csp')) headers['content-security-policy'] = searchParams.get('csp');
    if (searchParams.has('clear')) headers['clear-site-data'] = searchParams.get('clear');
    return response.writeHead(200, headers).end(body);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => response.destroy(error));
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    url: (host, path = '/') => `http://${host}.localhost:${port}${path}`,
    onReport(next) {
      take = next;
    },
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
