// Runs one command to its end: own log file, own temporary folder, a deadline, nothing left behind.
// Never judges what the command did.

import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

/** How long a command that was asked to end may take before it is killed, in ms. */
const GRACE_MS = 5_000;

/** Process groups under way, by leader: they must not outlive this program. */
const running = new Set();

/** Signals a whole process group; one that is gone already is fine. */
function signalGroup(leader, signal) {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    for (const leader of running) signalGroup(leader, 'SIGKILL');
    process.exit(128 + constants.signals[signal]);
  });
}

/**
 * Runs `argv` and answers `{ status, log, seconds }`, where `status` is "ok" or says how it ended.
 * Everything it prints goes to the file `logPath`.
 */
export async function exec(argv, { cwd, env, logPath, timeoutSeconds }) {
  const scratch = mkdtempSync(join(tmpdir(), 'persistency-test-'));
  const fd = openSync(logPath, 'w');
  const started = Date.now();
  try {
    // A group of its own, so that browsers and drivers it started can be ended with it.
    const child = spawn(argv[0], argv.slice(1), {
      cwd, env: { ...env, TMPDIR: scratch }, stdio: ['ignore', fd, fd], detached: true,
    });
    const status = await ended(child, timeoutSeconds);
    return { status, log: readFileSync(logPath, 'utf8'), seconds: (Date.now() - started) / 1000 };
  } finally {
    closeSync(fd);
    rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

function ended(child, timeoutSeconds) {
  return new Promise((resolve) => {
    const { pid } = child;
    let late = false;
    let kill;
    if (pid !== undefined) running.add(pid);
    const deadline = setTimeout(() => {
      late = true;
      signalGroup(pid, 'SIGTERM');
      kill = setTimeout(() => signalGroup(pid, 'SIGKILL'), GRACE_MS);
    }, timeoutSeconds * 1000);
    const settle = (status) => {
      clearTimeout(deadline);
      clearTimeout(kill);
      if (pid !== undefined) {
        signalGroup(pid, 'SIGKILL');
        running.delete(pid);
      }
      resolve(status);
    };
    child.once('error', (error) => settle(`could not start: ${error.message}`));
    child.once('exit', (code, signal) => {
      if (late) settle(`timed out after ${timeoutSeconds} s`);
      else if (signal) settle(`ended by ${signal}`);
      else settle(code === 0 ? 'ok' : `exit status ${code}`);
    });
  });
}
