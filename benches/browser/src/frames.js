// The page's side of its frames: a cold start, and a second tab. A frame of the same origin has a realm,
// connections, locks and a worker of its own, as another tab has.

/** Milliseconds that a frame may take. */
const FRAME_MS = 60_000;

/** Opens the frame and resolves with the frame and what it first says. */
async function open(base, what, peer, database) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = new URL(`frame.html#${new URLSearchParams({ what, peer, database })}`, base).href;
  const said = hear(frame);
  document.body.append(frame);
  try {
    return { frame, said: await said };
  } catch (error) {
    frame.remove();
    throw error;
  }
}

function hear(frame) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      clearTimeout(late);
      removeEventListener("message", take);
      settle(value);
    };
    const late = setTimeout(() => end(reject, new Error(`a frame said nothing for ${FRAME_MS} ms`)), FRAME_MS);
    const take = ({ source, data }) => {
      if (source !== frame.contentWindow) return;
      if (data.error === undefined) end(resolve, data);
      else end(reject, new Error(data.error));
    };
    addEventListener("message", take);
  });
}

/** Milliseconds that a new page takes until its first put is committed. */
export async function coldStart(base, peer, database) {
  const { frame, said } = await open(base, "start", peer, database);
  frame.remove();
  return said.ms;
}

/** Has the database open in a second tab; answers what closes it. */
export async function secondTab(base, peer, database) {
  const { frame } = await open(base, "second", peer, database);
  return async () => {
    const closed = hear(frame);
    frame.contentWindow.postMessage("close", location.origin);
    await closed;
    frame.remove();
  };
}
