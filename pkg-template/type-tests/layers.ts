// What the calls of the second entry give, type for type, and that it has what the first has.

import * as core from "persistency";
import * as layers from "persistency/layers";
import type { Bytes, ChannelSnapshot, Job, JobPersistence } from "persistency/layers";
import type { Equal, Expect, Given } from "./equal.js";

declare const job: Job;
declare const store: JobPersistence;

export type Everything = Expect<Exclude<keyof typeof core, keyof typeof layers> extends never ? true : false>;

const sds = {
  open: layers.JobPersistence.open(job),
  saved: store.saveLamport("channel", 1n),
  loaded: store.loadAllForChannel("channel", { signal: AbortSignal.timeout(1) }),
};

export type Sds = [
  Expect<Equal<Given<typeof sds.open>, JobPersistence>>,
  Expect<Equal<Given<typeof sds.saved>, void>>,
  Expect<Equal<Given<typeof sds.loaded>, ChannelSnapshot>>,
  Expect<Equal<ChannelSnapshot["lamport"], bigint>>,
  Expect<Equal<ChannelSnapshot["retrievalHints"][string], Bytes>>,
];

// @ts-expect-error: opened over a job only
void layers.JobPersistence.open("alpha");
// @ts-expect-error: made by open() only
void new layers.JobPersistence(job);
// @ts-expect-error: a Lamport time is a bigint
void store.saveLamport("channel", 1);
