// A worker behind one message for each call and one for each answer, as one writes it in an afternoon.
// Never batches, and restarts nothing.

/** The page's end: `call(name, ...args)` asks the worker. */
export class Rpc {
  #worker;
  #waiting = new Map();
  #calls = 0;

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data: { id, value, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(value);
      else reject(new Error(error));
    };
    worker.onerror = ({ message }) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the worker failed: ${message ?? "not loaded"}`));
      this.#waiting.clear();
    };
  }

  call(name, ...args) {
    this.#calls += 1;
    const id = this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, name, args });
    });
  }

  end() {
    this.#worker.terminate();
  }
}

/** The worker's end: `open(...)` answers the store that the other calls go to. */
export function answerCalls(scope, open) {
  let store;
  const work = async (name, args) => {
    if (name !== "open") return store[name](...args);
    store = await open(...args);
    return undefined;
  };
  scope.onmessage = ({ data: { id, name, args } }) => {
    work(name, args).then((value) => scope.postMessage({ id, value }),
      (error) => scope.postMessage({ id, error: String(error?.stack ?? error) }));
  };
}

/** A store behind `rpc` with these calls. */
export function storeBehind(rpc, names) {
  const store = Object.fromEntries(names.map((name) => [name, (...args) => rpc.call(name, ...args)]));
  return { ...store, close: () => rpc.call("close").then(() => rpc.end()) };
}
