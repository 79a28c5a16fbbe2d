// Runs `src/sds.js` in Chromium with the built package and a profile on disk, and prints what it measured.
// Ends only what it started.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChromium } from '../../.ci/e2e/tabs.mjs';
import { serve } from '../../.ci/serve.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const flags = JSON.parse(readFileSync(join(root, '.ci', 'webdriver.json'), 'utf8'));

mkdirSync(join(root, 'target', 'bench'), { recursive: true });
const profile = mkdtempSync(join(root, 'target', 'bench', 'sds-'));
const server = await serve({ '/bench/': join(here, 'src'), '/pkg/': join(root, 'pkg') }, 0);
try {
  const browser = await startChromium({ flags }, profile);
  try {
    const tab = await browser.tab(`${server.url}bench/sds.html`);
    console.table(await tab.run((lab) => lab.run()));
  } finally {
    await browser.close();
  }
} finally {
  await server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
