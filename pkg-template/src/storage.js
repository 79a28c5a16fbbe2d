// What the browser tells of the room it gives this origin. Never fails: what it does not tell is left out.

/** Bytes that the origin uses and may use, and whether the browser keeps them when it runs out of room. */
export async function estimate() {
  const storage = globalThis.navigator?.storage;
  const told = {};
  try {
    const { usage, quota } = await storage.estimate();
    if (Number.isFinite(usage)) told.usage = usage;
    if (Number.isFinite(quota)) told.quota = quota;
  } catch {
    // Some browsers have no such method, and some let it fail.
  }
  try {
    told.persisted = await storage.persisted();
  } catch {
    // As above.
  }
  return told;
}

/** Asks the browser to keep this origin's data when it runs out of room; whether it promised to. */
export async function requestPersistence() {
  try {
    return (await globalThis.navigator.storage.persist()) === true;
  } catch {
    return false;
  }
}
