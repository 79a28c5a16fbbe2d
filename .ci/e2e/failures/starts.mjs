// A worker or a wasm module that cannot be had, places without storage, buffers that go away.

import assert from 'node:assert/strict';

/** Opens a root with these options and writes and reads through it; where it works, or why not. */
const tryOut = (options) => [async (lab, given) => {
  const opened = await lab.told(lab.Persistency.open('root', given).then(async (root) => {
    const job = await root.openJob('alpha');
    await job.putAcked('c', lab.key(1), 'v');
    const found = new TextDecoder().decode(await job.get('c', lab.key(1)));
    const { mode } = await job.info();
    await root.close();
    return `${found} ${mode}`;
  }));
  return opened.value ?? `${opened.kind}: ${opened.message}`;
}, options];

const SCRIPTS = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";
const csp = (policy) => `?csp=${encodeURIComponent(policy)}`;

/** A worker that cannot start is replaced by the page itself, unless one is required. */
async function withoutWorker(tab, path, options) {
  const { run } = await tab(path);
  assert.equal(await run(...tryOut(options)), 'v page');
  assert.match(await run(...tryOut({ ...options, worker: 'required' })),
    /^Unsupported: the worker could not be started.*workerUrl/);
  assert.equal(await run(...tryOut({ ...options, worker: 'none' })), 'v page');
}

/** Opens a root and a job of it; the wasm files that the page has loaded until then, at least `wanted`. */
const wasmLoadedFor = (root, options, wanted) => [async (lab, name, given, least) => {
  const opened = await lab.Persistency.open(name, given);
  await opened.openJob('alpha');
  await opened.close();
  const files = () => performance.getEntriesByType('resource').map((entry) => entry.name.split('/').at(-1))
    .filter((file) => file.endsWith('.wasm'));
  // They are entered a little later than they are there.
  for (let looks = 0; looks < 500 && !files().includes(least); looks += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  return [...new Set(files())].sort();
}, root, options, wanted];

export const starts = [
  {
    fact: 'the wasm with roots in memory is loaded for these, and where the page does the work itself',
    async run({ tab }) {
      const [core, memory] = ['persistency.wasm', 'persistency-memory.wasm'];
      const { run } = await tab('/');
      assert.deepEqual(await run(...wasmLoadedFor('root', {}, core)), [core]);
      assert.deepEqual(await run(...wasmLoadedFor(':memory:', {}, memory)), [memory, core]);
      const another = await tab('/');
      assert.deepEqual(await another.run(...wasmLoadedFor('root', { worker: 'none' }, memory)), [memory]);
      assert.deepEqual(await another.run(...wasmLoadedFor(':memory:', { worker: 'none' }, memory)), [memory]);
    },
  },
  {
    fact: 'a root in memory is Unsupported where the wasm that was named has none, and the message names the one that has',
    async run({ tab }) {
      const { run } = await tab('/');
      const said = await run(async (lab) => (await lab.told(lab.Persistency.open(':memory:', { wasmUrl: '/pkg/persistency.wasm' }))));
      assert.equal(said.kind, 'Unsupported');
      assert.match(said.message, /persistency-memory\.wasm/);
    },
  },
  {
    fact:
      'a worker script that is not there is replaced by the page, or Unsupported where a worker is required',
    run: ({ tab }) => withoutWorker(tab, '/', { workerUrl: '/missing/worker.js' }),
  },
  {
    fact:
      'a worker script of the wrong MIME type is replaced by the page, or Unsupported where it is required',
    run: ({ tab }) => withoutWorker(tab, '/', { workerUrl: '/mime/worker.js' }),
  },
  {
    fact:
      'a worker that the page\'s policy forbids is replaced by the page, or Unsupported where it is required',
    run: ({ tab }) => withoutWorker(tab, `/${csp(`${SCRIPTS}; worker-src 'none'`)}`, {}),
  },
  {
    fact: 'a worker script that the server never sends is replaced by the page after half a minute',
    slow: true,
    async run({ tab }) {
      const { run } = await tab('/');
      assert.equal(await run(...tryOut({ workerUrl: '/never/worker.js' })), 'v page');
    },
  },
  {
    fact: 'a wasm module of the wrong MIME type is loaded nevertheless',
    async run({ tab }) {
      const { run } = await tab('/');
      for (const worker of ['required', 'none']) {
        const where = worker === 'none' ? 'page' : 'worker';
        assert.equal(await run(...tryOut({ worker, wasmUrl: '/mime/persistency.wasm' })), `v ${where}`);
      }
    },
  },
  {
    fact: 'a wasm module that is not there is Unsupported, and the message says how to name it',
    async run({ tab }) {
      const { run } = await tab('/');
      for (const worker of ['auto', 'required', 'none']) {
        const said = await run(...tryOut({ worker, wasmUrl: '/missing/persistency.wasm' }));
        assert.match(said, /^Unsupported: the wasm module could not be loaded.*wasmUrl/);
      }
    },
  },
  {
    fact: "a Content-Security-Policy without 'wasm-unsafe-eval' is Unsupported, and the message says so",
    async run({ tab }) {
      const policy = csp("default-src 'self'");
      const { run } = await tab(`/${policy}`);
      // A worker has the policy of its own script's response.
      for (const options of [{ worker: 'none' }, { workerUrl: `/pkg/worker.js${policy}` }]) {
        assert.match(await run(...tryOut(options)),
          /^Unsupported: the wasm module could not be loaded.*'wasm-unsafe-eval'/);
      }
      assert.equal(await run(...tryOut({})), 'v worker');
    },
  },
  {
    fact: 'a worker of another version of the package is Unsupported',
    async run({ tab }) {
      const { run } = await tab('/');
      assert.match(await run(...tryOut({ workerUrl: '/protocol.js' })),
        /^Unsupported: the worker speaks protocol 4000000/);
    },
  },
  {
    fact: 'a sandboxed frame of an opaque origin is Unsupported',
    async run({ tab }) {
      const { run } = await tab('/');
      const told = await run(() => new Promise((resolve) => {
        addEventListener('message', ({ data }) => resolve(data), { once: true });
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        frame.src = '/sandboxed.html';
        document.body.append(frame);
      }));
      const { name, kind, outcome, message } = told;
      assert.deepEqual([name, kind, outcome], ['PersistencyError', 'Unsupported', 'NotApplied'], message);
    },
  },
  {
    fact: 'an estimate that the browser throws at or does not have is left out, and jobs work',
    async run({ tab }) {
      const { run } = await tab('/');
      assert.equal(typeof (await run((lab) => lab.estimate())).quota, 'number');
      const told = await run(async (lab) => {
        for (const name of ['estimate', 'persisted', 'persist']) {
          StorageManager.prototype[name] =
            () => { throw new TypeError('Internal error when calculating storage usage.'); };
        }
        const thrown = [await lab.estimate(), await lab.requestPersistence()];
        StorageManager.prototype.estimate = () => Promise.reject(new TypeError('the same, later'));
        thrown.push(await lab.estimate());
        Object.defineProperty(navigator, 'storage', { value: undefined });
        return [...thrown, await lab.estimate(), await lab.requestPersistence()];
      });
      assert.deepEqual(told, [{}, false, {}, {}, false]);
      assert.equal(await run(...tryOut({})), 'v worker');
    },
  },
  {
    fact: 'buffers are copied before a call returns, and transferred ones are InvalidArgument',
    async run({ tab }) {
      const { run } = await tab('/');
      const found = await run(async (lab) => {
        const root = await lab.Persistency.open('root');
        const job = await root.openJob('alpha');
        const told = [];
        const gone = new Uint8Array(8);
        structuredClone(gone.buffer, { transfer: [gone.buffer] });
        for (const call of [() => job.putAcked('c', lab.key(1), gone), () => job.putAcked('c', gone, 'v'),
          () => job.get('c', gone)]) {
          told.push((await lab.told(call())).kind);
        }
        // Each is changed under the call while it is under way, and while no worker is there.
        for (const [at, live] of [[1, true], [2, false]]) {
          const buffers = {
            plain: new ArrayBuffer(8), resizable: new ArrayBuffer(8, { maxByteLength: 16 }),
            memory: new WebAssembly.Memory({ initial: 1 }).buffer,
          };
          for (const [name, buffer] of Object.entries(buffers)) {
            if (!live) root.terminate();
            const [key, payload] = [new Uint8Array(buffer, 0, 3), new Uint8Array(buffer, 3, 5)];
            key.set([at, name.length, 7]);
            payload.fill(9);
            const put = job.putAcked('c', key, payload);
            if (name === 'resizable') buffer.resize(1);
            else if (name === 'plain') structuredClone(buffer, { transfer: [buffer] });
            else new Uint8Array(buffer).fill(0);
            const done = await lab.told(put);
            const stored = await job.get('c', Uint8Array.of(at, name.length, 7));
            told.push(done.kind ?? String(stored));
          }
        }
        return told;
      });
      assert.deepEqual(found, [...Array(3).fill('InvalidArgument'), ...Array(6).fill('9,9,9,9,9')]);
    },
  },
];
