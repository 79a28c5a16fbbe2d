// What the calls of the second entry give, type for type, and that it has what the first has.

import * as core from "persistency";
import * as layers from "persistency/layers";
import type { Bytes, ChannelSnapshot, Commit, Job, JobPersistence, Persistency } from "persistency/layers";
import type { Equal, Expect, Given } from "./equal.js";

declare const job: Job;
declare const store: JobPersistence;

export type Everything = Expect<Exclude<keyof typeof core, keyof typeof layers> extends never ? true : false>;

declare const root: Persistency;
const server = { url: new URL("https://example.org/archives"), headers: [["authorization", "Bearer t"]] } as const;
const archive = await layers.Archive.attach(job, server, { cut: { ageMs: 1000, early: false }, keepMs: 1000 });
const reader = await layers.ArchiveReader.open(root, { url: "/archives" }, "alpha", { generation: new Uint8Array(16) });
const archives = {
  shipped: archive.ship(),
  restorable: reader.archivedSeq(),
  found: reader.findSegment(1n),
  restored: reader.restore("beta", { to: { timeMs: 7 }, onProgress: ({ seq }) => void (seq satisfies bigint) }),
  imported: layers.importJob(root, "beta", layers.exportJob(job)),
};
for await (const segment of reader.listSegments()) (await reader.fetch(segment)) satisfies readonly Commit[];
for await (const { state, error } of archive.watch()) if (state === "stalled") throw error;
archive.onArchived(async (seq) => void (seq satisfies bigint));
archive.progress.pruningError satisfies layers.PersistencyError | undefined;
for await (const part of layers.exportJob(job)) new Blob([part]);

export type Archives = [
  Expect<Equal<Given<typeof archives.shipped>, bigint>>,
  Expect<Equal<Given<typeof archives.restorable>, bigint | undefined>>,
  Expect<Equal<Given<typeof archives.found>, layers.SegmentInfo | undefined>>,
  Expect<Equal<Given<typeof archives.restored>, layers.Restored>>,
  Expect<Equal<Given<typeof archives.imported>, layers.Restored>>,
];

// @ts-expect-error: an archive has a server
void layers.Archive.attach(job);
// @ts-expect-error: a moment is a seq or a time
void reader.restore("beta", { to: { seq: 1n, timeMs: 1 } });
// @ts-expect-error: read at a root
void layers.ArchiveReader.open(job, server, "alpha");

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

interface Task {
  id: string;
  done: boolean;
}

const store2 = await layers.Datastore.open(job, { subscribers: 7 });
const tasks = await store2.collection<Task>("tasks", { temporary: true, ttlMs: 7, primary: "id" });
const blobs = await store2.bytesCollection("blobs");
const pool = await store2.pool<Task>("pool");
const member = await pool.join("me");
const datastore = {
  found: await store2.findCollection("tasks"),
  set: tasks.set({ id: "a", done: false }),
  updated: tasks.update("a", (task) => task && { ...task, done: true }),
  told: tasks.subscribe("me"),
  blob: blobs.get(new Uint8Array()),
  since: blobs.changesSince(0n),
  range: blobs.range({ prefix: new Uint8Array([1]) }),
  merged: member.merge([{ id: "a", done: true }]),
  updates: member.updates(),
};

export type OfDatastore = [
  Expect<Equal<Given<typeof datastore.set>, layers.CollectionRecord<string, Task>>>,
  Expect<Equal<Given<typeof datastore.updated>, layers.CollectionRecord<string, Task> | undefined>>,
  Expect<Equal<Given<typeof datastore.told>, layers.CollectionUpdate<string, Task>>>,
  Expect<Equal<Given<typeof datastore.blob>, layers.CollectionRecord<Bytes, Bytes> | undefined>>,
  Expect<Equal<Given<typeof datastore.since>, layers.CollectionSince<Bytes, Bytes>>>,
  Expect<Equal<Given<typeof datastore.merged>, layers.Merged<Task>>>,
  Expect<Equal<Given<typeof datastore.updates>, layers.PoolUpdate<Task>>>,
];

await blobs.setMany([[new Uint8Array(), new Uint8Array()]]);
for await (const update of tasks.subscribe("me", { signal: AbortSignal.timeout(1) })) {
  if (update.type === "snapshot") update.records satisfies readonly layers.CollectionRecord<string, Task>[];
  else if (update.changes[0]?.type === "set") update.changes[0].data satisfies Task;
}

// @ts-expect-error: a task is done or not
void tasks.set({ id: "a" });
// @ts-expect-error: a key of bytes is bytes
void blobs.get("a");
// @ts-expect-error: no such option
void store2.collection("tasks", { ttl: 7 });
export const isCollection = (value: unknown) => value instanceof layers.Collection;

const memory = new Map<string, string>();
const engine = await layers.WriteBehind.open(job, [
  { category: "config" },
  { category: "host", read: (key) => memory.get(String(key)), payloadBytes: 64 },
], {
  policy: { marks: 7, intervalMs: 7 },
  durability: "relaxed",
  relations: [{ kind: "keptBy", child: "host", parent: "config", parentOf: (key) => key.slice(0, 1) }],
  migrations: [{ version: 1, step: async (of) => new layers.Batch().put("config", new Uint8Array(), of.id) }],
});
const hosts = engine.weak("host");
const writeBehind = {
  flushed: engine.flush(),
  status: engine.status({ signal: AbortSignal.timeout(1) }),
  saved: engine.strong("config").put(new Uint8Array(), "x"),
  merged: hosts.update(new Uint8Array(), (stored) => stored && stored.slice(1)),
  found: hosts.get(new Uint8Array()),
  seq: engine.write(new layers.Batch()),
  repaired: engine.repair(),
};

export type OfWriteBehind = [
  Expect<Equal<Given<typeof writeBehind.flushed>, layers.Flushed>>,
  Expect<Equal<Given<typeof writeBehind.status>, layers.WriteBehindStatus>>,
  Expect<Equal<Given<typeof writeBehind.saved>, "created" | "updated">>,
  Expect<Equal<Given<typeof writeBehind.merged>, "created" | "updated" | "unchanged">>,
  Expect<Equal<Given<typeof writeBehind.found>, Bytes | undefined>>,
  Expect<Equal<Given<typeof writeBehind.seq>, bigint>>,
  Expect<Equal<Given<typeof writeBehind.repaired>, layers.RepairReport>>,
];

hosts.mark(new Uint8Array()) satisfies void;
// @ts-expect-error: nothing is marked in a set that is taken as a strong one
void engine.strong("host").mark(new Uint8Array());
// @ts-expect-error: a reader answers at once
void layers.WriteBehind.open(job, [{ category: "a", read: async () => "x" }]);
// @ts-expect-error: a key is bytes
hosts.mark("a");
