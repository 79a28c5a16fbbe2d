// A server of archives for tests: the example `archive_server` over a folder, and in front of it a door that can be shut,
// as where a server is overloaded. Also the example's other commands.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

const TOKEN = 'a token';
/** Headers of every answer, so that a page of another origin sees why it was refused. */
const OPEN = { 'access-control-allow-origin': '*', 'access-control-allow-headers': '*, authorization' };

/** Builds the example, with the features of the native tests. */
export function build(root) {
  execFileSync('cargo', ['build', '--quiet', '--features', 'archive,cli', '--example', 'archive_server'],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  return join(root, process.env.CARGO_TARGET_DIR ?? 'target', 'debug', 'examples', 'archive_server');
}

/** Starts a program that serves, and answers `{ url, stop }` once it says where. */
export async function start(file, args, options) {
  const program = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => program.once('exit', resolve));
  const url = await new Promise((resolve, reject) => {
    let said = '';
    program.stdout.on('data', (part) => {
      said += part;
      const [address] = /http:\S+/.exec(said) ?? [];
      if (address) resolve(address);
    });
    program.once('error', reject);
    ended.then((code) => reject(new Error(`the server of archives has ended with ${code}: ${said}`)));
  });
  return {
    url,
    async stop() {
      program.kill();
      await ended;
    },
  };
}

/** Lets requests through to a server while it is open. */
async function door(target) {
  let isOpen = true;
  const server = createServer((asked, answer) => {
    if (asked.method === 'POST') {
      isOpen = asked.url === '/up';
      answer.writeHead(204, OPEN).end();
    } else if (!isOpen) {
      answer.writeHead(asked.method === 'OPTIONS' ? 204 : 503, { ...OPEN, 'access-control-allow-methods': '*' }).end();
    } else {
      const { method, headers, url } = asked;
      const passed = request(new URL(url, target), { method, headers }, (answered) => {
        answer.writeHead(answered.statusCode, answered.headers);
        answered.pipe(answer);
      });
      passed.on('error', () => answer.destroy());
      asked.pipe(passed);
    }
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

/**
 * Serves archives in `folder`. Answers `{ server, restore, ship, close }`: what pages are given, and commands that answer
 * the digest they print.
 */
export async function archives(root, folder) {
  const file = build(root);
  const kept = ['--directory', join(folder, 'archives')];
  const running = await start(file, ['serve', ...kept, '--port', '0', '--token', TOKEN]);
  const { url, close } = await door(running.url);
  const command = (name) => async (archive, job) => {
    const which = ['--archive', archive, '--root', join(folder, 'native'), '--job', job];
    const { stdout } = await promisify(execFile)(file, [name, ...kept, ...which]);
    return /^digest (\w+)$/m.exec(stdout)[1];
  };
  return {
    server: { url, headers: { authorization: `Bearer ${TOKEN}` } },
    restore: command('restore'),
    ship: command('ship'),
    async close() {
      await close();
      await running.stop();
    },
  };
}
