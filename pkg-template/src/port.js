// Where the wasm instance runs: a Web Worker of its own, or this page. Both look the same from here.
// Never reads what passes.

import { PersistencyError } from "./error.js";

/** What helps where a worker that exists in the package cannot be loaded. */
const ADVICE =
  'with Vite 5 to 7 in development, add "persistency" to optimizeDeps.exclude in its configuration; ' +
  `otherwise serve ${WORKER_FILE} of the package and name it in the option workerUrl, and allow it in the page's ` +
  "Content-Security-Policy (worker-src)";

/** What is said where a page has no workers at all. */
const NEEDS = "persistency needs a browser page or worker: Worker, WebAssembly and IndexedDB";

export const unsupported = (message, cause) => new PersistencyError("Unsupported", message, { cause });

/**
 * Starts a worker. Messages go to `receive`, the news that it can no more to `failed`.
 *
 * Returns `{ post, close }`.
 */
export function workerPort({ workerUrl }, receive, failed) {
  if (typeof Worker === "undefined") throw unsupported(`there are no workers here; ${NEEDS}`);
  let worker;
  try {
    // Bundlers look for exactly the second.
    worker = workerUrl !== undefined
      ? new Worker(workerUrl, { type: "module" })
      : new Worker(new URL(`./${WORKER_FILE}`, import.meta.url), { type: "module" });
  } catch (error) {
    throw unsupported(`the worker could not be started: ${error.message}; ${ADVICE}`, error);
  }
  worker.onmessageerror = () => failed("a message could not be read");
  let heard = false;
  worker.onmessage = ({ data }) => {
    heard = true;
    receive(data);
  };
  // Before its first word such an error means that its script could not be loaded. Later ones are not
  // fatal by themselves: the worker tells which are.
  worker.onerror = ({ message }) => {
    if (!heard) failed(`its script could not be loaded${message ? ` (${message})` : ""}; ${ADVICE}`);
  };
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    close() {
      worker.onmessage = worker.onmessageerror = worker.onerror = null;
      worker.terminate();
    },
  };
}

/** The same in this page, which then does the work itself. */
export async function pagePort(receive) {
  if (typeof WebAssembly === "undefined") throw unsupported(`there is no WebAssembly here; ${NEEDS}`);
  let open = true;
  // Bundlers make it a file of its own, which only those load who need it.
  const { serve } = await import("./page.js");
  const deliver = serve((message) => open && receive(message));
  return {
    post: (message) => queueMicrotask(() => deliver(message)),
    close() {
      open = false;
      deliver({ leave: true });
    },
  };
}
