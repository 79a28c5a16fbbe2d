// What tests in a page say of values: as much of an assertion library as they need.

/** A value as text: equal values, and no others, have the same. */
export function show(value) {
  if (value instanceof Uint8Array) {
    return `<${Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")}>`;
  }
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "object" || value === null) return String(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${name}: ${show(value[name])}`).join(", ")}}`;
}

export function equal(found, expected, words = "") {
  const [a, b] = [show(found), show(expected)];
  const before = words ? `${words}: ` : "";
  if (a !== b) throw new Error(`${before}found ${a.slice(0, 2000)}, expected ${b.slice(0, 2000)}`);
}

export function ok(value, words = "not so") {
  if (!value) throw new Error(words);
}

/** The error with which a promise rejects. */
export async function failure(promise, words = "") {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`${words ? `${words}: ` : ""}resolved with ${show(value)} instead of failing`);
}

/** The error that a function throws. */
export function thrown(work, words = "") {
  let value;
  try {
    value = work();
  } catch (error) {
    return error;
  }
  throw new Error(`${words ? `${words}: ` : ""}returned ${show(value)} instead of throwing`);
}

/** Checks an error's kind, and what else is given of it; answers it. */
export function isError(error, kind, outcome = "NotApplied", words = "") {
  if (!(error instanceof Error)) throw new Error(`${words}: ${show(error)} is no error`);
  equal([error.name, error.kind, error.outcome], ["PersistencyError", kind, outcome],
    `${words} ${error.message}`);
  return error;
}

/** Checks that a promise rejects with an error of this kind; answers the error. */
export const rejects = async (promise, kind, outcome, words) =>
  isError(await failure(promise, words ?? kind), kind, outcome, words);

/** Checks that a function throws an error of this kind; answers the error. */
export const throws = (work, kind, words) => isError(thrown(work, words ?? kind), kind, "NotApplied", words);

export const bytes = (text) => new TextEncoder().encode(text);

/** Bytes as the text that they are, and nothing as nothing. */
export const string = (payload) => payload && new TextDecoder().decode(payload);

export const pause = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

/** All items of an iterator, or its first ones. */
export async function take(iterable, count = Infinity) {
  const found = [];
  if (count === 0) return found;
  for await (const item of iterable) {
    found.push(item);
    if (found.length >= count) break;
  }
  return found;
}

/** The first items of an iterator, which goes on afterwards. */
export async function next(iterator, count = 1) {
  const found = [];
  while (found.length < count) {
    const { done, value } = await iterator.next();
    if (done) break;
    found.push(value);
  }
  return found;
}
