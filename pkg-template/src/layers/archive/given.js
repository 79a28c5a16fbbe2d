// What callers of the layer `archive` give: where a server is, and options. Checks what only JavaScript can get wrong.

import { nameOf } from "../../bytes.js";
import { invalid } from "../../error.js";
import { limits } from "../../limits.js";

const SERVER = ["url", "headers", "credentials", "timeoutMs"];
const OPTIONS = ["name", "cut", "baseAfterBytes", "keepMs", "maxAttempts", "backoffMs", "backoffMaxMs"];
const CUT = ["ageMs", "commits", "bytes", "early"];
const CREDENTIALS = ["omit", "same-origin", "include"];
/** Milliseconds that a timer of the platform can wait at most. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** A server as it crosses. */
export function serverOf(server) {
  only("a server", server, SERVER);
  const { credentials = "same-origin", timeoutMs } = server;
  if (!CREDENTIALS.includes(credentials)) throw invalid(`credentials is one of ${CREDENTIALS.join(", ")}`);
  if (timeoutMs !== undefined && !(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs <= TIMER_MAX_MS)) {
    throw invalid(`timeoutMs is an integer from 1 to ${TIMER_MAX_MS}`);
  }
  return { url: addressOf(server.url), headers: headersOf(server.headers), credentials, timeoutMs };
}

function addressOf(given) {
  let url;
  if (typeof given !== "string" && !(given instanceof URL)) throw invalid("the server's url is a string or a URL");
  try {
    url = new URL(given, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw invalid("the server's url is none");
  }
  if (!["http:", "https:"].includes(url.protocol)) throw invalid("the server's url is of http or https");
  if (url.search || url.hash || url.username || url.password) {
    throw invalid("the server's url has no query, no fragment and no user");
  }
  return url.href.endsWith("/") ? url.href : `${url.href}/`;
}

/** Names and values in turns. */
function headersOf(given) {
  try {
    return [...new Headers(given)].flat();
  } catch (error) {
    throw invalid(`the headers are none: ${error.message}`);
  }
}

/** Options of an archive as they cross. */
export function optionsOf(options) {
  only("an archive", options, OPTIONS);
  const { name, cut = {}, ...rest } = options;
  if (name !== undefined) nameOf("archive name", name, limits().jobIdBytes);
  for (const each of Object.keys(rest)) numberOf(each, rest[each]);
  only("a cut", cut, CUT);
  const { early, ...bounds } = cut;
  for (const each of ["ageMs", "commits", "bytes"]) numberOf(each, bounds[each]);
  return { name, cut: { ...bounds, early: earlyOf(early) }, ...rest };
}

function earlyOf(early) {
  if (early === undefined) return undefined;
  if (early === false) return "never";
  only("early", early, ["commits", "ageMs"]);
  const { commits, ageMs } = early;
  for (const each of [commits, ageMs]) {
    if (each === undefined) throw invalid("early is false, or { commits, ageMs }");
    numberOf("a number of early", each);
  }
  return { at: { commits, ageMs } };
}

/** The moment that is restored as it crosses: the latest, a seq, or a time. */
export function momentOf(to = "latest") {
  if (to === "latest") return to;
  only("a moment", to, ["seq", "timeMs"]);
  const { seq, timeMs } = to;
  if (timeMs === undefined && typeof seq === "bigint" && BigInt.asUintN(64, seq) === seq) return { seq };
  if (seq === undefined && timeMs !== undefined) {
    numberOf("timeMs", timeMs);
    return { timeMs };
  }
  throw invalid('a moment is "latest", { seq: a bigint } or { timeMs: milliseconds since 1970 }');
}

export function only(what, given, names) {
  if (typeof given !== "object" || given === null) throw invalid(`${what} is described by an object`);
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) throw invalid(`${what} has no "${name}"`);
  }
}

export function numberOf(what, number) {
  if (number !== undefined && !(Number.isSafeInteger(number) && number >= 0)) {
    throw invalid(`${what} is an integer from 0`);
  }
}
