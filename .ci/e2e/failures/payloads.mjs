// Payloads of every size, and ranges larger than a browser's messages.

import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { openJob } from './tabs.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [0, 1, 32 * KIB, 32 * KIB + 1, 63 * KIB, 64 * KIB - 1, 64 * KIB, 65 * KIB, MIB, 16 * MIB,
  64 * MIB];

/** Files in the profile that a browser made for values which it does not keep in the database itself. */
function outside(profile) {
  return readdirSync(profile, { recursive: true }).map(String)
    .filter((path) => /\.indexeddb\.blob\/|\/idb\/[^/]+\.files\//.test(path))
    .filter((path) => statSync(join(profile, path)).isFile())
    .filter((path) => !path.endsWith('/journals'));
}

export const payloads = [
  {
    fact:
      'payloads from 0 bytes to the limit come back as they were, in another tab too; larger ones are TooLarge',
    async run({ tab, profile }) {
      const [ours, other] = [await tab('/'), await tab('/')];
      await ours.run(openJob);
      const written = await ours.run(async (lab, sizes) => {
        const { job } = lab.kept;
        for (const size of sizes) await job.putAcked('c', lab.key(size), lab.bytes(size, size % 97));
        const beyond = await lab.told(job.putAcked('c', lab.key(9),
          new Uint8Array(lab.limits().payloadBytes + 1)));
        return { limit: lab.limits().payloadBytes, beyond: `${beyond.kind} ${beyond.outcome}` };
      }, SIZES);
      assert.deepEqual(written, { limit: SIZES.at(-1), beyond: 'TooLarge NotApplied' });
      await other.run(openJob);
      const read = await other.run(async (lab, sizes) => {
        const wrong = [];
        for (const size of sizes) {
          const payload = await lab.kept.job.get('c', lab.key(size));
          if (!payload || !lab.same(payload, lab.bytes(size, size % 97))) wrong.push(size);
        }
        return { wrong, check: await lab.kept.job.check() };
      }, SIZES);
      assert.deepEqual(read, { wrong: [], check: [] });
      assert.deepEqual(outside(profile), []);
    },
  },
  {
    fact: 'a range of 300 MB is read by pages, and is TooLarge as a whole',
    async run({ tab }) {
      const ours = await tab('/');
      await ours.run(openJob);
      const found = await ours.run(async (lab, mib) => {
        const { job } = lab.kept;
        const payload = lab.bytes(2 * mib);
        for (let number = 0; number < 144; number += 1) await job.persistPut('c', lab.key(number), payload);
        await job.flush();
        const whole = await lab.told(job.scan('c'));
        let [rows, bytes, right] = [0, 0, true];
        for await (const row of job.rows('c')) {
          rows += 1;
          bytes += row.payload.length;
          right &&= row.payload[12_345] === payload[12_345];
        }
        await job.persistAcked(new lab.Batch().clear('c'));
        return { whole: whole.kind, rows, large: bytes > 300_000_000, right };
      }, MIB);
      assert.deepEqual(found, { whole: 'TooLarge', rows: 144, large: true, right: true });
    },
  },
];
