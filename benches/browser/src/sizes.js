// How much is stored and asked. Only data.

/** Of a whole run. */
export const FULL = {
  rows: 10_000, batch: 1_000, atOnce: 1_000, oneByOne: 400, last: 100, counted: 5_000, repeats: 20,
  payload: 100, longPayload: 1_000, blob: 1024 * 1024, blobs: 4, big: 300_000, coldGets: 1_000,
};

/** Of a run that a visitor waits for. */
export const SHORT = { ...FULL, rows: 3_000, atOnce: 300, oneByOne: 150, counted: 1_500, repeats: 10, blobs: 2 };

/** Of a test that only asks whether everything works. */
export const TINY = {
  ...FULL, rows: 200, batch: 50, atOnce: 20, oneByOne: 10, last: 10, counted: 100, repeats: 2, blobs: 1,
  big: 400, coldGets: 20,
};
