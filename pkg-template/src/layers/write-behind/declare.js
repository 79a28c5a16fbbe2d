// What an engine is opened with: checked here, and as it crosses to the worker. Knows no engine, and calls nothing.

import { categoryOf } from "../../bytes.js";
import { invalid } from "../../error.js";
import { Job, tenantOf } from "../../job.js";

/** What a relation can be. */
const KINDS = ["requires", "keptBy"];

/** The arguments that open an engine over a job: its sets, how they hang together and came to be, its options. */
export function declared(job, sets, options) {
  if (!Array.isArray(sets)) throw invalid("the sets are an array");
  if (typeof options !== "object" || options === null) throw invalid("the options are an object");
  const { flushWhenHidden: _, relations = [], migrations = [], legacy, ...given } = options;
  for (const [what, list] of [["relations", relations], ["migrations", migrations]]) {
    if (!Array.isArray(list)) throw invalid(`the ${what} are an array`);
  }
  const calls = [...relations.map(({ parentOf } = {}) => parentOf), ...migrations.map(({ step } = {}) => step)];
  if ([...calls, legacy ?? (() => {})].some((call) => typeof call !== "function")) {
    throw invalid("parentOf, step and legacy are functions");
  }
  const history = {
    relations: relations.map((relation) => relationOf(job, sets, relation)),
    migrations: migrations.map(({ version }) => version),
    legacy: legacy !== undefined,
  };
  return [sets.map(setOf), history, given];
}

function setOf({ category, read, marks, bytes, payloadBytes } = {}) {
  categoryOf(category);
  if (read !== undefined && typeof read !== "function") throw invalid("the reader of a set is a function");
  return { category, strong: read === undefined, marks, bytes, payloadBytes };
}

function relationOf(job, sets, { kind = "requires", child, parent, parentJob }) {
  if (!KINDS.includes(kind)) throw invalid(`a relation is ${KINDS.join(" or ")}`);
  const place = (category) => {
    const index = sets.findIndex((set) => set.category === category);
    if (index < 0) throw invalid("a relation of a set that there is not");
    return index;
  };
  const keptBy = kind === "keptBy";
  if (parentJob === undefined) return { keptBy, child: place(child), parent: place(parent) };
  if (!(parentJob instanceof Job)) throw invalid("a parentJob is a Job of persistency/layers");
  const { id, link } = tenantOf(parentJob);
  if (link !== tenantOf(job)?.link) throw invalid("a parentJob is one of the same root");
  if (keptBy) throw invalid("rows of another job can be required, not kept alive");
  categoryOf(parent);
  return { keptBy, child: place(child), parent: [id, parent] };
}
