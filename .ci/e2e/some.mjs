// Runs some of the API tests over the package as it is in pkg/: `node .ci/e2e/some.mjs 'Firefox, worker: sds'` those
// whose names hold these words. Builds nothing; for whoever works on the package. CI runs run.mjs.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as api from './api.mjs';
import { runAll } from './run-all.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Browsers leave files behind.
const scratch = mkdtempSync('/tmp/e2e-');
process.env.TMPDIR = scratch;
try {
  const flags = JSON.parse(readFileSync(join(root, '.ci', 'webdriver.json'), 'utf8'));
  const { passed, failed } = await runAll([api.make({ root, flags })], process.argv[2]);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
