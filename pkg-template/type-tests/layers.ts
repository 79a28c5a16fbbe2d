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
  channels: store.resolving("durable").channels(),
  loaded: store.loadAllForChannel("channel", { signal: AbortSignal.timeout(1) }),
};

export type Sds = [
  Expect<Equal<Given<typeof sds.open>, JobPersistence>>,
  Expect<Equal<Given<typeof sds.saved>, void>>,
  Expect<Equal<Given<typeof sds.loaded>, ChannelSnapshot>>,
  Expect<Equal<ChannelSnapshot["lamport"], bigint>>,
  Expect<Equal<ChannelSnapshot["retrievalHints"], ReadonlyMap<string, Bytes>>>,
  Expect<Equal<Given<typeof sds.channels>, string[]>>,
];

const { messageHistory, retrievalHints, ...meta } = await sds.loaded;
// What was read can be written, and so can less.
await store.saveChannel("channel", meta, { append: messageHistory });
await store.saveChannel("channel", {}, { evict: [...retrievalHints.keys()] });
await store.saveOutgoing("channel", { message: { messageId: "m", content: new Uint8Array() } });

// @ts-expect-error: a message has an id
void store.appendLogEntry("channel", { content: new Uint8Array() });
// @ts-expect-error: content is bytes
void store.appendLogEntry("channel", { messageId: "m", content: "text" });
// @ts-expect-error: opened over a job only
void layers.JobPersistence.open("alpha");
// @ts-expect-error: made by open() only
void new layers.JobPersistence(job);
// @ts-expect-error: a Lamport time is a bigint
void store.saveLamport("channel", 1);
