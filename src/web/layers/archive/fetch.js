// One HTTP exchange of an archive's store, bounded in time and in bytes. Never repeats one, and never rejects: what
// went wrong is an answer too. The protocol is in pkg-template/docs/archive.md.

/** Statuses that no server answers: what became of an exchange without an answer. */
const FAILED = { network: 0, late: 1, large: 2 };
/** Characters of what a server says about a failure. */
const WORDS_MAX = 200;

export class Exchange {
  #stop = new AbortController();

  /** Resolves with `[status, bytes]`; or, of what was not answered well, with `[status, words]`. */
  async run(method, url, headers, credentials, body, timeoutMs, bytesMax) {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#stop.abort();
    }, timeoutMs);
    try {
      const pairs = headers.flatMap((name, at) => (at % 2 === 0 ? [[name, headers[at + 1]]] : []));
      // What is kept on the way would be believed to be the store; a redirect would take the headers elsewhere.
      const response = await fetch(url, { method, headers: pairs, credentials, body, signal: this.#stop.signal,
        cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" });
      const bytes = await read(response, bytesMax);
      if (bytes === undefined) return [FAILED.large, `more than ${bytesMax} bytes`];
      if (response.ok) return [response.status, bytes];
      return [response.status, new TextDecoder().decode(bytes).trim().slice(0, WORDS_MAX)];
    } catch (error) {
      if (late) return [FAILED.late, `no answer in ${timeoutMs} ms`];
      return [FAILED.network, String(error?.message ?? error)];
    } finally {
      clearTimeout(timer);
    }
  }

  abort() {
    this.#stop.abort();
  }
}

/** The body, unless it is larger than that. */
async function read(response, bytesMax) {
  const parts = [];
  let length = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = reader ? await reader.read() : { done: true };
    if (done) break;
    length += value.length;
    if (length > bytesMax) {
      reader.cancel().catch(() => {});
      return undefined;
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
