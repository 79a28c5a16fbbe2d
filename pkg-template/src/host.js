// The side on which the wasm instance runs: loads it, hands it frames, and says so when it can no more.
// Decides nothing; what a call means is the crate's business.

import { MEMORY, SPOKEN, wasmAddress } from "./protocol.js";
import init, { hello, leaveRoot, openRoot, receiveFrame } from "./wasm/persistency.js";

/** A wasm instance that has trapped must not be called again: what it holds is no longer sound. */
const isFatal = (error) => error instanceof WebAssembly.RuntimeError;

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
      const module = (protocol === SPOKEN ? wasmModule : undefined) ?? wasmUrl ?? wasmAddress(everything);
      await init({ module_or_path: module });
    } catch (error) {
      const advice = `it is ${everything ? MEMORY_WASM_FILE : WASM_FILE} of the package, which the option wasmUrl names where it is served ` +
        "elsewhere, and a Content-Security-Policy must allow 'wasm-unsafe-eval'";
      return post({ failed: `the wasm module could not be loaded: ${error?.message ?? error}; ${advice}` });
    }
    try {
      opened = openRoot(new TextEncoder().encode(root), (frame) => post(frame, [frame.buffer]));
    } catch (error) {
      if (!(error instanceof Uint8Array)) throw error;
      return post({ error });
    }
    post({ hello: hello() });
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
