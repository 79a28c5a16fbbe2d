// Which tab ships: a Web Lock chooses one of those that attach the same job, and a channel of the same name carries
// what the others want to be shipped at once. Where there are no Web Locks, each ships.

export class Candidate {
  #name;
  #channel;
  #stop = new AbortController();
  #release;

  /** `asked` takes seqs from others. */
  constructor(name, asked) {
    this.#name = name;
    this.#channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(name) : undefined;
    this.#channel?.addEventListener("message", ({ data }) => {
      if (typeof data === "bigint" && BigInt.asUintN(64, data) === data) asked(data);
    });
  }

  /** Resolves when this one is chosen; never rejects. */
  chosen() {
    return new Promise((resolve) => {
      const { locks } = globalThis.navigator ?? {};
      if (!locks) return resolve();
      const held = new Promise((release) => {
        this.#release = release;
      });
      const hold = () => {
        resolve();
        return held;
      };
      // Refused where this place may have no locks; aborted by leave().
      locks.request(this.#name, { signal: this.#stop.signal }, hold).catch(resolve);
    });
  }

  ask(seq) {
    this.#channel?.postMessage(seq);
  }

  /** Lets another one be chosen. */
  leave() {
    this.#stop.abort();
    this.#release?.();
    this.#channel?.close();
  }
}
