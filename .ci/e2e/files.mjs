// Tests that need no browser: the data, the three digests, keys in JavaScript, the server.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { serve } from '../serve.mjs';

/** Status and headers for a path as it is, which `fetch` would tidy up first. */
function raw(url, path, method = 'GET') {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, method }, (response) => {
      response.resume();
      resolve({ status: response.statusCode, type: response.headers['content-type'] });
    }).on('error', reject).end();
  });
}

/** A part of a key as the vector file writes it, in JavaScript's own terms. */
function part(encoder, described) {
  const times = described.times ?? 1;
  const [tag, value] = Object.entries(described).find(([name]) => name !== 'times');
  const bytes = () => Uint8Array.from(Buffer.from(value.repeat(times), 'hex'));
  const parts = () => value.map((each) => part(encoder, each));
  switch (tag) {
    case 'str': return value.repeat(times);
    case 'bytes': return bytes();
    case 'raw': return encoder.Key.from(bytes());
    case 'text': return encoder.text(value.repeat(times));
    case 'text_prefix': return encoder.text.prefix(value.repeat(times));
    case 'i64': return BigInt(value);
    case 'u64': return encoder.u64(BigInt(value));
    case 'u8': return encoder.u8(value);
    case 'bool': return value;
    case 'char': return encoder.u8(value.charCodeAt(0));
    case 'enum': return value;
    case 'tuple': return parts();
    case 'key': return encoder.key(...parts());
    default: throw new Error(`unknown part ${tag}`);
  }
}

/** The type with which a part is read back, and what is read, for a part as the vector file writes it. */
function readBack(encoder, described) {
  const value = part(encoder, described);
  const all = (parts) => {
    const read = parts.map((each) => readBack(encoder, each));
    return [read.map(([type]) => type), read.map(([, each]) => each)];
  };
  const [tag, written] = Object.entries(described).find(([name]) => name !== 'times');
  switch (tag) {
    case 'str': return ['string', value];
    case 'text': return ['text', written];
    case 'raw': return ['rest', value];
    case 'text_prefix': return ['rest', encoder.key(value)];
    case 'u64': return ['u64', BigInt(written)];
    case 'u8': return ['u8', written];
    case 'bool': return ['boolean', value];
    case 'char': return ['u8', written.charCodeAt(0)];
    case 'enum': return ['i64', BigInt(value)];
    case 'tuple': case 'key': return all(written);
    default: return [tag, value];
  }
}

/** The tests of the key encoder against the vectors that the Rust one is held to. */
function keyTests(root) {
  const vectors = JSON.parse(readFileSync(join(root, 'tests', 'vectors', 'keys.json'), 'utf8'));
  const load = () => import(pathToFileURL(join(root, 'pkg', 'index.js')));
  const keyOf = (encoder, parts) => encoder.key(...parts.map((each) => part(encoder, each)));
  const hex = (bytes) => Buffer.from(bytes).toString('hex');
  const kind = (expected) => (error) => error.name === 'PersistencyError' && error.kind === expected;
  return {
    'JavaScript keys have the bytes of their vectors': async () => {
      const encoder = await load();
      assert.ok(vectors.keys.length > 50);
      for (const { parts, hex: expected } of vectors.keys) {
        assert.equal(hex(keyOf(encoder, parts)), expected, JSON.stringify(parts));
      }
      for (const [a, b] of vectors.same) assert.equal(hex(keyOf(encoder, a)), hex(keyOf(encoder, b)));
    },
    'JavaScript lists of keys ascend': async () => {
      const encoder = await load();
      for (const keys of vectors.ascending) {
        const bytes = keys.map((parts) => Buffer.from(keyOf(encoder, parts)));
        bytes.slice(1).forEach((next, at) => assert.ok(Buffer.compare(bytes[at], next) < 0, JSON.stringify(keys[at])));
      }
    },
    'JavaScript prefix ranges end where their vectors say': async () => {
      const encoder = await load();
      for (const { prefix, stop } of vectors.prefix_ranges) {
        const { start, end } = encoder.prefixRange(encoder.Key.from(Buffer.from(prefix, 'hex')));
        assert.deepEqual([hex(start), end === undefined ? null : hex(end)], [prefix, stop]);
      }
    },
    'JavaScript keys beyond a limit are TooLarge': async () => {
      const encoder = await load();
      for (const parts of vectors.too_large) assert.throws(() => keyOf(encoder, parts), kind('TooLarge'));
    },
    'JavaScript reads the parts of every vector back': async () => {
      const encoder = await load();
      for (const { parts, hex: bytes } of vectors.keys) {
        const [types, values] = readBack(encoder, { tuple: parts });
        assert.deepStrictEqual(encoder.decodeKey(Buffer.from(bytes, 'hex'), ...types), values, bytes);
      }
    },
    'a key that ends early or goes on is InvalidArgument to the JavaScript decoder': async () => {
      const encoder = await load();
      let refused = 0;
      for (const { parts, hex: bytes } of vectors.keys) {
        const [types] = readBack(encoder, { tuple: parts });
        if (types.includes('rest')) continue;
        const whole = encoder.key(...parts.map((each) => part(encoder, each)));
        const wrong = Array.from(whole, (_, end) => whole.subarray(0, end));
        for (const key of [...wrong, encoder.key(whole, encoder.u8(0))]) {
          assert.throws(() => encoder.decodeKey(key, ...types), kind('InvalidArgument'), bytes);
          refused += 1;
        }
      }
      assert.ok(refused > 300);
    },
    'whatever the JavaScript decoder reads is written as the same bytes, the rest is InvalidArgument': async () => {
      const { Key, decodeKey, key, text, u64, u8 } = await load();
      const writers = {
        string: (value) => value, bytes: (value) => value, i64: (value) => value, u64, u8,
        boolean: (value) => value, text, rest: (value) => value,
      };
      const names = Object.keys(writers);
      const read = Object.fromEntries(names.map((name) => [name, 0]));
      let state = 7;
      const random = (below) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return (state >>> 8) % below;
      };
      for (let round = 0; round < 40_000; round += 1) {
        // Few values, so that lengths, ends and escapes come about often.
        const bytes = Key.from({ length: random(12) }, () => [0, 0, 1, 2, 0x61, 0xff][random(6)]);
        const types = Array.from({ length: 1 + random(2) }, () => names[random(names.length)]);
        try {
          const values = decodeKey(bytes, ...types);
          assert.deepEqual(key(...values.map((value, at) => writers[types[at]](value))), bytes);
          for (const type of types) read[type] += 1;
        } catch (error) {
          assert.equal(error.kind, 'InvalidArgument', String(error));
        }
      }
      assert.ok(Object.values(read).every((count) => count > 20), JSON.stringify(read));
    },
    'what no JavaScript key is made of is InvalidArgument to its decoder': async () => {
      const { decodeKey, key, text } = await load();
      const detached = key('a');
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      const wrong = [
        () => decodeKey(Uint8Array.of(2), 'boolean'), () => decodeKey(Uint8Array.of(0, 1, 0xff), 'string'),
        () => decodeKey(Uint8Array.of(0x61, 0, 2), 'text'), () => decodeKey(Uint8Array.of(0xff, 0, 1), 'text'),
        () => decodeKey(Uint8Array.of(0xed, 0xa0, 0x80, 0, 1), 'text'), () => decodeKey(key('a'), 'rest', 'u8'),
        () => decodeKey('a', 'string'), () => decodeKey(null), () => decodeKey([0, 0], 'string'),
        () => decodeKey(key('a'), 'toString'), () => decodeKey(key('a'), 'i32'), () => decodeKey(key('a'), undefined),
        () => decodeKey(key('a')), () => decodeKey(detached, 'string'),
      ];
      for (const read of wrong) assert.throws(read, kind('InvalidArgument'), String(read));
      assert.deepEqual(decodeKey(key(text('\ufeffa'), '\ufeff'), 'text', 'string'), ['\ufeffa', '\ufeff']);
    },
    'what JavaScript cannot encode is InvalidArgument': async () => {
      const { key, text, u64, u8 } = await load();
      const wrong = [
        () => key(0.5), () => key(2 ** 53), () => key(NaN), () => key(2n ** 63n), () => key(-(2n ** 63n) - 1n),
        () => key(null), () => key(undefined), () => key({}), () => key('\ud800'), () => text('\udc00'),
        () => text(7), () => u64(-1), () => u64(2n ** 64n), () => u8(256), () => u8(-1), () => u8(1.5),
      ];
      for (const make of wrong) assert.throws(make, kind('InvalidArgument'), String(make));
    },
  };
}

function serverTests(server, root) {
  return {
    'a server lets browsers keep only what lies under the path that it is told': async () => {
      const site = await serve({ '/': join(root, 'www'), '/kept/': join(root, 'www') }, 0, undefined, '/kept/');
      const caching = async (path) => (await fetch(new URL(path, site.url))).headers.get('cache-control');
      assert.deepEqual([await caching('icon.svg'), await caching('kept/icon.svg')], ['no-store', 'max-age=3600']);
      await site.close();
    },
    'the demo server gives scripts and wasm the types that browsers ask for': async () => {
      const types = {
        '/': 'text/html; charset=utf-8', '/demo.js': 'text/javascript; charset=utf-8',
        '/pkg/worker.js': 'text/javascript; charset=utf-8', '/pkg/persistency.wasm': 'application/wasm',
        '/data/Blocks.txt': 'text/plain; charset=utf-8', '/native/report.json': 'application/json',
      };
      for (const [path, type] of Object.entries(types)) assert.deepEqual(await raw(server.url, path), { status: 200, type });
    },
    'the demo server gives no file outside its folders': async () => {
      const paths = [
        '/../Cargo.toml', '/pkg/../../Cargo.toml', '/..%2fCargo.toml', '/data/%2e%2e/%2e%2e/Cargo.toml',
        '/data/..%2f..%2f..%2fetc%2fpasswd', '/data//etc/passwd', '/%2fetc%2fpasswd', '/..%5cCargo.toml', '/data/', '/%00',
      ];
      for (const path of paths) assert.equal((await raw(server.url, path)).status, 404, path);
      assert.equal((await raw(server.url, '/%ff')).status, 400);
      assert.equal((await raw(server.url, '/', 'POST')).status, 405);
    },
  };
}

export function make({ root, native, digest, server }) {
  const tests = {
    'the Unicode data has a line for every code point it knows': () => {
      const lines = readFileSync(join(root, 'data', 'UnicodeData.txt'), 'utf8').trimEnd().split('\n');
      assert.equal(lines.length, 34_924);
      assert.ok(lines.every((line) => line.split(';').length === 15));
    },
    'the native quickstart has the digest that the text files give without a database': () => {
      assert.match(digest, /^[0-9a-f]{64}$/);
      assert.equal(native.digest, digest);
    },
    ...keyTests(root),
    ...serverTests(server, root),
  };
  return { tests };
}
