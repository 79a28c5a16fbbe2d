// As much of the WebDriver protocol as the tests need: start a driver, open a page, run scripts, quit.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Milliseconds that a driver may take until it listens. */
const START_MS = 30_000;
/** Milliseconds between two looks. */
const POLL_MS = 100;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A port that nobody uses now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Sends one command; answers its value. */
async function send(url, method, body) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}

async function listening(url, driver) {
  for (const end = Date.now() + START_MS; Date.now() < end; await pause(POLL_MS)) {
    if (driver.exitCode !== null) throw new Error(`the driver ended with status ${driver.exitCode}`);
    try {
      return await send(`${url}/status`, 'GET');
    } catch {
      // Not yet; the loop ends.
    }
  }
  throw new Error(`the driver did not listen within ${START_MS} ms`);
}

/**
 * Starts a browser driven through `command(port)`. `open(url)` loads a page in the current tab, `run(script)`
 * answers what a function body returns there, `quit()` ends browser and driver, `abandon()` the driver of a
 * browser that has gone.
 */
export async function startBrowser(command, capabilities) {
  const port = await freePort();
  const [program, ...args] = command(port);
  // A group of its own, so that what it starts ends with it.
  const driver = spawn(program, args, { stdio: 'ignore', detached: true });
  const failed = once(driver, 'error').then(([error]) => { throw error; });
  failed.catch(() => {});
  const abandon = async () => {
    if (driver.pid === undefined || driver.exitCode !== null || driver.signalCode !== null) return;
    process.kill(-driver.pid, 'SIGTERM');
    await once(driver, 'exit');
  };
  try {
    const url = `http://127.0.0.1:${port}`;
    await Promise.race([listening(url, driver), failed]);
    const started = await send(`${url}/session`, 'POST', { capabilities: { alwaysMatch: capabilities } });
    const session = `${url}/session/${started.sessionId}`;
    return {
      capabilities: started.capabilities,
      open: (page) => send(`${session}/url`, 'POST', { url: page }),
      run: (script) => send(`${session}/execute/sync`, 'POST', { script, args: [] }),
      url: () => send(`${session}/url`, 'GET'),
      back: () => send(`${session}/back`, 'POST', {}),
      tabs: () => send(`${session}/window/handles`, 'GET'),
      newTab: async () => (await send(`${session}/window/new`, 'POST', { type: 'tab' })).handle,
      switchTo: (handle) => send(`${session}/window`, 'POST', { handle }),
      closeTab: () => send(`${session}/window`, 'DELETE'),
      quit: () => send(session, 'DELETE').finally(abandon),
      abandon,
    };
  } catch (error) {
    await abandon();
    throw error;
  }
}

/** Runs `use(browser)` with a browser of its own. */
export async function withBrowser(command, capabilities, use) {
  const browser = await startBrowser(command, capabilities);
  try {
    return await use(browser);
  } finally {
    await browser.quit();
  }
}

/** Runs `script` again and again until it answers something; fails after `ms`. */
export async function until(browser, script, ms) {
  for (const end = Date.now() + ms; Date.now() < end; await pause(POLL_MS)) {
    const value = await browser.run(script);
    if (value) return value;
  }
  throw new Error(`nothing within ${ms} ms: ${script}`);
}
