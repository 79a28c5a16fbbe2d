// The side on which the wasm instance runs: loads it, hands it frames, and says so when it can no more.
// Decides nothing; what a call means is the crate's business.

import { MEMORY, SPOKEN, wasmAddress } from "./protocol.js";
import { begin, hello, imports, leaveRoot, openRoot, receiveFrame } from "./wasm/persistency.js";

/** A wasm instance that has trapped must not be called again: what it holds is no longer sound. */
const isFatal = (error) => error instanceof WebAssembly.RuntimeError;

/** A promise of the instance, which all roots of a page share. */
let instance;
/** The last root's number in it. */
let last = 0;

/** The next root tries again. */
function failed(error) {
  instance = undefined;
  throw error;
}

/** Makes the instance of a compiled module, or of the file at an address. */
async function load(from) {
  let module = from;
  if (!(from instanceof WebAssembly.Module)) {
    const response = await fetch(from);
    if (!response.ok) throw new Error(`${response.status} ${response.statusText} for ${response.url}`);
    // Only whole, as whoever gives no module has tried while it came in, which fails where a server misnames its type.
    module = await WebAssembly.compile(await response.arrayBuffer());
  }
  begin((await WebAssembly.instantiate(module, imports)).exports);
}

/**
 * Serves one root: `post(message, transfer)` is given what goes back. In a page, `isOurs` tells whose wasm has trapped.
 *
 * Returns what takes the messages of the other side: first `{ protocol, root, wasmUrl, wasmModule }`, then
 * frames, and at the end perhaps `{ leave: true }`.
 */
export function serve(post, isOurs) {
  const inPage = isOurs !== undefined;
  /** Its number in the instance, once it is open. */
  let opened;
  let dead = false;

  function end() {
    dead = true;
    globalThis.removeEventListener?.("error", trapped);
    globalThis.removeEventListener?.("unhandledrejection", trapped);
  }

  function die(error) {
    if (dead) return;
    end();
    post({ fatal: String(error?.message ?? error) });
  }

  /** Traps outside a call, in one of the crate's own tasks. */
  function trapped({ error, reason = error }) {
    if (isFatal(reason) && (!inPage || isOurs(reason))) die(reason);
  }
  globalThis.addEventListener?.("error", trapped);
  globalThis.addEventListener?.("unhandledrejection", trapped);

  async function start({ protocol, root, wasmUrl, wasmModule }) {
    const everything = inPage || root === MEMORY;
    try {
      // The module of a page of another version is not ours; what hello() says tells that page.
      const ours = protocol === SPOKEN ? wasmModule : undefined;
      await (instance ??= load(ours ?? wasmUrl ?? wasmAddress(everything)).catch(failed));
    } catch (error) {
      const advice = `it is ${everything ? MEMORY_WASM_FILE : WASM_FILE} of the package, which the option wasmUrl names where it is served ` +
        "elsewhere, and a Content-Security-Policy must allow 'wasm-unsafe-eval'";
      return post({ failed: `the wasm module could not be loaded: ${error?.message ?? error}; ${advice}` });
    }
    // It may have been left while it was loaded.
    if (dead) return;
    openRoot(opened = ++last, new TextEncoder().encode(root), {
      post(frame) {
        try {
          post(frame, [frame.buffer]);
        } catch {
          // Nobody is left who could be told.
        }
      },
      refuse(error) {
        opened = undefined;
        post({ error });
      },
    });
    // A list in every version, which begins with this.
    if (opened) post({ hello: [hello()] });
  }

  return async (message) => {
    if (dead) return;
    try {
      if (message instanceof Uint8Array) {
        if (opened === undefined || !receiveFrame(opened, message)) die("a frame is malformed");
      } else if (message.leave) {
        if (opened !== undefined) leaveRoot(opened);
        end();
      } else {
        await start(message);
      }
    } catch (error) {
      die(error);
    }
  };
}
