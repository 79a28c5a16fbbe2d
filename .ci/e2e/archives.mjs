// A server of archives for tests: the example `archive_server` over a folder, and in front of it a door that can be shut,
// or fail in other ways that servers do. Also the example's other commands.

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

/** What a door does beside letting requests through; `/up` ends all of it. */
const RULES = {
  /** Refuses everything, as a server that is busy. */
  down: () => ({ refuses: () => true }),
  /** Refuses everything after so many requests more. */
  'down-after': (count) => ({ refuses: () => (count -= 1) < 0 }),
  /** Answers nothing after so many requests more. */
  'silent-after': (count) => ({ isSilent: () => (count -= 1) < 0 }),
  /** Takes a while for each object; `/most` then tells how many it was given at one time. */
  slow: () => ({ isLate: ({ method }) => method === 'PUT', lateMs: () => LATE_MS }),
  /** Lets nothing be removed. */
  locked: () => ({ refuses: ({ method }) => method === 'DELETE' }),
  /** Fails by chance, in every way there is, from a seed. */
  flaky: (seed) => flaky(random(seed)),
};

/** Of so many requests one meets each of these: it is refused, late, sent twice, or carried out with its answer lost. */
const ONE_OF = { refuses: 8, isLate: 8, isTwice: 8, losesAnswer: 8 };
/** Milliseconds by which an answer is late at most. */
const LATE_MS = 30;

function flaky(below) {
  const faults = Object.entries(ONE_OF).map(([fault, number]) => [fault, () => below(number) === 0]);
  return { ...Object.fromEntries(faults), lateMs: () => below(LATE_MS) };
}

/** Numbers below an end, by mulberry32. */
function random(seed) {
  let state = seed;
  return (end) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % end;
  };
}

/** A promise, and what fulfils it. */
function deferred() {
  let resolve;
  const promise = new Promise((fulfil) => { resolve = fulfil; });
  return { promise, resolve };
}

/**
 * Lets requests through to a server as it is told to, by a POST of one of RULES and a number, `/down-after/3`. A POST of
 * `/silence` is answered once a request has been left without an answer under the rule that is in force.
 */
async function door(target) {
  let rule = {};
  let passed = 0;
  let silence = deferred();
  /** Objects that are put now, and as many as have been at one time since the door was last told something. */
  let [putting, most] = [0, 0];
  const server = createServer(async (asked, answer) => {
    const parts = [];
    for await (const part of asked) parts.push(part);
    const { method, headers, url } = asked;
    if (method === 'POST') {
      const [, name, number] = url.split('/');
      const told = name === 'most' ? most : passed;
      most = 0;
      if (name === 'silence') {
        await silence.promise;
      } else {
        rule = RULES[name]?.(Number(number)) ?? {};
        silence = deferred();
      }
      return answer.writeHead(200, OPEN).end(String(name === 'silence' ? passed : told));
    }
    // What a browser asks beforehand is no request of ours.
    const { refuses, isSilent, isLate, isTwice, losesAnswer } = method === 'OPTIONS' ? {} : rule;
    if (refuses?.(asked)) return answer.writeHead(503, OPEN).end();
    if (isSilent?.()) {
      silence.resolve();
      return undefined;
    }
    passed += Number(method !== 'OPTIONS');
    const [times, isLost] = [isTwice?.() ? 2 : 1, losesAnswer?.()];
    putting += Number(method === 'PUT');
    most = Math.max(most, putting);
    if (isLate?.(asked)) await new Promise((done) => setTimeout(done, rule.lateMs?.()));
    try {
      let answered;
      for (let time = 0; time < times; time += 1) {
        answered = await pass(new URL(url, target), { method, headers }, Buffer.concat(parts));
      }
      putting -= Number(method === 'PUT');
      return isLost ? answer.destroy() : answer.writeHead(answered.status, answered.said).end(answered.bytes);
    } catch {
      putting -= Number(method === 'PUT');
      return answer.destroy();
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

/** Sends a request on, and answers what came back. */
const pass = (url, options, body) => new Promise((resolve, reject) => {
  const passed = request(url, options, async (answered) => {
    const parts = [];
    for await (const part of answered) parts.push(part);
    resolve({ status: answered.statusCode, said: answered.headers, bytes: Buffer.concat(parts) });
  });
  passed.on('error', reject);
  passed.end(body);
});

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
