// Inside a frame: starts as a page does, or holds a database open as a second tab does.

import { keyOf, noise } from "./data.js";
import { peerOf } from "./peers.js";
import { FULL } from "./sizes.js";

const { what, peer: id, database } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const tell = (message) => parent.postMessage(message, location.origin);

async function start() {
  const payload = noise(FULL.payload, 1);
  const peer = await peerOf(id);
  const store = await peer.open(database);
  await store.put(keyOf(1), payload);
  // Counted from when this page was navigated to.
  const ms = performance.now();
  await store.close();
  tell({ ms });
}

async function second() {
  const peer = await peerOf(id);
  const store = await peer.open(database);
  await store.get(keyOf(0));
  addEventListener("message", () => store.close().then(() => tell({})), { once: true });
  tell({});
}

await (what === "start" ? start() : second()).catch((error) => tell({ error: String(error?.stack ?? error) }));
